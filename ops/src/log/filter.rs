//! The options of the log: which events, and how they are written.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Which events are logged: a level, and levels of single parts of the program.
#[derive(Clone, PartialEq, Debug)]
pub struct LogFilter(Targets);

/// How an event is written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LogFormat {
    /// A line for people; in colour on a terminal, without a time where the journal adds its own.
    Human,
    /// A JSON object a line, for programs.
    Json,
}

impl LogFilter {
    /// Reads `info` or `info,margay::net=debug,glommio=off`.
    ///
    /// A part without a level is refused, as it would rather be a level that was misspelt.
    pub fn parse(text: &str) -> Option<Self> {
        let mut targets = Targets::new().with_default(LevelFilter::OFF);
        for part in text.split(',') {
            targets = match part.trim().split_once('=') {
                Some(("", _)) => return None,
                Some((target, level)) => targets.with_target(target, level_of(level)?),
                None => targets.with_default(level_of(part.trim())?),
            };
        }
        Some(Self(targets))
    }

    /// The levels, by parts of the program.
    pub fn targets(&self) -> &Targets {
        &self.0
    }
}

// Filters have no order; options need one for their ranges, which a filter never has.
impl PartialOrd for LogFilter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (self == other).then_some(std::cmp::Ordering::Equal)
    }
}

fn level_of(text: &str) -> Option<LevelFilter> {
    match text {
        "off" | "error" | "warn" | "info" | "debug" | "trace" => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_a_level_and_levels_of_parts() {
        let filter = LogFilter::parse("warn,margay::net=debug").unwrap();
        assert!(filter.0.would_enable("margay::server", &Level::WARN));
        assert!(!filter.0.would_enable("margay::server", &Level::INFO));
        assert!(filter.0.would_enable("margay::net::udp", &Level::DEBUG));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for text in ["", "verbose", "INFOO", "info,", "info,net", "=debug", "net=loud", "5"] {
            assert_eq!(LogFilter::parse(text), None, "{text}");
        }
    }
}
