//! `margay screen`: what the rules say of an address, and why.

use std::io::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;
use ops::screening::{self, Rule, Screening, ScreeningError, Table, Verdict};
use persist::bans::{Bans, BansError};
use shard::Seconds;

use crate::api::text::moment;
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
    /// The bans of the data folder cannot be read.
    #[error(transparent)]
    Bans(#[from] BansError),
    /// There are none.
    #[error(
        "there are no rules about addresses: give the tracker's screen-… options and --data here too, or --config with \
         its file"
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
    "data",
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
pub fn run(
    addresses: &[IpAddr],
    config: &Config,
    now: Seconds,
    out: &mut impl Write,
) -> Result<(), ScreenError> {
    if let Some((_, mistake)) = config.screening_mistakes().next() {
        return Err(ScreenError::Options(mistake));
    }
    let bans = Bans::open(&config.data, now)?;
    let rules = config.screening().map(|sources| sources.read(true)).transpose()?;
    if rules.is_none() && bans.is_empty() {
        return Err(ScreenError::NoRules);
    }
    let open = Table::open();
    let table = rules.as_ref().map_or(&open, |rules| &rules.table);
    let networks: Vec<IpNet> = bans.after(None).map(|ban| ban.network).collect();
    let table = table.banning(&networks);
    let mut not_served = 0;
    for address in addresses {
        let address = address.to_canonical();
        let judgement = table.judge(address);
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
            (Rule::Network, _) => rules.as_ref().map_or_else(String::new, |rules| {
                network(rules, address, &stands_for, judgement.verdict)
            }),
            (Rule::Ban, _) => ban(&bans, address, &stands_for),
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

/// Which ban decided.
fn ban(bans: &Bans, address: IpAddr, stands_for: &[IpAddr]) -> String {
    let mut banned = stands_for.iter().chain([&address]);
    match banned.find_map(|address| bans.around(&(*address).into())) {
        None => "banned".to_owned(),
        Some(ban) => {
            let until = ban
                .until
                .map_or("for ever".to_owned(), |until| format!("until {}", moment(until.0.into())));
            format!("banned {until}, network {}, {}", ban.network, ban.reason)
        }
    }
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
