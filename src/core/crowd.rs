//! Whether most announces come from one private address. Then something in front of the tracker hides who announces: a
//! proxy that is not named, or a container network that rewrites addresses. All clients look like one there, and whoever
//! is told of them is told an address where nobody is.

use std::net::IpAddr;

use ops::log::Daily;
use shard::{Scope, Seconds};

/// Looks at the addresses that announces come from. It keeps one of them: if more than half of all announces have the same
/// address, it is left at the end (the majority vote of Boyer and Moore).
#[derive(Debug)]
pub struct Crowd {
    address: IpAddr,
    /// Announces for it, less those against it.
    votes: u32,
    /// Announces from it since it is kept; a lower bound.
    same: u32,
    all: u32,
    began: Option<Seconds>,
    found: Option<(IpAddr, u8)>,
}

/// For how long announces are looked at before it is said what they are, when they are not [`ENOUGH`] before.
const WINDOW: Seconds = Seconds(300);

/// Announces that say something after such a time.
const FEW: u32 = 20;

/// Announces that say something at once.
const ENOUGH: u32 = 1000;

/// The share of them, in percent, that one address has for good reason at most.
const SHARE_MAX: u64 = 50;

/// Of all cores.
static SAID: Daily = Daily::new();

impl Default for Crowd {
    fn default() -> Self {
        let address = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
        Self { address, votes: 0, same: 0, all: 0, began: None, found: None }
    }
}

impl Crowd {
    /// An announce from this address. Beyond [`ENOUGH`] there is nothing more to learn until the next look, and a busy core
    /// pays for a comparison of numbers alone.
    #[inline]
    pub fn note(&mut self, address: IpAddr) {
        if self.all >= ENOUGH {
            return;
        }
        self.all += 1;
        if address == self.address {
            self.votes += 1;
            self.same += 1;
        } else if self.votes == 0 {
            (self.address, self.votes, self.same) = (address, 1, 1);
        } else {
            self.votes -= 1;
        }
    }

    /// Looks whether it is time to say something, once a second; the private address that most announces came from when
    /// that was the case last, with their share in percent.
    pub fn look(&mut self, now: Seconds) -> Option<(IpAddr, u8)> {
        let began = *self.began.get_or_insert(now);
        if self.all < ENOUGH && (self.all < FEW || now.since(began) < WINDOW) {
            return self.found;
        }
        let share = u64::from(self.same) * 100 / u64::from(self.all);
        // Any port but 0 does; the scope is that of the address.
        let hides = share > SHARE_MAX && Scope::of_peer(self.address, 1) != Scope::Public;
        let found = hides.then_some((self.address, share as u8));
        *self = Self { began: Some(now), found, ..Self::default() };
        if let Some((address, percent)) = found
            && SAID.is_due()
        {
            tracing::warn!(
                %address,
                percent,
                "most announces come from one private address: a proxy or a container network in front of the \
                 tracker hides who announces, and peers are told an address where nobody is; name the proxy in \
                 trusted-proxy, or let connections in as they are (docs/proxies.md)"
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found of so many announces from each address, taken in turns.
    #[track_caller]
    fn check(announces: &[(&str, usize)], after: u32, found: Option<(&str, u8)>) {
        let mut crowd = Crowd::default();
        crowd.look(Seconds(10));
        let most = announces.iter().map(|(_, times)| *times).max().unwrap_or(0);
        for turn in 0..most {
            for (address, _) in announces.iter().filter(|(_, times)| turn < *times) {
                crowd.note(address.parse().unwrap());
            }
        }
        let found = found.map(|(address, share)| (address.parse().unwrap(), share));
        assert_eq!(crowd.look(Seconds(10 + after)), found, "{announces:?}");
    }

    #[test]
    fn one_private_address_for_most_is_said() {
        check(&[("172.17.0.1", 20)], 300, Some(("172.17.0.1", 100)));
        check(&[("172.17.0.1", 19)], 300, None);
        check(&[("172.17.0.1", 999)], 299, None);
        check(&[("172.17.0.1", 1000)], 0, Some(("172.17.0.1", 100)));
        check(&[("127.0.0.1", 15), ("192.0.2.1", 5)], 300, Some(("127.0.0.1", 75)));
        check(&[("fd00::1", 30), ("fd00::2", 1)], 300, Some(("fd00::1", 96)));
    }

    #[test]
    fn many_addresses_and_public_ones_are_no_crowd() {
        check(&[], 300, None);
        check(&[("203.0.114.7", 1000)], 300, None);
        check(&[("172.17.0.1", 10), ("203.0.114.7", 10)], 300, None);
        check(&[("10.0.0.1", 500), ("10.0.0.2", 500), ("10.0.0.3", 500)], 300, None);
    }

    #[test]
    fn it_is_forgotten_when_others_come() {
        let mut crowd = Crowd::default();
        (0..1000).for_each(|_| crowd.note([10, 0, 0, 1].into()));
        assert!(crowd.look(Seconds(1)).is_some());
        assert!(crowd.look(Seconds(2)).is_some());
        (0..2000_u32)
            .for_each(|number| crowd.note(IpAddr::from((0x0B00_0000 + number).to_be_bytes())));
        assert_eq!(crowd.look(Seconds(3)), None);
    }
}
