//! What the tracker says of itself to its site: the counters of all cores together.

use std::sync::Arc;

use ops::counters::{self, Protocol, Reason};
use shard::Seconds;

use crate::wire::ocelot::Stats;
use ops::slot::Slot;

/// The figures of all cores, each up to a second old. `uptime` is the process's.
pub fn stats(slots: &[Arc<Slot>], uptime: Seconds, interval: Seconds) -> Stats {
    let cores: Vec<counters::Core> = slots.iter().map(|slot| slot.load()).collect();
    let sum = |figure: &dyn Fn(&counters::Front) -> u64| -> u64 {
        cores.iter().flat_map(|core| core.fronts.iter().flatten()).map(figure).sum()
    };
    let refused = |reason: Reason| sum(&|front| front.refusals[reason as usize]);
    let per_second = |count: u64| count / u64::from(uptime.0.max(1));
    let connections_opened: u64 = (cores.iter())
        .flat_map(|core| core.fronts[Protocol::Http as usize].iter())
        .map(|front| front.connections)
        .sum();
    let requests = sum(&|front| front.responses);
    Stats {
        version: env!("CARGO_PKG_VERSION"),
        uptime,
        connections_opened,
        connections_open: cores.iter().map(|core| core.connections_open).sum(),
        connections_per_second: per_second(connections_opened),
        requests,
        requests_per_second: per_second(requests),
        announces_answered: sum(&|front| front.announces),
        announces_refused: refused(Reason::Torrent)
            + refused(Reason::Passkey)
            + refused(Reason::Client)
            + refused(Reason::Rights)
            + refused(Reason::Clients)
            + refused(Reason::Downloads)
            + refused(Reason::Full),
        scrapes: sum(&|front| front.scrapes),
        leechers: cores.iter().map(|core| core.totals.leechers as u64).sum(),
        seeders: cores.iter().map(|core| core.totals.seeders as u64).sum(),
        bytes_read: sum(&|front| front.received_bytes),
        bytes_written: sum(&|front| front.sent_bytes),
        wrong_passkeys: refused(Reason::Passkey),
        refused_clients: refused(Reason::Client),
        malformed_requests: refused(Reason::Malformed),
        interval,
        ..Stats::default()
    }
}

#[cfg(test)]
mod tests {
    use ops::counters::Family;

    use super::*;

    #[test]
    fn the_cores_are_added_up() {
        let slots: Vec<Arc<Slot>> = (0..2).map(|_| Arc::default()).collect();
        for (core, slot) in slots.iter().enumerate() {
            let mut counters = counters::Core::default();
            let front = counters.front(Protocol::Http, Family::V4);
            (front.announces, front.connections, front.responses) = (30, 50, 40);
            front.refuse(Reason::Passkey);
            counters.front(Protocol::Udp, Family::V6).announces = core as u64;
            counters.totals.seeders = 7;
            slot.store(&counters);
        }
        let stats = stats(&slots, Seconds(20), Seconds(1800));
        assert_eq!((stats.announces_answered, stats.announces_refused), (61, 2));
        assert_eq!((stats.connections_opened, stats.connections_per_second), (100, 5));
        assert_eq!((stats.requests, stats.requests_per_second), (80, 4));
        assert_eq!((stats.seeders, stats.interval), (14, Seconds(1800)));
    }
}
