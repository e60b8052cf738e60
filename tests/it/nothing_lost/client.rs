//! A client of a user on one torrent: what it says to the tracker, and what it does when nobody answers.
//!
//! It behaves as clients do: its counters grow until it starts anew, what is not answered is said again,
//! and `started`, `completed` and `stopped` are said until they are answered. It begins to count anew
//! only when what it said before is on the tracker's disk ([`Client::settle`]): of a client that is killed
//! together with the tracker, nobody can know what it moved last. Under its old name it begins anew only
//! when it was quiet for a while and is where it was: nearer words may be late ones, and elsewhere may be a
//! copy of it (docs/wire.md, D5 and D8).

use std::net::{Ipv4Addr, Ipv6Addr};

use fastrand::Rng;

use crate::nothing_lost::copied::Copied;

/// Bytes are multiples of this, so that no multiplier leaves a fraction, however they are added up.
pub(crate) const BYTES_UNIT: u64 = 100;

/// Nobody moves as much between two announces (docs/wire.md, D9); some clients say so. Two of it, and all
/// that they really move, are still a number that a counter can have.
pub(crate) const ABSURD: u64 = (1 << 61) / BYTES_UNIT * BYTES_UNIT;

pub(crate) struct Client {
    /// Places in the site.
    pub(crate) user: usize,
    pub(crate) torrent: usize,
    pub(crate) name: Name,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Option<Ipv6Addr>,
    /// Over IPv4, and over IPv6.
    pub(crate) port: u16,
    pub(crate) port_v6: u16,
    /// Names it had before: it is their successor where it was with them.
    pub(crate) before: Vec<Name>,
    up: u64,
    down: u64,
    left: u64,
    running: bool,
    /// What was answered last.
    heard: (u64, u64),
    /// Said, and not answered yet.
    pending: Option<Report>,
    settled: bool,
    /// The tracker postpones what it said last, or may have forgotten it.
    owed: bool,
    /// Under its name: when it has spoken, by the tracker's clock, and whether it has moved elsewhere.
    spoke: Vec<u32>,
    moved: bool,
    /// It does not begin anew under a name that it had.
    keeps_on: bool,
    /// Its session goes on elsewhere, too.
    pub(crate) copied: Option<Copied>,
    /// It did so once under its name: a second copy could be the first one that goes on elsewhere.
    was_copied: bool,
}

/// Seconds that a word may be late.
pub(crate) const LATE: u32 = 30;

/// Seconds in which nothing said may be late any more.
pub(crate) const QUIET: u32 = 90;

/// Which client, beside its user and torrent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Name {
    pub(crate) peer_id: [u8; 20],
    pub(crate) key: u32,
}

/// What a client says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Report {
    pub(crate) event: Event,
    pub(crate) up: u64,
    pub(crate) down: u64,
    pub(crate) left: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Event {
    None,
    Started,
    Completed,
    Stopped,
}

