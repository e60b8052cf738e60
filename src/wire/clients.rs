//! Requests as real clients make them, through both codecs. The clients' habits are described, not
//! recorded: each request has the parameters, order, escapes and headers that its client uses.

use shard::{Event, InfoHash};

use super::http::{Head, Parsed, Persistence, Target, parse_head};
use super::ocelot::{Flavour, Report, Update};
use super::private::{self, Asked, ClientRules, Dialect, Refusal};
use super::query::{Announce, parse_announce, parse_scrape};
use super::udp;

/// The torrent of all these requests.
const HASH: [u8; 20] = *b"\x12\x34Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x01'~!*";

/// Checks an HTTP announce: `path` and what it says, as `left port event numwant key`.
#[track_caller]
fn check_announce(request: &str, path: &str, says: &str) {
    let head = head(request);
    assert!(matches!(head.target(), Target::Announce(_)), "{path}");
    assert_eq!(head.path, path.as_bytes());
    let announce = parse_announce(head.query).unwrap();
    assert_eq!(announce.info_hash, InfoHash(HASH));
    assert_eq!(said(&announce), says);
}

#[track_caller]
fn head(request: &str) -> Head<'_> {
    match parse_head(request.as_bytes(), 0) {
        Ok(Parsed::Complete { head, consumed }) if consumed == request.len() => head,
        other => panic!("{other:?}"),
    }
}

fn said(announce: &Announce<'_>) -> String {
    let number = |value: Option<u32>| value.map_or("-".to_owned(), |value| value.to_string());
    let left = if announce.left == u64::MAX { "?".to_owned() } else { announce.left.to_string() };
    format!(
        "left={left} port={} {:?} numwant={} key={}",
        number(announce.port.map(u32::from)),
        announce.event,
        number(announce.numwant.asked()),
        announce.key.escape_ascii()
    )
}

/// Leaves letters, digits and `-_!.~*()` bare; the apostrophe stays escaped.
const LIBTORRENT_HASH: &str = "%124Vx%9a%bc%de%f1%23Eg%89%ab%cd%ef%01%27~!*";
/// Leaves letters, digits and `-_.~` bare.
const STRICT_HASH: &str = "%124Vx%9A%BC%DE%F1%23Eg%89%AB%CD%EF%01%27~%21%2A";
/// Escapes every byte.
const ALL_ESCAPED_HASH: &str = "%12%34%56%78%9A%BC%DE%F1%23%45%67%89%AB%CD%EF%01%27%7E%21%2A";

#[test]
fn libtorrent_started_with_a_magnet_link() {
    check_announce(
        &format!(
            "GET /announce?info_hash={LIBTORRENT_HASH}&peer_id=-qB5020-k(3~oN!x_P.a&port=6881\
             &uploaded=0&downloaded=0&left=16384&corrupt=0&key=0B1C2D3E&event=started&numwant=200\
             &compact=1&no_peer_id=1&supportcrypto=1&redundant=0 HTTP/1.1\r\n\
             Host: tracker.example:6969\r\nUser-Agent: qBittorrent/5.0.2\r\n\
             Accept-Encoding: gzip\r\nConnection: close\r\n\r\n"
        ),
        "/announce",
        "left=16384 port=6881 Started numwant=200 key=0B1C2D3E",
    );
}

#[test]
fn libtorrent_is_a_partial_seed() {
    check_announce(
        &format!(
            "GET /announce?info_hash={LIBTORRENT_HASH}&peer_id=-LT20B0-k(3~oN!x_P.a&port=6881\
             &uploaded=10&downloaded=20&left=1048576&corrupt=0&key=0B1C2D3E&event=paused\
             &numwant=200&compact=1&no_peer_id=1&supportcrypto=1&redundant=16384 HTTP/1.1\r\n\
             Host: tracker.example\r\nUser-Agent: libtorrent/2.0.11\r\nConnection: close\r\n\r\n"
        ),
        "/announce",
        "left=1048576 port=6881 Paused numwant=200 key=0B1C2D3E",
    );
}

