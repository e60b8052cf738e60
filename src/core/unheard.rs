//! What other cores had no room to hear.
//!
//! A core whose inbox is full still has to learn what a site changed, however late. So commands wait here,
//! each core's in their order, and are said again.

use std::collections::VecDeque;

use super::message::Command;

/// Commands that wait, and to which core each goes.
#[derive(Default)]
pub struct Unheard {
    waiting: VecDeque<(usize, Command)>,
}

impl Unheard {
    /// Says a command to a core, or lets it wait behind what waits for that core already. `say` hands back
    /// what there is no room for. False when it has to wait.
    pub fn say(
        &mut self,
        to: usize,
        command: Command,
        say: impl FnOnce(usize, Command) -> Result<(), Command>,
    ) -> bool {
        let behind = self.waiting.iter().any(|(core, _)| *core == to);
        let unheard = if behind { Err(command) } else { say(to, command) };
        match unheard {
            Ok(()) => true,
            Err(command) => {
                self.waiting.push_back((to, command));
                false
            }
        }
    }

    /// Says again what waits.
    pub fn say_again(&mut self, mut say: impl FnMut(usize, Command) -> Result<(), Command>) {
        let mut full = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some((to, command)) = self.waiting.pop_front() else { return };
            let unheard = if full.contains(&to) { Err(command) } else { say(to, command) };
            if let Err(command) = unheard {
                full.push(to);
                self.waiting.push_back((to, command));
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
    use super::*;
    use shard::private::UserId;

    fn number(command: &Command) -> u32 {
        match command {
            Command::UserGone(UserId(id)) => *id,
            _ => unreachable!("nothing else is said"),
        }
    }

    #[test]
    fn every_core_hears_everything_in_its_order() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut unheard = Unheard::default();
        let mut heard = [const { Vec::new() }; 3];
        let mut say = |to: usize, command: Command, room: bool| {
            if room {
                heard[to].push(number(&command));
                Ok(())
            } else {
                Err(command)
            }
        };
        for id in 0..500 {
            for core in 0..3 {
                let command = Command::UserGone(UserId(id));
                let room = random.u8(..) < 100;
                unheard.say(core, command, |to, command| say(to, command, room));
            }
            unheard.say_again(|to, command| say(to, command, random.bool()));
        }
        while !unheard.is_empty() {
            unheard.say_again(|to, command| say(to, command, random.bool()));
        }
        for core in heard {
            assert_eq!(core, (0..500).collect::<Vec<_>>());
        }
    }
}
