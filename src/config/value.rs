//! Values that options of a tracker alone have.

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
