//! The API on the control listener: what it changes, what it shows, and who may ask.

mod commands;
mod contract;
mod looking;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use serde_json::{Value, json};

use super::metrics::Server;
use super::{Site, announce, passkey};
use crate::tracker::http::{answer, escape, fetch};
use crate::tracker::{HOMES, PATIENCE, Tracker, hash, patiently};

pub(crate) use commands::{Said, margay};

/// A client of the API.
pub(crate) struct Api {
    control: SocketAddr,
    token: String,
}

/// An infohash as the API writes it.
pub(super) fn hex(name: &str) -> String {
    hash(name).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Api {
    /// With the token that the tracker leaves for operators.
    pub(super) fn of(site: &Site) -> Self {
        Self::at(site.tracker().control(), site.data.path())
    }

    /// The same of a tracker with this data folder.
    pub(crate) fn at(control: SocketAddr, data: &Path) -> Self {
        let token = fs::read_to_string(data.join("api-local.token")).unwrap();
        Self { control, token: token.trim().to_owned() }
    }

    fn begin(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let authorization = match self.token.as_str() {
            "" => String::new(),
            token => format!("Authorization: Bearer {token}\r\n"),
        };
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\n{authorization}\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // Where the head says enough, the answer may come before the body is sent.
        let _ = stream.write_all(body.as_bytes());
        stream
    }

    /// The status, the header and the body of the answer.
    fn raw(&self, method: &str, path: &str, body: &str) -> (u16, String, String) {
        let mut text = String::new();
        self.begin(method, path, body).read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    /// The status of the answer; `None` when there is none.
    pub(crate) fn try_status(&self, method: &str, path: &str, body: &str) -> Option<u16> {
        let mut stream = TcpStream::connect(self.control).ok()?;
        let head = format!(
            "{method} /api/v1/{path} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split(' ').nth(1)?.parse().ok()
    }

    /// The answer, which is as it is described.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let (status, head, body) = self.raw(method, path, &body);
        assert!(head.contains("content-type: application/json"), "{head}");
        let value: Value = serde_json::from_str(&body).unwrap();
        contract::check(method, path, status, &value);
        (status, value)
    }

    /// The answer to what is done.
    #[track_caller]
    pub(crate) fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, value) = self.call(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {value}");
        value
    }

    /// The status and code of a refusal.
    #[track_caller]
    pub(crate) fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String) {
        let (status, value) = self.call(method, path, body);
        assert!(status >= 400, "{method} {path}: {value}");
        (status, value["error"]["code"].as_str().unwrap().to_owned())
    }

    pub(super) fn put_user(&self, id: u32) {
        self.done("PUT", &format!("users/{id}"), json!({"passkey": passkey(id)}));
    }

    pub(super) fn put_torrent(&self, id: u32, name: &str) {
        self.done("PUT", &format!("torrents/{}", hex(name)), json!({"id": id}));
    }

    /// The lines of a trace that has begun.
    fn trace(&self, user: u32) -> Trace {
        let stream = self.begin("GET", &format!("users/{user}/trace"), "");
        let mut trace = Trace(BufReader::new(stream));
        loop {
            let mut line = String::new();
            assert!(trace.0.read_line(&mut line).unwrap() > 0, "no trace began");
            if line == "\r\n" {
                break;
            }
        }
        assert_eq!(trace.line()["type"], "alive");
        trace
    }
}

/// What a trace says.
struct Trace(BufReader<TcpStream>);

impl Trace {
    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("a line of JSON, not {line:?}"))
    }

    /// The next line that says something.
    fn next(&mut self) -> Value {
        loop {
            let line = self.line();
            if line["type"] != "alive" {
                return line;
            }
        }
    }
}

/// Why an announce is refused; nothing when it is not.
fn refusal(site: &Site, target: &str) -> Option<String> {
    let dictionary = fetch(site.tracker().http(HOMES[0]), target).dictionary();
    let reason = dictionary.find("failure reason").is_some();
    reason.then(|| String::from_utf8(dictionary.text("failure reason").to_vec()).unwrap())
}

