//! Databases in MaxMind's format: which country each address is in.
//!
//! A file is read as a whole and walked once; after that it is not needed any more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

use super::ScreeningError;
use super::judgement::{Code, Country};
use super::ranges::{Range, Ranges};

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is larger than any that there is.
    #[error("it has more than {FILE_BYTES_MAX} bytes")]
    Size,
    /// It is no such file, or damaged.
    #[error("it is no database in MaxMind's format, or damaged")]
    Format(#[from] MaxMindDbError),
    /// More networks than there may be.
    #[error("it has more than {NETWORKS_MAX} networks")]
    Networks,
    /// It is about something else.
    #[error(
        "it says no country of any address (country.iso_code or country_code); its kind is {kind:?}"
    )]
    NoCountry {
        /// What it calls itself.
        kind: String,
    },
}

/// The country of each address as a code: its place and one, or 0 where there is none.
#[derive(Clone, Debug)]
pub(super) struct Countries {
    pub(super) v4: Vec<Range>,
    pub(super) v6: Vec<Range>,
}

/// No country is said.
pub(super) const NO_COUNTRY: Code = Code(0);

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Countries, ScreeningError> {
    let failed = |source| ScreeningError::ReadDatabase { path: path.into(), source };
    let wrong = |source| ScreeningError::Database { path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(wrong(DatabaseError::Size));
    }
    countries(std::fs::read(path).map_err(failed)?).map_err(wrong)
}

/// What the bytes of a file say.
pub(super) fn countries(bytes: Vec<u8>) -> Result<Countries, DatabaseError> {
    let reader = Reader::from_source(bytes)?;
    let (mut v4, mut v6) = (Ranges::default(), Ranges::default());
    v4.push(0, NO_COUNTRY);
    v6.push(0, NO_COUNTRY);
    let mut known: HashMap<usize, Code> = HashMap::new();
    // Those without data as well, so that whatever the tree is like, there is an end. What it says of IPv4 addresses in
    // an IPv6 form (6to4 and others) is left out: those are judged as what they stand for.
    let options = WithinOptions::default().include_networks_without_data();
    for (count, found) in reader.networks(options)?.enumerate() {
        if count == NETWORKS_MAX {
            return Err(DatabaseError::Networks);
        }
        let found = found?;
        let code = match found.offset() {
            None => NO_COUNTRY,
            Some(offset) => match known.get(&offset) {
                Some(code) => *code,
                None => *known.entry(offset).or_insert(code_of(country(&found)?)),
            },
        };
        let network = found.network()?;
        // Behind it nothing is said, unless the next one begins there: some are passed over.
        match network.ip() {
            IpAddr::V4(address) => {
                let start = u32::from(address);
                let last = start | u32::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                v4.push(start.into(), code);
                last.checked_add(1).into_iter().for_each(|next| v4.push(next.into(), NO_COUNTRY));
            }
            // What is said of all addresses below ::/96 is not said of IPv4.
            IpAddr::V6(address) => {
                let start = u128::from(address);
                let last = start | u128::MAX.checked_shr(network.prefix().into()).unwrap_or(0);
                v6.push(start, code);
                last.checked_add(1).into_iter().for_each(|next| v6.push(next, NO_COUNTRY));
            }
        }
    }
    if known.values().all(|code| *code == NO_COUNTRY) {
        let kind = reader.metadata().database_type.clone();
        return Err(DatabaseError::NoCountry { kind });
    }
    Ok(Countries { v4: v4.0, v6: v6.0 })
}

/// The country that a record names, by MaxMind's own keys or by the one of flat files.
fn country<S: AsRef<[u8]>>(
    found: &maxminddb::LookupResult<'_, S>,
) -> Result<Option<Country>, MaxMindDbError> {
    let (country, iso_code) = (PathElement::Key("country"), PathElement::Key("iso_code"));
    let nested = found.decode_path::<&str>(&[country, iso_code]);
    let code = match nested {
        Ok(Some(code)) => Some(code),
        // `country` may be a text there.
        Ok(None) | Err(_) => found.decode_path::<&str>(&[PathElement::Key("country_code")])?,
    };
    let country = code.and_then(Country::parse);
    // How some files say that they do not know.
    Ok(country.filter(|country| !["ZZ", "XX"].contains(&country.to_string().as_str())))
}

fn code_of(country: Option<Country>) -> Code {
    country.map_or(NO_COUNTRY, |country| Code(country.index() as u16 + 1))
}

/// Most bytes of a file: that of all cities has 70 MB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Most networks of a file: that of all cities has some 10 million.
const NETWORKS_MAX: usize = 50_000_000;
