//! Torrents that an open tracker is told of by its API: put and withdrawn, kept over everything that ends it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::private::api::{Api, margay};
use crate::tracker::http;
use crate::tracker::udp::{Announce, STOPPED, Udp};
use crate::tracker::{HOMES, Tracker, hash, hex, patiently};

const NOT_ALLOWED: &str = "Torrent not allowed on this tracker";

fn api(tracker: &Tracker, data: &TempDir) -> Api {
    Api::at(tracker.control(), data.path())
}

fn path(name: &str) -> String {
    format!("torrents/{}", hex(&hash(name)))
}

fn target(name: &str, port: u16) -> String {
    let (info_hash, peer_id) = (http::escape(&hash(name)), crate::tracker::peer_id(port));
    format!(
        "/announce?info_hash={info_hash}&peer_id={}&port={port}&uploaded=0&downloaded=0&left=5",
        http::escape(&peer_id)
    )
}

/// Why an announce over HTTP is refused, if it is; and when the client is to come back.
fn told(tracker: &Tracker, name: &str) -> (Option<String>, u64) {
    let page = http::fetch(tracker.http(HOMES[0]), target(name, 7001)).dictionary();
    let text = |key: &str| String::from_utf8(page.text(key).to_vec()).unwrap();
    let why = page.find("failure reason").is_some().then(|| text("failure reason"));
    (why, page.integer("interval") as u64)
}

fn refusal(tracker: &Tracker, name: &str) -> Option<String> {
    told(tracker, name).0
}

/// The reply to an announce over UDP by the client on `port`.
fn over_udp(tracker: &Tracker, name: &str, port: u16) -> Vec<u8> {
    let client = Udp::connect(tracker.udp(HOMES[0]));
    client.ask(client.announce_request(&Announce::new(hash(name), port)))
}

fn states(api: &Api) -> Vec<(String, String)> {
    let listed = api.done("GET", "torrents", json!(null));
    let torrents = listed["torrents"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    torrents.map(|torrent| (text(&torrent["name"]), text(&torrent["state"]))).collect()
}

#[test]
fn torrents_are_put_withdrawn_and_put_again() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2 --listed");
    let api = api(&tracker, &data);
    assert_eq!(refusal(&tracker, "disk").as_deref(), Some(NOT_ALLOWED));
    assert_eq!(api.refused("GET", &path("disk"), json!(null)).1, "torrent_unknown");
    let put = api.done("PUT", &path("disk"), json!({"name": "A disk, é"}));
    let expected = json!({
        "info_hash": hex(&hash("disk")), "name": "A disk, é", "state": "served", "reason": null,
        "withdrawn_until": null, "seeders": 0, "leechers": 0, "partial_seeds": 0, "snatches": 0,
    });
    assert_eq!(put, expected);
    assert_eq!(refusal(&tracker, "disk"), None);
    assert_eq!(over_udp(&tracker, "disk", 7002)[..4], [0, 0, 0, 1]);
    let shown = api.done("GET", &path("disk"), json!(null));
    assert_eq!((&shown["leechers"], &shown["state"]), (&json!(2), &json!("served")));
    // Said again without a name, it keeps the one that it has.
    assert_eq!(api.done("PUT", &path("disk"), json!({}))["name"], "A disk, é");

    let gone =
        api.done("DELETE", &format!("{}?reason=Dupe%20of%20another", path("disk")), json!(null));
    assert_eq!(gone["removed"], true);
    assert!(gone["withdrawn_until"].is_u64(), "{gone}");
    let why = "Torrent withdrawn: Dupe of another";
    assert_eq!(told(&tracker, "disk"), (Some(why.to_owned()), 5400));
    let reply = over_udp(&tracker, "disk", 7002);
    assert_eq!((&reply[..4], &reply[8..]), (&[0, 0, 0, 3][..], why.as_bytes()));
    let shown = api.done("GET", &path("disk"), json!(null));
    assert_eq!(shown["leechers"], 0, "its peers have left");
    assert_eq!(
        (&shown["state"], &shown["reason"]),
        (&json!("withdrawn"), &json!("Dupe of another"))
    );
    assert_eq!(shown["name"], "A disk, é");
    // Who leaves is answered all the same, and nobody is counted.
    let client = Udp::connect(tracker.udp(HOMES[0]));
    let stops = client.announce_request(&Announce::new(hash("disk"), 1).event(STOPPED));
    assert_eq!(client.ask(&stops)[..4], [0, 0, 0, 1]);
    assert_eq!(client.scrape(&[hash("disk")]), [[0; 3]]);
    assert_eq!(api.done("DELETE", &path("disk"), json!(null))["removed"], false);
    assert_eq!(refusal(&tracker, "disk").as_deref(), Some("Torrent withdrawn"));

    assert_eq!(api.done("PUT", &path("disk"), json!({}))["state"], "served");
    assert_eq!(refusal(&tracker, "disk"), None);
    tracker.await_metric("margay_api_changes_total", &[], 5.0);
    let audit = fs::read_dir(data.path()).unwrap().flatten().map(|entry| entry.file_name());
    let audit: Vec<_> = audit.filter(|name| name.to_string_lossy().starts_with("audit-")).collect();
    let text = fs::read_to_string(data.path().join(&audit[0])).unwrap();
    assert_eq!(text.lines().count(), 5, "{text}");
}