#[test]
fn what_the_api_says_counts_at_once_and_reaches_the_database() {
    let Some(mut site) = Site::open("api_counts", "--cores 2") else { return };
    let api = Api::of(&site);
    let leeching =
        |user| announce(user, "disk", 7000 + user as u16, "uploaded=0&downloaded=0&left=9");
    assert_eq!(refusal(&site, &leeching(1)).as_deref(), Some("Passkey not found"));
    let user = api.done("PUT", "users/1", json!({"passkey": passkey(1), "hidden": true}));
    let expected = json!({
        "id": 1, "passkey": passkey(1), "can_leech": true, "hidden": true, "enabled": true,
        "group": null, "former_until": null, "seeding": 0, "leeching": 0, "credited": null,
    });
    assert_eq!(user, expected);
    assert_eq!(refusal(&site, &leeching(1)).as_deref(), Some("Unregistered torrent"));
    let torrent = format!("torrents/{}", hex("disk"));
    let rules = json!({"id": 10, "freeleech": "free", "upload_percent": 200});
    api.done("PUT", &torrent, rules);
    assert_eq!(refusal(&site, &leeching(1)), None);

    // Free downloads, double uploads.
    let http = site.tracker().http(HOMES[0]);
    answer(http, announce(1, "disk", 7001, "uploaded=100&downloaded=50&left=9"));
    site.check_credit(1, [200, 0]);

    assert_eq!(api.done("PATCH", "users/1", json!({"can_leech": false}))["hidden"], true);
    let no = "Access denied, leeching forbidden";
    assert_eq!(refusal(&site, &leeching(1)).as_deref(), Some(no));
    let other = "x".repeat(32);
    api.done("PATCH", "users/1", json!({"can_leech": true, "passkey": other}));
    assert_eq!(refusal(&site, &leeching(1)).as_deref(), Some("Passkey not found"));
    assert_eq!(refusal(&site, &leeching(1).replace(&passkey(1), &other)), None);
    assert_eq!(api.done("DELETE", "users/1", json!(null))["enabled"], false);
    let with_other = leeching(1).replace(&passkey(1), &other);
    assert_eq!(refusal(&site, &with_other).as_deref(), Some("Passkey not found"));
    api.done("PATCH", "users/1", json!({"enabled": true}));
    assert_eq!(refusal(&site, &with_other), None);

    api.done("PUT", "client-rules/-XX", json!({"allow": true}));
    let no = "Your client is not on the whitelist";
    assert_eq!(refusal(&site, &with_other).as_deref(), Some(no));
    let rules = api.done("GET", "client-rules", json!(null));
    assert_eq!(rules["client_rules"], json!([{"prefix": "-XX", "allow": true}]));
    assert_eq!(api.done("DELETE", "client-rules/-XX", json!(null))["removed"], true);
    assert_eq!(refusal(&site, &with_other), None);

    api.done("PUT", &format!("tokens/1/{}", hex("disk")), json!({"expires_at": 2_000_000_000}));
    let row = |site: &mut Site, query: &str| {
        patiently(query, || site.database.query_opt(query, &[]).unwrap().map(|_| ()));
    };
    row(
        &mut site,
        "SELECT FROM tokens WHERE user_id = 1 AND expires_at = to_timestamp(2000000000)",
    );
    row(&mut site, &format!("SELECT FROM users WHERE id = 1 AND passkey = '{other}' AND enabled"));
    row(
        &mut site,
        "SELECT FROM torrents WHERE id = 10 AND freeleech = 'free' AND upload_percent = 200",
    );

    api.done("DELETE", &format!("{torrent}?reason=Dupe%20of%20another"), json!(null));
    let why = "Unregistered torrent: Dupe of another";
    assert_eq!(refusal(&site, &with_other).as_deref(), Some(why));
    row(
        &mut site,
        "SELECT FROM deletion_reasons WHERE torrent_id = 10 AND reason = 'Dupe of another'",
    );
}

