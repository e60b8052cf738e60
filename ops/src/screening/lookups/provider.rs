//! A DNS zone that says the countries of addresses: what it is asked, and how its answers are read.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use super::super::Country;
use super::{network_of, numbers};

/// Zones that are known by a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Preset {
    /// Team Cymru: a text of fields as `"23028 | 216.90.108.0/24 | US | arin | 1998-09-25"`, of both families.
    Cymru,
    /// countries.nerd.dk: an address 127.0.x.y with the number of the country, of IPv4.
    NerdDk,
}

impl Preset {
    /// All names.
    pub const WORDS: &'static [&'static str] = &["cymru", "nerd.dk"];

    /// The one with a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "cymru" => Some(Self::Cymru),
            "nerd.dk" => Some(Self::NerdDk),
            _ => None,
        }
    }

    /// The zone that knows IPv4 addresses.
    pub fn zone_v4(self) -> &'static str {
        match self {
            Self::Cymru => "origin.asn.cymru.com",
            Self::NerdDk => "zz.countries.nerd.dk",
        }
    }

    /// The zone that knows IPv6 addresses.
    pub fn zone_v6(self) -> Option<&'static str> {
        match self {
            Self::Cymru => Some("origin6.asn.cymru.com"),
            Self::NerdDk => None,
        }
    }

    /// The type of its records.
    pub fn record(self) -> RecordKind {
        match self {
            Self::Cymru => RecordKind::Txt,
            Self::NerdDk => RecordKind::A,
        }
    }

    /// Which field of a text is the country, from 1.
    pub fn field(self) -> u8 {
        match self {
            Self::Cymru => 3,
            Self::NerdDk => 1,
        }
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::WORDS[*self as usize])
    }
}

/// The type of the records that say a country.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RecordKind {
    /// A text of fields.
    Txt,
    /// An address 127.0.x.y, whose last two bytes are the number of the country.
    A,
}

impl RecordKind {
    /// All names.
    pub const WORDS: &'static [&'static str] = &["txt", "a"];

    /// The one with a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "txt" => Some(Self::Txt),
            "a" => Some(Self::A),
            _ => None,
        }
    }
}

/// The name of a DNS zone, without a dot at its end.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Zone(String);

impl Zone {
    /// Reads a name: labels of letters, digits, `-` and `_`.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let is_good = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
            (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(is_good)
        };
        let is_name = name.len() <= ZONE_BYTES_MAX && name.split('.').all(is_label);
        is_name.then(|| Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// RFC 1035, 2.3.4.
const LABEL_MAX: usize = 63;

/// A name has 253 bytes at most (RFC 1035), of which an IPv6 address before the zone takes 64.
const ZONE_BYTES_MAX: usize = 253 - 64;

/// Where countries are asked for, and where they stand in an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provider {
    /// The zone that knows IPv4 addresses.
    pub zone_v4: Option<Zone>,
    /// The zone that knows IPv6 addresses.
    pub zone_v6: Option<Zone>,
    /// The type of its records.
    pub record: RecordKind,
    /// Which field of a text is the country, from 1. Fields are parted by `|`, `,` or `;`.
    pub field: u8,
}

/// A line that is another one for each provider that answers otherwise.
impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for zone in [&self.zone_v4, &self.zone_v6] {
            match zone {
                Some(zone) => write!(f, "{zone} ")?,
                None => f.write_str("- ")?,
            }
        }
        match self.record {
            RecordKind::Txt => write!(f, "txt {}", self.field),
            RecordKind::A => f.write_str("a"),
        }
    }
}

/// What was said of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its country; none where there is none, or several are said.
    pub country: Option<Country>,
    /// The network that this is said of; the address is in it.
    pub network: IpNet,
}

/// An answer that says nothing that can be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// Another kind of record, or none.
    #[error("it has no record of the type that was asked for")]
    NoRecord,
    /// A text with too few fields.
    #[error("{0:?} has too few fields")]
    Fields(String),
    /// A field that is no country.
    #[error("{0:?} is no country of two letters")]
    Country(String),
    /// A network in which the address is not.
    #[error("{0} is not a network of the address that was asked for")]
    Network(IpNet),
    /// An address that stands for no country.
    #[error("{0} stands for no country")]
    Address(Ipv4Addr),
}

impl Provider {
    /// What a preset says, as far as nothing else is given; `None` where neither says a zone.
    pub fn of(
        preset: Option<Preset>,
        zones: (Option<Zone>, Option<Zone>),
        record: Option<RecordKind>,
        field: Option<u8>,
    ) -> Option<Self> {
        let zone =
            |given: Option<Zone>, preset: Option<&str>| given.or_else(|| Zone::parse(preset?));
        let provider = Self {
            zone_v4: zone(zones.0, preset.map(Preset::zone_v4)),
            zone_v6: zone(zones.1, preset.and_then(Preset::zone_v6)),
            record: record.unwrap_or(preset.map_or(RecordKind::Txt, Preset::record)),
            field: field.unwrap_or(preset.map_or(1, Preset::field)),
        };
        (provider.zone_v4.is_some() || provider.zone_v6.is_some()).then_some(provider)
    }

