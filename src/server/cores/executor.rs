//! The executor of a core, and that it begins.
//!
//! glommio 0.9 puts an executor to sleep when its preemption timer has fired before it came to look at its
//! tasks, though there are some. Later that costs no more than the time to the next event. But one that has just
//! begun has nothing to wait for, and sleeps for ever: on a machine with six busy processes for two cores, about
//! one start in eighty was never ready. So whoever starts one waits until it runs, and otherwise starts another.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

use crate::process::thread;

/// Memory that glommio registers with the kernel for each core. Sockets need none of it.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Operations that one core may have under way in the ring; one for each connection that waits.
const RING_DEPTH: usize = 512;

/// How often a busy core looks at its ring, so that one front end does not keep the other waiting.
const RING_LOOK: Duration = Duration::from_millis(4);

/// How long an executor may take to begin; a thread takes less than a millisecond where there is a processor.
const BEGIN_PATIENCE: Duration = Duration::from_secs(1);

/// How many are started for a core before it is given up.
const STARTS_MAX: usize = 10;

/// Runs `serve` on an executor on this CPU. Where it comes not to run, because the executor cannot be made, it
/// is dropped, and the handle says why.
pub(super) fn spawn<F>(
    cpu: Option<usize>,
    serve: impl FnOnce() -> F + Send + 'static,
) -> Result<ExecutorJoinHandle<()>, String>
where
    F: Future<Output = ()> + 'static,
{
    begin(|_| builder(cpu), BEGIN_PATIENCE, serve)
}

/// The same on the first executor that begins, of those that `builder` makes for the first, the second, and so
/// on.
fn begin<F>(
    builder: impl Fn(usize) -> LocalExecutorBuilder,
    patience: Duration,
    serve: impl FnOnce() -> F + Send + 'static,
) -> Result<ExecutorJoinHandle<()>, String>
where
    F: Future<Output = ()> + 'static,
{
    let serve = Arc::new(Mutex::new(Some(serve)));
    let (news, heard) = crossbeam_channel::bounded(2 * STARTS_MAX);
    let mut handles = Vec::new();
    while handles.len() < STARTS_MAX {
        let (number, its) = (handles.len(), serve.clone());
        let end = End { number, news: news.clone() };
        let run = move || async move {
            let serve = its.lock().expect("nobody panics with it").take();
            if let Some(serve) = serve {
                let _ = end.news.try_send((number, News::Begun)); // There is room.
                serve().await;
            }
        };
        handles.push(builder(number).spawn(run).map_err(|error| error.to_string())?);
        match heard.recv_timeout(patience) {
            Ok((number, News::Begun)) => return Ok(handles.swap_remove(number)),
            // It could not be made, and so could no other one. It says why.
            Ok((number, News::Ended))
                if serve.lock().expect("nobody panics with it").take().is_some() =>
            {
                return Ok(handles.swap_remove(number));
            }
            Ok((_, News::Ended)) | Err(RecvTimeoutError::Timeout) => {
                tracing::warn!(
                    start = number + 1,
                    "a core has not begun after {patience:?}; it is started again"
                );
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("there is a sender here"),
        }
    }
    match serve.lock().expect("nobody panics with it").take() {
        Some(_) => {
            Err(format!("none of {STARTS_MAX} executors has begun; is the machine overloaded?"))
        }
        // One has begun just now, and says so.
        None => loop {
            if let Ok((number, News::Begun)) = heard.recv() {
                return Ok(handles.swap_remove(number));
            }
        },
    }
}

/// The news that an executor tells of itself.
enum News {
    Begun,
    Ended,
}

/// Says that an executor has ended.
struct End {
    number: usize,
    news: Sender<(usize, News)>,
}

impl Drop for End {
    fn drop(&mut self) {
        let _ = self.news.try_send((self.number, News::Ended)); // There is room, or nobody listens any more.
    }
}

fn builder(cpu: Option<usize>) -> LocalExecutorBuilder {
    let placement = match cpu {
        Some(cpu) if thread::can_pin(cpu) => Placement::Fixed(cpu),
        Some(cpu) => {
            tracing::warn!(cpu, "pinning a core to its CPU is refused; it runs unpinned");
            Placement::Unbound
        }
        None => Placement::Unbound,
    };
    LocalExecutorBuilder::new(placement)
        .name("margay-core")
        .io_memory(IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .preempt_timer(RING_LOOK)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// An executor that is never given the time to look at its tasks.
    fn restless() -> LocalExecutorBuilder {
        builder(None).preempt_timer(Duration::from_nanos(1))
    }

    #[test]
    fn a_core_whose_executor_sleeps_at_once_is_started_again() {
        let runs = Arc::new(AtomicUsize::new(0));
        let ran = runs.clone();
        let started = AtomicUsize::new(0);
        let make = |number| {
            started.store(number + 1, Ordering::Relaxed);
            if number < 2 { restless() } else { builder(None) }
        };
        let serve = move || async move { _ = ran.fetch_add(1, Ordering::Relaxed) };
        let handle = begin(make, Duration::from_millis(300), serve).unwrap();
        handle.join().unwrap();
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        println!("{} executors were started", started.load(Ordering::Relaxed));
    }

    #[test]
    fn a_core_that_never_begins_is_given_up() {
        struct Dropped(Arc<AtomicUsize>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        let dropped = Dropped(drops.clone());
        // They begin all the same now and then: so this says only what holds in either case.
        let serve = move || async move { drop(dropped) };
        match begin(|_| restless(), Duration::from_millis(20), serve) {
            Ok(handle) => handle.join().unwrap(),
            Err(why) => assert!(why.contains("none of 10"), "{why}"),
        }
        assert!(drops.load(Ordering::Relaxed) <= 1);
    }
}
