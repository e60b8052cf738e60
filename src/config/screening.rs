//! What the rules of screening are made of.

use ops::screening::Sources;

use super::Config;

impl Config {
    /// Where the rules come from; `None` without any.
    pub fn screening(&self) -> Option<Sources> {
        let sources = Sources {
            deny_countries: self.screen_deny_country.clone(),
            allow_countries: self.screen_allow_country.clone(),
            deny_lists: self.screen_deny_list.clone(),
            allow_lists: self.screen_allow_list.clone(),
            databases: self.screen_database.clone(),
            unknown: self.screen_unknown,
        };
        (!sources.is_empty()).then_some(sources)
    }

    /// What is wrong with the options of screening together, and which ones those are.
    pub fn screening_mistakes(
        &self,
    ) -> impl Iterator<Item = (&'static [&'static str], String)> + use<> {
        let (deny, allow) = (&self.screen_deny_country, &self.screen_allow_country);
        let has_countries = !deny.is_empty() || !allow.is_empty();
        let needs_database = has_countries && self.screen_database.is_empty();
        let names: &'static [&'static str] =
            &["screen-deny-country", "screen-allow-country", "screen-database"];
        let no_database = needs_database.then(|| {
            let text = "screen-deny-country and screen-allow-country need a screen-database, which says who is where";
            (names, text.to_owned())
        });
        let both = deny.iter().find(|country| allow.contains(country)).map(|both| {
            let text = format!("{both} is both in screen-deny-country and in screen-allow-country");
            (&names[..2], text)
        });
        let excepts_nothing = !self.screen_allow_list.is_empty()
            && !has_countries
            && self.screen_deny_list.is_empty();
        let no_rules = excepts_nothing.then(|| {
            let names: &'static [&'static str] = &["screen-allow-list", "screen-deny-list"];
            let text = "screen-allow-list excepts networks from other rules, and there are none; to serve these alone, \
                        name 0.0.0.0/0 and ::/0 in a screen-deny-list";
            (names, text.to_owned())
        });
        [no_database, both, no_rules].into_iter().flatten()
    }
}
