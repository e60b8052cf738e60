//! What a tracker brings over a restart, and what it says when something is in its way.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::tracker::http::{self, answer};
use crate::tracker::udp::{Announce, COMPLETED, STOPPED, Udp};
use crate::tracker::{HOMES, Tracker, get, hash};

/// The torrents of a filled tracker, of all owners.
fn torrents(many: usize) -> Vec<[u8; 20]> {
    (0..many).map(|number| hash(&format!("torrent {number}"))).collect()
}

/// Puts peers of both families into every torrent: some seeders, some leechers, some downloads, and
/// every seventh torrent has nobody left but was downloaded.
fn fill(tracker: &Tracker, torrents: &[[u8; 20]]) {
    for (place, home) in HOMES.into_iter().enumerate() {
        let mut announces = Vec::new();
        for (number, torrent) in torrents.iter().enumerate() {
            let port = |peer: usize| (1 + place * 100 + peer) as u16;
            announces.push(Announce::new(*torrent, port(0)));
            announces.push(Announce::seeder(*torrent, port(0)).event(COMPLETED));
            if number % 7 == 0 {
                announces.push(Announce::seeder(*torrent, port(0)).event(STOPPED));
            } else {
                let leechers = (1..=number % 4).map(|peer| Announce::new(*torrent, port(peer)));
                announces.extend(leechers);
            }
        }
        Udp::connect(tracker.udp(home)).announce_all(&announces);
    }
}

/// Seeders, downloads and leechers of every torrent.
fn counts(tracker: &Tracker, torrents: &[[u8; 20]]) -> Vec<[u32; 3]> {
    let client = Udp::connect(tracker.udp(HOMES[0]));
    torrents.chunks(74).flat_map(|some| client.scrape(some)).collect()
}

/// The snapshots of a data folder, newest first.
fn snapshots(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "margay"))
        .collect();
    found.sort();
    found.reverse();
    found
}

#[test]
fn a_stop_and_a_start_with_other_cores_keep_every_count() {
    let torrents = torrents(5000);
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2");
    fill(&tracker, &torrents);
    let before = counts(&tracker, &torrents);
    assert!(before.contains(&[2, 2, 6]) && before.contains(&[0, 2, 0]));
    tracker.stop();
    for cores in ["--cores 1", "--cores 3", "--cores 2 --no-steering"] {
        let tracker = Tracker::start_on(data.path(), cores);
        let ready = tracker.logged("ready");
        assert_eq!(ready["torrents"], torrents.len(), "{ready}");
        assert!(counts(&tracker, &torrents) == before, "{cores}");
        // The peers are there, and they are the same: one that announces again is not one more.
        let torrent = torrents[3];
        let client = Udp::connect(tracker.udp(HOMES[0]));
        let again = client.announce(&Announce::new(torrent, 1 + 1));
        assert_eq!([again.seeders, again.leechers], [before[3][0], before[3][2]]);
        assert_eq!(again.peers.len(), 3, "{:?}", again.peers);
        tracker.stop();
    }
    // Put aside for once.
    let tracker = Tracker::start_on(data.path(), "--fresh");
    assert!(counts(&tracker, &torrents).iter().all(|counts| *counts == [0; 3]));
}

#[test]
fn after_a_crash_the_newest_snapshot_is_used() {
    let torrents = torrents(2000);
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2");
    fill(&tracker, &torrents);
    let before = counts(&tracker, &torrents);
    tracker.write_snapshot();
    let later = hash("came after the snapshot");
    Udp::connect(tracker.udp(HOMES[0])).announce(&Announce::new(later, 1));
    tracker.kill();
    let tracker = Tracker::start_on(data.path(), "--cores 1");
    assert!(counts(&tracker, &torrents) == before);
    assert_eq!(Udp::connect(tracker.udp(HOMES[0])).scrape(&[later]), [[0; 3]]);
}

