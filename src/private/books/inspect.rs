//! Reads the whole journal again in the background, soon after a start and then once a day: what a disk has lost of it
//! is to be known before a database is restored, which nothing else would find out.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use persist::journal::{Found, Status, inspect};

use crate::process::thread::give_way;

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Inspector(#[expect(dead_code, reason = "to be dropped")] Sender<()>);

impl Inspector {
    /// Starts the thread.
    pub(super) fn start(journal: Arc<Status>) -> io::Result<Self> {
        let (end, ended) = bounded(0);
        thread::Builder::new().name("margay-inspect".into()).spawn(move || {
            give_way();
            let mut wait = AFTER_START;
            while goes_on(&ended, wait) {
                look(&journal, &ended);
                wait = PERIOD;
            }
        })?;
        Ok(Self(end))
    }
}

/// Waits for so long; false when it is to end.
fn goes_on(ended: &Receiver<()>, wait: Duration) -> bool {
    ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
}

fn look(journal: &Status, ended: &Receiver<()>) {
    let mut read = 0_u32;
    let found = inspect(journal.dir(), || {
        read = read.wrapping_add(1);
        !read.is_multiple_of(RECORDS) || goes_on(ended, REST)
    });
    match found {
        Ok(Some(found)) => {
            for Found { path, text } in &found {
                tracing::error!(
                    path = %path.display(),
                    damage = text,
                    "a segment of the journal is damaged: a database that is restored would lack what is in it; save \
                     the database now, and look after the disk"
                );
            }
            journal.note_damage(found);
        }
        // It ends.
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the journal cannot be looked through"),
    }
}

/// A start has other things to do.
const AFTER_START: Duration = Duration::from_secs(5);

/// How often.
const PERIOD: Duration = Duration::from_secs(24 * 3600);

/// After so many records it rests for so long: 100,000 a second at most, some 10 MB.
const RECORDS: u32 = 1000;
const REST: Duration = Duration::from_millis(10);
