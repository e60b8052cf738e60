//! What a proxy says in front of what it passes on: the PROXY protocol, in a line (version 1) or in bytes (version 2), and
//! the form that is made for datagrams alone, the "simple" one.
//!
//! Sources: versions 1 and 2, <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>, sections 2.1 and 2.2; the
//! simple one, <https://developers.cloudflare.com/spectrum/reference/simple-proxy-protocol-header>.
//!
//! Strict, as only proxies write it: what is no header is none, and is not guessed at. Its checksum (`PP2_TYPE_CRC32C`) is
//! passed over like everything else behind the addresses, as TCP and UDP have theirs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its line end included (section 2.1).
pub const LINE_BYTES_MAX: usize = 107;

/// Longest header of version 2 that is taken. It may say 65,551 bytes; addresses are 52 of them at most, and what else is
/// known (section 2.2: a name, a certificate's subject, an identifier) takes some hundred.
pub const BYTES_MAX: usize = 2048;

/// The length of a simple header.
pub const SIMPLE_BYTES: usize = 38;

/// A header, or its beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parsed {
    /// The end has not arrived; try again with more bytes.
    Partial,
    /// A whole header.
    Complete {
        /// What it says.
        said: Said,
        /// Its bytes; what is passed on starts there.
        consumed: usize,
    },
}

/// Who a proxy says that it speaks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Said {
    /// This client, with its IPv4 address where it is one in the form of IPv6.
    Client(SocketAddr),
    /// Itself, as in a check of health, or somebody without an address (`LOCAL`, `UNKNOWN`, a unix socket).
    Nobody,
}

/// The header of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Who sent it to the proxy.
    pub said: Said,
    /// The address of the proxy that it was sent to, where the answer has to carry the same header ([`write_simple`]).
    pub echo: Option<SocketAddr>,
    /// The header's bytes; the datagram of the client starts there.
    pub consumed: usize,
}

/// Bytes are no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("It does not begin with a PROXY protocol header")]
pub struct NoHeader;

/// Reads the header, of version 1 or 2, at the start of a connection's `bytes`. Whether it is one shows with the first bytes
/// that differ, and the result does not depend on how they were split.
///
/// # Errors
/// When it does not begin with one.
pub fn parse(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    match bytes.first() {
        None => Ok(Parsed::Partial),
        Some(b'P') => parse_line(bytes),
        Some(_) => parse_bytes(bytes),
    }
}

