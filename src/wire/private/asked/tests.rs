use shard::private::ClientPrefix;

use super::super::locate;
use super::*;
use crate::wire::udp::{Request, URL_DATA_BYTES_MAX};

const HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
const PEER_ID: &str = "-qB0001-abcdefghijkl";
const PASSKEY: &str = "0123456789abcdefghijklmnopqrstuv";
const BOTH: [Dialect; 2] = [Dialect::Standard, Dialect::Ocelot];

fn with(more: &str) -> String {
    format!("info_hash={HASH}&peer_id={PEER_ID}&compact=1&{more}")
}

#[track_caller]
fn asked(query: &str, dialect: Dialect) -> Asked<'_> {
    Asked::parse(query.as_bytes(), dialect).unwrap_or_else(|refusal| panic!("{refusal}: {query}"))
}

#[track_caller]
fn check_left(more: &str, standard: u64, ocelot: u64) {
    assert_eq!(asked(&with(more), Dialect::Standard).left, standard, "{more}");
    assert_eq!(asked(&with(more), Dialect::Ocelot).left, ocelot, "Ocelot: {more}");
}

#[track_caller]
fn check_counter(value: &str, read: u64) {
    let query = with(&format!("uploaded={value}&downloaded={value}&corrupt={value}"));
    for dialect in BOTH {
        let counters = Counters { uploaded: read, downloaded: read, corrupt: read };
        assert_eq!(asked(&query, dialect).counters, counters, "{value}");
    }
}

#[track_caller]
fn check_client(query: &str, dialect: Dialect, expected: Result<PeerId, Refusal<'static>>) {
    let rules = ClientRules::new([(ClientPrefix::new(b"-qB").unwrap(), true)]);
    assert_eq!(asked(query, dialect).client(&rules), expected, "{dialect:?} {query}");
}

#[test]
fn ocelot_3_counters_are_what_the_client_reports() {
    let query = with("uploaded=1&downloaded=20&corrupt=300&left=4000&port=6881&event=started");
    for dialect in BOTH {
        let asked = asked(&query, dialect);
        assert_eq!(asked.counters, Counters { uploaded: 1, downloaded: 20, corrupt: 300 });
        assert_eq!((asked.left, asked.port, asked.event), (4000, 6881, Event::Started));
    }
}

#[test]
fn ocelot_3_missing_and_odd_numbers_are_0_and_large_ones_saturate() {
    for nothing in ["", "-1", "-9223372036854775808", "NaN", "1.5", "0x10", "+5", " 5", "%"] {
        check_counter(nothing, 0);
    }
    check_counter("0", 0);
    check_counter("9223372036854775806", i64::MAX as u64 - 1);
    check_counter("9223372036854775807", i64::MAX as u64);
    check_counter("9223372036854775808", i64::MAX as u64);
    check_counter("18446744073709551615", i64::MAX as u64);
    check_counter("99999999999999999999999999", i64::MAX as u64);
    for dialect in BOTH {
        assert_eq!(asked(&with(""), dialect).counters, Counters::default());
        assert_eq!(asked(&with("uploaded&corrupt"), dialect).counters, Counters::default());
    }
}

#[test]
fn ocelot_3_without_left_a_client_is_a_seeder_only_as_ocelot_has_it() {
    check_left("left=0", 0, 0);
    check_left("left=16384", 16384, 16384);
    check_left("left=9223372036854775807", i64::MAX as u64, i64::MAX as u64);
    check_left("left=9223372036854775808", u64::MAX, i64::MAX as u64);
    for unknown in ["", "left", "left=", "left=-1", "left=NaN", "left=null"] {
        check_left(unknown, u64::MAX, 0);
    }
}

