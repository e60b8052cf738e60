//! The totals and the load of a core, once a second: by that the interval is reconsidered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use ops::counters::{Protocol, Reason};

use crate::core::interval::Load;
use crate::core::{Engine, mesh};
use crate::process::thread;

/// What a core has dealt with.
#[derive(Clone, Copy, Default)]
struct Handled {
    announces: u64,
    /// Scrapes, and what was refused to clients.
    others: u64,
    /// What was no request, or turned away.
    junk: u64,
    /// By protocol, connects and connections: a request follows each that a client makes.
    opened: [u64; 2],
    /// By protocol, what may have followed them.
    asked: [u64; 2],
}

impl Handled {
    fn of(counters: &ops::counters::Core) -> Self {
        let mut handled = Self { junk: counters.screened.total(), ..Self::default() };
        for (protocol, fronts) in counters.fronts.iter().enumerate() {
            for front in fronts {
                let refused = |kind: Kind| {
                    let of_kind = Reason::ALL.iter().filter(|reason| kind_of(**reason) == kind);
                    of_kind.map(|reason| front.refusals[*reason as usize]).sum::<u64>()
                };
                let (to_clients, turned_away) = (refused(Kind::Client), refused(Kind::TurnedAway));
                let junk = refused(Kind::Junk);
                handled.announces += front.announces;
                handled.others += front.scrapes + to_clients;
                handled.junk += turned_away + junk;
                handled.opened[protocol] += front.connects + front.connections;
                handled.asked[protocol] +=
                    front.announces + front.scrapes + to_clients + turned_away;
                if protocol == Protocol::Http as usize {
                    // It came over a connection.
                    handled.asked[protocol] += junk;
                }
            }
        }
        handled
    }

    fn since(self, before: Self) -> Self {
        let since = |now: [u64; 2], before: [u64; 2]| [now[0] - before[0], now[1] - before[1]];
        Self {
            announces: self.announces - before.announces,
            others: self.others - before.others,
            junk: self.junk - before.junk,
            opened: since(self.opened, before.opened),
            asked: since(self.asked, before.asked),
        }
    }

    /// Connects and connections, by protocol, that nothing follows: more than there are requests now, or were on average
    /// `lately` in so many seconds.
    fn in_vain(&self, lately: &Self, seconds: u64) -> [u64; 2] {
        [0, 1].map(|protocol| {
            let follows = self.asked[protocol].max(lately.asked[protocol] / seconds);
            self.opened[protocol].saturating_sub(follows)
        })
    }
}

/// What is refused, and to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A client's request, which was read.
    Client,
    /// A client's request, as one too many.
    TurnedAway,
    /// No request of a client.
    Junk,
    /// A connection, which is counted as one that nothing followed.
    Connection,
}

fn kind_of(reason: Reason) -> Kind {
    match reason {
        Reason::Torrent
        | Reason::Full
        | Reason::Overload
        | Reason::Passkey
        | Reason::Client
        | Reason::Rights
        | Reason::Clients
        | Reason::Downloads => Kind::Client,
        Reason::Rate | Reason::Shed => Kind::TurnedAway,
        Reason::Malformed
        | Reason::ConnectionId
        | Reason::Source
        | Reason::ConnectionRate
        | Reason::Proxy
        | Reason::TooLarge
        | Reason::NotFound => Kind::Junk,
        Reason::Timeout | Reason::Connections => Kind::Connection,
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
    /// At the last looks, the newest last.
    handled: VecDeque<Handled>,
}

/// Requests are averaged over so many seconds, as they follow their connects a moment later.
const FOLLOWS_WITHIN: usize = 8;

impl Meter {
    /// From now on.
    pub fn begin() -> Self {
        let last = Measured::now();
        Self { began: last.at, last, handled: VecDeque::from([Handled::default()]) }
    }
}

impl Meter {
    /// What was dealt with since the last look, where that is `by_now`. Connects that are needed are among the others, and
    /// what nothing follows among the junk.
    fn note(&mut self, by_now: Handled) -> Handled {
        let before = |at: Option<&Handled>| at.copied().unwrap_or_default();
        let mut handled = by_now.since(before(self.handled.back()));
        let lately = by_now.since(before(self.handled.front()));
        let in_vain = handled.in_vain(&lately, self.handled.len() as u64);
        let udp = Protocol::Udp as usize;
        handled.others += handled.opened[udp] - in_vain[udp];
        handled.junk += in_vain.iter().sum::<u64>();
        self.handled.push_back(by_now);
        if self.handled.len() > FOLLOWS_WITHIN {
            self.handled.pop_front();
        }
        handled
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
        let handled = meter.note(by_now);
        self.reconsider(&measured, &meter.last, handled);
        meter.last = measured;
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
        self.floods.tick(self.clock.steady());
        self.counters.services = self.floods.figures();
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
            junk: handled.junk,
            peers: (totals.peers_v4 + totals.peers_v6) as u64,
        };
        self.interval.observe(&load, now);
    }
}

