use serde_json::{Value, json};

use super::*;
use crate::wire::http::Persistence;

const KEEP: Framing = Framing { persistence: Persistence::Keep, head_only: false };

fn stats() -> Stats {
    Stats {
        version: "0.1.0",
        uptime: Seconds(3 * 86_400 + 4 * 3600 + 5 * 60 + 6),
        connections_opened: 1,
        connections_open: 2,
        connections_peak: 21,
        connections_per_second: 3,
        requests: 4,
        requests_per_second: 5,
        announces_answered: 6,
        announces_refused: 7,
        scrapes: 8,
        leechers: 9,
        seeders: 10,
        users_queued: 13,
        torrents_queued: 14,
        peers_queued: 15,
        snatches_queued: 16,
        tokens_queued: 17,
        request_bytes_max: 18,
        bytes_read: 11,
        bytes_written: u64::MAX,
        wrong_site_passwords: 22,
        wrong_report_passwords: 23,
        wrong_passkeys: 24,
        refused_clients: 25,
        malformed_requests: 26,
        interval: Seconds(1800),
        jitter: Seconds(240),
        usage: Some(Usage {
            user: Duration::from_micros(1_000_002),
            system: Duration::from_micros(3_456_789),
            resident_bytes_max: 1 << 20,
            minor_faults: 31,
            major_faults: 32,
            blocks_in: 33,
            blocks_out: 34,
            switches_voluntary: 35,
            switches_involuntary: 36,
        }),
    }
}

const USER: UserReport = UserReport {
    id: UserId(30),
    leeching: 1,
    seeding: 2,
    hidden: true,
    can_leech: false,
    traced: true,
};

/// The body of a reply of `kind`, which closes the connection and says its length.
#[track_caller]
fn body(write: impl FnOnce(&mut Vec<u8>), kind: &str) -> String {
    let mut out = Vec::new();
    write(&mut out);
    let reply = String::from_utf8(out).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    let expected = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    assert_eq!(head, expected);
    body.to_owned()
}

#[track_caller]
fn json_of(write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let body = body(write, "application/json");
    assert!(body.ends_with("}\n") && body.lines().count() == 1, "as a site cuts it: {body}");
    serde_json::from_str(&body).unwrap()
}

#[track_caller]
fn check_refused(write: impl FnOnce(&mut Vec<u8>), reason: &str) {
    let expected = format!(
        "d14:failure reason{}:{reason}8:intervali5400e12:min intervali5400ee",
        reason.len()
    );
    assert_eq!(body(write, "text/plain"), expected);
}

#[test]
fn ocelot_7_stats_of_whatcd_are_lines_in_order() {
    let stats = stats();
    let text = body(|out| write_stats(out, KEEP, Flavour::Whatcd, &stats), "text/plain");
    assert_eq!(
        text,
        "Uptime: 3 days, 04:05:06\n1 connections opened\n2 open connections\n3 connections/s\n\
         4 requests handled\n5 requests/s\n6 successful announcements\n7 failed announcements\n\
         8 scrapes\n9 leechers tracked\n10 seeders tracked\n11 bytes read\n\
         18446744073709551615 bytes written\nsuccess"
    );
}

#[test]
fn ocelot_7_uptime_has_two_digits_each() {
    let at = |seconds| {
        let stats = Stats { uptime: Seconds(seconds), ..Stats::default() };
        let text = body(|out| write_stats(out, KEEP, Flavour::Whatcd, &stats), "text/plain");
        text.lines().next().unwrap().to_owned()
    };
    assert_eq!(at(0), "Uptime: 0 days, 00:00:00");
    assert_eq!(at(86_399), "Uptime: 0 days, 23:59:59");
    assert_eq!(at(86_400), "Uptime: 1 days, 00:00:00");
}

#[test]
fn ocelot_7_stats_of_orpheus_are_an_object_by_label() {
    let stats = stats();
    let json = json_of(|out| write_stats(out, KEEP, Flavour::Orpheus, &stats));
    for (label, kind, value) in [
        ("version", "string", json!("0.1.0")),
        ("connections opened", "number", json!(1)),
        ("open connections", "number", json!(2)),
        ("peak connections", "number", json!(21)),
        ("connections/s", "number", json!(3)),
        ("requests handled", "number", json!(4)),
        ("requests/s", "number", json!(5)),
        ("successful announcements", "number", json!(6)),
        ("failed announcements", "number", json!(7)),
        ("scrapes", "number", json!(8)),
        ("leechers tracked", "number", json!(9)),
        ("seeders tracked", "number", json!(10)),
        ("items in user queue", "number", json!(13)),
        ("items in torrent queue", "number", json!(14)),
        ("items in peer queue", "number", json!(15)),
        ("items in snatch queue", "number", json!(16)),
        ("items in token queue", "number", json!(17)),
        ("max client request length", "byte", json!(18)),
        ("bytes read", "byte", json!(11)),
        ("bytes written", "byte", json!(u64::MAX)),
        ("bad tracker secret received", "number", json!(22)),
        ("bad report secret received", "number", json!(23)),
        ("bad announce key received", "number", json!(24)),
        ("bad client configuration", "number", json!(25)),
        ("bad http request", "number", json!(26)),
        ("announce interval", "number", json!(1800)),
        ("announce jitter", "number", json!(240)),
        ("uptime", "elapsed", json!(273_906)),
        ("user time", "elapsed", json!(1.000_002)),
        ("system time", "elapsed", json!(3.456_789)),
        ("maximum resident set size", "byte", json!(1_048_576)),
        ("minor page faults", "number", json!(31)),
        ("major page faults", "number", json!(32)),
        ("blocks in", "number", json!(33)),
        ("blocks out", "number", json!(34)),
        ("voluntary context switches", "number", json!(35)),
        ("involuntary context switches", "number", json!(36)),
    ] {
        let expected = json!({ "label": label, "type": kind, "value": value });
        assert_eq!(json[label], expected, "{label}");
    }
    assert_eq!(json.as_object().unwrap().len(), 37);

    let stats = Stats { usage: None, ..stats };
    let json = json_of(|out| write_stats(out, KEEP, Flavour::Orpheus, &stats));
    assert_eq!(json.as_object().unwrap().len(), 28);
}

