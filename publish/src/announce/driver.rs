//! The one task that announces: it asks the schedule what is next, and tells it what became of it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shard::InfoHash;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::answer::Refusal;
use super::ask::Asker;
use super::outages::Outages;
use super::schedule::{Ask, Next, Outcome, Schedule};
use super::{Event, Found};

/// What handles and the task share.
#[derive(Debug)]
pub(crate) struct Shared {
    schedule: Mutex<Schedule>,
    outages: Mutex<Outages>,
    /// Something is to be done.
    pub(crate) wake: Notify,
    /// All are told, and nothing is under way.
    pub(crate) done: Notify,
    /// What is not `stopped` is given up.
    pub(crate) hurry: CancellationToken,
    /// Everything is given up.
    pub(crate) end: CancellationToken,
    found: broadcast::Sender<Found>,
}

impl Shared {
    /// Around a schedule.
    pub(crate) fn new(schedule: Schedule) -> Self {
        Self {
            schedule: Mutex::new(schedule),
            outages: Mutex::default(),
            wake: Notify::new(),
            done: Notify::new(),
            hurry: CancellationToken::new(),
            end: CancellationToken::new(),
            found: broadcast::channel(FOUND_MAX).0,
        }
    }

    /// The schedule; held for no longer than it takes to look.
    pub(crate) fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Trackers that are not well.
    pub(super) fn outages(&self) -> MutexGuard<'_, Outages> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who wants to hear of peers.
    pub(crate) fn found(&self) -> broadcast::Receiver<Found> {
        self.found.subscribe()
    }

    fn tell(&self, found: Option<(InfoHash, Vec<SocketAddr>)>) {
        if let Some((info_hash, peers)) = found {
            // Nobody may be listening.
            let _ = self.found.send(Found { info_hash, peers: peers.into() });
        }
    }
}

/// Announces until it is ended.
pub(crate) async fn drive(shared: Arc<Shared>, asker: Asker) {
    let mut under_way = JoinSet::new();
    let mut tickets = HashMap::new();
    loop {
        let wait = loop {
            let next = shared.schedule().next(Instant::now());
            match next {
                Next::Ask(ask) => {
                    let ticket = ask.ticket;
                    let task = under_way.spawn(one(Arc::clone(&shared), asker.clone(), *ask));
                    tickets.insert(task.id(), ticket);
                }
                Next::Wait(wait) => break wait,
            }
        };
        if shared.schedule().is_stopped() {
            shared.done.notify_waiters();
        }
        let due = async {
            match wait {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = shared.end.cancelled() => return,
            () = shared.wake.notified() => {}
            () = due => {}
            Some(finished) = under_way.join_next_with_id() => {
                let (task, outcome) = finished.unwrap_or_else(|error| (error.id(), broken()));
                let ticket = tickets.remove(&task).expect("each task has a ticket");
                let found = shared.schedule().finished(ticket, outcome, Instant::now());
                shared.tell(found);
            }
        }
    }
}

/// One announce.
async fn one(shared: Arc<Shared>, asker: Asker, ask: Ask) -> Outcome {
    let Ask { ticket, address, announce } = ask;
    let found = |peers| {
        let found = shared.schedule().found_early(&ticket, peers);
        shared.tell(found);
    };
    let outcome = if announce.event == Event::Stopped {
        asker.ask(&address, &announce, found).await
    } else {
        tokio::select! {
            outcome = asker.ask(&address, &announce, found) => outcome,
            () = shared.hurry.cancelled() => Outcome::GivenUp,
        }
    };
    match &outcome {
        Outcome::Refused(refusal) | Outcome::Unreachable(refusal) => {
            let reason = address.redact(refusal.reason.clone());
            tracing::debug!(torrent = %announce.info_hash, tracker = %address, event = ?announce.event, reason, "not announced");
        }
        Outcome::Answered(answer) => {
            tracing::debug!(torrent = %announce.info_hash, tracker = %address, event = ?announce.event, peers = answer.peers.len(), "announced");
        }
        Outcome::GivenUp => {}
    }
    outcome
}

/// Of an announce that panicked: the others go on.
fn broken() -> Outcome {
    let reason = "a defect of this program; its log says more".into();
    Outcome::Unreachable(Refusal { reason, wait: None })
}

/// Findings that a slow listener may be behind; what is lost stays in `peers`.
const FOUND_MAX: usize = 1_024;