#[test]
fn a_crash_while_a_snapshot_is_written_leaves_the_one_before() {
    let torrents = torrents(2000);
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2 --snapshot-interval 1s");
    fill(&tracker, &torrents);
    let before = counts(&tracker, &torrents);
    // One that was under way began before everybody was there.
    tracker.write_snapshot();
    tracker.write_snapshot();
    tracker.kill();
    fs::write(data.path().join("snapshot-99999999999-0.margay.part"), b"half of it").unwrap();
    for _ in 0..5 {
        let tracker = Tracker::start_on(data.path(), "--cores 2 --snapshot-interval 1s");
        assert!(counts(&tracker, &torrents) == before);
        // Wherever it is by then.
        tracker.kill();
    }
}

#[test]
fn a_damaged_snapshot_is_named_put_aside_and_the_one_before_is_used() {
    let torrents = torrents(500);
    let shorten = |path: &Path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    let flip = |path: &Path| {
        let file = fs::File::options().read(true).write(true).open(path).unwrap();
        let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
        file.read_exact_at(&mut byte, middle).unwrap();
        file.write_all_at(&[byte[0] ^ 4], middle).unwrap();
    };
    let empty = |path: &Path| fs::write(path, b"").unwrap();
    for damage in [&shorten as &dyn Fn(&Path), &flip, &empty] {
        let data = TempDir::new().unwrap();
        let tracker = Tracker::start_on(data.path(), "");
        fill(&tracker, &torrents);
        let before = counts(&tracker, &torrents);
        tracker.write_snapshot();
        let one_more = Udp::connect(tracker.udp(HOMES[0]));
        one_more.announce(&Announce::new(torrents[0], 1));
        tracker.write_snapshot();
        tracker.kill();

        let newest = snapshots(data.path())[0].clone();
        damage(&newest);
        let tracker = Tracker::start_on(data.path(), "--cores 2");
        let line = tracker.logged("is damaged");
        let (name, aside) = (
            newest.file_name().unwrap().to_str().unwrap(),
            newest.with_extension("margay.damaged"),
        );
        let message = line["message"].as_str().unwrap();
        assert!(message.contains(name) && message.contains("trying the one before it"), "{line}");
        assert!(!newest.exists() && aside.exists());
        assert!(counts(&tracker, &torrents) == before);
        tracker.kill();
        // Not a second time.
        let tracker = Tracker::start_on(data.path(), "");
        assert_eq!(tracker.times_logged("is damaged"), 0);
        assert!(counts(&tracker, &torrents) == before);
        tracker.kill();

        // With all of them damaged it starts empty, and says so.
        snapshots(data.path()).iter().for_each(|path| damage(path));
        let tracker = Tracker::start_on(data.path(), "");
        tracker.logged("starts with empty swarms");
        assert!(counts(&tracker, &torrents).iter().all(|counts| *counts == [0; 3]));
    }
}

#[test]
fn a_data_folder_has_one_tracker() {
    let data = TempDir::new().unwrap();
    let mut tracker = Tracker::start_on(data.path(), "");
    let ended = Tracker::try_start_on(data.path(), "").err().unwrap();
    assert_eq!(ended.code, Some(1));
    for part in ["in use by another process (pid ", "--data"] {
        assert!(ended.err.contains(part), "{}", ended.err);
    }
    tracker.check_alive();
    tracker.kill();
    Tracker::start_on(data.path(), "").stop();
}

