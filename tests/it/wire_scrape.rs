//! Scrapes over HTTP (BEP 48, BEP 21), over both families. A test is named after the rule of
//! `docs/wire.md` that it shows.

use crate::tracker::http::{Http, announce, answer, counts, fetch, scrape, scraped};
use crate::tracker::{HOMES, Tracker, hash};

#[test]
fn b1_files_are_keyed_by_raw_hash_and_count() {
    let tracker = Tracker::start("");
    // Hashes whose bytes sort otherwise than their text would.
    let torrents = [[0xff; 20], [0; 20], *b"%00\xc3\x28 \"e:d1\x00\x7f\x80abcdef", hash("b1")];
    for (number, home) in HOMES.into_iter().enumerate() {
        for (place, torrent) in torrents.into_iter().enumerate() {
            let port = (number * 10) as u16;
            let at = tracker.http(home);
            answer(at, announce(torrent, port + 1, "&left=5"));
            answer(at, announce(torrent, port + 1, "&left=0&event=completed"));
            for leecher in 0..place as u16 {
                answer(at, announce(torrent, port + 2 + leecher, "&left=5"));
            }
        }
        let told = answer(tracker.http(home), scrape(&torrents));
        let files = told.get("files").entries();
        assert_eq!(files.len(), 4);
        for (place, torrent) in torrents.iter().enumerate() {
            let (times, place) = (number as i64 + 1, place as i64);
            assert_eq!(counts(&files[&torrent[..]]), [times, times * place, times]);
            let keys: Vec<&[u8]> =
                files[&torrent[..]].entries().keys().map(|key| &key[..]).collect();
            assert_eq!(keys, [&b"complete"[..], b"downloaded", b"downloaders", b"incomplete"]);
        }
        let mut backwards = torrents;
        backwards.reverse();
        assert_eq!(answer(tracker.http(home), scrape(&backwards)), told, "order does not matter");
    }
}

#[test]
fn b1_partial_seeds_are_no_downloaders() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let torrent = hash(&format!("partial {home}"));
        for (port, more) in [(1, "&left=5"), (2, "&left=5&event=paused"), (3, "&left=0")] {
            answer(tracker.http(home), announce(torrent, port, more));
        }
        let told = answer(tracker.http(home), scrape(&[torrent]));
        let file = told.get("files").get(torrent);
        assert_eq!((counts(file), file.integer("downloaders")), ([1, 2, 0], 1));
        // It goes on downloading.
        answer(tracker.http(home), announce(torrent, 2, "&left=5"));
        let told = answer(tracker.http(home), scrape(&[torrent]));
        assert_eq!(told.get("files").get(torrent).integer("downloaders"), 2);
    }
}

#[test]
fn b2_many_torrents_at_once_and_unknown_ones_are_zero() {
    let tracker = Tracker::start("");
    let torrents: Vec<[u8; 20]> = (0..100).map(|number| hash(&format!("b2 {number}"))).collect();
    for (number, torrent) in torrents.iter().enumerate().filter(|(number, _)| number % 2 == 0) {
        let home = HOMES[number / 2 % 2];
        answer(tracker.http(home), announce(*torrent, 1, "&left=0"));
    }
    for home in HOMES {
        for asked in [1, 2, 10, 63, 64, 65, 100] {
            let told = answer(tracker.http(home), scrape(&torrents[..asked]));
            let files = told.get("files").entries();
            assert_eq!(files.len(), asked.min(64), "of {asked}");
            for (number, torrent) in torrents[..asked.min(64)].iter().enumerate() {
                let seeders = i64::from(number % 2 == 0);
                assert_eq!(counts(&files[&torrent[..]]), [seeders, 0, 0], "number {number}");
            }
        }
        let twice = answer(tracker.http(home), scrape(&[torrents[0], torrents[0]]));
        assert_eq!(twice.get("files").entries().len(), 1);
    }
}

#[test]
fn b2_a_malformed_hash_is_left_out_or_refused() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let some = format!("{}&info_hash=short&info_hash=", scrape(&[hash("b2")]));
        let told = answer(tracker.http(home), some);
        assert_eq!(told.get("files").entries().len(), 1);
        let none = fetch(tracker.http(home), "/scrape?info_hash=short").failure();
        assert_eq!(none, "info_hash is not 20 bytes long");
    }
}

#[test]
fn b3_the_address_is_that_of_the_announce() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let torrent = hash(&format!("b3 {home}"));
        answer(tracker.http(home), announce(torrent, 1, "&left=0"));
        let target = scrape(&[torrent]);
        let query = target.strip_prefix("/scrape?").unwrap();
        for path in [
            "/scrape?",
            "/0123456789abcdef/scrape?",
            "/scrape/0123456789abcdef?",
            "/scrape.php?passkey=0123456789abcdef&",
            "/scrape?x=y&",
        ] {
            let told = answer(tracker.http(home), format!("{path}{query}"));
            assert_eq!(counts(told.get("files").get(torrent)), [1, 0, 0], "{path}");
        }
    }
}

#[test]
fn b5_clients_are_told_how_often_to_scrape() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let told = answer(tracker.http(home), scrape(&[hash("b5")]));
        assert_eq!(told.get("flags").integer("min_request_interval"), 900);
    }
}

#[test]
fn b6_nothing_is_compressed_unasked() {
    let tracker = Tracker::start("");
    for home in HOMES {
        let mut client = Http::connect(tracker.http(home));
        for accepted in ["", "Accept-Encoding: identity\r\n", "Accept-Encoding: gzip;q=0\r\n"] {
            client.send(format!("GET {} HTTP/1.1\r\n{accepted}\r\n", scrape(&[hash("b6")])));
            let page = client.page();
            assert_eq!(page.header("content-encoding"), None);
            page.dictionary();
        }
    }
}

#[test]
fn b7_a_scrape_changes_nothing() {
    let tracker = Tracker::start("");
    for (number, home) in HOMES.into_iter().enumerate() {
        answer(tracker.http(home), announce(hash(&format!("b7 {home}")), 1, "&left=0"));
        for number in 0..50 {
            assert_eq!(scraped(tracker.http(home), hash(&format!("not there {number}"))), [0; 3]);
        }
        let torrents = number as f64 + 1.0;
        tracker.await_metric("margay_scrapes_total", &["http"], 50.0 * torrents);
        tracker.await_metric("margay_torrents", &[], torrents);
    }
}
