//! SQL, the API and Ocelot say things of one user or torrent at the same time: the later one wins, column by
//! column, in memory and in the database.

use postgres::{Client, NoTls};
use serde_json::json;

use super::api::{Api, hex};
use super::{Site, announce, passkey};
use crate::tracker::http::{answer, escape, fetch};
use crate::tracker::{HOMES, hash, patiently};

/// Keeps the ledger from writing, as long as it lives: what is said through the tracker is on its way.
struct Held(Client);

impl Held {
    fn new(site: &Site) -> Self {
        let mut client = Client::connect(&site.url(), NoTls).unwrap();
        client
            .batch_execute(&format!(
                "SET search_path TO {}; BEGIN; SELECT FROM ledger FOR UPDATE",
                site.schema()
            ))
            .unwrap();
        Self(client)
    }

    /// Ends the connection of whoever waits for it.
    fn cut(&mut self) {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))";
        self.0.batch_execute(cut).unwrap();
    }

    fn release(mut self) {
        self.0.batch_execute("ROLLBACK").unwrap();
    }
}

/// Two stamps of one millisecond have no order.
fn a_moment_later() {
    std::thread::sleep(std::time::Duration::from_millis(3));
}

/// Whether the passkey of a user is taken.
fn may_announce(site: &Site, user: u32) -> bool {
    let target = announce(user, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    let page = fetch(site.tracker().http(HOMES[0]), target);
    page.dictionary().find("failure reason").is_none()
}

fn sql(site: &mut Site, statements: &str) {
    site.database.batch_execute(statements).unwrap();
}

/// The rows of a query as text, when they are as expected.
#[track_caller]
fn await_rows(site: &mut Site, query: &str, expected: &str) {
    let query = format!("SELECT coalesce(string_agg(r::text, ' '), '') FROM ({query}) AS r");
    let mut last = String::new();
    for _ in 0..1500 {
        last = site.database.query_one(&query, &[]).unwrap().get(0);
        if last == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{last} and not {expected}");
}

#[test]
fn a_ban_by_sql_is_not_undone_by_what_was_said_before() {
    let Some(mut site) = Site::open("ban", "") else { return };
    let api = Api::of(&site);
    for user in [1, 2, 3] {
        api.put_user(user);
    }
    api.put_torrent(10, "disk");
    await_rows(&mut site, "SELECT count(*) FROM users", "(3)");
    let held = Held::new(&site);
    a_moment_later();
    // All of a user, by the API; a part, by the API; a part, by Ocelot.
    let all = json!({"passkey": passkey(1), "hidden": true});
    api.done("PUT", "users/1", all);
    api.done("PATCH", "users/2", json!({"can_leech": false}));
    site.says(&format!("update_user&passkey={}&can_leech=0", passkey(3)));
    api.done("PUT", &format!("torrents/{}", hex("disk")), json!({"id": 10, "upload_percent": 200}));
    a_moment_later();
    sql(&mut site, "UPDATE users SET enabled = false; UPDATE torrents SET freeleech = 'neutral'");
    patiently("the ban", || (1..=3).all(|user| !may_announce(&site, user)).then_some(()));
    // What was said here of other columns is true all the same, before the database has it and after.
    for held in [Some(held), None] {
        let user = |id| api.done("GET", &format!("users/{id}"), json!(null));
        assert_eq!((&user(1)["hidden"], &user(1)["enabled"]), (&json!(true), &json!(false)));
        for id in [2, 3] {
            assert_eq!(user(id)["can_leech"], false, "{id}");
        }
        let torrent = api.done("GET", &format!("torrents/{}", hex("disk")), json!(null));
        assert_eq!(torrent["upload_percent"], 200);
        patiently("the rule of the torrent", || {
            let torrent = api.done("GET", &format!("torrents/{}", hex("disk")), json!(null));
            (torrent["freeleech"] == "neutral").then_some(())
        });
        let Some(held) = held else { continue };
        held.release();
        let users = "SELECT id, can_leech, hidden, enabled FROM users ORDER BY id";
        await_rows(&mut site, users, "(1,t,t,f) (2,f,f,f) (3,f,f,f)");
        let torrents = "SELECT freeleech, upload_percent FROM torrents";
        await_rows(&mut site, torrents, "(neutral,200)");
    }
    // The tracker says it later, and wins.
    api.done("PATCH", "users/1", json!({"enabled": true}));
    assert!(may_announce(&site, 1));
    await_rows(&mut site, "SELECT enabled FROM users ORDER BY id", "(t) (f) (f)");
}

/// SQL says of a column that it is what it is there: no news, but for what is on its way.
#[test]
fn a_word_that_changes_nothing_in_the_database_wins_all_the_same() {
    let Some(mut site) = Site::open("same_word", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.put_torrent(10, "disk");
    await_rows(&mut site, "SELECT count(*) FROM torrents", "(1)");
    let held = Held::new(&site);
    api.done("PATCH", "users/1", json!({"can_leech": false}));
    api.done("PUT", &format!("torrents/{}", hex("disk")), json!({"id": 10, "upload_percent": 200}));
    a_moment_later();
    sql(&mut site, "UPDATE users SET can_leech = true; UPDATE torrents SET upload_percent = 100");
    held.release();
    patiently("the word of SQL", || {
        let user = api.done("GET", "users/1", json!(null));
        let torrent = api.done("GET", &format!("torrents/{}", hex("disk")), json!(null));
        (user["can_leech"] == true && torrent["upload_percent"] == 100).then_some(())
    });
    await_rows(&mut site, "SELECT can_leech FROM users", "(t)");
}

#[test]
fn who_is_disabled_is_known_after_a_restart() {
    let Some(mut site) = Site::open("disabled", "") else { return };
    let api = Api::of(&site);
    (1..=3).for_each(|user| api.put_user(user));
    api.put_torrent(10, "disk");
    api.done("DELETE", "users/2", json!(null));
    sql(&mut site, "INSERT INTO users (id, passkey, enabled) VALUES (4, repeat('d', 32), false)");
    patiently("user 4", || (api.call("GET", "users/4", json!(null)).0 == 200).then_some(()));
    let check = |site: &Site| {
        let api = Api::of(site);
        let taken = |passkey: &str| api.refused("PUT", "users/9", json!({"passkey": passkey}));
        assert_eq!(taken(&passkey(2)), (409, "passkey_taken".to_owned()));
        assert_eq!(taken(&"d".repeat(32)), (409, "passkey_taken".to_owned()));
        assert_eq!(api.done("GET", "users/2", json!(null))["enabled"], false);
        assert!(may_announce(site, 1) && !may_announce(site, 2));
        // Ocelot's interface has no words for it, so the log has.
        site.says(&format!("add_user&passkey={}&id=9&visible=1", passkey(2)));
        site.says(&format!("change_passkey&oldpasskey={}&newpasskey={}", passkey(1), passkey(2)));
        site.tracker().await_logged("a passkey that another one has", 2);
        assert!(may_announce(site, 1), "he has the one he had");
    };
    check(&site);
    site.stop();
    site.start();
    check(&site);
    await_rows(&mut site, "SELECT id, enabled FROM users ORDER BY id", "(1,t) (2,f) (3,t) (4,f)");
    // From the snapshot alone, where the database is away.
    site.stop();
    let url = site.url();
    site.options = site.options.replace(&url, "postgres://postgres@127.0.0.1:9/away");
    site.start();
    check(&site);
    site.stop();
    site.options = site.options.replace("postgres://postgres@127.0.0.1:9/away", &url);
    site.start();
    check(&site);
    await_rows(&mut site, "SELECT count(*) FROM rejected", "(0)");
}

#[test]
fn a_number_is_one_torrents() {
    let Some(mut site) = Site::open("numbers", "") else { return };
    let api = Api::of(&site);
    let put = |name: &str, id: u32| {
        let (status, value) =
            api.call("PUT", &format!("torrents/{}", hex(name)), json!({"id": id}));
        (status, value["error"]["message"].as_str().unwrap_or_default().to_owned())
    };
    // On whichever core they are.
    let names: Vec<String> = (0..8).map(|number| format!("torrent {number}")).collect();
    assert_eq!(put("disk", 10).0, 200);
    for name in &names {
        let (status, message) = put(name, 10);
        assert_eq!(status, 409);
        assert!(message.contains(&hex("disk")[..8]), "{message}");
        let info_hash = escape(&hash(name));
        site.says(&format!("add_torrent&info_hash={info_hash}&id=10&freetorrent=0"));
    }
    site.tracker().await_logged("with the number of another one", 8);
    site.add_user(1);
    answer(
        site.tracker().http(HOMES[0]),
        announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0"),
    );
    await_rows(&mut site, "SELECT id, seeders FROM torrents", "(10,1)");
    // SQL takes it, gives it, and exchanges two.
    sql(&mut site, "UPDATE torrents SET id = 11");
    patiently("the number", || (put(&names[0], 10).0 == 200).then_some(()));
    assert_eq!(put(&names[1], 11).0, 409);
    await_rows(&mut site, "SELECT count(*) FROM torrents", "(2)");
    sql(
        &mut site,
        "BEGIN; UPDATE torrents SET id = 12 WHERE id = 10; UPDATE torrents SET id = 10 WHERE id = 11; \
         UPDATE torrents SET id = 11 WHERE id = 12; COMMIT",
    );
    patiently("the exchange", || (put("disk", 10).0 == 200).then_some(()));
    patiently("the other one", || (put(&names[0], 11).0 == 200).then_some(()));
    // It is free when its torrent is gone, and only then.
    api.done("DELETE", &format!("torrents/{}", hex("disk")), json!(null));
    assert_eq!(put(&names[1], 10).0, 200);
    site.stop();
    site.start();
    let api = Api::of(&site);
    let torrent = |name: &str| format!("torrents/{}", hex(name));
    assert_eq!(
        api.refused("PUT", &torrent("disk"), json!({"id": 10})),
        (409, "number_taken".to_owned())
    );
    await_rows(&mut site, "SELECT count(*) FROM rejected", "(0)");
    let whose = format!("SELECT id FROM torrents WHERE info_hash = '\\x{}'", hex(&names[1]));
    await_rows(&mut site, &whose, "(10)");
}

#[test]
fn renumbered_users_and_exchanged_passkeys_are_heard() {
    let Some(mut site) = Site::open("exchange", "") else { return };
    let api = Api::of(&site);
    (1..=3).for_each(|user| api.put_user(user));
    api.put_torrent(10, "disk");
    await_rows(&mut site, "SELECT count(*) FROM users", "(3)");
    sql(
        &mut site,
        "UPDATE users SET passkey = CASE id WHEN 1 THEN lpad('2', 32, '0') ELSE lpad('1', 32, '0') END \
         WHERE id < 3",
    );
    let whose = |key: u32| {
        (1..=10).find(|id| {
            let (status, user) = api.call("GET", &format!("users/{id}"), json!(null));
            status == 200 && user["passkey"] == *passkey(key)
        })
    };
    patiently("the exchange", || (whose(1) == Some(2) && whose(2) == Some(1)).then_some(()));
    assert!((1..=3).all(|user| may_announce(&site, user)));
    sql(&mut site, "UPDATE users SET id = id + 4");
    patiently("the new numbers", || {
        ([1, 2, 3].map(whose) == [Some(6), Some(5), Some(7)]).then_some(())
    });
    assert!((1..=3).all(|user| may_announce(&site, user)));
    assert_eq!(api.refused("GET", "users/1", json!(null)).0, 404);
    sql(&mut site, "UPDATE users SET id = id + 3");
    patiently("the next numbers", || {
        ([1, 2, 3].map(whose) == [Some(9), Some(8), Some(10)]).then_some(())
    });
    // Credit goes by the numbers that are true.
    let says = |uploaded: u32| {
        let more = format!("uploaded={uploaded}&downloaded=0&left=0");
        answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7100, &more));
    };
    says(0);
    says(500);
    site.check_credit(9, [500, 0]);
}

/// What is true of a user.
#[derive(Clone, PartialEq, Debug)]
struct Truth {
    passkey: String,
    rights: [bool; 3],
}

const RIGHTS: [&str; 3] = ["can_leech", "hidden", "enabled"];

/// One after the other, whoever says it: what was said last of a column is true of it in the end. The
/// ledger is held and let go, connections are cut, and the tracker is killed in between.
#[test]
fn the_later_one_wins_whatever_happens() {
    let seed = std::env::var("MARGAY_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut rng = fastrand::Rng::with_seed(seed);
    let Some(mut site) = Site::open("who_wins", "") else { return };
    const USERS: u32 = 4;
    (1..=USERS).for_each(|user| Api::of(&site).put_user(user));
    await_rows(&mut site, "SELECT count(*) FROM users", &format!("({USERS})"));
    let mut truth: Vec<Truth> = (1..=USERS)
        .map(|user| Truth { passkey: passkey(user), rights: [true, false, true] })
        .collect();
    let mut held: Option<Held> = None;
    for step in 0..150 {
        let at = rng.usize(..truth.len());
        let user = at + 1;
        let (right, value) = (rng.usize(..3), rng.bool());
        let other = format!("{:032}", 1000 + step);
        a_moment_later();
        match rng.u8(..20) {
            0..=5 => {
                let column = RIGHTS[right];
                sql(&mut site, &format!("UPDATE users SET {column} = {value} WHERE id = {user}"));
                truth[at].rights[right] = value;
            }
            6 => {
                sql(&mut site, &format!("UPDATE users SET passkey = '{other}' WHERE id = {user}"));
                truth[at].passkey = other;
            }
            7..=11 => {
                let body = json!({RIGHTS[right]: value});
                Api::of(&site).done("PATCH", &format!("users/{user}"), body);
                truth[at].rights[right] = value;
            }
            12 => {
                let body = json!({"passkey": other});
                Api::of(&site).done("PATCH", &format!("users/{user}"), body);
                truth[at].passkey = other;
            }
            13 => {
                let rights: [bool; 3] = std::array::from_fn(|_| rng.bool());
                let body = json!({"passkey": other, "can_leech": rights[0], "hidden": rights[1],
                    "enabled": rights[2]});
                Api::of(&site).done("PUT", &format!("users/{user}"), body);
                truth[at] = Truth { passkey: other, rights };
            }
            14..=16 => {
                // Whom Ocelot's interface means, it says by the passkey: the tracker has to know it. What
                // SQL says to be what it is already is heard when the ledger comes to it.
                held.take().into_iter().for_each(Held::release);
                let key = &truth[at].passkey;
                patiently("the passkey", || {
                    let path = format!("users/{user}");
                    let known = Api::of(&site).done("GET", &path, json!(null));
                    (known["passkey"] == **key && known["enabled"] == truth[at].rights[2])
                        .then_some(())
                });
                let word = match right {
                    0 => format!("update_user&passkey={key}&can_leech={}", u8::from(value)),
                    1 => format!("update_user&passkey={key}&visible={}", u8::from(!value)),
                    _ => format!("remove_user&passkey={key}"),
                };
                site.says(&word);
                // Of one who may not announce it knows nothing.
                if truth[at].rights[2] {
                    truth[at].rights[right] = value && right < 2;
                }
            }
            17 => match held.take() {
                Some(held) => held.release(),
                None => held = Some(Held::new(&site)),
            },
            18 => held.iter_mut().for_each(Held::cut),
            _ if rng.u8(..3) == 0 => {
                // A start waits for what is held.
                held.take().into_iter().for_each(Held::release);
                site.kill();
                site.start();
            }
            _ => {}
        }
    }
    held.into_iter().for_each(Held::release);
    let expected: Vec<String> = (1..)
        .zip(&truth)
        .map(|(id, Truth { passkey, rights })| {
            let [can_leech, hidden, enabled] = rights.map(|right| if right { 't' } else { 'f' });
            format!("({id},{passkey},{can_leech},{hidden},{enabled})")
        })
        .collect();
    let users = "SELECT id, passkey, can_leech, hidden, enabled FROM users ORDER BY id";
    await_rows(&mut site, users, &expected.join(" "));
    for (user, truth) in (1..).zip(&truth) {
        patiently(&format!("user {user} of seed {seed}: {truth:?}"), || {
            let known = Api::of(&site).done("GET", &format!("users/{user}"), json!(null));
            let rights = RIGHTS.map(|right| known[right].as_bool().unwrap());
            let passkey = known["passkey"].as_str().unwrap().to_owned();
            (Truth { passkey, rights } == *truth).then_some(())
        });
    }
    await_rows(&mut site, "SELECT count(*) FROM rejected", "(0)");
}
