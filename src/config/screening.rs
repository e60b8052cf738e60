//! What the rules of screening are made of.

use ops::screening::Sources;
use ops::screening::lookups::{self, Provider};

use super::Config;

impl Config {
    /// Where the rules come from; `None` without any.
    pub fn screening(&self) -> Option<Sources> {
        let sources = self.screening_sources();
        (!sources.is_empty()).then_some(sources)
    }

    fn screening_sources(&self) -> Sources {
        Sources {
            deny_countries: self.screen_deny_country.clone(),
            allow_countries: self.screen_allow_country.clone(),
            deny_lists: self.screen_deny_list.clone(),
            allow_lists: self.screen_allow_list.clone(),
            databases: self.screen_database.clone(),
            unknown: self.screen_unknown,
            has_lookups: self.provider().is_some(),
        }
    }

    /// Who is asked for countries that no database names; `None` where nobody is, or there are no rules about countries.
    pub fn lookups(&self) -> Option<Provider> {
        let has_countries =
            !self.screen_deny_country.is_empty() || !self.screen_allow_country.is_empty();
        self.provider().filter(|_| has_countries)
    }

    /// How they are asked.
    pub fn lookup_options(&self) -> Option<lookups::Options> {
        Some(lookups::Options {
            preset: self.screen_dns,
            provider: self.lookups()?,
            servers: self.screen_dns_server.clone(),
            rate: self.screen_dns_rate as u32,
            networks_max: self.screen_dns_networks,
            folder: self.data.clone(),
        })
    }

    fn provider(&self) -> Option<Provider> {
        let provider = Provider {
            zone_v4: self.screen_dns_zone.clone(),
            zone_v6: self.screen_dns_zone_v6.clone(),
            record: self.screen_dns_record,
            field: self.screen_dns_field as u8,
        };
        (provider.zone_v4.is_some() || provider.zone_v6.is_some()).then_some(provider)
    }

    /// What is wrong with the options of screening together, and which ones those are.
    pub fn screening_mistakes(
        &self,
    ) -> impl Iterator<Item = (&'static [&'static str], String)> + use<> {
        let sources = self.screening_sources();
        sources.mistakes()
    }
}
