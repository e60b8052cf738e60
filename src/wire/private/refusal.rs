//! Why a private tracker does not answer: texts that sites and client tools match, kept to the letter.

use std::fmt;

use shard::Seconds;

use crate::wire::http::Malformed;

/// When a client that was refused comes back, as sites are used to.
pub const FAILURE_INTERVAL: Seconds = Seconds(5400);

/// When one comes back whose torrent the site may be about to register.
pub const SOON: Seconds = Seconds(60);

/// The warning to a client whose address is none: it is answered, and handed to nobody.
pub const ILLEGAL_ADDRESS: &str = "Illegal character found in IP address. IPv6 is not supported";

/// A refusal; its text is for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal<'a> {
    /// Too few bytes for any request with a passkey.
    TooShort,
    /// Too many bytes.
    TooLong,
    /// The address has no passkey, or the query two infohashes.
    MalformedAnnounce,
    /// The request line is none.
    MalformedHttp,
    /// The tracker is about to stop, or has not all it needs.
    Unavailable,
    /// A query for something that nobody knows.
    InvalidAction,
    /// Not the secret of the site.
    AuthenticationFailure,
    /// No user has this passkey.
    PasskeyNotFound,
    /// The torrent is not registered.
    Unregistered {
        /// Why not any more, where the site said so.
        reason: Option<&'a str>,
    },
    /// The client wants its peers in another form.
    NoCompact,
    /// The peer id is missing.
    NoPeerId,
    /// The peer id is not 20 bytes long.
    InvalidPeerId,
    /// The port is no number, or too large.
    InvalidPort,
    /// The rules refuse this program.
    ClientRefused,
    /// The user may not download.
    LeechingForbidden,
}

impl Refusal<'_> {
    /// The text without the reason of [`Refusal::Unregistered`].
    fn text(&self) -> &'static str {
        match self {
            Refusal::TooShort => "GET string too short",
            Refusal::TooLong => "GET string too long",
            Refusal::MalformedAnnounce => "Malformed announce",
            Refusal::MalformedHttp => "Malformed HTTP request",
            Refusal::Unavailable => "The tracker is temporarily unavailable.",
            Refusal::InvalidAction => "Invalid action",
            Refusal::AuthenticationFailure => "Authentication failure",
            Refusal::PasskeyNotFound => "Passkey not found",
            Refusal::Unregistered { .. } => "Unregistered torrent",
            Refusal::NoCompact => "Your client does not support compact announces",
            Refusal::NoPeerId => "No peer ID",
            Refusal::InvalidPeerId => "Invalid peer ID",
            Refusal::InvalidPort => "Invalid port",
            Refusal::ClientRefused => "Your client is not on the whitelist",
            Refusal::LeechingForbidden => "Access denied, leeching forbidden",
        }
    }
}

impl fmt::Display for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            Refusal::Unregistered { reason: Some(reason) } => write!(f, ": {reason}"),
            _ => Ok(()),
        }
    }
}

impl From<Malformed> for Refusal<'_> {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooLarge => Refusal::TooLong,
            Malformed::Method | Malformed::Version | Malformed::Target => Refusal::MalformedHttp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::udp;

    #[test]
    fn ocelot_2_every_failure_text() {
        for (refusal, text) in [
            (Refusal::TooShort, "GET string too short"),
            (Refusal::TooLong, "GET string too long"),
            (Refusal::MalformedAnnounce, "Malformed announce"),
            (Refusal::MalformedHttp, "Malformed HTTP request"),
            (Refusal::Unavailable, "The tracker is temporarily unavailable."),
            (Refusal::InvalidAction, "Invalid action"),
            (Refusal::AuthenticationFailure, "Authentication failure"),
            (Refusal::PasskeyNotFound, "Passkey not found"),
            (Refusal::Unregistered { reason: None }, "Unregistered torrent"),
            (Refusal::Unregistered { reason: Some("Dupe") }, "Unregistered torrent: Dupe"),
            (Refusal::Unregistered { reason: Some("") }, "Unregistered torrent: "),
            (Refusal::NoCompact, "Your client does not support compact announces"),
            (Refusal::NoPeerId, "No peer ID"),
            (Refusal::InvalidPeerId, "Invalid peer ID"),
            (Refusal::InvalidPort, "Invalid port"),
            (Refusal::ClientRefused, "Your client is not on the whitelist"),
            (Refusal::LeechingForbidden, "Access denied, leeching forbidden"),
        ] {
            assert_eq!(refusal.to_string(), text);
            assert!(text.len() <= udp::ERROR_TEXT_BYTES_MAX, "fits a datagram: {text}");
        }
        let warning = "Illegal character found in IP address. IPv6 is not supported";
        assert_eq!(ILLEGAL_ADDRESS, warning);
    }

    #[test]
    fn c5_a_refusal_over_udp_is_an_error_with_the_same_text() {
        let mut out = Vec::new();
        let refusal = Refusal::Unregistered { reason: Some("Specifically Banned") };
        udp::write_error(&mut out, udp::Transaction([1, 2, 3, 4]), &refusal);
        assert_eq!(out, b"\0\0\0\x03\x01\x02\x03\x04Unregistered torrent: Specifically Banned");
    }

    #[test]
    fn ocelot_2_what_is_no_request_has_its_text_too() {
        assert_eq!(Refusal::from(Malformed::TooLarge), Refusal::TooLong);
        for malformed in [Malformed::Version, Malformed::Target, Malformed::Method] {
            assert_eq!(Refusal::from(malformed), Refusal::MalformedHttp);
        }
    }
}
