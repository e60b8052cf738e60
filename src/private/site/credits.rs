//! What users were credited, for whoever asks the API: read from the database by a thread, so that nothing else
//! waits for it.

use std::collections::HashMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use persist::postgres::{self, Credited};
use persist::{Database, Trouble};
use shard::private::UserId;
use tokio::sync::oneshot;

static AWAY: Trouble = Trouble::new();

/// The thread.
#[derive(Debug)]
pub struct Credits(Sender<Ask>);

/// What users were credited.
pub type Found = HashMap<UserId, Credited>;

#[derive(Debug)]
struct Ask {
    users: Vec<UserId>,
    reply: oneshot::Sender<Found>,
}

impl Credits {
    /// Starts the thread; it ends with this, or when the database answers after that.
    pub fn start(database: Database) -> io::Result<Self> {
        let (ask, asked) = bounded(ASKED_MAX);
        thread::Builder::new()
            .name("margay-credits".into())
            .spawn(move || answer_all(postgres::Credits::new(database), &asked))?;
        Ok(Self(ask))
    }

    /// Asks for these users. Nothing comes while the database is away, or does not answer.
    pub fn ask(&self, users: Vec<UserId>) -> oneshot::Receiver<Found> {
        let (reply, found) = oneshot::channel();
        // Where too many ask already, `reply` is dropped, which is an answer.
        let _ = self.0.try_send(Ask { users, reply });
        found
    }
}

fn answer_all(mut credits: postgres::Credits, asked: &Receiver<Ask>) {
    let mut failed_at: Option<Instant> = None;
    for Ask { users, reply } in asked {
        // Whoever asked may have given up while the database hung.
        if reply.is_closed() || failed_at.is_some_and(|at| at.elapsed() < RETRY_PAUSE) {
            continue;
        }
        match credits.of(&users) {
            Ok(found) => {
                failed_at = None;
                let _ = reply.send(found);
            }
            Err(error) => {
                failed_at = Some(Instant::now());
                if let Some(times) = AWAY.again("") {
                    tracing::warn!(%error, times, "cannot say what users were credited");
                }
            }
        }
    }
}

/// Questions that may wait.
const ASKED_MAX: usize = 16;

/// How long nothing is asked after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
