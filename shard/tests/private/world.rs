//! A world of users, their clients, and a site that changes its mind, made and run from one seed.

use std::net::{Ipv4Addr, Ipv6Addr};

use shard::private::{
    Announce, Counters, Endpoint, Endpoints, Facts, Freeleech, Limits, PeerId, Terms, TorrentId,
    User, UserId,
};
use shard::{Event, Families, InfoHash, Seconds};

use crate::sim::Sim;

pub(crate) struct World {
    sim: Sim,
    random: fastrand::Rng,
    users: Vec<User>,
    torrents: Vec<(InfoHash, Terms)>,
    /// Their second names, where they have one at times.
    seconds: Vec<Option<InfoHash>>,
    clients: Vec<Client>,
    steps: usize,
    /// Every endpoint is used once.
    endpoints: u32,
    v6: u8,
    users_made: u32,
    /// Then no token ends by its time: the engine may have dropped it, or not yet.
    clock_steps_back: bool,
}

/// A client on one torrent.
#[derive(Clone, Copy)]
struct Client {
    user: usize,
    torrent: usize,
    peer_id: PeerId,
    key: u32,
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    /// Over IPv4 and IPv6.
    ports: [u16; 2],
    counters: Counters,
    left: u64,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let large = random.u8(..8) == 0;
        let clients = if large { 900 } else { 1 + random.usize(..120) };
        let limits = Limits {
            torrents_max: 1 + random.usize(..12),
            peers_max: if random.u8(..6) == 0 { 1 + random.usize(..clients) } else { 1 << 20 },
            clients_max: [0, 0, 1, 3][random.usize(..4)],
            peer_timeout: Seconds(1800 + random.u32(..4000)),
            interval: Seconds(1800),
            interval_max: Seconds(7200),
            count_unknown: random.bool(),
            deletions_max: 1000,
            facts: if random.bool() { Facts::Changed } else { Facts::All },
        };
        let mut world = Self {
            sim: Sim::new(seed, limits),
            users: Vec::new(),
            torrents: Vec::new(),
            seconds: Vec::new(),
            clients: Vec::new(),
            steps: if large { 6000 } else { 3000 },
            endpoints: 0,
            v6: [0, 60, 130, 255][random.usize(..4)],
            users_made: 0,
            clock_steps_back: random.u8(..3) == 0,
            random,
        };
        for _ in 0..1 + world.random.usize(..60) {
            let user = world.user();
            world.users.push(user);
        }
        for number in 0..limits.torrents_max {
            let info_hash = InfoHash(std::array::from_fn(|_| world.random.u8(..)));
            let terms = world.terms(number);
            world.torrents.push((info_hash, terms));
            world.sim.register(info_hash, terms);
            let second = InfoHash(std::array::from_fn(|_| world.random.u8(..)));
            let second = (world.random.u8(..3) == 0).then_some(second);
            world.seconds.push(second);
            world.sim.set_second(&info_hash, second);
        }
        for _ in 0..clients {
            let client = world.client();
            world.clients.push(client);
        }
        if large {
            (0..clients).for_each(|client| world.act(client, Event::Started));
        }
        world
    }

    pub(crate) fn run(mut self) {
        for _ in 0..self.steps {
            self.step();
        }
        self.sim.expire(1000);
        self.sim.now = self.sim.now + Seconds(200_000);
        self.sim.expire(1000);
        assert_eq!(self.sim.engine.totals().peers, 0, "everybody is silent, nobody is left");
        for (info_hash, _) in self.torrents.clone() {
            self.sim.unregister(&info_hash, "");
        }
        self.sim.expire(1000);
        let totals = self.sim.engine.totals();
        assert_eq!((totals.torrents, totals.tokens), (0, 0));
    }

    fn step(&mut self) {
        match self.random.u16(..1000) {
            0..=1 => self.sim.restart(),
            2..=40 => _ = self.sim.export_some(),
            41..=44 => self.sweep(),
            45..=47 => _ = self.sim.expire_some(),
            48..=52 => self.advance(3000),
            53..=70 => self.change_terms(),
            71..=95 => self.change_tokens(),
            96..=102 => self.change_user(),
            103..=135 => self.change_client(),
            136..=149 => self.sim.check_all(),
            150 => self.sim.switch_facts(),
            151 if self.clock_steps_back => {
                self.sim.now = self.sim.now - Seconds(self.random.u32(..400));
            }
            151 => {}
            152..=300 => self.advance(30),
            _ => self.somebody_acts(),
        }
    }

    fn advance(&mut self, seconds: u32) {
        self.sim.now = self.sim.now + Seconds(self.random.u32(..seconds));
    }

    fn sweep(&mut self) {
        let budget = 1 + self.random.usize(..300);
        self.sim.expire(budget);
    }

    fn change_terms(&mut self) {
        let number = self.random.usize(..self.torrents.len());
        let (info_hash, _) = self.torrents[number];
        if self.random.u8(..5) == 0 {
            let reason = ["", "Dupe", "Trump"][self.random.usize(..3)];
            self.sim.unregister(&info_hash, reason);
        } else {
            let terms = self.terms(number);
            self.torrents[number].1 = terms;
            self.sim.register(info_hash, terms);
            let has = self.random.u8(..4) > 0;
            if self.sim.model.torrents.contains_key(&info_hash) {
                self.sim.set_second(&info_hash, self.seconds[number].filter(|_| has));
            }
        }
    }

    fn change_tokens(&mut self) {
        let (info_hash, _) = self.torrents[self.random.usize(..self.torrents.len())];
        let user = self.users[self.random.usize(..self.users.len())].id;
        match self.random.u8(..8) {
            0 => self.sim.remove_token(user, &info_hash),
            1..=3 if !self.clock_steps_back => {
                let at = self.sim.now + Seconds(self.random.u32(..5000));
                self.sim.set_token(user, &info_hash, Some(at));
            }
            _ => self.sim.set_token(user, &info_hash, None),
        }
    }

    /// Who is removed does not come back: another user has his place and his clients.
    fn change_user(&mut self) {
        let number = self.random.usize(..self.users.len());
        if self.random.u8(..4) == 0 {
            self.sim.remove_user(self.users[number].id);
            self.users[number] = self.user();
        } else {
            let id = self.users[number].id;
            self.users[number] = User { id, ..self.user() };
            self.sim.set_user_rights(self.users[number]);
        }
    }

    /// A new address or port, a new session under another name, a new key, another torrent, or counters
    /// that begin again.
    fn change_client(&mut self) {
        let fresh = self.client();
        let chosen = self.random.usize(..self.clients.len());
        let Client { user, v4, v6, ports, torrent, .. } = self.clients[chosen];
        if self.random.u8(..5) == 0 {
            // Another client of the user is there behind the same address, of one family or both.
            let mut others = self.clients.iter_mut().enumerate();
            let other = others.find(|(other, client)| *other != chosen && client.user == user);
            if let Some((_, other)) = other {
                (other.torrent, other.ports) = (torrent, ports);
                other.v4 = v4.or(other.v4);
                other.v6 = if v4.is_none() || self.random.bool() { v6 } else { other.v6 };
            }
            return;
        }
        let client = &mut self.clients[chosen];
        match self.random.u8(..8) {
            // It has crashed and has another name.
            7 => (client.peer_id, client.key) = (fresh.peer_id, fresh.key),

            0 => (client.v4, client.ports) = (fresh.v4, fresh.ports),
            1 => (client.v6, client.ports[1]) = (fresh.v6, fresh.ports[1]),
            2 => client.ports = fresh.ports,
            3 => *client = fresh,
            4 => {
                (client.v4, client.v6, client.ports) = (fresh.v4, fresh.v6, fresh.ports);
                (client.key, client.torrent) = (fresh.key, fresh.torrent);
            }
            5 => client.counters = fresh.counters,
            _ => client.counters.uploaded /= 2,
        }
        if client.v4.is_none() && client.v6.is_none() {
            let [_, a, b, c] = self.endpoints.to_be_bytes();
            client.v4 = Some(Ipv4Addr::new(46, a, b, c));
        }
    }

    fn somebody_acts(&mut self) {
        let client = self.random.usize(..self.clients.len());
        let event = match self.random.u8(..20) {
            0..=2 => Event::Started,
            3..=4 => Event::Completed,
            5..=6 => Event::Paused,
            7..=8 => Event::Stopped,
            _ => Event::None,
        };
        self.act(client, event);
    }

    /// A client moves some bytes, or none, and says so over one of its families, or over each.
    fn act(&mut self, number: usize, event: Event) {
        let random = &mut self.random;
        let client = &mut self.clients[number];
        if random.u8(..4) > 0 {
            let mut bytes = || random.u64(..) >> random.u32(20..64);
            client.counters.uploaded = client.counters.uploaded.saturating_add(bytes());
            client.counters.downloaded = client.counters.downloaded.saturating_add(bytes());
            if random.u8(..8) == 0 {
                client.counters.corrupt += random.u64(..1 << 20);
            }
        }
        client.left = match (event, random.u8(..16)) {
            (Event::Completed, 0) => 7,
            (Event::Completed, _) => 0,
            (_, 0) => u64::MAX,
            (_, 1..=2) => 0,
            (Event::Started, 3..=8) => 1000 << random.u32(..32),
            _ => client.left,
        };
        let Client { v4, v6, .. } = *client;
        let [port_v4, port_v6] = client.ports;
        let at = |v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>| Endpoints {
            v4: v4.map(|address| Endpoint { address, port: port_v4 }),
            v6: v6.map(|address| Endpoint { address, port: port_v6 }),
        };
        let announced = match random.u8(..4) {
            0 => vec![at(v4, v6)],
            1 => vec![at(v4, None), at(None, v6)],
            2 => vec![at(None, v6), at(v4, None)],
            _ => vec![at(v4, if v4.is_none() { v6 } else { None })],
        };
        let (counters, torrent) = (client.counters, client.torrent);
        let first = self.torrents[torrent].0;
        let second = self.seconds[torrent].unwrap_or(first);
        let names = match random.u8(..4) {
            0 => vec![first],
            1 => vec![second],
            2 if second != first => vec![first, second],
            3 if second != first => vec![second, first],
            _ => vec![first],
        };
        for endpoints in announced {
            for info_hash in &names {
                if endpoints.v4.is_some() || endpoints.v6.is_some() {
                    let announce = self.announce(number, event, counters, endpoints);
                    _ = self.sim.announce(&Announce { info_hash: *info_hash, ..announce });
                }
            }
        }
    }

    fn announce(
        &mut self,
        number: usize,
        event: Event,
        counters: Counters,
        endpoints: Endpoints,
    ) -> Announce {
        let client = self.clients[number];
        let families = match self.random.u8(..4) {
            0 => Families { v4: true, v6: false },
            1 => Families { v4: false, v6: true },
            _ => Families { v4: true, v6: true },
        };
        Announce {
            info_hash: self.torrents[client.torrent].0,
            user: self.users[client.user],
            peer_id: client.peer_id,
            key: client.key,
            endpoints,
            counters,
            left: client.left,
            event,
            numwant: [0, 1, 5, 20, 50, 50, 200][self.random.usize(..7)],
            families,
            assumed: Families { v4: false, v6: self.random.u8(..8) == 0 },
            interval: [Seconds(1800), Seconds(1800), Seconds(900), Seconds(4000)]
                [self.random.usize(..4)],
            downloads_full: self.random.u8(..12) == 0,
        }
    }

    fn user(&mut self) -> User {
        self.users_made += 1;
        let id = UserId(self.users_made * 7919);
        let (can_leech, hidden) = (self.random.u8(..5) > 0, self.random.u8(..5) == 0);
        User { id, can_leech, hidden, group: None }
    }

    fn terms(&mut self, number: usize) -> Terms {
        let freeleech = [Freeleech::None, Freeleech::None, Freeleech::Free, Freeleech::Neutral];
        Terms {
            id: TorrentId(number as u32 + 1),
            freeleech: freeleech[self.random.usize(..4)],
            upload_percent: [100, 100, 0, 150, 200, u16::MAX][self.random.usize(..6)],
        }
    }

    fn client(&mut self) -> Client {
        let random = &mut self.random;
        self.endpoints += 1;
        let [_, a, b, c] = self.endpoints.to_be_bytes();
        let v4 = match random.u8(..30) {
            0 => Ipv4Addr::new(10, a, b, c),
            _ => Ipv4Addr::new(45, a, b, c),
        };
        let prefix = if random.u8(..30) == 0 { 0xfd00 } else { 0x2a00 };
        let low = u16::from_be_bytes([b, c]);
        let v6 = Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, u16::from(a), low);
        let has_v6 = random.u8(..) < self.v6;
        let has_v4 = !has_v6 || random.bool();
        let mut peer_id = *b"-XX0001-............";
        peer_id[8..].fill_with(|| random.u8(b'a'..=b'z'));
        // Skewed: the first torrent has half of everybody.
        let torrent = random.usize(..self.torrents.len());
        let port = if random.u8(..20) == 0 { 0 } else { 6881 + random.u16(..3) };
        let port_v6 = if random.u8(..20) == 0 { 0 } else { 6881 + random.u16(..3) };
        let ports = [port, if random.bool() { port } else { port_v6 }];
        Client {
            user: random.usize(..self.users.len()),
            torrent: if random.bool() { 0 } else { torrent },
            peer_id: PeerId(peer_id),
            key: if random.bool() { 0 } else { random.u32(..) },
            v4: has_v4.then_some(v4),
            v6: has_v6.then_some(v6),
            ports,
            counters: Counters::default(),
            left: 1000,
        }
    }
}