    /// The name to ask for, with a dot at its end; `None` where the zones do not know this family.
    pub fn question(&self, address: IpAddr) -> Option<String> {
        Some(match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.{}.", self.zone_v4.as_ref()?)
            }
            IpAddr::V6(address) => {
                let zone = self.zone_v6.as_ref()?;
                let nibbles =
                    address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                let mut name: String = nibbles.map(|nibble| format!("{nibble:x}.")).collect();
                name += &format!("{zone}.");
                name
            }
        })
    }

    /// Reads the texts of an answer about `address`. Of several the one about the longest network counts; where those
    /// say different countries, none is known.
    ///
    /// # Errors
    /// When there is none, or one cannot be understood.
    pub fn read_texts<'t>(
        &self,
        address: IpAddr,
        texts: impl Iterator<Item = &'t str>,
    ) -> Result<Answer, Unreadable> {
        let mut found: Option<Answer> = None;
        for text in texts.take(RECORDS_MAX) {
            let one = self.read_text(address, text)?;
            found = Some(match found {
                Some(before) => stricter(before, one),
                None => one,
            });
        }
        found.ok_or(Unreadable::NoRecord)
    }

    fn read_text(&self, address: IpAddr, text: &str) -> Result<Answer, Unreadable> {
        let short = || text.chars().take(SHOWN_MAX).collect::<String>();
        let fields = || text.split(['|', ',', ';']).map(str::trim).take(FIELDS_MAX);
        let field = fields().nth(usize::from(self.field.max(1)) - 1);
        let field = field.ok_or_else(|| Unreadable::Fields(short()))?;
        let country = match field {
            // How they say that they know none.
            "" | "-" | "ZZ" | "zz" | "XX" | "xx" => None,
            letters => Some(Country::parse(letters).ok_or_else(|| Unreadable::Country(short()))?),
        };
        let named = fields().find_map(|field| field.parse::<IpNet>().ok());
        let network = match named {
            None => network_of(address),
            Some(network) if network.contains(&address) => at_most_so_wide(network, address),
            Some(network) => return Err(Unreadable::Network(network)),
        };
        Ok(Answer { country, network })
    }

    /// Reads the addresses of an answer about `address`, each of which stands for a country.
    ///
    /// # Errors
    /// When there is none, or one cannot be understood.
    pub fn read_addresses(
        &self,
        address: IpAddr,
        said: impl Iterator<Item = Ipv4Addr>,
    ) -> Result<Answer, Unreadable> {
        let network = network_of(address);
        let mut found: Option<Answer> = None;
        for number in said.take(RECORDS_MAX) {
            let [127, 0, upper, lower] = number.octets() else {
                return Err(Unreadable::Address(number));
            };
            let country = numbers::country(u16::from_be_bytes([upper, lower]));
            let one =
                Answer { country: Some(country.ok_or(Unreadable::Address(number))?), network };
            found = Some(found.map_or(one, |before| stricter(before, one)));
        }
        found.ok_or(Unreadable::NoRecord)
    }
}

/// Of two answers the one about the longer network; of two about the same, what both say.
fn stricter(one: Answer, other: Answer) -> Answer {
    match one.network.prefix_len().cmp(&other.network.prefix_len()) {
        std::cmp::Ordering::Greater => one,
        std::cmp::Ordering::Less => other,
        std::cmp::Ordering::Equal if one.country == other.country => one,
        std::cmp::Ordering::Equal => Answer { country: None, ..one },
    }
}

/// A network around an address as wide as an answer may count for: what a wide one has in it may be said to be elsewhere.
fn at_most_so_wide(network: IpNet, address: IpAddr) -> IpNet {
    let len = if address.is_ipv4() { WIDEST_V4 } else { WIDEST_V6 };
    IpNet::new_assert(address, network.prefix_len().max(len)).trunc()
}

const WIDEST_V4: u8 = 16;
const WIDEST_V6: u8 = 32;

/// Records of an answer that are looked at, and fields of a text.
const RECORDS_MAX: usize = 16;
const FIELDS_MAX: usize = 64;

