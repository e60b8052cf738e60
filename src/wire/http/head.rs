//! The head of a request: request line and headers (RFC 9112, sections 2 to 5).
//!
//! Lenient where a client may be odd and nothing is at stake: any number of headers in any case, a
//! bare LF for CRLF, no Host, raw bytes in the target (an infohash that was not escaped may even
//! contain a space), empty lines before the request. Strict about what ends a request, so that
//! pipelined requests stay apart.

use std::fmt;

use memchr::{memchr, memrchr};

use super::Target;
use super::reply::{Framing, Persistence};

/// Longest head taken, request line and headers together.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// The method of a request that is taken here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    /// Answered.
    Get,
    /// Answered without the body.
    Head,
}

/// A request without its body. The slices are parts of the received bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// GET or HEAD.
    pub method: Method,
    /// The target's path, not decoded; it may contain a passkey and so is never logged.
    pub path: &'a [u8],
    /// The part after the first `?`, not decoded; empty when there is none. Never logged.
    pub query: &'a [u8],
    /// The connection's fate after the reply. A request with a body closes it: the body is not read.
    pub persistence: Persistence,
    /// Path and query together, with the `?` between them.
    address: &'a [u8],
    headers: Headers<'a>,
}

/// How far a head has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed<'a> {
    /// The end has not arrived; try again with more bytes.
    Partial,
    /// A whole head.
    Complete {
        /// The head.
        head: Head<'a>,
        /// Bytes it took, empty lines before it included; the next request starts there.
        consumed: usize,
    },
}

/// Why bytes are no request; the text is for the client. The connection is to be closed after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// No end within [`HEAD_BYTES_MAX`].
    #[error("Request is larger than 8 KiB")]
    TooLarge,
    /// Neither GET nor HEAD.
    #[error("Request is neither GET nor HEAD")]
    Method,
    /// The request line does not end in `HTTP/1.x`.
    #[error("Request is not HTTP/1.0 or HTTP/1.1")]
    Version,
    /// The target is neither a path nor an http address.
    #[error("Request has no valid target")]
    Target,
}

/// Reads the head at the start of `bytes`. `seen` of them were already there when the last call said
/// [`Parsed::Partial`] (0 on the first call), so that a client which sends byte by byte costs no
/// more than its bytes.
///
/// A request line that cannot be answered is refused as soon as it shows. The result does not depend
/// on how the bytes were split.
#[inline]
pub fn parse_head(bytes: &[u8], seen: usize) -> Result<Parsed<'_>, Malformed> {
    parse_head_within(bytes, seen, HEAD_BYTES_MAX)
}

/// [`parse_head`] with another bound than [`HEAD_BYTES_MAX`].
#[inline]
pub(in crate::wire) fn parse_head_within(
    bytes: &[u8],
    seen: usize,
    bytes_max: usize,
) -> Result<Parsed<'_>, Malformed> {
    let window = &bytes[..bytes.len().min(bytes_max)];
    let full = window.len() == bytes_max;
    let partial = if full { Err(Malformed::TooLarge) } else { Ok(Parsed::Partial) };
    let start = window.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let Some(start) = start else { return partial };
    let rest = &window[start..];

    let Some((method, rest)) = method(rest)? else { return partial };
    let Some(line_end) = memchr(b'\n', rest) else { return partial };
    let (target, keeps_by_default) = target(trim_cr(&rest[..line_end]))?;
    let address = address(target)?;
    let (path, query) = match memchr(b'?', address) {
        Some(at) => (&address[..at], &address[at + 1..]),
        None => (address, &[][..]),
    };

    // The LF that ended the request line stays, so that an empty line after it is found as well.
    let lines = &rest[line_end..];
    let lines_at = window.len() - lines.len();
    if seen > 0 && !has_end(&window[lines_at.max(seen.saturating_sub(2)).min(window.len())..]) {
        return partial;
    }
    let Some((headers, consumed, facts)) = headers(lines) else { return partial };
    let persistence = match facts {
        Facts { body: true, .. } => Persistence::CloseLate,
        Facts { close: true, .. } => Persistence::Close,
        _ if keeps_by_default => Persistence::Keep,
        Facts { keep: true, .. } => Persistence::KeepNamed,
        _ => Persistence::Close,
    };
    let head = Head { method, path, query, persistence, address, headers };
    Ok(Parsed::Complete { head, consumed: lines_at + consumed })
}

impl<'a> Head<'a> {
    /// The page the request is for.
    #[inline]
    pub fn target(&self) -> Target<'a> {
        Target::of(self.path)
    }

    /// How the reply to this request is framed.
    #[inline]
    pub fn framing(&self) -> Framing {
        Framing { persistence: self.persistence, head_only: self.method == Method::Head }
    }

    /// Path and query as they stand in the request, not decoded and never logged.
    pub(in crate::wire) fn address(&self) -> &'a [u8] {
        self.address
    }

    /// All headers, in order.
    pub fn headers(&self) -> Headers<'a> {
        self.headers
    }

    /// The value of the first header called `name`, in any case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
            .next()
    }

    /// Whether the client takes a body that is packed with gzip (RFC 9110, section 12.5.3): it has to
    /// name it, and not with the weight 0.
    pub fn accepts_gzip(&self) -> bool {
        self.headers
            .filter(|(name, _)| name.eq_ignore_ascii_case(b"accept-encoding"))
            .flat_map(|(_, value)| value.split(|&byte| byte == b','))
            .any(|coding| {
                let mut parts = coding.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
                let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
                named && !parts.any(is_weight_0)
            })
    }

    /// The value of the last header called `name`: the one the nearest proxy added.
    pub fn last_header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
            .last()
    }
}

