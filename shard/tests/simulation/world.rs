//! A random world: clients with their habits, a network that loses, repeats and reorders.

use shard::{Announce, ClientTag, Event, Families, InfoHash, Limits, Seconds};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::sim::Sim;

/// One seed's world. What it is like is drawn first, then what happens in it.
pub(crate) struct World {
    sim: Sim,
    random: fastrand::Rng,
    limits: Limits,
    torrents: Vec<InfoHash>,
    clients: Vec<Client>,
    /// Announces on their way.
    network: Vec<Announce>,
    steps: usize,
    /// Out of 256, how many announces are lost, and how many arrive twice.
    loss: u8,
    repeats: u8,
    /// Out of 256, how many clients have IPv4, and how many have IPv6.
    v4: u8,
    v6: u8,
    swept: Seconds,
}

struct Client {
    tag: ClientTag,
    v4: Option<(Ipv4Addr, u16)>,
    v6: Option<(Ipv6Addr, u16)>,
    torrent: usize,
    left: u64,
    downloaded: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x51a7);
        // Most worlds are small and quick; some have a crowd, a few one that indexes its tags.
        let (torrents, clients, steps) = match random.u8(..) {
            0..=1 => (1, 3000 + random.usize(..800), 5000),
            2..=40 => (1 + random.usize(..3), 200 + random.usize(..400), 1500),
            _ => (1 + random.usize(..20), 2 + random.usize(..80), 400),
        };
        let tiny = clients < 200 && random.u8(..4) == 0;
        let limits = Limits {
            swarms_max: if tiny { 1 + random.usize(..torrents + 1) } else { 1000 },
            peers_max: if tiny { random.usize(..clients) } else { 100_000 },
            peer_timeout: Seconds(random.u32(60..10_000)),
            swarm_retention: Seconds(random.u32(..50_000)),
            count_unknown: random.bool(),
        };
        let shards = 1 + random.usize(..3);
        let mut sim = Sim::new(seed, shards, limits);
        sim.has_intervals = random.bool();
        let families = [(255, 0), (0, 255), (255, 255), (200, 100), (128, 128)];
        let (v4, v6) = families[random.usize(..families.len())];
        let (loss, repeats) = (random.u8(..80), random.u8(..80));
        let swept = sim.now;
        let mut world = Self {
            sim,
            limits,
            torrents: (0..torrents)
                .map(|_| InfoHash(std::array::from_fn(|_| random.u8(..))))
                .collect(),
            clients: Vec::new(),
            network: Vec::new(),
            steps,
            loss,
            repeats,
            v4,
            v6,
            random,
            swept,
        };
        world.clients = (0..clients).map(|_| world.client()).collect();
        world
    }

    pub(crate) fn run(mut self) {
        if self.clients.len() > 1000 {
            // A large swarm comes together at once, or most steps would go by before it is one.
            (0..self.clients.len()).for_each(|client| self.act(client, Event::Started));
        }
        for _ in 0..self.steps {
            self.step();
        }
        while !self.network.is_empty() {
            self.deliver();
        }
        self.sim.check_all();
        self.sim.now = self.sim.now + Seconds(20_000) + self.limits.swarm_retention;
        self.sim.expire(1000);
        self.sim.now = self.sim.now + Seconds(20_000) + self.limits.swarm_retention;
        self.sim.expire(1000);
        for (shard, _) in &self.sim.shards {
            assert_eq!(shard.totals(), Default::default(), "everybody is silent, nothing is left");
        }
    }

    fn step(&mut self) {
        match self.random.u16(..1000) {
            0..=1 => self.restart(),
            2..=3 => {
                let torrent = self.torrents[self.random.usize(..self.torrents.len())];
                self.sim.remove(&torrent);
            }
            4..=9 => self.sweep(),
            10..=14 => self.advance(8000),
            15..=24 => self.change_somebody(),
            25..=29 => self.sim.check_all(),
            30..=500 => self.somebody_acts(),
            _ => {
                self.advance(8);
                self.deliver();
            }
        }
    }

    fn advance(&mut self, seconds: u32) {
        self.sim.now = self.sim.now + Seconds(self.random.u32(..seconds));
        if self.sim.now.since(self.swept) > Seconds(6 * 3600) {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        self.swept = self.sim.now;
        let budget = self.random.usize(1..300);
        self.sim.expire(budget);
    }

    /// Limits that hold for each of several shards may not hold for one: it gets room for all.
    fn restart(&mut self) {
        let (mut swarms, mut peers) = (0, 0);
        for (shard, _) in &self.sim.shards {
            let totals = shard.totals();
            swarms += totals.swarms;
            peers += totals.peers_v4 + totals.peers_v6;
        }
        self.limits.swarms_max = self.limits.swarms_max.max(swarms);
        self.limits.peers_max = self.limits.peers_max.max(peers);
        let (shards, piece) = (1 + self.random.usize(..4), self.random.usize(1..500));
        self.sim.restart(shards, piece, self.limits);
    }

    fn somebody_acts(&mut self) {
        let client = self.random.usize(..self.clients.len());
        let event = match self.random.u8(..20) {
            0..=4 => Event::Started,
            5..=6 => Event::Completed,
            7..=8 => Event::Paused,
            9..=11 => Event::Stopped,
            _ => Event::None,
        };
        self.act(client, event);
    }

    /// A client announces over each family it has, most of the time.
    fn act(&mut self, client: usize, event: Event) {
        let left = self.left(event, self.clients[client].left);
        let more = [0, 0, 1, 100][self.random.usize(..4)];
        let of_it = &mut self.clients[client];
        of_it.left = left;
        of_it.downloaded += more;
        let Client { tag, v4, v6, torrent, downloaded, .. } = *of_it;
        let v4 = v4.map(|(address, port)| (IpAddr::V4(address), port));
        let v6 = v6.map(|(address, port)| (IpAddr::V6(address), port));
        for (address, port) in v4.into_iter().chain(v6) {
            if self.random.u8(..16) == 0 {
                continue;
            }
            let families = match self.random.u8(..3) {
                0 => Families { v4: true, v6: true },
                _ => Families { v4: address.is_ipv4(), v6: address.is_ipv6() },
            };
            let announce = Announce {
                info_hash: self.torrents[torrent],
                address,
                port,
                client: tag,
                left,
                downloaded,
                event,
                numwant: [0, 1, 5, 20, 50, 50, 200][self.random.usize(..7)],
                families,
            };
            self.send(announce);
        }
    }

    fn left(&mut self, event: Event, left: u64) -> u64 {
        match (event, self.random.u8(..16)) {
            (Event::Completed, 0) => 7,
            (Event::Completed, _) => 0,
            (_, 0) => u64::MAX,
            (_, 1..=2) => 0,
            (Event::Started, 3..=8) => 1000,
            _ => left,
        }
    }

    fn send(&mut self, announce: Announce) {
        if self.random.u8(..) >= self.loss {
            self.network.push(announce);
        }
        if self.random.u8(..) < self.repeats {
            self.network.push(announce);
        }
    }

    fn deliver(&mut self) {
        if !self.network.is_empty() {
            let next = self.random.usize(..self.network.len());
            let announce = self.network.swap_remove(next);
            _ = self.sim.announce(&announce);
        }
    }

    /// A new address or port, a new session, another torrent, or somebody else's tag.
    fn change_somebody(&mut self) {
        let fresh = self.client();
        let other = self.clients[self.random.usize(..self.clients.len())].tag;
        let chosen = self.random.usize(..self.clients.len());
        let client = &mut self.clients[chosen];
        match self.random.u8(..6) {
            0 => client.v4 = fresh.v4,
            1 => client.v6 = fresh.v6,
            2 => (client.v4, client.v6) = (fresh.v4, fresh.v6),
            3 => (client.tag, client.downloaded) = (fresh.tag, 0),
            4 => client.tag = other,
            _ => client.torrent = fresh.torrent,
        }
    }

    fn client(&mut self) -> Client {
        let random = &mut self.random;
        let has_v4 = random.u8(..) < self.v4 || self.v4 == 255;
        let has_v6 = random.u8(..) < self.v6 || self.v6 == 255 || !has_v4;
        let port = |random: &mut fastrand::Rng| match random.u8(..20) {
            0 => 0,
            _ => 6881 + random.u16(..3),
        };
        let v4 = has_v4.then(|| (address_v4(random), port(random)));
        let v6 = has_v6.then(|| (address_v6(random), port(random)));
        // Tags collide now and then.
        let bits = if random.u8(..32) == 0 { random.u32(..8) } else { random.u32(..) };
        let torrent = random.usize(..self.torrents.len());
        // Skewed: the first torrent has half of everybody.
        let torrent = if random.bool() { 0 } else { torrent };
        Client { tag: ClientTag::from_bits(bits), v4, v6, torrent, left: 1000, downloaded: 0 }
    }
}

fn address_v4(random: &mut fastrand::Rng) -> Ipv4Addr {
    let host = random.u16(..);
    let [high, low] = host.to_be_bytes();
    match random.u8(..40) {
        0 => Ipv4Addr::new(10, 0, high, low),
        1 => Ipv4Addr::new(192, 168, high, low),
        2 => Ipv4Addr::new(127, 0, high, low),
        3 => Ipv4Addr::new(224, 0, high, low),
        4 => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::new(45, random.u8(..4), high, low),
    }
}

fn address_v6(random: &mut fastrand::Rng) -> Ipv6Addr {
    let prefix = match random.u8(..40) {
        0 => 0xfe80,
        1 => 0xfd00,
        2 => 0xff02,
        3 => return Ipv6Addr::LOCALHOST,
        4 => return Ipv6Addr::UNSPECIFIED,
        _ => 0x2a00,
    };
    Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, random.u16(..4), random.u16(..))
}
