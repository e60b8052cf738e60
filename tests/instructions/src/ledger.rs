//! What this process does for a batch before the database gets it: 16,384 records in groups, added up.
//! PostgreSQL is another process.

use fastrand::Rng;
use persist::journal::Record;
use persist::ledger::fold;
use shard::private::{
    Counters, Endpoints, Fact, Gone, Names, PeerId, Stamp, Swarm, TorrentId, UserId,
};
use shard::{PeerState, Seconds};

use crate::crowd::{PEERS, Peer, TORRENTS};
use crate::{Walk, counted};

/// Records of a batch, and batches of a walk.
const RECORDS: usize = 16_384;
const BATCHES: usize = 3;

struct Batch(Rng);

pub(crate) fn batch() -> Box<dyn Walk> {
    Box::new(Batch(Rng::with_seed(1)))
}

impl Walk for Batch {
    fn walk(&mut self) -> usize {
        for _ in 0..BATCHES {
            let records: Vec<(u64, Record)> = (0..RECORDS)
                .map(|at| (at as u64, record(&mut self.0, Seconds(1_800_000_000))))
                .collect();
            let mut rows = 0;
            counted(&mut || rows = fold(&records));
            assert!(rows > RECORDS, "{rows}");
        }
        BATCHES * RECORDS
    }
}

/// A fact as a private site has them, or now and then a departure.
pub(crate) fn record(random: &mut Rng, now: Seconds) -> Record {
    let number = random.u32(..PEERS);
    let peer = Peer { number, torrent: number % TORRENTS };
    let swarm = Swarm {
        seeders: random.u32(..200),
        leechers: random.u32(..20),
        snatches: random.u32(..10_000),
        balance: random.i64(-(1 << 42)..1 << 42),
    };
    let (user, torrent) = (UserId(peer.user()), TorrentId(peer.torrent));
    let (info_hash, peer_id, key) = (peer.info_hash(), PeerId(peer.peer_id()), peer.key());
    if random.u8(..32) == 0 {
        let state = PeerState::Seeder;
        let swarm = Some(swarm);
        let (at, stamp) = (now, Stamp::at(now));
        return Gone { at, stamp, user, torrent, info_hash, peer_id, key, state, swarm }.into();
    }
    let moved = Counters {
        uploaded: random.u64(..4 << 30),
        downloaded: if random.u8(..4) == 0 { random.u64(..4 << 30) } else { 0 },
        corrupt: 0,
    };
    let (uploaded, downloaded) = (random.u64(1 << 32..1 << 38), random.u64(1 << 32..1 << 35));
    let fact = Fact {
        names: Names::FIRST,
        at: now,
        stamp: Stamp::at(now),
        over_v6: false,
        after: None,
        user,
        torrent,
        info_hash,
        peer_id,
        key,
        endpoints: Endpoints::new(Some(peer.address()), None, peer.port()),
        hidden: random.u8(..10) == 0,
        visible: true,
        reported: Counters { uploaded, downloaded, corrupt: 0 },
        said: None,
        left: peer.left(),
        partial: false,
        active: random.u8(..10) != 0,
        since: now - Seconds(random.u32(..1_000_000)),
        elapsed: random.u32(1700..2100),
        announces: random.u32(2..600),
        moved,
        upload_percent: 100,
        download_percent: 100,
        token: false,
        credited_up: moved.uploaded,
        credited_down: if random.u8(..10) == 0 { 0 } else { moved.downloaded },
        token_down: 0,
        token_spent: false,
        snatched: random.u8(..50) == 0,
        swarm,
    };
    fact.into()
}
