use super::super::URL_DATA_BYTES_MAX;
use super::*;

const CONNECT: &str = "00000417 27101980 00000000 deadbeef";
const SCRAPE: &str = "0102030405060708 00000002 deadbeef";
/// connection id, action, transaction, infohash, peer id, downloaded, left, uploaded, event, ip, key,
/// num_want, port
const ANNOUNCE: [&str; 13] = [
    "0102030405060708",
    "00000001",
    "deadbeef",
    "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3",
    "2d4d47303030312d6162636465666768696a6b6c",
    "0000000000000011",
    "0000000000000022",
    "0000000000000033",
    "00000000",
    "c0000201",
    "1a2b3c4d",
    "ffffffff",
    "1ae1",
];
const EVENT: usize = 8;
const NUMWANT: usize = 11;

/// The bytes that `text` has in hex, white space left out.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// An announce with one field in other words and bytes at its end.
fn announce_with(field: usize, value: &str, options: &[u8]) -> Vec<u8> {
    let mut fields = ANNOUNCE;
    fields[field] = value;
    let mut datagram = bytes(&fields.concat());
    datagram.extend_from_slice(options);
    datagram
}

#[track_caller]
fn check_announce(datagram: &[u8], look: impl FnOnce(Announce<'_>)) {
    match parse(datagram) {
        Ok(Request::Announce(announce)) => look(announce),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_event(number: &str, event: Event) {
    check_announce(&announce_with(EVENT, number, b""), |announce| {
        assert_eq!(announce.event, event)
    });
}

#[track_caller]
fn check_numwant(value: &str, asked: Option<u32>) {
    check_announce(&announce_with(NUMWANT, value, b""), |announce| {
        assert_eq!(announce.numwant.asked(), asked);
    });
}

#[track_caller]
fn check_malformed(datagram: &[u8], why: Malformed) {
    assert_eq!(parse(datagram), Err(why), "{}", datagram.escape_ascii());
}

#[test]
fn c1_a_connect_has_16_bytes_or_more() {
    let connect = bytes(CONNECT);
    let expected = Ok(Request::Connect(Transaction([0xde, 0xad, 0xbe, 0xef])));
    assert_eq!(parse(&connect), expected);
    assert_eq!(parse(&[&connect[..], &[0; 84]].concat()), expected, "extra bytes");
    for got in 0..16 {
        check_malformed(&connect[..got], Malformed::Short { got, need: 16 });
    }
}

#[test]
fn c1_a_connect_starts_with_the_magic() {
    check_malformed(&bytes("0000041727101981 00000000 deadbeef"), Malformed::Magic);
    check_malformed(&[0; 16], Malformed::Magic);
}

#[test]
fn c2_other_actions_are_no_requests() {
    for action in [3, 4, 5, 0x0100_0000, u32::MAX] {
        let datagram = announce_with(1, &format!("{action:08x}"), &[0; 100]);
        check_malformed(&datagram, Malformed::Action(action));
    }
}

#[test]
fn c7_an_announce_has_98_bytes_or_more() {
    let datagram = bytes(&ANNOUNCE.concat());
    assert_eq!(datagram.len(), 98);
    for got in 16..98 {
        check_malformed(&datagram[..got], Malformed::Short { got, need: 98 });
    }
    check_announce(&datagram, |announce| {
        assert_eq!(announce.connection_id, 0x0102_0304_0506_0708);
        assert_eq!(announce.transaction, Transaction([0xde, 0xad, 0xbe, 0xef]));
        assert_eq!(announce.info_hash.to_string(), ANNOUNCE[3]);
        assert_eq!(&announce.peer_id, b"-MG0001-abcdefghijkl");
        let amounts = (announce.downloaded, announce.left, announce.uploaded);
        assert_eq!(amounts, (0x11, 0x22, 0x33));
        assert_eq!(announce.event, Event::None);
        assert_eq!(announce.ip, Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(announce.key, 0x1a2b_3c4d);
        assert_eq!(announce.numwant, Numwant::DEFAULT);
        assert_eq!(announce.port, 6881);
    });
}

#[test]
fn c7_events_by_number() {
    check_event("00000000", Event::None);
    check_event("00000001", Event::Completed);
    check_event("00000002", Event::Started);
    check_event("00000003", Event::Stopped);
    check_event("00000004", Event::Paused);
    check_event("00000005", Event::None);
    check_event("ffffffff", Event::None);
}

#[test]
fn c8_num_want_is_signed() {
    check_numwant("ffffffff", None);
    check_numwant("80000000", None);
    check_numwant("00000000", Some(0));
    check_numwant("000000c8", Some(200));
    check_numwant("7fffffff", Some(i32::MAX as u32));
}

#[test]
fn a12_left_of_minus_one_is_unknown() {
    check_announce(&announce_with(6, "ffffffffffffffff", b""), |announce| {
        assert_eq!(announce.left, u64::MAX);
    });
    check_announce(&announce_with(6, "7fffffffffffffff", b""), |announce| {
        assert_eq!(announce.left, i64::MAX as u64);
    });
}

#[test]
fn c9_the_family_is_that_of_the_packet() {
    check_announce(&announce_with(9, "cb007101", b""), |announce| {
        let families = |address: &str| {
            let engine = announce.to_engine(address.parse().unwrap(), 7);
            assert_eq!((engine.port, engine.numwant, engine.left), (6881, 7, 0x22));
            assert_eq!(engine.client, announce.client());
            (engine.address.to_string(), engine.families)
        };
        let (v4, v6) = (Families { v4: true, v6: false }, Families { v4: false, v6: true });
        assert_eq!(families("192.0.2.9"), ("192.0.2.9".to_owned(), v4));
        assert_eq!(families("::ffff:192.0.2.9"), ("192.0.2.9".to_owned(), v4));
        assert_eq!(families("2001:db8::9"), ("2001:db8::9".to_owned(), v6));
    });
}

#[test]
fn c12_options_never_fail_an_announce() {
    let url_data = |options: &[u8]| {
        let mut found = Vec::new();
        check_announce(&announce_with(EVENT, "00000002", options), |announce| {
            assert_eq!(announce.event, Event::Started);
            let mut buffer = [0; URL_DATA_BYTES_MAX];
            found.extend_from_slice(announce.options.url_data(&mut buffer));
        });
        found
    };
    assert_eq!(url_data(b"\x02\x0e/0123/announce"), b"/0123/announce");
    assert_eq!(url_data(b"\x02\x0e/0123"), b"");
    assert_eq!(url_data(b"\xff"), b"");
    assert_eq!(url_data(&[0xff; 300]), b"");
    assert_eq!(url_data(b""), b"");
}

#[test]
fn c13_a_scrape_has_1_to_74_infohashes() {
    let scrape = |hashes: usize, more: usize| {
        let mut datagram = bytes(SCRAPE);
        datagram.extend((0..hashes).flat_map(|hash| [hash as u8; 20]));
        datagram.resize(datagram.len() + more, 0xff);
        datagram
    };
    for (hashes, more, answered) in [
        (1, 0, 1),
        (2, 0, 2),
        (2, 19, 2),
        (73, 0, 73),
        (74, 0, 74),
        (74, 19, 74),
        (75, 0, 74),
        (200, 5, 74),
    ] {
        let datagram = scrape(hashes, more);
        let Ok(Request::Scrape(scrape)) = parse(&datagram) else { panic!("{hashes} hashes") };
        assert_eq!(scrape.connection_id, 0x0102_0304_0506_0708);
        assert_eq!(scrape.transaction, Transaction([0xde, 0xad, 0xbe, 0xef]));
        let expected = (0..answered).map(|hash| InfoHash([hash as u8; 20]));
        assert!(scrape.hashes().eq(expected), "{hashes} hashes and {more} bytes");
        assert_eq!(scrape.hashes().len(), answered);
    }
    check_malformed(&scrape(0, 0), Malformed::Short { got: 16, need: 36 });
    check_malformed(&scrape(0, 19), Malformed::Short { got: 35, need: 36 });
}

#[test]
fn c2_bytes_of_any_kind_are_read_or_refused() {
    let mut random = fastrand::Rng::with_seed(5);
    let (mut announces, mut scrapes) = (0, 0);
    for _ in 0..50_000 {
        let mut datagram: Vec<u8> = (0..random.usize(..300)).map(|_| random.u8(..)).collect();
        if let Some(action) = datagram.get_mut(8..12) {
            action.copy_from_slice(&random.u32(..4).to_be_bytes());
        }
        match parse(&datagram) {
            Ok(Request::Announce(announce)) => {
                announces += 1;
                assert_eq!(announce.info_hash.0, datagram[16..36]);
                assert_eq!(announce.port.to_be_bytes(), datagram[96..98]);
                let pieces = announce.options.url_data_pieces();
                assert!(pieces.map(|piece| piece.len() + 2).sum::<usize>() <= datagram.len() - 98);
            }
            Ok(Request::Scrape(scrape)) => {
                scrapes += 1;
                assert_eq!(scrape.hashes().len(), (datagram.len() - 16) / 20);
            }
            Ok(Request::Connect(_)) => panic!("nobody guesses the magic"),
            Err(Malformed::Short { got, need }) => assert!(got == datagram.len() && got < need),
            Err(Malformed::Magic | Malformed::Action(3)) => {}
            Err(Malformed::Action(action)) => panic!("there is no action {action}"),
        }
    }
    assert!(announces > 1000 && scrapes > 1000);
}
