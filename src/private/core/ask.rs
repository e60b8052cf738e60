//! What the API asks of a core, done.

use shard::private::{Bookmark, HeldToken, TorrentRecord, UserId};
use shard::{InfoHash, Seconds};
use tokio::sync::oneshot;

use super::Private;
use super::outgoing::Waiter;
use super::site_changes::Unregistered;
use crate::api::operation::check_former_until;
use crate::api::{Done, Failure, Operation, TorrentState};
use crate::core::mesh::ask::{Held, Listed, Page, Results};
use crate::private::users::accounts::{Says, Unsaid};

/// Places that are looked at for a page of torrents; a few milliseconds where most are free.
const LISTED_PLACES: u32 = 1 << 16;

impl Private {
    /// Does what the API asks, one after the other, and answers when the journal has it on the disk.
    pub fn do_all(
        &mut self,
        operations: Vec<Operation>,
        reply: oneshot::Sender<Results>,
        now: Seconds,
        draining: bool,
    ) {
        let full = self.outgoing.is_full_for_site();
        let results: Results = operations
            .into_iter()
            .map(|operation| match (draining, full) {
                (true, _) => Err(Failure::Unavailable("stopping")),
                (_, true) => Err(Failure::JournalFull),
                _ => self.operate(operation, now),
            })
            .collect();
        if results.iter().all(Result::is_err) {
            let _ = reply.send(results);
            return;
        }
        let outgoing = &mut self.outgoing;
        outgoing.wait(Waiter::Site { results, reply });
        outgoing.hurry();
    }

    fn operate(&mut self, operation: Operation, now: Seconds) -> Result<Done, Failure> {
        match operation {
            Operation::PutUser { id, new: true, .. } if self.accounts.known(id).is_some() => {
                Err(Failure::UserKnown(id))
            }
            Operation::PutUser {
                id,
                passkey,
                former_until,
                can_leech,
                hidden,
                enabled,
                group,
                ..
            } => {
                let says = Says {
                    id,
                    passkey: Some(passkey),
                    former_until,
                    can_leech: Some(can_leech),
                    hidden: Some(hidden),
                    enabled: Some(enabled),
                    group,
                    makes: true,
                };
                self.operate_user(says, now)
            }
            Operation::PatchUser {
                id,
                passkey,
                former_until,
                can_leech,
                hidden,
                enabled,
                group,
            } => {
                let makes = false;
                let says =
                    Says { id, passkey, former_until, can_leech, hidden, enabled, group, makes };
                self.operate_user(says, now)
            }
            Operation::PutGroup { .. } if self.accounts.groups().has_unnamed() => {
                Err(Failure::Unavailable("without the names of groups until the database is back"))
            }
            Operation::PutGroup { id, name, downloads_max } => {
                let group = self.put_group(id, name, downloads_max);
                group.map(|group| Done::Group(id, group)).map_err(Failure::GroupNameTaken)
            }
            Operation::RemoveGroup { id } => Ok(Done::Removed(self.remove_group(id))),
            Operation::PutTorrent {
                info_hash,
                info_hash_v2,
                id,
                freeleech,
                upload_percent,
                ..
            } => {
                let swarms = &self.swarms;
                let known = swarms.terms(&info_hash);
                match (known, id) {
                    (Some(terms), Some(id)) if terms.id != id => {
                        return Err(Failure::TorrentNumber(terms.id));
                    }
                    (None, _) if swarms.totals().torrents >= swarms.limits().torrents_max => {
                        return Err(Failure::Full);
                    }
                    _ => {}
                }
                let (second, percent) = (Some(info_hash_v2), Some(upload_percent));
                loop {
                    let given = known.map(|terms| terms.id).or(id);
                    let number = given.or_else(|| self.site.numbers().next());
                    let number = Some(number.ok_or(Failure::NoNumber)?);
                    match self.put_torrent(info_hash, number, second, freeleech, percent) {
                        Ok(_) => break,
                        // Somebody has said the number for another torrent just now.
                        Err(Unregistered::NumberTaken(..)) if given.is_none() => {}
                        Err(why) => return Err(failure(info_hash, why)),
                    }
                }
                let state = self.torrent_state(&info_hash);
                state.map(Done::Torrent).ok_or(Failure::Full)
            }
            Operation::RemoveTorrent { info_hash, reason } => {
                Ok(Done::Removed(self.remove_torrent(info_hash, &reason, now)))
            }
            Operation::PutToken { user, info_hash, expires_at } => {
                let torrent = self.put_token(user, info_hash, expires_at);
                let torrent = torrent.ok_or(Failure::TorrentUnknown(info_hash))?;
                Ok(Done::Token(HeldToken { user, info_hash, torrent, expires_at }))
            }
            Operation::RemoveToken { user, info_hash } => {
                Ok(Done::Removed(self.remove_token(user, info_hash)))
            }
            Operation::PutClientRule { prefix, allow } => {
                self.put_client_rule(prefix.clone(), allow);
                Ok(Done::ClientRule { prefix, allow })
            }
            Operation::RemoveClientRule { prefix } => {
                Ok(Done::Removed(self.remove_client_rule(&prefix)))
            }
        }
    }

