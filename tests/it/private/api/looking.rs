//! Looking at swarms and users, and following a user live.

use super::*;

#[test]
fn a_swarm_is_shown_page_by_page() {
    let Some(site) = Site::open("api_swarm", "--cores 2") else { return };
    let api = Api::of(&site);
    api.put_torrent(10, "disk");
    let http = site.tracker().http(HOMES[0]);
    for user in 1..=25 {
        api.put_user(user);
        let left = if user <= 5 { 0 } else { 77 };
        let more = format!("uploaded={user}&downloaded=3&left={left}&event=started");
        answer(http, announce(user, "disk", 7000 + user as u16, &more));
    }
    api.done("PATCH", "users/25", json!({"hidden": true}));
    let torrent = api.done("GET", &format!("torrents/{}", hex("disk")), json!(null));
    assert_eq!((&torrent["seeders"], &torrent["leechers"]), (&json!(5), &json!(20)));

    let path = format!("torrents/{}/peers", hex("disk"));
    let (mut shown, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.done("GET", &format!("{path}?limit=7{after}"), json!(null));
        shown.extend(page["peers"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let mut users: Vec<u64> = shown.iter().map(|peer| peer["user"].as_u64().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, (1..=25).collect::<Vec<u64>>());
    let of = |user: u64| shown.iter().find(|peer| peer["user"] == user).unwrap();
    let first = of(1);
    assert_eq!(first["peer_id"], "-MG0001-000000007001");
    assert_eq!((&first["address_v4"], &first["port"]), (&json!("127.0.0.1"), &json!(7001)));
    assert_eq!((&first["state"], &first["left"]), (&json!("seeder"), &json!(0)));
    assert_eq!((&first["uploaded"], &first["announces"]), (&json!(1), &json!(1)));
    assert!(first["last_seen"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(of(6)["state"], "leecher");
    // Where a hidden user is, is told to nobody.
    assert_eq!((&of(25)["address_v4"], &of(25)["port"]), (&json!(null), &json!(null)));
    for wrong in ["limit=0", "limit=1001", "limit=x", "after=x"] {
        assert_eq!(api.refused("GET", &format!("{path}?{wrong}"), json!(null)).0, 400, "{wrong}");
    }
    let unknown = format!("torrents/{}/peers", hex("other"));
    assert_eq!(api.refused("GET", &unknown, json!(null)), (404, "torrent_unknown".to_owned()));
}

/// All that a list has, page by page.
fn all(api: &Api, path: &str, field: &str) -> Vec<Value> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = api.done("GET", &format!("{path}{mark}limit=7{after}"), json!(null));
        let some = page[field].as_array().unwrap();
        assert!(some.len() <= 7, "{page}");
        all.extend(some.clone());
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// The numbers that a field of a list has, the least first.
fn numbers(all: &[Value], field: &str) -> Vec<u64> {
    let mut numbers: Vec<u64> = all.iter().map(|one| one[field].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn users_torrents_and_tokens_are_listed_page_by_page() {
    let Some(site) = Site::open("api_lists", "--cores 2") else { return };
    let api = Api::of(&site);
    for (path, field) in [("users", "users"), ("torrents", "torrents"), ("tokens", "tokens")] {
        assert_eq!(all(&api, path, field), Vec::<Value>::new(), "{path}");
    }
    // Some side by side, some far apart.
    let users: Vec<u32> = (1..=20).chain([4_294_967_295, 1 << 30, 0]).collect();
    users.iter().for_each(|user| api.put_user(*user));
    (0..30).for_each(|id| api.put_torrent(id, &format!("disk {id}")));
    for id in 0..30 {
        for user in [1, 2].iter().take(1 + id % 2) {
            api.done("PUT", &format!("tokens/{user}/{}", hex(&format!("disk {id}"))), json!({}));
        }
    }
    let listed = all(&api, "users", "users");
    let ids: Vec<u64> = listed.iter().map(|user| user["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, numbers(&listed, "id"), "users come by number");
    let mut expected: Vec<u64> = users.iter().map(|user| u64::from(*user)).collect();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert_eq!(listed[1]["passkey"], passkey(1));
    let listed = all(&api, "torrents", "torrents");
    assert_eq!(numbers(&listed, "id"), (0..30).collect::<Vec<u64>>());
    assert_eq!(listed[0]["seeders"], 0);
    let listed = all(&api, "tokens", "tokens");
    assert_eq!(listed.len(), 45);
    let of_two = all(&api, "tokens?user=2", "tokens");
    let odd: Vec<u64> = (0..30).filter(|id| id % 2 == 1).collect();
    assert_eq!((numbers(&of_two, "torrent"), of_two[0]["user"].as_u64()), (odd, Some(2)));
    assert_eq!(all(&api, "tokens?user=9", "tokens"), Vec::<Value>::new());

    let one = api.done("GET", "torrents?id=17", json!(null));
    assert_eq!(one["torrents"][0]["info_hash"], hex("disk 17"));
    assert_eq!(
        api.refused("GET", "torrents?id=99", json!(null)),
        (404, "torrent_unknown".to_owned())
    );
    for wrong in [
        "users?after=x",
        "users?limit=0",
        "torrents?after=1",
        "torrents?id=x",
        "tokens?after=1.2",
        "tokens?after=x.begin",
        "tokens?user=x",
    ] {
        assert_eq!(api.refused("GET", wrong, json!(null)).0, 400, "{wrong}");
    }
    // A place that is none leads to an end.
    for far in ["users?after=4294967295", "torrents?after=77.0", "tokens?after=77.begin"] {
        assert_eq!(api.done("GET", far, json!(null))["next"], Value::Null, "{far}");
    }
}

#[test]
fn a_user_who_is_to_be_new_is_not_changed_when_he_is_known() {
    let Some(site) = Site::open("api_new", "") else { return };
    let api = Api::of(&site);
    let put =
        |id: u32, key: u32| json!({"passkey": passkey(key), "can_leech": false, "new": id > 0});
    api.done("PUT", "users/1", put(1, 1));
    api.done("PATCH", "users/1", json!({"enabled": false}));
    assert_eq!(api.refused("PUT", "users/1", put(1, 2)), (409, "user_known".to_owned()));
    let user = api.done("GET", "users/1", json!(null));
    assert_eq!((&user["enabled"], &user["passkey"]), (&json!(false), &json!(passkey(1))));
    api.done("PUT", "users/1", put(0, 2));
    assert_eq!(api.done("GET", "users/1", json!(null))["passkey"], passkey(2));
}

#[test]
fn a_users_clients_are_found_wherever_they_are() {
    let Some(site) = Site::open("api_active", "--cores 2") else { return };
    let api = Api::of(&site);
    let operations: Vec<Value> = (0..3000)
        .map(|id| json!({"op": "put_torrent", "id": id, "info_hash": hex(&format!("disk {id}"))}))
        .collect();
    api.done("POST", "bulk", json!({"operations": operations}));
    api.put_user(1);
    api.put_user(2);
    let empty = api.done("GET", "users/1/active", json!(null));
    assert_eq!((&empty["clients"], &empty["next"]), (&json!([]), &json!(null)));
    let http = site.tracker().http(HOMES[0]);
    let there: Vec<u32> = (0..3000).step_by(290).collect();
    for (place, torrent) in there.iter().enumerate() {
        let more = format!("uploaded=0&downloaded=0&left={}&event=started", place % 2);
        answer(http, announce(1, &format!("disk {torrent}"), 7001, &more));
        answer(http, announce(2, "disk 7", 7100 + place as u16, &more));
    }
    for limit in [1, 4, 1000] {
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("users/1/active?limit={limit}{after}");
            let page = api.done("GET", &path, json!(null));
            assert_eq!((&page["seeding"], &page["leeching"]), (&json!(6), &json!(5)));
            let clients = page["clients"].as_array().unwrap();
            assert!(clients.len() <= limit);
            found.extend(clients.iter().map(|client| client["torrent"].as_u64().unwrap() as u32));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        found.sort_unstable();
        assert_eq!(found, there, "{limit} at a time");
    }
    assert_eq!(api.refused("GET", "users/1/active?after=7", json!(null)).0, 400);
    assert_eq!(api.refused("GET", "users/9/active", json!(null)).0, 404);
}

#[test]
fn a_trace_shows_what_a_user_asks_and_is_answered() {
    let Some(site) = Site::open("api_trace", "--cores 2") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.put_user(2);
    api.put_torrent(10, "disk");
    api.put_torrent(11, "book");
    let http = site.tracker().http(HOMES[0]);
    let (mut first, mut second) = (api.trace(1), api.trace(1));
    assert_eq!(site.tracker().metric("margay_api_traces", &[]), 2.0);

    answer(http, announce(2, "disk", 7002, "uploaded=0&downloaded=0&left=0&event=started"));
    answer(http, announce(1, "disk", 7001, "uploaded=5&downloaded=0&left=9&event=started"));
    answer(http, announce(1, "disk", 7001, "uploaded=105&downloaded=50&left=0&event=completed"));
    answer(http, announce(1, "book", 7001, "uploaded=0&downloaded=0&left=9"));
    let unknown = announce(1, "other", 7001, "uploaded=0&downloaded=0&left=9");
    assert!(refusal(&site, &unknown).is_some());
    let scrape = format!("/{}/scrape?info_hash={}", passkey(1), escape(&hash("disk")));
    answer(http, scrape);
    api.done("PUT", "client-rules/-YY", json!({"allow": true}));
    assert!(refusal(&site, &announce(1, "disk", 7001, "left=0")).is_some());

    for trace in [&mut first, &mut second] {
        // Each core has its own place in the queue, so what is on two torrents may change places.
        let lines: Vec<Value> = (0..6).map(|_| trace.next()).collect();
        let find = |what: &dyn Fn(&Value) -> bool| lines.iter().find(|line| what(line)).unwrap();
        let started = find(&|line| line["event"] == "started");
        assert_eq!(started["info_hash"], hex("disk"));
        assert_eq!((&started["user"], &started["protocol"]), (&json!(1), &json!("http")));
        assert_eq!((&started["uploaded"], &started["left"]), (&json!(5), &json!(9)));
        assert_eq!((&started["address_v4"], &started["port"]), (&json!("127.0.0.1"), &json!(7001)));
        let told = json!({"seeders": 1, "leechers": 1, "snatches": 0, "peers": 1});
        assert_eq!(started["told"], told);
        assert!(started["interval"].as_u64().unwrap() > 0);
        let nothing = json!({"uploaded": 0, "downloaded": 0, "by_token": 0});
        assert_eq!(started["credited"], nothing);
        let completed = find(&|line| line["event"] == "completed");
        let credited = json!({"uploaded": 100, "downloaded": 50, "by_token": 0});
        assert_eq!((&completed["credited"], &completed["snatched"]), (&credited, &json!(true)));
        find(&|line| line["info_hash"] == hex("book") && line["told"].is_object());
        let refused = find(&|line| line["info_hash"] == hex("other"));
        assert_eq!(refused["refused"], "Unregistered torrent");
        let scrape = find(&|line| line["type"] == "scrape");
        assert_eq!(scrape["info_hashes"], json!([hex("disk")]));
        let refused = find(&|line| line["refused"] == "Your client is not on the whitelist");
        assert_eq!(refused["address"], "127.0.0.1");
        assert_eq!(refused["peer_id"], "-MG0001-000000007001");
    }

    // Who may not announce is seen to try, and with what.
    api.done("PATCH", "users/1", json!({"enabled": false}));
    assert_eq!(
        refusal(&site, &announce(1, "disk", 7001, "left=0")).as_deref(),
        Some("Passkey not found")
    );
    let refused = loop {
        let line = first.next();
        if line["refused"].as_str().is_some_and(|why| why.contains("disabled")) {
            break line;
        }
    };
    assert_eq!(refused["refused"], "Passkey not found (user 1 is disabled)");
    assert_eq!(refused["peer_id"], "-MG0001-000000007001");

    // Whoever leaves makes room.
    drop((first, second));
    site.tracker().await_metric("margay_api_traces", &[], 0.0);
    let eight: Vec<Trace> = (0..8).map(|_| api.trace(1)).collect();
    assert_eq!(api.refused("GET", "users/1/trace", json!(null)), (503, "busy".to_owned()));
    drop(eight);
    assert_eq!(api.refused("GET", "users/9/trace", json!(null)).0, 404);
}

#[test]
fn who_changed_what_is_kept() {
    let Some(site) = Site::open("api_audit", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.done("PATCH", "users/1", json!({"enabled": false, "passkey": passkey(2)}));
    api.put_torrent(10, "disk");
    api.refused("PATCH", "users/9", json!({"hidden": true}));
    let operations = [
        json!({"op": "disable_user", "id": 1}),
        json!({"op": "remove_client_rule", "prefix": "-X"}),
    ];
    api.done("POST", "bulk", json!({"operations": operations}));
    api.done("GET", "users/1", json!(null));
    let lines = audited(&site);
    let changes: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["change"]["op"].as_str().unwrap(), line["became"].as_str().unwrap()))
        .collect();
    assert_eq!(
        changes,
        [
            ("put_user", "done"),
            ("patch_user", "done"),
            ("put_torrent", "done"),
            ("patch_user", "user_unknown"),
            ("patch_user", "done"),
            ("remove_client_rule", "done"),
        ]
    );
    let patched = json!({"op": "patch_user", "id": 1, "enabled": false, "passkey": "(given)"});
    assert_eq!(lines[1]["change"], patched);
    assert!(lines.iter().all(|line| line["who"] == "local" && line["address"] == "127.0.0.1"));
}

/// What is noted in the data folder, without secrets.
fn audited(site: &Site) -> Vec<Value> {
    let kept: Vec<_> = fs::read_dir(site.data.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "jsonl"))
        .collect();
    let [file] = &kept[..] else { panic!("{kept:?}") };
    let text = fs::read_to_string(file).unwrap();
    assert!(!text.contains(&passkey(1)) && !text.contains(&passkey(2)), "no secrets: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_the_site_changes_in_other_ways_is_kept_as_well() {
    let Some(mut site) = Site::open("api_audit_others", "--cores 2") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    site.says(&format!("update_user&passkey={}&can_leech=0", passkey(1)));
    site.says("update_torrent&info_hash=short&freetorrent=1");
    site.says(&format!("remove_user&passkey={}", passkey(1)));
    // His passkey is still his.
    site.says(&format!("add_user&passkey={}&id=9&visible=1", passkey(1)));
    let users = format!("INSERT INTO users (id, passkey) VALUES (2, '{}')", passkey(2));
    site.database.batch_execute(&users).unwrap();
    site.database.batch_execute("INSERT INTO user_groups VALUES (3, 'New', 1)").unwrap();
    let data = site.data.path().display().to_string();
    assert_eq!(margay(&[], &format!("api-token create site --data {data}")).code, 0);
    let expected = [
        ("ocelot", json!({"op": "add_user", "id": 1, "passkey": "(given)", "hidden": false})),
        (
            "ocelot",
            json!({"op": "add_torrent", "info_hash": hex("disk"), "id": 10, "freeleech": "none"}),
        ),
        ("ocelot", json!({"op": "update_user", "id": 1, "can_leech": false, "hidden": null})),
        ("ocelot", json!({"op": "remove_user", "id": 1})),
        ("ocelot", json!({"op": "add_user", "id": 9, "passkey": "(given)", "hidden": false})),
        (
            "sql",
            json!({"row": "users", "id": 2, "can_leech": true, "hidden": false, "enabled": true, "group": null}),
        ),
        ("sql", json!({"row": "user_groups", "id": 3, "name": "New", "downloads_max": 1})),
        ("command", json!({"op": "create_token", "name": "site"})),
    ];
    let lines = patiently("all of them", || {
        Some(audited(&site)).filter(|lines| lines.len() >= expected.len())
    });
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (who, change) in expected {
        let line = lines.iter().find(|line| line["change"] == change);
        let line = line.unwrap_or_else(|| panic!("{change} is missing: {lines:?}"));
        assert!(line["who"].as_str().unwrap().starts_with(who), "{line}");
        let address = if who == "ocelot" { json!("127.0.0.1") } else { json!(null) };
        let became = if change["id"] == 9 { "passkey_taken" } else { "done" };
        assert_eq!((&line["address"], &line["became"]), (&address, &json!(became)), "{line}");
    }
    site.stop();
}

#[test]
fn a_trace_ends_with_the_tracker_and_keeps_nobody_waiting() {
    let Some(mut site) = Site::open("api_trace_end", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    let mut trace = api.trace(1);
    site.stop();
    let mut rest = String::new();
    trace.0.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().all(|line| line.contains("alive")), "{rest}");
}

#[test]
fn ocelots_report_of_a_torrent_says_who_is_on_it() {
    let Some(site) = Site::open("api_report", "--cores 2") else { return };
    let api = Api::of(&site);
    let http = site.tracker().http(HOMES[0]);
    for (id, name) in (10..).zip(["disk", "book", "film", "song"]) {
        api.done("PUT", &format!("torrents/{}", hex(name)), json!({"id": id, "freeleech": "free"}));
        for (user, left) in [(1, 0), (2, 0), (3, 9)] {
            api.put_user(user);
            let more = format!("uploaded=0&downloaded=0&left={left}&event=started");
            answer(http, announce(user, name, 7000 + user as u16, &more));
        }
        api.put_user(7);
        api.done("PUT", &format!("tokens/7/{}", hex(name)), json!({}));
        let target = format!(
            "/{}/report?get=torrent&info_hash={}",
            super::super::REPORT,
            escape(&hash(name))
        );
        let report: Value = serde_json::from_slice(&fetch(http, target).body).unwrap();
        assert_eq!((&report["id"], &report["free"]), (&json!(id), &json!(1)));
        assert_eq!(report["fltoken_list"], json!([7]));
        assert_eq!(report["leecher_list"], json!([3]));
        let mut seeders: Vec<u64> = serde_json::from_value(report["seeder_list"].clone()).unwrap();
        seeders.sort_unstable();
        assert_eq!(seeders, [1, 2]);
        assert!(report["last_flushed"].as_u64().unwrap() > 1_700_000_000);
    }
    let target =
        format!("/{}/report?get=torrent&info_hash={}", super::super::REPORT, escape(&hash("x")));
    assert_eq!(fetch(http, target).failure(), "Infohash not found");
}

#[test]
fn the_site_has_a_user_traced_into_the_log() {
    let Some(site) = Site::open("api_log", "--cores 2") else { return };
    let api = Api::of(&site);
    let http = site.tracker().http(HOMES[0]);
    api.put_user(1);
    api.put_user(2);
    api.put_torrent(10, "disk");
    let report = || {
        let target = format!("/{}/report?get=user&key={}", super::super::REPORT, passkey(1));
        serde_json::from_slice::<Value>(&fetch(http, target).body).unwrap()["traced"].clone()
    };
    assert_eq!(report(), 0);
    site.says(&format!("trace_user&passkey={}&trace=1", passkey(1)));
    patiently("both cores to know", || (report() == 1 && report() == 1).then_some(()));
    let more = "uploaded=0&downloaded=0&left=9&event=started";
    patiently("the owner to log", || {
        answer(http, announce(1, "disk", 7001, more));
        answer(http, announce(2, "disk", 7002, more));
        (site.tracker().times_logged("traced") > 0).then_some(())
    });
    let line = site.tracker().logged("traced");
    assert_eq!(line["user"], 1, "{line}");
    let said: Value = serde_json::from_str(line["said"].as_str().unwrap()).unwrap();
    assert_eq!((&said["event"], &said["info_hash"]), (&json!("started"), &json!(hex("disk"))));
    site.says(&format!("trace_user&passkey={}&trace=0", passkey(1)));
    patiently("the end of it", || (report() == 0).then_some(()));
}
