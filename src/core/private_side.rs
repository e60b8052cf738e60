//! Where the engine meets its private side: announces of users, and what the site changed, which every core is told.

use std::net::IpAddr;

use ops::counters::{Family, Protocol};
use persist::Trouble;
use shard::{Seconds, private};

use crate::core::Engine;
use crate::core::mesh::message::{Command, Message, Wish};
use crate::core::mesh::told::Unconfirmed;
use crate::private::core::{Booked, Lent, Private};

static DROWNING: Trouble = Trouble::new();
/// Trouble with a site that wants more than it may have.
static BEYOND: Trouble = Trouble::new();

impl Engine {
    /// The private side, for those that only a private tracker's requests come to.
    pub fn private(&self) -> &Private {
        self.private.as_ref().expect("only a private tracker hears this")
    }

    /// The same, to change it. What follows for other cores is said to them by [`Engine::change`].
    pub fn private_mut(&mut self) -> &mut Private {
        self.private.as_mut().expect("only a private tracker hears this")
    }

    /// Applies a user's announce of a torrent that this core owns, and leaves the answer in `self.reply`. One that `waits`
    /// was turned away before.
    pub fn book(
        &mut self,
        announce: &private::Announce,
        protocol: Protocol,
        family: Family,
        waits: bool,
        now: Seconds,
    ) -> Booked {
        let interval = self.next_interval(now);
        let at = &announce.endpoints;
        if let Some(address) = at.address_v4().map(IpAddr::V4).or(at.address_v6().map(IpAddr::V6)) {
            self.crowd.note(address);
        }
        let Self { private, random, reply, counters, draining, clock, .. } = self;
        let private = private.as_mut().expect("announces of users come to a private tracker");
        let (draining, steady) = (*draining, clock.steady_at(now));
        let lent = Lent { random, reply, counters, draining, interval, waits, steady };
        let booked = private.book(announce, protocol, family, now, lent);
        if self.hurried_rounds > 0 {
            self.withhold_refused();
        }
        booked
    }

    /// Sends on to the journal what somebody waits for.
    pub fn hurry(&mut self) {
        if let Some(private) = &mut self.private {
            private.outgoing.hurry();
        }
    }

    /// Has the private side do something, and tells every core what follows for all.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Private) -> T) -> T {
        let private = self.private_mut();
        let done = change(private);
        for command in std::mem::take(&mut private.to_tell) {
            match command {
                Command::Interval(wish) => self.grant_interval(wish),
                command => self.tell_cores(&command),
            }
        }
        done
    }

    /// Has every core answer other intervals, and says which; until the next start.
    fn grant_interval(&mut self, wish: Wish) {
        self.tell_cores(&Command::Interval(wish));
        let (interval, jitter) = self.interval.in_force();
        let (wanted, granted) = match wish {
            Wish::Interval(wanted) => (wanted, interval),
            Wish::Jitter(wanted) => (wanted, jitter),
        };
        if wanted == granted {
            tracing::info!(
                interval = interval.0,
                jitter = jitter.0,
                "the site has set the announce interval, until the next start"
            );
        } else if let Some(times) = BEYOND.again(&format!("{wish:?}")) {
            tracing::warn!(
                times,
                wanted = wanted.0,
                interval = interval.0,
                jitter = jitter.0,
                "the site wants an announce interval beyond interval-min and interval-max, or a jitter \
                 beyond half of it; the nearest is in force, until the next start"
            );
        }
    }

    /// Does what every core does when the site has said something.
    pub fn obey_command(&mut self, command: Command) {
        match (&mut self.private, command) {
            (None, _) => {}
            (Some(_), Command::Interval(wish)) => self.interval.grant(wish),
            (Some(private), command) => private.obey_command(command),
        }
    }

    /// Whether a change of the site can be begun.
    pub fn can_change(&self) -> Result<(), Unconfirmed> {
        let full = self.private.as_ref().is_some_and(|private| private.outgoing.is_full_for_site());
        match (self.draining, full) {
            (true, _) => Err(Unconfirmed::Stopping),
            (false, true) => Err(Unconfirmed::JournalFull),
            (false, false) => Ok(()),
        }
    }

    /// Does a command here at once, and on the other cores as soon as they come to it.
    pub fn tell_cores(&mut self, command: &Command) {
        for core in 0..self.mesh.len() {
            if core == self.number {
                self.obey_command(command.clone());
                continue;
            }
            let quiet = self.unheard.is_empty();
            let mut unheard = std::mem::take(&mut self.unheard);
            let heard = unheard.say(core, command.clone(), |to, command| self.say(to, command));
            self.unheard = unheard;
            if quiet
                && !heard
                && let Some(times) = DROWNING.again("")
            {
                tracing::warn!(
                    core,
                    times,
                    "a core is drowning; it hears later what the site changed"
                );
            }
        }
    }

    /// Says to the other cores what they had no room to hear.
    pub fn tell_unheard(&mut self) {
        let mut unheard = std::mem::take(&mut self.unheard);
        unheard.say_again(|to, command| self.say(to, command));
        self.unheard = unheard;
    }

    fn say(&mut self, to: usize, command: Command) -> Result<(), Command> {
        match self.send(to, Message::Command(command)) {
            Err(Message::Command(back)) => Err(back),
            _ => Ok(()),
        }
    }
}