#[test]
fn ocelot_3_a_port_is_16_bits_or_refused() {
    for (port, read) in [("6881", 6881), ("0", 0), ("65535", 65535), ("", 0)] {
        assert_eq!(asked(&with(&format!("port={port}")), Dialect::Ocelot).port, read, "{port}");
    }
    assert_eq!(asked(&with(""), Dialect::Standard).port, 0);
    let rules = ClientRules::default();
    for port in ["65536", "-1", "x"] {
        let said = |more: &str| {
            let query = with(&format!("port={port}&compact=1{more}"));
            asked(&query, Dialect::Ocelot).client(&rules).err()
        };
        assert_eq!(said(""), Some(Refusal::InvalidPort), "{port}");
        assert_eq!(said("&event=stopped"), None, "{port}");
    }
}

#[test]
fn ocelot_3_a_negative_numwant_is_the_default_and_not_the_whole_swarm() {
    for (numwant, read) in [
        ("", None),
        ("numwant=-1", None),
        ("numwant=-9999999999", None),
        ("numwant=x", None),
        ("numwant=0", Some(0)),
        ("numwant=200", Some(200)),
        ("numwant=99999999999999999999", Some(u32::MAX)),
    ] {
        for dialect in BOTH {
            assert_eq!(asked(&with(numwant), dialect).numwant.asked(), read, "{numwant}");
        }
    }
}

#[test]
fn ocelot_3_events_that_nobody_knows_are_none() {
    for (event, read) in [
        ("started", Event::Started),
        ("completed", Event::Completed),
        ("stopped", Event::Stopped),
        ("paused", Event::Paused),
        ("", Event::None),
        ("empty", Event::None),
        ("Started", Event::None),
    ] {
        let query = with(&format!("event={event}"));
        assert_eq!(asked(&query, Dialect::Ocelot).event, read, "{event}");
    }
}

#[test]
fn ocelot_3_the_order_of_refusals_after_the_torrent() {
    let peer_id = PeerId(*b"-qB0001-abcdefghijkl");
    for dialect in BOTH {
        check_client(&with(""), dialect, Ok(peer_id));
        let query = format!("info_hash={HASH}&compact=1");
        check_client(&query, dialect, Err(Refusal::NoPeerId));
        for wrong in ["", "short", "-qB0001-abcdefghijkl+", "%2DqB0001-abcdefghijk"] {
            let query = format!("info_hash={HASH}&compact=1&peer_id={wrong}");
            check_client(&query, dialect, Err(Refusal::InvalidPeerId));
        }
        let query = format!("info_hash={HASH}&compact=1&peer_id=-XX0001-abcdefghijkl");
        check_client(&query, dialect, Err(Refusal::ClientRefused));
    }
    // What is wrong in two ways says the first of them.
    let query = format!("info_hash={HASH}&compact=0");
    check_client(&query, Dialect::Ocelot, Err(Refusal::NoCompact));
    check_client(&query, Dialect::Standard, Err(Refusal::NoPeerId));
}

#[test]
fn ocelot_3_compact_has_to_be_1_as_ocelot_has_it() {
    let peer_id = PeerId(*b"-qB0001-abcdefghijkl");
    for (compact, is_1, list) in [
        ("", false, false),
        ("&compact", false, false),
        ("&compact=0", false, true),
        ("&compact=2", false, false),
        ("&compact=true", false, false),
        ("&compact=1", true, false),
    ] {
        let query = format!("info_hash={HASH}&peer_id={PEER_ID}{compact}");
        let refused = if is_1 { Ok(peer_id) } else { Err(Refusal::NoCompact) };
        check_client(&query, Dialect::Ocelot, refused);
        check_client(&query, Dialect::Standard, Ok(peer_id));
        assert_eq!(asked(&query, Dialect::Standard).compact, !list, "{compact}");
    }
}

#[test]
fn ocelot_3_an_infohash_that_is_none_is_not_registered() {
    let hash = InfoHash(*b"\x124Vx\x9A\xBC\xDE\xF1#Eg\x89\xAB\xCD\xEF\x124Vx\x9A");
    assert_eq!(asked(&with(""), Dialect::Ocelot).info_hash, Some(hash));
    for wrong in ["", "info_hash&", "info_hash=&", "info_hash=short&", "info_hash=x%00y&"] {
        let query = format!("{wrong}peer_id={PEER_ID}");
        for dialect in BOTH {
            assert_eq!(asked(&query, dialect).info_hash, None, "{wrong}");
        }
    }
}

