//! A client of one torrent, made with librqbit: `rqbit-client ADDRESS:PORT SOURCE FOLDER`.
//!
//! Opens the torrent file or magnet link SOURCE, and downloads into the folder or seeds what is there. On SIGTERM it
//! says what it has moved, removes the torrent and ends. On SIGUSR1 it pauses and resumes it, and announces for that.

use std::{env, time::Duration};

use anyhow::{Context, Result};
use librqbit::{
    AddTorrent, AddTorrentOptions, ListenerOptions, Session, SessionOptions, TorrentStats,
};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::{
    filter::{LevelFilter as Level, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

// For a `stopped`, if a version to come says it.
const LEAVE: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let about = Targets::new()
        .with_target("librqbit", Level::INFO)
        .with_target("librqbit_tracker_comms", Level::TRACE);
    tracing_subscriber::registry().with(fmt::layer().with_ansi(false)).with(about).init();
    tokio::runtime::Runtime::new()?.block_on(run())
}

async fn run() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [listen, source, folder] = arguments.as_slice() else {
        anyhow::bail!("usage: rqbit-client ADDRESS:PORT SOURCE FOLDER");
    };
    let mut ended = signal(SignalKind::terminate())?;
    let mut resumed = signal(SignalKind::user_defined1())?;
    let session = Session::new_with_opts(
        folder.into(),
        SessionOptions {
            dht: None,
            disable_local_service_discovery: true,
            listen: Some(ListenerOptions { listen_addr: listen.parse()?, ..Default::default() }),
            ..Default::default()
        },
    )
    .await?;
    let options = AddTorrentOptions { overwrite: true, ..Default::default() };
    // A magnet link is added once its metadata is there.
    let added = tokio::select! {
        added = session.add_torrent(AddTorrent::from_cli_argument(source)?, Some(options)) => added?,
        _ = ended.recv() => return Ok(()),
    };
    let torrent = added.into_handle().context("a torrent that is only listed")?;
    torrent.wait_until_initialized().await?;
    println!("ready");
    let mut figures = (0, 0);
    loop {
        tokio::select! {
            _ = resumed.recv() => {
                add_moved(&mut figures, &torrent.stats());
                session.pause(&torrent).await?;
                session.unpause(&torrent).await?;
            }
            _ = ended.recv() => break,
        }
    }
    add_moved(&mut figures, &torrent.stats());
    println!("figures {} {}", figures.0, figures.1);
    session.delete(torrent.id().into(), false).await?;
    tokio::time::sleep(LEAVE).await;
    Ok(())
}

/// Adds what has been uploaded and downloaded since the torrent was started or resumed. Of what it has, a part may have
/// been there before.
fn add_moved((uploaded, downloaded): &mut (u64, u64), stats: &TorrentStats) {
    if let Some(live) = &stats.live {
        *uploaded += stats.uploaded_bytes;
        *downloaded += live.snapshot.fetched_bytes;
    }
}
