//! What the site says by Ocelot's interface, done.

use std::net::IpAddr;

use persist::Trouble;
use shard::private::{Passkey, User};
use shard::{InfoHash, Seconds};

use super::Private;
use super::site_changes::Unregistered;
use crate::core::mesh::message::{Command, Wish};
use crate::core::route;
use crate::private::site::audit;
use crate::private::users::accounts::{Says, Unsaid};
use crate::wire::ocelot::{Update, UserReport};

/// What a site says wrongly.
static MISSAID: Trouble = Trouble::new();

impl Private {
    /// Whether this core owns the torrent that has this name.
    pub fn owns(&self, info_hash: &InfoHash) -> bool {
        let first = self.site.hybrids().first_of(info_hash);
        route::owner(&first, self.cores) == self.number
    }

    /// Does what the site says, as far as it is this core's to do. Everything that changes something is
    /// journaled as what is true afterwards; what is unknown changes nothing.
    pub fn obey(&mut self, update: &Update, now: Seconds) {
        match update {
            Update::AddTorrent { info_hash, id, freeleech } => {
                let registered = self.put_torrent(*info_hash, Some(*id), None, *freeleech, None);
                if let Err(Unregistered::NumberTaken(id, other)) = registered {
                    tracing::warn!(
                        id = id.0, %info_hash, %other,
                        "the site adds a torrent with the number of another one, which has it still; \
                         nothing was changed: delete the other one first, and add this one again"
                    );
                }
            }
            Update::UpdateTorrent { info_hash, freeleech } => {
                // Of one that is unknown there is nothing to change.
                let _ = self.put_torrent(*info_hash, None, None, *freeleech, None);
            }
            Update::UpdateTorrents { info_hashes, freeleech } => {
                for info_hash in info_hashes {
                    if self.owns(info_hash) {
                        // Of one that is unknown there is nothing to change.
                        let _ = self.put_torrent(*info_hash, None, None, *freeleech, None);
                    }
                }
            }
            Update::DeleteTorrent { info_hash, reason } => {
                self.remove_torrent(*info_hash, reason.kept(), now);
            }
            Update::AddToken { info_hash, user } => {
                self.put_token(*user, *info_hash, None);
            }
            Update::RemoveToken { info_hash, user } => {
                self.remove_token(*user, *info_hash);
            }
            Update::AddUser { passkey, id, hidden } => {
                self.say_of_user(Says {
                    id: *id,
                    passkey: Some(*passkey),
                    former_until: None,
                    can_leech: Some(true),
                    hidden: Some(*hidden),
                    enabled: Some(true),
                    group: None,
                    makes: true,
                });
            }
            Update::UpdateUser { passkey, can_leech, hidden } => {
                if let Some(user) = self.user(passkey) {
                    let (can_leech, hidden) = (*can_leech, *hidden);
                    self.say_of_user(Says { can_leech, hidden, ..Says::of(user.id) });
                }
            }
            Update::RemoveUser { passkey } => self.remove_user(passkey),
            Update::RemoveUsers { passkeys } => {
                passkeys.iter().for_each(|passkey| self.remove_user(passkey));
            }
            Update::ChangePasskey { old, new } => {
                if let Some(user) = self.user(old) {
                    self.say_of_user(Says { passkey: Some(*new), ..Says::of(user.id) });
                }
            }
            Update::AddWhitelist { prefix } => self.put_client_rule(prefix.clone(), true),
            Update::RemoveWhitelist { prefix } => {
                self.remove_client_rule(prefix);
            }
            Update::EditWhitelist { old, new } => {
                if let Some(old) = old {
                    self.remove_client_rule(old);
                }
                self.put_client_rule(new.clone(), true);
            }
            Update::UpdateAnnounceInterval { interval } => {
                self.to_tell.push(Command::Interval(Wish::Interval(*interval)));
            }
            Update::UpdateAnnounceJitter { jitter } => {
                self.to_tell.push(Command::Interval(Wish::Jitter(*jitter)));
            }
            Update::InfoTorrent { .. } => {}
            Update::TraceUser { passkey, trace } => {
                if let Some(user) = self.user(passkey) {
                    tracing::info!(user = user.id.0, trace, "the site traces a user into the log");
                    self.to_tell.push(Command::TraceIntoLog(user.id, *trace));
                }
            }
            Update::Malformed { parameter } => {
                if let Some(times) = MISSAID.again(parameter) {
                    tracing::warn!(
                        parameter,
                        times,
                        "an update of the site has no good value for this"
                    );
                }
            }
            Update::Unknown => {
                if let Some(times) = MISSAID.again("") {
                    tracing::warn!(times, "an update of the site is of an unknown kind");
                }
            }
        }
    }

    /// Notes what the site says, from this address, before it is done: who is meant by a passkey is known then.
    pub fn audit(&self, update: &Update, address: IpAddr, now: Seconds) {
        let Some(audit) = self.site.audit() else { return };
        if let Some(change) = audit::of_update(update, |passkey| self.accounts.holder(passkey)) {
            audit.note("ocelot", Some(address), change, now);
        }
    }

    fn user(&self, passkey: &Passkey) -> Option<User> {
        self.accounts.find(passkey)
    }

    /// A passkey is not taken from one who has it: the database knows no user without one.
    fn say_of_user(&mut self, says: Says) {
        if let Err(Unsaid::PasskeyTaken(holder)) = self.say_user(says) {
            tracing::warn!(
                user = says.id.0,
                holder = holder.0,
                "the site gives a user a passkey that another one has, or had and it is good still; he may be \
                 disabled; nothing was changed: give one of them another"
            );
        }
    }

    fn remove_user(&mut self, passkey: &Passkey) {
        if let Some(user) = self.user(passkey) {
            self.say_of_user(Says { enabled: Some(false), ..Says::of(user.id) });
        }
    }

    /// What the site is told of a user.
    pub fn report_user(&self, passkey: &[u8]) -> Option<UserReport> {
        let (user, active) = self.accounts.look(&Passkey::new(passkey).ok()?)?;
        Some(UserReport {
            id: user.id,
            leeching: u64::from(active.leeching) + u64::from(active.partial),
            seeding: active.seeding.into(),
            hidden: user.hidden,
            can_leech: user.can_leech,
            traced: self.traces.logs(user.id),
        })
    }
}
