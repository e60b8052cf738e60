//! HTTP load: announces, each on a new connection or many on a kept one, in a closed or open loop.
//!
//! One thread, one epoll. Connections come from many loopback addresses, as the address is what
//! tells peers apart; peer `i` always speaks from address `i` modulo their number.

mod connection;
pub(crate) mod message;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::cli::{HttpOptions, Wait};
use crate::pace::Pace;
use crate::process::Process;
use crate::source;
use crate::summary::{Filled, Summary, Tally, Window};
use crate::swarms::Swarms;
use crate::udp::packet::{Announce, Event};
use crate::users::{Credit, Users};
use connection::{Asked, Connection, Ports};
use message::{After, Reply};

/// A run against one tracker.
pub(crate) struct HttpLoad<'a> {
    options: &'a HttpOptions,
    swarms: &'a Swarms,
    /// At a private tracker.
    users: Option<Users>,
    host: String,
    epoll: Epoll,
    /// Slot `i` speaks from source `i` modulo their number while connections are kept.
    slots: Vec<Option<Connection>>,
    /// Slots that may take a request, each as often as it has room.
    idle: VecDeque<usize>,
    ports: Vec<Ports>,
    rng: Rng,
    clock: Instant,
    tally: Tally,
    /// The announces of a fill that are still to come; in a steady phase there is no end.
    fill: Option<Fill>,
    swept: u64,
    request: Vec<u8>,
    buffer: Box<[u8]>,
}

/// How far a fill is: the next peer, or while connections are kept the next of each source.
struct Fill {
    step: u32,
    next_of_source: Vec<u32>,
}

