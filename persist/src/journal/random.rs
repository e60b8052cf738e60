//! Random records for tests and benches: the same seed gives the same.

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;
use shard::private::{
    Change, ClientPrefix, Counters, Endpoints, Fact, Freeleech, Gone, GroupId, Names, Passkey,
    PeerId, Stamp, Swarm, TorrentId, UserId,
};
use shard::{InfoHash, PeerState, Seconds};

use super::{Columns, Record, Said};

/// Any record that can be: extreme numbers as often as usual ones.
pub(crate) fn any(rng: &mut Rng) -> Record {
    match rng.u8(..18) {
        0 => any_said(
            rng.u64(..),
            Change::User {
                id: UserId(number(rng) as u32),
                passkey: passkey(rng),
                can_leech: rng.bool(),
                hidden: rng.bool(),
                enabled: rng.bool(),
                group: rng.bool().then(|| group(rng)),
            },
        ),
        1 => any_said(
            rng.u64(..),
            Change::Torrent {
                id: TorrentId(number(rng) as u32),
                info_hash: InfoHash(bytes(rng)),
                info_hash_v2: rng.bool().then(|| InfoHash(bytes(rng))),
                freeleech: [Freeleech::None, Freeleech::Free, Freeleech::Neutral][rng.usize(..3)],
                upload_percent: rng.u16(..),
            },
        ),
        2 => any_said(
            rng.u64(..),
            Change::TorrentRemoved {
                id: TorrentId(number(rng) as u32),
                info_hash: InfoHash(bytes(rng)),
                reason: (0..rng.usize(..200)).map(|_| rng.char(..)).collect(),
                at: Seconds(rng.u32(..)),
            },
        ),
        3 => any_said(
            rng.u64(..),
            Change::Token {
                user: UserId(number(rng) as u32),
                torrent: TorrentId(number(rng) as u32),
                info_hash: InfoHash(bytes(rng)),
                expires_at: rng.bool().then(|| Seconds(rng.u32(..))),
            },
        ),
        4 => any_said(
            rng.u64(..),
            Change::TokenRemoved {
                user: UserId(number(rng) as u32),
                torrent: TorrentId(number(rng) as u32),
                info_hash: InfoHash(bytes(rng)),
            },
        ),
        5 => any_said(rng.u64(..), Change::ClientRule { prefix: prefix(rng), allow: rng.bool() }),
        6 => any_said(rng.u64(..), Change::ClientRuleRemoved { prefix: prefix(rng) }),
        7 => Record::Gone(Gone {
            at: Seconds(rng.u32(..)),
            stamp: stamp(rng),
            user: UserId(number(rng) as u32),
            torrent: TorrentId(number(rng) as u32),
            info_hash: InfoHash(bytes(rng)),
            peer_id: PeerId(bytes(rng)),
            key: rng.u32(..),
            state: [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher][rng.usize(..3)],
            swarm: rng.bool().then(|| swarm(rng)),
        }),
        8 => any_said(
            rng.u64(..),
            Change::Group {
                id: group(rng),
                name: (0..rng.usize(..60)).map(|_| rng.char(..)).collect(),
                downloads_max: rng.bool().then(|| number(rng) as u32),
            },
        ),
        9 => any_said(rng.u64(..), Change::GroupRemoved { id: group(rng) }),
        10 => Record::Tick(stamp(rng)),
        11 => any_said(
            rng.u64(..),
            Change::Former {
                user: UserId(number(rng) as u32),
                passkey: passkey(rng),
                good_until: Seconds(rng.u32(..)),
            },
        ),
        12 => any_said(rng.u64(..), Change::FormerRemoved { user: UserId(number(rng) as u32) }),
        _ => Record::Fact(any_fact(rng)),
    }
}

fn group(rng: &mut Rng) -> GroupId {
    GroupId(rng.u16(..=GroupId::MAX.0))
}

/// A change as it is journaled, said in whole.
pub(crate) fn said(change: Change) -> Record {
    Record::Said(Said { at: Stamp::default(), columns: Columns::ALL, change })
}

fn any_said(seed: u64, change: Change) -> Record {
    let rng = &mut Rng::with_seed(seed);
    Record::Said(Said { at: stamp(rng), columns: Columns(rng.u8(..)), change })
}

fn stamp(rng: &mut Rng) -> Stamp {
    Stamp { millis: number(rng), node: rng.u16(..) }
}

/// So many of any kind.
pub(crate) fn several(rng: &mut Rng, records: usize) -> Vec<Record> {
    (0..records).map(|_| any(rng)).collect()
}