/// Letters of a text that a message shows.
const SHOWN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn cymru() -> Provider {
        let zone = |text: &str| Zone::parse(text);
        Provider {
            zone_v4: zone(Preset::Cymru.zone_v4()),
            zone_v6: zone(Preset::Cymru.zone_v6().unwrap()),
            record: RecordKind::Txt,
            field: 3,
        }
    }

    fn read(address: &str, texts: &[&str]) -> Result<String, Unreadable> {
        let answer = cymru().read_texts(address.parse().unwrap(), texts.iter().copied())?;
        let country = answer.country.map_or("none".to_owned(), |country| country.to_string());
        Ok(format!("{country} {}", answer.network))
    }

    #[test]
    fn questions_name_the_address_backwards() {
        let asked = |address: &str| cymru().question(address.parse().unwrap()).unwrap();
        assert_eq!(asked("216.90.108.31"), "31.108.90.216.origin.asn.cymru.com.");
        assert_eq!(
            asked("2001:4860:b002::68"),
            "8.6.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.b.0.6.8.4.1.0.0.2.origin6.asn.cymru.com."
        );
        let nerd =
            Provider { zone_v4: Zone::parse("zz.countries.nerd.dk."), zone_v6: None, ..cymru() };
        assert_eq!(
            nerd.question("1.2.3.4".parse().unwrap()).unwrap(),
            "4.3.2.1.zz.countries.nerd.dk."
        );
        assert_eq!(nerd.question("2001:db8::1".parse().unwrap()), None);
    }

    #[test]
    fn texts_say_a_country_and_a_network() {
        let one = "23028 | 216.90.108.0/24 | US | arin | 1998-09-25";
        assert_eq!(read("216.90.108.31", &[one]).unwrap(), "US 216.90.108.0/24");
        // The longest network counts; of the same one what all say.
        let wide = "1 2 | 216.90.0.0/17 | CU | arin |";
        assert_eq!(read("216.90.108.31", &[wide, one]).unwrap(), "US 216.90.108.0/24");
        assert_eq!(read("216.90.108.31", &[wide]).unwrap(), "CU 216.90.0.0/17");
        let other = "5 | 216.90.108.0/24 | CU | arin |";
        assert_eq!(read("216.90.108.31", &[one, other]).unwrap(), "none 216.90.108.0/24");
        // A wide one counts for a part of it, and one that is longer than a /24 for itself alone.
        assert_eq!(read("17.1.2.3", &["1 | 17.0.0.0/8 | US | arin |"]).unwrap(), "US 17.1.0.0/16");
        assert_eq!(read("17.1.2.3", &["1 | 17.1.2.0/28 | US | arin |"]).unwrap(), "US 17.1.2.0/28");
        assert_eq!(read("2a01::1", &["1 | 2a01::/20 | DE | ripe |"]).unwrap(), "DE 2a01::/32");
        assert_eq!(read("2a01::1", &["1 | no | de"]).unwrap(), "DE 2a01::/48");
        assert_eq!(read("1.2.3.4", &["1 | 1.2.3.0/24 |  | x"]).unwrap(), "none 1.2.3.0/24");
        for (text, why) in [
            ("", "too few fields"),
            ("1 | 1.2.3.0/24", "too few fields"),
            ("1 | 1.2.3.0/24 | USA", "no country"),
            ("1 | 9.9.9.0/24 | US", "not a network of the address"),
            ("1 | 2001:db8::/32 | US", "not a network of the address"),
        ] {
            assert!(read("1.2.3.4", &[text]).unwrap_err().to_string().contains(why), "{text}");
        }
        assert_eq!(read("1.2.3.4", &[]), Err(Unreadable::NoRecord));
    }

    #[test]
    fn addresses_stand_for_numbers_of_countries() {
        let read = |said: &[[u8; 4]]| {
            let said = said.iter().map(|octets| Ipv4Addr::from(*octets));
            cymru().read_addresses("1.2.3.4".parse().unwrap(), said)
        };
        let cuba = read(&[[127, 0, 0, 192]]).unwrap();
        assert_eq!(
            (cuba.country, cuba.network.to_string().as_str()),
            (Country::parse("CU"), "1.2.3.0/24")
        );
        assert_eq!(read(&[[127, 0, 3, 72]]).unwrap().country, Country::parse("US"));
        assert_eq!(read(&[[127, 0, 3, 72], [127, 0, 0, 192]]).unwrap().country, None);
        assert!(
            read(&[[127, 0, 0, 1]]).is_err()
                && read(&[[10, 0, 0, 192]]).is_err()
                && read(&[]).is_err()
        );
    }

    #[test]
    fn zones_are_names() {
        for text in ["origin.asn.cymru.com", "a", "_x.example."] {
            assert!(Zone::parse(text).is_some(), "{text}");
        }
        for text in ["", ".", "a..b", "a b", "a/b", &"a.".repeat(100), &"a".repeat(64)] {
            assert!(Zone::parse(text).is_none(), "{text}");
        }
    }
}
