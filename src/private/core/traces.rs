//! Who wants to see what a user's clients ask and are answered.
//!
//! While nobody does, an announce pays one look at an empty list. Whoever does gets what happens through
//! a queue of his own; what does not fit is dropped and counted, and no core ever waits.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ops::counters::Protocol;
use persist::Trouble;
use shard::private::{Announce, Fact, UserId};
use shard::{Counts, InfoHash, Seconds};
use tokio::sync::mpsc;

use crate::api;
use crate::core::Core;

/// What waits for one who traces.
pub const EVENTS_MAX: usize = 1024;

/// Users whose announces are written into the log at a time.
pub const LOGGED_MAX: usize = 64;

static TOO_MANY: Trouble = Trouble::new();

/// Somebody who traces a user, as cores know him.
#[derive(Debug)]
pub struct Tracer {
    user: UserId,
    events: mpsc::Sender<Traced>,
    dropped: Arc<AtomicU64>,
}

/// What comes to him, on any thread. Ends when no core knows him any more.
#[derive(Debug)]
pub struct Coming {
    /// What has happened.
    pub events: mpsc::Receiver<Traced>,
    dropped: Arc<AtomicU64>,
}

impl Coming {
    /// How much did not fit since the last time this was asked.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

/// Something that a user's client did.
#[derive(Clone, Debug)]
pub struct Traced {
    /// When.
    pub at: Seconds,
    /// On which core.
    pub core: usize,
    /// Whose client.
    pub user: UserId,
    /// The user's addresses are told to nobody.
    pub hidden: bool,
    /// Over which protocol.
    pub protocol: Protocol,
    /// What.
    pub what: What,
}

/// What a client did.
#[derive(Clone, Debug)]
pub enum What {
    /// It announced.
    Announced(Box<Announced>),
    /// It wanted to announce, and was refused before the torrent was looked at.
    Refused {
        /// From where.
        address: IpAddr,
        /// The torrent, if it named one.
        info_hash: Option<InfoHash>,
        /// What it was told.
        refusal: String,
    },
    /// It scraped.
    Scraped {
        /// From where.
        address: IpAddr,
        /// The torrents.
        info_hashes: Vec<InfoHash>,
    },
}

/// An announce, and what came of it.
#[derive(Clone, Debug)]
pub struct Announced {
    /// What was announced.
    pub announce: Announce,
    /// What it was refused with.
    pub refusal: Option<String>,
    /// What it changed.
    pub fact: Option<Fact>,
    /// The counts it was told.
    pub counts: Counts,
    /// How many peers it was told.
    pub peers: usize,
    /// When it is to come back.
    pub interval: Option<Seconds>,
}

impl Tracer {
    /// One who traces `user`, and where he gets what happens.
    pub fn new(user: UserId) -> (Arc<Self>, Coming) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let tracer = Self { user, events: sender, dropped: dropped.clone() };
        (Arc::new(tracer), Coming { events, dropped })
    }

