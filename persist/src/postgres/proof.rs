//! Proves now and then that notices come through.
//!
//! A pooler that gives connections to transactions, as PgBouncer does in its modes `transaction` and
//! `statement`, takes `LISTEN` and lets nobody hear anything, without a word. So a notice is sent over
//! another connection and has to be heard.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use super::{Database, DatabaseError};

/// Whether the connection hears.
#[derive(Debug)]
pub(super) struct Proof {
    /// When a notice is to be sent.
    due: Instant,
    /// A notice that was sent, and until when it has to be heard.
    sent: Option<(String, Instant)>,
    /// The last one was not heard.
    is_deaf: bool,
}

/// The fate of a notice that was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proven {
    /// It was heard, and the one before was not.
    HearsAgain,
    /// It was not heard in time.
    Deaf,
}

/// The beginning of our own notices; those of other trackers begin so, too.
const PAYLOAD: &str = "heard? ";

/// How often it is proven, and how often while nothing is heard.
const PERIOD: Duration = Duration::from_secs(300);
const DEAF_PERIOD: Duration = Duration::from_secs(30);

/// How long a notice may take. A server that is that slow is taken for a deaf connection: what the site changes
/// is compared then.
const PATIENCE: Duration = Duration::from_secs(5);

impl Proof {
    /// To be sent at once.
    pub(super) fn new() -> Self {
        Self { due: Instant::now(), sent: None, is_deaf: false }
    }

    /// Sends a notice over a connection of its own, if it is time for one.
    pub(super) fn send(&mut self, database: &Database, channel: &str) -> Result<(), DatabaseError> {
        if self.sent.is_some() || Instant::now() < self.due {
            return Ok(());
        }
        // Whether it is sent or not, the next one is not due before that.
        self.due = Instant::now() + if self.is_deaf { DEAF_PERIOD } else { PERIOD };
        // Another tracker's is another one.
        let payload = format!("{PAYLOAD}{:016x}", RandomState::new().build_hasher().finish());
        let mut client = database.connect("proof that notices are heard")?;
        client
            .execute("SELECT pg_notify($1, $2)", &[&channel, &payload])
            .map_err(database.failed("send a notice"))?;
        self.sent = Some((payload, Instant::now() + PATIENCE));
        Ok(())
    }

    /// Takes in a notice; whether it was one of these.
    pub(super) fn hear(&mut self, payload: &str) -> Option<Option<Proven>> {
        let is_proof = payload.starts_with(PAYLOAD);
        if self.sent.as_ref().is_some_and(|(sent, _)| sent == payload) {
            self.sent = None;
            let was_deaf = std::mem::take(&mut self.is_deaf);
            if was_deaf {
                self.due = Instant::now() + PERIOD;
            }
            return Some(was_deaf.then_some(Proven::HearsAgain));
        }
        is_proof.then_some(None)
    }

    /// Whether the one that was sent should have been heard by now.
    pub(super) fn look(&mut self) -> Option<Proven> {
        let (_, until) = self.sent.as_ref()?;
        if Instant::now() < *until {
            return None;
        }
        self.sent = None;
        self.is_deaf = true;
        self.due = Instant::now() + DEAF_PERIOD;
        Some(Proven::Deaf)
    }
}
