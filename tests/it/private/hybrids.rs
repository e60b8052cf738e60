//! A hybrid torrent (BEP 52) has two infohashes: two swarms, one torrent.

use serde_json::json;

use super::api::{Api, hex};
use super::{Site, announce};
use crate::tracker::http::{answer, counts, fetch, peers};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, at, hash, patiently, peer_id};

/// Another name, which another core owns where there are two.
fn second() -> String {
    let odd = |name: &str| hash(name)[3] % 2;
    (0..).map(|n| format!("disk {n}")).find(|name| odd(name) != odd("disk")).unwrap()
}

fn open(test: &str, options: &str) -> Option<Site> {
    let site = Site::open(test, &format!("--cores 2 {options}"))?;
    (1..=3).for_each(|user| site.add_user(user));
    let body = json!({"id": 10, "info_hash_v2": hex(&second())});
    let (status, put) = Api::of(&site).call("PUT", &format!("torrents/{}", hex("disk")), body);
    assert_eq!((status, &put["info_hash_v2"]), (200, &json!(hex(&second()))));
    Some(site)
}

/// What a client says by each of these names: the counts that it is told last.
fn says(site: &Site, user: u32, names: &[&str], port: u16, more: &str) -> [i64; 3] {
    let http = site.tracker().http(HOMES[0]);
    let mut told = [0; 3];
    for name in names {
        told.copy_from_slice(&counts(&answer(http, announce(user, name, port, more)))[..3]);
    }
    told
}

#[track_caller]
fn check_figures(site: &mut Site, expected: [i64; 3]) {
    patiently(&format!("figures {expected:?}"), || {
        let query = "SELECT snatches::bigint, seeders::bigint, leechers::bigint FROM torrents WHERE id = 10";
        let row = site.database.query_opt(query, &[]).unwrap()?;
        ([0, 1, 2].map(|at| row.get::<_, i64>(at)) == expected).then_some(())
    });
}

#[test]
fn d13_what_is_said_by_both_names_is_credited_once() {
    let Some(mut site) = open("hybrid", "") else { return };
    let second = second();
    let (both, reverse) = (["disk", second.as_str()], [second.as_str(), "disk"]);
    let left = "uploaded=0&downloaded=0&left=100&event=started";
    assert_eq!(says(&site, 1, &both, 7001, left), [0, 1, 0]);
    // By one name alone: in one swarm, and not in the other.
    assert_eq!(says(&site, 2, &["disk"], 7002, left), [0, 2, 0]);
    assert_eq!(says(&site, 3, &[&second], 7003, left), [0, 2, 0]);
    let http = site.tracker().http(HOMES[0]);
    let told = |name: &str| {
        peers(&answer(http, announce(1, name, 7001, "uploaded=0&downloaded=0&left=100")))
    };
    assert_eq!((told("disk"), told(&second)), (at(HOMES[0], [7002]), at(HOMES[0], [7003])));
    check_figures(&mut site, [0, 0, 3]);
    // Over UDP as well.
    let path = format!("/{}/announce", super::passkey(1));
    let announced = Udp::connect(site.tracker().udp(HOMES[0])).announce(&Announce {
        peer_id: peer_id(7001),
        left: 100,
        options: [&[2, path.len() as u8], path.as_bytes()].concat(),
        ..Announce::new(hash(&second), 7001)
    });
    assert_eq!([announced.seeders, announced.leechers], [0, 2]);
    // What is moved is said twice, and in whichever order.
    says(&site, 1, &both, 7001, "uploaded=500&downloaded=60&left=40");
    says(&site, 1, &reverse, 7001, "uploaded=900&downloaded=100&left=0&event=completed");
    assert_eq!(says(&site, 1, &both, 7001, "uploaded=1000&downloaded=100&left=0"), [1, 1, 1]);
    site.check_credit(1, [1000, 100]);
    check_figures(&mut site, [1, 1, 2]);
    // A crash, and a start in order: everybody is where he was.
    for round in 0..2 {
        match round {
            0 => site.kill(),
            _ => site.stop(),
        }
        site.start();
        let more = format!("uploaded={}&downloaded=100&left=0", 1100 + 100 * round);
        assert_eq!(says(&site, 1, &["disk"], 7001, &more), [1, 1, 1], "{round}");
        assert_eq!(says(&site, 1, &[&second], 7001, &more), [1, 1, 1], "{round}");
    }
    // It leaves the one, and then the other.
    let http = site.tracker().http(HOMES[0]);
    let stops = "uploaded=1300&downloaded=100&left=0&event=stopped";
    assert_eq!(counts(&answer(http, announce(1, "disk", 7001, stops)))[..2], [0, 1]);
    let asks = "uploaded=0&downloaded=0&left=100";
    assert_eq!(says(&site, 3, &[&second], 7003, asks)[..2], [1, 1]);
    check_figures(&mut site, [1, 1, 2]);
    assert_eq!(counts(&answer(http, announce(1, &second, 7001, stops)))[..2], [0, 1]);
    site.check_credit(1, [1300, 100]);
    check_figures(&mut site, [1, 0, 2]);
}

