//! The program behind a peer id, for people to read.

use std::fmt::Write;

/// The name and version that a peer id tells (BEP 20), such as `qBittorrent 4.5.2`; the printable part of
/// it when the program is not known. At most [`BYTES_MAX`] bytes, letters that are in any database.
pub fn client_name(peer_id: &[u8; 20]) -> String {
    let mut name = azureus(peer_id)
        .or_else(|| aria2(peer_id))
        .or_else(|| mainline(peer_id))
        .unwrap_or_else(|| {
            let printable = |byte: &&u8| byte.is_ascii_graphic();
            peer_id[..8].iter().take_while(printable).map(|byte| char::from(*byte)).collect()
        });
    name.truncate(BYTES_MAX);
    name
}

/// `-XX1234-`: two letters of the program, four digits of the version.
fn azureus(peer_id: &[u8; 20]) -> Option<String> {
    let [b'-', a, b, version @ .., b'-'] = peer_id.first_chunk::<8>()? else { return None };
    let program = [*a, *b];
    let version: &[u8; 4] = version;
    if !program.iter().chain(version).all(u8::is_ascii_graphic) {
        return None;
    }
    let Some((_, name)) = PROGRAMS.iter().find(|(code, _)| **code == program) else {
        return Some(peer_id[1..7].iter().map(|byte| char::from(*byte)).collect());
    };
    let mut text = format!("{name} ");
    let digits: Option<Vec<u32>> =
        version.iter().map(|byte| char::from(*byte).to_digit(36)).collect();
    match digits.as_deref() {
        // Until version 3 the second part had two digits.
        Some(&[major, minor, more, _]) if program == *b"TR" && major < 4 => {
            let _ = write!(text, "{major}.{minor}{more}");
        }
        Some(&[a, b, c, 0]) => {
            let _ = write!(text, "{a}.{b}.{c}");
        }
        Some(&[a, b, c, d]) => {
            let _ = write!(text, "{a}.{b}.{c}.{d}");
        }
        _ => text.extend(version.iter().map(|byte| char::from(*byte))),
    }
    Some(text)
}

/// `A2-1-36-0-`: the parts of the version between hyphens.
fn aria2(peer_id: &[u8; 20]) -> Option<String> {
    Some(format!("aria2 {}", hyphened(peer_id.strip_prefix(b"A2-")?)?))
}

/// `M7-9-2--`: the program that BitTorrent began with.
fn mainline(peer_id: &[u8; 20]) -> Option<String> {
    Some(format!("BitTorrent {}", hyphened(peer_id.strip_prefix(b"M")?)?))
}

/// Three numbers that end with hyphens, with dots between them.
fn hyphened(bytes: &[u8]) -> Option<String> {
    let mut parts = bytes.split(|byte| *byte == b'-');
    let mut next = || {
        let part = parts.next()?;
        let number = (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
        number.then(|| str::from_utf8(part).ok()).flatten()
    };
    Some(format!("{}.{}.{}", next()?, next()?, next()?))
}

const BYTES_MAX: usize = 51;

const PROGRAMS: [(&[u8; 2], &str); 24] = [
    (b"7T", "aTorrent"),
    (b"AZ", "Vuze"),
    (b"BC", "BitComet"),
    (b"BI", "BiglyBT"),
    (b"BT", "BitTorrent"),
    (b"DE", "Deluge"),
    (b"FD", "Free Download Manager"),
    (b"FL", "Flud"),
    (b"KT", "KTorrent"),
    (b"LT", "libtorrent"),
    (b"PI", "PicoTorrent"),
    (b"RT", "Retriever"),
    (b"SD", "Thunder"),
    (b"TL", "Tribler"),
    (b"TR", "Transmission"),
    (b"TX", "Tixati"),
    (b"UM", "uTorrent Mac"),
    (b"UT", "uTorrent"),
    (b"WD", "WebTorrent Desktop"),
    (b"WW", "WebTorrent"),
    (b"XL", "Xunlei"),
    (b"lt", "rTorrent"),
    (b"qB", "qBittorrent"),
    (b"tT", "tTorrent"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_ids_tell_their_program() {
        for (start, name) in [
            ("-qB4520-", "qBittorrent 4.5.2"),
            ("-TR2940-", "Transmission 2.94"),
            ("-TR4060-", "Transmission 4.0.6"),
            ("-DE13F0-", "Deluge 1.3.15"),
            ("-UT355W-", "uTorrent 3.5.5.32"),
            ("-LT20B0-", "libtorrent 2.0.11"),
            ("-ZZ1234-", "ZZ1234"),
            ("A2-1-36-0-", "aria2 1.36.0"),
            ("M7-9-2--", "BitTorrent 7.9.2"),
            ("Mxyz", "Mxyz"),
            ("exbc\0\u{1}", "exbc"),
            ("", ""),
        ] {
            let mut peer_id = [0; 20];
            peer_id[..start.len()].copy_from_slice(start.as_bytes());
            assert_eq!(client_name(&peer_id), name, "{start:?}");
        }
    }
}
