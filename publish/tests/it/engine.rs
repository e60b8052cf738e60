//! What is uploaded and fetched, with real clients on loopback.

mod changes;
mod clients;
mod content;
mod fetching;
mod floods;
mod many;
mod reader;

use std::time::Duration;

use publish::engine::upload::{Event, Limits, Uploads};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use self::clients::CLIENTS;
use self::content::Made;

const PEER_ID: [u8; 20] = *b"-mg0200-abcdefghijkl";

fn listen(limits: Limits) -> Uploads {
    listen_and_hear(limits).0
}

fn listen_and_hear(limits: Limits) -> (Uploads, UnboundedReceiver<Event>) {
    Uploads::listen(&[([127, 0, 0, 1], 0).into()], limits, PEER_ID).unwrap()
}

fn add(uploads: &Uploads, made: &Made) {
    uploads.add(made.metainfo.clone(), made.folder.path().into(), made.identities()).unwrap();
}

/// Waits for what must happen.
async fn must<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), what).await.expect("it must happen")
}

async fn until(mut is: impl FnMut() -> bool) {
    must(async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_download_files_and_folders() {
    let uploads = listen(Limits::default());
    for made in [
        Made::single(3_000_001),
        Made::single(16 << 20),
        Made::folder_with_empty_files(),
        Made::single(1),
    ] {
        add(&uploads, &made);
        let before = made.look();
        for client in CLIENTS {
            let folder = client.download(&uploads, &made, false).await;
            made.assert_same(folder.path());
        }
        assert_eq!(made.look(), before);
        let stats = uploads.torrent(&made.metainfo.info_hash).unwrap();
        assert_eq!(stats.uploaded, CLIENTS.len() as u64 * made.metainfo.total());
    }
    assert!(uploads.stats().open_files <= 128);
    must(uploads.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_magnet_link_is_enough() {
    let uploads = listen(Limits::default());
    let made = Made::folder_with_empty_files();
    add(&uploads, &made);
    for client in CLIENTS {
        let folder = client.download(&uploads, &made, true).await;
        made.assert_same(folder.path());
    }
}
