//! The swarms a run plays: which peer is in which torrent, the same for the same seed everywhere.
//!
//! Sizes follow Zipf's law with exponent one, as measured populations of public trackers roughly do:
//! the torrent of rank `r` gets `scale / (r + 1)` peers, held between 1 and [`SWARM_MAX`]; the scale
//! is searched so that the sizes add up to the peers asked for. Only additions, divisions and
//! floors of doubles are used, so a run is the same on every machine.

/// Largest swarm. Peers beyond it go to the torrents of the following ranks.
pub(crate) const SWARM_MAX: u32 = 20_000;

/// First port a peer announces; ports below are left to privileged services.
const PORT_FIRST: u32 = 1024;
const PORTS: u32 = 65_536 - PORT_FIRST;

/// `peers` peers in `torrents` torrents; a peer is an index below `peers`.
pub(crate) struct Swarms {
    seed: u64,
    torrents: u32,
    torrent_of: Vec<u32>,
    seeders_percent: u8,
    /// Coprime to the number of peers, so that multiples of it visit each peer once.
    stride: u64,
}

impl Swarms {
    /// Deals the peers out. There must be at least one torrent and as many peers as torrents.
    pub(crate) fn new(
        peers: u32,
        torrents: u32,
        seeders_percent: u8,
        seed: u64,
    ) -> Result<Self, String> {
        if torrents == 0 || peers < torrents {
            return Err(format!(
                "{peers} peers cannot fill {torrents} torrents; every torrent needs one"
            ));
        }
        if u64::from(peers) > u64::from(torrents) * u64::from(SWARM_MAX) {
            return Err(format!(
                "{peers} peers do not fit {torrents} torrents of {SWARM_MAX} at most"
            ));
        }
        let mut torrent_of = Vec::with_capacity(peers as usize);
        for (torrent, size) in (0..).zip(sizes(peers, torrents)) {
            torrent_of.extend(std::iter::repeat_n(torrent, size as usize));
        }
        assert_eq!(torrent_of.len(), peers as usize, "sizes add up to the peers");
        Ok(Self {
            seed,
            torrents,
            torrent_of,
            seeders_percent,
            stride: coprime_stride(peers.into()),
        })
    }

    pub(crate) fn peers(&self) -> u32 {
        self.torrent_of.len() as u32
    }

    /// Everything random follows from this number.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn torrents(&self) -> u32 {
        self.torrents
    }

    pub(crate) fn torrent_of(&self, peer: u32) -> u32 {
        self.torrent_of[peer as usize]
    }

    /// The peer that announces at `step` of a fill: all peers once, in an order that jumps between
    /// torrents as real arrivals do.
    pub(crate) fn fill_order(&self, step: u32) -> u32 {
        (u64::from(step) * self.stride % u64::from(self.peers())) as u32
    }

    /// See [`info_hash`].
    pub(crate) fn info_hash(&self, torrent: u32) -> [u8; 20] {
        info_hash(self.seed, torrent)
    }

    /// A peer id in the usual form (BEP 20), its tail a function of the peer.
    pub(crate) fn peer_id(&self, peer: u32) -> [u8; 20] {
        let mut id = *b"-LD0100-000000000000";
        let mut rest = mix(self.seed ^ 0x5eed ^ (u64::from(peer) << 16));
        for byte in &mut id[8..] {
            *byte = b"0123456789abcdefghijklmnopqrstuv"[(rest % 32) as usize];
            rest /= 32;
        }
        id
    }

    /// Whether the peer has the whole torrent.
    pub(crate) fn is_seeder(&self, peer: u32) -> bool {
        mix(self.seed ^ 0xcafe ^ (u64::from(peer) << 20)) % 100 < u64::from(self.seeders_percent)
    }

    /// The source address (an index below `sources`) a peer speaks from.
    pub(crate) fn source_of(peer: u32, sources: u32) -> u32 {
        peer % sources
    }

    /// The port a peer announces. Peers of one source differ in it until the ports run out, which is
    /// after `sources` × 64,512 peers, so no two members of a swarm share address and port.
    pub(crate) fn port_of(peer: u32, sources: u32) -> u16 {
        (PORT_FIRST + peer / sources % PORTS) as u16
    }
}

/// The infohash of a torrent: 20 evenly spread bytes, a function of seed and torrent alone.
pub(crate) fn info_hash(seed: u64, torrent: u32) -> [u8; 20] {
    let base = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(torrent) << 2);
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&mix(base).to_be_bytes());
    hash[8..16].copy_from_slice(&mix(base ^ 1).to_be_bytes());
    hash[16..].copy_from_slice(&mix(base ^ 2).to_be_bytes()[..4]);
    hash
}

