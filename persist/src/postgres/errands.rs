//! Work that waits for the database, on threads of its own, so that who needs it waits no longer than he
//! can.
//!
//! The driver blocks for as long as the server does, and a process that was stopped keeps its connections
//! open. So whoever cannot wait for ever has the waiting done elsewhere. A thread that is left behind is
//! remembered: the next one who wants the same waits for it, and takes what it brings, before another one
//! is started. So there are never more of them than there were callers at once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::DatabaseError;

/// Threads that were left behind, by what they are for.
pub(super) struct Errands<T> {
    left: Mutex<HashMap<String, Vec<Errand<T>>>>,
}

struct Errand<T> {
    result: Receiver<Result<T, DatabaseError>>,
    signs: Arc<Signs>,
}

/// The signs of what a thread does, for who waits for it.
#[derive(Default)]
pub(super) struct Signs {
    doing: Mutex<String>,
    /// The server has begun with the work itself, and it may take its time.
    working: AtomicBool,
    /// Grows with each answer.
    answers: AtomicU64,
}

impl Signs {
    /// Says what is waited for from now on.
    pub(super) fn begin(&self, doing: impl Into<String>, working: bool) {
        *self.doing.lock().expect("nobody panics with it") = doing.into();
        self.working.store(working, Ordering::Relaxed);
    }

    /// An answer came; the work that may take its time is over with the first one.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        self.working.store(false, Ordering::Relaxed);
    }

    /// The task that is waited for.
    pub(super) fn doing(&self) -> String {
        self.doing.lock().expect("nobody panics with it").clone()
    }

    /// Whether it may take its time.
    pub(super) fn works(&self) -> bool {
        self.working.load(Ordering::Relaxed)
    }

    /// How many answers came.
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl<T> Default for Errands<T> {
    fn default() -> Self {
        Self { left: Mutex::default() }
    }
}

impl<T: Send + 'static> Errands<T> {
    /// Has work done on a thread. When `patience` is over, `longer` says how much longer to wait; with
    /// `None` the thread is left behind, and the signs that it gave are the error.
    pub(super) fn run(
        &self,
        name: &str,
        patience: Duration,
        mut longer: impl FnMut(&Signs) -> Option<Duration>,
        work: impl FnOnce(&Signs) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<Result<T, DatabaseError>, Arc<Signs>> {
        let deadline = Instant::now() + patience;
        while let Some(errand) = self.take(name) {
            match wait(&errand, deadline, &mut longer) {
                Ok(done) => return Ok(Ok(done)),
                // It failed then; what counts is now.
                Err(Ended::Failed(_) | Ended::Gone) => {}
                Err(Ended::Late) => return Err(self.leave(name, errand)),
            }
        }
        let signs = Arc::new(Signs::default());
        // Handed over from hand to hand: what nobody takes is dropped by the thread that has it.
        let (sender, result) = bounded(0);
        let errand = Errand { result, signs: signs.clone() };
        let work = move || {
            let result = work(&signs);
            let _ = sender.send_timeout(result, KEPT);
        };
        if let Err(error) = thread::Builder::new().name("margay-waits".into()).spawn(work) {
            return Ok(Err(DatabaseError::Thread(error)));
        }
        match wait(&errand, deadline, &mut longer) {
            Ok(done) => Ok(Ok(done)),
            Err(Ended::Failed(error)) => Ok(Err(error)),
            Err(Ended::Gone) => {
                Ok(Err(DatabaseError::Thread(std::io::Error::other("it ended early"))))
            }
            Err(Ended::Late) => Err(self.leave(name, errand)),
        }
    }

    fn take(&self, name: &str) -> Option<Errand<T>> {
        self.left.lock().expect("nobody panics with it").get_mut(name)?.pop()
    }

    fn leave(&self, name: &str, errand: Errand<T>) -> Arc<Signs> {
        let signs = errand.signs.clone();
        let mut left = self.left.lock().expect("nobody panics with it");
        left.entry(name.to_owned()).or_default().push(errand);
        signs
    }
}

enum Ended {
    Failed(DatabaseError),
    /// The thread is no more.
    Gone,
    Late,
}

fn wait<T>(
    errand: &Errand<T>,
    mut deadline: Instant,
    longer: &mut impl FnMut(&Signs) -> Option<Duration>,
) -> Result<T, Ended> {
    loop {
        match errand.result.recv_deadline(deadline) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => return Err(Ended::Failed(error)),
            Err(RecvTimeoutError::Disconnected) => return Err(Ended::Gone),
            Err(RecvTimeoutError::Timeout) => match longer(&errand.signs) {
                Some(more) => deadline = Instant::now() + more,
                None => return Err(Ended::Late),
            },
        }
    }
}

