//! Lists of networks: one a line, as in `192.0.2.0/24`, `2001:db8::/32` or `192.0.2.7`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::ScreeningError;

/// A network of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetworkRule {
    /// The network. An IPv4 network that was written as IPv6 (`::ffff:192.0.2.0/120`) is the IPv4 network.
    pub network: IpNet,
    /// Whether it is served, or refused.
    pub is_allowed: bool,
    /// Its list.
    pub file: Arc<Path>,
    /// Its line, from 1.
    pub line: u32,
}

/// Appends the networks of a list.
pub(super) fn read(
    path: &Path,
    is_allowed: bool,
    networks: &mut Vec<NetworkRule>,
) -> Result<(), ScreeningError> {
    let read = |source| ScreeningError::ReadList { path: path.into(), source };
    let mut list = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(read)?);
    let file: Arc<Path> = path.into();
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        // Bounded, as the file may be something else than a list and have no line ends.
        list.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(read)?;
        if text.is_empty() {
            break;
        }
        let malformed = |why| ScreeningError::Malformed { path: path.into(), line, why };
        if !text.ends_with(b"\n") && text.len() as u64 == LINE_BYTES_MAX {
            return Err(malformed("the line is too long".to_owned()));
        }
        if let Some(network) = parse(&text).map_err(malformed)? {
            if networks.len() == NETWORKS_MAX {
                return Err(ScreeningError::TooMany { path: path.into() });
            }
            networks.push(NetworkRule { network, is_allowed, file: file.clone(), line });
        }
    }
    Ok(())
}

/// Reads a line: a network, or nothing where there is only a remark. What is wrong otherwise.
pub(super) fn parse(line: &[u8]) -> Result<Option<IpNet>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "not a network".to_owned())?.trim();
    // Spamhaus begins its remarks with a semicolon.
    let end = text.find(|letter: char| letter == '#' || letter == ';' || letter.is_whitespace());
    let text = &text[..end.unwrap_or(text.len())];
    if text.is_empty() {
        return match end {
            None | Some(0) => Ok(None),
            Some(_) => Err("not a network".to_owned()),
        };
    }
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => {
            let address = text.parse::<IpAddr>();
            address.map(IpNet::from).map_err(|_| format!("{text:?} is no network"))?
        }
    };
    if network.addr() != network.network() {
        return Err(format!(
            "{text} names an address within its network; is {} meant?",
            network.trunc()
        ));
    }
    Ok(Some(as_v4(network)))
}

/// The IPv4 network, of one that is written as IPv6.
fn as_v4(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(address), Some(len)) => Ipv4Net::new(address, len).map_or(network, IpNet::V4),
        _ => network,
    }
}

/// Most networks of all lists together, some 1 GB of memory while they are read.
const NETWORKS_MAX: usize = 10_000_000;

/// Most bytes of one line; a remark has room.
const LINE_BYTES_MAX: u64 = 4096;

const READ_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_network_or_a_remark() {
        for (line, expected) in [
            ("", None),
            ("  # all of it", None),
            ("; Spamhaus DROP List", None),
            ("192.0.2.0/24\r\n", Some("192.0.2.0/24")),
            ("  192.0.2.7 a host # and why", Some("192.0.2.7/32")),
            ("1.10.16.0/20 ; SBL256894", Some("1.10.16.0/20")),
            ("2001:DB8::/32#x", Some("2001:db8::/32")),
            ("::1", Some("::1/128")),
            ("::ffff:192.0.2.0/120", Some("192.0.2.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
        ] {
            let network = parse(line.as_bytes()).unwrap().map(|network| network.to_string());
            assert_eq!(network.as_deref(), expected, "{line}");
        }
        for wrong in ["192.0.2", "192.0.2.0/33", "192.0.2.1/24", "example.net", "/8", "1.2.3.4-5"] {
            let why = parse(wrong.as_bytes()).unwrap_err();
            assert!(why.contains(wrong), "{why}");
        }
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# two\n10.0.0.0/8\n10.0.0.1/8\n").unwrap();
        let error = read(file.path(), false, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains(":3: ") && error.contains("10.0.0.0/8 meant"), "{error}");
        let zero = read(Path::new("/dev/zero"), false, &mut Vec::new()).unwrap_err();
        assert!(matches!(zero, ScreeningError::Malformed { line: 1, .. }), "{zero}");
        let missing = read(Path::new("/no/such/list"), false, &mut Vec::new()).unwrap_err();
        assert!(matches!(missing, ScreeningError::ReadList { .. }), "{missing}");
    }
}
