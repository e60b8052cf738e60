//! A user's former passkey: good for a while beside the new one, in every way a user may be given another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::api::{Api, margay};
use super::{Site, announce, passkey};
use crate::nothing_lost::program::Server;
use crate::tracker::http::{answer, escape, fetch};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, hash, patiently};

const DAY: u64 = 86_400;

/// The moment in so many seconds.
fn ahead(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

/// Another passkey of user 1.
fn key(letter: char) -> String {
    letter.to_string().repeat(32)
}

/// A site with user 1 and a torrent.
fn site_of(test: &str, options: &str) -> Option<(Site, Api)> {
    let site = Site::open(test, options)?;
    let api = Api::of(&site);
    api.put_user(1);
    api.put_torrent(10, "disk");
    Some((site, api))
}

/// What user 1's client on `port` announces with this passkey.
fn target(key: &str, port: u16, uploaded: u64, event: &str) -> String {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0{event}");
    announce(1, "disk", port, &more).replace(&passkey(1), key)
}

/// Whether somebody may announce with this passkey; otherwise it is unknown.
#[track_caller]
fn is_good(site: &Site, key: &str) -> bool {
    let page = fetch(site.tracker().http(HOMES[0]), target(key, 7999, 0, ""));
    let refused = page.dictionary().find("failure reason").is_some();
    assert!(!refused || page.failure() == "Passkey not found", "{}", page.failure());
    !refused
}

#[track_caller]
fn await_good(site: &Site, key: &str, good: bool) {
    patiently("a former passkey", || (is_good(site, key) == good).then_some(()));
}

/// What a client that asks over UDP with this passkey is answered.
fn ask_udp(site: &Site, key: &str, uploaded: u64) -> Vec<u8> {
    let udp = Udp::connect(site.tracker().udp(HOMES[0]));
    let url = format!("/{key}/announce");
    let mut options = vec![2, url.len() as u8];
    options.extend_from_slice(url.as_bytes());
    let announce = Announce { uploaded, options, ..Announce::new(hash("disk"), 7003) };
    udp.ask(udp.announce_request(&announce))
}

#[test]
fn d14_the_old_passkey_is_good_until_its_moment() {
    let Some((mut site, api)) = site_of("former", "--cores 2") else { return };
    let (old, new, until) = (passkey(1), key('n'), ahead(DAY));
    let user = api.done("PATCH", "users/1", json!({"passkey": new, "former_until": until}));
    assert_eq!((&user["passkey"], &user["former_until"]), (&json!(new), &json!(until)));
    let list = api.done("GET", "users", json!(null));
    // What was credited is looked up for lists alone.
    let mut listed = list["users"].clone();
    listed[0]["credited"] = json!(null);
    assert_eq!(listed, json!([user]));
    assert!(!list.to_string().contains(&old), "{list}");

    // Clients with either are clients of one user; and one may go on with the other.
    let http = site.tracker().http(HOMES[0]);
    for (passkey, port, uploaded, event) in [
        (&old, 7001, 0, "&event=started"),
        (&new, 7002, 0, "&event=started"),
        (&old, 7001, 500, ""),
        (&new, 7002, 70, ""),
        (&new, 7001, 600, ""),
    ] {
        answer(http, target(passkey, port, uploaded, event));
    }
    for (passkey, uploaded) in [(&old, 0), (&old, 1000), (&new, 1200)] {
        assert_eq!(ask_udp(&site, passkey, uploaded)[..4], [0, 0, 0, 1]);
    }
    answer(http, format!("/{old}/scrape?info_hash={}", escape(&hash("disk"))));
    site.check_credit(1, [600 + 70 + 1200, 0]);

    // Who may not announce may not with either.
    api.done("DELETE", "users/1", json!(null));
    assert!(!is_good(&site, &old) && !is_good(&site, &new));
    assert_eq!(api.done("GET", "users/1", json!(null))["former_until"], until);
    api.done("PATCH", "users/1", json!({"enabled": true}));
    assert!(is_good(&site, &old) && is_good(&site, &new));

    // The same passkey again says when it is to end.
    let soon = json!({"passkey": new, "former_until": ahead(3)});
    assert_eq!(api.done("PATCH", "users/1", soon.clone())["former_until"], soon["former_until"]);
    await_good(&site, &old, false);
    assert!(ask_udp(&site, &old, 1300).ends_with(b"Passkey not found"));
    assert!(is_good(&site, &new));
    // Each thread follows the clock for itself, and may be a second behind.
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(api.done("GET", "users/1", json!(null))["former_until"], json!(null));
    // What is over is not brought back, and is free for others.
    let late = json!({"passkey": new, "former_until": ahead(DAY)});
    assert_eq!(api.done("PATCH", "users/1", late)["former_until"], json!(null));
    api.done("PUT", "users/2", json!({"passkey": old}));
    assert!(is_good(&site, &old));
}

#[test]
fn another_passkey_replaces_the_former_one() {
    let Some((mut site, api)) = site_of("former_replaced", "") else { return };
    let say = |passkey: &str, grace: Value| {
        let body = json!({"passkey": passkey, "former_until": grace});
        api.done("PATCH", "users/1", body)["former_until"].clone()
    };
    let until = json!(ahead(DAY));
    let [a, b, c] = ['a', 'b', 'c'].map(key);
    let check = |site: &Site, good: [bool; 3]| {
        assert_eq!([&a, &b, &c].map(|key| is_good(site, key)), good);
    };
    assert_eq!(say(&a, json!(null)), json!(null));
    assert!(!is_good(&site, &passkey(1)), "at once no longer");
    assert_eq!(say(&b, until.clone()), until);
    check(&site, [true, true, false]);
    assert_eq!(say(&c, until.clone()), until);
    check(&site, [false, true, true]);
    // Back to his own former one: that is no former one any more.
    assert_eq!(say(&b, json!(null)), json!(null));
    check(&site, [false, true, false]);
    assert_eq!(say(&a, until.clone()), until);
    assert_eq!(say(&b, until.clone()), until);
    check(&site, [true, true, false]);
    // Other words about him, and the same passkey, leave it alone.
    api.done("PATCH", "users/1", json!({"hidden": true}));
    api.done("PUT", "users/1", json!({"passkey": b}));
    check(&site, [true, true, false]);
    site.says(&format!("change_passkey&oldpasskey={b}&newpasskey={c}"));
    check(&site, [false, false, true]);
    let none = "SELECT FROM users WHERE id = 1 AND passkey = $1 AND NOT EXISTS (SELECT FROM former_passkeys)";
    patiently("its end in the database", || site.database.query_opt(none, &[&c]).unwrap());
    // A new user has none, and in a bulk request it is as alone.
    let operations = json!([
        {"op": "put_user", "id": 5, "passkey": a, "former_until": until},
        {"op": "patch_user", "id": 5, "passkey": b, "former_until": until},
        {"op": "patch_user", "id": 5, "former_until": until},
    ]);
    let done = api.done("POST", "bulk", json!({"operations": operations}))["results"].clone();
    assert_eq!(done[0]["result"]["former_until"], json!(null));
    assert_eq!(done[1]["result"]["former_until"], until);
    assert_eq!(done[2]["error"]["code"], "bad_request");
    check(&site, [true, true, true]);
}

#[test]
fn what_cannot_be_a_former_passkey_is_refused() {
    let Some((site, api)) = site_of("former_refused", "") else { return };
    let refused = |path: &str, body: Value| {
        let (status, value) = api.call("PATCH", path, body);
        let error = &value["error"];
        assert!(status >= 400, "{value}");
        (status, error["code"].as_str().unwrap().to_owned(), error["message"].to_string())
    };
    let wrong = |body: Value, text: &str| {
        let (status, code, message) = refused("users/1", body);
        assert_eq!((status, code.as_str()), (400, "bad_request"));
        assert!(message.contains(text), "{message}");
    };
    wrong(json!({"former_until": ahead(DAY)}), "say the new passkey");
    for until in [0, ahead(0) - 5, ahead(31 * DAY)] {
        wrong(json!({"passkey": key('n'), "former_until": until}), "at most 30 days ahead");
    }
    wrong(json!({"passkey": key('n'), "former_until": -1}), "-1");
    assert!(is_good(&site, &passkey(1)), "nothing was changed");

    let (old, new) = (passkey(1), key('n'));
    let rotation = json!({"passkey": new, "former_until": ahead(29 * DAY)});
    api.done("PATCH", "users/1", rotation);
    // It is his as long as it is good.
    api.put_user(2);
    let (status, code, message) = refused("users/2", json!({"passkey": old}));
    assert_eq!((status, code.as_str()), (409, "passkey_taken"));
    assert!(message.contains("user 1"), "{message}");
    let put = json!({"passkey": old});
    assert_eq!(api.refused("PUT", "users/3", put), (409, "passkey_taken".to_owned()));
    site.says(&format!("add_user&passkey={old}&id=3&visible=1"));
    site.says(&format!("change_passkey&oldpasskey={}&newpasskey={old}", passkey(2)));
    site.tracker().await_logged("or had and it is good still", 2);
    assert_eq!(api.refused("GET", "users/3", json!(null)).0, 404);
    assert_eq!(api.done("GET", "users/2", json!(null))["passkey"], passkey(2));
    // With the grace it ends that it is his.
    api.done("PATCH", "users/1", json!({"passkey": key('m')}));
    api.done("PUT", "users/3", json!({"passkey": old}));
}

#[test]
fn a_former_passkey_outlives_what_the_tracker_does() {
    if std::env::var("MARGAY_TEST_POSTGRES").is_err() {
        eprintln!("SKIPPED: former_outlives needs PostgreSQL: ops/test.d/postgres run cargo test");
        return;
    }
    let mut server = Server::start("former_outlives");
    let mut site = Site::open_at(&server.url, "former_outlives", "--cores 2");
    let say = |site: &Site, user: u32, passkey: &str, grace: Value| {
        let body = json!({"passkey": passkey, "former_until": grace});
        Api::of(site).done("PATCH", &format!("users/{user}"), body);
    };
    let api = Api::of(&site);
    (1..=3).for_each(|id| api.put_user(id));
    api.put_torrent(10, "disk");
    let until = json!(ahead(DAY));
    let letters = ['a', 'b', 'c'].map(key);
    let check = |site: &Site, old: [bool; 3]| {
        assert_eq!([1, 2, 3].map(|id| is_good(site, &passkey(id))), old);
        assert!(letters.iter().all(|key| is_good(site, key)));
        let shown = Api::of(site).done("GET", "users", json!(null));
        let shown = [0, 1, 2].map(|at| shown["users"][at]["former_until"] == until);
        assert_eq!(shown, old);
    };
    say(&site, 1, &letters[0], until.clone());
    say(&site, 2, &letters[1], until.clone());
    say(&site, 3, &letters[2], json!(null));
    site.kill();
    site.start();
    check(&site, [true, true, false]);

    // From the snapshot, and what the journal has behind it.
    site.tracker().write_snapshot();
    say(&site, 2, &passkey(2), json!(null));
    say(&site, 2, &letters[1], json!(null));
    say(&site, 3, &passkey(3), json!(null));
    say(&site, 3, &letters[2], until.clone());
    site.tracker().await_metric("margay_ledger_records_behind", &[], 0.0);
    server.stop();
    site.kill();
    site.start();
    site.tracker().logged("starting with users and torrents of the snapshot");
    check(&site, [true, false, true]);
    // What is said meanwhile reaches the database.
    say(&site, 2, &passkey(2), json!(null));
    say(&site, 2, &letters[1], until.clone());
    site.tracker().write_snapshot();
    server.come_back();
    site.connect_again(&server.url);
    let rows = "SELECT count(*) FROM former_passkeys AS f JOIN users AS u ON u.id = f.user_id
        WHERE f.passkey = lpad(u.id::text, 32, '0') AND u.passkey <> f.passkey";
    let all = |site: &mut Site| {
        patiently("three rows", || {
            (site.database.query_one(rows, &[]).unwrap().get::<_, i64>(0) == 3).then_some(())
        });
    };
    all(&mut site);
    check(&site, [true, true, true]);
    site.stop();
    site.start();
    check(&site, [true, true, true]);

    // Filled again from the data folder.
    site.stop();
    let empty = "TRUNCATE users, torrents, tokens, ledger CASCADE";
    site.database.batch_execute(empty).unwrap();
    site.start();
    check(&site, [true, true, true]);
    let (text, code) = site.command(&["journal", "adopt", site.data().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    site.tracker().await_metric("margay_books_state", &["state=\"up\""], 1.0);
    all(&mut site);
    check(&site, [true, true, true]);
    assert!(site.database.query("SELECT FROM rejected", &[]).unwrap().is_empty());
    site.stop();
}

#[test]
fn former_passkeys_that_sql_writes_count_at_once() {
    let options = "--database-reconcile 1s";
    let Some((mut site, api)) = site_of("former_sql", options) else { return };
    let row = "SELECT FROM users WHERE id = 1";
    patiently("the user's row", || site.database.query_opt(row, &[]).unwrap());
    let (old, new) = (passkey(1), key('n'));
    let rotate = |new: &str| {
        format!(
            "BEGIN; INSERT INTO former_passkeys SELECT id, passkey, now() + interval '7 days' FROM users WHERE id = 1; \
             UPDATE users SET passkey = '{new}' WHERE id = 1; COMMIT"
        )
    };
    site.database.batch_execute(&rotate(&new)).unwrap();
    await_good(&site, &new, true);
    await_good(&site, &old, true);
    let shown = api.done("GET", "users/1", json!(null))["former_until"].as_u64().unwrap();
    assert!((ahead(6 * DAY)..ahead(8 * DAY)).contains(&shown), "{shown}");
    let audited = json!({"row": "former_passkeys", "user": 1, "good_until": shown});
    patiently("the line of the audit", || {
        let files = std::fs::read_dir(site.data()).unwrap().map(|entry| entry.unwrap().path());
        let mut kept = files.filter(|path| path.extension().is_some_and(|it| it == "jsonl"));
        kept.any(|path| std::fs::read_to_string(path).unwrap().contains(&audited.to_string()))
            .then_some(())
    });
    // The row ends it, also when it is over.
    site.database
        .batch_execute("UPDATE former_passkeys SET good_until = now() - interval '1 s'")
        .unwrap();
    await_good(&site, &old, false);
    site.database
        .batch_execute("UPDATE former_passkeys SET good_until = now() + interval '1 day'")
        .unwrap();
    await_good(&site, &old, true);
    site.database.batch_execute("DELETE FROM former_passkeys").unwrap();
    await_good(&site, &old, false);
    // One by the tracker is ended by another passkey that SQL says.
    let other = key('o');
    api.done("PATCH", "users/1", json!({"passkey": other, "former_until": ahead(DAY)}));
    let there = "SELECT FROM former_passkeys WHERE user_id = 1";
    patiently("the row", || site.database.query_opt(there, &[]).unwrap());
    assert!(is_good(&site, &new));
    let update = "UPDATE users SET passkey = $1 WHERE id = 1";
    site.database.execute(update, &[&old]).unwrap();
    await_good(&site, &new, false);
    assert!(is_good(&site, &old));

    // What nobody is told of is compared.
    site.database.batch_execute("SET session_replication_role TO replica").unwrap();
    let insert = "INSERT INTO former_passkeys VALUES (1, $1, now() + interval '1 day')";
    site.database.execute(insert, &[&new]).unwrap();
    await_good(&site, &new, true);
    site.database.batch_execute("DELETE FROM former_passkeys").unwrap();
    await_good(&site, &new, false);
    site.tracker().await_logged("took over from the database", 2);
    assert!(is_good(&site, &old));
}

#[test]
fn a_command_gives_a_passkey_with_a_grace() {
    let Some((site, api)) = site_of("former_command", "") else { return };
    let place = format!("--control {} --data {}", site.tracker().control(), site.data().display());
    let run = |args: &str| margay(&[], &format!("{args} {place}"));
    let new = key('n');
    let said = run(&format!("user passkey 1 {new} --grace 2d"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let shown = run("user show 1").out;
    // What was credited is asked by `show` alone, and stands last.
    assert!(shown.starts_with(&said.out), "{shown}");
    assert!(shown.contains("\nold passkey  good until 20"), "{shown}");
    assert!(!shown.contains(&passkey(1)), "{shown}");
    assert!(is_good(&site, &passkey(1)) && is_good(&site, &new));
    let until = api.done("GET", "users/1", json!(null))["former_until"].as_u64().unwrap();
    assert!((ahead(2 * DAY - 600)..=ahead(2 * DAY)).contains(&until), "{until}");
    let long = run("user passkey 1 --grace 31d");
    assert!(long.code == 2 && long.err.contains("1s to 30d"), "{long:?}");
    let long = json!({"passkey": key('m'), "former_until": ahead(31 * DAY)});
    let (status, refused) = api.call("PATCH", "users/1", long);
    assert!(status == 400 && refused.to_string().contains("at most 30 days ahead"), "{refused}");
    assert_eq!(run("user passkey 1 --grace soon").code, 2);
    // Without it the old one ends at once.
    assert!(!run("user passkey 1").out.contains("old passkey"));
    assert!(!is_good(&site, &passkey(1)) && !is_good(&site, &new));
}
