//! Memory and pauses of a large shard, and what an announce costs beside the naive model.
//!
//! `cargo bench -p margay-shard --bench memory [-- PEERS TORRENTS]`, by default 5,000,000 IPv4 peers
//! in 900,000 torrents with a skew as trackers see it: most torrents have one to three peers, some
//! have tens of thousands. Would change a decision: more than 140 MiB for the engine (160 for the
//! process is what another tracker with 8-byte peers needs), any single call above 1 ms, or an
//! announce at 500,000 peers above 250 ns.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use shard::model::Model;
use shard::{
    Announce, ClientTag, Cursor, Event, Families, InfoHash, Limits, Piece, Reply, Seconds, Shard,
};

const LIMITS: Limits = Limits {
    swarms_max: 1 << 24,
    peers_max: 1 << 26,
    peer_timeout: Seconds(3000),
    swarm_retention: Seconds(86_400),
    count_unknown: false,
};
const START: Seconds = Seconds(1_700_000_000);

fn main() {
    // Cargo passes `--bench`; numbers are the sizes.
    let mut sizes = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let peers = sizes.next().unwrap_or(5_000_000);
    let torrents = sizes.next().unwrap_or(900_000);

    println!("# {peers} peers in {torrents} torrents");
    full_size(peers, torrents);
    one_swarm(1_000_000.min(peers as u32));

    println!("\n# cost of an announce, ns");
    println!(
        "{:>10} {:>10} {:>9} {:>8} {:>8} {:>8}",
        "peers", "torrents", "numwant", "engine", "warmed", "model"
    );
    for (peers, torrents) in [(5_000, 1_000), (50_000, 10_000), (500_000, 100_000)] {
        for numwant in [0, 5, 50] {
            let [engine, warmed] = steady_engine(peers, torrents, numwant);
            let model = match peers {
                5_000 => format!("{:.0}", steady_model(peers, torrents, numwant)),
                _ => "-".into(),
            };
            println!(
                "{peers:>10} {torrents:>10} {numwant:>9} {engine:>8.0} {warmed:>8.0} {model:>8}"
            );
        }
    }
}

/// Peer `n` of the load: its torrent follows the skew, its endpoint and tag are its own.
struct Load {
    /// Where each torrent's peers end.
    ends: Vec<u32>,
}

impl Load {
    /// Sizes fall off as a power of the rank, and no torrent is without a peer.
    fn new(peers: usize, torrents: usize) -> Self {
        let weight = |rank: usize| ((rank + 20) as f64).powf(-0.86);
        let sum: f64 = (0..torrents).map(weight).sum();
        let scale = (peers - torrents) as f64 / sum;
        let (mut ends, mut end) = (Vec::with_capacity(torrents), 0.0);
        for rank in 0..torrents {
            end += 1.0 + weight(rank) * scale;
            ends.push(end as u32);
        }
        Self { ends }
    }

    fn peers(&self) -> u32 {
        *self.ends.last().unwrap()
    }

    fn announce(&self, peer: u32, numwant: u16) -> Announce {
        let torrent = self.ends.partition_point(|end| *end <= peer) as u64;
        Announce {
            info_hash: info_hash(torrent),
            address: IpAddr::V4(Ipv4Addr::from(0x2d00_0000 | peer)),
            port: 6881 + (peer % 7) as u16,
            client: ClientTag::from_bits(mix(u64::from(peer)) as u32),
            left: u64::from(!peer.is_multiple_of(3)),
            downloaded: 0,
            event: Event::None,
            numwant,
            families: Families { v4: true, v6: false },
        }
    }

    /// All peers in an order that hops between torrents.
    fn shuffled(&self) -> impl Iterator<Item = u32> + '_ {
        let peers = u64::from(self.peers());
        // A step without a common divisor visits everybody once.
        let step = (peers * 618_034 / 1_000_000..).find(|step| gcd(*step, peers) == 1).unwrap();
        (0..peers).map(move |n| (n * step % peers) as u32)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_add(0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn info_hash(torrent: u64) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&mix(torrent + 1).to_be_bytes());
    bytes[8..16].copy_from_slice(&mix(torrent + 7).to_be_bytes());
    InfoHash(bytes)
}

