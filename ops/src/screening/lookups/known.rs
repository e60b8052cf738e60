//! What a thread knows of countries by look-ups, in a table that answers at once and takes a new answer at once.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use shard::Seconds;

use super::super::Country;
use super::network_of;

/// What was said of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// The network: a /24, a /48, or one address.
    pub network: IpNet,
    /// Its country; none where nobody knows one.
    pub country: Option<Country>,
    /// Until when it need not be asked for again.
    pub until: Seconds,
}

/// Countries of networks, those that were asked for last. What is older than both halves is forgotten.
#[derive(Debug)]
pub struct Known {
    newer: HashMap<IpNet, State>,
    older: HashMap<IpNet, State>,
    half_max: usize,
}

/// What is known of a network.
#[derive(Clone, Copy, Debug)]
struct State {
    what: What,
    /// From then on it is worth asking.
    until: Seconds,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// It was asked for.
    Asked,
    Country(Option<Country>),
    /// Its addresses are told apart.
    Apart,
}

impl Known {
    /// Room for about so many networks.
    pub fn new(networks_max: usize) -> Self {
        let half_max = (networks_max / 2).max(1);
        Self { newer: HashMap::with_capacity(half_max), older: HashMap::new(), half_max }
    }

    /// What was said of the network of an address, if anything, and whether it is to be asked for. What was said long
    /// ago counts until something else is said.
    #[inline]
    pub fn find(&self, address: IpAddr, now: Seconds) -> (Option<Option<Country>>, bool) {
        let state = match self.state(&network_of(address)) {
            Some(State { what: What::Apart, .. }) => self.state(&address.into()),
            state => state,
        };
        match state {
            None => (None, true),
            Some(State { what, until }) => {
                let is_due = now >= until;
                match what {
                    What::Country(country) => (Some(country), is_due),
                    What::Asked | What::Apart => (None, is_due),
                }
            }
        }
    }

    #[inline]
    fn state(&self, network: &IpNet) -> Option<State> {
        self.newer.get(network).or_else(|| self.older.get(network)).copied()
    }

    /// Notes that the network of an address is asked for: again not before `until`.
    pub fn note_asked(&mut self, address: IpAddr, until: Seconds) {
        let mut at = network_of(address);
        if matches!(self.state(&at), Some(State { what: What::Apart, .. })) {
            at = address.into();
        }
        let what = self.state(&at).map_or(What::Asked, |state| state.what);
        self.put(at, State { what, until });
    }

    /// Takes in what was said; what was known before.
    pub fn take_in(&mut self, said: &Said) -> Option<Option<Country>> {
        let at = said.network;
        if said.network.prefix_len() == said.network.max_prefix_len() {
            self.put(
                network_of(said.network.addr()),
                State { what: What::Apart, until: said.until },
            );
        }
        let before = self.state(&at).and_then(|state| match state.what {
            What::Country(country) => Some(country),
            What::Asked | What::Apart => None,
        });
        self.put(at, State { what: What::Country(said.country), until: said.until });
        before
    }

    /// How many networks it knows of, some of them twice.
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, network: IpNet, state: State) {
        if self.newer.len() >= self.half_max && !self.newer.contains_key(&network) {
            self.older = std::mem::replace(&mut self.newer, HashMap::with_capacity(self.half_max));
        }
        self.newer.insert(network, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(network: &str, country: &str, until: u32) -> Said {
        Said {
            network: network.parse().unwrap(),
            country: Country::parse(country),
            until: Seconds(until),
        }
    }

    fn find(known: &Known, address: &str, now: u32) -> (Option<Option<String>>, bool) {
        let (found, is_due) = known.find(address.parse().unwrap(), Seconds(now));
        (found.map(|country| country.map(|country| country.to_string())), is_due)
    }

    #[test]
    fn answers_count_for_their_networks_and_are_asked_for_again() {
        let mut known = Known::new(100);
        let (cuba, nobody) = (Some(Some("CU".to_owned())), Some(None));
        assert_eq!(find(&known, "1.2.3.4", 10), (None, true));
        known.note_asked("1.2.3.4".parse().unwrap(), Seconds(20));
        assert_eq!(find(&known, "1.2.3.9", 10), (None, false));
        assert_eq!(find(&known, "1.2.3.9", 20), (None, true));
        assert_eq!(known.take_in(&said("1.2.3.0/24", "CU", 100)), None);
        assert_eq!(known.take_in(&said("1.2.3.0/24", "CU", 100)), Some(Country::parse("CU")));
        assert_eq!(find(&known, "1.2.3.4", 99), (cuba.clone(), false));
        assert_eq!(find(&known, "1.2.4.4", 99), (None, true));
        // It stays known while it is asked for again.
        assert_eq!(find(&known, "1.2.3.4", 100), (cuba.clone(), true));
        known.note_asked("1.2.3.4".parse().unwrap(), Seconds(110));
        assert_eq!(find(&known, "1.2.3.4", 105), (cuba.clone(), false));
        assert_eq!(known.take_in(&said("1.2.3.0/24", "-", 200)), Some(Country::parse("CU")));
        assert_eq!(find(&known, "1.2.3.4", 105), (nobody, false));
        known.take_in(&said("2a01:1:2::/48", "CU", 100));
        assert_eq!(find(&known, "2a01:1:2:3::4", 5), (cuba.clone(), false));
        assert_eq!(find(&known, "2a01:1:3:3::4", 5), (None, true));
        // Addresses of one network may be told apart.
        known.take_in(&said("5.5.5.5/32", "CU", 100));
        assert_eq!(find(&known, "5.5.5.5", 5), (cuba, false));
        assert_eq!(find(&known, "5.5.5.6", 5), (None, true));
        known.note_asked("5.5.5.6".parse().unwrap(), Seconds(20));
        assert_eq!(find(&known, "5.5.5.6", 5), (None, false));
    }

    #[test]
    fn it_forgets_what_nobody_has_asked_for_lately() {
        let mut known = Known::new(100);
        for number in 0..10_000_u32 {
            let network = network_of(std::net::Ipv4Addr::from(number << 8).into());
            known.take_in(&Said { network, country: None, until: Seconds(9) });
            assert!(known.len() <= 100);
        }
        assert_eq!(find(&known, "0.39.15.1", 1), (Some(None), false));
        assert_eq!(find(&known, "0.0.15.1", 1), (None, true));
    }
}
