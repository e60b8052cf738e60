//! The feed with its real readers: feedparser and FlexGet of PyPI, qBittorrent and xmllint of Debian. And the list that
//! is too long.

mod docroot;
mod qbittorrent;
mod too_long;

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

use crate::prepared;
use docroot::Docroot;
use qbittorrent::QBittorrent;

/// Names that are hard on XML, readers and terminals.
const NAMES: [&str; 8] = [
    "plain.iso",
    "<b>&amp; \"quoted\"</b> ]]>.iso",
    "bell\u{7}and\u{1b}escape",
    "two\nlines\tand a tab",
    "новый 文件 😀.iso",
    "\u{ffff} is no character",
    " blanks at both ends ",
    "100% #1 ?x=y;z.iso",
];

#[test]
fn xml_is_well_formed_whatever_the_names() {
    let mut docroot = Docroot::serve();
    for name in NAMES {
        docroot.publish(name, name.as_bytes(), 1);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.xml");
    fs::write(&file, docroot.feed().bytes).unwrap();
    let checked =
        run(Command::new("xmllint").arg("--noout").arg(&file), "Debian package libxml2-utils");
    assert!(checked.status.success(), "{}", text(&checked.stderr));
}

#[test]
fn feedparser_reads_all_that_is_in_the_feed() {
    let mut docroot = Docroot::serve();
    let hashes: BTreeSet<String> =
        NAMES.iter().map(|name| docroot.publish(name, name.as_bytes(), 1).to_string()).collect();
    let script = r#"
import feedparser, json, sys
url = sys.argv[1]
first = feedparser.parse(url)
again = feedparser.parse(url, etag=first.etag)
print(json.dumps({
    "bozo": first.bozo, "status": [first.status, again.status], "ttl": first.feed.ttl,
    "feed": [first.feed[key] for key in ("margay_epoch", "margay_generation", "margay_count", "margay_list")],
    "namespace": first.namespaces["margay"],
    "entries": [{
        "title": entry.title, "id": entry.id, "link": entry.link, "time": list(entry.published_parsed)[:6],
        "enclosures": [[part.href, part.type, part.length] for part in entry.enclosures],
        "hash": entry.margay_infohash, "size": entry.margay_size,
    } for entry in first.entries],
}))
"#;
    let url = docroot.url("/feed.xml");
    let said = run(
        Command::new(prepared::venv().join("bin/python")).args(["-c", script, &url]),
        "publish/tests/prepare",
    );
    assert!(said.status.success(), "{}", text(&said.stderr));
    let said: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap();
    assert_eq!(said["bozo"], false, "{said}");
    assert_eq!(said["status"], serde_json::json!([200, 304]));
    assert_eq!(said["ttl"], "1");
    let generation = docroot.list.generation.to_string();
    assert_eq!(said["feed"], serde_json::json!(["1", generation, "8", docroot.url("/feed.list")]));
    assert_eq!(said["namespace"], publish::feed::NAMESPACE);
    let entries = said["entries"].as_array().unwrap();
    let titles: BTreeSet<_> =
        entries.iter().map(|entry| entry["title"].as_str().unwrap()).collect();
    assert_eq!(titles.len(), NAMES.len(), "{titles:?}");
    for title in
        ["plain.iso", "bell\u{2407}and\u{241b}escape", "новый 文件 😀.iso", "blanks at both ends"]
    {
        assert!(titles.contains(title), "{title} in {titles:?}");
    }
    let told: BTreeSet<String> =
        entries.iter().map(|entry| entry["hash"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, hashes);
    for entry in entries {
        let hash = entry["hash"].as_str().unwrap();
        let item =
            docroot.list.items.iter().find(|item| item.info_hash.to_string() == hash).unwrap();
        assert_eq!(entry["id"], format!("urn:btih:{hash}"));
        assert_eq!(entry["size"], item.size.to_string());
        let length = item.torrent_length.to_string();
        let enclosures =
            serde_json::json!([[item.torrent_url, "application/x-bittorrent", length]]);
        assert_eq!((&entry["enclosures"], &entry["link"]), (&enclosures, &enclosures[0][0]));
        assert_eq!(entry["time"][0], 2025, "{entry}");
    }
    check_conditions(&docroot);
}

#[test]
fn flexget_fetches_what_is_new_and_what_is_published_anew() {
    let mut docroot = Docroot::serve();
    let folder = tempfile::tempdir().unwrap();
    let fetched = folder.path().join("fetched");
    fs::create_dir(&fetched).unwrap();
    let config = format!(
        "tasks:\n  margay:\n    rss:\n      url: {}\n      all_entries: no\n    accept_all: yes\n    download: {}\n",
        docroot.url("/feed.xml"),
        fetched.display(),
    );
    fs::write(folder.path().join("config.yml"), config).unwrap();
    let mut expected = 0;
    let mut look = |more: usize, docroot: &Docroot| {
        let mut flexget = Command::new(prepared::venv().join("bin/flexget"));
        flexget.current_dir(folder.path()).env("HOME", folder.path());
        let done = run(flexget.args(["-c", "config.yml", "execute"]), "publish/tests/prepare");
        expected += more;
        let found = fs::read_dir(&fetched).unwrap().count();
        assert_eq!(found, expected, "{}{}", text(&done.stdout), text(&done.stderr));
        let asked: BTreeSet<_> = docroot
            .requests()
            .into_iter()
            .filter(|request| request.path.starts_with("/torrents/"))
            .map(|r| r.path)
            .collect();
        assert_eq!(asked.len(), expected);
    };
    docroot.publish("a.iso", b"first", 1);
    docroot.publish("b<&>\u{7}.iso", b"other", 1);
    look(2, &docroot);
    look(0, &docroot);
    docroot.publish("a.iso", b"second", 2);
    docroot.publish("c.iso", b"new", 1);
    look(2, &docroot);
    check_conditions(&docroot);
    assert!(
        docroot.requests().iter().any(|request| request.status == 304),
        "it asked, and was told"
    );
}

#[test]
fn qbittorrent_fetches_what_is_new_and_what_is_published_anew() {
    let mut docroot = Docroot::serve();
    let first = docroot.publish("a.iso", b"first", 1);
    let other = docroot.publish("b<&>\u{7}.iso", b"other", 1);
    let qbittorrent = QBittorrent::start();
    qbittorrent.follow(&docroot.url("/feed.xml"));
    qbittorrent.wait_for(&[first, other]);
    let second = docroot.publish("a.iso", b"second", 2);
    let new = docroot.publish("c.iso", b"new", 1);
    qbittorrent.wait_for(&[first, other, second, new]);
    check_conditions(&docroot);
}

/// A reader that does not ask whether the feed is new gets all of it: qBittorrent takes 304 as an error then.
fn check_conditions(docroot: &Docroot) {
    let requests = docroot.requests();
    assert!(
        requests.iter().all(|request| request.status != 304 || request.is_conditional),
        "{requests:?}"
    );
    assert!(requests.iter().all(|request| request.status != 404), "{requests:?}");
    assert!(
        requests.iter().any(|request| request.path == "/feed.xml" && request.takes_gzip),
        "{requests:?}"
    );
}

/// Runs a program to its end; says where it comes from when it is not there.
fn run(command: &mut Command, from: &str) -> Output {
    command.output().unwrap_or_else(|error| {
        panic!("cannot run {:?}: {error}; it comes with {from}", command.get_program());
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
