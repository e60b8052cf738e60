//! How threads beside the cores tell them something, and wait until all of them are past it.

use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender};

use crate::core::mesh::Address;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::Step;

/// Why the cores are not past something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreached {
    #[error("a core has ended")]
    Ended,
    #[error("a core takes nothing out of its inbox")]
    Stuck,
    #[error("the journal does not take what has happened")]
    Journal,
}

/// How long the cores may take to hand the journal what they have, and the journal to write it, where nobody waits for that.
pub(crate) const HAND_OVER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a core's inbox may be full.
const INBOX_PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the journal has, on the disk, everything that the cores have done so far; for so long at most.
pub(crate) fn hand_over(cores: &[Address<Message>], patience: Duration) -> Result<(), Unreached> {
    let (sender, done) = crossbeam_channel::bounded(cores.len());
    tell_all(cores, &Command::HandOver(sender))?;
    let until = Instant::now() + patience;
    for _ in cores {
        match done.recv_deadline(until) {
            Ok(true) => {}
            Ok(false) | Err(RecvTimeoutError::Timeout) => return Err(Unreached::Journal),
            Err(RecvTimeoutError::Disconnected) => return Err(Unreached::Ended),
        }
    }
    Ok(())
}

/// Has every core take a step of a take-over and say something; what they say, in any order.
pub(crate) fn ask_all<T>(
    cores: &[Address<Message>],
    step: impl FnOnce(Sender<T>) -> Step,
) -> Result<Vec<T>, Unreached> {
    let (sender, answers) = crossbeam_channel::bounded(cores.len());
    tell_all(cores, &Command::Succession(step(sender)))?;
    let until = Instant::now() + STEP_PATIENCE;
    let answer = |_| match answers.recv_deadline(until) {
        Ok(answer) => Ok(answer),
        Err(RecvTimeoutError::Timeout) => Err(Unreached::Stuck),
        Err(RecvTimeoutError::Disconnected) => Err(Unreached::Ended),
    };
    cores.iter().map(answer).collect()
}

/// How long a core may take for a step of a take-over.
const STEP_PATIENCE: Duration = Duration::from_secs(2);

/// Gives every core a command, also when some do not take it.
pub(crate) fn tell_all(cores: &[Address<Message>], command: &Command) -> Result<(), Unreached> {
    let until = Instant::now() + INBOX_PATIENCE;
    let mut told = Ok(());
    for address in cores {
        told = tell(address, command.clone(), until).and(told);
    }
    told
}

/// Gives one core a command.
pub(crate) fn tell_one(core: &Address<Message>, command: Command) -> Result<(), Unreached> {
    tell(core, command, Instant::now() + INBOX_PATIENCE)
}

/// Waits for room in a core's inbox, which one that serves makes at once.
fn tell(address: &Address<Message>, command: Command, until: Instant) -> Result<(), Unreached> {
    let mut message = Message::Command(command);
    while let Err(back) = address.send(message) {
        if address.has_ended() {
            return Err(Unreached::Ended);
        }
        if Instant::now() > until {
            return Err(Unreached::Stuck);
        }
        message = back;
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::mesh::{self, INBOX_MESSAGES_MAX};

    #[test]
    fn who_has_ended_is_not_waited_for_and_the_others_are_told() {
        let (addresses, mut inboxes) = mesh::inboxes::<Message>(3);
        // Full, and then nobody is there to make room.
        for _ in 0..INBOX_MESSAGES_MAX {
            assert!(addresses[0].send(Message::Command(Command::Drain)).is_ok());
        }
        drop(inboxes.remove(0));
        assert!(matches!(tell_all(&addresses, &Command::Drain), Err(Unreached::Ended)));
        for inbox in &inboxes {
            assert!(matches!(inbox.take(), Some(Message::Command(Command::Drain))));
        }
        assert!(matches!(hand_over(&addresses, HAND_OVER_PATIENCE), Err(Unreached::Ended)));
    }
}
