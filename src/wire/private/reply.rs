//! Replies of a private tracker over HTTP. Each is appended to a buffer that may already hold replies
//! to earlier requests of the same connection; all have status 200, as clients do not look into a
//! reply with any other.

use std::fmt;

use shard::{Counts, InfoHash, Seconds};

use crate::wire::Line;
use crate::wire::bencode::{dictionary, list};
use crate::wire::http::{self, Failure, Framing, Status, list_peers, respond};

/// An announce that succeeded.
#[derive(Clone, Copy)]
pub struct Announced<'a> {
    /// The swarm, the requester included.
    pub counts: Counts,
    /// Peers of 6 bytes each (BEP 23).
    pub peers_v4: &'a [u8],
    /// Peers of 18 bytes each (BEP 7).
    pub peers_v6: &'a [u8],
    /// When to announce again.
    pub interval: Seconds,
    /// How early the client may announce again.
    pub interval_min: Seconds,
    /// Peers as byte strings; false for the list of BEP 3.
    pub compact: bool,
    /// The warning for the client's user, though the announce is answered; cut at 200 bytes.
    pub warning: Option<&'a dyn fmt::Display>,
}

/// Appends the reply to an announce, with the keys that sites are used to: `complete`, `downloaded`,
/// `incomplete`, `interval`, `min interval`, `peers`, and where there is something in them `peers6`
/// and `warning message`.
pub fn write_announce(out: &mut Vec<u8>, framing: Framing, announced: &Announced<'_>) {
    let Announced { counts, peers_v4, peers_v6, interval, interval_min, .. } = *announced;
    debug_assert!(peers_v4.len().is_multiple_of(6) && peers_v6.len().is_multiple_of(18));
    let expected = 110 + peers_v4.len() + peers_v6.len();
    respond(out, framing, Status::Ok, expected, |out| {
        dictionary(out, |entries| {
            entries.integer(b"complete", counts.seeders.into());
            entries.integer(b"downloaded", counts.snatches.into());
            entries.integer(b"incomplete", counts.leechers.into());
            entries.integer(b"interval", interval.0.into());
            entries.integer(b"min interval", interval_min.0.into());
            if announced.compact {
                entries.string(b"peers", peers_v4);
                if !peers_v6.is_empty() {
                    entries.string(b"peers6", peers_v6);
                }
            } else {
                list(entries.key(b"peers"), |items| list_peers(items, (peers_v4, peers_v6)));
            }
            if let Some(warning) = announced.warning {
                entries.string(b"warning message", Line::<200>::of(warning).bytes());
            }
        });
    });
}

/// Appends a failure: `failure reason`, `interval`, `min interval`, in this order. The reason, mostly
/// a [`super::Refusal`], is cut at 200 bytes.
pub fn write_failure(
    out: &mut Vec<u8>,
    framing: Framing,
    reason: &dyn fmt::Display,
    interval: Seconds,
    interval_min: Seconds,
) {
    let intervals = Some((interval, interval_min));
    http::write_failure(out, framing, &Failure { reason, intervals, retry: None });
}

/// Appends the reply to a scrape: the torrents in bytewise order, each once, with `complete`,
/// `downloaded` and `incomplete`; those without counts are left out. `files` is sorted in place.
pub fn write_scrape(out: &mut Vec<u8>, framing: Framing, files: &mut [(InfoHash, Option<Counts>)]) {
    files.sort_unstable_by_key(|(info_hash, _)| *info_hash);
    respond(out, framing, Status::Ok, 12 + 75 * files.len(), |out| {
        dictionary(out, |entries| {
            entries.dictionary(b"files", |entries| {
                let mut last = None;
                for (info_hash, counts) in files.iter() {
                    if let Some(counts) = counts
                        && last != Some(info_hash)
                    {
                        last = Some(info_hash);
                        entries.dictionary(&info_hash.0, |file| {
                            file.integer(b"complete", counts.seeders.into());
                            file.integer(b"downloaded", counts.snatches.into());
                            file.integer(b"incomplete", counts.leechers.into());
                        });
                    }
                }
            });
        });
    });
}

/// Appends the page for those who ask nothing; robots are to leave it alone.
pub fn write_page(out: &mut Vec<u8>, framing: Framing) {
    respond(out, framing, Status::Page, PAGE.len(), |out| out.extend_from_slice(PAGE.as_bytes()));
}

