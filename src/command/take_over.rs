//! `margay take-over`: has the running tracker start its successor, and says what became of it.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::Config;
use crate::handover::{HandoverError, Heard, Said, Talk};

/// The options that say which tracker.
pub const OPTIONS: &[&str] = &["config", "data"];

/// How long that may take: a large tracker writes a snapshot and the other one loads it.
const PATIENCE: Duration = Duration::from_secs(1000);

/// Why nobody has taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeOverCommandError {
    /// No tracker serves from there.
    #[error(
        "no margay serves from the data folder {data}, or it is another user's; start one, or name its folder with \
         --data"
    )]
    Nobody {
        /// The data folder.
        data: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It does not say what has become of it.
    #[error("the running margay does not say what has become of its successor")]
    Broken(#[from] HandoverError),
    /// It has not.
    #[error("{0}")]
    NotDone(String),
    /// Standard output is gone.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

/// Asks, waits, and says what has become of it.
pub fn run(config: &Config, out: &mut impl Write) -> Result<(), TakeOverCommandError> {
    let talk = Talk::begin(&config.data)
        .map_err(|source| TakeOverCommandError::Nobody { data: config.data.clone(), source })?;
    talk.say(&Said::Start)?;
    match talk.hear(Some(PATIENCE))? {
        Heard::Said(Said::Outcome { done: true, text }, _) => Ok(writeln!(out, "{text}")?),
        Heard::Said(Said::Outcome { done: false, text }, _) => {
            Err(TakeOverCommandError::NotDone(text))
        }
        other => Err(HandoverError::Unexpected(format!("{other:?}")).into()),
    }
}
