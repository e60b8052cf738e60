//! What a site changes, by whichever interface it says so: at once in memory here and on the other
//! cores, and to the journal, from which the database gets it.
//!
//! What is journaled is what is true afterwards. Who answers the site waits until the journal has it.

use std::collections::BTreeMap;

use persist::Trouble;
use persist::journal::{Columns, Said};
use shard::private::{
    Change, ClientPrefix, Freeleech, GroupId, Stamp, Terms, TorrentId, User, UserId,
};
use shard::{InfoHash, Seconds};

use super::Private;
use crate::core::mesh::message::Command;
use crate::core::route::SITE_CORE;
use crate::private::torrents::numbers::Beginning;
use crate::private::users::accounts::{Known, Says, Unsaid};
use crate::private::users::formers::Former;
use crate::private::users::groups::Group;
use crate::process::clock;

/// Why a torrent is not registered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unregistered {
    /// It is not known, and has no number.
    Unknown,
    /// Its number is that of another torrent.
    NumberTaken(TorrentId, Beginning),
    /// This name of it is one of another torrent, which has this first one.
    NameTaken(InfoHash, InfoHash),
}

/// When something is said: by the wall clock, which the database has as well.
fn now_stamp() -> Stamp {
    Stamp { millis: clock::unix_millis(), node: 0 }
}

static UNREGISTERED: Trouble = Trouble::new();

impl Private {
    /// The first name of the torrent that has this one: what is written down says it by that.
    fn first_name(&mut self, name: InfoHash) -> InfoHash {
        self.site.hybrids().registered(&name).unwrap_or(name)
    }

