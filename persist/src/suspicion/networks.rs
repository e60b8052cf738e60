//! The networks that a user's clients announce from.

use std::collections::HashMap;

use shard::Seconds;
use shard::private::{Fact, UserId};

use super::{AT_ONCE, Forgetting};

/// The networks of each user in the last hour.
#[derive(Debug, Default)]
pub(super) struct Networks {
    users: HashMap<UserId, Vec<(Network, Seconds)>>,
    forgetting: Forgetting,
}

/// A network as providers give them to one customer or one place: /24 over IPv4, /48 over IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Network {
    V4([u8; 3]),
    V6([u8; 6]),
}

/// Networks remembered of a user; there are thresholds above it, but no reason for one.
const NETWORKS_MAX: usize = 256;

impl Networks {
    /// Takes in a fact; when it comes from another network, from how many the user's clients came in the
    /// last hour. A client with both families came from one place and counts once.
    pub(super) fn hear(&mut self, fact: &Fact) -> Option<u32> {
        if self.forgetting.is_due() {
            self.users.retain(|_, networks| {
                networks.iter().any(|(_, at)| fact.at.since(*at).0 < AT_ONCE)
            });
        }
        let network = match (fact.endpoints.address_v4(), fact.endpoints.address_v6()) {
            (Some(v4), _) => {
                let [a, b, c, _] = v4.octets();
                Network::V4([a, b, c])
            }
            (None, Some(v6)) => {
                let [a, b, c, d, e, f, ..] = v6.octets();
                Network::V6([a, b, c, d, e, f])
            }
            (None, None) => return None,
        };
        let networks = self.users.entry(fact.user).or_default();
        networks.retain(|(_, at)| fact.at.since(*at).0 < AT_ONCE);
        if let Some((_, at)) = networks.iter_mut().find(|(known, _)| *known == network) {
            *at = fact.at;
            return None;
        }
        if networks.len() < NETWORKS_MAX {
            networks.push((network, fact.at));
        }
        Some(networks.len() as u32)
    }
}
