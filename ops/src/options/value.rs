//! How values are written: durations, counts, sizes, shares, addresses, files.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::Secret;
use crate::log::{LogFilter, LogFormat};
use crate::rates::Rate;
use crate::screening::lookups::{Preset, RecordKind, Zone};
use crate::screening::{Country, Verdict};
use crate::service::{Bound, Service};

/// A size in bytes, written `4096`, `512KiB` or `1MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub usize);

/// A name of lower-case letters, digits and `_`, beginning with a letter; at most 63 bytes, as PostgreSQL takes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name(pub String);

/// The duration that a text such as `90s`, `48h` or `1h30m` says.
pub fn duration(text: &str) -> Option<Duration> {
    One::parse(text)
}

/// How an option is written.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The word that stands for the value in help: `DURATION`.
    pub placeholder: &'static str,
    /// The kind of a value, with an article and an example.
    pub hint: &'static str,
    /// Which TOML values stand without quotes.
    pub bare: Bare,
    /// It can be given several times.
    pub many: bool,
    /// The word for no value, where there may be none.
    pub absent: Option<&'static str>,
    /// Words that a shell can offer; empty where there are none.
    pub words: &'static [&'static str],
}

/// Which TOML values an option takes beside a string.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bare {
    /// None.
    Nothing,
    /// Whole numbers.
    Integer,
    /// All numbers.
    Number,
    /// And no string, as there is nothing else to say.
    Boolean,
}

/// The least and the greatest value, as they would be written; `None` for any.
pub type Range = Option<(&'static str, &'static str)>;

/// The field of an option: one value, maybe one, or several.
pub trait Value: Sized {
    /// How it is written.
    const SHAPE: Shape;

    /// Reads what was written; the error says what is wrong with it, without naming the option.
    fn read(texts: &[String], range: Range) -> Result<Self, String>;
}

/// A single value.
pub trait One: Sized + PartialOrd {
    /// The word that stands for it in help: `DURATION`.
    const PLACEHOLDER: &'static str;
    /// What it is, with an article and an example.
    const HINT: &'static str;
    /// Which TOML values stand without quotes.
    const BARE: Bare = Bare::Nothing;
    /// The word for no value, where there may be none.
    const ABSENT: &'static str = "none";
    /// Words that a shell can offer; empty where there are none.
    const WORDS: &'static [&'static str] = &[];

    /// Reads a text without white space around it.
    fn parse(text: &str) -> Option<Self>;

    /// True for a text that stands for no value.
    fn is_absent(text: &str) -> bool {
        text == Self::ABSENT
    }

    /// The advice for a text that cannot be read: what was probably meant.
    fn advice(_text: &str) -> Option<String> {
        None
    }

    /// Reads one text and holds it against its range.
    fn within(text: &str, range: Range) -> Result<Self, String> {
        let value = Self::parse(text.trim()).ok_or_else(|| {
            let advice = Self::advice(text.trim()).unwrap_or_default();
            format!("{text:?} is not {}{advice}", Self::HINT)
        })?;
        if let Some((low, high)) = range {
            let bound = |text| Self::parse(text).expect("the declared range can be read");
            if value < bound(low) || value > bound(high) {
                return Err(format!("{text} is out of range; it may be from {low} to {high}"));
            }
        }
        Ok(value)
    }

    /// The shape of an option that takes one.
    const SHAPE_OF_ONE: Shape = Shape {
        placeholder: Self::PLACEHOLDER,
        hint: Self::HINT,
        bare: Self::BARE,
        many: false,
        absent: None,
        words: Self::WORDS,
    };
}

impl<T: One> Value for T {
    const SHAPE: Shape = T::SHAPE_OF_ONE;

    fn read(texts: &[String], range: Range) -> Result<Self, String> {
        match texts {
            [text] => T::within(text, range),
            _ => Err(format!("takes one value, not {}", texts.len())),
        }
    }
}

impl<T: One> Value for Option<T> {
    const SHAPE: Shape = Shape { absent: Some(T::ABSENT), ..T::SHAPE_OF_ONE };

    fn read(texts: &[String], range: Range) -> Result<Self, String> {
        match texts {
            [text] if T::is_absent(text.trim()) => Ok(None),
            [text] => T::within(text, range)
                .map(Some)
                .map_err(|wrong| format!("{wrong}, or `{}`", T::ABSENT)),
            _ => Err(format!("takes one value, not {}", texts.len())),
        }
    }
}

impl<T: One> Value for Vec<T> {
    const SHAPE: Shape = Shape { many: true, absent: Some("none"), ..T::SHAPE_OF_ONE };

    fn read(texts: &[String], range: Range) -> Result<Self, String> {
        match texts {
            [text] if text.trim() == "none" => Ok(Vec::new()),
            texts if texts.iter().any(|text| text.trim() == "none") => {
                Err("`none` stands alone".to_owned())
            }
            texts => texts.iter().map(|text| T::within(text, range)).collect(),
        }
    }
}

