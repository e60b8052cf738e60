//! UDP load: fill the swarms, then announce and scrape in a closed or an open loop.
//!
//! One thread and few sockets play all clients. Over IPv4 a socket bound to the unspecified address
//! sends each datagram from the loopback address of the peer it speaks for, so that one system call
//! carries the requests of 64 clients; the port that a peer announces is a field of the request.

mod answer;
pub(crate) mod census;
pub(crate) mod flight;
pub(crate) mod packet;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::sys::socket::{setsockopt, sockopt};

use crate::batch::{BATCH, Batch, Name};
use crate::cli::{UdpOptions, Wait};
use crate::pace::{Arrivals, Pace};
use crate::process::Process;
use crate::source;
use crate::summary::{Filled, Summary, Tally, Window};
use crate::swarms::Swarms;
use crate::users::{Credit, Users};
use flight::{Flight, Kind, Request};
use packet::{Announce, Counters, Event, Reply};

/// A run against one tracker.
pub(crate) struct UdpLoad<'a> {
    options: &'a UdpOptions,
    swarms: &'a Swarms,
    /// At a private tracker.
    users: Option<Users>,
    to: Name,
    sockets: Vec<UdpSocket>,
    /// Whose turn it is to send.
    socket: usize,
    sources: Vec<Source>,
    connected: u64,
    flight: Flight,
    outbox: Batch,
    inbox: Batch,
    rng: Rng,
    clock: Instant,
    tally: Tally,
    /// Nanoseconds after which an answer counts as lost.
    timeout: u64,
    /// Announces of a fill that found no answer and are sent again.
    again: Vec<u32>,
}

/// An address that requests come from, with the connection id the tracker gave to it.
struct Source {
    address: Option<Ipv4Addr>,
    connection: Option<u64>,
}

