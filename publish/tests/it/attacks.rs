//! A Seeder whose Master is somebody else, or has gone mad: nothing is deleted, nothing is written outside of its folder,
//! its memory is bounded, and it says what is wrong.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use publish::engine::upload::{Limits, Uploads};
use publish::feed::{Item, KeyPair, List, sign, write};
use publish::web::status::FileState;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use shard::InfoHash;
use tempfile::TempDir;

use crate::engine::content::Made;
use crate::site::{Program, Site, bytes, free_port, seeder, tree, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_not_the_masters_changes_nothing() {
    let mut mad = Mad::start();
    (0..5).for_each(|number| mad.add(&format!("kept {number}"), 10_000 + number));
    mad.serve();
    let seeder = mad.seeder();
    mad.holds(&seeder, 5);
    let before = mad.disk();
    let good = mad.signed(&mad.list);

    let nothing =
        |generation| List { generation, items: Vec::new(), withdraw: true, ..mad.list.clone() };
    let item = |change: &dyn Fn(&mut Item)| {
        let mut list = List { generation: 8, ..mad.list.clone() };
        change(&mut list.items[0]);
        mad.signed_as_it_is(&list)
    };
    let mut flipped = good.clone();
    let made = flipped.iter().rposition(|byte| *byte == b'7').unwrap();
    flipped[made] = b'8';
    let body = good.split(|byte| *byte == b'\n').skip(1).collect::<Vec<_>>().join(&b'\n');
    let head = r#"{"epoch":1,"generation":8,"made":1,"items":1000000,"masters":[],"withdraw":true,"next_key":null}"#;
    let million = format!("{head}\n{}", "{}\n".repeat(1_000_000));
    let foreign = write(&nothing(8), &KeyPair::from_seed(&[2; 32])).unwrap().bytes.to_vec();
    let bomb = pack(&vec![b'x'; 1 << 20], 1 << 10);
    let elsewhere = format!("http://localhost:{}/elsewhere", mad.at.port());
    let attacks: Vec<(Reply, &str)> = vec![
        (Reply::of(b""), "the list is empty"),
        (Reply::of(&good[..good.len() - 100]), "the list is cut off"),
        (Reply::Answer(200, "Content-Length: 9999\r\n".into(), good.clone()), "does not answer"),
        (Reply::of(b"<!doctype html><p>Sign in"), "this is no list but begins with"),
        (Reply::Answer(500, String::new(), b"oh".to_vec()), "says 500"),
        (Reply::Answer(304, String::new(), Vec::new()), "says 304"),
        (Reply::of(&foreign), "which is not trusted here"),
        (Reply::of(&flipped), "signature is wrong"),
        (Reply::of(&[b"margay-list 1\n", &body[..]].concat()), "not a key and a signature"),
        (Reply::of(&body), "this is no list but begins with"),
        (Reply::of(&mad.signed(&nothing(6))), "older than 1/7 that was seen"),
        (Reply::of(&mad.signed(&nothing(7))), "another one than was seen"),
        (Reply::Answer(200, "Content-Encoding: gzip\r\n".into(), bomb), "more than 67108864 bytes"),
        (
            Reply::Answer(200, "Content-Encoding: gzip\r\n".into(), good.clone()),
            "cannot be unpacked",
        ),
        (Reply::of(&sign(million.as_bytes(), &mad.key)), "1000000 items, more than 100000"),
        (Reply::Endless, "more than 67108864 bytes"),
        (Reply::to("file:///etc/passwd"), "says 302 Found"),
        (Reply::to(&elsewhere), "it leads to http://localhost"),
        (Reply::of(&item(&|item| item.name = "../evil".into())), "which would lead out"),
        (Reply::of(&item(&|item| item.name = "kept 1".into())), "is there twice"),
        (
            Reply::of(&item(&|item| item.torrent_url = "file:///etc/passwd".into())),
            "the URL of the .torrent",
        ),
        (Reply::Slow, "takes too long"),
    ];
    for (reply, says) in attacks {
        mad.list_is(reply);
        mad.is_asked(2);
        seeder.says(says);
        assert!(mad.disk() == before, "{says}: something was changed");
        assert_eq!(count(&seeder, FileState::Seeding), 5, "{says}");
        assert!(seeder.log().contains(says), "{says} is not logged");
    }
    assert_eq!(mad.asked("/elsewhere"), 0);
    let most = seeder.proc("status", "VmHWM");
    println!("the most memory that the Seeder had: {} MiB", most / 1024);
    assert!(most < 512 * 1024, "{most} KiB");

    mad.add("new", 5_000);
    mad.list.generation = 8;
    mad.serve();
    mad.holds(&seeder, 6);
    seeder.says("no trouble");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torrent_that_is_not_what_the_list_says_is_not_used() {
    let mut mad = Mad::start();
    mad.add("kept", 10_000);
    mad.serve();
    let seeder = mad.seeder();
    mad.holds(&seeder, 1);
    let before = mad.disk();
    let kept = mad.list.items.clone();

    let made = Made::new("evil", &[("", 700_000)], 256 << 10);
    let right = made.metainfo.bytes.to_vec();
    let other = Made::new("evil", &[("", 1000)], 256 << 10).metainfo.bytes.to_vec();
    let upwards = info("4:evil", "l2:..2:..4:evile");
    let absolute = info("9:/tmp/evil", "l1:xe");
    let empty = info("4:evil", "l0:1:xe");
    let item = |torrent: &[u8]| mad.item("evil", torrent);
    let mut attacks: Vec<(Item, Vec<u8>, &str)> = vec![
        (item(&upwards), upwards, "its torrent is refused: the path"),
        (item(&absolute), absolute, "its torrent is refused"),
        (item(&empty), empty, "its torrent is refused"),
        (
            item(b"<html>"),
            b"<html>".to_vec(),
            "its torrent is refused: a .torrent file is not a dictionary",
        ),
        (item(&right), vec![b'x'; right.len()], "is not the file that the signed list names"),
        (item(&right), right[..100].to_vec(), "is not the file that the signed list names"),
        (item(&right), vec![b'x'; right.len() + 1], "bytes, which is refused"),
    ];
    let changes: [fn(&mut Item); 4] = [
        |item| item.size += 1,
        |item| item.name = "good".to_owned(),
        |item| item.files = 2,
        |item| {
            item.torrent_url =
                item.torrent_url.replace(&item.info_hash.to_string(), &"ab".repeat(20));
            item.info_hash = InfoHash([0xab; 20]);
        },
    ];
    for change in changes {
        let mut item = item(&right);
        change(&mut item);
        attacks.push((item, right.clone(), "which is not what the list says"));
    }
    attacks.push((item(&right), other, "is not the file that the signed list names"));
    for (item, torrent, says) in attacks {
        mad.list.generation += 1;
        mad.list.items = kept.iter().cloned().chain([item.clone()]).collect();
        mad.is(item.torrent_url.rsplit_once('/').unwrap().1, Reply::of(&torrent));
        mad.serve();
        seeder.says(says);
        assert!(mad.disk() == before, "{says}: something was changed");
        mad.list.generation += 1;
        mad.list.items = kept.clone();
        mad.serve();
        seeder.says("no trouble");
    }
    assert_eq!(mad.outside(), ["canary"]);
    mad.list.generation += 1;
    mad.give(made);
    mad.serve();
    mad.holds(&seeder, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_the_data_folder_lead_nowhere() {
    let mut mad = Mad::start();
    mad.add("kept", 10_000);
    let (data, out) = (mad.home.path().join("seeder"), mad.home.path().join("outside"));
    fs::create_dir_all(&data).unwrap();
    symlink(out.join("canary"), data.join(".feeds.json.being-written")).unwrap();
    mad.serve();
    let seeder = mad.seeder();
    mad.holds(&seeder, 1);
    let files = [("one", 300_000), ("two", 300_000)];
    let made = [
        Made::new("folder", &files, 256 << 10),
        Made::new("canary", &[("", 400_000)], 256 << 10),
        Made::new("album", &files[..1], 256 << 10),
        Made::new("album 2", &[("deep/one", 500_000)], 256 << 10),
    ];
    let place = |made: &Made| data.join("content").join(made.metainfo.info_hash.to_string());
    // The torrent's folder itself; the file; the folder in it; one further below.
    symlink(&out, place(&made[0])).unwrap();
    made[1..].iter().for_each(|made| fs::create_dir(place(made)).unwrap());
    symlink(out.join("canary"), place(&made[1]).join("canary")).unwrap();
    symlink(&out, place(&made[2]).join("album")).unwrap();
    fs::create_dir(place(&made[3]).join("album 2")).unwrap();
    symlink(&out, place(&made[3]).join("album 2/deep")).unwrap();
    let hashes = made.each_ref().map(|made| made.metainfo.info_hash);
    for made in made {
        mad.give(made);
    }
    // The state of what is known is written by a name that can be guessed as well.
    let beside = data.join(format!("items/.{}.torrent.being-written", hashes[0]));
    symlink(out.join("canary"), beside).unwrap();
    mad.list.generation += 1;
    mad.serve();
    until("all have failed", || count(&seeder, FileState::Failed) == 4);
    seeder.says("4 torrents have failed");
    assert_eq!(mad.outside(), ["canary"]);
    assert_eq!(count(&seeder, FileState::Seeding), 1);

    // They go, and what they lead to stays.
    mad.list.generation += 1;
    mad.list.items.truncate(1);
    mad.list.withdraw = true;
    mad.serve();
    until("they are removed", || fs::read_dir(data.join("content")).unwrap().count() == 1);
    assert_eq!(mad.outside(), ["canary"]);
    seeder.says("no trouble");
}

#[test]
fn much_is_withdrawn_only_when_it_is_meant() {
    let site = Site::start(1);
    (0..6).for_each(|number| site.put(&number.to_string(), &bytes(number, 10_000)));
    site.settles();
    let held = |site: &Site| tree(&site.home.path().join("seeder-1/content"));
    let before = held(&site);
    // At once to the Seeder, whatever time the removals take: a few that it sees in two polls of their own may go.
    site.seeders[0].signal(rustix::process::Signal::STOP);
    (1..6).for_each(|number| fs::remove_file(site.watched(&number.to_string())).unwrap());
    until("the list is without them", || site.list().unwrap().items.len() == 1);
    site.seeders[0].signal(rustix::process::Signal::CONT);
    site.seeders[0].says("held back: 5 of 6 items vanished");
    let polls = site.seeders[0].status().unwrap().feeds[0].generation;
    assert!(held(&site) == before && polls > 0);
    let said = site.master.order(&["publish", "confirm"]);
    assert!(said.contains("meant to be gone"), "{said}");
    site.settles();
    assert_eq!(held(&site).len(), 1);
    // A feed in which nothing happens is read all the same, and alerts go by that.
    let feed = || site.seeders[0].status().unwrap().feeds.swap_remove(0);
    let read = feed();
    until("the same list is read again", || feed().at > read.at);
    assert_eq!(feed().generation, read.generation);
}

/// A Master that answers what a test wants, and somebody who seeds what is right.
struct Mad {
    home: TempDir,
    at: SocketAddr,
    key: KeyPair,
    list: List,
    uploads: Uploads,
    made: Vec<Made>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    replies: HashMap<String, Reply>,
    asked: HashMap<String, u64>,
}

#[derive(Clone)]
enum Reply {
    /// A status, more of the head, the body.
    Answer(u16, String, Vec<u8>),
    Endless,
    Slow,
}

impl Reply {
    fn of(body: &[u8]) -> Self {
        Self::Answer(200, format!("Content-Length: {}\r\n", body.len()), body.to_vec())
    }

    fn to(url: &str) -> Self {
        Self::Answer(302, format!("Location: {url}\r\nContent-Length: 0\r\n"), Vec::new())
    }
}

impl Mad {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("outside")).unwrap();
        fs::write(home.path().join("outside/canary"), "sings").unwrap();
        let listener = TcpListener::bind(free_port(Ipv4Addr::LOCALHOST.into())).unwrap();
        let at = listener.local_addr().unwrap();
        let shared = Arc::<Mutex<Shared>>::default();
        let heard = shared.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = heard.clone();
                // Who leaves is not waited for.
                thread::spawn(move || answer(connection, &shared));
            }
        });
        let peers = [([127, 0, 0, 1], 0).into()];
        let (uploads, _) =
            Uploads::listen(&peers, Limits::default(), *b"-mg0200-abcdefghijkl").unwrap();
        let masters = uploads.addresses().to_vec();
        let list =
            List { epoch: 1, generation: 7, made: 1_760_000_000, masters, ..List::default() };
        let key = KeyPair::from_seed(&[1; 32]);
        Mad { home, at, key, list, uploads, made: Vec::new(), shared }
    }

    fn seeder(&self) -> Program {
        let address = format!("http://{}/feed.xml#ed25519={}", self.at, self.key.public());
        seeder("seeder", self.home.path(), Ipv4Addr::LOCALHOST.into(), &address)
    }

    fn add(&mut self, name: &str, size: usize) {
        self.give(Made::new(name, &[("", size)], 256 << 10));
    }

    /// It is in the list, and can be had.
    fn give(&mut self, made: Made) {
        let metainfo = &made.metainfo;
        let mut item = self.item(&metainfo.name, &metainfo.bytes);
        item.size = metainfo.total();
        item.files = metainfo.files.len() as u64;
        self.is(&format!("{}.torrent", metainfo.info_hash), Reply::of(&metainfo.bytes));
        let folder = made.folder.path().to_owned();
        self.uploads.add(metainfo.clone(), folder, made.identities()).unwrap();
        self.list.items.push(item);
        self.made.push(made);
    }

    /// An item whose torrent has these bytes, of 700,000 bytes in a file.
    fn item(&self, name: &str, torrent: &[u8]) -> Item {
        // What stands between `4:info` and the last `e`.
        let info = torrent.get(7..torrent.len() - 1).unwrap_or_default();
        let info_hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, info).as_ref().try_into().unwrap();
        let info_hash = InfoHash(info_hash);
        Item {
            info_hash,
            name: name.to_owned(),
            title: name.to_owned(),
            size: 700_000,
            files: 1,
            published: 1_760_000_000,
            torrent_url: format!("http://{}/{info_hash}.torrent", self.at),
            torrent_length: torrent.len() as u64,
            torrent_sha256: digest(&SHA256, torrent).as_ref().try_into().unwrap(),
        }
    }

    fn signed(&self, list: &List) -> Vec<u8> {
        write(list, &self.key).unwrap().bytes.to_vec()
    }

    /// Also one that nobody would take.
    fn signed_as_it_is(&self, list: &List) -> Vec<u8> {
        let head = serde_json::json!({
            "epoch": list.epoch, "generation": list.generation, "made": list.made, "items": list.items.len(),
            "masters": list.masters, "withdraw": true, "next_key": null,
        });
        let items = list.items.iter().map(|item| serde_json::to_string(item).unwrap());
        let lines: String =
            [head.to_string()].into_iter().chain(items).map(|line| line + "\n").collect();
        sign(lines.as_bytes(), &self.key)
    }

    /// The list is out.
    fn serve(&self) {
        self.list_is(Reply::of(&self.signed(&self.list)));
    }

    fn list_is(&self, reply: Reply) {
        self.is("feed.list", reply);
    }

    fn is(&self, name: &str, reply: Reply) {
        self.shared.lock().unwrap().replies.insert(format!("/{name}"), reply);
    }

    fn asked(&self, path: &str) -> u64 {
        self.shared.lock().unwrap().asked.get(path).copied().unwrap_or(0)
    }

    /// Waits until the list was asked for so often again.
    fn is_asked(&self, times: u64) {
        let before = self.asked("/feed.list");
        until("the list is asked for", || self.asked("/feed.list") >= before + times);
    }

    /// Waits until a Seeder has so many torrents, of the right bytes.
    fn holds(&self, seeder: &Program, torrents: usize) {
        until("the Seeder has all", || count(seeder, FileState::Seeding) == torrents);
        for made in &self.made {
            let hash = made.metainfo.info_hash.to_string();
            made.assert_same(&self.home.path().join("seeder/content").join(hash));
        }
    }

    /// All that the Seeder has on its disk, but what it has seen of feeds.
    fn disk(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = tree(&self.home.path().join("seeder"));
        files.remove("feeds.json");
        files
    }

    /// What is in the folder that nothing is to be written to.
    fn outside(&self) -> Vec<String> {
        let files = tree(&self.home.path().join("outside"));
        assert_eq!(files["canary"], b"sings");
        files.into_keys().collect()
    }
}

