//! What a core does by the clock: sweep the swarms, and once a second look at itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use glommio::timer::sleep;
use ops::counters::{Family, Protocol, Reason};
use shard::InfoHash;

use super::{Core, SharedCore};
use crate::control::Slot;
use crate::core::interval::Load;
use crate::core::mesh;
use crate::front;
use crate::process::thread;

/// Peers and swarms one step of the sweep looks at; about 50 µs of work.
const SWEEP_BUDGET: usize = 1024;

/// How long a sweep over the whole shard takes, so that a peer leaves at most this late.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// The shortest and the longest time between two steps of the sweep.
const SWEEP_STEP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// Torrents looked up in one step when a list has changed.
const FORGET_STEP: usize = 256;

/// How often counters are handed to the control side and the interval is reconsidered.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// Drops what has timed out, a bounded step at a time, for as long as the core lives.
pub async fn sweep(core: SharedCore) {
    loop {
        let pause = {
            let core = &mut *core.borrow_mut();
            let now = core.clock.now();
            if core.private.is_some() {
                if !core.draining {
                    core.counters.expired_peers += core.sweep_private(now, SWEEP_BUDGET) as u64;
                }
            } else if !core.draining {
                let expired = core.shard.expire(core.clock.steady_at(now), SWEEP_BUDGET);
                core.counters.expired_peers += expired.peers as u64;
            }
            let steps = core.walked() / SWEEP_BUDGET + 1;
            (SWEEP_PERIOD / steps as u32).clamp(SWEEP_STEP.0, SWEEP_STEP.1)
        };
        sleep(pause).await;
    }
}

/// Drops the swarms of torrents that are no longer allowed, a bounded step at a time.
pub async fn forget(core: SharedCore, torrents: Arc<Vec<InfoHash>>) {
    for some in torrents.chunks(FORGET_STEP) {
        {
            let core = &mut *core.borrow_mut();
            for info_hash in some {
                if core.elsewhere(info_hash).is_none() {
                    core.shard.remove(info_hash);
                }
            }
        }
        sleep(SWEEP_STEP.0).await;
    }
}

/// Hands what happened to the journal, for as long as the core lives.
pub async fn dispatch(core: SharedCore) {
    loop {
        let Some(pause) = core.borrow().private.as_ref().map(|private| private.outgoing.period())
        else {
            return;
        };
        sleep(pause).await;
        let core = &mut *core.borrow_mut();
        core.journaled();
        if let Some(private) = &mut core.private {
            private.outgoing.tick();
        }
        if !core.unheard.is_empty() {
            core.tell_unheard();
        }
    }
}

/// Measures the core, reconsiders the interval and hands a copy of the counters to `slot`.
pub async fn report(core: SharedCore, slot: Arc<Slot>) {
    let mut last = Measured::now();
    let began = last.at;
    let mut handled = Handled::default();
    loop {
        sleep(REPORT_PERIOD).await;
        let measured = Measured::now();
        let core = &mut *core.borrow_mut();
        core.follow_clock();
        core.counters.busy_nanos = measured.cpu.as_nanos() as u64;
        core.counters.elapsed_nanos = (measured.at - began).as_nanos() as u64;
        core.bring_gauges_up_to_date();
        let by_now = Handled::of(&core.counters);
        core.reconsider(&measured, &last, by_now.since(handled));
        core.end_what_is_late();
        slot.store(&core.counters);
        (last, handled) = (measured, by_now);
    }
}

/// What a core has dealt with.
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

impl Core {
    /// What this core holds.
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

    /// What a whole sweep looks at.
    fn walked(&self) -> usize {
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
        self.counters.connections_open = self.seats.borrow().taken() as u64;
        for (channel, address) in self.counters.channels.iter_mut().zip(&self.mesh) {
            channel.depth = address.depth() as u64;
            channel.capacity = mesh::INBOX_MESSAGES_MAX as u64;
        }
    }

    /// Fits the interval to the load of this core, and the life of its peers to the interval.
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
        let peer_timeout = self.interval.peer_timeout();
        self.shard.set_peer_timeout(peer_timeout);
        if let Some(private) = &mut self.private {
            let limits = private.swarms.limits();
            private.swarms.set_limits(shard::private::Limits { peer_timeout, ..limits });
        }
    }

    /// Answers scrapes that other cores left open, and shuts down connections past their deadline.
    fn end_what_is_late(&mut self) {
        let now = self.clock.steady();
        for (reply_to, counts) in self.gather.give_up(now) {
            front::bring(self, reply_to, counts);
        }
        self.flush_all();
        let late = self.seats.borrow_mut().clear(now) as u64;
        // The family is not known any more; the protocol is what matters here.
        let front = self.counters.front(Protocol::Http, Family::V4);
        front.refusals[Reason::Timeout as usize] += late;
    }
}