/// Announces prepared beforehand, so that only the engine is timed.
fn batch(load: &Load, random: &mut fastrand::Rng, numwant: u16) -> Vec<Announce> {
    (0..10_000).map(|_| load.announce(random.u32(..load.peers()), numwant)).collect()
}

/// One by one, and in batches of 32 that are reached for together.
fn steady_engine(peers: usize, torrents: usize, numwant: u16) -> [f64; 2] {
    let load = Load::new(peers, torrents);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut shard, mut reply) = (Shard::new(1, LIMITS), Reply::default());
    for peer in load.shuffled() {
        shard.announce(&load.announce(peer, 0), START, &mut random, &mut reply).unwrap();
    }
    // The machine may be busy with others: the fastest of many short batches is the engine's own.
    let mut best = [f64::MAX; 2];
    for round in 0..80 {
        let announces = batch(&load, &mut random, numwant);
        let from = Instant::now();
        let mut seeds = [0; 32];
        for batch in announces.chunks(32) {
            seeds.fill_with(|| random.u64(..));
            if round % 2 == 1 {
                shard.warm(batch, &seeds);
            }
            for (announce, seed) in batch.iter().zip(seeds) {
                let mut random = fastrand::Rng::with_seed(seed);
                shard.announce(announce, START, &mut random, &mut reply).unwrap();
                assert!(reply.peers_v4.len() <= 6 * usize::from(numwant));
            }
        }
        let nanos = from.elapsed().as_nanos() as f64 / announces.len() as f64;
        best[round % 2] = best[round % 2].min(nanos);
    }
    assert_eq!(shard.totals().peers_v4, load.peers() as usize);
    best
}

fn steady_model(peers: usize, torrents: usize, numwant: u16) -> f64 {
    let load = Load::new(peers, torrents);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut model, mut reply) = (Model::new(LIMITS), Reply::default());
    for peer in load.shuffled() {
        model.announce(&load.announce(peer, 0), START, &mut reply).unwrap();
    }
    let announces = &batch(&load, &mut random, numwant)[..2_000];
    let from = Instant::now();
    for announce in announces {
        model.announce(announce, START, &mut reply).unwrap();
    }
    from.elapsed().as_nanos() as f64 / announces.len() as f64
}

/// How long each call of a run took. The same seed makes the same calls, so a call that was long in
/// every one of several runs was long by itself, and not because the machine had others to serve.
#[derive(Default)]
struct Pauses {
    nanos: Vec<u32>,
    next: usize,
}

impl Pauses {
    fn with_room(calls: usize) -> Self {
        let mut nanos = vec![u32::MAX; calls];
        nanos.clear();
        Self { nanos, next: 0 }
    }

    fn time<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let from = Instant::now();
        let result = call();
        let nanos = u32::try_from(from.elapsed().as_nanos()).unwrap_or(u32::MAX);
        match self.nanos.get_mut(self.next) {
            Some(least) => *least = nanos.min(*least),
            None => self.nanos.push(nanos),
        }
        self.next += 1;
        result
    }
}

const RUNS: usize = 3;

/// Fill, announce, export, sweep, expire, each with its pauses.
fn full_size(peers: usize, torrents: usize) {
    const KINDS: [&str; 5] = [
        "announce while filling, numwant 50",
        "announce, numwant 50",
        "export of 2,000 peers",
        "sweep of 2,000, all alive",
        "sweep of 2,000, all silent",
    ];
    let load = Load::new(peers, torrents);
    let calls = [peers + 1000, 200_000, peers / 100, peers / 100, peers / 100];
    let mut pauses = calls.map(Pauses::with_room);
    let mut grown_bytes = 0;
    for run in 0..RUNS {
        let before = resident_bytes();
        let mut shard = Shard::new(1, LIMITS);
        one_life(&load, &mut shard, &mut pauses, &mut || {
            // Later runs begin in memory that an earlier one gave back.
            if run == 0 {
                grown_bytes = resident_bytes() - before;
            }
        });
    }
    println!(
        "engine: {:.1} MiB resident, {:.1} bytes a peer, {:.1} a torrent",
        grown_bytes as f64 / 1_048_576.0,
        grown_bytes as f64 / f64::from(load.peers()),
        grown_bytes as f64 / load.ends.len() as f64,
    );
    print(&KINDS, &pauses);
}

