//! What the site says by Ocelot's interface, done.

use std::net::IpAddr;

use persist::Trouble;
use serde_json::Value;
use shard::private::{Passkey, User};
use shard::{InfoHash, Seconds};

use super::Private;
use super::site_changes::Unregistered;
use crate::core::mesh::message::{Command, Wish};
use crate::core::route;
use crate::private::site::audit;
use crate::private::users::accounts::{Says, Unsaid};
use crate::wire::ocelot::{Update, UserReport};

/// What became of most that a site says.
const DONE: &str = "done";

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
    ///
    /// `done`, or why nothing came of it, as the API calls that.
    pub fn obey(&mut self, update: &Update, now: Seconds) -> &'static str {
        match update {
            Update::AddTorrent { info_hash, id, freeleech } => {
                match self.put_torrent(*info_hash, Some(*id), None, *freeleech, None) {
                    Ok(_) => DONE,
                    Err(Unregistered::NumberTaken(id, other)) => {
                        tracing::warn!(
                            id = id.0, %info_hash, %other,
                            "the site adds a torrent with the number of another one, which has it still; \
                             nothing was changed: delete the other one first, and add this one again"
                        );
                        "number_taken"
                    }
                    Err(Unregistered::NameTaken(..)) => "name_taken",
                    Err(Unregistered::Unknown) => "torrent_unknown",
                }
            }
            Update::UpdateTorrent { info_hash, freeleech } => self
                .put_torrent(*info_hash, None, None, *freeleech, None)
                .map_or("torrent_unknown", |_| DONE),
            Update::UpdateTorrents { info_hashes, freeleech } => {
                for info_hash in info_hashes {
                    if self.owns(info_hash) {
                        // Of one that is unknown there is nothing to change.
                        let _ = self.put_torrent(*info_hash, None, None, *freeleech, None);
                    }
                }
                DONE
            }
            Update::DeleteTorrent { info_hash, reason } => {
                match self.remove_torrent(*info_hash, reason.kept(), now) {
                    true => DONE,
                    false => "torrent_unknown",
                }
            }
            Update::AddToken { info_hash, user } => {
                self.put_token(*user, *info_hash, None).map_or("torrent_unknown", |_| DONE)
            }
            Update::RemoveToken { info_hash, user } => {
                self.remove_token(*user, *info_hash);
                DONE
            }
            Update::AddUser { passkey, id, hidden } => self.say_of_user(Says {
                id: *id,
                passkey: Some(*passkey),
                former_until: None,
                can_leech: Some(true),
                hidden: Some(*hidden),
                enabled: Some(true),
                group: None,
                makes: true,
            }),
            Update::UpdateUser { passkey, can_leech, hidden } => {
                let (can_leech, hidden) = (*can_leech, *hidden);
                self.say_of(passkey, |says| Says { can_leech, hidden, ..says })
            }
            Update::RemoveUser { passkey } => self.remove_user(passkey),
            Update::RemoveUsers { passkeys } => {
                passkeys.iter().for_each(|passkey| _ = self.remove_user(passkey));
                DONE
            }
            Update::ChangePasskey { old, new } => {
                self.say_of(old, |says| Says { passkey: Some(*new), ..says })
            }
            Update::AddWhitelist { prefix } => {
                self.put_client_rule(prefix.clone(), true);
                DONE
            }
            Update::RemoveWhitelist { prefix } => {
                self.remove_client_rule(prefix);
                DONE
            }
            Update::EditWhitelist { old, new } => {
                if let Some(old) = old {
                    self.remove_client_rule(old);
                }
                self.put_client_rule(new.clone(), true);
                DONE
            }
            Update::UpdateAnnounceInterval { interval } => {
                self.to_tell.push(Command::Interval(Wish::Interval(*interval)));
                DONE
            }
            Update::UpdateAnnounceJitter { jitter } => {
                self.to_tell.push(Command::Interval(Wish::Jitter(*jitter)));
                DONE
            }
            Update::InfoTorrent { .. } => DONE,
            Update::TraceUser { passkey, trace } => {
                let Some(user) = self.user(passkey) else { return "user_unknown" };
                tracing::info!(user = user.id.0, trace, "the site traces a user into the log");
                self.to_tell.push(Command::TraceIntoLog(user.id, *trace));
                DONE
            }
            Update::Malformed { parameter } => {
                if let Some(times) = MISSAID.again(parameter) {
                    tracing::warn!(
                        parameter,
                        times,
                        "an update of the site has no good value for this"
                    );
                }
                "bad_request"
            }
            Update::Unknown => {
                if let Some(times) = MISSAID.again("") {
                    tracing::warn!(times, "an update of the site is of an unknown kind");
                }
                "bad_request"
            }
        }
    }

    /// What the site says, to be noted; before it is done, as who is meant by a passkey is known then.
    pub fn audited(&self, update: &Update) -> Option<Value> {
        audit::of_update(update, |passkey| self.accounts.holder(passkey))
    }

    /// Notes what the site has said, from this address, and what became of it.
    pub fn audit(&self, said: Option<Value>, became: &'static str, address: IpAddr, now: Seconds) {
        if let (Some(audit), Some(change)) = (self.site.audit(), said) {
            audit.note("ocelot", Some(address), (change, became), now);
        }
    }

    fn user(&self, passkey: &Passkey) -> Option<User> {
        self.accounts.find(passkey)
    }

    /// Says something of the user who has this passkey.
    fn say_of(&mut self, passkey: &Passkey, says: impl FnOnce(Says) -> Says) -> &'static str {
        match self.user(passkey) {
            Some(user) => self.say_of_user(says(Says::of(user.id))),
            None => "user_unknown",
        }
    }

    /// A passkey is not taken from one who has it: the database knows no user without one.
    fn say_of_user(&mut self, says: Says) -> &'static str {
        match self.say_user(says) {
            Ok(_) => DONE,
            Err(Unsaid::Unknown) => "user_unknown",
            Err(Unsaid::PasskeyTaken(holder)) => {
                tracing::warn!(
                    user = says.id.0,
                    holder = holder.0,
                    "the site gives a user a passkey that another one has, or had and it is good still; he may be \
                     disabled; nothing was changed: give one of them another"
                );
                "passkey_taken"
            }
        }
    }

    fn remove_user(&mut self, passkey: &Passkey) -> &'static str {
        self.say_of(passkey, |says| Says { enabled: Some(false), ..says })
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
