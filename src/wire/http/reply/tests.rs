use super::*;
use crate::wire::bencode::strict::{Value, read};

const KEEP: Framing = Framing { persistence: Persistence::Keep, head_only: false };

/// Headers and body of one reply, the length checked.
#[track_caller]
fn split(reply: &[u8]) -> (&str, &[u8]) {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("an end") + 4;
    let (head, body) = reply.split_at(end);
    let head = str::from_utf8(head).unwrap();
    let (head, length) = head.trim_end().split_once("Content-Length: ").expect("a length");
    assert_eq!(length, body.len().to_string(), "{head}");
    (head, body)
}

#[track_caller]
fn announced(reply: &Reply, external_ip: Option<&str>, compact: bool) -> Vec<u8> {
    let announced = Announced {
        reply,
        interval: Seconds(1800),
        interval_min: Seconds(900),
        external_ip: external_ip.map(|address| address.parse().unwrap()),
        compact,
        warning: None,
    };
    let mut out = Vec::new();
    write_announce(&mut out, KEEP, &announced);
    out
}

/// Checks the body of an announce reply as text, byte by byte.
#[track_caller]
fn check_announce(reply: &Reply, external_ip: Option<&str>, compact: bool, expected: &str) {
    let out = announced(reply, external_ip, compact);
    let (head, body) = split(&out);
    assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n");
    assert_eq!(body.escape_ascii().to_string(), expected);
    read(body);
}

fn peers(v4: usize, v6: usize) -> Reply {
    let mut reply = Reply {
        counts: Counts { seeders: 3, leechers: 12, partial_seeds: 1, snatches: 456 },
        ..Reply::default()
    };
    for peer in 0..v4 {
        reply.peers_v4.extend_from_slice(&[203, 0, 113, peer as u8, 0x1a, 0xe1]);
    }
    for peer in 0..v6 {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
        address[15] = peer as u8;
        reply.peers_v6.extend_from_slice(&address);
        reply.peers_v6.extend_from_slice(&[0x1a, 0xe1]);
    }
    reply
}

#[test]
fn a2_a3_an_announce_reply_is_canonical_and_complete() {
    check_announce(
        &peers(2, 1),
        None,
        true,
        "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1800e12:min intervali900e\
         5:peers12:\\xcb\\x00q\\x00\\x1a\\xe1\\xcb\\x00q\\x01\\x1a\\xe1\
         6:peers618: \\x01\\r\\xb8\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x1a\\xe1e",
    );
}

#[test]
fn a4_without_peers_the_key_is_there() {
    check_announce(
        &Reply::default(),
        None,
        true,
        "d8:completei0e10:downloadedi0e10:incompletei0e8:intervali1800e12:min intervali900e\
         5:peers0:e",
    );
    let out = announced(&peers(0, 2), None, true);
    let reply = read(split(&out).1);
    assert_eq!(*reply.get("peers"), Value::String(Vec::new()));
    assert!(matches!(reply.get("peers6"), Value::String(peers) if peers.len() == 36));
}

#[test]
fn a25_external_ip_is_4_or_16_bytes() {
    let external = |address| {
        let out = announced(&peers(1, 0), Some(address), true);
        read(split(&out).1).get("external ip").clone()
    };
    assert_eq!(external("192.0.2.1"), Value::String(vec![192, 0, 2, 1]));
    assert_eq!(external("::ffff:192.0.2.1"), Value::String(vec![192, 0, 2, 1]));
    assert!(matches!(external("2001:db8::1"), Value::String(bytes) if bytes.len() == 16));
}

#[test]
fn a7_the_list_form_has_both_families_and_no_peer_ids() {
    let head = "d8:completei3e10:downloadedi456e10:incompletei12e8:intervali1800e\
                12:min intervali900e";
    check_announce(&peers(0, 0), None, false, &format!("{head}5:peerslee"));
    let (v4, v6) = ("d2:ip11:203.0.113.04:porti6881ee", "d2:ip10:2001:db8::4:porti6881ee");
    check_announce(&peers(1, 1), None, false, &format!("{head}5:peersl{v4}{v6}ee"));
}

#[test]
fn the_length_is_right_whatever_was_expected() {
    for (v4, v6) in [(0, 0), (1, 0), (50, 0), (147, 0), (148, 0), (150, 0), (0, 67), (2000, 2000)] {
        for external_ip in [None, Some("2001:db8::1")] {
            for compact in [true, false] {
                let out = announced(&peers(v4, v6), external_ip, compact);
                read(split(&out).1);
            }
        }
    }
    let mut long = peers(148, 0);
    long.counts =
        Counts { seeders: u32::MAX, leechers: u32::MAX, partial_seeds: 0, snatches: u32::MAX };
    let out = announced(&long, None, true);
    assert_eq!(*read(split(&out).1).get("complete"), Value::Integer(u32::MAX.into()));
}