#[cfg(test)]
mod tests {
    use ops::counters::{Core, Family};
    use ops::screening::Rule;

    use super::*;

    /// A second of a core: connects, announces, scrapes; connections; refusals.
    fn second(
        counters: &mut Core,
        meter: &mut Meter,
        udp: [u64; 3],
        refused: &[(Protocol, Reason, u64)],
    ) -> [u64; 3] {
        let front = counters.front(Protocol::Udp, Family::V4);
        front.connects += udp[0];
        front.announces += udp[1];
        front.scrapes += udp[2];
        for (protocol, reason, count) in refused {
            counters.front(*protocol, Family::V6).refusals[*reason as usize] += count;
        }
        let Handled { announces, others, junk, .. } = meter.note(Handled::of(counters));
        [announces, others, junk]
    }

    #[test]
    fn a_connect_that_nothing_follows_is_junk() {
        let (mut core, mut meter) = (Core::default(), Meter::begin());
        // A client asks in the second after its connect.
        assert_eq!(second(&mut core, &mut meter, [100, 0, 0], &[]), [0, 0, 100]);
        for _ in 0..20 {
            assert_eq!(second(&mut core, &mut meter, [100, 90, 10], &[]), [90, 110, 0]);
        }
        // Requests that come a second late do not make junk of a client's connects.
        assert_eq!(second(&mut core, &mut meter, [100, 40, 10], &[]), [40, 103, 7]);
        assert_eq!(second(&mut core, &mut meter, [100, 140, 10], &[]), [140, 110, 0]);
        // A flood is junk from its first second on.
        for _ in 0..20 {
            let [announces, others, junk] = second(&mut core, &mut meter, [9100, 90, 10], &[]);
            assert!(announces == 90 && others <= 120 && junk >= 8990, "{others} {junk}");
        }
    }

    #[test]
    fn what_is_refused_to_clients_is_no_junk_and_all_else_is() {
        let (udp, http) = (Protocol::Udp, Protocol::Http);
        let (mut core, mut meter) = (Core::default(), Meter::begin());
        let refused = [(udp, Reason::Torrent, 50), (http, Reason::Overload, 5)];
        assert_eq!(second(&mut core, &mut meter, [0, 10, 0], &refused), [10, 55, 0]);
        core.screened.deny(Rule::Network, None);
        let junk = [
            (udp, Reason::ConnectionId, 100),
            (udp, Reason::Rate, 20),
            (udp, Reason::Shed, 3),
            (http, Reason::Malformed, 7),
            (http, Reason::ConnectionRate, 5),
        ];
        assert_eq!(second(&mut core, &mut meter, [0, 10, 0], &junk), [10, 0, 136]);
        // Connections that say nothing.
        core.front(http, Family::V4).connections += 80;
        let timeout = [(http, Reason::Timeout, 10)];
        let [_, others, junk] = second(&mut core, &mut meter, [0, 0, 0], &timeout);
        assert!(others == 0 && junk > 70, "{junk}");
        assert_eq!(second(&mut core, &mut meter, [0, 0, 0], &timeout), [0, 0, 0]);
    }
}
