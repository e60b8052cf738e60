//! Wakes the cores ten times a second.
//!
//! glommio 0.9 puts an executor to sleep though tasks of it could go on, when its preemption timer has fired before it came to
//! look at them (see [`super::executor`]). Mostly the next timer wakes it. But on a machine that gives a core no time for a
//! second all its timers have passed as well, every task could go on, and nothing is left that would wake it: measured
//! at a load of 13 on two processors, a core said nothing for a minute, and went on with the first message of another
//! thread. So there is one that sends such a message.

use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long a core may sleep at most. A wake-up for nothing takes some 20 µs.
const PERIOD: Duration = Duration::from_millis(100);

/// The cores that are woken, for as long as this is there.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<Mutex<Vec<Waker>>>);

impl Pulse {
    /// Wakes those that take part, from now on.
    pub(super) fn begin() -> io::Result<Self> {
        let pulse = Self::default();
        let wakers = Arc::downgrade(&pulse.0);
        let beat = move || {
            while let Some(wakers) = wakers.upgrade() {
                let all = wakers.lock().unwrap_or_else(PoisonError::into_inner).clone();
                drop(wakers);
                all.iter().for_each(Waker::wake_by_ref);
                std::thread::sleep(PERIOD);
            }
        };
        std::thread::Builder::new().name("margay-pulse".to_owned()).spawn(beat)?;
        Ok(pulse)
    }

    /// Has the executor of this task woken; for ever.
    pub(super) async fn take_part(self) {
        let mut takes_part = false;
        poll_fn(|context| {
            if !takes_part {
                takes_part = true;
                let mut wakers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