const PAGE: &str = "<html><head><meta name=\"robots\" content=\"noindex, nofollow\" /></head>\
    <body>Nothing to see here</body></html>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::bencode::strict::{Value, read};
    use crate::wire::private::{FAILURE_INTERVAL, ILLEGAL_ADDRESS, Refusal, SOON};

    const COUNTS: Counts = Counts { seeders: 3, leechers: 12, partial_seeds: 1, snatches: 456 };
    const ANNOUNCED: Announced<'_> = Announced {
        counts: COUNTS,
        peers_v4: b"",
        peers_v6: b"",
        interval: Seconds(1803),
        interval_min: Seconds(1800),
        compact: true,
        warning: None,
    };

    /// Checks a closing reply of `kind`, its length, and its body byte by byte.
    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>), kind: &str, body: &str) {
        let mut out = Vec::new();
        write(&mut out);
        let reply = out.escape_ascii().to_string().replace("\\r\\n", "\n").replace("\\\"", "\"");
        let length = out.len() - out.windows(4).position(|end| end == b"\r\n\r\n").unwrap() - 4;
        let expected = format!(
            "HTTP/1.1 200 OK\nContent-Type: {kind}\nConnection: close\nContent-Length: {length}\n\n\
             {body}"
        );
        assert_eq!(reply, expected);
    }

    #[track_caller]
    fn check_announce(announced: &Announced<'_>, body: &str) {
        check(|out| write_announce(out, Framing::CLOSE, announced), "text/plain", body);
    }

    #[test]
    fn ocelot_3_an_announce_reply_has_the_known_keys_in_order() {
        check_announce(
            &ANNOUNCED,
            "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1803e\
             12:min intervali1800e5:peers0:e",
        );
        let (v4, v6) = (b"\xcb\0q\x01\x1a\xe1", [7; 18]);
        check_announce(
            &Announced { peers_v4: v4, peers_v6: &v6, ..ANNOUNCED },
            "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1803e\
             12:min intervali1800e5:peers6:\\xcb\\x00q\\x01\\x1a\\xe1\
             6:peers618:\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07\\x07e",
        );
    }

    #[test]
    fn ocelot_2_a_warning_comes_after_the_peers() {
        check_announce(
            &Announced { warning: Some(&ILLEGAL_ADDRESS), ..ANNOUNCED },
            "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1803e\
             12:min intervali1800e5:peers0:15:warning message60:\
             Illegal character found in IP address. IPv6 is not supportede",
        );
    }

    #[test]
    fn a7_the_list_form_is_for_who_wants_it() {
        check_announce(
            &Announced { peers_v4: b"\xcb\0q\x01\x1a\xe1", compact: false, ..ANNOUNCED },
            "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1803e\
             12:min intervali1800e5:peersld2:ip11:203.0.113.14:porti6881eeee",
        );
    }

    #[test]
    fn ocelot_2_a_failure_is_sorted_and_says_when_to_come_back() {
        let failure = |refusal: Refusal<'static>, interval: Seconds| {
            move |out: &mut Vec<u8>| {
                write_failure(out, Framing::CLOSE, &refusal, interval, interval);
            }
        };
        check(
            failure(Refusal::PasskeyNotFound, FAILURE_INTERVAL),
            "text/plain",
            "d14:failure reason17:Passkey not found8:intervali5400e12:min intervali5400ee",
        );
        check(
            failure(Refusal::Unregistered { reason: None }, SOON),
            "text/plain",
            "d14:failure reason20:Unregistered torrent8:intervali60e12:min intervali60ee",
        );
        check(
            failure(Refusal::Unregistered { reason: Some("Trump") }, FAILURE_INTERVAL),
            "text/plain",
            "d14:failure reason27:Unregistered torrent: Trump\
             8:intervali5400e12:min intervali5400ee",
        );
    }

    #[test]
    fn ocelot_2_every_failure_is_canonical() {
        for refusal in [
            Refusal::TooShort,
            Refusal::TooLong,
            Refusal::MalformedAnnounce,
            Refusal::MalformedHttp,
            Refusal::Unavailable,
            Refusal::InvalidAction,
            Refusal::AuthenticationFailure,
            Refusal::PasskeyNotFound,
            Refusal::Unregistered { reason: Some("") },
            Refusal::NoCompact,
            Refusal::NoPeerId,
            Refusal::InvalidPeerId,
            Refusal::ClientRefused,
            Refusal::LeechingForbidden,
        ] {
            let mut out = Vec::new();
            write_failure(&mut out, Framing::CLOSE, &refusal, Seconds(1), Seconds(2));
            let body = &out[out.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4..];
            let body = read(body);
            assert_eq!(body.keys(), ["failure reason", "interval", "min interval"]);
            assert_eq!(body.get("failure reason"), &Value::String(refusal.to_string().into()));
            assert_eq!(body.get("interval"), &Value::Integer(1));
            assert_eq!(body.get("min interval"), &Value::Integer(2));
        }
    }

    #[test]
    fn ocelot_4_a_scrape_leaves_unknown_torrents_out_and_is_sorted() {
        let mut files = [
            (InfoHash([b'b'; 20]), Some(COUNTS)),
            (InfoHash([b'c'; 20]), None),
            (InfoHash([b'a'; 20]), Some(Counts::default())),
            (InfoHash([b'b'; 20]), Some(COUNTS)),
        ];
        check(
            |out| write_scrape(out, Framing::CLOSE, &mut files),
            "text/plain",
            "d5:filesd\
             20:aaaaaaaaaaaaaaaaaaaad8:completei0e10:downloadedi0e10:incompletei0ee\
             20:bbbbbbbbbbbbbbbbbbbbd8:completei3e10:downloadedi456e10:incompletei12eeee",
        );
    }

    #[test]
    fn ocelot_4_a_scrape_of_nothing_known_is_an_empty_dictionary() {
        let scrape = |files: &mut [_]| {
            let mut out = Vec::new();
            write_scrape(&mut out, Framing::CLOSE, files);
            assert!(out.ends_with(b"\r\n\r\nd5:filesdee"));
        };
        scrape(&mut []);
        scrape(&mut [(InfoHash([1; 20]), None)]);
    }

    #[test]
    fn ocelot_1_who_asks_nothing_sees_nothing() {
        check(
            |out| write_page(out, Framing::CLOSE),
            "text/html",
            "<html><head><meta name=\"robots\" content=\"noindex, nofollow\" /></head>\
             <body>Nothing to see here</body></html>",
        );
    }
}