#[test]
fn a11_two_infohashes_are_malformed() {
    for dialect in BOTH {
        let query = with(&format!("info_hash={HASH}"));
        let refused = Asked::parse(query.as_bytes(), dialect).map(|_| ());
        assert_eq!(refused, Err(Refusal::MalformedAnnounce));
    }
}

#[test]
fn a31_the_passkey_of_the_path_goes_before_that_of_the_query() {
    let key = |text: &'static str| Key::new(text.as_bytes());
    let other = "another000000000000000000000000a";
    let found = Passkey::new(PASSKEY.as_bytes());
    assert_eq!(passkey(key(PASSKEY), None).ok(), found.ok());
    assert_eq!(passkey(None, key(PASSKEY)).ok(), found.ok());
    assert_eq!(passkey(key(PASSKEY), key(other)).ok(), found.ok());
    assert_eq!(passkey(None, None), Err(Refusal::MalformedAnnounce));
    for wrong in ["short", "0123456789abcdefghijklmnopqrstuvw", "0123456789abcdefghijklmnopqrstu-"]
    {
        assert_eq!(passkey(key(wrong), key(PASSKEY)), Err(Refusal::PasskeyNotFound));
    }
    let query = with(&format!("passkey={PASSKEY}"));
    assert_eq!(asked(&query, Dialect::Standard).passkey(None).ok(), found.ok());
    let query = with("");
    assert_eq!(asked(&query, Dialect::Standard).passkey(None), Err(Refusal::MalformedAnnounce));
}

#[test]
fn a32_an_announce_never_prints_its_passkey() {
    let query = with(&format!("passkey={PASSKEY}"));
    assert!(!format!("{:?}", asked(&query, Dialect::Standard)).contains(PASSKEY));
}

#[track_caller]
fn check_key(raw: &str, key: u32) {
    assert_eq!(asked(&with(&format!("key={raw}")), Dialect::Ocelot).key, key, "{raw}");
}

#[test]
fn d2_a_key_is_the_same_over_http_and_udp() {
    check_key("0B1C2D3E", 0x0b1c_2d3e);
    check_key("1a2b3c4d", 0x1a2b_3c4d);
    check_key("b1c2d3e", 0x0b1c_2d3e);
    check_key("7", 7);
    for none in
        ["", "0", "00000000", "-1234567890", "4294967295", "foobar", "%02%F3%04%05%06%07%08%09"]
    {
        check_key(none, 0);
    }
    assert_eq!(asked(&with(""), Dialect::Standard).key, 0);

    let datagram = datagram(0, 0, 0, 0x0b1c_2d3e, b"");
    assert_eq!(udp_asked(&datagram, &mut [0; URL_DATA_BYTES_MAX]).key, 0x0b1c_2d3e);
}

#[test]
fn d2_a_key_that_does_not_last_is_none() {
    // aria2 says another one in each announce over UDP, and eight raw bytes over HTTP.
    let aria2 = with("key=0B1C2D3E").replace("-qB", "A2-");
    assert_eq!(asked(&aria2, Dialect::Standard).key, 0);
    let mut datagram = datagram(0, 0, 0, 0x0b1c_2d3e, b"");
    datagram[36..39].copy_from_slice(b"A2-");
    assert_eq!(udp_asked(&datagram, &mut [0; URL_DATA_BYTES_MAX]).key, 0);
}

/// A UDP announce with these counters, key and options.
fn datagram(downloaded: u64, left: u64, uploaded: u64, key: u32, options: &[u8]) -> Vec<u8> {
    let mut datagram = vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 9, 9, 9, 9];
    datagram.extend_from_slice(&[b'h'; 20]);
    datagram.extend_from_slice(PEER_ID.as_bytes());
    for counter in [downloaded, left, uploaded] {
        datagram.extend_from_slice(&counter.to_be_bytes());
    }
    datagram.extend_from_slice(&2u32.to_be_bytes());
    datagram.extend_from_slice(&[203, 0, 113, 7]);
    datagram.extend_from_slice(&key.to_be_bytes());
    datagram.extend_from_slice(&(-1i32).to_be_bytes());
    datagram.extend_from_slice(&6881u16.to_be_bytes());
    datagram.extend_from_slice(options);
    datagram
}

