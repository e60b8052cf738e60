//! What the site writes into the database by itself, taken in.

use std::sync::Arc;

use persist::postgres::{Heard, Seen, Stored};
use serde_json::{Value, json};
use shard::Seconds;
use shard::private::{Change, ClientPrefix, GroupId, User, UserId};

use super::Books;
use crate::core::mesh::message::{Command, SeenRow};
use crate::private::site::audit;
use crate::private::users::formers::Former;
use crate::private::users::groups::Group;
use crate::process::clock;

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
                self.audit(|| json!({"row": "users", "id": id.0, "gone": true}));
                self.accounts.written(position);
                self.forget(id, tell_all);
                return false;
            }
            Seen::Change(change) => (change, None),
            Seen::Torrent(Stored { change, figures }) => {
                (change, Some((figures.snatches, figures.balance)))
            }
        };
        self.audit(|| audit::of_row(&change));
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
                became.contested
            }
            Change::Former { user, passkey, good_until } => {
                let former = Former { passkey, good_until };
                self.accounts.hear_former(user, Some(former), position)
            }
            Change::FormerRemoved { user } => self.accounts.hear_former(user, None, position),
            Change::Group { id, name, downloads_max } => {
                self.hear_group(id, Some(Group::named(&name, downloads_max)), position)
            }
            Change::GroupRemoved { id } => self.hear_group(id, None, position),
            Change::ClientRule { prefix, allow } => {
                self.hear_rule(prefix, Some(allow), position, tell_all)
            }
            Change::ClientRuleRemoved { prefix } => {
                self.hear_rule(prefix, None, position, tell_all)
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
                contested
            }
        }
    }

    /// Who it was, the database knows: see `log_statement` of PostgreSQL.
    fn audit(&self, change: impl FnOnce() -> Value) {
        if let Some(audit) = self.site.audit() {
            let now = u32::try_from(clock::unix_millis() / 1000).unwrap_or(u32::MAX);
            audit.note("sql", None, (change(), "done"), Seconds(now));
        }
    }

    /// The same of a group; `None` takes it away.
    fn hear_group(&self, id: GroupId, group: Option<Group>, position: u64) -> bool {
        let groups = self.accounts.groups();
        let mut unwritten = groups.unwritten();
        unwritten.written(position);
        if unwritten.has(&id) {
            return true; // The tracker is about to write over it.
        }
        drop(unwritten);
        match group {
            Some(group) => groups.put(id, group),
            None => _ = self.accounts.remove_group(id),
        }
        false
    }

    /// The same of a rule of clients; `None` takes it away.
    fn hear_rule(
        &self,
        prefix: ClientPrefix,
        allow: Option<bool>,
        position: u64,
        tell_all: &dyn Fn(&Command),
    ) -> bool {
        let mut unwritten = self.site.unwritten_rules();
        unwritten.written(position);
        if unwritten.has(&prefix) {
            return true; // The tracker is about to write over it.
        }
        drop(unwritten);
        let rules = self.site.change_rules(|rules| {
            match allow {
                Some(allow) => rules.insert(prefix, allow),
                None => rules.remove(&prefix),
            };
        });
        tell_all(&Command::ClientRules(rules));
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
