//! The steps of a torrent into the world and out of it. Each can be done twice, and is done again until it works.
//!
//! In: tracker, swarm, docroot, feed. Out: feed, docroot, tracker, swarm. So nobody is told of what is not there yet, and
//! nothing goes that somebody is still told of.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shard::InfoHash;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::docroot::Docroot;
use super::tracker::{TrackerApi, TrackerError};
use super::upkeep::Vanished;
use crate::feed::Document;

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
    /// Whose steps are under way.
    pub turns: Turns,
}

/// The steps of one torrent, in and out, follow each other, and what was ordered last holds: one that waits for room in
/// the docroot must not put a torrent there that was withdrawn meanwhile.
#[derive(Clone, Debug, Default)]
pub(super) struct Turns(Arc<Mutex<HashMap<InfoHash, Turn>>>);

#[derive(Clone, Debug, Default)]
struct Turn {
    stop: CancellationToken,
    at_it: Arc<tokio::sync::Mutex<()>>,
}

impl Turns {
    /// Ends what was ordered before.
    fn next(&self, info_hash: InfoHash) -> Turn {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = turns.remove(&info_hash).unwrap_or_default();
        before.stop.cancel();
        let turn = Turn { at_it: before.at_it, ..Turn::default() };
        turns.insert(info_hash, turn.clone());
        turn
    }

    /// Nothing is under way for it.
    fn end(&self, info_hash: &InfoHash, turn: &Turn) {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !turn.stop.is_cancelled() {
            turns.remove(info_hash);
        }
    }
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
    /// The docroot was looked at.
    Looked(Vanished),
}

impl Steps {
    /// Has the tracker serve a torrent and puts its file into the docroot.
    pub(super) fn offer(&self, info_hash: InfoHash, name: String, torrent: Bytes) {
        let steps = self.clone();
        self.until_done(info_hash, move || {
            let (steps, name, torrent) = (steps.clone(), name.clone(), torrent.clone());
            async move {
                match steps.try_offer(&info_hash, &name, torrent).await {
                    Ok(()) => Ok(Stepped::Offered(info_hash)),
                    Err(Failure::ForGood(why)) => Ok(Stepped::Refused(info_hash, why)),
                    Err(Failure::ForNow(why)) => Err(why),
                }
            }
        });
    }

    /// Takes a torrent's file out of the docroot, and has the tracker serve it no more.
    pub(super) fn withdraw(&self, info_hash: InfoHash) {
        let steps = self.clone();
        self.until_done(info_hash, move || {
            let steps = steps.clone();
            async move {
                match steps.try_withdraw(&info_hash).await {
                    Ok(()) => Ok(Stepped::Withdrawn(info_hash)),
                    // A tracker that knows better cannot be told, and nothing else may wait for it.
                    Err(Failure::ForGood(why)) => {
                        tracing::warn!(torrent = %info_hash, why, "the tracker was not told that it is withdrawn");
                        Ok(Stepped::Withdrawn(info_hash))
                    }
                    Err(Failure::ForNow(why)) => Err(why),
                }
            }
        });
    }

    /// Looks whether these torrents are in the docroot, and these documents, which are of `generation`.
    pub(super) fn look(
        &self,
        torrents: HashSet<InfoHash>,
        documents: Vec<(String, Document)>,
        generation: u64,
    ) {
        let steps = self.clone();
        tokio::task::spawn_blocking(move || {
            let is_feed = steps.docroot.has_documents(&documents);
            let torrents = steps.docroot.missing(torrents);
            let feed = (!is_feed).then_some(generation);
            steps.say(Stepped::Looked(Vanished { torrents, feed }));
        });
    }

    /// Tries until it works or something else is ordered. Who waits keeps no place: what frees the room that he waits
    /// for may need it.
    fn until_done<F>(&self, info_hash: InfoHash, step: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<Stepped, String>> + Send,
    {
        let (steps, turn) = (self.clone(), self.turns.next(info_hash));
        tokio::spawn(async move {
            let mut wait = WAIT_MIN;
            loop {
                let at_it = turn.at_it.lock().await;
                let place = steps.places.acquire().await;
                if turn.stop.is_cancelled() {
                    return;
                }
                match step().await {
                    Ok(done) => {
                        steps.turns.end(&info_hash, &turn);
                        return steps.say(done);
                    }
                    Err(why) => steps.say(Stepped::Delayed(info_hash, why)),
                }
                drop((at_it, place));
                if turn.stop.run_until_cancelled(sleep(wait)).await.is_none() {
                    return;
                }
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
