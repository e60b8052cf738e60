//! The site's rules for torrents and tokens, for whoever compares them with the site's own books.

use std::collections::BTreeSet;

use super::{Change, Gone, Refusal, Swarms, Terms, TorrentId, UserId};
use crate::{InfoHash, Seconds};

/// The rules of some torrents, and the tokens for them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rules {
    /// Registered torrents, with their second names.
    pub torrents: Vec<(InfoHash, Option<InfoHash>, Terms)>,
    /// Tokens of any of the torrents so far.
    pub tokens: Vec<HeldToken>,
}

/// A token, and for what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldToken {
    /// The user who has it.
    pub user: UserId,
    /// For which torrent, by number.
    pub torrent: TorrentId,
    /// For which torrent, by name.
    pub info_hash: InfoHash,
    /// When it ends by itself.
    pub expires_at: Option<Seconds>,
}

/// How far a reading of the rules has come. Starts at `RulesCursor::default()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RulesCursor {
    slot: u32,
    /// The torrent at `slot` was read up to the token of this user.
    token: Option<UserId>,
}

/// Which torrents and tokens have changed since somebody began to watch.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    torrents: BTreeSet<InfoHash>,
    tokens: BTreeSet<(UserId, InfoHash)>,
}

/// More changes than that while somebody watches, and everything counts as changed.
const CHANGED_MAX: usize = 100_000;

impl Changed {
    pub(crate) fn torrent(&mut self, info_hash: &InfoHash) {
        if self.torrents.len() <= CHANGED_MAX {
            self.torrents.insert(*info_hash);
        }
    }

    pub(crate) fn token(&mut self, user: UserId, info_hash: &InfoHash) {
        if self.tokens.len() <= CHANGED_MAX {
            self.tokens.insert((user, *info_hash));
        }
    }

    fn has(&self, change: &Change) -> bool {
        if self.torrents.len().max(self.tokens.len()) > CHANGED_MAX {
            return true;
        }
        match change {
            Change::Torrent { info_hash, .. } | Change::TorrentRemoved { info_hash, .. } => {
                self.torrents.contains(info_hash)
            }
            Change::Token { user, info_hash, .. }
            | Change::TokenRemoved { user, info_hash, .. } => {
                self.torrents.contains(info_hash) || self.tokens.contains(&(*user, *info_hash))
            }
            Change::User { .. }
            | Change::Former { .. }
            | Change::FormerRemoved { .. }
            | Change::Group { .. }
            | Change::GroupRemoved { .. }
            | Change::ClientRule { .. }
            | Change::ClientRuleRemoved { .. } => false,
        }
    }
}

impl Swarms {
    /// Appends the rules of the next torrents and their tokens to `rules`, about `max` of both; true when
    /// the end is reached. Changes may come between two calls: what came is perhaps missing.
    pub fn rules(&self, cursor: &mut RulesCursor, max: usize, rules: &mut Rules) -> bool {
        for _ in 0..max.max(1) {
            if cursor.slot >= self.torrents.end() {
                return true;
            }
            let torrent = self.torrents.get(cursor.slot);
            if torrent.is_registered() {
                if cursor.token.is_none() {
                    let second = self.second_name(cursor.slot);
                    rules.torrents.push((torrent.info_hash, second, torrent.terms));
                }
                if torrent.has_tokens {
                    for token in self.tokens.of(cursor.slot, cursor.token) {
                        rules.tokens.push(HeldToken {
                            user: token.user,
                            torrent: torrent.terms.id,
                            info_hash: torrent.info_hash,
                            expires_at: token.expires_at,
                        });
                        cursor.token = Some(token.user);
                        if rules.torrents.len() + rules.tokens.len() >= max {
                            return false;
                        }
                    }
                }
            }
            *cursor = RulesCursor { slot: cursor.slot + 1, token: None };
            if rules.torrents.len() + rules.tokens.len() >= max {
                return false;
            }
        }
        false
    }

    /// From now on it is noted which torrents and tokens change, or no longer.
    pub fn watch_changes(&mut self, on: bool) {
        self.changed = on.then(Box::default);
    }

    /// Does what [`Swarms::apply`] does, unless the torrent or the token has changed since
    /// [`Swarms::watch_changes`]: then what is here is newer than what somebody read before. Whether it was
    /// done.
    pub fn apply_unless_changed(
        &mut self,
        change: &Change,
        gone: &mut Vec<Gone>,
    ) -> Result<bool, Refusal> {
        if !self.is_unchanged(change) {
            return Ok(false);
        }
        self.apply(change, gone).map(|()| true)
    }

    /// Whether [`Swarms::apply_unless_changed`] would do it.
    pub fn is_unchanged(&self, change: &Change) -> bool {
        self.changed.as_ref().is_some_and(|changed| !changed.has(change))
    }
}
