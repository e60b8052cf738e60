//! A copy of a client's session: somebody took its folder to another machine, and both go on under one name.
//!
//! It behaves as docs/wire.md, D8, takes for granted: it announces from another address of the same family,
//! it begins below what its original has said, and it stays below. It says `stopped` before its original does
//! anything but go on; a copy that nobody hears of any more would keep the client in the swarm.

use std::net::Ipv4Addr;

use fastrand::Rng;

use crate::nothing_lost::client::{BYTES_UNIT, Event, QUIET, Report};

pub(crate) struct Copied {
    pub(crate) v4: Ipv4Addr,
    pub(crate) port: u16,
    /// It stays below this, which its original had said long before.
    most: (u64, u64),
    /// When its original had said less, by the tracker's clock. Near them its words may be late ones.
    before: Vec<u32>,
    said: Option<(u64, u64)>,
    /// What it says it has to download.
    left: u64,
}

impl Copied {
    /// At an address of its own, of a client that said `most`, after words at `before`.
    pub(crate) fn new(v4: Ipv4Addr, most: (u64, u64), left: u64, before: Vec<u32>) -> Self {
        Self { v4, port: 6881, most, before, said: None, left }
    }

    /// What it says next, if its word cannot be taken for a late one of its original.
    pub(crate) fn say(&mut self, rng: &mut Rng, now: u32) -> Option<Report> {
        if self.before.iter().any(|at| at.abs_diff(now) <= QUIET) {
            return None;
        }
        let event = if self.said.is_none() { Event::Started } else { Event::None };
        Some(self.report(rng, event))
    }

    /// Its last word, if it has said anything.
    pub(crate) fn stop(&mut self, rng: &mut Rng) -> Option<Report> {
        self.said.is_some().then(|| self.report(rng, Event::Stopped))
    }

    fn report(&mut self, rng: &mut Rng, event: Event) -> Report {
        let (up, down) = self.said.unwrap_or_default();
        let mut more = |said: u64, most: u64| {
            let room = most.saturating_sub(said) / BYTES_UNIT;
            said + if room > 1 { rng.u64(..room.min(1 << 34)) * BYTES_UNIT } else { 0 }
        };
        let (up, down) = (more(up, self.most.0), more(down, self.most.1));
        self.said = Some((up, down));
        Report { event, up, down, left: self.left }
    }
}
