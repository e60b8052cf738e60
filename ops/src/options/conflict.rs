//! What options mean for each other: values that exclude each other, and values that do nothing.

use std::net::SocketAddr;

use super::layers::Setting;
use super::mistake::{Mistake, Origin};

/// Values that are possible alone and not together.
#[derive(Debug)]
pub struct Conflict {
    /// The options; the first that somebody wrote is the place to change.
    pub(super) between: &'static [&'static str],
    text: String,
}

impl Conflict {
    /// A conflict between options, at least one, in words.
    pub fn new(between: &'static [&'static str], text: impl Into<String>) -> Self {
        Self { between, text: text.into() }
    }

    /// The mistake, at the place where one of the options was written.
    pub(super) fn mistake(self, settings: &[Setting]) -> Mistake {
        let of = |name| settings.iter().find(|setting| setting.option.name == name);
        let setting = (self.between.iter().copied().filter_map(of))
            .find(|setting| setting.origin != Origin::Default)
            .or_else(|| of(self.between[0]))
            .expect("a conflict is between options");
        let mistake = setting.origin.mistake(setting.option, "");
        let place = match setting.origin {
            // What nobody wrote is to be written.
            Origin::Default => setting.option.name.to_owned(),
            _ => mistake.place,
        };
        Mistake { place, text: self.text, line: mistake.line }
    }
}

/// Where the option `name` was written; `None` where it has its default.
pub fn written_at(settings: &[Setting], name: &str) -> Option<String> {
    let setting = settings.iter().find(|setting| setting.option.name == name)?;
    (setting.origin != Origin::Default).then(|| setting.origin.place(setting.option))
}

/// A word about the option `name`, with its place; `None` where nobody wrote it.
pub fn word(settings: &[Setting], name: &str, why: &str) -> Option<String> {
    let place = written_at(settings, name)?;
    Some(match place.ends_with(name) || !place.contains(':') {
        true => format!("{place} {why}"),
        false => format!("{place}: {name} {why}"),
    })
}

/// True when the system would not bind both. Port 0 is a free port each time.
pub fn overlap(a: &SocketAddr, b: &SocketAddr) -> bool {
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && same_host
}