#[test]
fn many_are_changed_and_listed_in_pages() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2 --listed --torrents-max 600");
    let api = api(&tracker, &data);
    let operations: Vec<Value> = (0..590)
        .map(|at| {
            let info_hash = hex(&hash(&format!("many {at}")));
            match at % 3 {
                2 => json!({"op": "remove_torrent", "info_hash": info_hash, "reason": "no"}),
                _ => json!({"op": "put_torrent", "info_hash": info_hash, "name": format!("{at}")}),
            }
        })
        .chain([
            json!({"op": "put_user", "id": 1, "passkey": "x".repeat(32)}),
            json!({"op": "put_torrent", "info_hash": "short"}),
            json!({"op": "put_torrent", "info_hash": hex(&hash("v2")), "info_hash_v2": hex(&hash("v1"))}),
        ])
        .collect();
    let results = api.done("POST", "bulk", json!({"operations": operations}));
    let results = results["results"].as_array().unwrap();
    assert!(results[..590].iter().all(|result| result["status"] == 200), "{:?}", results[0]);
    let codes: Vec<_> = results[590..].iter().map(|result| &result["error"]["code"]).collect();
    assert_eq!(codes, ["not_private", "bad_request", "open_hybrid"]);
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = api.done("GET", &format!("torrents?limit=100{after}"), json!(null));
        for torrent in page["torrents"].as_array().unwrap() {
            let state = if torrent["name"].is_null() { "withdrawn" } else { "served" };
            assert_eq!(torrent["state"], state, "{torrent}");
            seen.push(torrent["info_hash"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert!(seen.len() == 590 && seen.is_sorted(), "{}", seen.len());
    assert_eq!(api.refused("GET", "torrents?after=x", json!(null)).0, 400);
    // As many as may be: what is known may be changed, and nothing new is taken.
    let put = |at: u32| api.call("PUT", &path(&format!("more {at}")), json!({})).0;
    let statuses: Vec<u16> = (0..11).map(put).collect();
    assert_eq!(statuses, [&[200; 10][..], &[507]].concat());
    assert_eq!(put(3), 200);
    let long = "x".repeat(256);
    for name in ["a\nb", &long] {
        assert_eq!(api.refused("PUT", &path("disk"), json!({"name": name})).0, 400);
    }
}

#[test]
fn everything_is_kept_over_a_restart_and_sighup_changes_nothing() {
    let data = TempDir::new().unwrap();
    let denied = data.path().join("deny");
    fs::write(&denied, "").unwrap();
    let allowed = data.path().join("allow");
    let lines =
        |names: &[&str]| names.iter().map(|name| hex(&hash(name)) + "\n").collect::<String>();
    fs::write(&allowed, lines(&["in the file", "both", "lost"])).unwrap();
    let args = format!("--deny-list {} --allow-list {}", denied.display(), allowed.display());
    let tracker = Tracker::start_on(data.path(), &args);
    let first = api(&tracker, &data);
    first.done("PUT", &path("put"), json!({"name": "put"}));
    first.done("PUT", &path("both"), json!({"name": "both"}));
    first.done("DELETE", &format!("{}?reason=taken%20down", path("lost")), json!(null));
    first.done("PUT", &path("denied"), json!({"name": "denied"}));
    let check = |tracker: &Tracker| {
        for served in ["put", "both", "in the file"] {
            assert_eq!(refusal(tracker, served), None, "{served}");
        }
        let refused = |name| refusal(tracker, name).unwrap();
        assert_eq!(refused("lost"), "Torrent withdrawn: taken down", "before the allow-list");
        assert_eq!(refused("unnamed"), NOT_ALLOWED);
    };
    check(&tracker);
    assert_eq!(refusal(&tracker, "denied"), None);
    // A list that no longer has what the API serves leaves its peers where they are; the deny-list goes before all.
    fs::write(&allowed, lines(&["in the file", "lost"])).unwrap();
    fs::write(&denied, lines(&["denied"])).unwrap();
    tracker.signal(rustix::process::Signal::HUP);
    tracker.await_logged("lists reloaded", 1);
    patiently("the deny-list", || refusal(&tracker, "denied").filter(|why| why == NOT_ALLOWED));
    let both = first.done("GET", &path("both"), json!(null));
    assert_eq!((&both["state"], &both["leechers"]), (&json!("served"), &json!(1)));
    check(&tracker);
    let before = states(&first);
    assert_eq!(before.len(), 4);
    assert!(before.contains(&("denied".to_owned(), "denied".to_owned())), "{before:?}");
    tracker.stop();
    // Any number of cores.
    let tracker = Tracker::start_on(data.path(), &format!("{args} --cores 2"));
    check(&tracker);
    assert_eq!(states(&api(&tracker, &data)), before);
    assert_eq!(refusal(&tracker, "denied").as_deref(), Some(NOT_ALLOWED));
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--cores 2 --listed");
    let (next, control) = (AtomicU32::new(0), tracker.control());
    let token_in: &Path = data.path();
    let answered: Vec<u32> = std::thread::scope(|scope| {
        let (putters, next) = (0..4, &next);
        let putters: Vec<_> = putters
            .map(|_| {
                scope.spawn(move || {
                    let api = Api::at(control, token_in);
                    let mut answered = Vec::new();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= 1_000 {
                            return answered;
                        }
                        let body = json!({"name": format!("{at}")}).to_string();
                        match api.try_status("PUT", &path(&format!("kill {at}")), &body) {
                            Some(200) => answered.push(at),
                            Some(status) => panic!("{status}"),
                            None => return answered,
                        }
                    }
                })
            })
            .collect();
        patiently("many of them", || (next.load(Ordering::Relaxed) > 400).then_some(()));
        tracker.kill();
        putters.into_iter().flat_map(|putter| putter.join().unwrap()).collect()
    });
    assert!(answered.len() > 300, "{}", answered.len());
    let tracker = Tracker::start_on(data.path(), "--cores 2 --listed");
    let api = api(&tracker, &data);
    for at in &answered {
        let name = format!("kill {at}");
        let shown = api.done("GET", &path(&name), json!(null));
        assert_eq!((&shown["state"], &shown["name"]), (&json!("served"), &json!(format!("{at}"))));
    }
    assert_eq!(refusal(&tracker, &format!("kill {}", answered[0])), None);
    assert_eq!(tracker.times_logged("damaged"), 0);
}

#[test]
fn where_all_are_served_some_are_withdrawn() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--refusals quiet");
    let api = api(&tracker, &data);
    // Taken and kept; everything is served already.
    api.done("PUT", &path("named"), json!({"name": "named"}));
    assert_eq!((refusal(&tracker, "named"), refusal(&tracker, "other")), (None, None));
    let gone = api.done("DELETE", &format!("{}?reason=no", path("other")), json!(null));
    assert_eq!(gone["removed"], true, "it was served, though nobody had put it");
    let page = http::fetch(tracker.http(HOMES[0]), target("other", 7001)).dictionary();
    assert!(page.find("failure reason").is_none());
    assert_eq!(page.integer("interval"), 5400);
    assert_eq!(page.text("warning message"), b"Torrent withdrawn: no");
    let reply = over_udp(&tracker, "other", 7002);
    assert_eq!((reply.len(), &reply[..4]), (20, &[0, 0, 0, 1][..]));
    assert_eq!(reply[8..12], 5400_u32.to_be_bytes());
    assert_eq!(refusal(&tracker, "named"), None);
    // Of a torrent that nobody named, it is said how it is doing.
    assert_eq!(refusal(&tracker, "third"), None);
    assert_eq!(api.done("GET", &path("third"), json!(null))["leechers"], 1);
    assert_eq!(api.refused("GET", &path("never"), json!(null)).0, 404);
    tracker.await_metric("margay_refusals_total", &["torrent"], 2.0);
}

