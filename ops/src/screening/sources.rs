//! Where rules come from, and how they become a table.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::Table;
use super::database::{self, Countries, DatabaseError, NO_COUNTRY};
use super::judgement::{Code, Country, Judgement, Rule, Verdict};
use super::networks::{self, NetworkRule};
use super::ranges::{Prefix, Range, Ranges, flatten, overlay};
use super::stands_for;
use super::table::{TableV4, TableV6};
use crate::watched::{Changed, Watched};

/// What rules are made of, as the options name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// Countries that get nothing.
    pub deny_countries: Vec<Country>,
    /// Countries that alone are served, if there are any.
    pub allow_countries: Vec<Country>,
    /// Lists of networks that get nothing.
    pub deny_lists: Vec<PathBuf>,
    /// Lists of networks that are served, whatever else is said of them.
    pub allow_lists: Vec<PathBuf>,
    /// Databases of countries; of an address the first one that names its country counts.
    pub databases: Vec<PathBuf>,
    /// What happens where there are rules about countries, and no database names one.
    pub unknown: Verdict,
    /// Countries that no database names are looked up.
    pub has_lookups: bool,
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScreeningError {
    /// A list cannot be read.
    #[error("cannot read the list of networks in {}", path.display())]
    ReadList {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line holds something else than a network.
    #[error(
        "{}:{line}: {why}; each line holds a network as 192.0.2.0/24 or 2001:db8::/32, and maybe a remark behind `#`",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// What is wrong with it.
        why: String,
    },
    /// More networks than there may be.
    #[error("with {} the lists have more networks than there may be", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
    /// A database cannot be read.
    #[error("cannot read the database of countries in {}", path.display())]
    ReadDatabase {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is no database that can be used.
    #[error("{} cannot be used as a database of countries", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DatabaseError,
    },
}

/// How much there is of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sizes {
    /// Networks in lists of those that are refused.
    pub denied_networks: usize,
    /// Networks in lists of those that are served.
    pub allowed_networks: usize,
    /// IPv4 ranges of which databases say something else than of the one before.
    pub ranges_v4: usize,
    /// The same of IPv6.
    pub ranges_v6: usize,
}

/// Rules as they were when they were read last.
#[derive(Clone, Debug)]
pub struct Screening {
    /// For those who ask.
    pub table: Arc<Table>,
    /// How much there is of everything.
    pub sizes: Sizes,
    /// All networks of lists, of rules that were read to be explained.
    pub networks: Vec<NetworkRule>,
    watched: Watched,
}

impl Sources {
    /// Whether there is any rule.
    pub fn is_empty(&self) -> bool {
        !self.has_countries() && self.deny_lists.is_empty()
    }

    /// Whether there is any rule about countries.
    pub fn has_countries(&self) -> bool {
        !self.deny_countries.is_empty() || !self.allow_countries.is_empty()
    }

