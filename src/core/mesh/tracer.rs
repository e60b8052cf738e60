//! Tracers, who want to see what a user's clients ask and are answered, on whichever thread he is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use shard::private::UserId;
use tokio::sync::mpsc;

use crate::api::trace::Traced;

/// Events that wait for one who traces, at most.
pub const EVENTS_MAX: usize = 1024;

/// A tracer of a user, as cores know him.
#[derive(Debug)]
pub struct Tracer {
    user: UserId,
    events: mpsc::Sender<Traced>,
    dropped: Arc<AtomicU64>,
}

/// The events that come to him, on any thread. Ends when no core knows him any more.
#[derive(Debug)]
pub struct Coming {
    /// The events.
    pub events: mpsc::Receiver<Traced>,
    dropped: Arc<AtomicU64>,
}

impl Coming {
    /// How much did not fit since the last time this was asked.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }
}

impl Tracer {
    /// A tracer of `user`, and where he gets what happens.
    pub fn new(user: UserId) -> (Arc<Self>, Coming) {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let tracer = Self { user, events: sender, dropped: dropped.clone() };
        (Arc::new(tracer), Coming { events, dropped })
    }

    /// Tells him, if it fits into his queue.
    pub fn tell(&self, traced: &Traced) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.events.try_send(traced.clone()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whom he traces.
    pub fn user(&self) -> UserId {
        self.user
    }

    /// Whether he has left.
    pub fn is_gone(&self) -> bool {
        self.events.is_closed()
    }
}
