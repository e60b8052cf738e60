//! What an operator of a Master meets: names that are held back, folders that are shared or vanish, keys.

use std::ffi::OsStr;
use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;

use publish::feed::PublicKey;
use publish::web::status::FileState;

use crate::site::{Site, free_port, get, publisher, tree, until};

/// What `/files/` answers.
fn served(site: &Site, path: &str) -> u16 {
    get(site.served, &format!("/files/{path}"), "").unwrap().status
}

/// What Seeders are given now.
fn address(site: &Site) -> String {
    let data = site.home.path().join("master").display().to_string();
    let feed = format!("http://{}/feed.xml", site.served);
    let said = publisher(&["publish", "key", "--data", &data, "--feed-url", &feed]);
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_done_marker_that_comes_late_is_honoured() {
    let site = Site::start(0);
    site.put("a.bin", b"one");
    site.settles();
    let first = site.published("a.bin");
    fs::write(site.watched("a.bin"), b"other").unwrap();
    until("it is held back", || site.master.state("a.bin") == Some(FileState::Failed));
    assert_eq!(site.published("a.bin"), first);
    assert_eq!(served(&site, "a.bin"), 410);
    fs::write(site.watched("a.bin.done"), b"").unwrap();
    until("it is published anew", || site.published("a.bin") != first);
    until("it is served", || served(&site, "a.bin") == 200);
    site.master.says("no trouble");
}

#[test]
fn what_was_written_to_in_place_is_in_the_log_and_in_the_health() {
    let site = Site::start(0);
    fs::create_dir(site.outside("show")).unwrap();
    for name in ["a", "b"] {
        fs::write(site.outside("show").join(name), name).unwrap();
    }
    fs::rename(site.outside("show"), site.watched("show")).unwrap();
    site.put("c.bin", b"one");
    site.settles();
    fs::write(site.watched("show/b"), b"other").unwrap();
    site.master.says("1 published names are not served here; show: b was written to in place");
    // Emptied, and nothing comes.
    fs::write(site.watched("c.bin"), b"").unwrap();
    site.master.says("2 published names are not served here; c.bin: it is empty");
    let log = site.master.log();
    let warned = |name: &str, why: &str| {
        let is = |line: &str| line.contains("WARN") && line.contains(name) && line.contains(why);
        log.lines().filter(|line| is(line)).count()
    };
    assert_eq!(warned("show", "b was written to in place"), 1, "{log}");
    assert_eq!(warned("c.bin", "it is empty"), 1, "{log}");
}

#[test]
fn unchanged_files_of_a_folder_that_is_published_anew_are_served() {
    let site = Site::start(0);
    fs::create_dir(site.outside("show")).unwrap();
    fs::write(site.outside("show/a"), b"one").unwrap();
    fs::rename(site.outside("show"), site.watched("show")).unwrap();
    site.settles();
    assert_eq!(served(&site, "show/a"), 200);
    let first = site.published("show").unwrap();
    fs::write(site.watched("show/b"), b"two").unwrap();
    until("it is another torrent", || site.published("show").is_some_and(|hash| hash != first));
    site.settles();
    assert_eq!((served(&site, "show/a"), served(&site, "show/b")), (200, 200));
    fs::remove_dir_all(site.watched("show")).unwrap();
    until("it is withdrawn", || site.published("show").is_none());
    until("it is not known any more", || served(&site, "show/a") == 404);
}

#[test]
fn a_data_folder_is_one_processs_alone() {
    let site = Site::start(1);
    let at = |name: &str| site.home.path().join(name).display().to_string();
    let tracker = site.tracker.announce();
    let (watch, docroot, master, seeder) = (at("in"), at("other"), at("master"), at("seeder-1"));
    let common = ["--control", "none", "--listen", "127.0.0.1:0", "--data"];
    let feed = ["--feed-url", "http://127.0.0.1:1/feed.xml", "--tracker", &tracker];
    let second = [
        [&["publish", "run", "--watch", &watch, "--docroot", &docroot], &feed[..], &common]
            .concat()
            .into_iter()
            .chain([master.as_str()])
            .collect::<Vec<_>>(),
        [&["seed", "run", "--feed", &site.address], &common[..], &[&seeder]].concat(),
    ];
    for words in second {
        let said = publisher(&words);
        let error = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success(), "{words:?}");
        assert!(error.contains("is in use by another process (pid "), "{error}");
    }
    site.put("a.bin", b"one");
    site.settles();
}