#[test]
fn an_address_in_use_is_named() {
    let check = |args: &str, protocol: &str, address: SocketAddr| {
        let ended = Tracker::try_start_on(TempDir::new().unwrap().path(), args).err();
        let ended = ended.unwrap_or_else(|| panic!("{args} was started"));
        assert_eq!(ended.code, Some(1));
        let text = format!("cannot listen on {protocol} {address}");
        assert!(ended.err.contains(&text), "{text} in {}", ended.err);
        assert!(ended.err.contains("in use"), "{}", ended.err);
    };
    for home in HOMES {
        let udp = UdpSocket::bind((home, 0)).unwrap();
        let address = udp.local_addr().unwrap();
        check(&format!("--udp {address}"), "udp", address);
        let tcp = TcpListener::bind((home, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        check(&format!("--http {address}"), "http", address);
        check(&format!("--control {address}"), "control", address);
    }
    // Another tracker is no exception, though its sockets could be shared.
    for cores in [1, 2] {
        let mut tracker = Tracker::start(&format!("--cores {cores}"));
        for home in HOMES {
            let (udp, http) = (tracker.udp(home), tracker.http(home));
            check(&format!("--cores {cores} --udp {udp}"), "udp", udp);
            check(&format!("--cores {cores} --http {http}"), "http", http);
        }
        tracker.check_alive();
    }
}

#[test]
fn a_restart_on_the_same_addresses_works_at_once() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "");
    let [udp, http] = [HOMES.map(|home| tracker.udp(home)), HOMES.map(|home| tracker.http(home))];
    let list = |addresses: [SocketAddr; 2]| addresses.map(|address| address.to_string()).join(",");
    let args = format!("--udp {} --http {}", list(udp), list(http));
    // Connections that the tracker closed wait in the kernel for a minute.
    for port in 1..20 {
        answer(http[0], http::announce(hash("x"), port, "&left=5"));
    }
    tracker.stop();
    let tracker = Tracker::start_on(data.path(), &args);
    assert_eq!(http::scraped(tracker.http(HOMES[0]), hash("x")), [0, 19, 0]);
}

#[test]
fn a_hangup_says_which_options_wait_for_the_next_start() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("margay.toml");
    fs::write(&file, "interval = \"30m\"\n").unwrap();
    let tracker = Tracker::start(&format!("--config {} --numwant-max 40", file.display()));
    tracker.signal(Signal::HUP);
    tracker.await_logged("lists reloaded", 1);
    fs::write(&file, "interval = \"20m\"\nnumwant-max = 30\npeer-timeout = \"61m\"\n").unwrap();
    tracker.signal(Signal::HUP);
    // What a flag says is not changed by the file.
    let line = tracker.logged("count from the next start");
    assert_eq!(line["options"], "interval, peer-timeout");
    fs::write(&file, "intervall = \"20m\"\n").unwrap();
    tracker.signal(Signal::HUP);
    let error = tracker.logged("has a mistake by now")["error"].to_string();
    assert!(error.contains("intervall"), "{error}");
    assert_eq!(tracker.times_logged("count from the next start"), 1);
}

#[test]
fn a_hangup_reloads_the_lists() {
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("deny");
    let line = |torrent: [u8; 20]| torrent.map(|byte| format!("{byte:02x}")).concat() + "\n";
    let (first, second) = (hash("first"), hash("second"));
    fs::write(&list, line(first)).unwrap();
    let mut tracker = Tracker::start(&format!("--cores 2 --deny-list {}", list.display()));
    let check = |tracker: &Tracker, torrent: [u8; 20], served: bool| {
        if !served {
            // A second error about it within a second would be withheld.
            std::thread::sleep(std::time::Duration::from_millis(1_100));
        }
        for home in HOMES {
            let page = http::fetch(tracker.http(home), http::announce(torrent, 1, "&left=5"));
            let client = Udp::connect(tracker.udp(home));
            let reply = client.ask(client.announce_request(&Announce::new(torrent, 2)));
            if served {
                assert_eq!((page.dictionary().find("failure reason"), reply[3]), (None, 1));
            } else {
                assert_eq!(
                    (&*page.failure(), reply[3]),
                    ("Torrent not allowed on this tracker", 3)
                );
            }
        }
    };
    check(&tracker, first, false);
    check(&tracker, second, true);

    fs::write(&list, line(second)).unwrap();
    tracker.signal(Signal::HUP);
    tracker.await_logged("lists reloaded", 1);
    // What is refused from now on leaves, which takes a moment.
    tracker.await_metric("margay_torrents", &[], 0.0);
    check(&tracker, first, true);
    check(&tracker, second, false);
    assert_eq!(http::scraped(tracker.http(HOMES[0]), second), [0, 0, 0]);

    // A list with a mistake, and one that is gone, leave everything as it is.
    fs::write(&list, line(first) + "not an infohash\n").unwrap();
    tracker.signal(Signal::HUP);
    let error = tracker.logged("lists not reloaded")["error"].to_string();
    assert!(error.contains("deny:2: not an infohash"), "{error}");
    fs::remove_file(&list).unwrap();
    tracker.signal(Signal::HUP);
    tracker.await_logged("lists not reloaded", 2);
    tracker.await_metric("margay_list_reload_failures_total", &[], 2.0);
    tracker.await_metric("margay_list_torrents", &["deny"], 1.0);
    check(&tracker, first, true);
    check(&tracker, second, false);
    tracker.check_alive();
}