#[test]
fn libtorrent_stops_and_the_address_had_a_query() {
    check_announce(
        &format!(
            "GET /announce.php?passkey=0123456789abcdef&info_hash={LIBTORRENT_HASH}\
             &peer_id=-DE2110-k(3~oN!x_P.a&port=6881&uploaded=10&downloaded=20&left=0&corrupt=0\
             &key=0B1C2D3E&event=stopped&numwant=0&compact=1&no_peer_id=1&supportcrypto=1\
             &redundant=0 HTTP/1.1\r\nHost: tracker.example\r\n\r\n"
        ),
        "/announce.php",
        "left=0 port=6881 Stopped numwant=0 key=0B1C2D3E",
    );
}

#[test]
fn transmission_knows_both_its_addresses_and_has_a_magnet_link() {
    let request = format!(
        "GET /announce?info_hash={STRICT_HASH}&peer_id=-TR4060-0123456789ab&port=51413\
         &uploaded=0&downloaded=0&left=9223372036854775807&numwant=80&key=1a2b3c4d&compact=1\
         &supportcrypto=1&event=started&ipv4=203.0.113.7&ipv6=2001%3Adb8%3A%3A7 HTTP/1.1\r\n\
         Host: tracker.example:6969\r\nUser-Agent: Transmission/4.0.6\r\nAccept: */*\r\n\
         Accept-Encoding: deflate, gzip, br, zstd\r\n\r\n"
    );
    check_announce(
        &request,
        "/announce",
        "left=9223372036854775807 port=51413 Started numwant=80 key=1a2b3c4d",
    );
    let announce = parse_announce(head(&request).query).unwrap();
    assert_eq!(announce.ipv4, Some(&b"203.0.113.7"[..]));
    assert_eq!(announce.ipv6, Some(&b"2001%3Adb8%3A%3A7"[..]));
}

#[test]
fn transmission_stops() {
    check_announce(
        &format!(
            "GET /0123abcd/announce?info_hash={STRICT_HASH}&peer_id=-TR4060-0123456789ab\
             &port=51413&uploaded=1&downloaded=2&left=3&numwant=0&key=1a2b3c4d&compact=1\
             &supportcrypto=1&event=stopped HTTP/1.1\r\nHost: x\r\n\r\n"
        ),
        "/0123abcd/announce",
        "left=3 port=51413 Stopped numwant=0 key=1a2b3c4d",
    );
}

#[test]
fn rtorrent_says_its_other_address_and_no_numwant() {
    let request = format!(
        "GET /announce?info_hash={ALL_ESCAPED_HASH}\
         &peer_id=%2D%6C%74%30%45%35%31%2D%00%FF%01%02%03%04%05%06%07%08%09%0A&key=1a2b3c4d\
         &ip=2001:db8::7&compact=1&port=6900&uploaded=0&downloaded=0&left=1000&event=started \
         HTTP/1.1\r\nHost: tracker.example\r\nUser-Agent: rtorrent/0.15.1/0.15.1\r\n\
         Accept: */*\r\nAccept-Encoding: deflate, gzip\r\n\r\n"
    );
    check_announce(&request, "/announce", "left=1000 port=6900 Started numwant=- key=1a2b3c4d");
    let announce = parse_announce(head(&request).query).unwrap();
    assert_eq!(announce.ip, Some(&b"2001:db8::7"[..]));
    assert_eq!(announce.peer_id[8..12], [0, 0xff, 1, 2]);
}

#[test]
fn aria2_leaves_the_port_out_and_escapes_its_key() {
    check_announce(
        &format!(
            "GET /announce?info_hash={STRICT_HASH}&peer_id=A2-1-37-0-%00%01%02%F3%04%05%06%07%08\
             %09&uploaded=0&downloaded=0&left=0&compact=1&key=%02%F3%04%05%06%07%08%09&numwant=50\
             &no_peer_id=1&event=started&supportcrypto=1 HTTP/1.1\r\n\
             User-Agent: aria2/1.37.0\r\nAccept: */*\r\nHost: tracker.example\r\n\
             Pragma: no-cache\r\nCache-Control: no-cache\r\nConnection: close\r\n\
             Want-Digest: SHA-512;q=1, SHA-256;q=1, SHA;q=0.1\r\n\r\n"
        ),
        "/announce",
        "left=0 port=- Started numwant=50 key=%02%F3%04%05%06%07%08%09",
    );
}

