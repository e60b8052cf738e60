//! The records of snapshots and journals, taken in.

use super::account::Figures;
use super::face::{Face, Name};
use super::hybrid::Whom;
use super::members::Spot;
use super::recent::Whose;
use super::torrent::Role;
use super::wait::Wait;
use super::{
    AHEAD_MAX, Change, Fact, Gone, PeerRecord, Refusal, Swarms, Terms, TokenRecord, TorrentRecord,
    User, UserId,
};
use crate::PeerState;

impl Swarms {
    /// Takes in a torrent, or a part of one, from a snapshot: its rules and figures as the record has
    /// them, its tokens, and its peers; one that is known already is from here on what its record says.
    /// Its second name, and who is there by it, come after it.
    ///
    /// Peers were let in once and are let in again, beyond `Limits::peers_max` if need be. Refused when
    /// the torrent is one too many.
    pub fn import(
        &mut self,
        record: &TorrentRecord,
        peers: impl Iterator<Item = PeerRecord>,
        tokens: impl Iterator<Item = TokenRecord>,
    ) -> Result<(), Refusal> {
        self.register(record.info_hash, record.terms)?;
        let slot = self.find(&record.info_hash).expect("it has just been registered");
        let torrent = self.torrents.get_mut(slot);
        (torrent.snatches, torrent.balance) = (record.snatches, record.balance);
        for token in tokens {
            self.torrents.get_mut(slot).has_tokens = true;
            self.tokens.set(slot, token.user, token.expires_at);
        }
        let mut imported = Ok(());
        for peer in peers {
            let known = self.peer(slot, &peer);
            imported = imported.and(self.put(slot, known.map(|(spot, _)| spot), &peer));
        }
        imported
    }

    /// Takes in a fact from a journal: the torrent's snatches and balance, and the peer with its
    /// baseline, become what they were after it; a token it used up is gone. What the peer was, and is.
    ///
    /// Facts are to be replayed in the order they were made, [`Swarms::replay_gone`] and
    /// [`Swarms::apply`] between them. That order alone says which is the last word on a peer, and not
    /// their times: clocks are put back. So replaying what a snapshot contains already changes nothing in
    /// the end. Facts of torrents that are not registered are passed over.
    pub fn replay(&mut self, fact: &Fact) -> (Option<PeerState>, Option<PeerState>) {
        let Some(slot) = self.find(&fact.info_hash) else { return (None, None) };
        let torrent = self.torrents.get_mut(slot);
        (torrent.snatches, torrent.balance) = (fact.swarm.snatches, fact.swarm.balance);
        if fact.token_spent {
            self.tokens.remove(slot, fact.user);
        }
        let mut record = record(fact);
        let whom = Whom { user: fact.user, peer_id: &fact.peer_id, key: fact.key };
        let known = self.peer(slot, &record);
        let was = known.map(|(spot, _)| self.members.face(self.torrents.get(slot), spot).1);
        match known {
            Some((spot, _)) if !fact.active => {
                self.drop_peer(slot, spot);
                (was, None)
            }
            None if !fact.active => (None, None),
            Some((spot, figures)) => {
                if figures.since == fact.since {
                    // Announces that changed nothing made no fact.
                    record.announces = record.announces.max(figures.announces);
                    record.seen = record.seen.not_before(figures.seen, AHEAD_MAX);
                }
                _ = self.put(slot, Some(spot), &record);
                self.set_names(slot, whom, fact.names);
                (was, Some(record.state))
            }
            None => {
                let put = self.put(slot, None, &record);
                self.set_names(slot, whom, fact.names);
                (None, put.is_ok().then_some(record.state))
            }
        }
    }

    /// Takes in from a journal that a peer left without saying so; what it was, where it was there.
    pub fn replay_gone(&mut self, gone: &Gone) -> Option<PeerState> {
        let slot = self.find(&gone.info_hash)?;
        let name = Name::new(&self.members.keys, gone.user, &gone.peer_id, gone.key);
        let spot = self.members.find(self.torrents.get(slot), &name, gone.state)?;
        let (_, state) = self.members.face(self.torrents.get(slot), spot);
        self.drop_peer(slot, spot);
        Some(state)
    }