/// A fact as a private site has them: known addresses, some gigabytes, most credited as moved.
pub(crate) fn usual_fact(rng: &mut Rng, now: Seconds) -> Fact {
    let moved = Counters {
        uploaded: rng.u64(..4 << 30),
        downloaded: if rng.u8(..4) == 0 { rng.u64(..4 << 30) } else { 0 },
        corrupt: 0,
    };
    let before =
        Counters { uploaded: rng.u64(..1 << 38), downloaded: rng.u64(..1 << 35), corrupt: 0 };
    let free = rng.u8(..10) == 0;
    Fact {
        at: now,
        stamp: Stamp { millis: Stamp::at(now).millis + rng.u64(..1000), node: 0 },
        over_v6: rng.u8(..8) == 0,
        after: None,
        user: UserId(rng.u32(..500_000)),
        torrent: TorrentId(rng.u32(..900_000)),
        info_hash: InfoHash(bytes(rng)),
        peer_id: PeerId(bytes(rng)),
        key: rng.u32(..),
        endpoints: Endpoints::new(
            Some(rng.u32(..).into()),
            (rng.u8(..4) == 0).then(|| rng.u128(..).into()),
            rng.u16(1024..),
        ),
        hidden: rng.u8(..10) == 0,
        visible: true,
        reported: Counters {
            uploaded: before.uploaded + moved.uploaded,
            downloaded: before.downloaded + moved.downloaded,
            corrupt: 0,
        },
        said: None,
        left: if rng.u8(..4) == 0 { rng.u64(..1 << 34) } else { 0 },
        partial: false,
        active: rng.u8(..10) != 0,
        names: Names::FIRST,
        since: now - Seconds(rng.u32(..1_000_000)),
        elapsed: rng.u32(1700..2100),
        announces: rng.u32(2..600),
        moved,
        upload_percent: 100,
        download_percent: if free { 0 } else { 100 },
        token: false,
        credited_up: moved.uploaded,
        credited_down: if free { 0 } else { moved.downloaded },
        token_down: 0,
        token_spent: false,
        snatched: rng.u8(..50) == 0,
        swarm: Swarm {
            seeders: rng.u32(..200),
            leechers: rng.u32(..20),
            snatches: rng.u32(..10_000),
            balance: rng.i64(-(1 << 42)..1 << 42),
        },
    }
}

fn any_fact(rng: &mut Rng) -> Fact {
    let moved = counters(rng);
    let (v4, v6): (Option<Ipv4Addr>, Option<Ipv6Addr>) =
        (rng.bool().then(|| rng.u32(..).into()), rng.bool().then(|| rng.u128(..).into()));
    let port = if v4.is_some() || v6.is_some() { rng.u16(..) } else { 0 };
    Fact {
        at: Seconds(rng.u32(..)),
        stamp: stamp(rng),
        over_v6: rng.bool(),
        after: rng.bool().then(|| stamp(rng)),
        user: UserId(number(rng) as u32),
        torrent: TorrentId(number(rng) as u32),
        info_hash: InfoHash(bytes(rng)),
        peer_id: PeerId(bytes(rng)),
        key: rng.u32(..),
        endpoints: Endpoints {
            v6: Endpoints::new(None, v6, number(rng) as u16).v6,
            ..Endpoints::new(v4, None, port)
        },
        hidden: rng.bool(),
        visible: rng.bool(),
        reported: counters(rng),
        said: rng.bool().then(|| counters(rng)),
        left: number(rng),
        partial: rng.bool(),
        active: rng.bool(),
        names: Names { first: rng.bool(), second: rng.bool() },
        since: Seconds(rng.u32(..)),
        elapsed: number(rng) as u32,
        announces: number(rng) as u32,
        moved,
        upload_percent: if rng.bool() { 100 } else { rng.u16(..) },
        download_percent: if rng.bool() { 100 } else { rng.u16(..) },
        token: rng.bool(),
        credited_up: if rng.bool() { moved.uploaded } else { number(rng) },
        credited_down: if rng.bool() { moved.downloaded } else { number(rng) },
        token_down: number(rng),
        token_spent: rng.bool(),
        snatched: rng.bool(),
        swarm: swarm(rng),
    }
}

fn swarm(rng: &mut Rng) -> Swarm {
    Swarm {
        seeders: number(rng) as u32,
        leechers: number(rng) as u32,
        snatches: number(rng) as u32,
        balance: number(rng).cast_signed(),
    }
}

fn counters(rng: &mut Rng) -> Counters {
    Counters { uploaded: number(rng), downloaded: number(rng), corrupt: number(rng) }
}

/// Nothing, everything, or a number of any length.
fn number(rng: &mut Rng) -> u64 {
    match rng.u8(..8) {
        0 | 1 => 0,
        2 => u64::MAX,
        _ => rng.u64(..) >> rng.u32(..64),
    }
}

fn bytes(rng: &mut Rng) -> [u8; 20] {
    let mut bytes = [0; 20];
    rng.fill(&mut bytes);
    bytes
}

fn passkey(rng: &mut Rng) -> Passkey {
    let mut bytes = [0; Passkey::BYTES];
    bytes.fill_with(|| rng.alphanumeric() as u8);
    Passkey::new(&bytes).expect("letters and digits")
}

fn prefix(rng: &mut Rng) -> ClientPrefix {
    let length = rng.usize(1..=20);
    ClientPrefix::new(&bytes(rng)[..length]).expect("not empty, not too long")
}
