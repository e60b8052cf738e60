//! Where a request came from, behind proxies.
//!
//! Anybody can write anything into a request. A proxy's word is as good as the proxy: it wrote only the
//! last address of a list, and only when the connection is its own. So lists are read from the right,
//! and only as long as what was found belongs to a network that is trusted.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use memchr::{memchr, memrchr};

use super::Head;

/// The header in which proxies say where a request came from. They set one kind, and pass the others on as a client wrote
/// them; so one kind is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `X-Forwarded-For`: addresses with commas between them, one added by each proxy.
    XForwardedFor,
    /// `Forwarded` (RFC 7239): elements with `for=` in them, one added by each proxy.
    Forwarded,
    /// `X-Real-IP`: one address, by a proxy that sets it and adds to nothing.
    XRealIp,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Kind::XForwardedFor => b"x-forwarded-for",
            Kind::Forwarded => b"forwarded",
            Kind::XRealIp => b"x-real-ip",
        }
    }
}

/// The proxies' word on where a request came from.
#[derive(Clone, Copy)]
pub struct Forwarded<'a> {
    kind: Kind,
    /// The last lines of this header, in their order.
    lines: [&'a [u8]; LINES_MAX],
    count: usize,
}

impl<'a> Forwarded<'a> {
    /// Takes what the headers of `head` say in this kind; of a header in more than 8 lines, the last 8. Reads all headers,
    /// so a caller asks only where the connection is a proxy's.
    pub fn of(head: &Head<'a>, kind: Kind) -> Self {
        let mut found = Self { kind, lines: [&[]; LINES_MAX], count: 0 };
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(kind.name()) {
                found.add(value);
            }
        }
        found
    }

    /// No proxy has said anything in this header.
    pub fn says_nothing(&self) -> bool {
        self.count == 0
    }

    fn add(&mut self, line: &'a [u8]) {
        if self.count == LINES_MAX {
            self.lines.rotate_left(1);
            self.count -= 1;
        }
        self.lines[self.count] = line;
        self.count += 1;
    }

    /// The addresses from the right, each as it stands there; `None` for one that is not said.
    fn hops(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let (lines, kind) = (self.lines, self.kind);
        (0..self.count)
            .rev()
            .flat_map(move |line| lines[line].rsplit(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .map(move |hop| if kind == Kind::Forwarded { element_for(hop) } else { Some(hop) })
    }
}

impl fmt::Debug for Forwarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(in {} lines)", self.kind, self.count)
    }
}

/// The address a request came from: `remote`, the other end of the connection, unless that is a
/// trusted proxy; then what it said, and so on to the left.
///
/// A hop that is no address ends the reading: the request came from the last proxy before it then, as far as anybody
/// can tell. So does an empty one, which a proxy leaves that does not know, and the beginning of the list.
pub fn client_address(remote: IpAddr, forwarded: &Forwarded<'_>, trusted: &[IpNet]) -> IpAddr {
    let address = remote.to_canonical();
    client_behind(address, is_trusted(address, trusted), forwarded, trusted)
}

/// The same of a request that `remote` has brought, which is a proxy to be believed or not.
pub fn client_behind(
    remote: IpAddr,
    is_proxy: bool,
    forwarded: &Forwarded<'_>,
    trusted: &[IpNet],
) -> IpAddr {
    let (mut address, mut is_proxy) = (remote, is_proxy);
    let mut hops = forwarded.hops();
    while is_proxy {
        match hops.next().flatten().and_then(hop_address) {
            Some(hop) => (address, is_proxy) = (hop, is_trusted(hop, trusted)),
            None => break,
        }
    }
    address
}

/// Whether an address is in one of these networks.
pub fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// An address with or without port, brackets, quotes, or the IPv6 form of an IPv4 address.
fn hop_address(hop: &[u8]) -> Option<IpAddr> {
    let hop = unquoted(hop);
    let address = match *hop {
        [b'[', ref rest @ ..] => {
            let end = memchr(b']', rest)?;
            if !matches!(rest[end + 1..], [] | [b':', ..]) {
                return None;
            }
            &rest[..end]
        }
        // One colon is before a port, several are an IPv6 address.
        _ => match (memchr(b':', hop), memrchr(b':', hop)) {
            (Some(first), Some(last)) if first == last => &hop[..first],
            _ => hop,
        },
    };
    let address: IpAddr = str::from_utf8(address).ok()?.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// The value of `for` in an element of RFC 7239, section 4; `None` where there is none, two, or something that is no pair.
///
/// A list is split at every comma, also at those within quotes: what proxies write is not to depend on quotes that a
/// client has opened to the left of it. So an element may be the end of a quoted text that has a client's words in it
/// (`host="…, for=192.0.2.1"`). It has a quote where none may be then, and is none.
fn element_for(element: &[u8]) -> Option<&[u8]> {
    let mut found = None;
    let mut rest = element;
    loop {
        let (name, after) = rest.split_at(memchr(b'=', rest)?);
        let (value, after) = value(&after[1..])?;
        let name = name.trim_ascii();
        if name.is_empty() || !name.iter().all(|&byte| is_of_token(byte)) {
            return None;
        }
        if name.eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
        match after.trim_ascii_start() {
            [] => return found,
            [b';', more @ ..] => rest = more,
            _ => return None,
        }
        if rest.trim_ascii().is_empty() {
            return found;
        }
    }
}

/// The value at the start of `text`, quoted or not, and what stands behind it. Addresses are taken without quotes, too,
/// though they have letters in them that ask for quotes.
fn value(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let Some((b'"', inside)) = text.split_first() else {
        let is_end = |&byte: &u8| matches!(byte, b';' | b' ' | b'\t');
        let end = text.iter().position(is_end).unwrap_or(text.len());
        let is_sound = |&byte: &u8| is_of_token(byte) || matches!(byte, b'[' | b']' | b':');
        return text[..end].iter().all(is_sound).then(|| text.split_at(end));
    };
    let mut at = 0;
    loop {
        match inside.get(at)? {
            b'"' => return Some((&inside[..at], &inside[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The letters of a token (RFC 9110, section 5.6.2).
fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inside @ .., b'"'] => inside,
        _ => text,
    }
}

/// How many lines of one header are looked at.
const LINES_MAX: usize = 8;

#[cfg(test)]
mod tests;
