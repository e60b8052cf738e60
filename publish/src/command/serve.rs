//! The commands that stay: a Master or a Seeder, until a signal ends it.

use std::future::Future;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::options::{Master, Seeder};
use crate::{master, seeder};

/// Is the Master until SIGTERM or SIGINT.
pub fn publish(options: &Master) -> anyhow::Result<()> {
    until_stopped(|stop| async move { Ok(master::run(options, stop).await?) })
}

/// Is a Seeder until SIGTERM or SIGINT.
pub fn seed(options: &Seeder) -> anyhow::Result<()> {
    until_stopped(|stop| async move { Ok(seeder::run(options, stop).await?) })
}

fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    run: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("margay-publish")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminated = signal(SignalKind::terminate()).context("cannot hear of signals")?;
        let mut interrupted = signal(SignalKind::interrupt()).context("cannot hear of signals")?;
        tokio::spawn({
            let stop = stop.clone();
            async move {
                let mut next = async || {
                    tokio::select! {
                        _ = terminated.recv() => {}
                        _ = interrupted.recv() => {}
                    }
                };
                next().await;
                tracing::info!("stopping; a second signal ends it at once");
                stop.cancel();
                next().await;
                tracing::warn!("ended at once, as a second signal came; trackers were not told");
                std::process::exit(1);
            }
        });
        run(stop).await
    });
    // What still reads or hashes is not waited for.
    runtime.shutdown_background();
    ended
}