fn count(seeder: &Program, state: FileState) -> usize {
    let files = seeder.status().map(|status| status.files).unwrap_or_default();
    files.iter().filter(|file| file.state == state).count()
}

fn answer(mut connection: TcpStream, shared: &Mutex<Shared>) -> Option<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        connection.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let path = String::from_utf8(head).ok()?.split(' ').nth(1)?.to_owned();
    let reply = {
        let mut shared = shared.lock().unwrap();
        *shared.asked.entry(path.clone()).or_default() += 1;
        shared.replies.get(&path).cloned()
    };
    let reply = reply.unwrap_or(Reply::Answer(404, "Content-Length: 0\r\n".into(), Vec::new()));
    let (status, more, body) = match &reply {
        Reply::Answer(status, more, body) => (*status, more.as_str(), &body[..]),
        Reply::Endless | Reply::Slow => (200, "", &[][..]),
    };
    write!(connection, "HTTP/1.1 {status} x\r\nConnection: close\r\n{more}\r\n").ok()?;
    connection.write_all(body).ok()?;
    match reply {
        Reply::Answer(..) => Some(()),
        Reply::Endless => loop {
            connection.write_all(&[b'm'; 1 << 16]).ok()?;
        },
        Reply::Slow => loop {
            connection.write_all(b"m").ok()?;
            thread::sleep(Duration::from_millis(500));
        },
    }
}

/// A torrent of a file of 700,000 bytes at `path` in a folder of this name, both bencoded.
fn info(name: &str, path: &str) -> Vec<u8> {
    let files = format!("5:filesld6:lengthi700000e4:path{path}ee");
    let pieces = "x".repeat(60);
    format!("d4:infod{files}4:name{name}12:piece lengthi262144e6:pieces60:{pieces}ee").into_bytes()
}

/// Gzip of `part`, so often.
fn pack(part: &[u8], times: usize) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    (0..times).for_each(|_| packed.write_all(part).unwrap());
    packed.finish().unwrap()
}
