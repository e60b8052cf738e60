use super::*;

const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
const PEER_ID: &str = "-qB0001-abcdefghijkl";

/// The announce that `more` makes of a minimal one.
fn with(more: &str) -> String {
    format!("info_hash={HASH}&peer_id={PEER_ID}&{more}")
}

#[track_caller]
fn check(query: &str, look: impl FnOnce(Announce<'_>)) {
    match parse_announce(query.as_bytes()) {
        Ok(announce) => look(announce),
        Err(why) => panic!("{why}: {query}"),
    }
}

#[track_caller]
fn check_refused(query: &str, why: Malformed) {
    assert_eq!(parse_announce(query.as_bytes()), Err(why), "{query}");
}

#[track_caller]
fn check_left(value: &str, left: u64) {
    check(&with(&format!("left={value}")), |announce| assert_eq!(announce.left, left));
}

#[track_caller]
fn check_event(value: &str, event: Event) {
    check(&with(&format!("event={value}")), |announce| assert_eq!(announce.event, event));
}

#[track_caller]
fn check_numwant(more: &str, asked: Option<u32>) {
    check(&with(more), |announce| assert_eq!(announce.numwant.asked(), asked, "{more}"));
}

#[test]
fn a8_an_infohash_is_twenty_bytes() {
    let short = &HASH[..HASH.len() - 3];
    check_refused(&format!("info_hash={short}&peer_id={PEER_ID}"), Malformed::InfoHashLength);
    check_refused(&format!("info_hash={HASH}x&peer_id={PEER_ID}"), Malformed::InfoHashLength);
    check_refused(&format!("info_hash=&peer_id={PEER_ID}"), Malformed::InfoHashLength);
    check_refused(&format!("info_hash&peer_id={PEER_ID}"), Malformed::InfoHashLength);
    check_refused(&format!("peer_id={PEER_ID}"), Malformed::InfoHashMissing);
    check_refused("", Malformed::InfoHashMissing);
}

#[test]
fn a_peer_id_is_twenty_bytes() {
    check_refused(&format!("info_hash={HASH}"), Malformed::PeerIdMissing);
    check_refused(&format!("info_hash={HASH}&peer_id=short"), Malformed::PeerIdLength);
    check_refused(&format!("info_hash={HASH}&peer_id={PEER_ID}x"), Malformed::PeerIdLength);
    check_refused(&format!("info_hash={HASH}&peer_id="), Malformed::PeerIdLength);
}

#[test]
fn a9_plus_is_a_literal_plus() {
    check(&format!("info_hash=++++++++++++++++++++&peer_id={PEER_ID}"), |announce| {
        assert_eq!(announce.info_hash, InfoHash([b'+'; 20]));
    });
}

#[test]
fn a10_pairs_in_any_order_empty_or_unknown() {
    let pieces: Vec<_> = pairs(b"a=1&&foo&b=&=c&d==e=&").collect();
    let text = |bytes| str::from_utf8(bytes).unwrap();
    let pieces: Vec<_> = pieces.into_iter().map(|(k, v)| (text(k), text(v))).collect();
    assert_eq!(pieces, [("a", "1"), ("foo", ""), ("b", ""), ("", "c"), ("d", "=e=")]);

    check(
        &format!("&foo&port=6881&=&event=&peer_id={PEER_ID}&corrupt=0&left=5&info_hash={HASH}"),
        |announce| {
            assert_eq!(announce.port, Some(6881));
            assert_eq!(announce.left, 5);
            assert_eq!(announce.event, Event::None);
        },
    );
    check(&with("passkey=a=b=c&left=7"), |announce| {
        assert_eq!(announce.passkey.unwrap().bytes(), b"a=b=c");
        assert_eq!(announce.left, 7);
    });
}

#[test]
fn a11_the_first_of_a_key_counts_and_a_second_infohash_is_refused() {
    check(&with("ip=192.0.2.1&ip=192.0.2.2&left=1&left=0"), |announce| {
        assert_eq!(announce.ip, Some(&b"192.0.2.1"[..]));
        assert_eq!(announce.left, 1);
    });
    check_refused(&with(&format!("info_hash={HASH}")), Malformed::InfoHashTwice);
    check_refused(&with("info_hash="), Malformed::InfoHashTwice);
}

#[test]
fn a12_left_is_known_huge_or_unknown() {
    check_left("0", 0);
    check_left("00", 0);
    check_left("16384", 16384);
    check_left("9223372036854775807", i64::MAX as u64);
    check_left("18446744073709551615", u64::MAX);
    check_left("18446744073709551616", u64::MAX);
    check_left("99999999999999999999999999999999", u64::MAX);
    for unknown in ["", "-1", "-0", "NaN", "null", "1.5", "0x10", "+5", " 5", "%", "%zz"] {
        check_left(unknown, u64::MAX);
    }
    check_left("%30", 0);
    check_left("1%32%33", 123);
    check_left("%31%", u64::MAX);
    check(&with(""), |announce| assert_eq!(announce.left, u64::MAX));
    check(&with("left"), |announce| assert_eq!(announce.left, u64::MAX));
}

#[test]
fn a13_numwant() {
    check_numwant("", None);
    check_numwant("numwant", None);
    check_numwant("numwant=", None);
    check_numwant("numwant=-1", None);
    check_numwant("numwant=lots", None);
    check_numwant("numwant=0", Some(0));
    check_numwant("numwant=200", Some(200));
    check_numwant("numwant=4294967296", Some(u32::MAX));
    check_numwant("numwant=99999999999999999999999", Some(u32::MAX));
}

#[test]
fn a14_events_known_empty_and_unknown() {
    check_event("started", Event::Started);
    check_event("completed", Event::Completed);
    check_event("stopped", Event::Stopped);
    check_event("paused", Event::Paused);
    for none in ["", "empty", "update", "Started", "started ", "%00", "event"] {
        check_event(none, Event::None);
    }
    check(&with(""), |announce| assert_eq!(announce.event, Event::None));
}

#[test]
fn a16_a17_a_port_may_be_absent_or_zero() {
    let port = |more: &str, port| check(&with(more), |announce| assert_eq!(announce.port, port));
    port("event=stopped", None);
    port("port=", None);
    port("port=0&event=stopped", Some(0));
    port("port=1", Some(1));
    port("port=65535", Some(65535));
    // Who leaves is not asked for it.
    port("port=65536&event=stopped", None);
}

#[test]
fn a17_a_port_that_is_none_is_refused() {
    for port in ["65536", "450559", "-1", "6881x", "x", "%00", "99999999999999999999999"] {
        for event in ["", "&event=started"] {
            let query = with(&format!("port={port}{event}"));
            assert_eq!(parse_announce(query.as_bytes()), Err(Malformed::Port), "{port}");
        }
    }
}

#[test]
fn a36_a_second_question_mark_is_read_as_meant() {
    let key = "0123456789abcdef0123456789abcdef";
    for query in [
        format!("passkey={key}?info_hash={HASH}&peer_id={PEER_ID}&port=6881"),
        format!("a=b&passkey={key}?peer_id={PEER_ID}&info_hash={HASH}&port=6881"),
        format!("passkey={key}?port=6881&peer_id={PEER_ID}&info_hash={HASH}"),
        format!("x=1?info_hash={HASH}&peer_id={PEER_ID}&port=6881&passkey={key}"),
    ] {
        check(&query, |announce| {
            let passkey = announce.passkey.map(|key| key.bytes().to_vec());
            assert_eq!((passkey.as_deref(), announce.port), (Some(key.as_bytes()), Some(6881)));
        });
    }
    let mut hashes = Vec::new();
    let query = format!("passkey={key}?info_hash={HASH}");
    let scrape = parse_scrape(query.as_bytes(), &mut hashes).unwrap();
    assert_eq!((hashes.len(), scrape.everything), (1, false));
    assert_eq!(scrape.passkey.map(|key| key.bytes().to_vec()).as_deref(), Some(key.as_bytes()));
    // A question mark in a value is one.
    check(&with("port=6881&x=a?info_hash=b"), |announce| assert_eq!(announce.port, Some(6881)));
}

#[test]
fn a7_a23_compact_peer_ids_and_key() {
    check(&with(""), |announce| {
        assert_eq!(announce.compact, None);
        assert!(!announce.no_peer_id);
        assert_eq!(announce.key, b"");
    });
    check(&with("compact=1&no_peer_id=1&key=1A2B3C4D"), |announce| {
        assert_eq!(announce.compact, Some(true));
        assert!(announce.no_peer_id);
        assert_eq!(announce.key, b"1A2B3C4D");
    });
    check(&with("compact=0&no_peer_id=0&key=-1234567890"), |announce| {
        assert_eq!(announce.compact, Some(false));
        assert!(!announce.no_peer_id);
        assert_eq!(announce.key, b"-1234567890");
    });
    check(&with(&format!("key={}", "k".repeat(1000))), |announce| {
        assert_eq!(announce.key.len(), Announce::KEY_BYTES_MAX);
    });
}

#[test]
fn a23_one_client_over_both_protocols() {
    let of = |query: &str| parse_announce(query.as_bytes()).unwrap().client();
    let tag = |key: &str| of(&with(&format!("key={key}")));
    let peer_id = PEER_ID.as_bytes().try_into().unwrap();
    let udp = ClientTag::of(peer_id, 0x1a2b_3c4d);
    assert_eq!(tag("1A2B3C4D"), udp);
    assert_eq!(tag("1a2b3c4d"), udp);
    assert_ne!(tag("1A2B3C4E"), udp);
    // Transmission leaves zeros at the beginning out.
    assert_eq!(tag("A2B3C4D"), ClientTag::of(peer_id, 0x0a2b_3c4d));
    for none in ["", "0", "1A2B3C4G", "1A2B3C4D5", "%1A%2B%3C%4D", "-5"] {
        assert_eq!(tag(none), ClientTag::of(peer_id, 0), "{none}");
    }
    assert_eq!(of(&with("port=1")), tag(""));
}

#[test]
fn a23_keys_that_do_not_last_tell_nobody_apart() {
    let of = |query: &str| parse_announce(query.as_bytes()).unwrap().client();
    for program in ["A2-", "-WW", "-rQ", "-MG", "-UT"] {
        let other = |query: String| of(&query.replace("-qB", program));
        assert_eq!(other(with("key=1A2B3C4D")), other(with("port=1")), "{program}");
    }
    for program in ["-LT", "-lt", "-qB", "-DE", "-TR"] {
        let other = |query: String| of(&query.replace("-qB", program));
        assert_ne!(other(with("key=1A2B3C4D")), other(with("port=1")), "{program}");
    }
}

#[test]
fn a3_who_comes_at_min_interval() {
    for (peer_id, comes) in [
        (b"A2-1-36-0-abcdefghij", true),
        (b"-lt0D80-abcdefghijkl", true),
        (b"-rQ9100-abcdefghijkl", true),
        (b"-LT2110-abcdefghijkl", false),
        (b"-qB4520-abcdefghijkl", false),
        (b"-TR3000-abcdefghijkl", false),
        (b"-WW0210-abcdefghijkl", false),
    ] {
        assert_eq!(comes_at_min_interval(peer_id), comes, "{}", peer_id.escape_ascii());
    }
}

#[test]
fn a20_claimed_addresses() {
    let check = |raw: &str, expected: Option<(&str, Option<u16>)>| {
        let expected = expected.map(|(address, port)| (address.parse().unwrap(), port));
        assert_eq!(claimed_address(raw.as_bytes()), expected, "{raw}");
    };
    check("192.0.2.1", Some(("192.0.2.1", None)));
    check("192.0.2.1:6881", Some(("192.0.2.1", Some(6881))));
    check("2001:db8::1", Some(("2001:db8::1", None)));
    check("2001%3Adb8%3A%3A1", Some(("2001:db8::1", None)));
    check("%5B2001%3Adb8%3A%3A1%5D%3A6881", Some(("2001:db8::1", Some(6881))));
    check("[2001:db8::1]", Some(("2001:db8::1", None)));
    check("::ffff:192.0.2.1", Some(("192.0.2.1", None)));
    check("tracker.example", None);
    check("", None);
    check("%ff%fe", None);
    check(&"1".repeat(65), None);
}

#[test]
fn a35_nul_and_bytes_that_are_not_utf8() {
    let query = b"info_hash=\0\xff\xc3\x28567890123456789\0&peer_id=%00%ff%fe%0045678901234567%ff\0&key=\xff\0";
    let announce = parse_announce(query).unwrap();
    assert_eq!(announce.info_hash.0[..3], [0, 0xff, 0xc3]);
    assert_eq!(announce.peer_id[..4], [0, 0xff, 0xfe, 0]);
    assert_eq!(announce.key, b"\xff\0");
}

#[test]
fn a6_the_engine_sees_a_mapped_address_as_ipv4() {
    check(&with("port=6881&left=3&event=started"), |announce| {
        let families = Families { v4: true, v6: false };
        let engine = announce.to_engine("::ffff:192.0.2.7".parse().unwrap(), families, 9);
        assert_eq!(engine.address, "192.0.2.7".parse::<IpAddr>().unwrap());
        assert_eq!((engine.port, engine.left, engine.numwant), (6881, 3, 9));
        assert_eq!((engine.event, engine.families), (Event::Started, families));
        assert_eq!(engine.client, announce.client());
    });
}

#[track_caller]
fn check_scrape(query: &str, hashes: &[u8], everything: bool) {
    let mut found = Vec::new();
    let scrape = parse_scrape(query.as_bytes(), &mut found).unwrap();
    assert_eq!(found.iter().map(|hash| hash.0[0]).collect::<Vec<_>>(), hashes, "{query}");
    assert_eq!(scrape.everything, everything);
}

fn hash(byte: u8) -> String {
    format!("info_hash={}", format!("%{byte:02x}").repeat(20))
}

#[test]
fn b2_repeated_infohashes_are_sorted_distinct_and_capped() {
    check_scrape(&hash(7), &[7], false);
    let (a, b) = (hash(0xc8), hash(9));
    check_scrape(&format!("{a}&{b}&{a}"), &[9, 0xc8], false);
    check_scrape(&format!("x=1&{a}&info_hash=short&info_hash=&{b}"), &[9, 0xc8], false);
    let many: Vec<_> = (0..100).map(hash).collect();
    check_scrape(&many.join("&"), &Vec::from_iter(0..64), false);
    let mut found = vec![InfoHash([1; 20])];
    assert_eq!(parse_scrape(b"info_hash=short", &mut found), Err(Malformed::InfoHashLength));
    assert!(found.is_empty());
}

#[test]
fn b4_without_an_infohash_everything_is_asked_for() {
    check_scrape("", &[], true);
    check_scrape("passkey=secret&x", &[], true);
}

#[test]
fn b8_a_scrape_carries_the_passkey() {
    let mut found = Vec::new();
    let query = format!("passkey=secret&{}&passkey=other", hash(1));
    let scrape = parse_scrape(query.as_bytes(), &mut found).unwrap();
    assert_eq!(scrape.passkey.map(Key::bytes), Some(&b"secret"[..]));
    assert!(!format!("{scrape:?}").contains("secret"));
}
