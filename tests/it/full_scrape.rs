//! Full scrapes (rule B4 of `docs/wire.md`): every torrent in one answer, where the
//! operator has switched that on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::read::GzDecoder;
use persist::{DataDir, Meta, Mode, SnapshotWriter};
use shard::{ClientTag, InfoHash, PeerRecord, PeerState, Piece, Seconds, SwarmRecord};
use tempfile::TempDir;

use crate::tracker::bencode::Value;
use crate::tracker::http::{Http, announce, answer, counts, fetch, scrape};
use crate::tracker::{HOMES, Tracker, hash, patiently};

/// Made anew so often that a test need not wait.
const ON: &str = "--full-scrape --full-scrape-interval 1s";

/// The torrents of a full scrape, whose every other byte is as it should be.
#[track_caller]
fn files(told: &Value) -> BTreeMap<Vec<u8>, Value> {
    assert_eq!(told.entries().len(), 2, "files and flags");
    assert_eq!(told.get("flags").entries().len(), 1);
    assert_eq!(told.get("flags").integer("min_request_interval"), 1);
    told.get("files").entries().clone()
}

/// Asks until the answer is one that `wanted` takes.
#[track_caller]
fn await_files(
    tracker: SocketAddr,
    wanted: impl Fn(&BTreeMap<Vec<u8>, Value>) -> bool,
) -> BTreeMap<Vec<u8>, Value> {
    patiently("a full scrape", || {
        let told = fetch(tracker, "/scrape").dictionary();
        if told.find("failure reason").is_some() {
            return None;
        }
        Some(files(&told)).filter(|files| wanted(files))
    })
}

/// A data folder with a snapshot of these torrents: each with one seeder, and with as many downloads as
/// its place says.
fn fill(data: &Path, torrents: &[[u8; 20]]) {
    let data = DataDir::open(data).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = Seconds(now as u32);
    let meta = Meta {
        written_at: now,
        interval: Seconds(1800),
        peer_timeout: Seconds(4500),
        mode: Mode::Open,
    };
    let mut writer = SnapshotWriter::create(&data, meta).unwrap();
    for (piece, torrents) in torrents.chunks(1000).enumerate() {
        let swarm = |(place, torrent): (usize, &[u8; 20])| SwarmRecord {
            info_hash: InfoHash(*torrent),
            snatches: (piece * 1000 + place) as u32,
            peers_v4: 1,
            peers_v6: 0,
        };
        let peer = PeerRecord {
            address: Ipv4Addr::new(127, 0, 0, 9),
            port: 6881,
            client: ClientTag::from_bits(1),
            state: PeerState::Seeder,
            last_seen: now,
        };
        let swarms = torrents.iter().enumerate().map(swarm).collect();
        let peers_v4 = vec![peer; torrents.len()];
        writer.append(&Piece { swarms, peers_v4, peers_v6: Vec::new() }).unwrap();
    }
    writer.finish().unwrap();
}

/// So many torrents that their answer fits into no buffer of the kernel.
fn many() -> Vec<[u8; 20]> {
    (0..80_000).map(|number| hash(&format!("one of many, {number}"))).collect()
}

#[test]
fn b4_a_full_scrape_is_off() {
    let tracker = Tracker::start("");
    for home in HOMES {
        answer(tracker.http(home), announce(hash("b4"), 1, "&left=0"));
        for target in ["/scrape", "/scrape?", "/scrape?x=y"] {
            let told = fetch(tracker.http(home), target);
            assert_eq!(told.failure(), "Full scrape is not available here");
            assert_eq!(told.dictionary().text("retry in"), b"never");
        }
    }
    assert_eq!(tracker.times_logged("full scrape"), 0);
}

#[test]
fn b4_an_empty_tracker_has_an_empty_full_scrape() {
    let tracker = Tracker::start(&format!("--cores 2 {ON}"));
    for home in HOMES {
        assert!(await_files(tracker.http(home), |_| true).is_empty());
        let body = fetch(tracker.http(home), "/scrape?").body;
        assert_eq!(body, b"d5:filesde5:flagsd20:min_request_intervali1eee");
    }
}

