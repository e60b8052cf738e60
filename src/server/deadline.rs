//! An end that does not wait for ever, whatever hangs: a disk, a database, a core.

use std::process;
use std::time::Duration;

/// How long a stop may take. A last snapshot takes seconds; the rest is for a slow disk.
pub(super) const STOP: Duration = Duration::from_secs(300);

/// How long what is left may take when the tracker ends because something has failed.
pub(super) const FAILURE: Duration = Duration::from_secs(20);

/// Ends the process with status 1 when it is not over in `time`.
pub(super) fn end_within(time: Duration) {
    let watch = move || {
        std::thread::sleep(time);
        tracing::error!(
            seconds = time.as_secs(),
            "the tracker does not come to its end: does the disk hang? It ends without; what is not on the disk \
             yet is lost, the snapshots are as they were"
        );
        process::exit(1);
    };
    let thread = std::thread::Builder::new().name("margay-deadline".to_owned());
    if let Err(error) = thread.spawn(watch) {
        tracing::warn!(%error, "cannot start a thread; the end has no time limit");
    }
}
