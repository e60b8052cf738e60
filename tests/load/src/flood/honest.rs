//! Honest clients: who has a connection id and announces, and who is new and asks for one.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{HONEST_NET, address};
use crate::batch::{BATCH, Batch, Name};
use crate::cli::FloodOptions;
use crate::pace::{Arrivals, Pace};
use crate::summary::Tally;
use crate::swarms;
use crate::udp::flight::{Flight, Kind, Request};
use crate::udp::packet::{self, Announce, Counters, Event, Reply, u32_at};

/// All honest clients of a run.
pub(crate) struct Honest {
    socket: UdpSocket,
    to: Name,
    clients: Vec<u64>,
    announces_due: Option<Pace>,
    newcomers_due: Option<Pace>,
    from: u64,
    until: u64,
    flight: Flight,
    outbox: Batch,
    inbox: Batch,
    rng: Rng,
    /// Announces sent with a good id.
    pub(crate) asked: u64,
    /// Those that were answered, but for:
    pub(crate) announces: Tally,
    /// Those of them that this end stood still for, so that nobody knows how long they took.
    pub(crate) touched: u64,
    /// Connects of those who have no id.
    pub(crate) newcomers: u64,
    /// Those that were answered.
    pub(crate) welcomed: u64,
    pub(crate) interval_min: u32,
    pub(crate) interval_max: u32,
}

impl Honest {
    /// Gets each client a connection id, while there is no flood.
    pub(crate) fn begin(options: &FloodOptions, to: SocketAddrV4) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        crate::udp::enlarge_buffers(&socket);
        let mut honest = Self {
            socket,
            to: std::net::SocketAddr::V4(to).into(),
            clients: Vec::new(),
            announces_due: None,
            newcomers_due: None,
            from: 0,
            until: 0,
            flight: Flight::new(FLIGHT),
            outbox: Batch::new(),
            inbox: Batch::new(),
            rng: Rng::with_seed(options.seed),
            asked: 0,
            announces: Tally::new(),
            touched: 0,
            newcomers: 0,
            welcomed: 0,
            interval_min: u32::MAX,
            interval_max: 0,
        };
        for client in 0..options.clients {
            let id = honest.fetch_id(client)?;
            honest.clients.push(id);
        }
        Ok(honest)
    }

    /// A connection id that is good.
    pub(crate) fn id(&self) -> u64 {
        self.clients[0]
    }

    /// Begins to ask, from the first of these nanoseconds of the run to the second.
    pub(crate) fn start(&mut self, options: &FloodOptions, from: u64, until: u64) {
        (self.from, self.until) = (from, until);
        let pace = |rate: f64| (rate > 0.0).then(|| Pace::new(rate, Arrivals::Poisson, from));
        self.announces_due = pace(options.honest_rate);
        self.newcomers_due = pace(options.newcomer_rate);
    }

    /// Sends what is due, and reads what has come.
    pub(crate) fn exchange(&mut self, now: u64) -> io::Result<()> {
        if (self.from..self.until).contains(&now) {
            while let Some(since) = due(&mut self.announces_due, now, &mut self.rng) {
                self.announce(since)?;
            }
            while let Some(since) = due(&mut self.newcomers_due, now, &mut self.rng) {
                self.connect(since)?;
            }
        }
        self.outbox.send(self.socket.as_fd())?;
        loop {
            let count = self.inbox.receive(self.socket.as_fd(), BATCH, false)?;
            let datagrams: Vec<Vec<u8>> =
                self.inbox.datagrams().map(|(datagram, _)| datagram.to_vec()).collect();
            for datagram in datagrams {
                self.hear(&datagram, now);
            }
            if count < BATCH {
                return Ok(());
            }
        }
    }

    /// Nothing more is awaited.
    pub(crate) fn end(&mut self) {
        self.flight.expire(u64::MAX, 0, |_| {});
        if self.interval_max == 0 {
            self.interval_min = 0;
        }
    }

    fn hear(&mut self, datagram: &[u8], now: u64) {
        match packet::read_reply(datagram) {
            Some(Reply::Connect { transaction, .. }) if transaction & NEWCOMER != 0 => {
                self.welcomed += 1;
            }
            Some(Reply::Announce { transaction, .. }) => {
                let Some(request) = self.flight.land(transaction) else { return };
                match self.announces.stalls.touched(request.since) {
                    true => self.touched += 1,
                    false => self.announces.answer(datagram.len(), request.since, now),
                }
                let interval = u32_at(datagram, 8).unwrap_or(0);
                self.interval_min = self.interval_min.min(interval);
                self.interval_max = self.interval_max.max(interval);
            }
            _ => {}
        }
    }

    fn announce(&mut self, since: u64) -> io::Result<()> {
        let client = self.rng.usize(..self.clients.len());
        let request = Request { kind: Kind::Announce, peer: client as u32, said: 0, since };
        self.make_room()?;
        let transaction = self.flight.start(request);
        let mut peer_id = *b"-LD0100-honest------";
        peer_id[16..].copy_from_slice(&(client as u32).to_be_bytes());
        let announce = Announce {
            info_hash: swarms::info_hash(1, client as u32 / 8),
            peer_id,
            left: client as u64 % 2,
            event: Event::None,
            numwant: 50,
            port: 6881,
            counters: Counters::default(),
            passkey: None,
        };
        let (id, from) = (self.clients[client], address(HONEST_NET, client as u32));
        self.outbox.push(self.to, Some(from), |buffer| {
            packet::write_announce(buffer, id, transaction, &announce)
        });
        self.asked += 1;
        Ok(())
    }

    fn connect(&mut self, _since: u64) -> io::Result<()> {
        self.make_room()?;
        self.newcomers += 1;
        let transaction = NEWCOMER | self.newcomers as u32;
        let from = address(HONEST_NET, self.clients.len() as u32 + self.newcomers as u32 % 10_000);
        self.outbox.push(self.to, Some(from), |buffer| packet::write_connect(buffer, transaction));
        Ok(())
    }

    fn make_room(&mut self) -> io::Result<()> {
        if self.outbox.is_full() {
            self.outbox.send(self.socket.as_fd())?;
        }
        if self.flight.is_full() {
            self.flight.expire(0, BATCH, |_| {});
        }
        Ok(())
    }

    fn fetch_id(&mut self, client: u32) -> io::Result<u64> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let from = address(HONEST_NET, client);
            self.outbox.push(self.to, Some(from), |buffer| packet::write_connect(buffer, client));
            self.outbox.send(self.socket.as_fd())?;
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(1));
                self.inbox.receive(self.socket.as_fd(), BATCH, false)?;
                for (datagram, _) in self.inbox.datagrams() {
                    match packet::read_reply(datagram) {
                        Some(Reply::Connect { transaction, id }) if transaction == client => {
                            return Ok(id);
                        }
                        _ => {}
                    }
                }
            }
        }
        Err(io::Error::other("no answer to a connect before the flood"))
    }
}

fn due(pace: &mut Option<Pace>, now: u64, rng: &mut Rng) -> Option<u64> {
    pace.as_mut()?.due(now, rng)
}

/// A bit of the transaction ids of newcomers.
const NEWCOMER: u32 = 1 << 31;

/// Announces under way at most.
const FLIGHT: usize = 1 << 18;
