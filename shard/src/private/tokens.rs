//! Tokens: what a user downloads of a torrent is free.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{TokenRecord, UserId};
use crate::Seconds;

/// Tokens by the slot of their torrent and their user.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    tokens: BTreeMap<(u32, UserId), Option<Seconds>>,
    /// Where the sweep goes on.
    swept: Option<(u32, UserId)>,
}

impl Tokens {
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(crate) fn set(&mut self, slot: u32, user: UserId, expires_at: Option<Seconds>) {
        self.tokens.insert((slot, user), expires_at);
    }

    pub(crate) fn has(&self, slot: u32, user: UserId, now: Seconds) -> bool {
        let expires_at = self.tokens.get(&(slot, user));
        expires_at.is_some_and(|at| at.is_none_or(|at| now < at))
    }

    pub(crate) fn remove(&mut self, slot: u32, user: UserId) -> bool {
        self.tokens.remove(&(slot, user)).is_some()
    }

    /// The tokens of a torrent for users after this one, or for all users.
    pub(crate) fn of(
        &self,
        slot: u32,
        after: Option<UserId>,
    ) -> impl Iterator<Item = TokenRecord> + '_ {
        let from = match after {
            Some(user) => Bound::Excluded((slot, user)),
            None => Bound::Included((slot, UserId(0))),
        };
        let tokens = self.tokens.range((from, Bound::Included((slot, UserId(u32::MAX)))));
        tokens.map(|((_, user), expires_at)| TokenRecord { user: *user, expires_at: *expires_at })
    }

    /// All tokens from the one after this on, each with the place of its torrent.
    pub(crate) fn after(
        &self,
        after: Option<(u32, UserId)>,
    ) -> impl Iterator<Item = (u32, TokenRecord)> + '_ {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let tokens = self.tokens.range((from, Bound::Unbounded));
        tokens.map(|((slot, user), expires_at)| {
            (*slot, TokenRecord { user: *user, expires_at: *expires_at })
        })
    }

    /// Drops up to `budget` tokens of a torrent; how many it was.
    pub(crate) fn bury(&mut self, slot: u32, budget: usize) -> usize {
        let mut buried = 0;
        while buried < budget {
            let next = self.of(slot, None).next();
            let Some(token) = next else { break };
            self.tokens.remove(&(slot, token.user));
            buried += 1;
        }
        buried
    }

    /// Looks at the next `budget` tokens and drops those that are over.
    pub(crate) fn sweep(&mut self, now: Seconds, budget: usize) {
        for _ in 0..budget {
            let from = self.swept.map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.tokens.range((from, Bound::Unbounded)).next();
            let Some((token, over)) =
                next.map(|(token, at)| (*token, at.is_some_and(|at| at <= now)))
            else {
                self.swept = None;
                return;
            };
            self.swept = Some(token);
            if over {
                self.tokens.remove(&token);
            }
        }
    }
}