#[test]
fn b4_every_torrent_is_there_as_in_a_scrape_of_its_own() {
    let tracker = Tracker::start(&format!("--cores 2 {ON}"));
    let torrents: Vec<[u8; 20]> = (0..2000).map(|number| hash(&format!("b4 {number}"))).collect();
    let mut clients = HOMES.map(|home| Http::connect(tracker.http(home)));
    for (number, torrent) in torrents.iter().enumerate() {
        // Seeders, leechers, partial seeds, and some that only were there.
        for (port, more) in ["&left=5", "&left=5", "&left=5&event=paused", "&left=5"]
            .iter()
            .enumerate()
            .take(number % 5)
        {
            clients[number % 2].get(&announce(*torrent, port as u16 + 1, more)).dictionary();
        }
        if number % 5 > 0 {
            let completes = announce(*torrent, 1, "&left=0&event=completed");
            clients[number % 2].get(&completes).dictionary();
        }
        if number % 7 == 1 {
            let stop = announce(*torrent, 1, "&left=0&event=stopped");
            clients[number % 2].get(&stop).dictionary();
        }
    }
    let mut whole = BTreeMap::new();
    for some in torrents.chunks(50) {
        let told = answer(tracker.http(HOMES[1]), scrape(some));
        whole.extend(told.get("files").entries().clone());
    }
    whole.retain(|_, file| counts(file) != [0; 3]);
    assert_eq!(whole.len(), 1600, "all but every fifth");
    await_files(tracker.http(HOMES[0]), |files| *files == whole);
    // On a connection that stays, between other requests, over both families.
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\n\r\nGET /scrape HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        assert!(client.page().body.starts_with(b"This is a BitTorrent tracker"));
        let page = client.page();
        assert!(page.body.len() > 2 * 64 * 1024, "{} bytes are few", page.body.len());
        assert_eq!(files(&page.dictionary()), whole);
        assert!(client.page().body.starts_with(b"This is a BitTorrent tracker"));
    }
}

#[test]
fn b4_a_change_is_in_the_next_full_scrape() {
    let tracker = Tracker::start(ON);
    for home in HOMES {
        let torrent = hash(&format!("b4 change {home}"));
        let at = tracker.http(home);
        for seeders in 1..=2 {
            answer(at, announce(torrent, seeders, "&left=0"));
            await_files(at, |files| {
                files.get(&torrent[..]).is_some_and(|file| counts(file)[0] == i64::from(seeders))
            });
        }
        for port in 1..=2 {
            answer(at, announce(torrent, port, "&left=0&event=stopped"));
        }
        await_files(at, |files| !files.contains_key(&torrent[..]));
    }
}

#[test]
fn b4_torrents_that_a_list_refuses_are_left_out() {
    let data = TempDir::new().unwrap();
    let torrents = [hash("allowed"), hash("denied")];
    fill(data.path(), &torrents);
    let list = data.path().join("denied");
    let hex: String = torrents[1].iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(&list, hex).unwrap();
    let tracker = Tracker::start_on(data.path(), &format!("{ON} --deny-list {}", list.display()));
    let files = await_files(tracker.http(HOMES[0]), |_| true);
    assert_eq!(files.keys().collect::<Vec<_>>(), [&torrents[0].to_vec()]);
}

#[test]
fn b4_head_and_http_1_0() {
    let tracker = Tracker::start(ON);
    for home in HOMES {
        let at = tracker.http(home);
        answer(at, announce(hash("b4"), 1, "&left=0"));
        let whole = await_files(at, |files| files.len() == 1);
        let mut client = Http::connect(at);
        client.send("HEAD /scrape HTTP/1.1\r\n\r\n");
        let head = client.try_page(false).unwrap();
        let page = client.get("/scrape");
        assert_eq!(head.head, page.head);
        assert_eq!(page.header("connection"), None);

        for (headers, stays) in [("", false), ("Connection: keep-alive\r\n", true)] {
            let mut client = Http::connect(at);
            client.send(format!("GET /scrape HTTP/1.0\r\n{headers}\r\n"));
            let page = client.page();
            assert_eq!(page.header("connection"), Some(if stays { "keep-alive" } else { "close" }));
            assert_eq!(files(&page.dictionary()), whole);
            if !stays {
                client.check_end();
            }
        }
        // One that closes its half, and one that goes on sending.
        let mut client = Http::connect(at);
        client.send("GET /scrape HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        client.finish();
        assert_eq!(files(&client.page().dictionary()), whole);
        client.check_end();
    }
}

#[test]
fn b6_a_full_scrape_is_packed_for_who_accepts_it() {
    let data = TempDir::new().unwrap();
    let torrents: Vec<[u8; 20]> = (0..5000).map(|number| hash(&format!("b6 {number}"))).collect();
    fill(data.path(), &torrents);
    let tracker = Tracker::start_on(data.path(), &format!("--cores 2 {ON}"));
    for home in HOMES {
        let whole = await_files(tracker.http(home), |files| files.len() == torrents.len());
        let mut client = Http::connect(tracker.http(home));
        for accepted in ["", "Accept-Encoding: br, gzip;q=0\r\n"] {
            client.send(format!("GET /scrape HTTP/1.1\r\n{accepted}\r\n"));
            let page = client.page();
            assert_eq!(page.header("content-encoding"), None);
            assert_eq!(files(&page.dictionary()), whole);
        }
        for accepted in ["gzip", "deflate, gzip;q=0.5"] {
            for method in ["HEAD", "GET"] {
                client.send(format!(
                    "{method} /scrape HTTP/1.1\r\nAccept-Encoding: {accepted}\r\n\r\n"
                ));
                let page = client.try_page(method == "GET").unwrap();
                assert_eq!(page.header("content-encoding"), Some("gzip"));
                if method == "HEAD" {
                    continue;
                }
                assert!(page.body.len() < 5000 * 50, "{} bytes are many", page.body.len());
                let mut unpacked = Vec::new();
                GzDecoder::new(&page.body[..]).read_to_end(&mut unpacked).unwrap();
                assert_eq!(files(&Value::read(&unpacked)), whole);
            }
        }
    }
}

#[test]
fn b4_while_none_is_made_clients_are_asked_back() {
    let data = TempDir::new().unwrap();
    // In the way of the file.
    let obstacle = data.path().join("full-scrape.part");
    fs::create_dir(&obstacle).unwrap();
    let tracker = Tracker::start_on(data.path(), ON);
    tracker.await_logged("full scrape not made", 1);
    for home in HOMES {
        for request in ["/scrape", "/scrape?x=y"] {
            let told = fetch(tracker.http(home), request);
            assert_eq!(
                told.failure(),
                "Full scrape is not ready yet, please try again in a minute"
            );
            assert_eq!(told.dictionary().integer("retry in"), 1);
            assert_eq!(told.dictionary().integer("interval"), 60);
        }
    }
    tracker.await_metric("margay_refusals_total", &["overload"], 4.0);
    fs::remove_dir(&obstacle).unwrap();
    await_files(tracker.http(HOMES[0]), |files| files.is_empty());
    let left: Vec<_> = fs::read_dir(data.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name != "full-scrape.part"), "{left:?}");
}

