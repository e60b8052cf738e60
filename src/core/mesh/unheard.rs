//! Commands that other cores had no room to hear.
//!
//! A core whose inbox is full still has to learn what a site changed, however late. So commands wait here and
//! are said again. Of those about the same thing only the last one waits: there are never more than there
//! are users, twice, and three.

use std::collections::{BTreeMap, HashSet};

use shard::private::UserId;

use super::message::Command;
use crate::core::mesh::message::Wish;

/// Commands that wait: for which core, and what they are about.
#[derive(Default)]
pub struct Unheard {
    waiting: BTreeMap<(usize, Topic), Command>,
}

/// The topic of a command. A later one about the same makes an earlier one needless.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Topic {
    ClientRules,
    /// Before the jitter, which is a share of it.
    Interval,
    Jitter,
    User(UserId),
    Trace(UserId),
    /// No core says anything else to others.
    Other,
}

impl Topic {
    fn of(command: &Command) -> Self {
        match command {
            Command::ClientRules(_) => Self::ClientRules,
            Command::Interval(Wish::Interval(_)) => Self::Interval,
            Command::Interval(Wish::Jitter(_)) => Self::Jitter,
            Command::Rights(user) => Self::User(user.id),
            Command::UserGone(id) => Self::User(*id),
            Command::TraceIntoLog(id, _) => Self::Trace(*id),
            _ => Self::Other,
        }
    }
}

impl Unheard {
    /// Says a command to a core, or lets it wait when others wait for that core already. `say` hands back
    /// what there is no room for. False when it has to wait.
    pub fn say(
        &mut self,
        to: usize,
        command: Command,
        say: impl FnOnce(usize, Command) -> Result<(), Command>,
    ) -> bool {
        let unheard = if self.waits_for(to) { Err(command) } else { say(to, command) };
        unheard.map_err(|command| self.waiting.insert((to, Topic::of(&command)), command)).is_ok()
    }

    /// True while something waits for this core.
    pub fn waits_for(&self, core: usize) -> bool {
        let next = self.waiting.range((core, Topic::ClientRules)..).next();
        next.is_some_and(|((to, _), _)| *to == core)
    }

    /// Says again what waits.
    pub fn say_again(&mut self, mut say: impl FnMut(usize, Command) -> Result<(), Command>) {
        let mut full = HashSet::new();
        for ((to, topic), command) in std::mem::take(&mut self.waiting) {
            let unheard = if full.contains(&to) { Err(command) } else { say(to, command) };
            if let Err(command) = unheard {
                full.insert(to);
                self.waiting.insert((to, topic), command);
            }
        }
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use shard::private::User;

    use super::*;

    /// Of whom a command says that he may download: one who is gone may not.
    fn may_leech(command: &Command) -> (UserId, bool) {
        match command {
            Command::Rights(user) => (user.id, user.can_leech),
            Command::UserGone(id) => (*id, false),
            _ => unreachable!("nothing else is said"),
        }
    }

    #[test]
    fn every_core_knows_in_the_end_what_was_said_last() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut unheard = Unheard::default();
        let mut heard = [const { BTreeMap::new() }; 3];
        let mut said = BTreeMap::new();
        let mut say = |to: usize, command: Command, room: bool| {
            if room {
                let (id, may) = may_leech(&command);
                heard[to].insert(id, may);
                Ok(())
            } else {
                Err(command)
            }
        };
        for _ in 0..500 {
            let id = UserId(random.u32(..20));
            let user = User { id, can_leech: true, hidden: false, group: None };
            let command = if random.bool() { Command::Rights(user) } else { Command::UserGone(id) };
            said.insert(id, may_leech(&command).1);
            for core in 0..3 {
                let room = random.u8(..) < 100;
                unheard.say(core, command.clone(), |to, command| say(to, command, room));
            }
            if random.u8(..) < 30 {
                unheard.say_again(|to, command| say(to, command, random.bool()));
            }
            assert!(unheard.waiting.len() <= 3 * 20);
        }
        while !unheard.is_empty() {
            unheard.say_again(|to, command| say(to, command, random.bool()));
        }
        assert_eq!(heard, [said.clone(), said.clone(), said]);
    }
}
