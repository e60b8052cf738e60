//! Values that options of the publisher alone have.

use std::cmp::Ordering;

use ops::log::LogFilter;
use ops::options::{Bare, Bytes, One};
use url::Url;

/// A text of one line, not empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Line(pub String);

/// Announce URLs that share a tier (BEP 12); at least one, each `http`, `https` or `udp`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Tier(pub Vec<String>);

/// The URL of a page: `http` or `https`, with a host, without a fragment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WebUrl(pub Url);

/// The URL of a folder: a [`WebUrl`] without a query, whose path ends with `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Folder(pub Url);

/// The URL of a feed and the key it is signed with, `https://host/feed.xml#ed25519=KEY`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SignedFeed {
    /// Where it is, without the fragment.
    pub url: Url,
    /// The key as it was written: 43 characters of base64url (RFC 4648, section 5), which are 32 bytes.
    pub key: String,
}

/// When a published name that was written to in place is published anew.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Overwrite {
    /// When a file was renamed over it, or a done-marker was made after the last write.
    Rename,
    /// When a done-marker was made after the last write.
    Marker,
    /// After a longer time without a change.
    Settle,
}

/// What is held where not everything fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Order {
    /// What was published last.
    Newest,
    /// What was published first.
    Oldest,
    /// What the fewest seed.
    Rarest,
}

/// What fetches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fetcher {
    /// librqbit, within this process.
    Rqbit,
    /// A transmission-daemon on this machine.
    Transmission,
}

/// Bytes in a piece: a power of two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PieceLength(pub u32);

/// Which events are logged.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter(pub LogFilter);

// Filters have no order; options need one for their ranges, which a filter never has.
impl PartialOrd for Filter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.0.partial_cmp(&other.0)
    }
}

impl One for Line {
    const PLACEHOLDER: &'static str = "TEXT";
    const HINT: &'static str = "a text of one line";

    fn parse(text: &str) -> Option<Self> {
        let is_line = !text.is_empty() && !text.contains(char::is_control);
        is_line.then(|| Self(text.to_owned()))
    }
}

impl One for Tier {
    const PLACEHOLDER: &'static str = "URL";
    const HINT: &'static str = "an announce URL such as udp://tracker.example:6969/announce or \
        https://tracker.example/announce, or several with blanks between them";

    fn parse(text: &str) -> Option<Self> {
        let urls: Option<Vec<String>> = text.split_whitespace().map(announce_url).collect();
        urls.filter(|urls| !urls.is_empty()).map(Self)
    }
}

/// The URL as it was written: trackers know it by its letters.
fn announce_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let is_known = match url.scheme() {
        "http" | "https" => true,
        "udp" => url.port().is_some(),
        _ => false,
    };
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    (is_known && has_host && url.fragment().is_none() && text.is_ascii()).then(|| text.to_owned())
}

impl One for WebUrl {
    const PLACEHOLDER: &'static str = "URL";
    const HINT: &'static str =
        "an address such as https://host.example/feed.xml or http://10.0.0.5:6980";

    fn parse(text: &str) -> Option<Self> {
        web_url(text).map(Self)
    }
}

impl One for Folder {
    const PLACEHOLDER: &'static str = "URL";
    const HINT: &'static str =
        "the address of a folder, with a slash at its end, such as https://host.example/files/";

    fn parse(text: &str) -> Option<Self> {
        web_url(text).filter(|url| url.query().is_none() && url.path().ends_with('/')).map(Self)
    }

    fn advice(text: &str) -> Option<String> {
        let slashed = format!("{text}/");
        Self::parse(&slashed).map(|_| format!("; did you mean {slashed}?"))
    }
}

fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    (is_web && url.fragment().is_none()).then_some(url)
}

impl One for SignedFeed {
    const PLACEHOLDER: &'static str = "URL";
    const HINT: &'static str = "a feed's address with its key, https://HOST/feed.xml#ed25519=KEY, as \
        `margay-publish publish key` prints it";

    fn parse(text: &str) -> Option<Self> {
        let (address, key) = text.split_once("#ed25519=")?;
        let url = web_url(address).filter(|url| !url.path().ends_with('/'))?;
        let key = key.strip_suffix('=').unwrap_or(key);
        let is_base64 = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        // The last of 43 characters has four bits of the key, and two that are zero.
        let ends = key.bytes().last().is_some_and(|c| b"AEIMQUYcgkosw048".contains(&c));
        let is_key = key.len() == 43 && key.bytes().all(is_base64) && ends;
        is_key.then(|| Self { url, key: key.to_owned() })
    }

