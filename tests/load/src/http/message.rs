//! Announces over HTTP (BEP 3, 23): requests written, replies read.

use std::io::Write as _;

use crate::udp::packet::{Announce, Event};

/// Whether the connection is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// The tracker closes it after the reply.
    Close,
    /// Another request follows.
    Keep,
}

/// Appends an announce as a client sends it: every byte of the hash percent-encoded, compact form. With a
/// passkey in the path and a key, as private trackers want them.
pub(crate) fn write_announce(request: &mut Vec<u8>, host: &str, announce: &Announce, after: After) {
    request.extend_from_slice(b"GET /");
    if let Some(passkey) = announce.passkey {
        request.extend_from_slice(&passkey);
        request.push(b'/');
    }
    request.extend_from_slice(b"announce?info_hash=");
    for byte in announce.info_hash {
        request.extend_from_slice(&[
            b'%',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ]);
    }
    request.extend_from_slice(b"&peer_id=");
    request.extend_from_slice(&announce.peer_id); // Letters, digits and '-' need no encoding.
    let _ = write!(
        request,
        "&port={}&uploaded={}&downloaded={}&left={}&compact=1&numwant={}",
        announce.port,
        announce.counters.uploaded,
        announce.counters.downloaded,
        announce.left,
        announce.numwant
    );
    if announce.passkey.is_some() {
        // The same as the four bytes over UDP.
        let key = announce.peer_id.last_chunk::<4>().expect("20 bytes");
        let _ = write!(request, "&key={:08x}", u32::from_be_bytes(*key));
    }
    request.extend_from_slice(match announce.event {
        Event::None => b"",
        Event::Completed => b"&event=completed",
        Event::Started => b"&event=started",
        Event::Stopped => b"&event=stopped",
    });
    let _ = write!(request, " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: margay-load\r\n");
    request.extend_from_slice(match after {
        After::Close => b"Connection: close\r\n\r\n",
        After::Keep => b"\r\n",
    });
}

/// What the bytes received so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Not a whole reply yet.
    Partial,
    /// A reply of `len` bytes that hands out `peers` peers.
    Announce { len: usize, peers: usize },
    /// A reply of `len` bytes that is not what an announce is answered with.
    Wrong { len: usize },
}

/// Reads the reply at the start of `bytes`. `ended` says that the tracker has closed the connection,
/// which is the end of a reply without a length.
pub(crate) fn read_reply(bytes: &[u8], ended: bool) -> Reply {
    let Some(head_len) = find(bytes, b"\r\n\r\n").map(|at| at + 4) else {
        return if ended { Reply::Wrong { len: bytes.len() } } else { Reply::Partial };
    };
    let (head, rest) = bytes.split_at(head_len);
    let body = match content_length(head) {
        Some(len) if len <= rest.len() => &rest[..len],
        None if ended => rest,
        _ if ended => return Reply::Wrong { len: bytes.len() },
        _ => return Reply::Partial,
    };
    let len = head_len + body.len();
    let status_ok = head.starts_with(b"HTTP/1.") && head.get(8..13) == Some(b" 200 ");
    // The length of a compact list is read, not the list: BEP 23 and 7.
    // A failure has an interval as well, and begins with its reason.
    let failed = body.starts_with(b"d14:failure reason");
    if status_ok && !failed && body.starts_with(b"d") && find(body, b"8:intervali").is_some() {
        let peers = string_len(body, b"5:peers") / 6 + string_len(body, b"6:peers6") / 18;
        return Reply::Announce { len, peers };
    }
    Reply::Wrong { len }
}

/// The `Content-Length` of a head, which may be padded with spaces.
fn content_length(head: &[u8]) -> Option<usize> {
    head.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|&byte| byte == b':')?)?;
        if !name.eq_ignore_ascii_case(b"content-length") {
            return None;
        }
        std::str::from_utf8(&value[1..]).ok()?.trim().parse().ok()
    })
}