#[test]
fn b4_a_slow_reader_is_cut_off_and_others_are_served() {
    let (data, torrents) = (TempDir::new().unwrap(), many());
    fill(data.path(), &torrents);
    let times = "--http-request-timeout 3s --http-header-timeout 3s";
    let tracker = Tracker::start_on(data.path(), &format!("--cores 2 {ON} {times}"));
    for home in HOMES {
        let at = tracker.http(home);
        await_files(at, |files| files.len() == torrents.len());
        let mut slow = Http::connect_small(at);
        slow.send("GET /scrape HTTP/1.1\r\n\r\n");
        // As others come and go, so do the editions, and the slow one keeps its own.
        let before = tracker.metric("margay_refusals_total", &["timeout"]);
        while tracker.metric("margay_refusals_total", &["timeout"]) == before {
            let whole = fetch(at, "/scrape").dictionary();
            assert_eq!(files(&whole).len(), torrents.len());
        }
        slow.await_end();
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
    }
    for (place, torrent) in torrents.iter().enumerate().step_by(9973) {
        let told = answer(tracker.http(HOMES[0]), scrape(&[*torrent]));
        assert_eq!(counts(told.get("files").get(torrent)), [1, 0, place as i64]);
    }
}

#[test]
fn b4_readers_have_a_bound_and_what_they_leave_is_free_again() {
    let (data, torrents) = (TempDir::new().unwrap(), many());
    fill(data.path(), &torrents);
    let tracker = Tracker::start_on(data.path(), ON);
    let mut files = None;
    for home in HOMES {
        let at = tracker.http(home);
        await_files(at, |files| files.len() == torrents.len());
        let mut readers: Vec<Http> = (0..8).map(|_| Http::connect_small(at)).collect();
        for reader in &mut readers {
            reader.send("GET /scrape HTTP/1.1\r\n\r\n");
        }
        tracker.await_metric("margay_http_connections_open", &[], 8.0);
        let before = tracker.metric("margay_refusals_total", &["overload"]);
        let told = fetch(at, "/scrape");
        assert_eq!(
            told.failure(),
            "Full scrape is being read by too many, please try again in a minute"
        );
        assert_eq!(told.dictionary().integer("retry in"), 1);
        tracker.await_metric("margay_refusals_total", &["overload"], before + 1.0);
        // Other requests do not mind.
        answer(at, scrape(&torrents[..1]));
        // One reads to the end, the others hang up in the middle.
        let whole = readers.remove(0).page().dictionary();
        assert_eq!(whole.get("files").entries().len(), torrents.len());
        drop(readers);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
        await_files(at, |_| true);
        // Whatever happened, it left no file open. By the second time all is open that stays so.
        files.into_iter().for_each(|files| tracker.await_files(files));
        files = Some(tracker.metric("margay_process_open_files", &[]));
    }
}
