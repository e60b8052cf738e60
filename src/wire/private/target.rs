//! The target of a request to a private tracker: whose passkey, or which secret of the site.

use std::fmt;
use std::hint::black_box;

use memchr::{memchr, memmem};

use super::Refusal;
use crate::wire::http::{self, Head, Malformed, Parsed, parse_head_within};
use crate::wire::{Key, percent, query};

/// Longest head of a site's update, which may name thousands of torrents or passkeys.
pub const UPDATE_BYTES_MAX: usize = 64 * 1024;

/// Reads the head at the start of `bytes`, as [`http::parse_head`] does. Only for who knows the site's
/// password it may be longer than [`http::HEAD_BYTES_MAX`], up to [`UPDATE_BYTES_MAX`].
#[inline]
pub fn parse_head<'a>(
    bytes: &'a [u8],
    seen: usize,
    site_password: Option<&[u8]>,
) -> Result<Parsed<'a>, Malformed> {
    match http::parse_head(bytes, seen) {
        Err(Malformed::TooLarge) if site_password.is_some_and(|secret| updates(bytes, secret)) => {
            parse_head_within(bytes, seen, UPDATE_BYTES_MAX)
        }
        parsed => parsed,
    }
}

/// The target of a request. Prints neither keys nor secrets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// `/<key>/announce`, `/announce/<key>` (also with `.php`), or `/announce`, whose key is in the
    /// query (`passkey=`).
    Announce(Option<Key<'a>>),
    /// The same with `scrape` for `announce`.
    Scrape(Option<Key<'a>>),
    /// `/<site password>/update?…`
    Update(FromSite<'a>),
    /// `/<report password>/report?…`
    Report(FromSite<'a>),
    /// Nothing is asked: no `?` where one should be. A person or a robot looks around.
    Page,
    /// Something is asked that nobody can answer.
    Refused(Refusal<'static>),
}

impl<'a> Target<'a> {
    /// The target of a request of `request_bytes`, its headers included.
    ///
    /// Sites were built against a tracker that goes by the first letter of the word behind the key and
    /// by the length of the word it stands for; so it is here, for words that are not plain. A secret
    /// may contain anything, slashes and question marks too.
    #[inline]
    pub fn of(head: &Head<'a>, request_bytes: usize) -> Self {
        let asks = head.address().len() > head.path.len();
        match head.target() {
            http::Target::Announce(key) if asks => Target::Announce(key),
            http::Target::Scrape(key) if asks => Target::Scrape(key),
            http::Target::Root if !asks => Target::Page,
            http::Target::Root | http::Target::Unknown => Target::odd(head, asks, request_bytes),
            _ => Target::Page,
        }
    }

    #[cold]
    fn odd(head: &Head<'a>, asks: bool, request_bytes: usize) -> Self {
        if let Some(target) = Target::of_site(head.address()) {
            return target;
        }
        let path = head.path.strip_prefix(b"/").unwrap_or(head.path);
        let Some((key, word)) = memchr(b'/', path).map(|at| (&path[..at], &path[at + 1..])) else {
            return Target::short_or_malformed(request_bytes);
        };
        if key.is_empty() || word.contains(&b'/') {
            return Target::short_or_malformed(request_bytes);
        }
        let keyed = |target: fn(Option<Key<'a>>) -> Self| match Key::new(key) {
            Some(key) => target(Some(key)),
            None => Target::Refused(Refusal::PasskeyNotFound),
        };
        match (word, word.len()) {
            _ if !asks => Target::Page,
            ([b'a', ..], 8) => keyed(Target::Announce),
            ([b's', ..], 6) => keyed(Target::Scrape),
            ([b'u', ..], 6) => Target::Update(FromSite { secret: Secret(key), query: head.query }),
            ([b'r', ..], 6) => Target::Report(FromSite { secret: Secret(key), query: head.query }),
            // What such a tracker finds behind a word that it thinks it knows is no question mark.
            ([b'a' | b's' | b'u' | b'r', ..], _) => Target::Page,
            _ => Target::Refused(Refusal::InvalidAction),
        }
    }

    /// The target of a site's own requests: a secret, then the word for it.
    fn of_site(address: &'a [u8]) -> Option<Self> {
        let update = memmem::find(address, UPDATE).map(|at| (at, true));
        let report = memmem::find(address, REPORT).map(|at| (at, false));
        let (at, updates) = match (update, report) {
            (Some(update), Some(report)) => update.min(report),
            (update, report) => update.or(report)?,
        };
        // The address begins with a slash wherever there is a path.
        let secret = Secret(address.get(1..at).filter(|secret| !secret.is_empty())?);
        let word = if updates { UPDATE } else { REPORT };
        let request = FromSite { secret, query: &address[at + word.len()..] };
        Some(if updates { Target::Update(request) } else { Target::Report(request) })
    }

    fn short_or_malformed(request_bytes: usize) -> Self {
        Target::Refused(if request_bytes < REQUEST_BYTES_MIN {
            Refusal::TooShort
        } else {
            Refusal::MalformedAnnounce
        })
    }
}

/// The key in what a UDP announce carries as URL data (BEP 41): in the path as in [`Target`], else in
/// the query (`passkey=`).
pub fn url_data_key(url_data: &[u8]) -> Option<Key<'_>> {
    let in_path = match http::Target::of_url_data(url_data) {
        http::Target::Announce(key) | http::Target::Scrape(key) => key,
        http::Target::Root | http::Target::Unknown => None,
    };
    in_path.or_else(|| {
        let query = &url_data[memchr(b'?', url_data)? + 1..];
        query::pairs(query).find(|(key, _)| *key == b"passkey").and_then(|(_, key)| Key::new(key))
    })
}

/// A request of the site, if its secret is right. `Debug` leaves out what it says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FromSite<'a> {
    /// To be compared.
    pub secret: Secret<'a>,
    /// The part after the `?` behind the word; not always the part after the first one.
    pub query: &'a [u8],
}

impl fmt::Debug for FromSite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromSite")
            .field("secret", &self.secret)
            .field("query_bytes", &self.query.len())
            .finish()
    }
}

