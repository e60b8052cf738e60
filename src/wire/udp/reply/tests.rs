use super::*;

const TRANSACTION: Transaction = Transaction([0xde, 0xad, 0xbe, 0xef]);
const COUNTS: Counts =
    Counts { seeders: 3, leechers: 0x0c0d, partial_seeds: 1, snatches: 0x0102_0304 };

#[track_caller]
fn check(write: impl FnOnce(&mut Vec<u8>), expected: &str) {
    let mut out = b"earlier".to_vec();
    write(&mut out);
    let hex: String = out[7..].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.replace(' ', ""));
}

#[test]
fn c1_c2_a_connect_reply_has_16_bytes() {
    check(
        |out| write_connect(out, TRANSACTION, 0x0102_0304_0506_0708),
        "00000000 deadbeef 0102030405060708",
    );
}

#[test]
fn c10_an_announce_reply_has_leechers_before_seeders() {
    let peers = [203, 0, 113, 7, 0x1a, 0xe1];
    check(
        |out| write_announce(out, TRANSACTION, Seconds(1800), COUNTS, &peers),
        "00000001 deadbeef 00000708 00000c0d 00000003 cb007107 1ae1",
    );
}

#[test]
fn c11_without_peers_an_announce_reply_has_20_bytes() {
    check(
        |out| write_announce(out, TRANSACTION, Seconds(1800), Counts::default(), &[]),
        "00000001 deadbeef 00000708 00000000 00000000",
    );
}

#[test]
fn c13_a_scrape_reply_has_seeders_snatches_leechers() {
    check(
        |out| write_scrape(out, TRANSACTION, [COUNTS, Counts::default()]),
        "00000002 deadbeef 00000003 01020304 00000c0d 00000000 00000000 00000000",
    );
}

#[test]
fn c13_a_scrape_reply_never_has_more_than_74_torrents() {
    let mut out = Vec::new();
    write_scrape(&mut out, TRANSACTION, vec![COUNTS; 200]);
    assert_eq!(out.len(), 8 + 12 * 74);
}

#[test]
fn c5_an_error_has_a_bounded_text() {
    check(|out| write_error(out, TRANSACTION, &"no"), "00000003 deadbeef 6e6f");
    let mut out = Vec::new();
    write_error(&mut out, TRANSACTION, &"x".repeat(1000));
    assert_eq!(out.len(), 98);
}

#[test]
fn c4_c6_an_error_is_no_longer_than_the_shortest_request_that_causes_it() {
    let shortest_announce = 98;
    assert!(8 + ERROR_TEXT_BYTES_MAX <= shortest_announce);
}

#[test]
fn c8_a_full_reply_fits_a_datagram_that_is_never_fragmented() {
    for peers in [6 * usize::from(PEERS_V4_MAX), 18 * usize::from(PEERS_V6_MAX)] {
        let mut out = Vec::new();
        write_announce(&mut out, TRANSACTION, Seconds(1800), COUNTS, &vec![1; peers]);
        assert!(out.len() <= 1232 && out.len() > 1232 - 18, "{} bytes", out.len());
    }
}
