//! Memory and pauses of large private swarms, and what an announce costs beside the naive model.
//!
//! `cargo bench -p margay-shard --bench private [-- PEERS TORRENTS]`, by default 5,000,000 peers of
//! 500,000 users in 900,000 torrents with a skew as trackers see it; one peer in eight has IPv6 beside
//! IPv4. Would change a decision: more than 72 bytes a peer with 80 for each torrent taken off, any
//! single call above 1 ms, or an announce with changed counters at 500,000 peers above 1 µs.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use shard::private::model::Model;
use shard::private::{
    Announce, Counters, Cursor, Endpoints, Facts, Freeleech, Limits, PeerId, Piece, Swarms, Terms,
    TorrentId, User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

const LIMITS: Limits = Limits {
    torrents_max: 1 << 24,
    peers_max: 1 << 26,
    clients_max: 0,
    peer_timeout: Seconds(3000),
    interval: Seconds(1800),
    interval_max: Seconds(7200),
    count_unknown: false,
    deletions_max: 100_000,
    facts: Facts::Changed,
};
const START: Seconds = Seconds(1_700_000_000);
const USERS: u32 = 500_000;

fn main() {
    // Cargo passes `--bench`; numbers are the sizes.
    let mut sizes = std::env::args().skip(1).filter_map(|argument| argument.parse::<usize>().ok());
    let peers = sizes.next().unwrap_or(5_000_000);
    let torrents = sizes.next().unwrap_or(900_000);

    println!("# {peers} peers in {torrents} torrents");
    full_size(peers, torrents);
    one_swarm(1_000_000.min(peers as u32));

    println!(
        "\n# cost of an announce, ns: nothing changed, alone and warmed; counters changed, a fact made"
    );
    println!(
        "{:>10} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "peers", "torrents", "numwant", "same", "warmed", "changed", "model"
    );
    for (peers, torrents) in [(5_000, 1_000), (50_000, 10_000), (500_000, 100_000)] {
        for numwant in [0, 5, 50] {
            let [same, warmed, changed] = steady_engine(peers, torrents, numwant);
            let model = match peers {
                5_000 => format!("{:.0}", steady_model(peers, torrents)),
                _ => "-".into(),
            };
            println!(
                "{peers:>10} {torrents:>10} {numwant:>9} {same:>8.0} {warmed:>8.0} {changed:>8.0} {model:>8}"
            );
        }
    }
}

/// Peer `n` of the load: its torrent follows the skew, its user and names are its own.
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

    fn register(&self, register: &mut dyn FnMut(InfoHash, Terms)) {
        for torrent in 0..self.ends.len() {
            let id = TorrentId(torrent as u32);
            let terms = Terms { id, freeleech: Freeleech::None, upload_percent: 100 };
            register(info_hash(torrent as u64), terms);
        }
    }

    fn announce(&self, peer: u32, numwant: u16) -> Announce {
        let torrent = self.ends.partition_point(|end| *end <= peer) as u64;
        let mut peer_id = *b"-qB5010-000000000000";
        peer_id[12..].copy_from_slice(&mix(u64::from(peer)).to_be_bytes());
        let v6 = (0x2a00 << 112) + u128::from(peer);
        Announce {
            info_hash: info_hash(torrent),
            user: User {
                id: UserId((mix(u64::from(peer) + 99) % u64::from(USERS)) as u32),
                can_leech: true,
                hidden: false,
                group: None,
            },
            peer_id: PeerId(peer_id),
            key: peer,
            endpoints: Endpoints::new(
                Some(Ipv4Addr::from(0x2d00_0000 | peer)),
                peer.is_multiple_of(8).then(|| Ipv6Addr::from(v6)),
                6881 + (peer % 7) as u16,
            ),
            counters: Counters {
                uploaded: mix(u64::from(peer)) >> 30,
                downloaded: 1 << 30,
                // As few clients say.
                corrupt: u64::from(peer.is_multiple_of(64)),
            },
            left: u64::from(!peer.is_multiple_of(3)) << 30,
            event: Event::None,
            numwant,
            families: Families { v4: true, v6: false },
            assumed: Families::default(),
            interval: Seconds(1800),
            downloads_full: false,
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

fn filled(load: &Load) -> Swarms {
    let (mut swarms, mut reply) = (Swarms::new(1, LIMITS), Reply::default());
    let mut random = fastrand::Rng::with_seed(1);
    load.register(&mut |info_hash, terms| _ = swarms.register(info_hash, terms).unwrap());
    for peer in load.shuffled() {
        swarms.announce(&load.announce(peer, 0), START, &mut random, &mut reply).unwrap();
    }
    swarms
}

/// One by one; in batches of 32 that are reached for together; and so with changed counters.
fn steady_engine(peers: usize, torrents: usize, numwant: u16) -> [f64; 3] {
    let load = Load::new(peers, torrents);
    let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
    let mut swarms = filled(&load);
    // The machine may be busy with others: the fastest of many short batches is the engine's own.
    let mut best = [f64::MAX; 3];
    for round in 0..60 {
        let kind = round % 3;
        let now = START + Seconds(200 * round as u32);
        let mut announces = batch(&load, &mut random, numwant);
        let more = if kind == 2 { (1 << 32) + round as u64 * 1000 } else { 0 };
        for announce in &mut announces {
            announce.counters.uploaded += more;
        }
        let (mut seeds, mut facts) = ([0; 32], 0);
        let from = Instant::now();
        for batch in announces.chunks(32) {
            seeds.fill_with(|| random.u64(..));
            if kind > 0 {
                swarms.warm(batch, &seeds);
            }
            for (announce, seed) in batch.iter().zip(seeds) {
                let mut random = fastrand::Rng::with_seed(seed);
                let done = swarms.announce(announce, now, &mut random, &mut reply).unwrap();
                facts += usize::from(done.fact.is_some());
                assert!(reply.peers_v4.len() <= 6 * usize::from(numwant));
            }
        }
        let nanos = from.elapsed().as_nanos() as f64 / announces.len() as f64;
        if kind == 2 {
            // As they were, so that later rounds find nothing changed: after moments, or they would be late;
            // and once more, when nothing of what was before is remembered.
            announces.iter_mut().for_each(|announce| announce.counters.uploaded -= more);
            for now in [now + Seconds(60), now + Seconds(120)] {
                for announce in &announces {
                    swarms.announce(announce, now, &mut random, &mut reply).unwrap();
                }
            }
            assert!(facts > 0);
        } else {
            assert_eq!(facts, 0);
        }
        best[kind] = best[kind].min(nanos);
    }
    assert_eq!(swarms.totals().peers, load.peers() as usize);
    best
}

fn steady_model(peers: usize, torrents: usize) -> f64 {
    let load = Load::new(peers, torrents);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut model, mut reply) = (Model::new(LIMITS), Reply::default());
    load.register(&mut |info_hash, terms| _ = model.register(info_hash, terms).unwrap());
    for peer in load.shuffled() {
        model.announce(&load.announce(peer, 0), START, &mut reply).unwrap();
    }
    let announces = &batch(&load, &mut random, 0)[..2_000];
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

/// Register, fill, announce, export, import, sweep, expire, each with its pauses.
fn full_size(peers: usize, torrents: usize) {
    const KINDS: [&str; 7] = [
        "register",
        "announce while filling, numwant 50",
        "announce, changed, numwant 50",
        "export of 2,000 peers",
        "import of a torrent",
        "sweep of 2,000, all alive",
        "sweep of 2,000, all silent",
    ];
    let load = Load::new(peers, torrents);
    let pieces = peers / 100;
    let calls = [torrents, peers + 1000, 200_000, pieces, torrents + pieces, pieces, pieces];
    let mut pauses = calls.map(Pauses::with_room);
    for run in 0..RUNS {
        let before = resident_bytes();
        let mut swarms = Swarms::new(1, LIMITS);
        let [registered, full] = one_life(&load, &mut swarms, &mut pauses);
        // Later runs begin in memory that an earlier one gave back.
        if run == 0 {
            let (torrents, all) = (registered - before, full - before);
            println!(
                "engine: {:.1} MiB resident; {:.1} bytes a torrent, {:.1} a peer beside that",
                all as f64 / 1_048_576.0,
                torrents as f64 / load.ends.len() as f64,
                (all - torrents) as f64 / f64::from(load.peers()),
            );
        }
    }
    print(&KINDS, &pauses);
}

/// What is resident with torrents alone, and with their peers.
fn one_life(load: &Load, swarms: &mut Swarms, pauses: &mut [Pauses; 7]) -> [usize; 2] {
    let [register, fill, steady, export, import, alive, silent] = pauses;
    let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
    for pauses in [&mut *register, fill, steady, export, import, alive, silent] {
        pauses.next = 0;
    }
    load.register(&mut |info_hash, terms| {
        register.time(|| swarms.register(info_hash, terms)).unwrap();
    });
    let registered = resident_bytes();
    for peer in load.shuffled() {
        let announce = load.announce(peer, 50);
        fill.time(|| swarms.announce(&announce, START, &mut random, &mut reply)).unwrap();
    }
    let full = resident_bytes();
    let totals = swarms.totals();
    assert_eq!((totals.peers, totals.torrents), (load.peers() as usize, load.ends.len()));
    for round in 1..21 {
        for mut announce in batch(load, &mut random, 50) {
            announce.counters.uploaded += round << 35;
            steady.time(|| swarms.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
    }
    let (mut cursor, mut piece) = (Cursor::default(), Piece::default());
    let (mut finished, mut restarted) = (false, Swarms::new(2, LIMITS));
    while !finished {
        piece.clear();
        finished = export.time(|| swarms.export(&mut cursor, 2000, &mut piece));
        let mut peers = piece.peers.iter().copied();
        for record in &piece.torrents {
            let peers = peers.by_ref().take(record.peers as usize);
            import.time(|| restarted.import(record, peers, std::iter::empty())).unwrap();
        }
    }
    assert_eq!(restarted.totals(), swarms.totals());
    drop(restarted);
    let mut gone = Vec::with_capacity(4000);
    while !alive.time(|| swarms.expire(START, 2000, &mut gone)).finished {}
    assert_eq!(gone, []);
    let late = START + LIMITS.peer_timeout + Seconds(1);
    while !silent.time(|| swarms.expire(late, 2000, &mut gone)).finished {
        gone.clear();
    }
    assert_eq!(swarms.totals().peers, 0);
    [registered, full]
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

/// A single swarm of very many, and its end.
fn one_swarm(peers: u32) {
    const KINDS: [&str; 4] = [
        "announce while filling, numwant 50",
        "announce, numwant 50",
        "unregister",
        "sweep of 2,000 after it",
    ];
    println!("\n# {peers} peers in one torrent");
    let load = Load { ends: vec![peers] };
    let mut pauses = [peers as usize, 200_001, 1, 1000].map(Pauses::with_room);
    for _ in 0..RUNS {
        let [fill, steady, unregister, bury] = &mut pauses;
        for pauses in [&mut *fill, steady, unregister, bury] {
            pauses.next = 0;
        }
        let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
        let mut swarms = Swarms::new(1, LIMITS);
        load.register(&mut |info_hash, terms| _ = swarms.register(info_hash, terms).unwrap());
        for peer in load.shuffled() {
            let announce = load.announce(peer, 50);
            fill.time(|| swarms.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
        for peer in load.shuffled().take(200_000) {
            let announce = load.announce(peer, 50);
            steady.time(|| swarms.announce(&announce, START, &mut random, &mut reply)).unwrap();
        }
        let (mut gone, mut left) = (Vec::with_capacity(4000), 0);
        let terms = unregister.time(|| swarms.unregister(&info_hash(0), "", START, &mut gone));
        assert!(terms.is_some());
        while !bury.time(|| swarms.expire(START, 2000, &mut gone)).finished {
            left += gone.len();
            gone.clear();
        }
        assert_eq!(left + gone.len(), peers as usize);
    }
    print(&KINDS, &pauses);
}

/// Physical memory in use (proc(5), `statm`).
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