/// A secret as it stands in an address: not decoded, any bytes, any length. `Debug` does not print it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(&'a [u8]);

impl Secret<'_> {
    /// Whether it is `expected`, as it stands or percent-encoded; an empty one never is. How long that
    /// takes does not tell how much of it is right.
    pub fn is(self, expected: &[u8]) -> bool {
        let raw = same(self.0.iter().copied(), expected);
        let decoded = same(percent::decoded(self.0), expected);
        !expected.is_empty() & (raw | decoded)
    }
}

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(of {} bytes)", self.0.len())
    }
}

fn same(found: impl Iterator<Item = u8>, expected: &[u8]) -> bool {
    let (mut bytes, mut difference) = (0, 0);
    for byte in found {
        difference |= expected.get(bytes).map_or(1, |expected| byte ^ expected);
        bytes += 1;
        black_box(difference);
    }
    difference == 0 && bytes == expected.len()
}

/// Whether what has come so far begins an update with the right password.
#[cold]
fn updates(bytes: &[u8], site_password: &[u8]) -> bool {
    let window = &bytes[..bytes.len().min(http::HEAD_BYTES_MAX)];
    let Some(line) = window.trim_ascii_start().strip_prefix(b"GET ") else { return false };
    match Target::of_site(line.trim_ascii_start()) {
        Some(Target::Update(request)) => request.secret.is(site_password),
        _ => false,
    }
}

/// No request with a key of 32 characters and what belongs to it is shorter.
const REQUEST_BYTES_MIN: usize = 60;

const UPDATE: &[u8] = b"/update?";
const REPORT: &[u8] = b"/report?";

#[cfg(test)]
mod tests;
