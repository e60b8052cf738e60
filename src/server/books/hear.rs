//! What the site writes into the database by itself, taken in.

use std::sync::Arc;

use persist::postgres::Seen;
use shard::private::{Change, User, UserId};

use super::Books;
use crate::core::message::Command;
use crate::server::cores::Cores;

impl Books {
    /// Takes in what the site wrote into the database by itself.
    /// Whether all has to be compared with it, because it cannot be said what it wrote.
    pub(in crate::server) fn hear(&self, seen: Seen, cores: &Cores) -> bool {
        match seen {
            Seen::Change(change) => match change {
                Change::User { id, passkey, can_leech, hidden, enabled: true, group } => {
                    let user = User { id, can_leech, hidden, group };
                    self.accounts.put(passkey, user);
                    cores.tell_all(&Command::Rights(user));
                }
                Change::User { id, passkey, can_leech, hidden, group, .. } => {
                    self.accounts.disable(passkey, User { id, can_leech, hidden, group });
                    cores.tell_all(&Command::UserGone(id));
                }
                Change::Group { id, downloads_max, .. } => {
                    self.accounts.groups().put(id, downloads_max);
                }
                Change::GroupRemoved { id } => self.accounts.groups().remove(id),
                Change::ClientRule { prefix, allow } => {
                    let rules = self.site.change_rules(|rules| _ = rules.insert(prefix, allow));
                    cores.tell_all(&Command::ClientRules(rules));
                }
                Change::ClientRuleRemoved { prefix } => {
                    let rules = self.site.change_rules(|rules| _ = rules.remove(&prefix));
                    cores.tell_all(&Command::ClientRules(rules));
                }
                change => cores.tell_all(&Command::Seen(Arc::new(change))),
            },
            Seen::UserGone(id) => self.forget(id, cores),
            seen @ Seen::Reload => return !self.has_heard(&seen),
        }
        false
    }

    /// Whether this says that notices may be missing, and none is: the first connection was there before all
    /// was loaded. Only the first time: the next connection has something to make up for.
    pub(in crate::server) fn has_heard(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Reload) && self.hears_all.take()
    }

    fn forget(&self, id: UserId, cores: &Cores) {
        self.accounts.remove(id);
        cores.tell_all(&Command::UserGone(id));
    }
}