/// Threads that read and hand over what they read, piece by piece. What one brings late is of no use to
/// anybody, so those that were left behind are only counted.
#[derive(Default)]
pub(super) struct Readers {
    left: Mutex<Vec<Weak<Signs>>>,
}

/// The receiver of what a reader sends, and its signs.
pub(super) type Started<M> = (Receiver<M>, Arc<Signs>);

impl Readers {
    /// Starts one; what it sends, and its signs. `None` when too many still wait.
    pub(super) fn start<M: Send + 'static>(
        &self,
        work: impl FnOnce(&Signs, Sender<M>) + Send + 'static,
    ) -> Result<Option<Started<M>>, DatabaseError> {
        let mut left = self.left.lock().expect("nobody panics with it");
        left.retain(|signs| signs.strong_count() > 0);
        if left.len() >= READERS_LEFT_MAX {
            return Ok(None);
        }
        let (sender, receiver) = bounded(PIECES);
        let signs = Arc::new(Signs::default());
        let its_signs = signs.clone();
        let work = move || work(&its_signs, sender);
        thread::Builder::new()
            .name("margay-reads".into())
            .spawn(work)
            .map_err(DatabaseError::Thread)?;
        Ok(Some((receiver, signs)))
    }

    /// This one is not waited for any longer.
    pub(super) fn leave(&self, signs: Arc<Signs>) {
        self.left.lock().expect("nobody panics with it").push(Arc::downgrade(&signs));
    }
}

/// How long what came late is kept for who wants it next. A connection that nobody wants is closed then.
const KEPT: Duration = Duration::from_secs(10);

/// Readers that may be left behind at once.
const READERS_LEFT_MAX: usize = 2;

/// Pieces on their way from a reader; it waits when there are more.
const PIECES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    // A busy machine takes its time to begin a thread.
    const SHORT: Duration = Duration::from_millis(500);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn who_comes_next_takes_what_came_late() {
        let errands = Errands::<u32>::default();
        let (go, gone) = bounded::<()>(1);
        let late = errands.run(
            "x",
            SHORT,
            |_| None,
            move |signs| {
                signs.begin("wait for the test", false);
                let _ = gone.recv();
                Ok(1)
            },
        );
        assert!(late.is_err_and(|signs| signs.doing() == "wait for the test"));
        // Still: nobody starts another one.
        let not_begun = |_: &Signs| -> Result<u32, DatabaseError> { panic!("a second thread") };
        assert!(errands.run("x", SHORT, |_| None, not_begun).is_err());
        // What it is not for does not wait for it.
        let other = errands.run("y", LONG, |_| None, |_| Ok(2));
        assert!(matches!(other, Ok(Ok(2))));
        go.send(()).unwrap();
        let taken = errands.run("x", LONG, |_| None, not_begun);
        assert!(matches!(taken, Ok(Ok(1))));
        let anew = errands.run("x", LONG, |_| None, |_| Ok(3));
        assert!(matches!(anew, Ok(Ok(3))));
    }

    #[test]
    fn what_works_is_waited_for() {
        let errands = Errands::<u32>::default();
        let (go, gone) = bounded::<()>(1);
        let mut go = Some(go);
        let done = errands.run(
            "x",
            SHORT,
            |_| {
                go.take();
                Some(LONG)
            },
            move |_| {
                let _ = gone.recv();
                Ok(1)
            },
        );
        assert!(matches!(done, Ok(Ok(1))));
    }

    #[test]
    fn readers_that_nobody_waits_for_are_few() {
        let readers = Readers::default();
        let mut held = Vec::new();
        for _ in 0..READERS_LEFT_MAX {
            let (hold, held_back) = bounded::<()>(0);
            held.push(hold);
            let started = readers.start(move |_, sender: Sender<()>| {
                let _ = held_back.recv();
                drop(sender);
            });
            readers.leave(started.unwrap().unwrap().1);
        }
        assert!(readers.start(|_, _: Sender<()>| ()).unwrap().is_none());
        held.clear();
        while readers.start(|_, _: Sender<()>| ()).unwrap().is_none() {
            thread::sleep(SHORT);
        }
    }
}