#[test]
fn a_tracker_that_does_not_answer_is_told_of_once() {
    let home = tempfile::tempdir().unwrap();
    let nobody = free_port(Ipv4Addr::LOCALHOST.into());
    let url = format!("http://{nobody}/announce");
    let mut site = Site::of(home, Ipv4Addr::LOCALHOST.into(), 0, &["--tracker", &url]);
    for name in ["a", "b", "c"] {
        site.put(name, name.as_bytes());
    }
    site.settles();
    let warned = |site: &Site| {
        let log = site.master.log();
        let is = |line: &&str| line.contains("WARN") && line.contains(&url);
        log.lines().filter(is).map(str::to_owned).collect::<Vec<_>>()
    };
    until("it is told of", || !warned(&site).is_empty());
    // One that answers is told of by nobody.
    assert!(!site.master.log().contains("the tracker takes announces again"));
    site.put("d", b"d");
    site.settles();
    site.master.stop();
    let warned = warned(&site);
    assert_eq!(warned.len(), 1, "{warned:#?}");
    assert!(warned[0].contains("it is asked again"), "{warned:#?}");
}

#[test]
fn a_docroot_of_another_key_is_not_touched() {
    let mut site = Site::start(0);
    site.put("a.bin", b"one");
    site.settles();
    let docroot = site.home.path().join("docroot");
    let before = tree(&docroot);
    site.master.stop();
    let own = site.home.path().join("master/feed.key");
    let aside = site.home.path().join("kept.key");
    fs::rename(&own, &aside).unwrap();

    // The key is gone: none is made behind the operator's back.
    let said = site.master.is_refused();
    assert!(said.contains("there is no key in") && said.contains("--docroot"), "{said}");
    assert!(!own.exists());

    // Another Master, of which the docroot is not.
    let other = site.home.path().join("other").display().to_string();
    let feed = format!("http://{}/feed.xml", site.served);
    let made = publisher(&["publish", "key", "--data", &other, "--feed-url", &feed]);
    let new = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    let own_data = site.home.path().join("master").display().to_string();
    site.master.set("--data", &other);
    let said = site.master.is_refused();
    let key = |address: &str| address.rsplit_once('=').unwrap().1.to_owned();
    for part in [key(&site.address), key(&new), "--docroot".to_owned(), "feed.list".to_owned()] {
        assert!(said.contains(&part), "{part} in {said}");
    }
    assert_eq!(tree(&docroot), before);

    // The key is back.
    fs::rename(&aside, &own).unwrap();
    site.master.set("--data", &own_data);
    site.master.start_again();
    site.master.is_ready();
    site.settles();
    site.master.stop();

    // It is lost for good, and the operator says so.
    fs::remove_file(&own).unwrap();
    fs::remove_file(docroot.join("feed.list")).unwrap();
    site.master.start_again();
    site.master.is_ready();
    assert!(site.master.log().contains("a new one was made"), "{}", site.master.log());
    site.address = address(&site);
    site.settles();
}

