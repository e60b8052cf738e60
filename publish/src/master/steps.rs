//! The steps of a torrent into the world and out of it. Each can be done twice, and is done again until it works.
//!
//! In: tracker, swarm, docroot, feed. Out: feed, docroot, tracker, swarm. So nobody is told of what is not there yet, and
//! nothing goes that somebody is still told of.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use shard::InfoHash;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

use super::docroot::Docroot;
use super::tracker::{TrackerApi, TrackerError};

/// What the steps of many torrents need.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    /// Where `.torrent` files go.
    pub docroot: Docroot,
    /// The tracker that has to be told, where there is one.
    pub tracker: Option<TrackerApi>,
    /// Where it is said what came of them.
    pub done: UnboundedSender<Stepped>,
    /// How many torrents go at a time.
    pub places: Arc<Semaphore>,
}

/// What came of the steps of a torrent.
#[derive(Debug)]
pub(super) enum Stepped {
    /// Tracker and docroot have it: the feed may tell of it.
    Offered(InfoHash),
    /// It is not served, for this reason, which does not go by itself.
    Refused(InfoHash, String),
    /// It is tried again, for this reason.
    Delayed(InfoHash, String),
    /// Docroot and tracker have it no more.
    Withdrawn(InfoHash),
}

impl Steps {
    /// Has the tracker serve a torrent and puts its file into the docroot.
    pub(super) fn offer(&self, info_hash: InfoHash, name: String, torrent: Bytes) {
        let steps = self.clone();
        tokio::spawn(async move {
            let _place = steps.places.acquire().await;
            let mut wait = WAIT_MIN;
            loop {
                let why = match steps.try_offer(&info_hash, &name, torrent.clone()).await {
                    Ok(()) => return steps.say(Stepped::Offered(info_hash)),
                    Err(Failure::ForGood(why)) => {
                        return steps.say(Stepped::Refused(info_hash, why));
                    }
                    Err(Failure::ForNow(why)) => why,
                };
                steps.say(Stepped::Delayed(info_hash, why));
                sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
        });
    }

    /// Takes a torrent's file out of the docroot, and has the tracker serve it no more.
    pub(super) fn withdraw(&self, info_hash: InfoHash) {
        let steps = self.clone();
        tokio::spawn(async move {
            let _place = steps.places.acquire().await;
            let mut wait = WAIT_MIN;
            loop {
                let why = match steps.try_withdraw(&info_hash).await {
                    Ok(()) => return steps.say(Stepped::Withdrawn(info_hash)),
                    // A tracker that knows better cannot be told, and nothing else may wait for it.
                    Err(Failure::ForGood(why)) => {
                        tracing::warn!(torrent = %info_hash, why, "the tracker was not told that it is withdrawn");
                        return steps.say(Stepped::Withdrawn(info_hash));
                    }
                    Err(Failure::ForNow(why)) => why,
                };
                steps.say(Stepped::Delayed(info_hash, why));
                sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
        });
    }

    async fn try_offer(
        &self,
        info_hash: &InfoHash,
        name: &str,
        torrent: Bytes,
    ) -> Result<(), Failure> {
        if let Some(tracker) = &self.tracker {
            tracker.register(info_hash, name).await?;
        }
        let (docroot, info_hash) = (self.docroot.clone(), *info_hash);
        blocking(move || docroot.put_torrent(&info_hash, &torrent)).await
    }

    async fn try_withdraw(&self, info_hash: &InfoHash) -> Result<(), Failure> {
        let (docroot, gone) = (self.docroot.clone(), *info_hash);
        blocking(move || docroot.remove_torrent(&gone)).await?;
        if let Some(tracker) = &self.tracker {
            tracker.withdraw(info_hash, REASON).await?;
        }
        Ok(())
    }

    fn say(&self, stepped: Stepped) {
        // The Master may have ended.
        let _ = self.done.send(stepped);
    }
}

enum Failure {
    ForNow(String),
    ForGood(String),
}

impl From<TrackerError> for Failure {
    fn from(error: TrackerError) -> Self {
        let why = crate::chain(&error);
        match error {
            TrackerError::Away { .. } | TrackerError::Unable { .. } => Failure::ForNow(why),
            TrackerError::Refused { .. } => Failure::ForGood(why),
        }
    }
}

/// Files are written beside the runtime; a full disk has room again some day.
async fn blocking(
    write: impl FnOnce() -> Result<(), crate::durable::FileError> + Send + 'static,
) -> Result<(), Failure> {
    match tokio::task::spawn_blocking(write).await {
        Ok(written) => written.map_err(|error| Failure::ForNow(crate::chain(&error))),
        Err(_) => Err(Failure::ForNow("the program is ending".to_owned())),
    }
}

/// What the tracker tells clients.
const REASON: &str = "withdrawn by its publisher";

const WAIT_MIN: Duration = Duration::from_millis(500);

const WAIT_MAX: Duration = Duration::from_secs(30);