#[test]
fn anacrolix_sorts_its_keys_and_repeats_ip() {
    let request = format!(
        "GET /announce?compact=1&downloaded=0&event=started&info_hash={STRICT_HASH}\
         &ip=203.0.113.7&ip=2001%3Adb8%3A%3A7&key=-1234567890&left=9223372036854775807\
         &peer_id=-GT0003-%20%2B%00%FF89abcdef&port=42069&supportcrypto=1&uploaded=0 HTTP/1.1\r\n\
         Host: tracker.example\r\nUser-Agent: anacrolix-torrent\r\nAccept-Encoding: gzip\r\n\r\n"
    );
    check_announce(
        &request,
        "/announce",
        "left=9223372036854775807 port=42069 Started numwant=- key=-1234567890",
    );
    let announce = parse_announce(head(&request).query).unwrap();
    assert_eq!(announce.ip, Some(&b"203.0.113.7"[..]));
    assert_eq!(&announce.peer_id[8..12], b" +\0\xff");
}

#[test]
fn utorrent_sends_what_nobody_else_does() {
    check_announce(
        &format!(
            "GET /announce?info_hash={STRICT_HASH}&peer_id=-UT3550-%00%01%02%03%04%05%06%07%08%09\
             %0A%0B&port=23456&uploaded=0&downloaded=0&left=4096&corrupt=0&key=89ABCDEF\
             &event=started&numwant=200&compact=1&no_peer_id=1&ipv6=2001%3A0%3A1%3A2%3A3%3A4%3A5\
             %3A6 HTTP/1.1\r\nHost: tracker.example\r\nUser-Agent: uTorrent/3550\r\n\
             Accept-Encoding: gzip\r\nConnection: Close\r\n\r\n"
        ),
        "/announce",
        "left=4096 port=23456 Started numwant=200 key=89ABCDEF",
    );
}

#[test]
fn a_client_without_left_or_event_over_http_1_0() {
    let request = format!(
        "GET http://tracker.example/announce?&info_hash={STRICT_HASH}&peer_id=XL0012------\
         01234567&port=15000&event=&left=NaN& HTTP/1.0\nuser-agent:x\n\n"
    );
    check_announce(&request, "/announce", "left=? port=15000 None numwant=- key=");
    assert_eq!(head(&request).persistence, Persistence::Close);
}

#[test]
fn a_site_asks_without_host_and_reads_to_the_end() {
    let request = "GET /0123abcd/scrape?info_hash=%00%01%02%03%04%05%06%07%08%09%0a%0b%0c%0d%0e%0f\
                   %10%11%12%13 HTTP/1.1\r\nConnection: Close\r\n\r\n";
    let head = head(request);
    assert!(matches!(head.target(), Target::Scrape(Some(key)) if key.bytes() == b"0123abcd"));
    let mut hashes = Vec::new();
    parse_scrape(head.query, &mut hashes).unwrap();
    assert_eq!(hashes, [InfoHash(std::array::from_fn(|at| at as u8))]);
    assert_eq!(head.persistence, Persistence::Close);
}

#[test]
fn transmission_scrapes_sixty_torrents_at_once() {
    let hashes: Vec<[u8; 20]> = (0..60).map(|torrent| [torrent * 4; 20]).collect();
    let mut request = b"GET /scrape?".to_vec();
    for (number, hash) in hashes.iter().enumerate() {
        request.extend_from_slice(if number == 0 { b"info_hash=" } else { b"&info_hash=" });
        super::percent::encode(hash, &mut request);
    }
    request.extend_from_slice(b" HTTP/1.1\r\nHost: x\r\n\r\n");
    let request = String::from_utf8(request).unwrap();
    let mut found = Vec::new();
    parse_scrape(head(&request).query, &mut found).unwrap();
    assert!(found.iter().map(|hash| hash.0).eq(hashes));
}