#[test]
fn ocelot_7_prom_stats_are_names_and_numbers() {
    let stats = stats();
    let text = body(|out| write_prom_stats(out, KEEP, &stats), "text/plain");
    for line in [
        "ocelot_uptime 273906",
        "ocelot_open_connections 2",
        "ocelot_connection_rate 3",
        "ocelot_requests 4",
        "ocelot_request_rate 5",
        "ocelot_succ_announcements 6",
        "ocelot_total_announcements 13",
        "ocelot_scrapes 8",
        "ocelot_leechers 9",
        "ocelot_seeders 10",
        "ocelot_user_queue 13",
        "ocelot_bytes_read 11",
        "ocelot_bytes_written 18446744073709551615",
        "ocelot_error{kind=\"announce\"} 24",
        "ocelot_time_user 1.000002",
        "ocelot_max_rss 1024",
        "ocelot_block{op=\"out\"} 34",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    assert!(text.ends_with('\n'));
    let mut typed = String::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(kind) => typed = kind.split(' ').next().unwrap().to_owned(),
            None => {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next().unwrap(), typed);
                value.parse::<f64>().unwrap();
            }
        }
    }
}

#[test]
fn ocelot_7_user_of_whatcd_is_two_lines() {
    let user = |asked: Option<&[u8]>, user| {
        body(|out| write_user(out, KEEP, Flavour::Whatcd, asked, user), "text/plain")
    };
    assert_eq!(user(Some(b"key"), Some(&USER)), "1 leeching\n2 seeding\nsuccess");
    assert_eq!(user(Some(b"key"), None), "success");
    assert_eq!(user(None, None), "Invalid action\nsuccess");
}

#[test]
fn ocelot_7_user_of_orpheus_is_an_object() {
    let write = |asked: Option<&'static [u8]>, user: Option<&'static UserReport>| {
        move |out: &mut Vec<u8>| write_user(out, KEEP, Flavour::Orpheus, asked, user)
    };
    assert_eq!(
        json_of(write(Some(b"key"), Some(&USER))),
        json!({
            "id": 30, "leeching": 1, "seeding": 2, "deleted": 0, "protected": 1, "can_leech": 0,
            "traced": 1,
        })
    );
    check_refused(write(Some(b"key"), None), "Announce key not found");
    check_refused(write(None, None), "Announce key missing");
}

#[test]
fn ocelot_7_torrent_of_orpheus_lists_users() {
    let torrent = TorrentReport {
        id: TorrentId(7),
        freeleech: Freeleech::Neutral,
        snatches: 5,
        balance: -12,
        flushed_at: 1_700_000_000,
        token_users: &[UserId(1), UserId(2)],
        leechers: &[],
        seeders: &[UserId(3)],
    };
    let info_hash = Some(InfoHash([0xab; 20]));
    assert_eq!(
        json_of(|out| write_torrent(out, KEEP, info_hash, Some(&torrent))),
        json!({
            "id": 7, "info_hash": "ab".repeat(20), "free": 2, "snatched": 5, "balance": -12,
            "last_flushed": 1_700_000_000, "fltoken_list": [1, 2], "leecher_list": [],
            "seeder_list": [3],
        })
    );
    check_refused(|out| write_torrent(out, KEEP, info_hash, None), "Infohash not found");
    check_refused(|out| write_torrent(out, KEEP, None, None), "Infohash missing");
}

#[test]
fn ocelot_7_what_nobody_knows_in_both_flavours() {
    let text = body(|out| write_unknown_report(out, KEEP, Flavour::Whatcd), "text/plain");
    assert_eq!(text, "Invalid action\nsuccess");
    check_refused(
        |out| write_unknown_report(out, KEEP, Flavour::Orpheus),
        "unrecognized report query",
    );
}

#[test]
fn ocelot_7_jemalloc_says_that_there_is_none() {
    let text = body(|out| write_jemalloc(out, KEEP), "text/plain");
    assert_eq!(text, "jemalloc is not used here\n");
}