#[test]
fn whoever_has_no_good_token_is_told_how_to_get_one() {
    let Some(site) = Site::open("api_tokens", "") else { return };
    let local = Api::of(&site);
    let api = |token: &str| Api { control: local.control, token: token.to_owned() };
    let (status, head, body) = api("").raw("GET", "users/1", "");
    assert_eq!(status, 401);
    assert!(head.contains("www-authenticate: bearer"), "{head}");
    assert!(body.contains("none yet") && body.contains("margay api-token create NAME"), "{body}");
    assert_eq!(api("margay_0000").refused("GET", "users/1", json!(null)).0, 401);
    // Whoever may not ask is not told what there is.
    assert_eq!(api("margay_0000").refused("GET", "nothing", json!(null)).0, 401);

    // The tracker is running, and hears of a new token at once.
    let data = site.data.path().to_str().unwrap();
    let margay = |args: &str| commands::margay(&[], &format!("api-token {args} --data {data}"));
    let made = margay("create site");
    assert_eq!(made.code, 0, "{made:?}");
    let site_api = api(made.out.trim());
    site_api.put_user(1);
    assert_eq!(margay("create site").code, 1);
    let listed = margay("list");
    assert!(listed.out.starts_with("site  made 20"), "{listed:?}");
    assert!(!listed.out.contains("margay_"), "{listed:?}");
    assert_eq!(margay("revoke site").code, 0);
    assert_eq!(site_api.refused("GET", "users/1", json!(null)), (401, "unauthorized".to_owned()));
    local.done("GET", "users/1", json!(null));

    let tracker = site.tracker();
    tracker.await_metric("margay_api_requests_total", &["result=\"unauthorized\""], 4.0);
    tracker.await_metric("margay_api_requests_total", &["result=\"done\""], 2.0);
    tracker.await_metric("margay_api_changes_total", &[], 1.0);
    // A token in a URL is none.
    let path = format!("users/1?token={}&access_token={}", local.token, local.token);
    assert_eq!(api("").refused("GET", &path, json!(null)).0, 401);
}

#[test]
fn an_open_tracker_has_no_users() {
    let data = tempfile::TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "");
    let stranger = Api { control: tracker.control(), token: "margay_00".to_owned() };
    assert_eq!(stranger.refused("GET", "users/1", json!(null)).0, 401);
    let api = Api::at(tracker.control(), data.path());
    let not_private = (404, "not_private".to_owned());
    let torrent = format!("torrents/{}", hex("disk"));
    for (method, path, body) in [
        ("GET", "users", json!(null)),
        ("PUT", "users/1", json!({"passkey": passkey(1)})),
        ("GET", "groups", json!(null)),
        ("GET", "client-rules", json!(null)),
        ("GET", "tokens", json!(null)),
        ("GET", "users/1/trace", json!(null)),
        ("GET", "torrents?id=7", json!(null)),
        ("GET", &format!("{torrent}/peers"), json!(null)),
        ("PUT", &torrent, json!({"id": 7})),
        ("PUT", &torrent, json!({"freeleech": "free"})),
    ] {
        assert_eq!(api.refused(method, path, body), not_private, "{method} {path}");
    }
}

#[test]
fn a_torrent_without_a_number_is_given_the_next_one() {
    let Some(mut site) = Site::open("api_numbers", "--cores 2") else { return };
    let api = Api::of(&site);
    let put = |api: &Api, name: &str, body: Value| {
        api.done("PUT", &format!("torrents/{}", hex(name)), body)
    };
    assert_eq!(put(&api, "first", json!({}))["id"], 0);
    assert_eq!(put(&api, "said", json!({"id": 10}))["id"], 10);
    let second = put(&api, "second", json!({"name": "A name", "freeleech": "free"}));
    assert_eq!((&second["id"], &second["freeleech"]), (&json!(11), &json!("free")));
    // It keeps its number, whoever leaves it out.
    assert_eq!(put(&api, "second", json!({}))["id"], 11);
    assert_eq!(put(&api, "said", json!({}))["id"], 10);
    let operations: Vec<Value> = (0..300)
        .map(|at| json!({"op": "put_torrent", "info_hash": hex(&format!("many {}", at % 200))}))
        .collect();
    let numbers = std::thread::scope(|scope| {
        let bulk = || api.done("POST", "bulk", json!({"operations": operations.clone()}));
        let threads = [scope.spawn(bulk), scope.spawn(bulk)];
        threads.map(|thread| thread.join().unwrap())
    });
    let mut given = std::collections::BTreeMap::new();
    for results in &numbers {
        for (at, result) in results["results"].as_array().unwrap().iter().enumerate() {
            assert_eq!(result["status"], 200, "{result}");
            let id = result["result"]["id"].as_u64().unwrap();
            assert_eq!(*given.entry(at % 200).or_insert(id), id, "one torrent has one number");
        }
    }
    let distinct: std::collections::BTreeSet<_> = given.values().collect();
    assert_eq!((distinct.len(), distinct.first()), (200, Some(&&12)));
    let highest = **distinct.last().unwrap();
    assert_eq!(highest, 211, "none was given in vain");
    // The number of one that is gone is not given again, after a restart neither.
    let last = put(&api, "last", json!({}))["id"].clone();
    assert_eq!(last, 212);
    api.done("DELETE", &format!("torrents/{}", hex("last")), json!(null));
    site.stop();
    site.start();
    let api = Api::of(&site);
    assert_eq!(put(&api, "new", json!({}))["id"], 213);
}