#[test]
fn a_list_with_a_mistake_stops_the_start() {
    let data = TempDir::new().unwrap();
    let list = data.path().join("allow");
    fs::write(&list, "# torrents\n\nnone\n").unwrap();
    let args = format!("--allow-list {}", list.display());
    let ended = Tracker::try_start_on(data.path(), &args).err().unwrap();
    assert_eq!(ended.code, Some(2));
    assert!(ended.err.contains("allow:3: not an infohash"), "{}", ended.err);
}

#[test]
fn garbage_by_the_thousand_does_nothing() {
    let mut tracker = Tracker::start("--cores 2");
    let mut random = fastrand::Rng::with_seed(5);
    for home in HOMES {
        let client = Udp::connect(tracker.udp(home));
        let torrent = hash(&format!("among garbage {home}"));
        client.announce(&Announce::new(torrent, 1));
        let good = client.announce_request(&Announce::new(torrent, 2));
        for number in 0..5000 {
            let datagram: Vec<u8> = match number % 4 {
                0 => (0..random.usize(..2000)).map(|_| random.u8(..)).collect(),
                // A good request that is cut off, or whose id was changed, or of no known action.
                1 => good[..random.usize(..98)].to_vec(),
                2 => {
                    let mut changed = good.clone();
                    changed[random.usize(..8)] ^= random.u8(1..);
                    changed
                }
                _ => [client.request(client.id, random.u32(3..)), vec![7; random.usize(..200)]]
                    .concat(),
            };
            client.send(&datagram);
            if number % 50 == 0 {
                // Keeps the tracker's receive buffer from overflowing: this one is answered.
                assert_eq!(client.scrape(&[torrent]), [[0, 0, 1]]);
            }
        }
        assert_eq!(client.scrape(&[torrent]), [[0, 0, 1]]);
    }
    tracker.await_metric("margay_torrents", &[], 2.0);
    tracker.check_alive();
}

#[test]
fn a_tracker_that_stops_closes_its_connections_in_order() {
    let tracker = Tracker::start("--cores 2");
    assert_eq!(get(tracker.control(), "/health/ready").as_deref(), Some("ready\n"));
    let mut kept = http::Http::connect(tracker.http(HOMES[0]));
    assert_eq!(kept.get("/").status, 200);
    tracker.signal(Signal::INT);
    tracker.logged("stopping");
    // Connections end, without a reset.
    kept.check_end();
    tracker.logged("stopped");
    tracker.await_exit();
}

/// io_uring gives sockets back some milliseconds after the process is gone.
#[test]
fn it_starts_on_the_same_addresses_right_after_it_was_killed() {
    let data = TempDir::new().unwrap();
    // At an address of its own, where nobody else gets a port that is free for a moment.
    let home = "127.0.0.2:0";
    let anywhere = format!("--cores 2 --udp {home} --http {home} --control {home}");
    let first = Tracker::start_on(data.path(), &anywhere);
    let (udp, http, control) = (first.udp(HOMES[0]), first.http(HOMES[0]), first.control());
    let addresses = format!("--cores 2 --udp {udp} --http {http} --control {control}");
    let mut tracker = first;
    for signal in [Signal::KILL, Signal::TERM].repeat(6) {
        tracker.signal(signal);
        tracker.await_end();
        tracker = Tracker::start_on(data.path(), &addresses);
    }
    // Who is really there is named at once, but for the two seconds.
    let Err(ended) = Tracker::try_start_on(TempDir::new().unwrap().path(), &addresses) else {
        panic!("the other one listens there");
    };
    assert!(ended.err.contains("cannot listen on udp"), "{}", ended.err);
}