    fn tell(&self, traced: &Traced) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(traced.clone()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Those who trace, as one core knows them.
#[derive(Debug, Default)]
pub struct Traces {
    tracers: Vec<Arc<Tracer>>,
    logged: BTreeSet<UserId>,
    /// An announce that was booked and is being answered.
    pending: Option<(Protocol, Box<Announced>)>,
}

impl Traces {
    /// Whether somebody traces this user.
    #[inline]
    pub fn want(&self, user: UserId) -> bool {
        !(self.tracers.is_empty() && self.logged.is_empty()) && self.wanted(user)
    }

    #[cold]
    fn wanted(&self, user: UserId) -> bool {
        self.logged.contains(&user) || self.tracers.iter().any(|tracer| tracer.user == user)
    }

    /// Whether a user's announces are written into the log.
    pub fn logs(&self, user: UserId) -> bool {
        self.logged.contains(&user)
    }

    /// From now on this one is told.
    pub fn add(&mut self, tracer: Arc<Tracer>) {
        self.forget_the_gone();
        self.tracers.push(tracer);
    }

    /// From now on a user's announces are written into the log, or not any more.
    pub fn log(&mut self, user: UserId, on: bool) {
        match on {
            true if self.logged.len() < LOGGED_MAX => _ = self.logged.insert(user),
            true => {
                if let Some(times) = TOO_MANY.again("") {
                    tracing::warn!(
                        users = LOGGED_MAX,
                        times,
                        "no more users can be traced into the log; end one first"
                    );
                }
            }
            false => _ = self.logged.remove(&user),
        }
    }

    /// Forgets those who have left.
    pub fn forget_the_gone(&mut self) {
        self.tracers.retain(|tracer| !tracer.events.is_closed());
    }

    /// An announce of a traced user was booked.
    pub fn begin(&mut self, protocol: Protocol, announced: Announced) {
        self.pending = Some((protocol, Box::new(announced)));
    }

    fn tell(&self, traced: &Traced) {
        for tracer in self.tracers.iter().filter(|tracer| tracer.user == traced.user) {
            tracer.tell(traced);
        }
        if self.logged.contains(&traced.user) {
            let said = api::trace::json(traced);
            tracing::info!(user = traced.user.0, %said, "traced");
        }
    }
}

impl Core {
    /// The announce that was booked last is answered: it is to come back after `interval`.
    #[inline]
    pub(crate) fn trace_answer(&mut self, interval: Option<Seconds>) {
        if self.private.as_ref().is_some_and(|private| private.traces.pending.is_some()) {
            self.tell_answer(interval);
        }
    }

    #[cold]
    fn tell_answer(&mut self, interval: Option<Seconds>) {
        let (at, core) = (self.clock.now(), self.number);
        let Some(private) = &mut self.private else { return };
        let Some((protocol, mut announced)) = private.traces.pending.take() else { return };
        announced.interval = interval;
        let user = announced.announce.user;
        let what = What::Announced(announced);
        private.traces.tell(&Traced {
            at,
            core,
            user: user.id,
            hidden: user.hidden,
            protocol,
            what,
        });
    }

    /// A user did something else than to announce what could be looked at.
    #[inline]
    pub(crate) fn trace(
        &self,
        user: shard::private::User,
        protocol: Protocol,
        what: impl FnOnce() -> What,
    ) {
        let Some(private) = &self.private else { return };
        if private.traces.want(user.id) {
            let (at, core) = (self.clock.now(), self.number);
            let (user, hidden) = (user.id, user.hidden);
            private.traces.tell(&Traced { at, core, user, hidden, protocol, what: what() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(user: u32) -> Traced {
        Traced {
            at: Seconds(7),
            core: 0,
            user: UserId(user),
            hidden: false,
            protocol: Protocol::Http,
            what: What::Scraped { address: [127, 0, 0, 1].into(), info_hashes: Vec::new() },
        }
    }

    #[test]
    fn who_traces_is_told_of_his_user_alone_and_forgotten_when_he_leaves() {
        let mut traces = Traces::default();
        assert!(!traces.want(UserId(1)));
        let (first, mut coming) = Tracer::new(UserId(1));
        let (second, others) = Tracer::new(UserId(1));
        traces.add(first);
        traces.add(second);
        assert!(traces.want(UserId(1)) && !traces.want(UserId(2)));
        traces.tell(&traced(2));
        traces.tell(&traced(1));
        assert_eq!(coming.events.try_recv().unwrap().user, UserId(1));
        assert!(coming.events.try_recv().is_err());
        drop((coming, others));
        traces.forget_the_gone();
        assert!(!traces.want(UserId(1)) && traces.tracers.is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut traces = Traces::default();
        let (tracer, mut coming) = Tracer::new(UserId(1));
        traces.add(tracer);
        (0..EVENTS_MAX + 5).for_each(|_| traces.tell(&traced(1)));
        assert_eq!((coming.take_dropped(), coming.take_dropped()), (5, 0));
        let mut got = 0;
        while coming.events.try_recv().is_ok() {
            got += 1;
        }
        assert_eq!(got, EVENTS_MAX);
    }

    #[test]
    fn so_many_users_are_logged_and_no_more() {
        let mut traces = Traces::default();
        (0..100).for_each(|user| traces.log(UserId(user), true));
        assert_eq!(traces.logged.len(), LOGGED_MAX);
        traces.log(UserId(0), false);
        assert!(!traces.logs(UserId(0)) && traces.logs(UserId(1)));
    }
}