    /// Registers a torrent that this core owns, or changes the rules of a registered one, which keeps its
    /// number; what is `None` stays as it is, and begins as 100% and without a second name. Its rules from now on.
    ///
    /// # Errors
    /// Nothing has changed then: it is neither registered nor given a number, or that is another torrent's.
    pub(crate) fn put_torrent(
        &mut self,
        info_hash: InfoHash,
        id: Option<TorrentId>,
        second: Option<Option<InfoHash>>,
        freeleech: Freeleech,
        upload_percent: Option<u16>,
    ) -> Result<Terms, Unregistered> {
        let at = now_stamp();
        let makes = id.is_some();
        let info_hash = if second.is_none() { self.first_name(info_hash) } else { info_hash };
        let known = self.swarms.terms(&info_hash);
        let id = known.map(|terms| terms.id).or(id).ok_or(Unregistered::Unknown)?;
        let (numbers, hybrids) = (self.site.numbers(), self.site.hybrids());
        let before = self.swarms.second(&info_hash);
        let info_hash_v2 = second.unwrap_or(before);
        let names = [Some(info_hash), info_hash_v2].into_iter().flatten();
        for name in names {
            // What this core does not see is refused by the database.
            let of_another = hybrids.registered(&name).filter(|first| *first != info_hash);
            let is_first = name != info_hash && self.swarms.terms(&name).is_some();
            if let Some(other) = of_another.or((is_first && Some(name) != before).then_some(name)) {
                return Err(Unregistered::NameTaken(name, other));
            }
        }
        numbers.claim(id, &info_hash).map_err(|other| Unregistered::NumberTaken(id, other))?;
        let named = hybrids.change(&info_hash, before, info_hash_v2);
        let mut columns = Columns::FREELEECH;
        if upload_percent.is_some() {
            columns = columns.and(Columns::UPLOAD_PERCENT);
        }
        if second.is_some() {
            columns = columns.and(Columns::INFO_HASH_V2);
        }
        if makes {
            columns = columns.and(Columns::MAKES);
        }
        let upload_percent =
            upload_percent.or(known.map(|terms| terms.upload_percent)).unwrap_or(100);
        let terms = Terms { id, freeleech, upload_percent };
        let registered = self.swarms.register(info_hash, terms);
        if named.is_ok() {
            // Whether the name is free was seen above.
            _ = self.swarms.set_second(&info_hash, info_hash_v2);
        }
        if let Err(refusal) = registered
            && let Some(times) = UNREGISTERED.again("")
        {
            tracing::error!(%info_hash, %refusal, times, "cannot register a torrent; raise torrents-max");
        }
        self.unwritten_torrents.note(info_hash, columns, at);
        // The database is to know it all the same.
        let change = Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent };
        self.journal(at, columns, change);
        Ok(terms)
    }

    /// A torrent that this core owns is no longer registered; whether it was. Its clients are told the
    /// reason for a day, unless it is empty.
    pub(crate) fn remove_torrent(
        &mut self,
        info_hash: InfoHash,
        reason: &str,
        now: Seconds,
    ) -> bool {
        let info_hash = self.first_name(info_hash);
        let Some(terms) = self.swarms.terms(&info_hash) else { return false };
        let reason = reason.to_owned();
        let change = Change::TorrentRemoved { id: terms.id, info_hash, reason, at: now };
        self.put(&change);
        let at = now_stamp();
        self.unwritten_torrents.note(info_hash, Columns::NONE, at);
        self.journal(at, Columns::ALL, change);
        true
    }

    /// What a user downloads of a torrent that this core owns is free; the torrent's number, `None` when
    /// it is not registered, and nothing has changed.
    pub(crate) fn put_token(
        &mut self,
        user: UserId,
        info_hash: InfoHash,
        expires_at: Option<Seconds>,
    ) -> Option<TorrentId> {
        let info_hash = self.first_name(info_hash);
        let torrent = self.swarms.terms(&info_hash)?.id;
        self.swarms.set_token(user, &info_hash, expires_at);
        let at = now_stamp();
        self.unwritten_tokens.note((user, info_hash), Columns::ALL, at);
        self.journal(at, Columns::ALL, Change::Token { user, torrent, info_hash, expires_at });
        Some(torrent)
    }

    /// It is not any more; whether it was. The database is told also when it was not.
    pub(crate) fn remove_token(&mut self, user: UserId, info_hash: InfoHash) -> bool {
        let info_hash = self.first_name(info_hash);
        let Some(terms) = self.swarms.terms(&info_hash) else { return false };
        let was_there = self.swarms.remove_token(user, &info_hash);
        let at = now_stamp();
        self.unwritten_tokens.note((user, info_hash), Columns::ALL, at);
        let change = Change::TokenRemoved { user, torrent: terms.id, info_hash };
        self.journal(at, Columns::ALL, change);
        was_there
    }

    /// Does what is said of a user; what is true of him then. Only [`SITE_CORE`] does.
    ///
    /// # Errors
    /// Nothing has changed then; see [`Unsaid`].
    pub(crate) fn say_user(&mut self, says: Says) -> Result<Known, Unsaid> {
        debug_assert_eq!(self.number, SITE_CORE, "there is one order of what is said of a user");
        let at = now_stamp();
        let became = self.accounts.say(says, at)?;
        let Known { user, passkey, enabled, .. } = became.known;
        let User { id, can_leech, hidden, group } = user;
        let change = Change::User { id, passkey, can_leech, hidden, enabled, group };
        self.journal(at, says.columns(), change);
        if let Some(former) = became.former {
            let former = match former {
                Some(Former { passkey, good_until }) => {
                    Change::Former { user: id, passkey, good_until }
                }
                None => Change::FormerRemoved { user: id },
            };
            self.journal(at, Columns::ALL, former);
        }
        // Each that is told is looked up for every peer that is handed out, for some minutes.
        if became.is_news {
            self.to_tell.push(if enabled { Command::Rights(user) } else { Command::UserGone(id) });
        }
        Ok(became.known)
    }

    /// There is a group of users, and it is like this. Only [`SITE_CORE`] does.
    ///
    /// # Errors
    /// Nothing has changed then: this other group has the name.
    pub(crate) fn put_group(
        &mut self,
        id: GroupId,
        name: String,
        downloads_max: Option<u32>,
    ) -> Result<Group, GroupId> {
        let groups = self.accounts.groups();
        if let Some(holder) = groups.holder(&name).filter(|holder| *holder != id) {
            return Err(holder);
        }
        let group = Group::named(&name, downloads_max);
        groups.put(id, group.clone());
        self.journal_group(id, Change::Group { id, name, downloads_max });
        Ok(group)
    }

    /// There is no such group any more, and nobody is in it; whether there was.
    pub(crate) fn remove_group(&mut self, id: GroupId) -> bool {
        let was_there = self.accounts.remove_group(id);
        self.journal_group(id, Change::GroupRemoved { id });
        was_there
    }

    fn journal_group(&mut self, id: GroupId, change: Change) {
        let at = now_stamp();
        self.accounts.groups().unwritten().note(id, Columns::ALL, at);
        self.journal(at, Columns::ALL, change);
    }

    /// Clients whose peer id begins like this are allowed, or refused.
    pub(crate) fn put_client_rule(&mut self, prefix: ClientPrefix, allow: bool) {
        self.journal_rule(&prefix, Change::ClientRule { prefix: prefix.clone(), allow });
        self.change_rules(|rules| _ = rules.insert(prefix, allow));
    }

    /// There is no rule for them any more; whether there was.
    pub(crate) fn remove_client_rule(&mut self, prefix: &ClientPrefix) -> bool {
        self.journal_rule(prefix, Change::ClientRuleRemoved { prefix: prefix.clone() });
        let mut was_there = false;
        self.change_rules(|rules| was_there = rules.remove(prefix).is_some());
        was_there
    }

    fn change_rules(&mut self, change: impl FnOnce(&mut BTreeMap<ClientPrefix, bool>)) {
        let rules = self.site.change_rules(change);
        self.to_tell.push(Command::ClientRules(rules));
    }

    fn journal_rule(&mut self, prefix: &ClientPrefix, change: Change) {
        let at = now_stamp();
        let site = &self.site;
        site.unwritten_rules().note(prefix.clone(), Columns::ALL, at);
        self.journal(at, Columns::ALL, change);
    }

    fn journal(&mut self, at: Stamp, columns: Columns, change: Change) {
        self.outgoing.push(Said { at, columns, change });
    }
}
