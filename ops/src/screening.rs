//! Screening: which addresses are served, by network and by country.
//!
//! Rules come from lists of networks, from options that name countries, and from databases that say in which country an
//! address is. They are read by a thread beside the cores and made into one [`Table`], which a core gets behind an `Arc`
//! and only asks for a [`Judgement`]. What goes before what is said in `docs/screening.md`:
//!
//! 1. The network with the longest prefix that a list names, and of two that are the same the one that is refused.
//! 2. Addresses that mean something only nearby are served.
//! 3. The country, by the first database that names one.
//! 4. The same by a DNS provider ([`lookups`]), for addresses whose country no database names.
//! 5. What is to happen where there are rules about countries and none is known.

mod audit;
mod banned;
mod database;
mod gate;
mod judgement;
pub mod lookups;
mod networks;
mod ranges;
mod sources;
mod stands_for;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use judgement::Code;
use table::{TableV4, TableV6};

pub use audit::Audit;
pub use database::DatabaseError;
pub use gate::Gate;
pub use judgement::{Country, Judgement, Rule, Verdict};
pub use networks::NetworkRule;
pub use sources::{Screening, ScreeningError, Sizes, Sources};

/// What the rules say of each address. It does not change; other rules make another one.
#[derive(Clone, Debug)]
pub struct Table {
    v4: TableV4,
    v6: TableV6,
    /// What the rules say of each country, by its place and one, and first of all of those in none.
    of_countries: Box<[Code]>,
}

/// The IPv4 addresses that one stands for, where it is of a form that does.
pub fn stands_for(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(v6) = address else { return Vec::new() };
    let is_in = |(start, len): &(u128, u8)| (u128::from(v6) ^ start) >> (128 - len) == 0;
    if !stands_for::PREFIXES.iter().any(is_in) {
        return Vec::new();
    }
    let mut addresses = stands_for::addresses(v6).map(IpAddr::from).to_vec();
    addresses.dedup();
    addresses
}

/// Reads a network as a list has it: with its prefix, or an address alone.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_network(text: &str) -> Result<IpNet, String> {
    match networks::parse(text.as_bytes())? {
        Some(network) if !text.contains([' ', '#', ';', '\t']) => Ok(network),
        _ => Err(format!("{text:?} is no network")),
    }
}

/// An address as a number, and the only thing that is made of it. An [`IpAddr`] is copied in pieces of four and eight bytes
/// that do not lie where a number's do: to read it as one, from the stack, waits until all looks before are done.
#[inline]
fn whole(address: Ipv6Addr) -> u128 {
    let octets = address.octets();
    let (pieces, _) = octets.as_chunks();
    pieces.iter().fold(0, |whole, piece| whole << 32 | u128::from(u32::from_be_bytes(*piece)))
}

impl Table {
    /// What the rules say of an address. One that stands for IPv4 addresses is judged as those, by the strictest of what
    /// is said of them, unless a list names its own network within the form that it has.
    #[inline]
    pub fn judge(&self, address: IpAddr) -> Judgement {
        match self.find(address) {
            Code::SERVED => Judgement::SERVED,
            code => code.judgement(),
        }
    }

    /// Whether who comes from an address gets nothing. Without a branch on the answer, so that many looks in a row wait
    /// for memory together.
    #[inline]
    pub fn refuses(&self, address: IpAddr) -> bool {
        self.find(address).is_denial()
    }

    #[inline]
    fn find(&self, address: IpAddr) -> Code {
        match address {
            IpAddr::V4(address) => self.v4.find(address.into()),
            IpAddr::V6(address) => {
                let address = whole(address);
                match self.v6.find(address) {
                    Code::STANDS_FOR => self.find_what_it_stands_for(address),
                    code => code,
                }
            }
        }
    }

    #[cold]
    fn find_what_it_stands_for(&self, address: u128) -> Code {
        let [first, second] =
            stands_for::addresses(address.into()).map(|address| self.v4.find(address.into()));
        // Of two as strict the one of which more may be known later.
        let strictness = |code: Code| {
            let judgement = code.judgement();
            (judgement.verdict, judgement.rule == Rule::Unknown)
        };
        if strictness(second) > strictness(first) { second } else { first }
    }

    /// What the rules about countries say of who is in this one; of who is in none, as far as anybody knows.
    pub fn judge_country(&self, country: Option<Country>) -> Judgement {
        self.of_countries[country.map_or(0, |country| country.index() + 1)].judgement()
    }

    /// How much memory it takes.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }
}
