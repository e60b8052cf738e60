//! What the rules of screening are made of.

use ops::screening::Sources;

use super::Config;

impl Config {
    /// Where the rules come from; `None` without any.
    pub fn screening(&self) -> Option<Sources> {
        let countries =
            |countries: &[super::Country]| countries.iter().map(|country| country.0).collect();
        let sources = Sources {
            deny_countries: countries(&self.screen_deny_country),
            allow_countries: countries(&self.screen_allow_country),
            deny_lists: self.screen_deny_list.clone(),
            allow_lists: self.screen_allow_list.clone(),
            databases: self.screen_database.clone(),
            unknown: self.screen_unknown.verdict(),
        };
        (!sources.is_empty()).then_some(sources)
    }
}
