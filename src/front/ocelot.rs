//! The interface of Ocelot: what a site tells the tracker, and asks it.

use std::rc::Rc;

use persist::Trouble;
use shard::private::{Freeleech, Passkey, User, UserId};
use shard::{InfoHash, PeerState, Seconds};

use super::http::requests::Next;
use crate::config::OcelotFlavour;
use crate::core::Core;
use crate::core::interval::Wish;
use crate::core::mesh::late::Late;
use crate::core::mesh::message::{Command, HttpAsked, HttpRequest};
use crate::private::core::heard::{Others, Unconfirmed};
use crate::private::core::site_changes::{SITE_CORE, Unregistered};
use crate::private::users::accounts::{Says, Unsaid};
use crate::wire::http::Framing;
use crate::wire::ocelot::{self, Flavour, Report, Stats, TorrentReport, Update, UserReport};

/// Peers and tokens that a report of a torrent has at most; listing them takes about a millisecond.
const REPORT_PEERS_MAX: usize = 4096;

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
        let owner = match info_hash(&update) {
            Some(info_hash) => self.elsewhere(info_hash),
            None => is_of_site(&update).then_some(SITE_CORE).filter(|core| *core != self.number),
        };
        match owner {
            Some(owner) => {
                let asked = HttpAsked::Site(Box::new(update));
                Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })))
            }
            None => Some(self.answer_update(&update, framing, now, out)),
        }
    }

    /// Does it, and answers when it is in force on every core that it concerns and on the disk.
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
            return Next::Hold(at_once(), framing.closing());
        }
        if let Err(why) = self.can_change().and_then(|()| self.has_room_for(update)) {
            ocelot::write_failure(out, framing, &why);
            return Next::Hold(at_once(), framing.closing());
        }
        self.obey(update, now);
        let others = match update {
            _ if self.mesh.len() == 1 => Others::None,
            Update::UpdateTorrents { info_hashes, freeleech } => {
                Others::Owners(self.parts_of_others(info_hashes, *freeleech))
            }
            Update::Malformed { .. } | Update::Unknown => Others::None,
            _ if info_hash(update).is_some() => Others::None,
            _ => Others::All,
        };
        Next::Confirm(self.doing(others), framing.closing())
    }

    /// Whether a torrent that is to be registered fits.
    fn has_room_for(&self, update: &Update) -> Result<(), Unconfirmed> {
        let (Update::AddTorrent { info_hash, .. }, Some(private)) = (update, &self.private) else {
            return Ok(());
        };
        let swarms = &private.swarms;
        let full = swarms.totals().torrents >= swarms.limits().torrents_max;
        if full && swarms.terms(info_hash).is_none() { Err(Unconfirmed::Full) } else { Ok(()) }
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
                    if self.elsewhere(info_hash).is_none() {
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
                    can_leech: Some(true),
                    hidden: Some(*hidden),
                    enabled: Some(true),
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
                self.change_interval(Wish::Interval(*interval));
            }
            Update::UpdateAnnounceJitter { jitter } => {
                self.change_interval(Wish::Jitter(*jitter));
            }
            Update::InfoTorrent { .. } => {}
            Update::TraceUser { passkey, trace } => {
                if let Some(user) = self.user(passkey) {
                    tracing::info!(user = user.id.0, trace, "the site traces a user into the log");
                    self.tell_cores(&Command::TraceIntoLog(user.id, *trace));
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

    fn user(&self, passkey: &Passkey) -> Option<User> {
        self.private.as_ref().and_then(|private| private.accounts.find(passkey))
    }

    /// A passkey is not taken from one who has it: the database knows no user without one.
    fn say_of_user(&mut self, says: Says) {
        if let Err(Unsaid::PasskeyTaken(holder)) = self.say_user(says) {
            tracing::warn!(
                user = says.id.0,
                holder = holder.0,
                "the site gives a user a passkey that another one has, who may be disabled; nothing was \
                 changed: give one of them another"
            );
        }
    }

    /// What other cores are to do, as they own some of these torrents.
    fn parts_of_others(
        &self,
        info_hashes: &[InfoHash],
        freeleech: Freeleech,
    ) -> Vec<(usize, Update)> {
        let mut parts = vec![Vec::new(); self.mesh.len()];
        for info_hash in info_hashes {
            if let Some(owner) = self.elsewhere(info_hash) {
                parts[owner].push(*info_hash);
            }
        }
        let part = |info_hashes| Update::UpdateTorrents { info_hashes, freeleech };
        let others = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
        others.map(|(owner, info_hashes)| (owner, part(info_hashes))).collect()
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
        } else if let Some(times) = BEYOND.again(&format!("{wish:?}")) {
            tracing::warn!(
                times,
                wanted = wanted.0,
                interval = interval.0,
                jitter = jitter.0,
                "the site wants an announce interval beyond interval-min and interval-max, or a jitter \
                 beyond half of it; the nearest is in force, until the next start"
            );
        }
    }

    fn remove_user(&mut self, passkey: &Passkey) {
        if let Some(user) = self.user(passkey) {
            self.say_of_user(Says { enabled: Some(false), ..Says::of(user.id) });
        }
    }

    /// Answers what the site asks.
    pub(super) fn answer_report(
        &mut self,
        query: &[u8],
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
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
            Report::Torrent { info_hash: None } => ocelot::write_torrent(out, framing, None, None),
            Report::Torrent { info_hash: Some(info_hash) } => match self.elsewhere(&info_hash) {
                Some(owner) => {
                    let asked = HttpAsked::Report(info_hash);
                    let framing = framing.closing();
                    return Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })));
                }
                None => self.answer_torrent_report(info_hash, framing, out),
            },
            Report::Jemalloc | Report::Unknown => {
                ocelot::write_unknown_report(out, framing, flavour);
            }
        }
        None
    }

    /// Says who is on a torrent that this core owns.
    pub fn answer_torrent_report(&self, info_hash: InfoHash, framing: Framing, out: &mut Vec<u8>) {
        let private = self.private.as_ref().expect("only a private tracker hears a site");
        let swarms = &private.swarms;
        let Some((torrent, peers)) = swarms.swarm(&info_hash, REPORT_PEERS_MAX) else {
            return ocelot::write_torrent(out, framing, Some(info_hash), None);
        };
        let users = |seeding: bool| -> Vec<UserId> {
            let peers = peers.iter();
            let peers = peers.filter(|peer| (peer.state == PeerState::Seeder) == seeding);
            peers.map(|peer| peer.user).collect()
        };
        let tokens = swarms.tokens_of(&info_hash, REPORT_PEERS_MAX);
        let token_users: Vec<UserId> = tokens.iter().map(|token| token.user).collect();
        let report = TorrentReport {
            id: torrent.terms.id,
            freeleech: torrent.terms.freeleech,
            snatches: torrent.snatches.into(),
            balance: torrent.balance,
            // The journal gets what happened at once, so the last of it was told with the last announce.
            flushed_at: peers.iter().map(|peer| peer.seen.0).max().unwrap_or_default().into(),
            token_users: &token_users,
            leechers: &users(false),
            seeders: &users(true),
        };
        ocelot::write_torrent(out, framing, Some(info_hash), Some(&report));
    }

    fn stats(&self, now: Seconds) -> Stats {
        let (_, jitter) = self.interval.in_force();
        Stats { jitter, ..self.site().stats(self.interval.current(), self.clock.steady_at(now)) }
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
            traced: private.traces.logs(user.id),
        })
    }
}

/// Whether an update is about users or client rules.
fn is_of_site(update: &Update) -> bool {
    matches!(
        update,
        Update::AddUser { .. }
            | Update::UpdateUser { .. }
            | Update::RemoveUser { .. }
            | Update::RemoveUsers { .. }
            | Update::ChangePasskey { .. }
            | Update::AddWhitelist { .. }
            | Update::RemoveWhitelist { .. }
            | Update::EditWhitelist { .. }
    )
}

/// What a site says wrongly, and wants beyond what it may have.
static MISSAID: Trouble = Trouble::new();
static BEYOND: Trouble = Trouble::new();

/// For an answer that need not wait.
fn at_once() -> Rc<Late<bool>> {
    let late = Late::new();
    late.bring(true);
    Rc::new(late)
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
