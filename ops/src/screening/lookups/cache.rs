//! What has been answered, by the networks that answers name: of all addresses in one only the first is asked for.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use shard::Seconds;

use super::super::Country;
use super::{Answer, Said, network_of};

/// Answers by network, those that were used last. What is older than both halves is forgotten.
#[derive(Clone, Debug)]
pub struct Cache {
    newer: HashMap<IpNet, Cached>,
    older: HashMap<IpNet, Cached>,
    half_max: usize,
    /// Of which lengths there are any, as bits, of IPv4 and IPv6.
    lens: [u128; 2],
}

/// What was answered of a network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cached {
    /// What was said last, if anything: its country, or that nobody knows one.
    said: Option<Option<Country>>,
    /// Nobody answered, or not so that it could be understood.
    pub is_failure: bool,
    /// Until when it need not be asked for again.
    pub until: Seconds,
}

impl Cache {
    /// Room for about so many networks.
    pub fn new(networks_max: usize) -> Self {
        let half_max = (networks_max / 2).max(1);
        Self { newer: HashMap::new(), older: HashMap::new(), half_max, lens: [0; 2] }
    }

    /// What is known of an address, by the longest network around it, if that is not too old.
    pub fn find(&mut self, address: IpAddr, now: Seconds) -> Option<(IpNet, Cached)> {
        let (network, cached) = self.around(address).find(|(_, cached)| now < cached.until)?;
        self.put(network, cached);
        Some((network, cached))
    }

    /// All networks around an address, the longest first.
    fn around(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, Cached)> {
        let max = if address.is_ipv4() { 32 } else { 128_u8 };
        let lens = self.lens[usize::from(address.is_ipv6())];
        (0..=max).rev().filter(move |len| lens & bit(*len) != 0).filter_map(move |len| {
            let network = IpNet::new_assert(address, len).trunc();
            Some((network, self.get(&network)?))
        })
    }

    fn get(&self, network: &IpNet) -> Option<Cached> {
        self.newer.get(network).or_else(|| self.older.get(network)).copied()
    }

    /// Takes in an answer.
    pub fn take_in(&mut self, answer: Answer, until: Seconds) {
        let Answer { country, network } = answer;
        self.put(network, Cached { said: Some(country), is_failure: false, until });
    }

    /// Notes that nobody can say anything of the network of an address, until then. What was said before is remembered.
    pub fn note_failure(&mut self, address: IpAddr, until: Seconds) {
        let network = network_of(address);
        let said = self.get(&network).and_then(|cached| cached.said);
        self.put(network, Cached { said, is_failure: true, until });
    }

    /// What was said last of an address, however long ago.
    pub fn remembered(&self, address: IpAddr) -> Option<Option<Country>> {
        self.around(address).find_map(|(_, cached)| cached.said)
    }

    /// All that was said, those last that were used last.
    pub fn kept(&self) -> impl Iterator<Item = (Answer, Seconds)> {
        let older = self.older.iter().filter(|(network, _)| !self.newer.contains_key(*network));
        older.chain(&self.newer).filter_map(|(network, cached)| {
            Some((Answer { country: cached.said?, network: *network }, cached.until))
        })
    }

    /// How many networks it knows of, some of them twice.
    pub fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }

    /// Whether it knows of none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put(&mut self, network: IpNet, cached: Cached) {
        if self.newer.len() >= self.half_max && !self.newer.contains_key(&network) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.lens[usize::from(matches!(network, IpNet::V6(_)))] |= bit(network.prefix_len());
        self.newer.insert(network, cached);
    }
}

impl Cached {
    /// What those are told who asked for `address`, which is in `network`: of all of its /24 or /48 where the answer is
    /// about that much, or of the address alone.
    pub fn said(&self, network: IpNet, address: IpAddr) -> Said {
        let whole = network_of(address);
        let network =
            if network.prefix_len() <= whole.prefix_len() { whole } else { address.into() };
        Said { network, country: self.said.flatten(), until: self.until }
    }
}

/// No network is 0 bits long.
fn bit(len: u8) -> u128 {
    1_u128.checked_shl(u32::from(len).wrapping_sub(1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_network_counts_while_it_is_good() {
        let mut cache = Cache::new(100);
        let answer = |network: &str, country: &str| Answer {
            country: Country::parse(country),
            network: network.parse().unwrap(),
        };
        let find = |cache: &mut Cache, address: &str, now: u32| {
            let (network, cached) = cache.find(address.parse().unwrap(), Seconds(now))?;
            let said = cached.said(network, address.parse().unwrap());
            Some(format!("{} {:?}", said.network, said.country.map(|country| country.to_string())))
        };
        cache.take_in(answer("1.2.0.0/16", "US"), Seconds(100));
        cache.take_in(answer("1.2.3.0/24", "CU"), Seconds(50));
        cache.take_in(answer("1.2.4.0/25", "DE"), Seconds(100));
        cache.take_in(answer("2a01::/32", "DE"), Seconds(100));
        let asked = |cache: &mut Cache, address, now| find(cache, address, now).unwrap();
        assert_eq!(asked(&mut cache, "1.2.9.9", 1), "1.2.9.0/24 Some(\"US\")");
        assert_eq!(asked(&mut cache, "1.2.3.9", 1), "1.2.3.0/24 Some(\"CU\")");
        assert_eq!(asked(&mut cache, "1.2.4.9", 1), "1.2.4.9/32 Some(\"DE\")");
        assert_eq!(asked(&mut cache, "1.2.4.200", 1), "1.2.4.0/24 Some(\"US\")");
        assert_eq!(asked(&mut cache, "2a01:0:5::1", 1), "2a01:0:5::/48 Some(\"DE\")");
        assert_eq!(find(&mut cache, "1.3.0.0", 1), None);
        assert_eq!(find(&mut cache, "1.2.9.9", 100), None);
        cache.note_failure("9.9.9.9".parse().unwrap(), Seconds(5));
        assert!(cache.find("9.9.9.1".parse().unwrap(), Seconds(4)).unwrap().1.is_failure);
        for number in 0..10_000_u32 {
            cache.note_failure(std::net::Ipv4Addr::from(number << 8).into(), Seconds(9));
            assert!(cache.len() <= 100);
        }
    }
}