#[track_caller]
fn udp_asked<'q>(datagram: &'q [u8], buffer: &'q mut [u8; URL_DATA_BYTES_MAX]) -> Asked<'q> {
    let Ok(Request::Announce(announce)) = udp::parse(datagram) else { panic!("no announce") };
    Asked::of_udp(&announce, announce.options.url_data(buffer))
}

#[test]
fn a_udp_announce_says_the_same_as_one_over_http() {
    let datagram = datagram(20, 4000, 1, 0x0b1c_2d3e, b"");
    let mut buffer = [0; URL_DATA_BYTES_MAX];
    let asked = udp_asked(&datagram, &mut buffer);
    assert_eq!(asked.counters, Counters { uploaded: 1, downloaded: 20, corrupt: 0 });
    assert_eq!((asked.left, asked.port, asked.event), (4000, 6881, Event::Started));
    assert_eq!(asked.info_hash, Some(InfoHash([b'h'; 20])));
    assert_eq!(asked.client(&ClientRules::default()), Ok(PeerId(*b"-qB0001-abcdefghijkl")));
    assert_eq!(asked.numwant, Numwant::DEFAULT);
    assert_eq!(asked.claims.udp, Some(Ipv4Addr::new(203, 0, 113, 7)));
    assert_eq!(asked.passkey(None), Err(Refusal::MalformedAnnounce));
}

#[test]
fn udp_counters_are_signed_and_left_may_be_unknown() {
    let datagram = datagram(u64::MAX, u64::MAX, 1 << 63, 7, b"");
    let mut buffer = [0; URL_DATA_BYTES_MAX];
    let asked = udp_asked(&datagram, &mut buffer);
    assert_eq!(asked.counters, Counters::default());
    assert_eq!(asked.left, u64::MAX);
}

#[test]
fn c12_a_passkey_over_udp_may_come_in_pieces_behind_unknown_options() {
    let (start, end) = PASSKEY.split_at(10);
    let mut options = b"\x01\x7f\x03abc\x02\x0b/".to_vec();
    options.extend_from_slice(start.as_bytes());
    options.extend_from_slice(b"\x01\x09\x00\x02\x16");
    options.extend_from_slice(end.as_bytes());
    options.extend_from_slice(b"\x02\x09/announce\x00");
    let datagram = datagram(0, 0, 0, 0, &options);
    let mut buffer = [0; URL_DATA_BYTES_MAX];
    let asked = udp_asked(&datagram, &mut buffer);
    assert_eq!(asked.passkey(None).ok(), Passkey::new(PASSKEY.as_bytes()).ok());
}

#[test]
fn the_engine_gets_what_was_asked() {
    let query = with(
        "uploaded=1&downloaded=2&corrupt=3&left=4&port=5&event=completed&key=6&ipv6=2001:db8::1",
    );
    let asked = asked(&query, Dialect::Standard);
    let user = User { id: shard::private::UserId(9), can_leech: true, hidden: false, group: None };
    let (address, networks) = ([10, 0, 0, 7].into(), ["10.0.0.0/8".parse().unwrap()]);
    let located = locate(&asked, address, &networks);
    assert_eq!((located.endpoints.port_v6(), located.assumed.v6), (Some(5), true));
    let families = Families { v4: true, v6: false };
    let peer_id = asked.client(&ClientRules::default()).unwrap();
    let info_hash = asked.info_hash.unwrap();
    assert_eq!(
        asked.to_engine(info_hash, peer_id, user, &located, 30, families),
        Announce {
            info_hash,
            user,
            peer_id,
            key: 6,
            endpoints: located.endpoints,
            counters: Counters { uploaded: 1, downloaded: 2, corrupt: 3 },
            left: 4,
            event: Event::Completed,
            numwant: 30,
            families,
            assumed: located.assumed,
            interval: Seconds(0),
            downloads_full: false,
        }
    );
}