impl Client {
    pub(crate) fn new(rng: &mut Rng, number: u32, user: usize, torrent: usize) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        let low = u16::from_be_bytes([b, c]);
        let v6 = Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, a.into(), low);
        Self {
            user,
            torrent,
            name: Name::new(rng),
            v4: Ipv4Addr::new(45, a, b, c),
            v6: rng.bool().then_some(v6),
            // No two clients have an endpoint in common, nor will they.
            port: 1024 + (number % 15_000) as u16 * 4 + rng.u16(..2),
            port_v6: 1024 + (number % 15_000) as u16 * 4 + rng.u16(..4),
            before: Vec::new(),
            up: 0,
            down: 0,
            left: 0,
            running: false,
            heard: (0, 0),
            pending: None,
            settled: true,
            owed: false,
            spoke: Vec::new(),
            moved: false,
            keeps_on: false,
            copied: None,
            was_copied: false,
        }
    }

    /// Whether it may begin anew under its old name. The clock may have been set meanwhile; and of one with
    /// two addresses, the tracker has to have heard both.
    fn may_begin(&self, now: u32) -> bool {
        let quiet = self.spoke.iter().all(|at| at.abs_diff(now) > QUIET);
        quiet && !self.moved && !self.keeps_on && self.v6.is_none() && self.copied.is_none()
    }

    /// Somebody copies its session to this address, if a copy could be told from it.
    pub(crate) fn copy(&mut self, v4: Ipv4Addr, now: u32) {
        let quiet = self.spoke.iter().all(|at| at.abs_diff(now) > QUIET);
        let has_moved = self.heard.0 > BYTES_UNIT && self.heard.0 < ABSURD;
        if quiet && has_moved && self.v6.is_none() && self.is_there() && !self.was_copied {
            self.was_copied = true;
            self.copied = Some(Copied::new(v4, self.heard, self.left, self.spoke.clone()));
        }
    }

    /// It says that it goes on, after its copy has spoken: what was not answered, if there is such a thing.
    pub(crate) fn say_still(&mut self, now: u32) -> Report {
        let report = self.pending.unwrap_or(self.report(Event::None));
        self.spoke.push(now);
        self.pending = Some(report);
        report
    }

    /// It goes on, and was answered.
    pub(crate) fn is_there(&self) -> bool {
        self.running && self.is_settled()
    }

    /// What it says next. `known`: the tracker knows it, and what it said last. `now`: by the tracker's
    /// clock.
    pub(crate) fn say(&mut self, rng: &mut Rng, known: bool, now: u32) -> Report {
        let anew = self.may_begin(now);
        let report = match self.pending {
            // It has moved on meanwhile. Not while it is unknown from where on it counts.
            Some(Report { event: Event::None, up, down, .. })
                if known
                    && up >= self.heard.0
                    && up - self.heard.0 < ABSURD
                    && down >= self.heard.1
                    && rng.bool() =>
            {
                self.transfer(rng);
                self.report(Event::None)
            }
            Some(pending) => pending,
            None if !self.running => self.begin(rng, anew),
            None => self.go_on(rng, anew),
        };
        self.spoke.push(now);
        self.pending = Some(report);
        report
    }

    /// It says for the last time what it has moved: before the books are compared. Without a word of it,
    /// what was lost with the tracker would not come back.
    pub(crate) fn say_last(&mut self, rng: &mut Rng) -> Option<Report> {
        let report = match self.pending {
            Some(pending) => pending,
            None if !self.running => return None,
            None if rng.bool() => self.report(Event::Stopped),
            None => self.report(Event::None),
        };
        self.pending = Some(report);
        Some(report)
    }

    /// The tracker has answered: it has heard what was said last.
    pub(crate) fn hear(&mut self, report: &Report, once: bool, postponed: bool) {
        self.pending = None;
        self.heard = (report.up, report.down);
        self.running = report.event != Event::Stopped;
        self.owed = postponed;
        self.settled = once && !postponed;
    }

    /// The tracker has refused it: there is no such torrent.
    pub(crate) fn give_up(&mut self) {
        (self.pending, self.running, self.settled, self.owed) = (None, false, true, false);
        self.copied = None;
    }

    /// Whether it begins anew under its name. A tracker that believes an older and lower word of it, as its
    /// data folder went back, and whose disk is full, would take it for one that goes on.
    pub(crate) fn keep_on(&mut self, keeps_on: bool) {
        self.keeps_on = keeps_on;
    }

    /// What it said before, if it was answered, is on the tracker's disk.
    pub(crate) fn settle(&mut self) {
        self.settled = !self.owed;
    }

    /// The tracker has died. What it may have forgotten is with it when the client says so again.
    pub(crate) fn lose(&mut self) {
        self.owed |= !self.settled;
    }

    /// Whether anything that it has said may still be lost with the tracker.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled && self.pending.is_none()
    }

    /// Whether it has said something that was not answered yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    fn begin(&mut self, rng: &mut Rng, anew: bool) -> Report {
        let renamed = !anew || rng.u8(..3) > 0;
        if renamed {
            self.before.push(std::mem::replace(&mut self.name, Name::new(rng)));
            (self.up, self.down) = (0, 0);
            self.spoke.clear();
            self.moved = false;
            (self.copied, self.was_copied) = (None, false);
        }
        let left = if rng.u8(..3) == 0 { 0 } else { 1 + rng.u64(..1 << 40) };
        // The same client is not done with what it has not downloaded.
        if renamed || self.left == 0 || left > 0 {
            self.left = left;
        }
        self.report(if rng.u8(..10) == 0 { Event::None } else { Event::Started })
    }

    fn go_on(&mut self, rng: &mut Rng, anew: bool) -> Report {
        match rng.u8(..100) {
            // It has died, and begins under another name or the same one.
            0..=2 if self.settled => self.begin(rng, anew),
            3..=4 if self.settled && anew => {
                (self.up, self.down) = (0, 0);
                self.report(Event::Started)
            }
            // It counts backwards.
            5..=7 if self.settled && anew => {
                self.up -= self.up / 2 / BYTES_UNIT * BYTES_UNIT;
                self.down -= self.down / 3 / BYTES_UNIT * BYTES_UNIT;
                self.report(Event::None)
            }
            8..=13 => {
                self.transfer(rng);
                // What is complete was downloaded, some of it in this session.
                if self.left > 0 {
                    self.down = self.down.max(BYTES_UNIT);
                }
                self.left = 0;
                self.report(Event::Completed)
            }
            14..=18 if self.copied.is_none() => {
                self.transfer(rng);
                self.report(Event::Stopped)
            }
            19..=24 => {
                // Nobody was at this address before.
                self.v4 = Ipv4Addr::from_bits(self.v4.to_bits() + 0x0100_0000 * rng.u32(..2));
                (self.port, self.moved) = (self.port ^ 1, true);
                self.report(Event::None)
            }
            25..=29 => self.report(Event::None),
            30 if self.settled && self.up < ABSURD && rng.u8(..4) == 0 => {
                self.up += ABSURD;
                self.report(Event::None)
            }
            _ => {
                self.transfer(rng);
                self.report(Event::None)
            }
        }
    }

    fn transfer(&mut self, rng: &mut Rng) {
        let mut bytes = || (rng.u64(..1 << 41) >> rng.u32(..41)) / BYTES_UNIT * BYTES_UNIT;
        self.up += bytes();
        if self.left > 0 {
            self.down += bytes();
        }
    }

    fn report(&self, event: Event) -> Report {
        Report { event, up: self.up, down: self.down, left: self.left }
    }
}

impl Name {
    fn new(rng: &mut Rng) -> Self {
        let mut peer_id = *b"-qB0001-............";
        peer_id[8..].fill_with(|| rng.u8(b'a'..=b'z'));
        Self { peer_id, key: rng.u32(..) }
    }
}
