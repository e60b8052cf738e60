//! How threads beside the cores tell them something, and wait until all of them are past it.

use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use crate::core::message::{Command, Message};
use crate::mesh::Address;

/// Why the cores are not past something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("a core has ended")]
    Ended,
    #[error("the journal does not take what has happened")]
    Journal,
}

/// How long the cores may take to hand the journal what they have, and the journal to write it.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a core's inbox may be full.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the journal has, on the disk, everything that the cores have done so far.
pub(super) fn hand_over(cores: &[Address<Message>]) -> Result<(), Unreached> {
    let (sender, done) = crossbeam_channel::bounded(cores.len());
    tell_all(cores, &Command::HandOver(sender))?;
    let until = Instant::now() + HAND_OVER_PATIENCE;
    for _ in cores {
        match done.recv_deadline(until) {
            Ok(true) => {}
            Ok(false) | Err(RecvTimeoutError::Timeout) => return Err(Unreached::Journal),
            Err(RecvTimeoutError::Disconnected) => return Err(Unreached::Ended),
        }
    }
    Ok(())
}

/// Gives every core a command. One whose inbox stays full has ended.
pub(super) fn tell_all(cores: &[Address<Message>], command: &Command) -> Result<(), Unreached> {
    let until = Instant::now() + INBOX_PATIENCE;
    for address in cores {
        let mut message = Message::Command(command.clone());
        while let Err(back) = address.send(message) {
            if Instant::now() > until {
                return Err(Unreached::Ended);
            }
            message = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}
