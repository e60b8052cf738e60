//! Who wants to see what a user's clients ask and are answered.
//!
//! While nobody does, an announce pays one look at an empty list. Whoever does gets what happens through
//! a queue of his own; what does not fit is dropped and counted, and no core ever waits.

use std::collections::BTreeSet;
use std::sync::Arc;

use ops::counters::Protocol;
use persist::Trouble;
use shard::Seconds;
use shard::private::UserId;

use super::Private;
use crate::api::trace::{self, Announced, Traced, What};
use crate::core::mesh::tracer::Tracer;

/// Users whose announces are written into the log at a time.
pub const LOGGED_MAX: usize = 64;

static TOO_MANY: Trouble = Trouble::new();

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
        self.logged.contains(&user) || self.tracers.iter().any(|tracer| tracer.user() == user)
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
        self.tracers.retain(|tracer| !tracer.is_gone());
    }

    /// An announce of a traced user was booked.
    pub fn begin(&mut self, protocol: Protocol, announced: Announced) {
        self.pending = Some((protocol, Box::new(announced)));
    }

    /// The announce that was booked last could not be, again.
    pub fn forget(&mut self) {
        self.pending = None;
    }

    fn tell(&self, traced: &Traced) {
        for tracer in self.tracers.iter().filter(|tracer| tracer.user() == traced.user) {
            tracer.tell(traced);
        }
        if self.logged.contains(&traced.user) {
            let said = trace::json(traced);
            tracing::info!(user = traced.user.0, %said, "traced");
        }
    }
}

impl Private {
    /// The announce that was booked last is answered: it is to come back after `interval`.
    #[inline]
    pub(crate) fn trace_answer(&mut self, interval: Option<Seconds>, now: Seconds) {
        if self.traces.pending.is_some() {
            self.tell_answer(interval, now);
        }
    }

    #[cold]
    fn tell_answer(&mut self, interval: Option<Seconds>, at: Seconds) {
        let Some((protocol, mut announced)) = self.traces.pending.take() else { return };
        announced.interval = interval;
        let user = announced.announce.user;
        let what = What::Announced(announced);
        let (core, hidden, user) = (self.number, user.hidden, user.id);
        self.traces.tell(&Traced { at, core, user, hidden, protocol, what });
    }

    /// A user did something else than to announce what could be looked at.
    #[inline]
    pub(crate) fn trace(
        &self,
        user: shard::private::User,
        protocol: Protocol,
        at: Seconds,
        what: impl FnOnce() -> What,
    ) {
        if self.traces.want(user.id) {
            let (core, user, hidden) = (self.number, user.id, user.hidden);
            self.traces.tell(&Traced { at, core, user, hidden, protocol, what: what() });
        }
    }
}