#[test]
fn saying_it_twice_is_saying_it_once() {
    let Some(site) = Site::open("api_twice", "") else { return };
    let api = Api::of(&site);
    let (torrent, token) =
        (format!("torrents/{}", hex("disk")), format!("tokens/1/{}", hex("disk")));
    for (method, path, body) in [
        ("PUT", "users/1", json!({"passkey": passkey(1)})),
        ("PATCH", "users/1", json!({"hidden": true})),
        ("PUT", &torrent, json!({"id": 10, "freeleech": "neutral"})),
        ("PUT", &token, json!({})),
        ("PUT", "client-rules/-XX%2500", json!({"allow": false})),
        ("DELETE", "users/1", json!(null)),
    ] {
        let first = api.done(method, path, body.clone());
        assert_eq!(api.done(method, path, body), first, "{method} {path}");
    }
    for path in [&token, "client-rules/-XX%2500", &torrent] {
        assert_eq!(api.done("DELETE", path, json!(null)), json!({"removed": true}), "{path}");
        assert_eq!(api.done("DELETE", path, json!(null)), json!({"removed": false}), "{path}");
    }
}

#[test]
fn what_contradicts_is_refused_and_changes_nothing() {
    let Some(site) = Site::open("api_refuses", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.put_user(2);
    api.put_torrent(10, "disk");
    let refused = |method: &str, path: &str, body: Value| api.refused(method, path, body);
    let is = |status: u16, code: &str| (status, code.to_owned());
    let torrent = format!("torrents/{}", hex("disk"));
    let other = format!("tokens/1/{}", hex("other"));
    let taken = json!({"passkey": passkey(1)});
    assert_eq!(refused("PUT", "users/2", taken.clone()), is(409, "passkey_taken"));
    assert_eq!(refused("PATCH", "users/2", taken.clone()), is(409, "passkey_taken"));
    // Of a user who may not announce as well.
    api.done("DELETE", "users/1", json!(null));
    assert_eq!(refused("PUT", "users/2", taken), is(409, "passkey_taken"));
    assert_eq!(api.done("GET", "users/2", json!(null))["passkey"], passkey(2));
    assert_eq!(refused("PUT", &torrent, json!({"id": 11})), is(409, "torrent_number"));
    assert_eq!(refused("GET", "users/3", json!(null)), is(404, "user_unknown"));
    assert_eq!(refused("PATCH", "users/3", json!({})), is(404, "user_unknown"));
    assert_eq!(refused("PUT", &other, json!({})), is(404, "torrent_unknown"));
    assert_eq!(refused("PUT", "users/3", json!({})), is(400, "bad_request"));
    assert_eq!(refused("PUT", "users/x", json!({"passkey": passkey(3)})), is(400, "bad_request"));
    assert_eq!(refused("GET", "torrents/abc", json!(null)), is(400, "bad_request"));
    assert_eq!(refused("GET", "nothing", json!(null)), is(404, "no_such_page"));
    assert_eq!(refused("POST", "users/1", json!({})), is(405, "method_not_allowed"));
    let (_, head, _) = api.raw("POST", "users/1", "");
    assert!(head.contains("allow: get, put, patch, delete"), "{head}");
    let (status, _, body) = api.raw("PUT", "users/1", "{not json");
    assert!(status == 400 && body.contains("no JSON"), "{body}");
    let (status, _, body) = api.raw("PUT", "users/1", &" ".repeat(17 * 1024));
    assert!(status == 413 && body.contains("too_large"), "{body}");
}

#[test]
fn each_of_many_changes_is_answered() {
    let Some(site) = Site::open("api_bulk", "--cores 2") else { return };
    let api = Api::of(&site);
    let mut operations = Vec::new();
    for id in 1..=600 {
        operations.push(json!({"op": "put_user", "id": id, "passkey": passkey(id)}));
        let name = format!("disk {id}");
        operations.push(json!({"op": "put_torrent", "id": id, "info_hash": hex(&name)}));
        operations.push(json!({"op": "put_token", "user": id, "info_hash": hex(&name)}));
    }
    operations.push(json!({"op": "put_user", "id": 700, "passkey": passkey(1)}));
    operations.push(json!({"op": "make_coffee"}));
    operations.push(json!({"op": "disable_user", "id": 600}));
    let answer = api.done("POST", "bulk", json!({"operations": operations}));
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<u64> =
        results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    let (done, rest) = statuses.split_at(1800);
    assert!(done.iter().all(|status| *status == 200), "{statuses:?}");
    assert_eq!(rest, [409, 400, 200]);
    assert_eq!(results[1800]["error"]["code"], "passkey_taken");
    assert_eq!(results[1802]["result"]["enabled"], false);
    assert_eq!(results[2]["result"]["info_hash"], hex("disk 1"));
    // A user and a torrent of the same number, one after the other, each on its core.
    let more = "uploaded=0&downloaded=0&left=9";
    for id in [1, 300, 599] {
        assert_eq!(refusal(&site, &announce(id, &format!("disk {id}"), 7001, more)), None);
    }
    assert_eq!(api.refused("POST", "bulk", json!({"operations": 7})).0, 400);
    let many = vec![json!({}); 10_001];
    assert_eq!(api.refused("POST", "bulk", json!({"operations": many})).0, 400);
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let Some(mut site) = Site::open("api_kill", "--cores 2 --journal-sync 1m") else { return };
    for round in 0..3_u32 {
        let api = Api::of(&site);
        let name = format!("disk {round}");
        api.put_torrent(10 + round, &name);
        api.put_user(1 + round);
        api.done("PATCH", "users/1", json!({"hidden": round % 2 == 0}));
        api.done("PUT", &format!("tokens/1/{}", hex(&name)), json!({}));
        site.kill();
        site.start();
        let api = Api::of(&site);
        let user = api.done("GET", &format!("users/{}", 1 + round), json!(null));
        assert_eq!(
            (&user["passkey"], &user["enabled"]),
            (&json!(passkey(1 + round)), &json!(true))
        );
        assert_eq!(api.done("GET", "users/1", json!(null))["hidden"], round % 2 == 0);
        let torrent = api.done("GET", &format!("torrents/{}", hex(&name)), json!(null));
        assert_eq!(torrent["id"], 10 + round);
        let token = format!("tokens/1/{}", hex(&name));
        assert_eq!(api.done("DELETE", &token, json!(null))["removed"], true);
    }
}

#[test]
fn what_is_said_while_the_database_is_away_reaches_it_later() {
    let Some(server) = Server::start("api_away") else { return };
    let mut site = Site::open_at(&server.url, "api_away", "");
    let api = Api::of(&site);
    api.put_user(1);
    server.control("stop");
    api.put_user(2);
    api.put_torrent(10, "disk");
    api.done("DELETE", "users/1", json!(null));
    assert_eq!(api.done("GET", "users/2", json!(null))["enabled"], true);
    let more = "uploaded=0&downloaded=0&left=9";
    assert_eq!(refusal(&site, &announce(2, "disk", 7001, more)), None);
    server.control("start");
    let tables = site.schema();
    patiently("what was said meanwhile", || {
        let mut database = postgres::Client::connect(&server.url, postgres::NoTls).ok()?;
        database.batch_execute(&format!("SET search_path TO {tables}")).ok()?;
        let query = "SELECT FROM users AS a, users AS b, torrents
            WHERE a.id = 1 AND NOT a.enabled AND b.id = 2 AND b.enabled AND torrents.id = 10";
        database.query_opt(query, &[]).ok()?.map(|_| ())
    });
    site.stop();
}
