//! What the site writes into the database by itself, taken in.

use std::sync::Arc;

use persist::postgres::{Heard, Seen, Stored};
use shard::private::{Change, User, UserId};

use super::Books;
use crate::core::mesh::message::{Command, SeenRow};

impl Books {
    /// Takes in what the site wrote into the database by itself. What was said through the tracker and is
    /// not there yet stays, column by column, where it was said later.
    /// Whether all has to be compared with it, because it cannot be said what it wrote.
    pub(crate) fn hear(&self, heard: Heard, tell_all: &dyn Fn(&Command)) -> bool {
        let said_at = heard.said_at();
        let position = heard.moment.position(self.journal.status().id());
        let (change, figures) = match heard.seen {
            seen @ Seen::Reload => return !self.has_heard(&seen),
            // What was said before the start and is not there yet is not known one by one. The comparison
            // waits until it is there.
            _ if position < self.tail.1 => return true,
            Seen::UserGone(id) => {
                self.accounts.written(position);
                self.forget(id, tell_all);
                return false;
            }
            Seen::Change(change) => (change, None),
            Seen::Torrent(Stored { change, figures }) => {
                (change, Some((figures.snatches, figures.balance)))
            }
        };
        match change {
            Change::User { id, passkey, can_leech, hidden, enabled, group } => {
                self.accounts.written(position);
                let user = User { id, can_leech, hidden, group };
                let became = self.accounts.hear(passkey, user, enabled, &said_at);
                let known = became.known;
                tell_all(&match known.enabled {
                    true => Command::Rights(known.user),
                    false => Command::UserGone(id),
                });
                return became.contested;
            }
            Change::Group { id, downloads_max, .. } => {
                self.accounts.groups().put(id, downloads_max);
            }
            Change::GroupRemoved { id } => self.accounts.groups().remove(id),
            Change::ClientRule { ref prefix, .. } | Change::ClientRuleRemoved { ref prefix } => {
                let mut unwritten = self.site.unwritten_rules();
                unwritten.written(position);
                // The tracker is about to write over it.
                if unwritten.has(prefix) {
                    return true;
                }
                drop(unwritten);
                let rules = self.site.change_rules(|rules| match change {
                    Change::ClientRule { prefix, allow } => _ = rules.insert(prefix, allow),
                    Change::ClientRuleRemoved { prefix } => _ = rules.remove(&prefix),
                    _ => {}
                });
                tell_all(&Command::ClientRules(rules));
            }
            change => {
                // Of two with one number the database keeps one, and here it may be the other.
                let contested = match &change {
                    Change::Torrent { id, info_hash, .. } => {
                        self.site.numbers().is_of_another(*id, info_hash)
                    }
                    _ => false,
                };
                let row = SeenRow { change, figures, said_at, position };
                tell_all(&Command::Seen(Arc::new(row)));
                return contested;
            }
        }
        false
    }

    /// Whether this says that notices may be missing, and none is: the first connection was there before all
    /// was loaded. Only the first time: the next connection has something to make up for.
    pub(crate) fn has_heard(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Reload) && self.hears_all.take()
    }

    fn forget(&self, id: UserId, tell_all: &dyn Fn(&Command)) {
        if self.accounts.hear_gone(id) {
            tell_all(&Command::UserGone(id));
        }
    }
}