    /// Does what the site has changed: registers a torrent, gives or takes a token, gives a user's peers
    /// his rights, or takes them out. Client rules are not the swarms'. Those who left with a torrent are
    /// appended to `gone`, see [`Swarms::unregister`]. Refused when a torrent is one too many.
    pub fn apply(&mut self, change: &Change, gone: &mut Vec<Gone>) -> Result<(), Refusal> {
        match *change {
            Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
                self.register(info_hash, Terms { id, freeleech, upload_percent })?;
                self.set_second(&info_hash, info_hash_v2)?;
            }
            Change::TorrentRemoved { info_hash, ref reason, at, .. } => {
                self.unregister(&info_hash, reason, at, gone);
            }
            Change::Token { user, info_hash, expires_at, .. } => {
                self.set_token(user, &info_hash, expires_at);
            }
            Change::TokenRemoved { user, info_hash, .. } => {
                self.remove_token(user, &info_hash);
            }
            Change::User { id, can_leech, hidden, enabled: true, group, .. } => {
                self.set_user_rights(User { id, can_leech, hidden, group });
            }
            Change::User { id, .. } => self.remove_user(id),
            Change::Former { .. }
            | Change::FormerRemoved { .. }
            | Change::Group { .. }
            | Change::GroupRemoved { .. }
            | Change::ClientRule { .. }
            | Change::ClientRuleRemoved { .. } => {}
        }
        Ok(())
    }

    fn peer(&self, slot: u32, record: &PeerRecord) -> Option<(Spot, Figures)> {
        let (torrent, members) = (self.torrents.get(slot), &self.members);
        let name = Name::new(&members.keys, record.user, &record.peer_id, record.key);
        let spot = members.find(torrent, &name, record.state)?;
        let (face, _) = members.face(torrent, spot);
        Some((spot, members.accounts.figures(face.account, face.mark.is_large())))
    }

    /// Makes a peer what a record says, whatever it was.
    fn put(&mut self, slot: u32, known: Option<Spot>, record: &PeerRecord) -> Result<(), Refusal> {
        if let Some(spot) = known {
            self.drop_peer(slot, spot);
        }
        let (torrent, members) = (self.torrents.get_mut(slot), &mut self.members);
        let PeerRecord { user, peer_id, key, .. } = *record;
        let figures = Figures {
            reported: record.reported,
            left: record.left,
            since: record.since.min(record.seen),
            seen: record.seen,
            announces: record.announces,
            wait: Wait::default(),
        };
        let mut face = Face::new(&Name::new(&members.keys, user, &peer_id, key), 0);
        face.set_endpoints(&mut members.wides, &record.endpoints);
        face.mark.set_visible(record.visible);
        face.mark.set_hidden(record.hidden);
        let account = members.accounts.insert(peer_id, key, &figures);
        face.account = account.0;
        face.mark.set_large(account.1);
        if !members.insert(torrent, face, record.state) {
            members.forget(&face);
            return Err(Refusal::ClientsMax);
        }
        self.recent.forget(Whose::account(account.0));
        self.count(None, Some(record.state));
        Ok(())
    }

    fn drop_peer(&mut self, slot: u32, spot: Spot) {
        let torrent = self.torrents.get_mut(slot);
        let (_, state) = self.members.face(torrent, spot);
        let face = self.members.take(torrent, spot);
        if torrent.role != Role::Sole {
            let (peer_id, key) = self.members.accounts.name(face.account);
            let whom = Whom { user: UserId(face.user), peer_id: &peer_id, key };
            self.displace(slot, whom, &face, state);
        }
        self.members.forget(&face);
        self.count(Some(state), None);
    }
}

/// The peer of a fact.
fn record(fact: &Fact) -> PeerRecord {
    let state = match (fact.left, fact.partial) {
        (0, _) => PeerState::Seeder,
        (_, true) => PeerState::PartialSeed,
        (_, false) => PeerState::Leecher,
    };
    PeerRecord {
        user: fact.user,
        peer_id: fact.peer_id,
        key: fact.key,
        endpoints: fact.endpoints,
        state,
        visible: fact.visible,
        hidden: fact.hidden,
        reported: fact.reported,
        left: fact.left,
        since: fact.since,
        seen: fact.at,
        announces: fact.announces,
    }
}