/// A UDP announce with this event, left, numwant, key and options.
fn datagram(event: u32, left: u64, numwant: i32, key: u32, options: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 1, 9, 9, 9, 9]);
    datagram.extend_from_slice(&HASH);
    datagram.extend_from_slice(b"-LT20B0-k(3~oN!x_P.a");
    for amount in [0, left, 0] {
        datagram.extend_from_slice(&amount.to_be_bytes());
    }
    datagram.extend_from_slice(&event.to_be_bytes());
    datagram.extend_from_slice(&[0; 4]);
    datagram.extend_from_slice(&key.to_be_bytes());
    datagram.extend_from_slice(&numwant.to_be_bytes());
    datagram.extend_from_slice(&6881u16.to_be_bytes());
    datagram.extend_from_slice(options);
    datagram
}

#[track_caller]
fn check_udp(datagram: &[u8], left: u64, event: Event, numwant: Option<u32>, target: Target<'_>) {
    let Ok(udp::Request::Announce(announce)) = udp::parse(datagram) else { panic!("no announce") };
    assert_eq!((announce.left, announce.event), (left, event));
    assert_eq!(announce.numwant.asked(), numwant);
    let mut buffer = [0; udp::URL_DATA_BYTES_MAX];
    assert_eq!(Target::of_url_data(announce.options.url_data(&mut buffer)), target);
}

#[test]
fn libtorrent_over_udp_sends_paused_as_4_and_its_path() {
    let options = b"\x02\x09/announce";
    let datagram = datagram(4, 16384, 200, 0x0b1c_2d3e, options);
    check_udp(&datagram, 16384, Event::Paused, Some(200), Target::Announce(None));

    let Ok(udp::Request::Announce(over_udp)) = udp::parse(&datagram) else { panic!() };
    let query = format!("info_hash={LIBTORRENT_HASH}&peer_id=-LT20B0-k(3~oN!x_P.a&key=0B1C2D3E");
    let over_http = parse_announce(query.as_bytes()).unwrap();
    assert_eq!(over_udp.client(), over_http.client(), "one client, whatever the protocol");
}

#[test]
fn anacrolix_over_udp_sends_left_of_minus_one() {
    let datagram = datagram(2, u64::MAX, 200, 7, b"\x02\x09/announce\x00\x00");
    check_udp(&datagram, u64::MAX, Event::Started, Some(200), Target::Announce(None));
}

#[test]
fn utorrent_over_udp_puts_a_passkey_in_its_options() {
    let datagram = datagram(1, 0, -1, 7, b"\x01\x02\x05/0123\x02\x0dabcd/announce\x00");
    let key = super::Key::new(b"0123abcd");
    check_udp(&datagram, 0, Event::Completed, None, Target::Announce(key));
}

/// The passkey and password of the tests below.
const SECRET: &str = "0123456789abcdefghijklmnopqrstuv";

/// Checks a private announce: its passkey, and what it says as `uploaded downloaded corrupt left`.
#[track_caller]
fn check_private(request: &str, says: [u64; 4]) {
    let head = head(request);
    let private::Target::Announce(key) = private::Target::of(&head, request.len()) else {
        panic!("no announce: {request}");
    };
    for dialect in [Dialect::Standard, Dialect::Ocelot] {
        let asked = Asked::parse(head.query, dialect).unwrap();
        assert_eq!(asked.passkey(key).unwrap().reveal(), SECRET);
        assert_eq!(asked.info_hash, Some(InfoHash(HASH)));
        assert!(asked.client(&ClientRules::default()).is_ok());
        let counters = asked.counters;
        let found = [counters.uploaded, counters.downloaded, counters.corrupt, asked.left];
        assert_eq!(found, says);
    }
}

#[test]
fn libtorrent_with_a_passkey_in_the_path() {
    check_private(
        &format!(
            "GET /{SECRET}/announce?info_hash={LIBTORRENT_HASH}&peer_id=-qB5020-k(3~oN!x_P.a\
             &port=6881&uploaded=10&downloaded=20&left=30&corrupt=4&key=0B1C2D3E&numwant=200\
             &compact=1&no_peer_id=1&supportcrypto=1&redundant=16384 HTTP/1.1\r\n\
             Host: tracker.example\r\nUser-Agent: qBittorrent/5.0.2\r\nConnection: close\r\n\r\n"
        ),
        [10, 20, 4, 30],
    );
}