/// Peers per torrent, largest first, adding up to `peers`.
fn sizes(peers: u32, torrents: u32) -> Vec<u32> {
    let size =
        |rank: u32, scale: f64| ((scale / (f64::from(rank) + 1.0)) as u32).clamp(1, SWARM_MAX);
    let total = |scale: f64| (0..torrents).map(|rank| u64::from(size(rank, scale))).sum::<u64>();

    // Invariant: `low` gives too few or just enough peers, `high` gives too many.
    let (mut low, mut high) = (0.0, f64::from(SWARM_MAX) * (f64::from(torrents) + 1.0) + 1.0);
    for _ in 0..64 {
        let middle = low + (high - low) / 2.0;
        if total(middle) <= u64::from(peers) { low = middle } else { high = middle }
    }
    let mut sizes: Vec<u32> = (0..torrents).map(|rank| size(rank, low)).collect();

    // Rounding leaves a few peers over: one more for each torrent that still has room.
    let mut left = u64::from(peers) - total(low);
    while left > 0 {
        for size in &mut sizes {
            if left > 0 && *size < SWARM_MAX {
                *size += 1;
                left -= 1;
            }
        }
    }
    sizes
}

/// A number near the golden section of `n` that shares no factor with it.
fn coprime_stride(n: u64) -> u64 {
    let mut stride = n * 618 / 1000 + 1;
    while gcd(stride, n) != 1 {
        stride += 1;
    }
    stride
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): each input bit turns half the output bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sizes_add_up_and_fall_with_rank() {
        for (peers, torrents) in [(1, 1), (7, 7), (50, 7), (500_000, 100_000), (100_000, 5)] {
            let sizes = sizes(peers, torrents);
            assert_eq!(sizes.len(), torrents as usize);
            assert_eq!(sizes.iter().sum::<u32>(), peers);
            assert!(sizes.is_sorted_by(|a, b| a >= b), "{peers} in {torrents}");
            assert!(sizes.iter().all(|&size| (1..=SWARM_MAX).contains(&size)));
        }
    }

    #[test]
    fn a_few_swarms_are_large_and_most_are_tiny() {
        let sizes = sizes(500_000, 100_000);
        assert_eq!(sizes[0], SWARM_MAX);
        assert!(sizes.iter().filter(|&&size| size <= 2).count() > 50_000);
    }

    #[test]
    fn a_seed_is_a_whole_population() {
        let describe = |seed| {
            let swarms = Swarms::new(5_000, 900, 50, seed).unwrap();
            let peers: Vec<_> = (0..swarms.peers())
                .map(|peer| (swarms.torrent_of(peer), swarms.peer_id(peer), swarms.is_seeder(peer)))
                .collect();
            let hashes: Vec<_> = (0..900).map(|torrent| swarms.info_hash(torrent)).collect();
            (peers, hashes)
        };
        assert!(describe(1) == describe(1));
        assert!(describe(1) != describe(2));
        assert_eq!(describe(3).1.iter().collect::<HashSet<_>>().len(), 900, "hashes are distinct");
    }

    #[test]
    fn the_population_of_seed_one_stays_what_it_was() {
        let swarms = Swarms::new(5_000, 900, 50, 1).unwrap();
        assert_eq!(swarms.info_hash(0)[..4], [0x6e, 0x78, 0x9e, 0x6a]);
        assert_eq!(swarms.peer_id(0).escape_ascii().to_string(), "-LD0100-cnjem48mgsfs");
    }

    #[test]
    fn a_fill_visits_every_peer_once() {
        let swarms = Swarms::new(30_030, 1_000, 50, 1).unwrap();
        let visited: HashSet<_> = (0..swarms.peers()).map(|step| swarms.fill_order(step)).collect();
        assert_eq!(visited.len(), 30_030);
    }

    #[test]
    fn no_two_peers_of_a_swarm_share_an_endpoint() {
        let swarms = Swarms::new(200_000, 2_000, 50, 1).unwrap();
        let endpoints: HashSet<_> = (0..swarms.peers())
            .map(|peer| {
                (swarms.torrent_of(peer), Swarms::source_of(peer, 16), Swarms::port_of(peer, 16))
            })
            .collect();
        assert_eq!(endpoints.len(), 200_000);
    }

    #[test]
    fn the_share_of_seeders_is_as_asked() {
        let swarms = Swarms::new(100_000, 1_000, 30, 1).unwrap();
        let seeders = (0..swarms.peers()).filter(|&peer| swarms.is_seeder(peer)).count();
        assert!((29_000..31_000).contains(&seeders), "{seeders}");
    }

    #[test]
    fn impossible_populations_are_refused() {
        assert!(Swarms::new(5, 6, 50, 1).is_err());
        assert!(Swarms::new(5, 0, 50, 1).is_err());
        assert!(Swarms::new(SWARM_MAX * 2 + 1, 2, 50, 1).is_err());
    }
}
