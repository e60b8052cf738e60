//! Threads that end when they are told to, and that nobody waits for longer than he wants.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

/// A thread that is asked to end by [`Stoppable::stop`], or when this is dropped.
#[derive(Debug)]
pub struct Stoppable {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// By which such a thread learns that it is to end.
#[derive(Debug)]
pub struct StopSign(Receiver<()>);

impl Stoppable {
    /// Starts a thread of this name, 15 bytes at most (`pthread_setname_np(3)`). What it runs looks at the sign.
    pub fn start(name: &str, run: impl FnOnce(StopSign) + Send + 'static) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let thread =
            thread::Builder::new().name(name.into()).spawn(move || run(StopSign(stopped)))?;
        Ok(Self { stop, thread })
    }

    /// Asks the thread to end. One that waits for something longer than `patience` is left alone, and ends when
    /// that answers.
    pub fn stop(self, patience: Duration) {
        drop(self.stop);
        join_within(self.thread, patience, || {});
    }
}

impl StopSign {
    /// Waits for `time`, or until the thread is to end; whether it is.
    pub fn comes_within(&self, time: Duration) -> bool {
        self.0.recv_timeout(time) == Err(RecvTimeoutError::Disconnected)
    }
}

/// Waits until `thread` has ended, for `patience` at most, and calls `wake` now and then.
pub(crate) fn join_within(thread: JoinHandle<()>, patience: Duration, wake: impl Fn()) {
    let deadline = Instant::now() + patience;
    while !thread.is_finished() && Instant::now() < deadline {
        wake();
        thread::sleep(POLL);
    }
    if thread.is_finished() {
        let _ = thread.join(); // It has said itself what it panicked about.
    }
}

/// How often a thread is looked at that is to end.
const POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_ends_when_it_is_told_and_one_that_does_not_is_left_alone() {
        let (said, hear) = bounded(1);
        let thread = Stoppable::start("ends", move |sign| {
            while !sign.comes_within(Duration::from_secs(60)) {}
            said.send(()).expect("somebody hears");
        });
        thread.expect("a thread").stop(Duration::from_secs(60));
        assert_eq!(hear.try_recv(), Ok(()), "it has ended before stop returned");

        let (go, wait) = bounded::<()>(0);
        let thread = Stoppable::start("stays", move |_| _ = wait.recv()).expect("a thread");
        thread.stop(Duration::from_millis(1));
        assert_eq!(go.send(()), Ok(()), "it still waits");
    }
}
