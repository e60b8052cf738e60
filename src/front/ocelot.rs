//! The interface of Ocelot: what a site tells the tracker, and asks it.

use std::net::IpAddr;
use std::rc::Rc;

use shard::private::{Freeleech, UserId};
use shard::{InfoHash, PeerState, Seconds};

use super::heard::Others;
use super::http::requests::Next;
use crate::config::OcelotFlavour;
use crate::core::mesh::late::Late;
use crate::core::mesh::message::{HttpAsked, HttpRequest};
use crate::core::mesh::told::Unconfirmed;
use crate::core::route::SITE_CORE;
use crate::front::Core;
use crate::wire::http::Framing;
use crate::wire::ocelot::{self, Flavour, Report, Stats, TorrentReport, Update};

/// Peers and tokens that a report of a torrent has at most; listing them takes about a millisecond.
const REPORT_PEERS_MAX: usize = 4096;

impl Core {
    /// Does what the site says, here or on the core that owns the torrent.
    pub(super) fn hear_update(
        &mut self,
        query: &[u8],
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let update = Update::parse(query);
        let owner = match info_hash(&update) {
            Some(info_hash) => self.engine.elsewhere(info_hash),
            None => {
                is_of_site(&update).then_some(SITE_CORE).filter(|core| *core != self.engine.number)
            }
        };
        match owner {
            Some(owner) => {
                let asked = HttpAsked::Site(Box::new(update));
                Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })))
            }
            None => Some(self.answer_update(&update, framing, remote, now, out)),
        }
    }

    /// Does it, and answers when it is in force on every core that it concerns and on the disk.
    pub fn answer_update(
        &mut self,
        update: &Update,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Next {
        if let Update::InfoTorrent { info_hash } = update {
            let private = self.engine.private();
            let terms = private.swarms.terms(info_hash);
            let torrent = terms.map(|terms| (terms.id, terms.freeleech));
            ocelot::write_info_torrent(out, framing, self.flavour(), *info_hash, torrent);
            return Next::Hold(at_once(), framing.closing());
        }
        if let Err(why) = self.engine.can_change().and_then(|()| self.has_room_for(update)) {
            ocelot::write_failure(out, framing, &why);
            return Next::Hold(at_once(), framing.closing());
        }
        self.engine.change(|private| {
            let said = private.audited(update);
            let became = private.obey(update, now);
            private.audit(said, became, remote, now);
        });
        let others = match update {
            _ if self.engine.mesh.len() == 1 => Others::None,
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
        let (Update::AddTorrent { info_hash, .. }, Some(private)) = (update, &self.engine.private)
        else {
            return Ok(());
        };
        let swarms = &private.swarms;
        let full = swarms.totals().torrents >= swarms.limits().torrents_max;
        if full && swarms.terms(info_hash).is_none() { Err(Unconfirmed::Full) } else { Ok(()) }
    }

    fn flavour(&self) -> Flavour {
        match self.engine.settings.ocelot_flavour {
            OcelotFlavour::Whatcd => Flavour::Whatcd,
            OcelotFlavour::Orpheus => Flavour::Orpheus,
        }
    }

    /// The updates for other cores, as they own some of these torrents.
    fn parts_of_others(
        &self,
        info_hashes: &[InfoHash],
        freeleech: Freeleech,
    ) -> Vec<(usize, Update)> {
        let mut parts = vec![Vec::new(); self.engine.mesh.len()];
        for info_hash in info_hashes {
            if let Some(owner) = self.engine.elsewhere(info_hash) {
                parts[owner].push(*info_hash);
            }
        }
        let part = |info_hashes| Update::UpdateTorrents { info_hashes, freeleech };
        let others = parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty());
        others.map(|(owner, info_hashes)| (owner, part(info_hashes))).collect()
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
                let found = passkey.and_then(|passkey| self.engine.private().report_user(passkey));
                ocelot::write_user(out, framing, flavour, passkey, found.as_ref());
            }
            Report::Torrent { info_hash: None } => ocelot::write_torrent(out, framing, None, None),
            Report::Torrent { info_hash: Some(info_hash) } => {
                match self.engine.elsewhere(&info_hash) {
                    Some(owner) => {
                        let asked = HttpAsked::Report(info_hash);
                        let framing = framing.closing();
                        return Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })));
                    }
                    None => self.answer_torrent_report(info_hash, framing, out),
                }
            }
            Report::Jemalloc | Report::Unknown => {
                ocelot::write_unknown_report(out, framing, flavour);
            }
        }
        None
    }

    /// Says who is on a torrent that this core owns.
    pub fn answer_torrent_report(&self, info_hash: InfoHash, framing: Framing, out: &mut Vec<u8>) {
        let private = self.engine.private();
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
        let (_, jitter) = self.engine.interval.in_force();
        Stats {
            jitter,
            ..self.site().stats(self.engine.interval.current(), self.engine.clock.steady_at(now))
        }
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