/// Length of the string after `key` in a bencoded dictionary; zero when there is none.
fn string_len(body: &[u8], key: &[u8]) -> usize {
    let Some(at) = find(body, key) else { return 0 };
    let digits = body[at + key.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.take(9).fold(0, |len, &digit| len * 10 + usize::from(digit - b'0'))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::packet::Counters;

    #[test]
    fn an_announce_is_a_plain_get() {
        let announce = Announce {
            info_hash: [0xa1; 20],
            peer_id: *b"-LD0100-abcdefghijkl",
            left: 0,
            event: Event::Started,
            numwant: 30,
            port: 6881,
            counters: Counters::default(),
            passkey: None,
        };
        let mut request = Vec::new();
        write_announce(&mut request, "127.0.0.1:80", &announce, After::Close);
        let expected = format!(
            "GET /announce?info_hash={}&peer_id=-LD0100-abcdefghijkl&port=6881&uploaded=0\
             &downloaded=0&left=0&compact=1&numwant=30&event=started HTTP/1.1\r\n\
             Host: 127.0.0.1:80\r\nUser-Agent: margay-load\r\nConnection: close\r\n\r\n",
            "%a1".repeat(20)
        );
        assert_eq!(String::from_utf8(request).unwrap(), expected);
    }

    #[test]
    fn a_user_announces_with_a_passkey_and_says_what_he_moved() {
        let announce = Announce {
            info_hash: [0xa1; 20],
            peer_id: *b"-LD0100-abcdefghABCD",
            left: 5,
            event: Event::None,
            numwant: 30,
            port: 6881,
            counters: Counters { uploaded: 7, downloaded: 9 },
            passkey: Some([b'k'; 32]),
        };
        let mut request = Vec::new();
        write_announce(&mut request, "127.0.0.1:80", &announce, After::Close);
        let request = String::from_utf8(request).unwrap();
        let (target, _) = request.split_once(" HTTP/1.1\r\n").unwrap();
        let passkey = "k".repeat(32);
        assert_eq!(
            target.replace(&"%a1".repeat(20), "HASH"),
            format!(
                "GET /{passkey}/announce?info_hash=HASH&peer_id=-LD0100-abcdefghABCD&port=6881\
                 &uploaded=7&downloaded=9&left=5&compact=1&numwant=30&key=41424344"
            )
        );
    }

    fn reply(status: &str, body: &str) -> Vec<u8> {
        format!("HTTP/1.1 {status}\r\ncontent-LENGTH:   {}  \r\n\r\n{body}", body.len()).into()
    }

    #[test]
    fn a_reply_is_whole_at_its_last_byte() {
        let bytes = reply("200 OK", "d8:intervali9e5:peers12:aaaabbccccdd6:peers60:e");
        for len in 0..bytes.len() {
            assert_eq!(read_reply(&bytes[..len], false), Reply::Partial, "{len}");
            assert!(matches!(read_reply(&bytes[..len], true), Reply::Wrong { .. }), "{len}");
        }
        let whole = Reply::Announce { len: bytes.len(), peers: 2 };
        assert_eq!(read_reply(&bytes, false), whole);
        let two = [&bytes[..], b"HTTP/1.1 200"].concat();
        assert_eq!(read_reply(&two, false), whole);
    }

    #[test]
    fn a_reply_without_a_length_ends_with_the_connection() {
        let bytes = b"HTTP/1.0 200 OK\r\n\r\nd8:intervali9e5:peers0:e";
        assert_eq!(read_reply(bytes, false), Reply::Partial);
        assert_eq!(read_reply(bytes, true), Reply::Announce { len: bytes.len(), peers: 0 });
    }

    #[test]
    fn anything_but_a_good_answer_is_wrong() {
        for bytes in [
            reply("404 Not Found", "d8:intervali9ee"),
            reply("200 OK", "d14:failure reason2:noe"),
            reply("200 OK", "d14:failure reason2:no8:intervali9ee"),
            reply("200 OK", "<html>"),
            reply("200 OK", ""),
        ] {
            assert_eq!(read_reply(&bytes, false), Reply::Wrong { len: bytes.len() });
        }
    }
}
