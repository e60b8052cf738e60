//! The limits against floods.

use ops::rates::{Prefixes, Rates};
use ops::service::Service;

use super::Config;

impl Config {
    /// What one of `cores` cores keeps to. Proxies are never limited themselves: those are who come through them.
    pub fn rates(&self, cores: usize) -> Rates {
        let prefixes = Prefixes { v4: self.rate_network_v4 as u8, v6: self.rate_network_v6 as u8 };
        let exempt = [&self.rate_exempt, &self.trusted_proxy].into_iter().flatten().copied();
        Rates::new(self.rate_requests, self.rate_connections, prefixes, exempt.collect(), cores)
    }

    /// What is wrong with the limits together, and which options those are.
    pub fn flood_mistakes(
        &self,
    ) -> impl Iterator<Item = (&'static [&'static str], String)> + use<> {
        let of = |service: &Service| {
            self.shed_above.iter().filter(|bound| bound.service == *service).count()
        };
        let twice = Service::ALL.into_iter().find(|service| of(service) > 1);
        let names: &'static [&'static str] = &["shed-above"];
        twice.map(|service| (names, format!("shed-above bounds {service} twice"))).into_iter()
    }
}