#[test]
fn libtorrent_with_a_passkey_in_the_query() {
    check_private(
        &format!(
            "GET /announce.php?passkey={SECRET}&info_hash={LIBTORRENT_HASH}\
             &peer_id=-DE2110-k(3~oN!x_P.a&port=6881&uploaded=10&downloaded=20&left=0&corrupt=0\
             &key=0B1C2D3E&event=completed&numwant=200&compact=1&no_peer_id=1&supportcrypto=1\
             &redundant=0 HTTP/1.1\r\nHost: tracker.example\r\n\r\n"
        ),
        [10, 20, 0, 0],
    );
}

#[test]
fn aria2_with_a_passkey_behind_the_word() {
    check_private(
        &format!(
            "GET /announce/{SECRET}?info_hash={STRICT_HASH}&peer_id=A2-1-37-0-%00%01%02%F3%04%05\
             %06%07%08%09&uploaded=1&downloaded=2&left=3&compact=1&key=%02%F3%04%05%06%07%08%09\
             &numwant=50&no_peer_id=1&event=started&supportcrypto=1 HTTP/1.1\r\n\
             User-Agent: aria2/1.37.0\r\nHost: tracker.example\r\nConnection: close\r\n\r\n"
        ),
        [1, 2, 0, 3],
    );
}

#[test]
fn libtorrent_over_udp_sends_its_path_with_the_passkey() {
    let path = format!("/{SECRET}/announce");
    let options = [&[2, path.len() as u8], path.as_bytes()].concat();
    let datagram = datagram(0, 5, 200, 0x0b1c_2d3e, &options);
    let Ok(udp::Request::Announce(announce)) = udp::parse(&datagram) else { panic!() };
    let mut buffer = [0; udp::URL_DATA_BYTES_MAX];
    let asked = Asked::of_udp(&announce, announce.options.url_data(&mut buffer));
    assert_eq!(asked.passkey(None).unwrap().reveal(), SECRET);

    let query = format!("info_hash={LIBTORRENT_HASH}&peer_id=-LT20B0-k(3~oN!x_P.a&key=0B1C2D3E");
    let over_http = Asked::parse(query.as_bytes(), Dialect::Standard).unwrap();
    assert_eq!(asked.key, over_http.key, "one client, whatever the protocol");
}

#[test]
fn a_client_that_sends_no_path_over_udp_has_no_passkey() {
    let datagram = datagram(2, 5, 50, 7, b"\x00\x00");
    let Ok(udp::Request::Announce(announce)) = udp::parse(&datagram) else { panic!() };
    let mut buffer = [0; udp::URL_DATA_BYTES_MAX];
    let asked = Asked::of_udp(&announce, announce.options.url_data(&mut buffer));
    assert_eq!(asked.passkey(None), Err(Refusal::MalformedAnnounce));
}

#[test]
fn ocelot_12_3_a_site_of_whatcd_updates_without_host() {
    let request = format!(
        "GET /{SECRET}/update?action=update_user&passkey={SECRET}&can_leech=0 HTTP/1.1\r\n\
         Connection: Close\r\n\r\n"
    );
    let head = head(&request);
    assert_eq!(head.persistence, Persistence::Close);
    let private::Target::Update(site) = private::Target::of(&head, request.len()) else { panic!() };
    assert!(site.secret.is(SECRET.as_bytes()));
    let update = Update::parse(site.query);
    assert!(matches!(update, Update::UpdateUser { can_leech: Some(false), hidden: None, .. }));
}

#[test]
fn a_site_of_orpheus_adds_a_torrent_and_asks_for_figures() {
    let rest = "HTTP/1.1\r\nHost: tracker.example\r\nConnection: Close\r\n\r\n";
    let request = format!(
        "GET /{SECRET}/update?action=add_torrent&info_hash={STRICT_HASH}&id=7&freetorrent=0 {rest}"
    );
    let private::Target::Update(site) = private::Target::of(&head(&request), request.len()) else {
        panic!();
    };
    let update = Update::parse(site.query);
    assert!(matches!(update, Update::AddTorrent { info_hash: InfoHash(HASH), .. }));

    let request = format!("GET /{SECRET}/report?get=stats {rest}");
    let private::Target::Report(site) = private::Target::of(&head(&request), request.len()) else {
        panic!();
    };
    assert_eq!(Report::parse(site.query, Flavour::Orpheus), Report::Stats);
}