    fn advice(text: &str) -> Option<String> {
        let url = web_url(text)?;
        (!url.path().ends_with('/')).then(|| "; its key is missing".to_owned())
    }
}

impl One for Overwrite {
    const PLACEHOLDER: &'static str = "HOW";
    const HINT: &'static str = "rename, marker or settle";
    const WORDS: &'static [&'static str] = &["rename", "marker", "settle"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "rename" => Some(Overwrite::Rename),
            "marker" => Some(Overwrite::Marker),
            "settle" => Some(Overwrite::Settle),
            _ => None,
        }
    }
}

impl One for Order {
    const PLACEHOLDER: &'static str = "ORDER";
    const HINT: &'static str = "newest, oldest or rarest";
    const WORDS: &'static [&'static str] = &["newest", "oldest", "rarest"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "newest" => Some(Order::Newest),
            "oldest" => Some(Order::Oldest),
            "rarest" => Some(Order::Rarest),
            _ => None,
        }
    }
}

impl One for Fetcher {
    const PLACEHOLDER: &'static str = "ENGINE";
    const HINT: &'static str = "rqbit or transmission";
    const WORDS: &'static [&'static str] = &["rqbit", "transmission"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "rqbit" => Some(Fetcher::Rqbit),
            "transmission" => Some(Fetcher::Transmission),
            _ => None,
        }
    }
}

impl One for PieceLength {
    const PLACEHOLDER: &'static str = "BYTES";
    const HINT: &'static str = "a power of two such as 256KiB, 1MiB or 4MiB";
    const BARE: Bare = Bare::Integer;
    const ABSENT: &'static str = "auto";

    fn parse(text: &str) -> Option<Self> {
        let Bytes(bytes) = Bytes::parse(text)?;
        let bytes = u32::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two());
        bytes.map(Self)
    }
}

impl One for Filter {
    const PLACEHOLDER: &'static str = LogFilter::PLACEHOLDER;
    const HINT: &'static str = "a level (off, error, warn, info, debug, trace) or levels of parts \
        such as info,publish::feed=debug";
    const WORDS: &'static [&'static str] = LogFilter::WORDS;

    fn parse(text: &str) -> Option<Self> {
        LogFilter::parse(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_announce_urls_as_they_were_written() {
        let tier = Tier::parse("udp://t.example:6969  https://t.example/KEY/announce").unwrap();
        assert_eq!(tier.0, ["udp://t.example:6969", "https://t.example/KEY/announce"]);
        assert_eq!(Tier::parse("http://[::1]:6969/announce").unwrap().0.len(), 1);
        for wrong in
            ["", "t.example", "ftp://t.example/", "udp://t.example", "http://", "http://a/#b"]
        {
            assert_eq!(Tier::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_feed_has_its_key() {
        let key = "A".repeat(43);
        let feed = SignedFeed::parse(&format!("https://h.example/feed.xml#ed25519={key}")).unwrap();
        assert_eq!((feed.url.as_str(), &feed.key), ("https://h.example/feed.xml", &key));
        assert!(SignedFeed::parse(&format!("http://h/feed.xml#ed25519={key}=")).is_some());
        for wrong in [
            "https://h.example/feed.xml".to_owned(),
            format!("https://h.example/#ed25519={key}"),
            format!("https://h.example/feed.xml#ed25519={key}A"),
            format!("https://h.example/feed.xml#ed25519={}B", &key[1..]),
            format!("https://h.example/feed.xml#{key}"),
            format!("ftp://h.example/feed.xml#ed25519={key}"),
        ] {
            assert_eq!(SignedFeed::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_folder_ends_with_a_slash_and_a_piece_is_a_power_of_two() {
        assert!(Folder::parse("https://h.example/files/").is_some());
        for wrong in ["https://h.example/files", "https://h.example/files/?a", "files/"] {
            assert_eq!(Folder::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(PieceLength::parse("1MiB"), Some(PieceLength(1 << 20)));
        for wrong in ["0", "3", "1000000", "8GiB"] {
            assert_eq!(PieceLength::parse(wrong), None, "{wrong:?}");
        }
    }
}
