//! How long a connection may last: as long as it is given, again and again.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The time of one connection, for those who may prolong it.
#[derive(Clone, Debug)]
pub(super) struct Lease(Arc<Mutex<Instant>>);

impl Lease {
    /// So long from now.
    pub(super) fn new(time: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + time)))
    }

    /// So long from now, if that is longer.
    pub(super) fn extend(&self, time: Duration) {
        let mut end = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *end = (*end).max(Instant::now() + time);
    }

    fn end(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `connection`; `None` when its time is over before.
    pub(super) async fn bound<F: Future>(&self, connection: F) -> Option<F::Output> {
        let mut connection = std::pin::pin!(connection);
        loop {
            let end = self.end();
            tokio::select! {
                done = &mut connection => return Some(done),
                () = sleep_until(end) => if self.end() <= end { return None },
            }
        }
    }
}