impl One for bool {
    const PLACEHOLDER: &'static str = "BOOL";
    const HINT: &'static str = "true or false";
    const WORDS: &'static [&'static str] = &["true", "false"];
    const BARE: Bare = Bare::Boolean;

    fn parse(text: &str) -> Option<Self> {
        match text {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        }
    }
}

impl One for usize {
    const PLACEHOLDER: &'static str = "NUMBER";
    const HINT: &'static str = "a whole number such as 5000, 20k or 10M";
    const BARE: Bare = Bare::Integer;
    const ABSENT: &'static str = "all";

    fn parse(text: &str) -> Option<Self> {
        let (number, suffix) = split(text)?;
        let unit: u64 = match suffix {
            "" => 1,
            "k" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            _ => return None,
        };
        number.checked_mul(unit)?.try_into().ok()
    }
}

impl One for u16 {
    const PLACEHOLDER: &'static str = "NUMBER";
    const HINT: &'static str = "a whole number such as 50";
    const BARE: Bare = Bare::Integer;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl One for Bytes {
    const PLACEHOLDER: &'static str = "BYTES";
    const HINT: &'static str = "a size such as 4096, 512KiB or 1MiB";
    const BARE: Bare = Bare::Integer;

    fn parse(text: &str) -> Option<Self> {
        let (number, suffix) = split(text)?;
        let unit: u64 = match suffix {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(unit)?.try_into().ok().map(Bytes)
    }
}

impl One for f64 {
    const PLACEHOLDER: &'static str = "SHARE";
    const HINT: &'static str = "a share such as 10% or 0.1";
    const BARE: Bare = Bare::Number;

    fn parse(text: &str) -> Option<Self> {
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        share.is_finite().then_some(share)
    }
}

impl One for Duration {
    const PLACEHOLDER: &'static str = "DURATION";
    const HINT: &'static str = "a duration such as 90s, 30m or 1h30m; a number alone is seconds";
    const BARE: Bare = Bare::Integer;
    const ABSENT: &'static str = "off";

    fn parse(text: &str) -> Option<Self> {
        let (seconds, "") = split(text)? else {
            return parts(text);
        };
        Some(Duration::from_secs(seconds))
    }

    fn is_absent(text: &str) -> bool {
        text == Self::ABSENT || Self::parse(text) == Some(Duration::ZERO)
    }
}

impl One for SocketAddr {
    const PLACEHOLDER: &'static str = "ADDR";
    const HINT: &'static str = "an address with a port such as 0.0.0.0:6969 or [::]:6969";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn advice(text: &str) -> Option<String> {
        let port: u16 = text.trim_start_matches('*').trim_start_matches(':').parse().ok()?;
        Some(format!("; on all addresses that is 0.0.0.0:{port} and [::]:{port}"))
    }
}

impl One for IpNet {
    const PLACEHOLDER: &'static str = "NETWORK";
    const HINT: &'static str = "a network such as 10.0.0.0/8 or fd00::/8";

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl One for PathBuf {
    const PLACEHOLDER: &'static str = "PATH";
    const HINT: &'static str = "a path";

    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }
}

impl One for Secret {
    const PLACEHOLDER: &'static str = "SECRET";
    const HINT: &'static str = "a secret text";

    fn parse(text: &str) -> Option<Self> {
        Secret::new(text)
    }
}

impl One for Name {
    const PLACEHOLDER: &'static str = "NAME";
    const HINT: &'static str = "a name of lower-case letters, digits and _ such as margay";

    fn parse(text: &str) -> Option<Self> {
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
        let begins = text.bytes().next().is_some_and(|c| c.is_ascii_lowercase());
        (begins && text.len() <= 63 && text.bytes().all(is_name)).then(|| Self(text.to_owned()))
    }
}

impl One for Verdict {
    const PLACEHOLDER: &'static str = "WHAT";
    const HINT: &'static str = "allow, deny or defer";
    const WORDS: &'static [&'static str] = &["allow", "deny", "defer"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "allow" => Some(Verdict::Allow),
            "deny" => Some(Verdict::Deny),
            "defer" => Some(Verdict::Defer),
            _ => None,
        }
    }
}

impl One for Country {
    const PLACEHOLDER: &'static str = "COUNTRY";
    const HINT: &'static str = "a country of two letters such as CU (ISO 3166-1)";

    fn parse(text: &str) -> Option<Self> {
        Country::parse(text)
    }
}

impl One for Preset {
    const PLACEHOLDER: &'static str = "WHO";
    const HINT: &'static str = "cymru or nerd.dk";
    const WORDS: &'static [&'static str] = Self::WORDS;

    fn parse(text: &str) -> Option<Self> {
        Preset::parse(text)
    }
}

impl One for Zone {
    const PLACEHOLDER: &'static str = "ZONE";
    const HINT: &'static str = "a DNS zone such as origin.asn.cymru.com";

    fn parse(text: &str) -> Option<Self> {
        Zone::parse(text)
    }
}

