//! Values that options of a tracker alone have.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use ops::options::One;

use super::{ConnectionIdKey, SiteUrl};

/// Which of the two families of Ocelot's interface is spoken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum OcelotFlavour {
    /// That of Ocelot 1.0.
    Whatcd,
    /// That of Orpheus' Ocelot 2.
    Orpheus,
}

/// How clients are told that they will not be served.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusals {
    /// By a failure with the reason.
    Failure,
    /// By a success with nobody, a long interval, and the reason as a warning.
    Quiet,
}

/// The header in which trusted proxies say where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
    /// None of them.
    None,
}

/// Where HTTP is answered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HttpAddress {
    /// An address with a port.
    At(SocketAddr),
    /// A Unix socket, by its path.
    Unix(PathBuf),
}

impl HttpAddress {
    /// The address with a port, where it is one.
    pub fn at(&self) -> Option<SocketAddr> {
        match self {
            Self::At(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The rights to a file, as chmod(1) takes them in digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FileMode(pub u32);

/// A path in an address of a Unix socket has so many bytes at most, with the one that ends it (unix(7)).
const UNIX_PATH_MAX: usize = 107;

impl One for HttpAddress {
    const PLACEHOLDER: &'static str = "ADDRESS";
    const HINT: &'static str = "an address with a port such as 0.0.0.0:6969 or [::]:6969, or unix:/PATH with at most 107 letters";

    fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            None => SocketAddr::parse(text).map(Self::At),
            Some(path) => {
                let fits =
                    path.starts_with('/') && path.len() <= UNIX_PATH_MAX && !path.ends_with('/');
                fits.then(|| Self::Unix(path.into()))
            }
        }
    }

    fn advice(text: &str) -> Option<String> {
        SocketAddr::advice(text)
    }
}

impl One for FileMode {
    const PLACEHOLDER: &'static str = "MODE";
    const HINT: &'static str = "the mode of a file such as 0660";

    fn parse(text: &str) -> Option<Self> {
        let is_mode = (3..=4).contains(&text.len()) && (text.len() == 3 || text.starts_with('0'));
        u32::from_str_radix(text, 8).ok().filter(|_| is_mode).map(Self)
    }
}

impl One for ConnectionIdKey {
    const PLACEHOLDER: &'static str = "KEY";
    const HINT: &'static str = "a key of 64 hex digits";

    fn parse(text: &str) -> Option<Self> {
        ConnectionIdKey::from_hex(text)
    }
}

impl One for SiteUrl {
    const PLACEHOLDER: &'static str = "URL";
    const HINT: &'static str = "an address such as http://site.example or http://10.0.0.5:8080/gazelle; \
        TLS is not spoken";

    fn parse(text: &str) -> Option<Self> {
        SiteUrl::parse(text)
    }
}

impl One for OcelotFlavour {
    const PLACEHOLDER: &'static str = "FLAVOUR";
    const HINT: &'static str = "whatcd or orpheus";
    const WORDS: &'static [&'static str] = &["whatcd", "orpheus"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "whatcd" => Some(OcelotFlavour::Whatcd),
            "orpheus" => Some(OcelotFlavour::Orpheus),
            _ => None,
        }
    }
}

impl One for Refusals {
    const PLACEHOLDER: &'static str = "HOW";
    const HINT: &'static str = "failure or quiet";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "failure" => Some(Refusals::Failure),
            "quiet" => Some(Refusals::Quiet),
            _ => None,
        }
    }
}

impl One for ForwardedHeader {
    const PLACEHOLDER: &'static str = "HEADER";
    const HINT: &'static str = "x-forwarded-for, forwarded, x-real-ip or none";
    const WORDS: &'static [&'static str] = &["x-forwarded-for", "forwarded", "x-real-ip", "none"];

    fn parse(text: &str) -> Option<Self> {
        match text {
            "x-forwarded-for" => Some(ForwardedHeader::XForwardedFor),
            "forwarded" => Some(ForwardedHeader::Forwarded),
            "x-real-ip" => Some(ForwardedHeader::XRealIp),
            "none" => Some(ForwardedHeader::None),
            _ => None,
        }
    }
}
