//! The part of the main thread when one process takes over from another.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGHUP;

use super::listeners::Listeners;
use super::predecessor::{Handed, Predecessor};
use super::successor::Visit;
use super::{Event, Server, ServerError, deadline};
use crate::core::mesh::message::Command;
use crate::handover::Given;
use crate::private::books::Books;

/// How often it is looked whether the connections have ended that are left.
const LEAVE_LOOK: Duration = Duration::from_millis(100);

/// How much longer than an idle connection they may take.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

impl Server<'_> {
    /// Follows the process before, and serves; whether everything is to be read again.
    pub(super) fn take_over(
        &mut self,
        mut before: Predecessor,
        listeners: &mut Listeners,
        copies: &mut Vec<(Given, OwnedFd)>,
        is_ending: &dyn Fn() -> bool,
    ) -> Result<bool, ServerError> {
        let count = self.cores.count();
        let (sockets, given) = listeners.for_cores(self.config, count);
        *copies = given;
        self.cores.open(sockets)?;
        let Handed { promised, reload, off } =
            before.follow(&self.cores, is_ending, self.books.as_mut())?;
        listeners.steer(self.config, count);
        for service in off {
            self.cores.tell_all(&Command::Switch(service, false));
            self.state.switch(service, false);
        }
        self.cores.serve(promised)?;
        before.succeed(&self.cores, self.books.as_ref().map(Books::begin_to_write));
        Ok(reload)
    }

    /// Hears somebody who takes over, or speaks of that.
    pub(super) fn receive(&mut self, visit: Visit) {
        let Some(successors) = &mut self.successors else { return };
        match visit {
            Visit::StartWanted(asking) => successors.start(asking),
            Visit::Ended(text) => successors.ended(&text),
            Visit::Said(number, said) => successors.said(number, said, &self.cores),
            Visit::Successor(talk) => {
                // It begins with what is known here.
                if let Some(lookups) = &self.lookups {
                    lookups.keep();
                }
                // What the API would change now, the other one would not know.
                self.state.set_handing_over(true);
                successors.welcome(talk, &self.cores, &self.snapshots.data());
            }
        }
    }

    /// Does what is next for a process that takes over; true when it has.
    pub(super) fn hands_over(&mut self) -> Result<bool, ServerError> {
        let Some(successors) = &mut self.successors else { return Ok(false) };
        if successors.wants_snapshot() && !self.snapshots.under_way() {
            self.snapshots.start(&self.cores, &self.state, self.clock);
            if self.snapshots.under_way() {
                successors.snapshot_begun();
            }
        }
        if successors.is_coming() {
            successors.switched_off(self.state.switched_off());
        }
        let handed = successors.is_ready(&self.cores)
            && successors
                .hand_over(&self.cores, &self.arriving, &mut self.postponed, self.books.as_mut())
                .map_err(|error| ServerError::JournalNotGoneOn(Box::new(error)))?;
        self.state.set_handing_over(successors.is_coming());
        Ok(handed)
    }

    /// Ends the connections that are left after another process serves, and then the cores. Nothing is written: that is
    /// the other one's.
    pub(super) fn leave(self) {
        let until = Instant::now() + self.config.http_idle_timeout + LEAVE_GRACE;
        let is_ending = || {
            let event = self.signals.recv_timeout(LEAVE_LOOK);
            event.is_ok_and(|event| !matches!(event, Event::Signal(SIGHUP)))
        };
        if let Some(books) = self.books {
            books.leave();
        }
        if let Some(successors) = &self.successors {
            successors.say_books_left();
            successors.leave(&self.cores, until, &is_ending);
        }
        deadline::end_within(deadline::FAILURE);
        self.cores.stop();
        tracing::info!("left");
    }
}
