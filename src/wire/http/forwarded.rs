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

/// The proxies' word on where a request came from: `X-Forwarded-For`; without it `Forwarded` (RFC 7239), without both
/// `X-Real-IP`.
#[derive(Clone, Copy)]
pub struct Forwarded<'a> {
    kind: Kind,
    /// The last lines of this header, in their order.
    lines: [&'a [u8]; LINES_MAX],
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Addresses with commas between them, one added by each proxy; or just one.
    List,
    /// Elements with `for=` in them.
    Elements,
}

impl<'a> Forwarded<'a> {
    /// Nothing was said.
    pub const NONE: Forwarded<'static> = Forwarded::new(Kind::List);

    const fn new(kind: Kind) -> Self {
        Self { kind, lines: [&[]; LINES_MAX], count: 0 }
    }

    /// Takes what the headers of `head` say; of a header in more than 8 lines, the last 8. Reads all headers, so a
    /// caller asks only where the connection is a proxy's.
    pub fn of(head: &Head<'a>) -> Self {
        let mut list = Self::new(Kind::List);
        let mut elements = Self::new(Kind::Elements);
        let mut single = Self::new(Kind::List);
        for (name, value) in head.headers() {
            if name.eq_ignore_ascii_case(b"x-forwarded-for") {
                list.add(value);
            } else if name.eq_ignore_ascii_case(b"forwarded") {
                elements.add(value);
            } else if name.eq_ignore_ascii_case(b"x-real-ip") {
                single = Self::new(Kind::List);
                single.add(value);
            }
        }
        [list, elements, single].into_iter().find(|found| found.count > 0).unwrap_or(list)
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
            .filter(|hop| !hop.is_empty())
            .map(move |hop| if kind == Kind::List { Some(hop) } else { element_for(hop) })
    }
}

impl fmt::Debug for Forwarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarded(in {} lines)", self.count)
    }
}

/// The address a request came from: `remote`, the other end of the connection, unless that is a
/// trusted proxy; then what it said, and so on to the left.
///
/// A hop that is no address ends the reading: the request came from the last proxy before it then, as far as anybody
/// can tell. So does the beginning of the list.
pub fn client_address(remote: IpAddr, forwarded: &Forwarded<'_>, trusted: &[IpNet]) -> IpAddr {
    let mut address = remote.to_canonical();
    let mut hops = forwarded.hops();
    while is_trusted(address, trusted) {
        match hops.next().flatten().and_then(hop_address) {
            Some(hop) => address = hop,
            None => break,
        }
    }
    address
}

/// Whether an address is in one of these networks.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
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

/// The value after `for=` in an element of RFC 7239.
fn element_for(element: &[u8]) -> Option<&[u8]> {
    element.split(|&byte| byte == b';').find_map(|pair| {
        let (name, value) = pair.split_at(memchr(b'=', pair)?);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value[1..].trim_ascii())
    })
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