    /// What is wrong with the options together, and which ones those are.
    pub fn mistakes(&self) -> impl Iterator<Item = (&'static [&'static str], String)> + use<> {
        let (deny, allow) = (&self.deny_countries, &self.allow_countries);
        let needs_database = self.has_countries() && self.databases.is_empty() && !self.has_lookups;
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
        let excepts_nothing = !self.allow_lists.is_empty() && self.is_empty();
        let no_rules = excepts_nothing.then(|| {
            let names: &'static [&'static str] = &["screen-allow-list", "screen-deny-list"];
            let text = "screen-allow-list excepts networks from other rules, and there are none; to serve these alone, \
                        name 0.0.0.0/0 and ::/0 in a screen-deny-list";
            (names, text.to_owned())
        });
        [no_database, both, no_rules].into_iter().flatten()
    }

    /// Reads all files and makes the table. With `is_explained` it also knows why somebody is served, which takes more
    /// memory and is for people.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn read(&self, is_explained: bool) -> Result<Screening, ScreeningError> {
        let files = [&self.deny_lists, &self.allow_lists, &self.databases].into_iter().flatten();
        let watched = Watched::now(files);
        let mut networks = Vec::new();
        for path in &self.deny_lists {
            networks::read(path, false, &mut networks)?;
        }
        let denied_networks = networks.len();
        for path in &self.allow_lists {
            networks::read(path, true, &mut networks)?;
        }
        let mut countries: Option<Countries> = None;
        for path in self.databases.iter().filter(|_| self.has_countries()) {
            let next = database::read(path)?;
            countries = Some(match countries {
                None => next,
                Some(before) => before.or(&next),
            });
        }
        let sizes = Sizes {
            denied_networks,
            allowed_networks: networks.len() - denied_networks,
            ranges_v4: countries.as_ref().map_or(0, |countries| countries.v4.len()),
            ranges_v6: countries.as_ref().map_or(0, |countries| countries.v6.len()),
        };
        let nobody = Countries { v4: vec![(0, NO_COUNTRY)], v6: vec![(0, NO_COUNTRY)] };
        let table = self.table(&networks, countries.as_ref().unwrap_or(&nobody), is_explained);
        if !is_explained {
            networks = Vec::new();
        }
        Ok(Screening { table: Arc::new(table), sizes, networks, watched })
    }

    fn table(&self, networks: &[NetworkRule], countries: &Countries, is_explained: bool) -> Table {
        let judged = |ranges: &[Range]| {
            let mut judged = Ranges::default();
            for (start, country) in ranges {
                judged.push(*start, self.code(*country, is_explained));
            }
            judged.0
        };
        let mut prefixes = (Vec::with_capacity(networks.len()), Vec::new());
        let code = |is_allowed: bool| {
            let verdict = if is_allowed { Verdict::Allow } else { Verdict::Deny };
            shown(Judgement { verdict, rule: Rule::Network, country: None }, is_explained)
        };
        // Those that are refused stand first, and so count where both name the same.
        for rule in networks {
            let (len, code) = (rule.network.prefix_len(), code(rule.is_allowed));
            match rule.network {
                IpNet::V4(network) => {
                    let start = u32::from(network.network()).into();
                    prefixes.0.push(Prefix { start, len, code });
                }
                IpNet::V6(network) => {
                    prefixes.1.push(Prefix { start: network.network().into(), len, code });
                }
            }
        }
        // A wider network says nothing of what stands for something else.
        prefixes.1.extend(stands_for::PREFIXES.map(|(start, len)| Prefix {
            start,
            len,
            code: Code::STANDS_FOR,
        }));
        let nearby = |prefixes: &[(u128, u8)], width| {
            let prefix =
                |(start, len): &(u128, u8)| Prefix { start: *start, len: *len, code: Code::SERVED };
            flatten(prefixes.iter().map(prefix).collect(), width)
        };
        let v4 = overlay(&nearby(&NEARBY_V4, 32), &judged(&countries.v4));
        let v4 = overlay(&flatten(prefixes.0, 32), &v4);
        let v6 = overlay(&nearby(&NEARBY_V6, 128), &judged(&countries.v6));
        let v6 = overlay(&flatten(prefixes.1, 128), &v6);
        let countries =
            (0..=Country::COUNT as u16).map(|country| self.code(Code(country), is_explained));
        Table { v4: TableV4::new(&v4), v6: TableV6::new(&v6), of_countries: countries.collect() }
    }

    /// What the rules about countries say of one.
    fn code(&self, country: Code, is_explained: bool) -> Code {
        if !self.has_countries() {
            return Code::SERVED;
        }
        let judgement = match usize::from(country.0).checked_sub(1).map(Country::at) {
            None => {
                let judgement =
                    Judgement { verdict: self.unknown, rule: Rule::Unknown, country: None };
                // Whoever is served meanwhile is looked up.
                return shown(judgement, is_explained || self.has_lookups);
            }
            Some(country) => {
                let is_denied = self.deny_countries.contains(&country)
                    || !self.allow_countries.is_empty() && !self.allow_countries.contains(&country);
                let verdict = if is_denied { Verdict::Deny } else { Verdict::Allow };
                Judgement { verdict, rule: Rule::Country, country: Some(country) }
            }
        };
        shown(judgement, is_explained)
    }
}

/// All who are served are the same where nobody asks why.
fn shown(judgement: Judgement, is_explained: bool) -> Code {
    match judgement.verdict {
        Verdict::Allow if !is_explained => Code::SERVED,
        _ => Code::new(judgement),
    }
}

impl Countries {
    /// Where these say nothing, what the others say.
    fn or(&self, others: &Self) -> Self {
        let lay = |upper: &[Range], lower: &[Range]| {
            let see_through = |(start, code): &Range| match *code {
                NO_COUNTRY => (*start, Code::NOTHING),
                code => (*start, code),
            };
            let upper: Vec<Range> = upper.iter().map(see_through).collect();
            overlay(&upper, lower)
        };
        Self { v4: lay(&self.v4, &others.v4), v6: lay(&self.v6, &others.v6) }
    }
}

impl Screening {
    /// The rule of a list that decides about an address, where one does, of rules that were read to be explained.
    pub fn network_of(&self, address: std::net::IpAddr) -> Option<&NetworkRule> {
        let around = self.networks.iter().filter(|rule| rule.network.contains(&address));
        around.max_by_key(|rule| (rule.network.prefix_len(), !rule.is_allowed))
    }

    /// How the files are now, where one is another one than when they were read.
    pub fn changed(&self) -> Option<Changed> {
        self.watched.changed()
    }
}

/// Addresses that mean something only nearby, and so are in no country: of this host, private, of a carrier, link-local.
const NEARBY_V4: [(u128, u8); 7] = [
    (0x0000_0000, 8),
    (0x0a00_0000, 8),
    (0x6440_0000, 10),
    (0x7f00_0000, 8),
    (0xa9fe_0000, 16),
    (0xac10_0000, 12),
    (0xc0a8_0000, 16),
];

/// The same of IPv6: of this host, unique local, link-local, site-local.
const NEARBY_V6: [(u128, u8); 4] =
    [(1, 128), (0xfc00 << 112, 7), (0xfe80 << 112, 10), (0xfec0 << 112, 10)];