#[test]
fn a30_the_reply_says_what_becomes_of_the_connection() {
    let reply_to = |persistence, head_only| {
        let mut out = b"earlier reply".to_vec();
        write_root(&mut out, Framing { persistence, head_only });
        String::from_utf8(out.split_off(13)).unwrap()
    };
    let (close, keep, named) = (
        reply_to(Persistence::Close, false),
        reply_to(Persistence::Keep, false),
        reply_to(Persistence::KeepNamed, false),
    );
    assert!(close.contains("\r\nConnection: close\r\n"));
    assert!(!keep.contains("Connection"));
    assert!(named.contains("\r\nConnection: keep-alive\r\n"));
    for reply in [&close, &keep, &named] {
        assert!(split(reply.as_bytes()).1.starts_with(b"This is a BitTorrent tracker"));
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"));
    }
    let head_only = reply_to(Persistence::Keep, true);
    assert!(keep.starts_with(&head_only));
    assert!(head_only.ends_with("\r\n\r\n"));
}

#[track_caller]
fn check_failure(failure: Failure<'_>, expected: &str) {
    let mut out = Vec::new();
    write_failure(&mut out, Framing::CLOSE, &failure);
    let (head, body) = split(&out);
    assert_eq!(head, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n");
    assert_eq!(str::from_utf8(body).unwrap(), expected);
    read(body);
}

#[test]
fn a1_a_failure_is_a_dictionary_with_status_200() {
    let reason = &query::Malformed::InfoHashLength;
    let text = "d14:failure reason30:info_hash is not 20 bytes long";
    check_failure(Failure { reason, intervals: None, retry: None }, &format!("{text}e"));
    check_failure(
        Failure { reason, intervals: Some((Seconds(1800), Seconds(900))), retry: None },
        &format!("{text}8:intervali1800e12:min intervali900ee"),
    );
}

#[test]
fn a26_a_failure_may_say_when_to_retry() {
    let reason = &shard::Refusal::SwarmsMax;
    let text = "d14:failure reason46:Tracker is full: no more torrents are accepted";
    let intervals = Some((Seconds(60), Seconds(30)));
    check_failure(
        Failure { reason, intervals, retry: Some(Retry::Minutes(1)) },
        &format!("{text}8:intervali60e12:min intervali30e8:retry ini1ee"),
    );
    check_failure(
        Failure { reason, intervals: None, retry: Some(Retry::Never) },
        &format!("{text}8:retry in5:nevere"),
    );
}

#[test]
fn a1_a_failure_reason_is_bounded() {
    let reason = "x".repeat(1000);
    check_failure(
        Failure { reason: &reason, intervals: None, retry: None },
        &format!("d14:failure reason200:{}e", "x".repeat(200)),
    );
}

#[track_caller]
fn scraped(files: &mut [(InfoHash, Option<Counts>)]) -> Value {
    let mut out = Vec::new();
    write_scrape(&mut out, KEEP, files, Seconds(900));
    let reply = read(split(&out).1);
    assert_eq!(reply.keys(), ["files", "flags"]);
    assert_eq!(*reply.get("flags").get("min_request_interval"), Value::Integer(900));
    reply.get("files").clone()
}

#[test]
fn b1_a_scrape_reply_is_canonical() {
    let counts = Counts { seeders: 3, leechers: 12, partial_seeds: 2, snatches: 456 };
    let mut out = Vec::new();
    write_scrape(&mut out, KEEP, &mut [(InfoHash([b'h'; 20]), Some(counts))], Seconds(900));
    assert_eq!(
        str::from_utf8(split(&out).1).unwrap(),
        "d5:filesd20:hhhhhhhhhhhhhhhhhhhhd8:completei3e10:downloadedi456e11:downloadersi10e\
         10:incompletei12eee5:flagsd20:min_request_intervali900eee"
    );
}

#[test]
fn b1_torrents_come_in_bytewise_order_each_once() {
    let counts = |seeders| Some(Counts { seeders, ..Counts::default() });
    let mut files = [
        (InfoHash([0xff; 20]), counts(1)),
        (InfoHash([b'a'; 20]), counts(2)),
        (InfoHash([0; 20]), counts(3)),
        (InfoHash([b'a'; 20]), counts(2)),
    ];
    let Value::Dictionary(found) = scraped(&mut files) else { panic!("files is a dictionary") };
    let found: Vec<_> = found.iter().map(|(hash, file)| (hash[0], file.get("complete"))).collect();
    let number = Value::Integer;
    assert_eq!(found, [(0, &number(3)), (b'a', &number(2)), (0xff, &number(1))]);
}

#[test]
fn b2_a_hash_without_counts_is_left_out_and_zeros_can_be_given() {
    let hash = |byte| InfoHash([byte; 20]);
    let mut files = [(hash(1), None), (hash(2), Some(Counts::default())), (hash(3), None)];
    let Value::Dictionary(found) = scraped(&mut files) else { panic!("files is a dictionary") };
    assert_eq!(found.keys().collect::<Vec<_>>(), [&vec![2; 20]]);
    assert_eq!(scraped(&mut []), Value::Dictionary(Default::default()));
}

#[test]
fn a_path_that_does_not_exist() {
    let mut out = Vec::new();
    write_not_found(&mut out, KEEP, b"a=b");
    assert!(out.starts_with(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\n"));
    assert!(split(&out).1.starts_with(b"There is nothing here"));

    out.clear();
    write_not_found(&mut out, KEEP, b"a=b&info_hash=x");
    assert!(out.starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(read(split(&out).1).keys(), ["failure reason", "retry in"]);
}