impl fmt::Debug for Head<'_> {
    /// Leaves out path, query and headers, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head")
            .field("method", &self.method)
            .field("path_bytes", &self.path.len())
            .field("query_bytes", &self.query.len())
            .field("persistence", &self.persistence)
            .finish_non_exhaustive()
    }
}

/// Iterates over names and values of headers, without the space after a name and around a value. A
/// line that starts with a space goes on from the one before and is left out, as is one without a
/// colon.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    rest: &'a [u8],
}

impl fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headers(in {} bytes)", self.rest.len())
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let end = memchr(b'\n', self.rest).map_or(self.rest.len(), |at| at + 1);
            let (line, rest) = self.rest.split_at(end);
            self.rest = rest;
            let folded = matches!(line.first(), Some(b' ' | b'\t'));
            if !folded && let Some(colon) = memchr(b':', line) {
                return Some((line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii()));
            }
        }
        None
    }
}

/// The headers' word on the connection.
#[derive(Clone, Copy, Default)]
struct Facts {
    close: bool,
    keep: bool,
    body: bool,
}

impl Facts {
    #[inline]
    fn learn(&mut self, line: &[u8]) {
        // Few headers start with these two letters, so most lines cost one comparison.
        if !matches!(line.first(), Some(b'C' | b'c' | b'T' | b't')) {
            return;
        }
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = (line[..colon].trim_ascii_end(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"connection") {
            for token in value.split(|&byte| byte == b',') {
                let token = token.trim_ascii();
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.body |= value.is_empty() || value.iter().any(|&digit| digit != b'0');
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.body = true;
        }
    }
}

/// The method, and what comes after it and its space; `None` while that has not arrived.
#[inline]
fn method(bytes: &[u8]) -> Result<Option<(Method, &[u8])>, Malformed> {
    if let Some(rest) = bytes.strip_prefix(b"GET ") {
        return Ok(Some((Method::Get, rest)));
    }
    if let Some(rest) = bytes.strip_prefix(b"HEAD ") {
        return Ok(Some((Method::Head, rest)));
    }
    let coming = b"GET ".starts_with(bytes) || b"HEAD ".starts_with(bytes);
    if coming { Ok(None) } else { Err(Malformed::Method) }
}

/// The target of a request line after its method, and whether its version keeps connections open
/// by default. The version is what follows the last space.
#[inline]
fn target(line: &[u8]) -> Result<(&[u8], bool), Malformed> {
    if let Some(target) = line.strip_suffix(b" HTTP/1.1") {
        return Ok((target, true));
    }
    if let Some(target) = line.strip_suffix(b" HTTP/1.0") {
        return Ok((target, false));
    }
    let line = line.trim_ascii_end();
    let space = memrchr(b' ', line).ok_or(Malformed::Version)?;
    match &line[space + 1..] {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => {
            Ok((&line[..space], *minor != b'0'))
        }
        _ => Err(Malformed::Version),
    }
}

/// Path and query of a target in origin or absolute form (RFC 9112, section 3.2), still together.
#[inline]
fn address(target: &[u8]) -> Result<&[u8], Malformed> {
    let target = target.trim_ascii_start();
    if target.starts_with(b"/") { Ok(target) } else { after_authority(target) }
}

/// The rest of the target after `http://host:port`.
#[cold]
fn after_authority(target: &[u8]) -> Result<&[u8], Malformed> {
    let scheme = [&b"http://"[..], b"https://"].into_iter().find(|scheme| {
        target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let rest = &target[scheme.ok_or(Malformed::Target)?.len()..];
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    Ok(&rest[end..])
}

/// `q=0`, `q=0.0` and their kind.
fn is_weight_0(parameter: &[u8]) -> bool {
    let weight = parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="));
    weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
}

/// Whether an empty line ends in `bytes`.
fn has_end(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes)
        .any(|at| matches!(&bytes[at + 1..], [b'\n', ..] | [b'\r', b'\n', ..]))
}

/// The headers in `lines`, which begins with the LF of the request line: the headers themselves, how
/// many bytes they take with the empty line, and what they say. `None` while the end is missing.
#[inline]
fn headers(lines: &[u8]) -> Option<(Headers<'_>, usize, Facts)> {
    let mut facts = Facts::default();
    let mut at = 1;
    loop {
        let line = &lines[at..];
        match line {
            [b'\n', ..] => return Some((Headers { rest: &lines[1..at] }, at + 1, facts)),
            [b'\r', b'\n', ..] => return Some((Headers { rest: &lines[1..at] }, at + 2, facts)),
            _ => {}
        }
        let end = memchr(b'\n', line)?;
        facts.learn(&line[..end]);
        at += end + 1;
    }
}

#[inline]
fn trim_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests;