impl<'a> HttpLoad<'a> {
    pub(crate) fn new(options: &'a HttpOptions, swarms: &'a Swarms) -> io::Result<Self> {
        let sources = if options.to.is_ipv4() { options.sources as usize } else { 1 };
        if options.keep_alive && options.connections < sources {
            return Err(io::Error::other("--keep-alive needs as many --connections as --sources"));
        }
        let users = options.population.users(swarms);
        if users.is_some() && (swarms.peers() as usize) < 4 * options.connections * options.pipeline
        {
            let few = "users need four times as many --peers as requests on their way";
            return Err(io::Error::other(few));
        }
        let depth = if options.keep_alive { options.pipeline } else { 1 };
        let slots = options.connections;
        Ok(Self {
            options,
            swarms,
            users,
            host: options.to.to_string(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            slots: std::iter::repeat_with(|| None).take(slots).collect(),
            idle: (0..depth).flat_map(|_| 0..slots).collect(),
            ports: (0..sources as u64).map(|source| Ports::new(source * 7919)).collect(),
            rng: Rng::with_seed(options.population.seed),
            clock: Instant::now(),
            tally: Tally::new(),
            fill: None,
            swept: 0,
            request: Vec::new(),
            buffer: vec![0; 64 << 10].into(),
        })
    }

    /// Announces every peer once; any failure ends it.
    pub(crate) fn fill(&mut self) -> io::Result<Filled> {
        let sources = self.ports.len() as u32;
        self.tally = Tally::new();
        self.fill = Some(Fill { step: 0, next_of_source: (0..sources).collect() });
        let start = Instant::now();
        while self.tally.answers < u64::from(self.swarms.peers()) {
            if start.elapsed() > self.options.population.fill_patience() {
                return Err(io::Error::other("fill stopped: too slow"));
            }
            if self.tally.failed + self.tally.lost > 0 {
                let Tally { failed, lost, answers, .. } = &self.tally;
                let what =
                    format!("{failed} failed and {lost} lost of the fill after {answers} answers");
                return Err(io::Error::other(what));
            }
            let now = self.now();
            for slot in std::mem::take(&mut self.idle) {
                match self.next_of_fill(slot) {
                    Some(peer) => self.announce(slot, peer, Event::Started, now)?,
                    None => self.idle.push_back(slot),
                }
            }
            self.exchange(None)?;
        }
        self.fill = None;
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        Ok(Filled { took: start.elapsed(), resent: 0, tally })
    }

    /// Announces for the warm-up's time, and counts nothing.
    pub(crate) fn warm_up(&mut self) -> io::Result<()> {
        self.play(self.options.warmup)?;
        self.tally = Tally::new();
        Ok(())
    }

    /// Announces for so many seconds, and counts.
    pub(crate) fn steady(&mut self, seconds: f64, processes: &[Process]) -> io::Result<Summary> {
        let window = Window::open(processes)?;
        self.play(seconds)?;
        let tally = std::mem::replace(&mut self.tally, Tally::new());
        window.close(tally)
    }

    /// Waits for all answers; then what was credited is known to the byte, after a fill, if none was
    /// lost. `None` without users.
    pub(crate) fn settle(&mut self) -> io::Result<Option<Credit>> {
        if self.users.is_none() {
            return Ok(None);
        }
        let end = Instant::now() + Duration::from_secs_f64(self.options.timeout);
        while self.slots.iter().flatten().any(|connection| !connection.waiting.is_empty())
            && Instant::now() < end
        {
            self.exchange(None)?;
        }
        Ok(self.users.as_ref().map(|users| users.credit(self.swarms)))
    }

    fn play(&mut self, seconds: f64) -> io::Result<()> {
        let start = self.now();
        let end = start + (seconds * 1e9) as u64;
        let mut pace = self.options.rate.map(|rate| Pace::new(rate, self.options.arrivals, start));
        loop {
            let now = self.now();
            if now >= end {
                return Ok(());
            }
            // When no connection is free, a request of an open loop waits, and its wait counts.
            // A connection that fails at once is free again, but not for this round.
            for _ in 0..self.idle.len() {
                let since = match &mut pace {
                    None => now,
                    Some(pace) => match pace.due(now, &mut self.rng) {
                        None => break,
                        Some(since) => since,
                    },
                };
                self.something(since)?;
            }
            self.exchange(pace.as_ref().map(Pace::next))?;
        }
    }

    fn something(&mut self, since: u64) -> io::Result<()> {
        let slot = self.idle.pop_front().expect("the caller saw a free slot");
        let (peers, sources) = (self.swarms.peers(), self.ports.len() as u32);
        let mut peer = 0;
        // Connections overtake each other, so a peer says one thing at a time.
        for _ in 0..DRAWS {
            peer = if self.options.keep_alive {
                let source = slot as u32 % sources;
                self.rng.u32(..(peers - source).div_ceil(sources)) * sources + source
            } else {
                self.rng.u32(..peers)
            };
            if !self.users.as_ref().is_some_and(|users| users.is_open(peer)) {
                break;
            }
        }
        let dice = self.rng.f64() * 100.0;
        let mix = &self.options.mix;
        let event = if dice < mix.completed {
            Event::Completed
        } else if dice < mix.completed + mix.stopped {
            Event::Stopped
        } else {
            Event::None
        };
        self.announce(slot, peer, event, since)
    }

    /// The peer that `slot` announces next, as it is of the slot's source when that is fixed.
    fn next_of_fill(&mut self, slot: usize) -> Option<u32> {
        let (peers, sources) = (self.swarms.peers(), self.ports.len());
        let fill = self.fill.as_mut().expect("only a fill asks");
        if self.options.keep_alive {
            let next = &mut fill.next_of_source[slot % sources];
            let peer = *next;
            if peer >= peers {
                return None;
            }
            *next += sources as u32;
            Some(peer)
        } else {
            if fill.step == peers {
                return None;
            }
            fill.step += 1;
            Some(self.swarms.fill_order(fill.step - 1))
        }
    }

    fn announce(&mut self, slot: usize, peer: u32, event: Event, since: u64) -> io::Result<()> {
        let sources = self.ports.len() as u32;
        let seeds = self.swarms.is_seeder(peer);
        let event = self.users.as_ref().map_or(event, |users| users.event_of(peer, event));
        let done = event == Event::Completed || seeds;
        let report = self.users.as_mut().map(|users| users.report(peer, seeds, event));
        let (counters, said) = report.unwrap_or_default();
        let announce = Announce {
            info_hash: self.swarms.info_hash(self.swarms.torrent_of(peer)),
            peer_id: self.swarms.peer_id(peer),
            left: if done { 0 } else { 1 << 30 },
            event,
            numwant: self.options.mix.numwant,
            port: Swarms::port_of(peer, sources),
            counters,
            passkey: self.users.as_ref().map(|users| users.passkey_of(peer)),
        };
        let after = if self.options.keep_alive { After::Keep } else { After::Close };
        self.request.clear();
        message::write_announce(&mut self.request, &self.host, &announce, after);

        let fresh = self.slots[slot].is_none();
        if fresh {
            let source = Swarms::source_of(peer, sources);
            let from = match self.options.to {
                SocketAddr::V4(_) => {
                    Some((source::address(source), &mut self.ports[source as usize]))
                }
                SocketAddr::V6(_) => None,
            };
            let connection = Connection::open(self.options.to, from)?;
            if self.options.keep_alive {
                connection.stream().set_nodelay(true)?;
            }
            self.slots[slot] = Some(connection);
        }
        let connection = self.slots[slot].as_mut().expect("just opened if it was not there");
        connection.waiting.push_back(Asked { since, peer, said });
        connection.last = since;
        match connection.send(&self.request) {
            Ok(rest) => {
                let events = interest(rest);
                let mut event = EpollEvent::new(events, slot as u64);
                if fresh {
                    self.epoll.add(connection.stream(), event)?;
                } else if rest {
                    self.epoll.modify(connection.stream(), &mut event)?;
                }
            }
            Err(_) => self.close(slot),
        }
        Ok(())
    }

    /// Reads what has come, and pauses when there is little to do, at most until `next`.
    fn exchange(&mut self, next: Option<u64>) -> io::Result<()> {
        let before = self.now();
        self.tally.stalls.mark(before, 0);
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            self.read(event.data() as usize, event.events())?;
        }
        // Only when all that has come is read: this process may have had no CPU for some time.
        if count < EVENTS && before - self.swept > SWEEP {
            self.swept = before;
            self.give_up(before);
        }
        if count < EVENTS / 8 && self.options.wait == Wait::Nap {
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

    fn read(&mut self, slot: usize, events: EpollFlags) -> io::Result<()> {
        let Some(connection) = &mut self.slots[slot] else { return Ok(()) };
        if connection.is_sending() && events.contains(EpollFlags::EPOLLOUT) {
            match connection.send(&[]) {
                Ok(rest) => {
                    let mut event = EpollEvent::new(interest(rest), slot as u64);
                    self.epoll.modify(connection.stream(), &mut event)?;
                }
                Err(_) => {
                    self.close(slot);
                    return Ok(());
                }
            }
        }
        let Ok(mut ended) = connection.receive(&mut self.buffer) else {
            self.close(slot);
            return Ok(());
        };
        // The tracker's end of the stream usually comes together with its reply, which is shorter
        // than the buffer: nothing is left to be read.
        ended |= events.contains(EpollFlags::EPOLLRDHUP);
        let now = self.clock.elapsed().as_nanos() as u64;
        self.tally.stalls.mark(now, 0);
        while let Some(&Asked { since, peer, said }) = connection.waiting.front() {
            let reply = message::read_reply(connection.received(), ended);
            let len = match reply {
                Reply::Partial => break,
                Reply::Announce { len, peers } => {
                    self.tally.answer(len, since, now);
                    self.tally.announce(peers);
                    if let Some(users) = &mut self.users {
                        users.answered(peer, said);
                    }
                    len
                }
                Reply::Wrong { len } => {
                    self.tally.failed += 1;
                    len
                }
            };
            connection.consume(len);
            connection.waiting.pop_front();
            if self.options.keep_alive {
                self.idle.push_back(slot);
            }
        }
        if ended {
            self.close(slot);
        }
        Ok(())
    }

    /// Drops a connection that has ended, well or not; what still waits on it has failed.
    fn close(&mut self, slot: usize) {
        let Some(connection) = self.slots[slot].take() else { return };
        let unanswered = connection.waiting.len();
        self.tally.failed += unanswered as u64;
        let free = if self.options.keep_alive { unanswered } else { 1 };
        self.idle.extend(std::iter::repeat_n(slot, free));
    }

    /// Resets connections whose oldest request has waited too long, and those that the tracker was
    /// told to close and did not.
    fn give_up(&mut self, now: u64) {
        let timeout = (self.options.timeout * 1e9) as u64;
        for slot in 0..self.slots.len() {
            let Some(connection) = &self.slots[slot] else { continue };
            let unanswered = connection.waiting.front().map(|asked| asked.since);
            let unclosed = (!self.options.keep_alive).then_some(connection.last);
            let Some(since) = unanswered.or(unclosed) else { continue };
            if now.saturating_sub(since) > timeout {
                let connection = self.slots[slot].take().expect("seen just now");
                let lost = connection.waiting.len();
                self.tally.lost += lost as u64;
                let free = if self.options.keep_alive { lost } else { 1 };
                self.idle.extend(std::iter::repeat_n(slot, free));
                connection.abort();
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}

impl Drop for HttpLoad<'_> {
    fn drop(&mut self) {
        self.slots.drain(..).flatten().for_each(Connection::abort);
    }
}

fn interest(sending: bool) -> EpollFlags {
    let reading = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
    if sending { reading | EpollFlags::EPOLLOUT } else { reading }
}

/// Events taken at a time.
const EVENTS: usize = 64;

/// How often another peer is drawn when one still waits for its answer.
const DRAWS: usize = 64;

/// Pause when little has come, as in the UDP load.
const NAP: u64 = 50_000;

/// How often connections are looked through for overdue answers.
const SWEEP: u64 = 100_000_000;
