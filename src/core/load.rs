//! The totals and the load of a core, once a second: by that the interval is reconsidered.

use std::time::{Duration, Instant};

use crate::core::interval::Load;
use crate::core::{Engine, mesh};
use crate::process::thread;

/// The requests that a core has dealt with.
#[derive(Clone, Copy, Default)]
struct Handled {
    announces: u64,
    /// Scrapes, connects, and what was refused.
    others: u64,
}

impl Handled {
    fn of(counters: &ops::counters::Core) -> Self {
        let mut handled = Self::default();
        for front in counters.fronts.iter().flatten() {
            handled.announces += front.announces;
            handled.others += front.connects + front.scrapes + front.refusals.iter().sum::<u64>();
        }
        handled
    }

    fn since(self, before: Self) -> Self {
        Self { announces: self.announces - before.announces, others: self.others - before.others }
    }
}

/// The clock and the CPU time of this thread at one moment.
struct Measured {
    at: Instant,
    cpu: Duration,
}

impl Measured {
    fn now() -> Self {
        Self { at: Instant::now(), cpu: thread::cpu_time() }
    }
}

/// Measures a core from one second to the next.
pub struct Meter {
    began: Instant,
    last: Measured,
    handled: Handled,
}

impl Meter {
    /// From now on.
    pub fn begin() -> Self {
        let last = Measured::now();
        Self { began: last.at, last, handled: Handled::default() }
    }
}

impl Engine {
    /// Measures the core, brings its gauges up to date and reconsiders the interval.
    pub fn measure(&mut self, meter: &mut Meter) {
        let measured = Measured::now();
        self.counters.busy_nanos = measured.cpu.as_nanos() as u64;
        self.counters.elapsed_nanos = (measured.at - meter.began).as_nanos() as u64;
        self.bring_gauges_up_to_date();
        let by_now = Handled::of(&self.counters);
        self.reconsider(&measured, &meter.last, by_now.since(meter.handled));
        (meter.last, meter.handled) = (measured, by_now);
    }

    /// Looks at so many of the swarms and peers, and drops what has timed out.
    pub fn sweep(&mut self, budget: usize) {
        if self.draining {
            return;
        }
        let now = self.clock.now();
        let steady = self.clock.steady_at(now);
        let gate = &self.gate;
        let (expired, finished) = match &mut self.private {
            Some(private) => private.sweep(now, budget, gate),
            None if !gate.has_rules() => {
                let expired = self.shard.expire(steady, budget);
                (expired.peers, expired.finished)
            }
            None => {
                let is_refused = |address| gate.refuses(address);
                let expired = self.shard.expire_refusing(steady, budget, &is_refused);
                (expired.peers, expired.finished)
            }
        };
        self.hurried_rounds -= u8::from(finished && self.hurried_rounds > 0);
        self.counters.expired_peers += expired as u64;
    }

    /// The totals of this core.
    fn totals(&self) -> shard::Totals {
        let Some(private) = &self.private else { return self.shard.totals() };
        let totals = private.swarms.totals();
        shard::Totals {
            swarms: totals.torrents,
            // A client with both families is one peer.
            peers_v4: totals.peers,
            peers_v6: 0,
            seeders: totals.seeders,
            leechers: totals.leechers,
        }
    }

    /// The number of peers and places that a whole sweep looks at.
    pub fn walked(&self) -> usize {
        match &self.private {
            Some(private) => private.swarms.walked(),
            None => self.shard.walked(),
        }
    }

    fn bring_gauges_up_to_date(&mut self) {
        self.counters.totals = self.totals();
        if let Some(private) = &mut self.private {
            self.counters.records_waiting = private.outgoing.len() as u64;
            private.traces.forget_the_gone();
            self.counters.tokens = private.swarms.totals().tokens as u64;
        }
        self.counters.interval_seconds = self.interval.current().0;
        for (channel, address) in self.counters.channels.iter_mut().zip(&self.mesh) {
            channel.depth = address.depth() as u64;
            channel.capacity = mesh::INBOX_MESSAGES_MAX as u64;
        }
    }

    /// Fits the interval to the load of this core.
    fn reconsider(&mut self, measured: &Measured, last: &Measured, handled: Handled) {
        let now = self.clock.steady();
        let elapsed = (measured.at - last.at).as_secs_f64();
        let totals = &self.counters.totals;
        let load = Load {
            elapsed,
            busy: (measured.cpu - last.cpu).as_secs_f64() / elapsed,
            queue: self.mesh[self.number].depth() as f64 / mesh::INBOX_MESSAGES_MAX as f64,
            announces: handled.announces,
            others: handled.others,
            peers: (totals.peers_v4 + totals.peers_v6) as u64,
        };
        self.interval.observe(&load, now);
    }
}