/// Reads the header, of version 2 or simple, at the start of a datagram.
///
/// # Errors
/// When it does not begin with a whole one.
pub fn parse_datagram(bytes: &[u8]) -> Result<Stamp, NoHeader> {
    if bytes.starts_with(&SIMPLE_MAGIC) {
        return parse_simple(bytes).ok_or(NoHeader);
    }
    match parse_bytes(bytes)? {
        Parsed::Complete { said, consumed } => Ok(Stamp { said, echo: None, consumed }),
        Parsed::Partial => Err(NoHeader),
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443` and a line end.
fn parse_line(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    const BEGIN: &[u8] = b"PROXY ";
    let begin = bytes.len().min(BEGIN.len());
    if bytes[..begin] != BEGIN[..begin] {
        return Err(NoHeader);
    }
    let window = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() < LINE_BYTES_MAX { Ok(Parsed::Partial) } else { Err(NoHeader) };
    };
    let line = window[BEGIN.len()..=end].strip_suffix(b"\r\n").ok_or(NoHeader)?;
    let said = said_in(line).ok_or(NoHeader)?;
    Ok(Parsed::Complete { said, consumed: end + 1 })
}

/// What a line says behind `PROXY `. Whatever stands behind `UNKNOWN` is passed over.
fn said_in(line: &[u8]) -> Option<Said> {
    let mut words = str::from_utf8(line).ok()?.split(' ');
    let is_v4 = match words.next()? {
        "UNKNOWN" => return Some(Said::Nobody),
        "TCP4" => true,
        "TCP6" => false,
        _ => return None,
    };
    let mut address = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        (address.is_ipv4() == is_v4).then_some(address)
    };
    let (source, _) = (address()?, address()?);
    let mut port = || {
        let word = words.next()?;
        let is_number = word.len() <= 5 && word.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| word.parse().ok())?
    };
    let (port, _): (u16, u16) = (port()?, port()?);
    words.next().is_none().then(|| client(source, port))
}

/// Version 2 (section 2.2).
fn parse_bytes(bytes: &[u8]) -> Result<Parsed, NoHeader> {
    let begin = bytes.len().min(SIGNATURE.len());
    if bytes[..begin] != SIGNATURE[..begin] {
        return Err(NoHeader);
    }
    let is_local = match bytes.get(12) {
        None => return Ok(Parsed::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(NoHeader),
    };
    // What addresses it has: the bytes of one, none for those that say nothing here.
    let addresses = match bytes.get(13) {
        None => return Ok(Parsed::Partial),
        // Whatever a proxy says of itself is to be passed over.
        Some(_) if is_local => Addresses::None,
        Some(0x00) => Addresses::None,
        Some(0x11 | 0x12) => Addresses::V4,
        Some(0x21 | 0x22) => Addresses::V6,
        Some(0x31 | 0x32) => Addresses::Unix,
        Some(_) => return Err(NoHeader),
    };
    let Some(length) = bytes.get(14..16) else { return Ok(Parsed::Partial) };
    let consumed = 16 + usize::from(u16::from_be_bytes([length[0], length[1]]));
    if consumed > BYTES_MAX || consumed < 16 + addresses.bytes() {
        return Err(NoHeader);
    }
    let Some(rest) = bytes.get(16..consumed) else { return Ok(Parsed::Partial) };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let said = match addresses {
        Addresses::None | Addresses::Unix => Said::Nobody,
        Addresses::V4 => client(Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]).into(), port(8)),
        Addresses::V6 => client(address_v6(&rest[..16]).into(), port(32)),
    };
    Ok(Parsed::Complete { said, consumed })
}

/// The kinds of addresses in version 2.
#[derive(Clone, Copy)]
enum Addresses {
    None,
    V4,
    V6,
    Unix,
}

impl Addresses {
    /// How many bytes those of both ends take, with their ports.
    fn bytes(self) -> usize {
        match self {
            Addresses::None => 0,
            Addresses::V4 => 12,
            Addresses::V6 => 36,
            Addresses::Unix => 216,
        }
    }
}

fn parse_simple(bytes: &[u8]) -> Option<Stamp> {
    let header = bytes.first_chunk::<SIMPLE_BYTES>()?;
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let said = client(address_v6(&header[2..18]).into(), port(34));
    let echo = SocketAddr::new(address_v6(&header[18..34]).into(), port(36));
    Some(Stamp { said, echo: Some(echo), consumed: SIMPLE_BYTES })
}

/// Writes the simple header of a datagram from `client` to the address `proxy` of a proxy, which answers to it carry too.
pub fn write_simple(out: &mut Vec<u8>, client: SocketAddr, proxy: SocketAddr) {
    let as_v6 = |address: SocketAddr| match address.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    out.extend_from_slice(&SIMPLE_MAGIC);
    out.extend_from_slice(&as_v6(client));
    out.extend_from_slice(&as_v6(proxy));
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&proxy.port().to_be_bytes());
}

fn client(address: IpAddr, port: u16) -> Said {
    Said::Client(SocketAddr::new(address.to_canonical(), port))
}

/// The address in the first 16 of these bytes.
fn address_v6(bytes: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[..16]);
    octets.into()
}

/// How version 2 begins.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// How a simple header begins.
const SIMPLE_MAGIC: [u8; 2] = [0x56, 0xEC];

#[cfg(test)]
mod tests;