#[test]
fn a_full_disk_refuses_changes_and_the_next_one_is_whole() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--listed");
    let first = api(&tracker, &data);
    first.done("PUT", &path("one"), json!({}));
    tracker.fill_disk(true);
    assert_eq!(first.refused("PUT", &path("two"), json!({})), (503, "not_written".to_owned()));
    assert_eq!(first.refused("DELETE", &path("one"), json!(null)).1, "not_written");
    assert_eq!(refusal(&tracker, "one"), None, "nothing was changed");
    assert_eq!(refusal(&tracker, "two").as_deref(), Some(NOT_ALLOWED));
    tracker.fill_disk(false);
    first.done("PUT", &path("three"), json!({}));
    tracker.kill();
    let tracker = Tracker::start_on(data.path(), "--listed");
    assert_eq!(states(&api(&tracker, &data)).len(), 2);
    assert_eq!(refusal(&tracker, "three"), None);
}

#[test]
fn a_damaged_file_costs_its_lines_and_a_newer_one_is_not_touched() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--listed");
    let first = api(&tracker, &data);
    for name in ["one", "two", "three"] {
        first.done("PUT", &path(name), json!({}));
    }
    tracker.stop();
    let file = data.path().join("torrents.log");
    let text = fs::read_to_string(&file).unwrap();
    let damaged = text.replace(&hex(&hash("two")), &hex(&hash("2")));
    fs::write(&file, &damaged).unwrap();
    let tracker = Tracker::start_on(data.path(), "--listed");
    let said = tracker.logged("damaged");
    assert_eq!((&said["line"], &said["lines"]), (&json!(3), &json!(1)));
    assert_eq!(fs::read_to_string(said["aside"].as_str().unwrap()).unwrap(), damaged);
    assert_eq!(states(&api(&tracker, &data)).len(), 2);
    tracker.stop();
    let mut newer = Vec::new();
    persist::register::write(&mut newer, &persist::register::Line::Header { version: 9 });
    fs::write(&file, newer).unwrap();
    let ended = Tracker::try_start_on(data.path(), "--listed").err().unwrap();
    assert!(ended.code == Some(1) && ended.err.contains("version 9"), "{}", ended.err);
}