#[test]
fn a_rotation_is_ended_when_a_list_has_named_the_key() {
    let mut site = Site::start(1);
    site.put("a.bin", b"one");
    site.settles();
    let data = site.home.path().join("master").display().to_string();
    let feed = format!("http://{}/feed.xml", site.served);
    let key =
        |word: &str| publisher(&["publish", "key", word, "--data", &data, "--feed-url", &feed]);
    assert!(key("--next").status.success());
    let said = key("--switch");
    let error = String::from_utf8(said.stderr).unwrap();
    assert!(!said.status.success() && error.contains("no list has named"), "{error}");
    assert!(said.stdout.is_empty());
    site.master.stop();
    site.master.start_again();
    site.master.is_ready();
    until("a list names it", || site.list().unwrap().next_key.is_some());
    let next = site.list().unwrap().next_key;
    until("the Seeder has it", || {
        let kept = fs::read_to_string(site.home.path().join("seeder-1/feeds.json"));
        kept.is_ok_and(|kept| kept.contains(&next.unwrap().to_string()))
    });
    until("it may be switched to", || key("--switch").status.success());
    assert!(site.home.path().join("master/feed.old.key").exists());
    site.master.stop();
    site.master.start_again();
    site.master.is_ready();
    site.address = address(&site);
    site.put("b.bin", b"two");
    site.settles();
}

#[test]
fn a_feed_that_has_another_name_is_not_left_behind() {
    let mut site = Site::start(0);
    site.put("a.bin", b"one");
    site.settles();
    site.master.stop();
    let docroot = site.home.path().join("docroot");
    fs::write(docroot.join("feed.html"), "ours").unwrap();
    site.master.set("--feed-url", &format!("http://{}/news.xml", site.served));
    site.master.start_again();
    site.master.is_ready();
    until("the new one is there", || docroot.join("news.list").exists());
    until("and for readers", || docroot.join("news.xml").exists());
    let names: Vec<String> = tree(&docroot).into_keys().collect();
    let old: Vec<_> = names.iter().filter(|name| name.starts_with("feed.")).collect();
    assert_eq!(old, ["feed.html"]);
    assert_eq!(get(site.served, "/feed.list", "").unwrap().status, 404);
    assert!(site.master.log().contains("the feed has another name now"));
}

#[test]
fn what_vanishes_from_the_docroot_is_written_again() {
    let site = Site::start(0);
    for name in ["a.bin", "b.bin"] {
        site.put(name, name.as_bytes());
    }
    site.settles();
    let docroot = site.home.path().join("docroot");
    fs::remove_file(site.torrent("a.bin")).unwrap();
    fs::write(docroot.join("feed.list"), "of another program").unwrap();
    until("it is said", || site.master.log().contains("it is written again"));
    until("the list is there", || {
        fs::read(docroot.join("feed.list")).is_ok_and(|list| list.starts_with(b"margay-list"))
    });
    site.settles();
    // A list may be on its way there.
    until("it is removed", || fs::remove_dir_all(&docroot).is_ok());
    until("all is there again", || docroot.join("feed.xml").exists());
    until("and the list", || docroot.join("feed.list").exists());
    site.settles();
    site.master.says("no trouble");
}

#[test]
fn a_name_that_is_not_utf_8_has_failed_with_the_reason() {
    let site = Site::start(0);
    let name = site.home.path().join("in").join(OsStr::from_bytes(b"bad\xff.bin"));
    fs::write(&name, b"one").unwrap();
    let failed = || {
        let files = site.master.status().map(|status| status.files).unwrap_or_default();
        files.into_iter().find(|file| file.name == "bad\u{fffd}.bin")
    };
    until("it is shown", || failed().is_some());
    let file = failed().unwrap();
    assert_eq!(file.state, FileState::Failed);
    assert!(file.reason.as_ref().unwrap().contains("rename it"), "{file:?}");
    let log = site.master.log();
    assert_eq!(log.matches("not UTF-8").count(), 1, "{log}");
    assert_eq!(log.matches("watching folder").count(), 1, "{log}");
    fs::remove_file(&name).unwrap();
    until("it is gone", || failed().is_none());
}

#[test]
fn a_key_without_its_address_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let said = publisher(&["publish", "key", "--data", &data]);
    let (out, error) = (said.stdout, String::from_utf8(said.stderr).unwrap());
    assert!(PublicKey::parse(String::from_utf8(out).unwrap().trim()).is_some());
    assert!(error.contains("--feed-url"), "{error}");
    let said =
        publisher(&["publish", "key", "--data", &data, "--feed-url", "http://h.example/f.xml"]);
    assert!(said.stderr.is_empty(), "{said:?}");
}