impl One for RecordKind {
    const PLACEHOLDER: &'static str = "TYPE";
    const HINT: &'static str = "txt or a";
    const WORDS: &'static [&'static str] = Self::WORDS;

    fn parse(text: &str) -> Option<Self> {
        RecordKind::parse(text)
    }
}

impl One for Rate {
    const PLACEHOLDER: &'static str = "RATE";
    const HINT: &'static str =
        "a rate such as 5/s, 300/m or 5/s:50, where a second's worth or more may come at once";

    fn parse(text: &str) -> Option<Self> {
        Rate::parse(text)
    }
}

impl One for Bound {
    const PLACEHOLDER: &'static str = "SERVICE=NUMBER";
    const HINT: &'static str =
        "a service and its requests a second such as udp4=20000, http6=2k or https4=500";

    fn parse(text: &str) -> Option<Self> {
        let (service, number) = text.split_once('=')?;
        let per_second = usize::parse(number).filter(|number| *number > 0)?;
        Some(Bound { service: Service::parse(service)?, per_second })
    }
}

impl One for LogFilter {
    const PLACEHOLDER: &'static str = "FILTER";
    const HINT: &'static str = "a level (off, error, warn, info, debug, trace) or levels of parts \
        such as info,margay::net=debug";
    const WORDS: &'static [&'static str] = &["off", "error", "warn", "info", "debug", "trace"];

    fn parse(text: &str) -> Option<Self> {
        LogFilter::parse(text)
    }
}

impl One for LogFormat {
    const PLACEHOLDER: &'static str = "FORMAT";
    const HINT: &'static str = "human or json";
    const WORDS: &'static [&'static str] = &["human", "json"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        }
    }
}

/// A duration for the reader, as `One::parse` would read it: `1h30m`.
pub fn written(duration: Duration) -> String {
    let mut text = String::new();
    let mut rest = duration.as_millis();
    for (suffix, unit) in UNITS {
        if rest >= unit {
            text += &format!("{}{suffix}", rest / unit);
            rest %= unit;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// The sum of parts such as `1h` and `30m`.
fn parts(mut text: &str) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    while !text.is_empty() {
        let (number, rest) = split(text)?;
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (_, millis) = UNITS.into_iter().find(|(suffix, _)| *suffix == &rest[..end])?;
        let millis = number.checked_mul(millis.try_into().ok()?)?;
        sum = sum.checked_add(Duration::from_millis(millis))?;
        text = &rest[end..];
    }
    Some(sum)
}

/// A number and what follows it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// Units of durations in milliseconds, the largest first.
const UNITS: [(&str, u128); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_the_way_people_say_them() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1d", 86_400), ("0", 0)]
        {
            assert_eq!(Duration::parse(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(Duration::parse("100ms"), Some(Duration::from_millis(100)));
        for text in [
            "",
            "m",
            "1x",
            "1h30",
            "-1s",
            "1.5h",
            "1 h",
            "99999999999999999999",
            "9999999999999999d",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
        for text in ["1h30m", "90s", "2d", "1s500ms", "0s"] {
            let duration = Duration::parse(text).unwrap();
            assert_eq!(Duration::parse(&written(duration)), Some(duration), "{text}");
        }
        assert_eq!(written(Duration::from_secs(5400)), "1h30m");
    }

    #[test]
    fn counts_sizes_and_shares_have_their_suffixes() {
        assert_eq!(usize::parse("20k"), Some(20_000));
        assert_eq!(usize::parse("10M"), Some(10_000_000));
        assert_eq!(usize::parse("1MiB"), None);
        assert_eq!(usize::parse("99999999999G"), None);
        assert_eq!(Bytes::parse("1MiB"), Some(Bytes(1 << 20)));
        assert_eq!(Bytes::parse("4096"), Some(Bytes(4096)));
        assert_eq!(Bytes::parse("1M"), None);
        assert_eq!(f64::parse("10%"), Some(0.1));
        assert_eq!(f64::parse("0.7"), Some(0.7));
        assert_eq!(f64::parse("NaN"), None);
    }

    #[test]
    fn none_empties_a_list_and_stands_alone() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Vec::<SocketAddr>::read(&texts, None)
        };
        assert_eq!(read(&["none"]), Ok(Vec::new()));
        assert_eq!(read(&[]), Ok(Vec::new()));
        assert_eq!(read(&["127.0.0.1:1", "[::1]:2"]).unwrap().len(), 2);
        assert!(read(&["none", "127.0.0.1:1"]).unwrap_err().contains("stands alone"));
    }

    #[test]
    fn zero_switches_an_optional_duration_off() {
        let read = |text: &str| Option::<Duration>::read(&[text.to_owned()], Some(("1s", "24h")));
        assert_eq!(read("off"), Ok(None));
        assert_eq!(read("0"), Ok(None));
        assert_eq!(read("5m"), Ok(Some(Duration::from_secs(300))));
        assert!(read("2d").unwrap_err().contains("from 1s to 24h"));
    }
}
