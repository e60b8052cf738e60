//! The replies to a site's updates.

use std::fmt::{self, Write as _};

use shard::InfoHash;
use shard::private::{Freeleech, TorrentId};

use super::Flavour;
use crate::wire::Line;
use crate::wire::http::{Framing, Status, respond};

/// Appends the reply to any update: `success`, and not a byte more.
pub fn write_success(out: &mut Vec<u8>, framing: Framing) {
    respond(out, framing.closing(), Status::Ok, SUCCESS.len(), |out| {
        out.extend_from_slice(SUCCESS)
    });
}

/// Appends the reply to an update that is not in force, or not on the disk: why, with a status that no site takes
/// for success, whether it looks at the status or at what is said.
pub fn write_failure(out: &mut Vec<u8>, framing: Framing, why: &dyn fmt::Display) {
    let body = format!("failure: {why}\n");
    respond(out, framing.closing(), Status::Unavailable, body.len(), |out| {
        out.extend_from_slice(body.as_bytes());
    });
}

/// Appends the reply to [`super::Update::InfoTorrent`]: `success`, or for Orpheus what is known of the
/// torrent as JSON, its hash in hex digits.
pub fn write_info_torrent(
    out: &mut Vec<u8>,
    framing: Framing,
    flavour: Flavour,
    info_hash: InfoHash,
    torrent: Option<(TorrentId, Freeleech)>,
) {
    if flavour == Flavour::Whatcd {
        return write_success(out, framing);
    }
    respond(out, framing.closing(), Status::Json, 80, |out| {
        out.extend_from_slice(b"{\"hash\":\"");
        hex(out, info_hash);
        let rest = match torrent {
            Some((id, freeleech)) => {
                Line::<48>::of(&format_args!("\",\"id\":{},\"free\":{}}}\n", id.0, free(freeleech)))
            }
            None => Line::of(&"\",\"fail\":1}\n"),
        };
        out.extend_from_slice(rest.bytes());
    });
}

/// A torrent's name in hex digits.
pub(super) fn hex(out: &mut Vec<u8>, info_hash: InfoHash) {
    let mut digits = String::with_capacity(40);
    for byte in info_hash.0 {
        write!(digits, "{byte:02x}").expect("a string takes everything");
    }
    out.extend_from_slice(digits.as_bytes());
}

/// A site's number for which transfers count.
pub(super) fn free(freeleech: Freeleech) -> u8 {
    match freeleech {
        Freeleech::None => 0,
        Freeleech::Free => 1,
        Freeleech::Neutral => 2,
    }
}

pub(super) const SUCCESS: &[u8] = b"success";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::Persistence;

    const HASH: InfoHash = InfoHash([0xab; 20]);

    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>, Framing), kind: &str, body: &str) {
        let mut out = Vec::new();
        write(&mut out, Framing { persistence: Persistence::Keep, head_only: false });
        let expected = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn ocelot_5_success_ends_the_reply_and_the_reply_ends_the_connection() {
        check(write_success, "text/plain", "success");
        let mut out = Vec::new();
        write_success(&mut out, Framing::CLOSE);
        let after_last_line = out.rsplit(|&byte| byte == b'\n').next();
        assert_eq!(after_last_line, Some(&b"success"[..]), "as a site reads it");
    }

    #[test]
    fn no_site_takes_a_failure_for_success() {
        let mut out = Vec::new();
        write_failure(&mut out, Framing::CLOSE, &"not on the disk yet");
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{out}");
        assert!(out.ends_with("\r\n\r\nfailure: not on the disk yet\n"), "{out}");
        assert_ne!(out.rsplit('\n').next(), Some("success"));
    }

    #[test]
    fn ocelot_5_info_torrent_of_whatcd_says_success() {
        let write = |out: &mut Vec<u8>, framing| {
            let torrent = Some((TorrentId(7), Freeleech::None));
            write_info_torrent(out, framing, Flavour::Whatcd, HASH, torrent);
        };
        check(write, "text/plain", "success");
    }

    #[test]
    fn ocelot_5_info_torrent_of_orpheus_is_json() {
        let info = |torrent| {
            move |out: &mut Vec<u8>, framing| {
                write_info_torrent(out, framing, Flavour::Orpheus, HASH, torrent);
            }
        };
        let hash = "ab".repeat(20);
        for (freeleech, number) in
            [(Freeleech::None, 0), (Freeleech::Free, 1), (Freeleech::Neutral, 2)]
        {
            let body = format!("{{\"hash\":\"{hash}\",\"id\":4294967295,\"free\":{number}}}\n");
            check(info(Some((TorrentId(u32::MAX), freeleech))), "application/json", &body);
            let json: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(json["free"], number);
        }
        let body = format!("{{\"hash\":\"{hash}\",\"fail\":1}}\n");
        check(info(None), "application/json", &body);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["fail"], 1);
    }
}