impl<'a> UdpLoad<'a> {
    /// Opens the sockets and fetches a connection id for every source address.
    pub(crate) fn connect(options: &'a UdpOptions, swarms: &'a Swarms) -> io::Result<Self> {
        let (local, sources) = match options.to {
            SocketAddr::V4(_) => {
                let sources = (0..options.sources).map(|i| Some(source::address(i))).collect();
                (SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), sources)
            }
            // Loopback has one IPv6 address.
            SocketAddr::V6(_) => (SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), vec![None]),
        };
        let mut load = Self {
            options,
            swarms,
            users: options.population.users(swarms),
            to: options.to.into(),
            sockets: (0..options.sockets).map(|_| open(local)).collect::<io::Result<_>>()?,
            socket: 0,
            sources: sources
                .into_iter()
                .map(|address| Source { address, connection: None })
                .collect(),
            connected: 0,
            flight: Flight::new(FLIGHT),
            outbox: Batch::new(),
            inbox: Batch::new(),
            rng: Rng::with_seed(options.population.seed),
            clock: Instant::now(),
            tally: Tally::new(),
            timeout: (options.timeout * 1e9) as u64,
            again: Vec::new(),
        };
        load.fetch_connection_ids()?;
        Ok(load)
    }

    /// Announces every peer once, again when an answer does not come, and waits for all answers.
    pub(crate) fn fill(&mut self) -> io::Result<Filled> {
        self.tally = Tally::new();
        let start = Instant::now();
        let begun = self.now();
        let mut pace = self.options.fill_rate.map(|rate| Pace::new(rate, Arrivals::Even, begun));
        let (mut step, mut resent) = (0, 0);
        while step < self.swarms.peers() || self.flight.waiting() > 0 || !self.again.is_empty() {
            if start.elapsed() > self.options.population.fill_patience() {
                return Err(io::Error::other(format!(
                    "fill stopped after {step} announces: too slow"
                )));
            }
            let now = self.now();
            loop {
                let since = match &mut pace {
                    _ if self.flight.is_full() => None,
                    Some(pace) => pace.due(now, &mut self.rng),
                    None => (self.flight.waiting() < self.options.window).then_some(now),
                };
                let Some(since) = since else { break };
                let peer = if let Some(peer) = self.again.pop() {
                    resent += 1;
                    peer
                } else if step < self.swarms.peers() {
                    step += 1;
                    self.swarms.fill_order(step - 1)
                } else {
                    break;
                };
                self.announce(peer, Event::Started, since)?;
            }
            self.exchange(pace.as_ref().map(Pace::next), true)?;
        }
        if self.tally.failed > 0 {
            let failed = self.tally.failed;
            return Err(io::Error::other(format!("{failed} announces of the fill were refused")));
        }
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        Ok(Filled { took: start.elapsed(), resent, tally })
    }

    /// Announces and scrapes for the warm-up's time, and counts nothing.
    pub(crate) fn warm_up(&mut self) -> io::Result<()> {
        self.play(self.options.warmup)?;
        self.tally = Tally::new();
        Ok(())
    }

    /// Announces and scrapes for so many seconds, and counts.
    pub(crate) fn steady(&mut self, seconds: f64, processes: &[Process]) -> io::Result<Summary> {
        let window = Window::open(processes)?;
        self.play(seconds)?;
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        window.close(tally)
    }

    /// Waits for all answers and says again what has none; then what was credited is known to the byte,
    /// after a fill. `None` without users.
    ///
    /// Announces of a peer must arrive in their order for that: over one socket, or steered by the kernel.
    pub(crate) fn settle(&mut self) -> io::Result<Option<Credit>> {
        if self.users.is_none() {
            return Ok(None);
        }
        let start = Instant::now();
        while self.flight.waiting() > 0 && start.elapsed() < SETTLE_PATIENCE {
            self.exchange(None, false)?;
        }
        self.again = self.users.iter().flat_map(Users::open).collect();
        while (!self.again.is_empty() || self.flight.waiting() > 0)
            && start.elapsed() < SETTLE_PATIENCE
        {
            let now = self.now();
            while self.flight.waiting() < self.options.window
                && let Some(peer) = self.again.pop()
            {
                self.announce_again(peer, now)?;
            }
            self.exchange(None, true)?;
        }
        Ok(self.users.as_ref().map(|users| users.credit(self.swarms)))
    }

    fn play(&mut self, seconds: f64) -> io::Result<()> {
        let start = self.now();
        let end = start + (seconds * 1e9) as u64;
        match self.options.rate {
            Some(rate) => self.open_loop(Pace::new(rate, self.options.arrivals, start), end),
            None => self.closed_loop(end),
        }
    }

    /// As many requests on their way as the window allows.
    fn closed_loop(&mut self, end: u64) -> io::Result<()> {
        while self.now() < end {
            let now = self.now();
            while self.flight.waiting() < self.options.window {
                self.something(now)?;
            }
            self.exchange(None, false)?;
        }
        Ok(())
    }

    /// Requests at their time, whatever the answers do.
    fn open_loop(&mut self, mut pace: Pace, end: u64) -> io::Result<()> {
        loop {
            let now = self.now();
            if now >= end {
                return Ok(());
            }
            while let Some(start) = pace.due(now, &mut self.rng) {
                if self.flight.is_full() {
                    self.give_up(now, false);
                }
                self.something(start)?;
            }
            self.exchange(Some(pace.next()), false)?;
        }
    }

    /// One request of the mix: mostly announces of known peers, some scrapes.
    fn something(&mut self, since: u64) -> io::Result<()> {
        let peer = self.rng.u32(..self.swarms.peers());
        let mix = &self.options.mix;
        if self.rng.f64() * 100.0 < mix.scrapes {
            return self.scrape(peer, since);
        }
        let dice = self.rng.f64() * 100.0;
        let event = if dice < mix.completed {
            Event::Completed
        } else if dice < mix.completed + mix.stopped {
            Event::Stopped
        } else {
            Event::None
        };
        self.announce(peer, event, since)
    }

    fn announce(&mut self, peer: u32, event: Event, since: u64) -> io::Result<()> {
        let seeds = self.swarms.is_seeder(peer);
        let event = self.users.as_ref().map_or(event, |users| users.event_of(peer, event));
        let report = self.users.as_mut().map(|users| users.report(peer, seeds, event));
        self.say(peer, event, report.unwrap_or_default(), since)
    }

    fn announce_again(&mut self, peer: u32, since: u64) -> io::Result<()> {
        let seeds = self.swarms.is_seeder(peer);
        let report = self.users.as_mut().map(|users| users.repeat(peer, seeds));
        self.say(peer, Event::None, report.unwrap_or_default(), since)
    }

    fn say(
        &mut self,
        peer: u32,
        event: Event,
        (counters, said): (Counters, u32),
        since: u64,
    ) -> io::Result<()> {
        let done = event == Event::Completed || self.swarms.is_seeder(peer);
        let announce = Announce {
            info_hash: self.swarms.info_hash(self.swarms.torrent_of(peer)),
            peer_id: self.swarms.peer_id(peer),
            left: if done { 0 } else { 1 << 30 },
            event,
            numwant: self.options.mix.numwant,
            port: Swarms::port_of(peer, self.sources.len() as u32),
            counters,
            passkey: self.users.as_ref().map(|users| users.passkey_of(peer)),
        };
        let request = Request { kind: Kind::Announce, peer, said, since };
        self.request(request, |buffer, connection, transaction| {
            packet::write_announce(buffer, connection, transaction, &announce)
        })
    }

    /// A scrape of torrents as popular as announces find them, the first that of `peer`.
    fn scrape(&mut self, peer: u32, since: u64) -> io::Result<()> {
        let (swarms, hashes) = (self.swarms, self.options.mix.scrape_hashes);
        let mut rng = self.rng.fork();
        let others = std::iter::repeat_with(|| rng.u32(..swarms.peers()));
        let asked = std::iter::once(peer).chain(others).take(hashes.into());
        let asked = asked.map(|peer| swarms.info_hash(swarms.torrent_of(peer)));
        let request = Request { kind: Kind::Scrape(hashes), peer, said: 0, since };
        self.request(request, |buffer, connection, transaction| {
            packet::write_scrape(buffer, connection, transaction, asked)
        })
    }

    fn request(
        &mut self,
        request: Request,
        write: impl FnOnce(&mut [u8], u64, u32) -> usize,
    ) -> io::Result<()> {
        if self.outbox.is_full() {
            self.flush()?;
        }
        let source =
            &self.sources[Swarms::source_of(request.peer, self.sources.len() as u32) as usize];
        let connection = source.connection.expect("connect() fetched an id for every source");
        let transaction = self.flight.start(request);
        let write = |buffer: &mut [u8]| write(buffer, connection, transaction);
        self.outbox.push(self.to, source.address, write);
        Ok(())
    }

    /// Sends what is written, reads what has come, and pauses when there is little to do, at most
    /// until `next`. What has no answer in time is lost; with `again`, announced again.
    fn exchange(&mut self, next: Option<u64>, again: bool) -> io::Result<()> {
        if self.now() - self.connected > RECONNECT {
            self.ask_for_connection_ids(false)?;
        }
        self.tally.stalls.mark(self.now(), 0);
        self.flush()?;
        // Answers that came while this process had no CPU are read before anything is given up.
        let before = self.now();
        let received = self.receive()?;
        self.give_up(before, again);
        if received < BATCH / 2 && self.options.wait == Wait::Nap {
            let now = self.now();
            let nap = next.map_or(NAP, |next| next.saturating_sub(now).min(NAP));
            if nap > 0 {
                self.tally.stalls.mark(now, 0);
                std::thread::sleep(Duration::from_nanos(nap));
                self.tally.stalls.mark(self.now(), nap);
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A datagram the kernel does not take is a lost one, and found out as any other.
        self.outbox.send(self.sockets[self.socket].as_fd())?;
        self.socket = (self.socket + 1) % self.sockets.len();
        Ok(())
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut received = 0;
        for socket in 0..self.sockets.len() {
            loop {
                let count = self.inbox.receive(self.sockets[socket].as_fd(), BATCH, false)?;
                let now = self.now();
                self.tally.stalls.mark(now, 0);
                for (datagram, _) in self.inbox.datagrams() {
                    let peer_bytes = if self.options.to.is_ipv4() { 6 } else { 18 };
                    let reply = packet::read_reply(datagram);
                    if let Some(Reply::Connect { transaction, id }) = reply {
                        // The transaction of a connect is the number of the source.
                        if let Some(source) = self.sources.get_mut(transaction as usize) {
                            source.connection = Some(id);
                        }
                        continue;
                    }
                    let answered = answer::count(
                        reply,
                        datagram.len(),
                        peer_bytes,
                        now,
                        &mut self.flight,
                        &mut self.tally,
                    );
                    if let (Some(users), Some(request)) = (&mut self.users, answered)
                        && request.kind == Kind::Announce
                    {
                        users.answered(request.peer, request.said);
                    }
                }
                received += count;
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(received)
    }

    fn give_up(&mut self, now: u64, again: bool) {
        let deadline = now.saturating_sub(self.timeout);
        let (tally, queue) = (&mut self.tally, &mut self.again);
        self.flight.expire(deadline, 2 * BATCH, |request| {
            tally.lost += 1;
            if again {
                queue.push(request.peer);
            }
        });
    }

    /// Asks until every source has an id; loses patience after some seconds.
    fn fetch_connection_ids(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + CONNECT_PATIENCE;
        while self.sources.iter().any(|source| source.connection.is_none()) {
            if Instant::now() > deadline {
                let to = self.options.to;
                return Err(io::Error::other(format!("no answer to connects from udp://{to}")));
            }
            self.ask_for_connection_ids(true)?;
            for _ in 0..50 {
                std::thread::sleep(Duration::from_millis(1));
                self.receive()?;
            }
        }
        Ok(())
    }

    /// Sends a connect for every source, or only for those without an id. A tracker accepts an id
    /// for two minutes after it was given, so the old ones serve while the new ones come.
    fn ask_for_connection_ids(&mut self, missing_only: bool) -> io::Result<()> {
        self.connected = self.now();
        for number in 0..self.sources.len() {
            if missing_only && self.sources[number].connection.is_some() {
                continue;
            }
            if self.outbox.is_full() {
                self.flush()?;
            }
            let address = self.sources[number].address;
            let write = |buffer: &mut [u8]| packet::write_connect(buffer, number as u32);
            self.outbox.push(self.to, address, write);
        }
        self.flush()
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

fn open(local: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(local)?;
    enlarge_buffers(&socket);
    Ok(socket)
}

/// Asks for socket buffers of some megabytes; without the privilege, for as much as is allowed.
pub(crate) fn enlarge_buffers(socket: &UdpSocket) {
    if setsockopt(socket, sockopt::RcvBufForce, &BUFFER_BYTES).is_err() {
        let _ = setsockopt(socket, sockopt::RcvBuf, &BUFFER_BYTES);
    }
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER_BYTES).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &BUFFER_BYTES);
    }
}

const BUFFER_BYTES: usize = 8 << 20;

/// Transaction ids between the oldest waiting request and the newest: 5 s at 50,000/s.
const FLIGHT: usize = 1 << 18;

/// Pause when less than half a batch has come. The tracker under test never has to wake the load
/// generator for each of its answers, which would be charged to the tracker.
const NAP: u64 = 50_000;

/// Age at which connection ids are renewed; clients may use them for a minute (BEP 15).
const RECONNECT: u64 = 55_000_000_000;

/// How long all that is open at the end is asked for again.
const SETTLE_PATIENCE: Duration = Duration::from_secs(60);

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