    fn operate_user(&mut self, says: Says, now: Seconds) -> Result<Done, Failure> {
        if let Some(until) = says.former_until {
            check_former_until(until, now)?;
        }
        if let Some(Some(group)) = says.group
            && self.accounts.groups().get(group).is_none()
        {
            return Err(Failure::GroupUnknown(group));
        }
        match self.say_user(says) {
            Ok(known) => Ok(Done::User(known.at(now))),
            Err(Unsaid::Unknown) => Err(Failure::UserUnknown(says.id)),
            Err(Unsaid::PasskeyTaken(holder)) => Err(Failure::PasskeyTaken(holder)),
        }
    }

    /// What there is of a registered torrent.
    pub fn torrent_state(&self, info_hash: &InfoHash) -> Option<TorrentState> {
        let swarms = &self.swarms;
        let (record, _) = swarms.swarm(info_hash, 0)?;
        let counts = swarms.counts(info_hash)?;
        let TorrentRecord { info_hash, terms, balance, .. } = record;
        let info_hash_v2 = swarms.second(&info_hash);
        Some(TorrentState { info_hash, info_hash_v2, terms, counts, balance })
    }

    /// Some of the registered torrents, from a place on.
    pub fn listed(&self, from: u32, max: usize) -> Listed {
        let mut seen = Vec::new();
        let next = self.swarms.registered(from, LISTED_PLACES, max, &mut seen);
        let states = seen.iter().filter_map(|(info_hash, _)| self.torrent_state(info_hash));
        Listed { torrents: states.collect(), next }
    }

    /// Some of the tokens, after this one, of one user or of all.
    pub fn held(&self, after: Option<(u32, UserId)>, of: Option<UserId>, max: usize) -> Held {
        let mut tokens = Vec::new();
        let next = self.swarms.held_tokens(after, of, max, &mut tokens);
        Held { tokens, next }
    }

    /// Some of a torrent's peers.
    pub fn page_of(&self, info_hash: &InfoHash, from: Bookmark, max: usize) -> Option<Page> {
        let swarms = &self.swarms;
        let (terms, mut peers) = (swarms.terms(info_hash)?, Vec::new());
        let next = swarms.page(info_hash, from, max, &mut peers)?;
        Some(Page { terms, peers, next })
    }
}

/// Why a torrent could not be registered, as the client is told.
fn failure(info_hash: InfoHash, why: Unregistered) -> Failure {
    match why {
        Unregistered::NameTaken(name, other) => Failure::NameTaken(name, other),
        Unregistered::NumberTaken(id, other) => Failure::NumberTaken(id, other),
        Unregistered::Unknown => Failure::TorrentUnknown(info_hash),
    }
}
