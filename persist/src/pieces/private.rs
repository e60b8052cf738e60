//! Of a private tracker.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use shard::private::{
    ClientPrefix, Counters, DeletionRecord, Endpoints, Freeleech, GroupId, NamedRecord, Names,
    Passkey, PeerId, PeerRecord, Piece, Terms, TokenRecord, TorrentId, TorrentRecord, User, UserId,
};
use shard::{InfoHash, PeerState, Seconds};

/// A piece of `torrents` torrents with at most `peers_max` peers in each, some tokens and as many
/// deletions. Everything is of any size: figures of a few bytes, and as large as they can be.
pub(crate) fn piece(rng: &mut Rng, torrents: usize, peers_max: usize, now: Seconds) -> Piece {
    let mut piece = Piece::default();
    for _ in 0..torrents {
        let (peers, tokens) = (rng.usize(..=peers_max), rng.usize(..=peers_max.min(2)));
        piece.torrents.push(TorrentRecord {
            info_hash: info_hash(rng),
            terms: Terms {
                id: TorrentId(rng.u32(..)),
                freeleech: [Freeleech::None, Freeleech::Free, Freeleech::Neutral][rng.usize(..3)],
                upload_percent: [100, 0, 200, u16::MAX][rng.usize(..4)],
            },
            balance: rng.i64(..) >> rng.u32(..64),
            snatches: if rng.bool() { 0 } else { rng.u32(..1000) },
            peers: peers as u32,
            tokens: tokens as u32,
        });
        let before = piece.peers.len();
        piece.peers.extend((0..peers).map(|_| peer(rng, now)));
        if rng.u8(..4) == 0 {
            let first = piece.torrents[piece.torrents.len() - 1].info_hash;
            piece.hybrids.push((first, info_hash(rng)));
            piece.named.extend(piece.peers[before..].iter().map(|peer| NamedRecord {
                info_hash: first,
                user: peer.user,
                peer_id: peer.peer_id,
                key: peer.key,
                names: Names { first: rng.bool(), second: true },
            }));
        }
        piece.tokens.extend((0..tokens).map(|_| token(rng)));
        let reason = ["", "Dupe", "Schon da: \u{df}"][rng.usize(..3)].into();
        piece.deletions.push(DeletionRecord { info_hash: info_hash(rng), reason, at: now });
    }
    piece
}

/// A random peer.
pub(crate) fn peer(rng: &mut Rng, now: Seconds) -> PeerRecord {
    let mut peer_id = *b"-qB0001-............";
    peer_id[8..].fill_with(|| rng.u8(b'a'..=b'z'));
    let v4 = (rng.u8(..8) > 0).then(|| Ipv4Addr::from_bits(rng.u32(..)));
    let v6 = (v4.is_none() || rng.u8(..8) == 0).then(|| Ipv6Addr::from_bits(rng.u128(..)));
    let endpoints = Endpoints::new(v4, v6, rng.u16(..));
    let own_port = Endpoints::new(None, v6.filter(|_| rng.u8(..4) == 0), rng.u16(..));
    let seen = now - Seconds(rng.u32(..3000));
    let mut bytes = || rng.u64(..) >> rng.u32(..64);
    let (uploaded, downloaded, left) = (bytes(), bytes(), bytes());
    let state = match left {
        0 => PeerState::Seeder,
        _ => [PeerState::Leecher, PeerState::PartialSeed][rng.usize(..2)],
    };
    PeerRecord {
        user: UserId(rng.u32(..)),
        peer_id: PeerId(peer_id),
        key: if rng.bool() { 0 } else { rng.u32(..) },
        endpoints: Endpoints { v6: own_port.v6.or(endpoints.v6), ..endpoints },
        state,
        visible: rng.bool(),
        hidden: rng.bool(),
        reported: Counters {
            uploaded,
            downloaded,
            corrupt: if rng.u8(..10) == 0 { rng.u64(..) } else { 0 },
        },
        left: if rng.u8(..20) == 0 && left > 0 { u64::MAX } else { left },
        since: seen - Seconds(rng.u32(..) >> rng.u32(5..32)),
        seen,
        announces: rng.u32(1..) >> rng.u32(..31) | 1,
    }
}

/// A random token.
pub(crate) fn token(rng: &mut Rng) -> TokenRecord {
    let expires_at = [None, Some(Seconds(rng.u32(..))), Some(Seconds(u32::MAX))][rng.usize(..3)];
    TokenRecord { user: UserId(rng.u32(..)), expires_at }
}

/// A random user.
pub(crate) fn user(rng: &mut Rng) -> (Passkey, User) {
    let passkey: [u8; Passkey::BYTES] = std::array::from_fn(|_| rng.alphanumeric() as u8);
    let passkey = Passkey::new(&passkey).expect("letters and digits");
    let group = (rng.u8(..8) == 0).then(|| group(rng).0);
    let (id, can_leech, hidden) = (UserId(rng.u32(..)), rng.bool(), rng.bool());
    (passkey, User { id, can_leech, hidden, group })
}

/// A random group of users, and its bound.
pub(crate) fn group(rng: &mut Rng) -> (GroupId, Option<u32>) {
    let most = [None, Some(rng.u32(..1000)), Some(u32::MAX - 1)][rng.usize(..3)];
    (GroupId(rng.u16(..=GroupId::MAX.0)), most)
}

/// A random rule of clients.
pub(crate) fn rule(rng: &mut Rng) -> (ClientPrefix, bool) {
    let bytes: Vec<u8> = (0..rng.usize(1..=20)).map(|_| rng.u8(..)).collect();
    (ClientPrefix::new(&bytes).expect("1 to 20 bytes"), rng.bool())
}

fn info_hash(rng: &mut Rng) -> InfoHash {
    InfoHash(std::array::from_fn(|_| rng.u8(..)))
}
