//! Signals of the operating system, as events.

use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook::iterator::Signals;

use super::{Event, ServerError, system};

/// Signals that wait for the main thread.
const SIGNALS_MAX: usize = 4;

/// A signal to stop that comes sooner after the first one is taken for the same.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// Signals have a queue of their own, so that one that ends the tracker is never lost behind something else. A
/// second one ends it at once, whatever the main thread waits for.
pub(super) fn forward() -> Result<Receiver<Event>, ServerError> {
    // Without a handler, a limit on the size of files (setrlimit(2)) would end the process; with one, writing
    // fails, as on a full disk.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGXFSZ])
        .map_err(|source| system("listen for signals", source))?;
    let (forward, arriving) = crossbeam_channel::bounded(SIGNALS_MAX);
    std::thread::Builder::new()
        .name("margay-signals".to_owned())
        .spawn(move || {
            let mut ending: Option<Instant> = None;
            for signal in signals.forever().filter(|signal| *signal != SIGXFSZ) {
                if [SIGUSR1, SIGUSR2].contains(&signal) {
                    tracing::warn!(
                        signal,
                        "nothing is done at this signal; SIGHUP reads the lists again, SIGTERM stops, and `POST \
                         /snapshot` on the control listener writes a snapshot"
                    );
                    continue;
                }
                let ends = signal != SIGHUP;
                match ending {
                    // timeout(1) and shells may send the first one twice.
                    Some(since) if ends && since.elapsed() < SECOND_SIGNAL_AFTER => continue,
                    Some(_) if ends => {
                        tracing::warn!("stopped by a second signal, without a last snapshot");
                        std::process::exit(1);
                    }
                    _ if ends => ending = Some(Instant::now()),
                    _ => {}
                }
                // A busy main thread reads the lists once for several; the last place is for the end.
                if ends || forward.len() + 1 < SIGNALS_MAX {
                    let _ = forward.try_send(Event::Signal(signal));
                }
            }
        })
        .map_err(|source| system("start a thread", source))?;
    Ok(arriving)
}