fn one_life(load: &Load, shard: &mut Shard, pauses: &mut [Pauses; 5], full: &mut dyn FnMut()) {
    let [fill, steady, export, alive, silent] = pauses;
    let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
    for pauses in [&mut *fill, steady, export, alive, silent] {
        pauses.next = 0;
    }
    for peer in load.shuffled() {
        let announce = load.announce(peer, 50);
        fill.time(|| shard.announce(&announce, START, &mut random, &mut reply)).unwrap();
    }
    full();
    let totals = shard.totals();
    assert_eq!((totals.peers_v4, totals.swarms), (load.peers() as usize, load.ends.len()));
    for _ in 0..20 {
        for announce in batch(load, &mut random, 50) {
            steady.time(|| shard.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
    }
    let (mut cursor, mut piece) = (Cursor::default(), Piece::default());
    let (mut finished, mut exported) = (false, 0);
    while !finished {
        piece.clear();
        finished = export.time(|| shard.export(&mut cursor, 2000, &mut piece));
        exported += piece.peers_v4.len();
    }
    assert_eq!(exported, totals.peers_v4);
    while !alive.time(|| shard.expire(START, 2000)).finished {}
    let late = START + LIMITS.peer_timeout + Seconds(8);
    while !silent.time(|| shard.expire(late, 2000)).finished {}
    assert_eq!(shard.totals().peers_v4, 0);
}

fn print(kinds: &[&str], pauses: &[Pauses]) {
    println!("{:<36} {:>9} {:>9} {:>12}", "", "calls", "mean, ns", "longest, us");
    for (kind, pauses) in kinds.iter().zip(pauses) {
        let calls = pauses.nanos.len();
        let mean = pauses.nanos.iter().map(|nanos| f64::from(*nanos)).sum::<f64>() / calls as f64;
        let longest = f64::from(*pauses.nanos.iter().max().unwrap()) / 1000.0;
        println!("{kind:<36} {calls:>9} {mean:>9.0} {longest:>12.1}");
    }
}

/// A single swarm of very many; then an IPv6 peer among them, and its end.
fn one_swarm(peers: u32) {
    const KINDS: [&str; 4] = [
        "announce while filling, numwant 50",
        "announce, numwant 50, first is IPv6",
        "remove",
        "sweep of 2,000 after it",
    ];
    println!("\n# {peers} peers in one torrent");
    let load = Load { ends: vec![peers] };
    let mut pauses = [peers as usize, 200_001, 1, 1000].map(Pauses::with_room);
    for _ in 0..RUNS {
        let [fill, steady, remove, bury] = &mut pauses;
        for pauses in [&mut *fill, steady, remove, bury] {
            pauses.next = 0;
        }
        let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
        let mut shard = Shard::new(1, LIMITS);
        for peer in load.shuffled() {
            let announce = load.announce(peer, 50);
            fill.time(|| shard.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
        let announce = Announce { address: "2a00::1".parse().unwrap(), ..load.announce(0, 50) };
        steady.time(|| shard.announce(&announce, START, &mut random, &mut reply)).unwrap();
        for peer in load.shuffled().take(200_000) {
            let announce = load.announce(peer, 50);
            steady.time(|| shard.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
        assert_eq!(remove.time(|| shard.remove(&info_hash(0))), Some(peers as usize + 1));
        while !bury.time(|| shard.expire(START, 2000)).finished {}
    }
    print(&KINDS, &pauses);
}

/// Physical memory in use (proc(5), `statm`).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
