//! The address of a tracker: what is asked there, and the form of it that may be shown.

use std::fmt::{self, Write as _};

use url::Url;

/// An announce URL that can be asked.
///
/// It is shown (`Display`, `Debug`) without what may be a passkey: of the path only a last `announce` is left.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// How it is asked.
    pub protocol: Protocol,
    /// A name or an address; IPv6 without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// Path and query as they were given, for BEP 41; empty when there is neither.
    pub path: Box<str>,
    url: Box<str>,
}

/// How a tracker is asked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Protocol {
    /// BEP 3.
    Http,
    /// BEP 3 within TLS.
    Https,
    /// BEP 15.
    Udp,
}

/// Why a URL is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoAddress {
    /// It is no URL.
    #[error("not a URL")]
    Malformed,
    /// It is of a kind that is not spoken here, as `ws`.
    #[error("not http, https or udp")]
    Scheme,
    /// There is nobody to ask.
    #[error("no host")]
    Host,
    /// UDP has no port of its own.
    #[error("a UDP tracker needs a port")]
    Port,
    /// It is longer than 2,048 bytes.
    #[error("longer than 2048 bytes")]
    Long,
    /// There were 16,384 others.
    #[error("more than 16384 trackers")]
    Many,
}

impl Address {
    /// Reads an announce URL.
    pub fn parse(text: &str) -> Result<Self, NoAddress> {
        if text.len() > URL_BYTES_MAX {
            return Err(NoAddress::Long);
        }
        let mut url = Url::parse(text.trim()).map_err(|_| NoAddress::Malformed)?;
        url.set_fragment(None);
        let protocol = match url.scheme() {
            "http" => Protocol::Http,
            "https" => Protocol::Https,
            "udp" => Protocol::Udp,
            _ => return Err(NoAddress::Scheme),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(NoAddress::Host)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').into();
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or(NoAddress::Port)?;
        let mut path = url.path().to_owned();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        if path == "/" {
            path.clear();
        }
        Ok(Self { protocol, host, port, path: path.into(), url: url.as_str().into() })
    }

    /// The URL as it is asked over HTTP, with `parameters` behind its own.
    pub fn with(&self, parameters: &str) -> String {
        let joined = match self.url.split_once('?') {
            None => '?',
            Some((_, "")) => return format!("{}{parameters}", self.url),
            Some(_) => '&',
        };
        format!("{}{joined}{parameters}", self.url)
    }

    /// `text` of somebody else without the parts of this address that may be a passkey.
    pub fn redact(&self, text: String) -> String {
        let secrets =
            self.path.split(['/', '?', '&', '=']).filter(|part| part.len() >= SECRET_BYTES_MIN);
        secrets.fold(
            text,
            |text, secret| if text.contains(secret) { text.replace(secret, "…") } else { text },
        )
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.protocol {
            Protocol::Http => "http://",
            Protocol::Https => "https://",
            Protocol::Udp => "udp://",
        })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        let usual = match self.protocol {
            Protocol::Http => Some(80),
            Protocol::Https => Some(443),
            Protocol::Udp => None,
        };
        if usual != Some(self.port) {
            write!(f, ":{}", self.port)?;
        }
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        for part in path.split('/').skip(1) {
            f.write_char('/')?;
            f.write_str(if KNOWN_PARTS.contains(&part) { part } else { "…" })?;
        }
        if query.is_empty() { Ok(()) } else { f.write_str("?…") }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Appends `bytes` as a query has them: letters, digits and `-._~` as they are.
pub(super) fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(*byte as char)
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a String"),
        }
    }
}

const URL_BYTES_MAX: usize = 2_048;
/// Shorter parts are words of every path.
const SECRET_BYTES_MIN: usize = 10;
/// What of a path is shown.
const KNOWN_PARTS: [&str; 3] = ["", "announce", "announce.php"];

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Address::parse(text).unwrap().to_string()
    }

    #[test]
    fn a_passkey_is_never_shown() {
        assert_eq!(
            shown("http://tracker.example/0123456789abcdef/announce"),
            "http://tracker.example/…/announce"
        );
        assert_eq!(
            shown("https://tracker.example/announce/0123"),
            "https://tracker.example/announce/…"
        );
        assert_eq!(
            shown("http://t.example:8080/announce?passkey=01"),
            "http://t.example:8080/announce?…"
        );
        assert_eq!(shown("udp://user:word@[::1]:6969/announce#x"), "udp://[::1]:6969/announce");
        assert_eq!(shown("udp://t.example:6969"), "udp://t.example:6969");
        let address = Address::parse("http://t.example/0123456789abcdef/announce").unwrap();
        assert_eq!(address.redact("no 0123456789abcdef here".into()), "no … here");
        assert!(!format!("{address:?}").contains("0123"));
    }

    #[test]
    fn the_query_is_joined() {
        let with = |text: &str| Address::parse(text).unwrap().with("a=1");
        assert_eq!(with("http://t/announce"), "http://t/announce?a=1");
        assert_eq!(with("http://t/announce?passkey=x"), "http://t/announce?passkey=x&a=1");
        assert_eq!(with("http://t/announce?"), "http://t/announce?a=1");
        assert_eq!(with("http://t"), "http://t/?a=1");
    }

    #[test]
    fn parts_for_udp() {
        let address = Address::parse("udp://[2001:db8::1]:6969/key/announce?x=y").unwrap();
        assert_eq!(
            (&*address.host, address.port, &*address.path),
            ("2001:db8::1", 6969, "/key/announce?x=y")
        );
        assert_eq!(&*Address::parse("udp://t.example:1/").unwrap().path, "");
    }

    #[test]
    fn what_cannot_be_asked_says_why() {
        assert_eq!(Address::parse("nothing"), Err(NoAddress::Malformed));
        assert_eq!(Address::parse("wss://t.example/"), Err(NoAddress::Scheme));
        assert_eq!(Address::parse("udp://t.example/announce"), Err(NoAddress::Port));
        assert_eq!(Address::parse("udp:///announce"), Err(NoAddress::Host));
        assert_eq!(
            Address::parse(&format!("http://t/{}", "x".repeat(2_048))),
            Err(NoAddress::Long)
        );
    }

    #[test]
    fn bytes_are_escaped() {
        let mut out = String::new();
        escape(b"aZ9-._~ \x00\xff+&", &mut out);
        assert_eq!(out, "aZ9-._~%20%00%FF%2B%26");
    }
}
