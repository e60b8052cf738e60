//! The interface of Ocelot: what a site tells the tracker, and asks it.

use std::collections::BTreeMap;

use persist::journal::Record;
use shard::private::{Change, ClientPrefix, Freeleech, Passkey, TorrentId, User, UserId};
use shard::{InfoHash, Seconds};

use super::requests::Next;
use crate::config::OcelotFlavour;
use crate::core::Core;
use crate::core::message::{Command, HttpAsked, HttpRequest, Message};
use crate::interval::Wish;
use crate::wire::http::Framing;
use crate::wire::ocelot::{self, Flavour, Report, Stats, Update, UserReport};

impl Core {
    /// Does what the site says, here or on the core that owns the torrent.
    pub(super) fn hear_update(
        &mut self,
        query: &[u8],
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let update = Update::parse(query);
        let owner = info_hash(&update).and_then(|info_hash| self.elsewhere(info_hash));
        match owner {
            Some(owner) => {
                let asked = HttpAsked::Site(Box::new(update));
                Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })))
            }
            None => Some(self.answer_update(&update, framing, now, out)),
        }
    }

    /// Does it, and answers when it is on the disk.
    pub fn answer_update(
        &mut self,
        update: &Update,
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Next {
        if let Update::InfoTorrent { info_hash } = update {
            let private = self.private.as_ref().expect("only a private tracker hears a site");
            let terms = private.swarms.terms(info_hash);
            let torrent = terms.map(|terms| (terms.id, terms.freeleech));
            ocelot::write_info_torrent(out, framing, self.flavour(), *info_hash, torrent);
        } else {
            self.obey(update, now);
            ocelot::write_success(out, framing);
        }
        Next::Hold(self.hold(), framing.closing())
    }

    fn flavour(&self) -> Flavour {
        match self.settings.ocelot_flavour {
            OcelotFlavour::Whatcd => Flavour::Whatcd,
            OcelotFlavour::Orpheus => Flavour::Orpheus,
        }
    }

    /// Does what the site says, as far as it is this core's to do. Everything that changes something is
    /// journaled as what is true afterwards; what is unknown changes nothing.
    pub fn obey(&mut self, update: &Update, now: Seconds) {
        match update {
            Update::AddTorrent { info_hash, id, freeleech } => {
                self.register(*info_hash, Some(*id), *freeleech);
            }
            Update::UpdateTorrent { info_hash, freeleech } => {
                self.register(*info_hash, None, *freeleech);
            }
            Update::UpdateTorrents { info_hashes, freeleech } => {
                self.update_torrents(info_hashes, *freeleech);
            }
            Update::DeleteTorrent { info_hash, reason } => {
                self.delete_torrent(*info_hash, reason.kept(), now);
            }
            Update::AddToken { info_hash, user } => self.put_token(*user, *info_hash, true),
            Update::RemoveToken { info_hash, user } => self.put_token(*user, *info_hash, false),
            Update::AddUser { passkey, id, hidden } => {
                // One who is known keeps his group; the database does it for others.
                let private = self.private.as_ref().expect("only a private tracker hears a site");
                let group = private.accounts.of(*id).and_then(|user| user.group);
                self.put_user(*passkey, User { id: *id, can_leech: true, hidden: *hidden, group });
            }
            Update::UpdateUser { passkey, can_leech, hidden } => {
                if let Some(user) = self.user(passkey) {
                    let can_leech = can_leech.unwrap_or(user.can_leech);
                    let hidden = hidden.unwrap_or(user.hidden);
                    self.put_user(*passkey, User { can_leech, hidden, ..user });
                }
            }
            Update::RemoveUser { passkey } => self.remove_user(passkey),
            Update::RemoveUsers { passkeys } => {
                passkeys.iter().for_each(|passkey| self.remove_user(passkey));
            }
            Update::ChangePasskey { old, new } => {
                if let Some(user) = self.user(old) {
                    self.put_user(*new, user);
                }
            }
            Update::AddWhitelist { prefix } => {
                self.journal(Change::ClientRule { prefix: prefix.clone(), allow: true });
                self.change_rules(|rules| _ = rules.insert(prefix.clone(), true));
            }
            Update::RemoveWhitelist { prefix } => {
                self.journal(Change::ClientRuleRemoved { prefix: prefix.clone() });
                self.change_rules(|rules| _ = rules.remove(prefix));
            }
            Update::EditWhitelist { old, new } => {
                if let Some(old) = old {
                    self.journal(Change::ClientRuleRemoved { prefix: old.clone() });
                }
                self.journal(Change::ClientRule { prefix: new.clone(), allow: true });
                self.change_rules(|rules| {
                    if let Some(old) = old {
                        rules.remove(old);
                    }
                    rules.insert(new.clone(), true);
                });
            }
            Update::UpdateAnnounceInterval { interval } => {
                self.change_interval(Wish::Interval(*interval));
            }
            Update::UpdateAnnounceJitter { jitter } => {
                self.change_interval(Wish::Jitter(*jitter));
            }
            Update::InfoTorrent { .. } => {}
            Update::TraceUser { .. } => tracing::warn!("users are not traced yet"),
            Update::Malformed { parameter } => {
                tracing::warn!(parameter, "an update of the site has no good value for this");
            }
            Update::Unknown => tracing::warn!("an update of the site is of an unknown kind"),
        }
    }

    fn journal(&mut self, change: Change) {
        let private = self.private.as_mut().expect("only a private tracker journals");
        private.outgoing.push(Record::Change(change));
    }

    fn user(&self, passkey: &Passkey) -> Option<User> {
        self.private.as_ref().and_then(|private| private.accounts.find(passkey))
    }

    /// Registers a torrent, or changes the rules of a registered one, which keeps its number. Without
    /// a number, only a registered one.
    fn register(&mut self, info_hash: InfoHash, id: Option<TorrentId>, freeleech: Freeleech) {
        let private = self.private.as_mut().expect("only a private tracker hears a site");
        let known = private.swarms.terms(&info_hash);
        let Some(id) = known.map(|terms| terms.id).or(id) else { return };
        let upload_percent = known.map_or(100, |terms| terms.upload_percent);
        let terms = shard::private::Terms { id, freeleech, upload_percent };
        if let Err(refusal) = private.swarms.register(info_hash, terms) {
            tracing::error!(%info_hash, %refusal, "cannot register a torrent; raise torrents-max");
        }
        // The database is to know it all the same.
        self.journal(Change::Torrent { id, info_hash, freeleech, upload_percent });
    }

    fn update_torrents(&mut self, info_hashes: &[InfoHash], freeleech: Freeleech) {
        let mut parts = vec![Vec::new(); self.mesh.len()];
        for info_hash in info_hashes {
            match self.elsewhere(info_hash) {
                None => self.register(*info_hash, None, freeleech),
                Some(owner) => parts[owner].push(*info_hash),
            }
        }
        for (owner, info_hashes) in parts.into_iter().enumerate() {
            if !info_hashes.is_empty() {
                let update = Update::UpdateTorrents { info_hashes, freeleech };
                if self.send(owner, Message::Site(Box::new(update))).is_err() {
                    tracing::error!(
                        "a core is drowning; the site's change of torrents is not taken"
                    );
                }
            }
        }
    }

    fn delete_torrent(&mut self, info_hash: InfoHash, reason: &str, now: Seconds) {
        let private = self.private.as_mut().expect("only a private tracker hears a site");
        if let Some(terms) = private.swarms.terms(&info_hash) {
            let reason = reason.to_owned();
            let change = Change::TorrentRemoved { id: terms.id, info_hash, reason, at: now };
            private.put(&change);
            self.journal(change);
        }
    }

    fn put_token(&mut self, user: UserId, info_hash: InfoHash, there: bool) {
        let private = self.private.as_mut().expect("only a private tracker hears a site");
        let Some(terms) = private.swarms.terms(&info_hash) else { return };
        let torrent = terms.id;
        if there {
            private.swarms.set_token(user, &info_hash, None);
            self.journal(Change::Token { user, torrent, info_hash, expires_at: None });
        } else {
            private.swarms.remove_token(user, &info_hash);
            self.journal(Change::TokenRemoved { user, torrent, info_hash });
        }
    }

    fn put_user(&mut self, passkey: Passkey, user: User) {
        let private = self.private.as_ref().expect("only a private tracker hears a site");
        private.accounts.put(passkey, user);
        let User { id, can_leech, hidden, group } = user;
        self.journal(Change::User { id, passkey, can_leech, hidden, enabled: true, group });
        self.tell_cores(&Command::Rights(user));
    }

    fn remove_user(&mut self, passkey: &Passkey) {
        let private = self.private.as_ref().expect("only a private tracker hears a site");
        let Some(user) = private.accounts.find(passkey) else { return };
        private.accounts.remove(user.id);
        let User { id, can_leech, hidden, group } = user;
        let passkey = *passkey;
        self.journal(Change::User { id, passkey, can_leech, hidden, enabled: false, group });
        self.tell_cores(&Command::UserGone(id));
    }

    fn change_rules(&mut self, change: impl FnOnce(&mut BTreeMap<ClientPrefix, bool>)) {
        let rules = self.site().change_rules(change);
        self.tell_cores(&Command::ClientRules(rules));
    }

    /// Has every core answer other intervals, and says which; until the next start.
    fn change_interval(&mut self, wish: Wish) {
        self.tell_cores(&Command::Interval(wish));
        let (interval, jitter) = self.interval.in_force();
        let (wanted, granted) = match wish {
            Wish::Interval(wanted) => (wanted, interval),
            Wish::Jitter(wanted) => (wanted, jitter),
        };
        if wanted == granted {
            tracing::info!(
                interval = interval.0,
                jitter = jitter.0,
                "the site has set the announce interval, until the next start"
            );
        } else {
            tracing::warn!(
                wanted = wanted.0,
                interval = interval.0,
                jitter = jitter.0,
                "the site wants an announce interval beyond interval-min and interval-max, or a jitter \
                 beyond half of it; the nearest is in force, until the next start"
            );
        }
    }

    /// Does a command here at once, and on the other cores as soon as they come to it.
    fn tell_cores(&mut self, command: &Command) {
        for core in 0..self.mesh.len() {
            if core == self.number {
                self.obey_command(command.clone());
            } else if self.send(core, Message::Command(command.clone())).is_err() {
                tracing::error!(core, "a core is drowning; it does not hear what the site says");
            }
        }
    }

    /// Answers what the site asks.
    pub(super) fn answer_report(
        &mut self,
        query: &[u8],
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) {
        let flavour = self.flavour();
        match Report::parse(query, flavour) {
            Report::Stats => {
                let stats = self.stats(now);
                ocelot::write_stats(out, framing, flavour, &stats);
            }
            Report::PromStats => {
                let stats = self.stats(now);
                ocelot::write_prom_stats(out, framing, &stats);
            }
            Report::User { passkey } => {
                let found = passkey.and_then(|passkey| self.report_user(passkey));
                ocelot::write_user(out, framing, flavour, passkey, found.as_ref());
            }
            Report::Torrent { info_hash } => ocelot::write_torrent(out, framing, info_hash, None),
            Report::Jemalloc | Report::Unknown => {
                ocelot::write_unknown_report(out, framing, flavour);
            }
        }
    }

    fn stats(&self, now: Seconds) -> Stats {
        let (_, jitter) = self.interval.in_force();
        Stats { jitter, ..self.site().stats(self.interval.current(), now) }
    }

    fn report_user(&self, passkey: &[u8]) -> Option<UserReport> {
        let private = self.private.as_ref()?;
        let (user, active) = private.accounts.look(&Passkey::new(passkey).ok()?)?;
        Some(UserReport {
            id: user.id,
            leeching: u64::from(active.leeching) + u64::from(active.partial),
            seeding: active.seeding.into(),
            hidden: user.hidden,
            can_leech: user.can_leech,
            traced: false,
        })
    }
}

/// The torrent that an update is about, if it is about one.
fn info_hash(update: &Update) -> Option<&InfoHash> {
    match update {
        Update::AddTorrent { info_hash, .. }
        | Update::UpdateTorrent { info_hash, .. }
        | Update::DeleteTorrent { info_hash, .. }
        | Update::AddToken { info_hash, .. }
        | Update::RemoveToken { info_hash, .. }
        | Update::InfoTorrent { info_hash } => Some(info_hash),
        _ => None,
    }
}