#[test]
fn d13_a_hybrid_is_one_download_and_one_client() {
    let Some(mut site) = open("hybrid_bounds", "--clients-per-torrent-max 1") else { return };
    site.add_torrent(11, "tape");
    site.bound_downloads(1, 1);
    let second = second();
    let left = "uploaded=0&downloaded=0&left=100&event=started";
    patiently("the bound of the group", || {
        says(&site, 1, &["disk", &second], 7001, left);
        let http = site.tracker().http(HOMES[0]);
        let other = fetch(http, announce(1, "tape", 7001, left)).dictionary();
        if other.find("failure reason").is_some() {
            return Some(());
        }
        answer(http, announce(1, "tape", 7001, "uploaded=0&downloaded=0&left=100&event=stopped"));
        None
    });
    assert_eq!(says(&site, 1, &[&second, "disk"], 7001, "uploaded=9&downloaded=0&left=100")[1], 1);
    // A ghost of one name is succeeded by whoever comes by the other.
    let http = site.tracker().http(HOMES[0]);
    let again = announce(1, &second, 7001, left).replace(
        &crate::tracker::http::escape(&peer_id(7001)),
        &crate::tracker::http::escape(&peer_id(7099)),
    );
    assert_eq!(counts(&answer(http, again))[..2], [0, 1]);
    check_figures(&mut site, [0, 0, 1]);
}

#[test]
fn d13_either_name_is_taken_by_api_sql_and_command() {
    let Some(mut site) = open("hybrid_names", "") else { return };
    let (api, second) = (Api::of(&site), second());
    let left = "uploaded=0&downloaded=0&left=100";
    for name in ["disk", &second] {
        let (status, shown) = api.call("GET", &format!("torrents/{}", hex(name)), json!({}));
        assert_eq!((status, &shown["info_hash"]), (200, &json!(hex("disk"))), "{name}");
        let control = site.tracker().control().to_string();
        let data = site.data().to_str().unwrap().to_owned();
        let (text, status) =
            site.command(&["torrent", "show", &hex(name), "--control", &control, "--data", &data]);
        assert!(status == Some(0) && text.contains(&hex(&second)), "{text}");
    }
    // By the second name its rules are changed, and both names stay.
    let body = json!({"id": 10, "freeleech": "free"});
    let (_, put) = api.call("PUT", &format!("torrents/{}", hex(&second)), body);
    assert_eq!((&put["freeleech"], &put["info_hash_v2"]), (&json!("free"), &json!(hex(&second))));
    // A name is one torrent's.
    for (name, second) in [("tape", hex(&second)), (&second, hex("tape")), ("tape", hex("disk"))] {
        let body = json!({"id": 11, "info_hash_v2": second});
        let (status, refused) = api.call("PUT", &format!("torrents/{}", hex(name)), body);
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("name_taken")), "{refused}");
    }
    let seen = |site: &mut Site| {
        let query =
            "SELECT encode(info_hash_v2, 'hex') FROM torrents WHERE id = 10 AND freeleech = 'free'";
        let row = site.database.query_opt(query, &[]).unwrap();
        row.and_then(|row| row.get::<_, Option<String>>(0))
    };
    patiently("the row", || (seen(&mut site) == Some(hex(&second))).then_some(()));
    let insert = "INSERT INTO torrents (id, info_hash) VALUES (11, $1)";
    let error = site.database.execute(insert, &[&&hash(&second)[..]]).unwrap_err();
    assert_eq!(error.code().map(|code| code.code()), Some("23505"), "{error}");
    // SQL takes it back, and gives it to another one.
    says(&site, 1, &["disk", &second], 7001, left);
    let set = "UPDATE torrents SET info_hash_v2 = $1 WHERE id = 10";
    site.database.execute(set, &[&None::<&[u8]>]).unwrap();
    let http = site.tracker().http(HOMES[0]);
    let refused = |name: &str| {
        fetch(http, announce(2, name, 7002, left)).dictionary().find("failure reason").is_some()
    };
    patiently("that it is nobody's", || refused(&second).then_some(()));
    let insert = "INSERT INTO torrents (id, info_hash, info_hash_v2) VALUES (11, $1, $2)";
    let names: [&[u8]; 2] = [&hash("tape"), &hash(&second)];
    site.database.execute(insert, &[&names[0], &names[1]]).unwrap();
    patiently("the other one", || (!refused(&second)).then_some(()));
    assert_eq!(says(&site, 2, &["tape", &second], 7002, left)[..2], [0, 1]);
    // Nobody is told by a name that it did not say.
    assert_eq!(says(&site, 1, &["disk"], 7001, left)[..2], [0, 1]);
    // It goes, with a word by either name.
    let path = format!("torrents/{}?reason=Trump", hex(&second));
    assert_eq!(api.call("DELETE", &path, json!({})).1, json!({"removed": true}));
    for name in ["tape", &second] {
        let failure = fetch(http, announce(2, name, 7002, left)).failure();
        assert_eq!(failure, "Unregistered torrent: Trump", "{name}");
    }
}
