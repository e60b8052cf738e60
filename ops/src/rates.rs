//! How often a network may ask: the limit, as an option says it, and a bucket for each network that asks.
//!
//! A bucket holds so many requests as may come at once, and fills up again at the rate. Each core has buckets of its own
//! and lets through its part of the rate, so that all cores together keep to what was said; what may come at once, each
//! core lets through by itself. Nothing here is about whole networks of attackers: a flood from very many addresses is
//! for breakers.

mod buckets;
mod rate;

use std::net::IpAddr;

use ipnet::IpNet;
use shard::Seconds;

use buckets::Buckets;

pub use rate::{Limit, Rate};

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    /// An announce, a scrape, or any other request over HTTP.
    Request,
    /// A new connection.
    Connection,
    /// What is said once and never again, of a network that has made too many requests.
    Last,
}

/// Which addresses are one network: those that begin with so many equal bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefixes {
    /// Of an IPv4 address, 32 at most.
    pub v4: u8,
    /// Of an IPv6 address, 128 at most.
    pub v6: u8,
}

impl Default for Prefixes {
    /// A host of IPv4, and the least that a customer with IPv6 has.
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

impl Prefixes {
    /// The network of an address, which is canonical.
    pub fn network(&self, address: IpAddr) -> IpNet {
        let len = if address.is_ipv4() { self.v4 } else { self.v6 };
        IpNet::new(address, len).unwrap_or(IpNet::from(address)).trunc()
    }

    /// The network of an address as a number; IPv4 has its place as in the mapped form.
    #[inline]
    fn key(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => {
                let kept = u32::MAX.checked_shl(32 - u32::from(self.v4.min(32))).unwrap_or(0);
                0xffff << 32 | u128::from(u32::from(address) & kept)
            }
            IpAddr::V6(address) => {
                let kept = u128::MAX.checked_shl(128 - u32::from(self.v6.min(128))).unwrap_or(0);
                u128::from(address) & kept
            }
        }
    }
}

/// The limits of a core, and how far each network has gone.
#[derive(Debug, Default)]
pub struct Rates {
    requests: Option<Buckets>,
    connections: Option<Buckets>,
    lasts: Option<Buckets>,
    prefixes: Prefixes,
    /// Not limited, whatever they do.
    exempt: Vec<IpNet>,
}

impl Rates {
    /// The limits of one of `cores` cores: of requests and of connections, where there are any. What is said once has as
    /// much room as requests have, beside theirs.
    pub fn new(
        requests: Option<Rate>,
        connections: Option<Rate>,
        prefixes: Prefixes,
        exempt: Vec<IpNet>,
        cores: usize,
    ) -> Self {
        let buckets = |rate: Option<Rate>| rate.map(|rate| Buckets::new(rate.of_a_core(cores)));
        let (requests, connections, lasts) =
            (buckets(requests), buckets(connections), buckets(requests));
        Self { requests, connections, lasts, prefixes, exempt }
    }

    /// Whether anything is limited.
    pub fn is_on(&self) -> bool {
        self.requests.is_some() || self.connections.is_some()
    }

    /// Counts what comes from an address, which is canonical, at a moment of a clock that does not go back; false where
    /// its network has come too often.
    #[inline]
    pub fn let_in(&mut self, counted: Counted, address: IpAddr, now: Seconds) -> bool {
        let buckets = match counted {
            Counted::Request => &mut self.requests,
            Counted::Connection => &mut self.connections,
            Counted::Last => &mut self.lasts,
        };
        let Some(buckets) = buckets else { return true };
        // Those who are exempt are looked for last: few come so far.
        buckets.take(self.prefixes.key(address), now)
            || self.exempt.iter().any(|network| network.contains(&address))
    }

    /// The network that an address is counted with.
    pub fn network(&self, address: IpAddr) -> IpNet {
        self.prefixes.network(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(prefixes: Prefixes, exempt: &[&str]) -> Rates {
        let exempt = exempt.iter().map(|network| network.parse().unwrap()).collect();
        Rates::new(Rate::parse("1/h:2"), Rate::parse("1/h:1"), prefixes, exempt, 1)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_a_network_are_counted_together() {
        let now = Seconds(5);
        for (prefixes, same, others) in [
            (Prefixes::default(), ["192.0.2.1", "192.0.2.1"], ["192.0.2.2", "2001:db8::1"]),
            (Prefixes::default(), ["2001:db8::1", "2001:db8::2"], ["2001:db8:0:1::1", "0.0.0.0"]),
            (Prefixes { v4: 24, v6: 48 }, ["192.0.2.1", "192.0.2.255"], ["192.0.3.1", "::"]),
            (
                Prefixes { v4: 8, v6: 48 },
                ["2001:db8::1", "2001:db8:0:9::1"],
                ["2001:db8:1::1", "2.0.0.1"],
            ),
            (Prefixes { v4: 0, v6: 0 }, ["1.2.3.4", "99.0.0.1"], ["2001:db8::1", "2001:db8::1"]),
            (Prefixes { v4: 200, v6: 200 }, ["::1", "::1"], ["::2", "1.1.1.1"]),
        ] {
            let mut rates = rates(prefixes, &[]);
            let mut let_in = |text| rates.let_in(Counted::Request, address(text), now);
            assert!(let_in(same[0]) && let_in(same[1]) && !let_in(same[0]), "{same:?}");
            assert!(let_in(others[0]) && let_in(others[1]), "{others:?}");
        }
    }

    #[test]
    fn requests_and_connections_are_counted_apart_and_some_not_at_all() {
        let mut rates = rates(Prefixes::default(), &["192.0.2.0/24", "2001:db8::/32"]);
        let now = Seconds(5);
        for exempt in ["192.0.2.9", "2001:db8::1"] {
            assert!((0..9).all(|_| rates.let_in(Counted::Connection, address(exempt), now)));
        }
        let one = address("192.0.3.9");
        assert!(rates.let_in(Counted::Connection, one, now));
        assert!(!rates.let_in(Counted::Connection, one, now));
        assert!(rates.let_in(Counted::Request, one, now));
        for counted in [Counted::Request, Counted::Last] {
            assert_eq!(
                (0..9).filter(|_| rates.let_in(counted, one, now)).count(),
                match counted {
                    Counted::Last => 2,
                    _ => 1,
                }
            );
        }
        assert_eq!(rates.network(address("2001:db8:1:2:3::")).to_string(), "2001:db8:1:2::/64");
        let mut off = Rates::default();
        assert!(!off.is_on() && (0..9).all(|_| off.let_in(Counted::Request, one, now)));
    }
}
