//! Trackers that serve only what they are told of: the Master tells them, before anybody announces, and after a withdrawal.

use std::net::{IpAddr, Ipv4Addr};

use publish::web::status::FileState;

use crate::site::{Program, Site, Tracker, bytes, free_port, until};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The state of a torrent in the answer of `torrent show`.
fn shown(tracker: &Tracker, info_hash: &str) -> String {
    tracker.say(&["torrent", "show", info_hash])
}

/// A file with a token of the tracker's API.
fn token(tracker: &Tracker, home: &std::path::Path) -> String {
    let said = tracker.say(&["api-token", "create", "publisher"]);
    let token = said.split_whitespace().max_by_key(|word| word.len()).unwrap();
    let path = home.join("token");
    std::fs::write(&path, token).unwrap();
    path.display().to_string()
}

#[test]
fn a_listed_tracker_serves_what_is_published_and_no_longer_what_is_withdrawn() {
    let home = tempfile::tempdir().unwrap();
    let tracker = Tracker::with(HOST, &["--listed"]);
    let (token, control) = (token(&tracker, home.path()), format!("http://{}", tracker.control()));
    let options = ["--tracker-api", &control, "--tracker-api-token-file", &token];
    let site = Site::with(tracker, home, HOST, 1, &options);
    site.put("film", &bytes(1, 400_000));
    site.settles();
    let info_hash = site.published("film").unwrap();
    site.tracker.has_seeders(&info_hash, 2);
    let said = shown(&site.tracker, &info_hash.to_string());
    assert!(said.contains("film") && said.contains("served"), "{said}");

    std::fs::remove_file(site.watched("film")).unwrap();
    site.settles();
    let said = shown(&site.tracker, &info_hash.to_string());
    assert!(said.contains("withdrawn"), "{said}");
    assert_eq!(site.tracker.seeders(&info_hash), 0);

    // It comes back as what it was.
    site.put("film", &bytes(1, 400_000));
    site.settles();
    site.tracker.has_seeders(&info_hash, 2);
}

#[test]
fn a_private_tracker_credits_master_and_seeder_as_users_of_their_own() {
    let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
        println!("SKIPPED: a private tracker needs PostgreSQL: ops/test.d/postgres run cargo test");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let schema = format!("publish_private_{}", std::process::id());
    let private = ["--private", "--database", &url, "--database-schema", &schema];
    let tracker = Tracker::with(HOST, &private);
    let passkeys = ["a".repeat(32), "b".repeat(32)];
    for (number, passkey) in passkeys.iter().enumerate() {
        tracker.say(&["user", "add", &(number + 1).to_string(), "--passkey", passkey]);
    }
    let announce = tracker.announce();
    let of = |passkey: &str| announce.replace("/announce", &format!("/{passkey}/announce"));
    let (token, control) = (token(&tracker, home.path()), format!("http://{}", tracker.control()));
    let own = of(&passkeys[0]);
    let options = [
        "--tracker-api",
        &control,
        "--tracker-api-token-file",
        &token,
        "--private",
        "--tracker-override",
        &own,
    ];
    let site = Site::with(tracker, home, HOST, 0, &options);
    let (control, data) = (free_port(HOST), site.home.path().join("seeder").display().to_string());
    let args = [
        "seed",
        "run",
        "--feed",
        &site.address,
        "--data",
        &data,
        "--control",
        &control.to_string(),
        "--listen",
        &free_port(HOST).to_string(),
        "--poll",
        "1s",
        "--tracker-override",
        &of(&passkeys[1]),
    ];
    let args = args.map(str::to_owned).to_vec();
    let seeder = Program::start("seeder", site.home.path(), control, args);
    site.put("film", &bytes(1, 400_000));
    until("the Seeder has it", || seeder.state("film") == Some(FileState::Seeding));
    let info_hash = site.published("film").unwrap();
    let torrent = std::fs::read(site.torrent("film")).unwrap();
    let says = |passkey: &str| torrent.windows(32).any(|part| part == passkey.as_bytes());
    assert!(!says(&passkeys[0]) && !says(&passkeys[1]), "nobody learns a passkey by a torrent");
    let mut said = String::new();
    until("both seed as who they are", || {
        said = site.tracker.say(&["torrent", "show", &info_hash.to_string(), "--peers"]);
        let (first, second) =
            (said.contains("user 1") || said.contains(" 1 "), said.contains(" 2 "));
        first && second && !said.contains("leech 1")
    });
    println!("{said}");
    std::fs::remove_file(site.watched("film")).unwrap();
    until("it is not registered any more", || {
        site.tracker.say(&["torrent", "list"]).matches(&info_hash.to_string()).count() == 0
    });
}
