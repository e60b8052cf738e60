//! What a site tells, and how it is answered.

use crate::ocelot::{ask, both, named, open, raw, report};
use crate::private::{REPORT, SITE, announce, passkey};
use crate::tracker::http::{Http, answer, escape, peers};
use crate::tracker::{HOMES, at, hash, patiently};

/// Every action of the interface, each with what it needs.
fn actions() -> Vec<String> {
    let (disk, key, other) = (named("disk"), passkey(1), passkey(2));
    let hashes = format!("{}{}", escape(&hash("disk")), escape(&hash("tape")));
    vec![
        format!("add_torrent&{disk}&id=10&freetorrent=0"),
        format!("update_torrent&{disk}&freetorrent=1"),
        format!("update_torrents&info_hashes={hashes}&freetorrent=0"),
        format!("add_user&passkey={key}&id=1&visible=1"),
        format!("update_user&passkey={key}&can_leech=1&visible=0"),
        format!("add_token&{disk}&userid=1"),
        format!("remove_token&{disk}&userid=1"),
        format!("change_passkey&oldpasskey={key}&newpasskey={other}"),
        "add_whitelist&peer_id=-XX".to_owned(),
        "edit_whitelist&old_peer_id=-XX&new_peer_id=-YY".to_owned(),
        "remove_whitelist&peer_id=-YY".to_owned(),
        "update_announce_interval&new_announce_interval=1800".to_owned(),
        "update_announce_jitter&new_announce_jitter=240".to_owned(),
        format!("delete_torrent&{disk}&id=10&reason=0"),
        format!("remove_user&passkey={other}"),
        format!("remove_users&passkeys={key}{other}"),
    ]
}

