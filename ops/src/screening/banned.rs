//! Networks that an operator bans while the tracker runs, laid over all other rules.
//!
//! A ban goes before whatever else is said of an address, allow-lists as well: it is what its operator said last, and it
//! ends. So nothing else is looked at while an announce is served than one table.

use std::net::IpAddr;

use ipnet::IpNet;

use super::judgement::{Code, Judgement, Rule, Verdict};
use super::ranges::{Prefix, flatten, overlay};
use super::table::{TableV4, TableV6};
use super::{Table, stands_for};

/// What is said of who is banned.
const BANNED: Judgement = Judgement { verdict: Verdict::Deny, rule: Rule::Ban, country: None };

impl Table {
    /// Everybody is served.
    pub fn open() -> Table {
        let stand_for =
            stands_for::PREFIXES.map(|(start, len)| Prefix { start, len, code: Code::STANDS_FOR });
        let served = [(0, Code::SERVED)];
        let v6 = overlay(&flatten(stand_for.to_vec(), 128), &served);
        Table { v4: TableV4::new(&served), v6: TableV6::new(&v6), of_countries: Default::default() }
    }

    /// These rules, and none of these networks is served.
    pub fn banning(&self, networks: &[IpNet]) -> Table {
        let code = Code::new(BANNED);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            let len = network.prefix_len();
            match network.network() {
                IpAddr::V4(start) => v4.push(Prefix { start: u32::from(start).into(), len, code }),
                IpAddr::V6(start) => v6.push(Prefix { start: start.into(), len, code }),
            }
        }
        Table {
            v4: TableV4::new(&overlay(&flatten(v4, 32), &self.v4.whole())),
            v6: TableV6::new(&overlay(&flatten(v6, 128), &self.v6.whole())),
            of_countries: self.of_countries.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(random: &mut fastrand::Rng) -> IpNet {
        let shape = |random: &mut fastrand::Rng| random.u128(..) & random.u128(..);
        match random.bool() {
            true => {
                let address = (shape(random) as u32).into();
                IpNet::new(IpAddr::V4(address), random.u8(8..=32)).unwrap().trunc()
            }
            false => {
                // Close together, so that some tell addresses of one /64 apart.
                let upper = [0x2001_0db8_u128 << 96, 0x2002 << 112, 1 << 126][random.usize(..3)];
                let address = (upper | shape(random) >> 70 << random.u32(..70)).into();
                IpNet::new(IpAddr::V6(address), random.u8(16..=128)).unwrap().trunc()
            }
        }
    }

    /// The rules of lists that name these, every second one to be served.
    fn of_lists(networks: &[IpNet]) -> Table {
        let judgement = |verdict| Judgement { verdict, rule: Rule::Network, country: None };
        let codes = [Verdict::Deny, Verdict::Allow].map(|verdict| Code::new(judgement(verdict)));
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (network, code) in networks.iter().zip(codes.iter().cycle()) {
            let (len, code) = (network.prefix_len(), *code);
            match network.network() {
                IpAddr::V4(start) => v4.push(Prefix { start: u32::from(start).into(), len, code }),
                IpAddr::V6(start) => v6.push(Prefix { start: start.into(), len, code }),
            }
        }
        let open = Table::open();
        Table {
            v4: TableV4::new(&overlay(&flatten(v4, 32), &open.v4.whole())),
            v6: TableV6::new(&overlay(&flatten(v6, 128), &open.v6.whole())),
            of_countries: Default::default(),
        }
    }

    #[test]
    fn who_is_banned_is_refused_and_of_all_others_is_said_what_was_said_before() {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let many = random.usize(..200);
            let rules: Vec<IpNet> = (0..many).map(|_| network(&mut random)).collect();
            let table = of_lists(&rules);
            let again = table.banning(&[]);
            let bans: Vec<IpNet> = (0..random.usize(..60)).map(|_| network(&mut random)).collect();
            let banning = table.banning(&bans);
            let mut asked: Vec<IpAddr> = Vec::new();
            for network in rules.iter().chain(&bans) {
                for end in [network.network(), network.broadcast()] {
                    let around = |step: i128| match end {
                        IpAddr::V4(end) => {
                            IpAddr::V4((u32::from(end).wrapping_add(step as u32)).into())
                        }
                        IpAddr::V6(end) => {
                            IpAddr::V6((u128::from(end).wrapping_add(step as u128)).into())
                        }
                    };
                    asked.extend([around(-1), end, around(1)]);
                }
            }
            for address in asked {
                assert_eq!(again.judge(address), table.judge(address), "seed {seed}: {address}");
                let is_banned = bans.iter().any(|ban| ban.contains(&address));
                let is_meant = super::super::stands_for(address)
                    .iter()
                    .any(|of| bans.iter().any(|ban| ban.contains(of)));
                let judged = banning.judge(address);
                match (is_banned, is_meant) {
                    (true, _) => assert_eq!(judged, BANNED, "seed {seed}: {address}"),
                    (false, false) => {
                        assert_eq!(judged, table.judge(address), "seed {seed}: {address}")
                    }
                    // A list may name it as it is.
                    (false, true) => {
                        assert!(
                            judged == BANNED
                                || judged.rule == Rule::Network
                                || judged == Judgement::SERVED
                        );
                    }
                }
            }
        }
    }
}