#[test]
fn the_command_line_tells_an_open_tracker_of_torrents() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "--listed");
    let place = format!("--control {} --data {}", tracker.control(), data.path().display());
    let run = |args: &str| {
        let said = margay(&[], &format!("{args} {place}"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args}: {}", said.out);
        said.out
    };
    assert_eq!(run("torrent list"), "there are no torrents\n");
    // A hybrid has two infohashes, and is here two torrents.
    let file = data.path().join("hybrid.torrent");
    let info = "d9:file treede6:lengthi5e12:meta versioni2e4:name4:disk12:piece lengthi16384e6:pieces20:\
                aaaaaaaaaaaaaaaaaaaae";
    fs::write(&file, format!("d4:info{info}e")).unwrap();
    let added = run(&format!("torrent add {}", file.display()));
    assert!(
        added.contains("name        disk\n") && added.contains("state       served\n"),
        "{added}"
    );
    let listed = run("torrent list");
    assert_eq!(
        listed.lines().filter(|line| line.contains("served") && line.ends_with("disk")).count(),
        2
    );
    let shown = run(&format!("torrent show {}", file.display()));
    assert!(shown.starts_with("infohash    ") && shown.contains("leechers    0"), "{shown}");
    let removed = run(&format!("torrent remove {} --reason no", file.display()));
    assert!(removed.starts_with("withdrawn, and refused until 20"), "{removed}");
    assert_eq!(run("torrent list").matches("withdrawn").count(), 2);
    let other = hex(&hash("disk"));
    assert!(run(&format!("torrent add {other} --name disk")).contains("served"));
    assert_eq!(refusal(&tracker, "disk"), None);
    let said = margay(&[], &format!("torrent add {other} --id 7 {place}"));
    assert!(said.code == 1 && said.err.contains("not private"), "{said:?}");
    let said = margay(&[], &format!("user list {place}"));
    assert!(said.code == 1 && said.err.contains("not private"), "{said:?}");
}