both! {
    /// Also for what is unknown, incomplete, or about somebody who is not there. `info_torrent` is the one
    /// where the flavours differ.
    fn ocelot_12_02_success_is_all_that_is_answered(flavour: &str) {
        let Some(site) = open("02", flavour, "") else { return };
        for action in actions() {
            site.says(&action);
            site.says(&action);
        }
        for action in ["", "guess", "add_torrent", "add_user&passkey=short&id=1", "remove_token"] {
            site.says(action);
        }
        site.says(&format!("update_torrent&{}&freetorrent=1", named("nowhere")));
        site.says(&format!("remove_user&passkey={}", passkey(99)));

        site.add_torrent(12, "book");
        let info = |torrent: &str| {
            let page = ask(&site, format!("/{SITE}/update?action=info_torrent&{}", named(torrent)));
            String::from_utf8(page.body).unwrap()
        };
        if flavour == "whatcd" {
            assert_eq!((info("book"), info("nowhere")), ("success".into(), "success".into()));
            return;
        }
        let hex = |name: &str| -> String { hash(name).iter().map(|byte| format!("{byte:02x}")).collect() };
        let known: serde_json::Value = serde_json::from_str(&info("book")).unwrap();
        assert_eq!(known, serde_json::json!({ "hash": hex("book"), "id": 12, "free": 0 }));
        let unknown: serde_json::Value = serde_json::from_str(&info("nowhere")).unwrap();
        assert_eq!(unknown, serde_json::json!({ "hash": hex("nowhere"), "fail": 1 }));
    }

    fn ocelot_12_03_requests_without_a_host_are_taken(flavour: &str) {
        let Some(site) = open("03", flavour, "") else { return };
        let key = passkey(1);
        let add = format!("GET /{SITE}/update?action=add_user&passkey={key}&id=1&visible=1 HTTP/1.1");
        assert_eq!(raw(&site, format!("{add}\r\nConnection: Close\r\n\r\n")).body, b"success");
        site.add_torrent(10, "disk");
        let target = announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0");
        let page = raw(&site, format!("GET {target} HTTP/1.1\r\n\r\n"));
        assert_eq!(page.dictionary().integer("complete"), 1);
        let page = raw(&site, format!("GET {target} HTTP/1.0\r\n\r\n"));
        assert_eq!(page.dictionary().integer("complete"), 1);
    }

    /// A site reads to the end of the connection, whatever it has said about keeping it.
    fn ocelot_12_04_the_connection_ends_with_the_reply(flavour: &str) {
        let Some(site) = open("04", flavour, "") else { return };
        for target in [
            format!("/{SITE}/update?action=add_user&passkey={}&id=1&visible=1", passkey(1)),
            format!("/{SITE}/update?action=guess"),
            format!("/{REPORT}/report?get=stats"),
            format!("/{REPORT}/report?get=user&key={}", passkey(1)),
            format!("/{REPORT}/report?get=guess"),
        ] {
            for headers in ["", "Connection: Keep-Alive\r\n", "Connection: Close\r\nHost: x\r\n"] {
                let mut client = Http::connect(site.tracker().http(HOMES[0]));
                client.send(format!("GET {target} HTTP/1.1\r\n{headers}\r\n"));
                let page = client.page();
                assert_eq!(page.header("connection"), Some("close"), "{target}");
                client.check_end();
                if target.contains("/update") {
                    // What follows the last line feed of all that came.
                    let whole = [page.head.as_bytes(), &page.body].concat();
                    let last = whole.rsplit(|byte| *byte == b'\n').next();
                    assert_eq!(last, Some(&b"success"[..]));
                }
            }
        }
    }

    /// For a day, by the clock of the database, and across a restart.
    fn ocelot_12_14_a_deleted_torrent_says_why_for_a_day(flavour: &str) {
        let Some(mut site) = open("14", flavour, "") else { return };
        site.add_user(1);
        for (id, name) in [(10, "disk"), (11, "tape"), (12, "book")] {
            site.add_torrent(id, name);
            site.says(&format!("delete_torrent&{}&reason={}", named(name), id - 10));
        }
        let why = |site: &crate::private::Site, name: &str| {
            ask(site, announce(1, name, 7001, "uploaded=0&downloaded=0&left=5")).failure()
        };
        assert_eq!(why(&site, "disk"), "Unregistered torrent: Dupe");
        site.stop();
        let age = "UPDATE deletion_reasons SET at = now() - $2::text::interval WHERE torrent_id = $1";
        for (id, old) in [(11_i64, "23 hours 55 minutes"), (12, "24 hours 5 minutes")] {
            assert_eq!(site.database.execute(age, &[&id, &old]).unwrap(), 1);
        }
        // Nothing but the database says what is over.
        site.forget();
        site.start();
        assert_eq!(why(&site, "disk"), "Unregistered torrent: Dupe");
        assert_eq!(why(&site, "tape"), "Unregistered torrent: Trump");
        assert_eq!(why(&site, "book"), "Unregistered torrent");
        // One that comes again is served, and its reason is over.
        site.add_torrent(10, "disk");
        answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=5"));
    }

    fn ocelot_12_15_a_changed_passkey_keeps_the_peers(flavour: &str) {
        let Some(mut site) = open("15", flavour, "") else { return };
        for user in [1, 2] {
            site.add_user(user);
        }
        site.add_torrent(10, "disk");
        let http = site.tracker().http(HOMES[0]);
        answer(http, announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0&event=started"));
        site.says(&format!("change_passkey&oldpasskey={}&newpasskey={}", passkey(1), passkey(8)));
        let told = answer(http, announce(2, "disk", 7002, "uploaded=0&downloaded=0&left=5"));
        assert_eq!(peers(&told), at(HOMES[0], [7001]));
        let old = ask(&site, announce(1, "disk", 7001, "uploaded=100&downloaded=0&left=0"));
        assert_eq!(old.failure(), "Passkey not found");
        // The same user, so the same client: it goes on where it was.
        let target = announce(8, "disk", 7001, "uploaded=100&downloaded=0&left=0");
        assert_eq!(answer(http, target).integer("complete"), 1);
        site.check_credit(1, [100, 0]);
        let key: String =
            site.database.query_one("SELECT passkey FROM users WHERE id = 1", &[]).unwrap().get(0);
        assert_eq!(key, passkey(8));
    }

    fn ocelot_12_16_a_removed_user_is_told_to_nobody_at_once(flavour: &str) {
        let Some(site) = open("16", flavour, "") else { return };
        for user in [1, 2, 3, 4] {
            site.add_user(user);
        }
        site.add_torrent(10, "disk");
        let http = site.tracker().http(HOMES[0]);
        let seed = |user, port| {
            answer(http, announce(user, "disk", port, "uploaded=0&downloaded=0&left=0"))
        };
        seed(1, 7001);
        seed(2, 7002);
        seed(3, 7003);
        let told = || {
            let target = announce(4, "disk", 7004, "uploaded=0&downloaded=0&left=5");
            peers(&answer(http, target))
        };
        assert_eq!(told(), at(HOMES[0], [7001, 7002, 7003]));
        site.says(&format!("remove_user&passkey={}", passkey(1)));
        assert_eq!(told(), at(HOMES[0], [7002, 7003]));
        site.says(&format!("remove_users&passkeys={}{}", passkey(2), passkey(3)));
        assert_eq!(told(), at(HOMES[0], []));
        let target = announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0");
        assert_eq!(ask(&site, target).failure(), "Passkey not found");
        // One who is added anew may again.
        site.add_user(1);
        seed(1, 7001);
        assert_eq!(told(), at(HOMES[0], [7001]));
    }

    fn ocelot_12_17_clients_are_allowed_by_the_first_bytes_of_their_ids(flavour: &str) {
        let Some(site) = open("17", flavour, "") else { return };
        site.add_user(1);
        site.add_torrent(10, "disk");
        let refused = || {
            let target = announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0");
            ask(&site, target).dictionary().find("failure reason").is_some()
        };
        // The id is -MG0001-000000007001.
        assert!(!refused(), "nothing is listed, so all are allowed");
        for (said, is_refused) in [
            ("add_whitelist&peer_id=-QB", true),
            ("add_whitelist&peer_id=-MG", false),
            ("remove_whitelist&peer_id=-MG", true),
            ("edit_whitelist&old_peer_id=-QB&new_peer_id=-MG0001-0000000070", false),
            ("edit_whitelist&old_peer_id=-MG0001-0000000070&new_peer_id=-MG0002", true),
            ("remove_whitelist&peer_id=-MG0002", false),
        ] {
            site.says(said);
            assert_eq!(refused(), is_refused, "after {said}");
        }
    }

    /// The labels a site looks for, and their order; whatcd by lines, orpheus as JSON.
    fn ocelot_12_22_reports_have_the_labels_that_sites_read(flavour: &str) {
        let Some(site) = open("22", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        let http = site.tracker().http(HOMES[0]);
        answer(http, announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=5&event=started"));
        answer(http, announce(1, "disk", 7002, "uploaded=0&downloaded=0&left=0&event=started"));
        answer(http, announce(1, "disk", 7003, "uploaded=0&downloaded=0&left=0&event=started"));
        if flavour == "whatcd" { report_in_lines(&site) } else { report_in_json(&site) }
    }
}

fn report_in_lines(site: &crate::private::Site) {
    let labels = [
        "connections opened",
        "open connections",
        "connections/s",
        "requests handled",
        "requests/s",
        "successful announcements",
        "failed announcements",
        "scrapes",
        "leechers tracked",
        "seeders tracked",
        "bytes read",
        "bytes written",
    ];
    patiently("the figures of the last second", || {
        let stats = report(site, "stats");
        let mut lines = stats.split('\n');
        let uptime = lines.next().unwrap();
        assert!(uptime.starts_with("Uptime: 0 days, 00:0"), "{uptime}");
        let figures: Vec<(u64, &str)> = (lines.by_ref().take(labels.len()))
            .map(|line| line.split_once(' ').unwrap())
            .map(|(value, label)| (value.parse().unwrap(), label))
            .collect();
        let found: Vec<&str> = figures.iter().map(|(_, label)| *label).collect();
        assert_eq!(found, labels);
        assert_eq!((lines.next(), lines.next()), (Some("success"), None), "no line feed behind it");
        let of = |label: &str| figures.iter().find(|(_, found)| *found == label).unwrap().0;
        let all = [of("successful announcements"), of("leechers tracked"), of("seeders tracked")];
        (all == [3, 1, 2] && of("bytes read") > 0).then_some(())
    });
    let user = |key: String| report(site, &format!("user&key={key}"));
    assert_eq!(user(passkey(1)), "1 leeching\n2 seeding\nsuccess");
    assert_eq!(user(passkey(2)), "0 leeching\n0 seeding\nsuccess");
    assert_eq!(user(passkey(3)), "success");
    for unknown in ["user", "guess", ""] {
        assert_eq!(report(site, unknown), "Invalid action\nsuccess", "{unknown}");
    }
}

fn report_in_json(site: &crate::private::Site) {
    let json =
        |what: &str| -> serde_json::Value { serde_json::from_str(&report(site, what)).unwrap() };
    patiently("the figures of the last second", || {
        let stats = json("stats");
        for (label, kind) in [
            ("uptime", "elapsed"),
            ("version", "string"),
            ("connections opened", "number"),
            ("open connections", "number"),
            ("peak connections", "number"),
            ("requests handled", "number"),
            ("failed announcements", "number"),
            ("scrapes", "number"),
            ("items in user queue", "number"),
            ("items in torrent queue", "number"),
            ("items in peer queue", "number"),
            ("items in snatch queue", "number"),
            ("items in token queue", "number"),
            ("max client request length", "byte"),
            ("bytes read", "byte"),
            ("bytes written", "byte"),
            ("bad announce key received", "number"),
            ("announce interval", "number"),
            ("announce jitter", "number"),
        ] {
            assert_eq!(stats[label]["type"], kind, "{label}");
            assert!(!stats[label]["value"].is_null(), "{label}");
        }
        let of = |label: &str| stats[label]["value"].as_u64().unwrap();
        assert_eq!((of("announce interval"), of("announce jitter")), (1800, 180));
        let all = [of("successful announcements"), of("leechers tracked"), of("seeders tracked")];
        (all == [3, 1, 2]).then_some(())
    });
    let user = json(&format!("user&key={}", passkey(1)));
    assert_eq!(
        (&user["id"], &user["leeching"], &user["seeding"]),
        (&1.into(), &1.into(), &2.into())
    );
    assert_eq!(
        (&user["deleted"], &user["protected"], &user["can_leech"]),
        (&0.into(), &0.into(), &1.into())
    );
    for (what, why) in [
        ("user".to_owned(), "Announce key missing"),
        (format!("user&key={}", passkey(3)), "Announce key not found"),
        ("guess".to_owned(), "unrecognized report query"),
    ] {
        let page = ask(site, format!("/{REPORT}/report?get={what}"));
        assert_eq!(page.failure(), why);
    }
    let prometheus = report(site, "prom_stats");
    assert!(
        prometheus.contains("\nocelot_succ_announcements ")
            && prometheus.contains("\nocelot_seeders ")
    );
}
