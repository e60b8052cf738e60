//! `margay screen`: what the rules say of an address, and why.

use std::io::{self, Write};
use std::net::IpAddr;

use ops::screening::{self, Rule, Screening, ScreeningError, Verdict};

use crate::config::Config;

/// Why an address is not served.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The rules cannot be used.
    #[error(transparent)]
    Screening(#[from] ScreeningError),
    /// The options do not fit each other.
    #[error("{0}")]
    Options(String),
    /// There are none.
    #[error(
        "there are no rules about addresses: give the tracker's screen-… options here too, or --config with its file"
    )]
    NoRules,
    /// It gets nothing, or nobody for now.
    #[error("{} of {} are not served", .not_served, .all)]
    NotServed {
        /// So many.
        not_served: usize,
        /// Of so many.
        all: usize,
    },
    /// The answer cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

impl ScreenError {
    /// Whether there are no rules to ask by, as something in the options or in the files has to be mended first.
    pub fn is_mistake(&self) -> bool {
        matches!(self, Self::Screening(_) | Self::Options(_) | Self::NoRules)
    }
}

/// Options of the tracker that this command looks at.
pub const OPTIONS: &[&str] = &[
    "config",
    "screen-deny-country",
    "screen-allow-country",
    "screen-deny-list",
    "screen-allow-list",
    "screen-database",
    "screen-unknown",
    "screen-dns",
    "screen-dns-zone",
    "screen-dns-zone-v6",
    "screen-dns-record",
    "screen-dns-field",
];

/// Says of each address what happens to it, a line each.
///
/// # Errors
/// When one is not served, or there are no rules that can be used.
pub fn run(addresses: &[IpAddr], config: &Config, out: &mut impl Write) -> Result<(), ScreenError> {
    if let Some((_, mistake)) = config.screening_mistakes().next() {
        return Err(ScreenError::Options(mistake));
    }
    let sources = config.screening().ok_or(ScreenError::NoRules)?;
    let rules = sources.read(true)?;
    let mut not_served = 0;
    for address in addresses {
        let address = address.to_canonical();
        let judgement = rules.table.judge(address);
        let what = match judgement.verdict {
            Verdict::Allow => "served",
            Verdict::Deny => "denied",
            Verdict::Defer => "deferred",
        };
        not_served += usize::from(judgement.verdict != Verdict::Allow);
        let stands_for = screening::stands_for(address);
        let of = match &stands_for[..] {
            [] => String::new(),
            others => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                format!(" (stands for {})", others.join(" and "))
            }
        };
        let why = match (judgement.rule, judgement.country) {
            (Rule::None, _) => "no rule is about it".to_owned(),
            (Rule::Network, _) => network(&rules, address, &stands_for, judgement.verdict),
            (Rule::Country, Some(country)) => format!("its country is {country}"),
            (Rule::Country | Rule::Unknown, _) => match question(config, address, &stands_for) {
                Some(name) => format!("no database names its country, the tracker looks {name} up"),
                None => "no database names its country".to_owned(),
            },
        };
        writeln!(out, "{address}{of}: {what}: {why}")?;
    }
    match not_served {
        0 => Ok(()),
        not_served => Err(ScreenError::NotServed { not_served, all: addresses.len() }),
    }
}

/// The name in the DNS that says the country of an address.
fn question(config: &Config, address: IpAddr, stands_for: &[IpAddr]) -> Option<String> {
    let address = stands_for.first().copied().unwrap_or(address);
    config.lookups()?.question(address)
}

/// Which network of a list decided.
fn network(rules: &Screening, address: IpAddr, stands_for: &[IpAddr], verdict: Verdict) -> String {
    let named =
        stands_for.iter().chain([&address]).filter_map(|address| rules.network_of(*address));
    let decided = |rule: &&screening::NetworkRule| rule.is_allowed == (verdict == Verdict::Allow);
    match named.filter(decided).max_by_key(|rule| rule.network.prefix_len()) {
        Some(rule) => {
            format!("network {}, {} line {}", rule.network, rule.file.display(), rule.line)
        }
        None => "a network of a list".to_owned(),
    }
}
