//! From an upload to its end: uploaded, published, held by Seeders, downloaded without the Master, changed, removed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::site::{Site, bytes, get, tree, until};
use crate::watch::tools::{Ssh, rsync, run};

#[test]
fn from_upload_to_removal() {
    let mut site = Site::start(2);
    upload(&site);
    let author = tree(&site.home.path().join("in"));
    site.settles();
    let hashes: Vec<_> = site.list().unwrap().items.iter().map(|item| item.info_hash).collect();
    assert_eq!(hashes.len(), 5);
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 3));

    // Without the Master.
    site.master.stop();
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 2));
    for name in ["film.mkv", "album"] {
        let downloads: [fn(&Path, &Path); 2] = [aria2, libtorrent];
        for download in downloads {
            let to = tempfile::tempdir().unwrap();
            download(&site.torrent(name), to.path());
            is_whole(&site, name, to.path());
        }
    }

    // A Seeder that starts again reads nothing of what it has, and announces it. So does the Master.
    site.seeders[0].stop();
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 1));
    let fetched = |site: &Site| site.seeders[0].log().matches("fetching").count();
    let before = fetched(&site);
    site.seeders[0].start_again();
    site.seeders[0].is_ready();
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 2));
    let generation = site.list().unwrap().generation;
    let hashed = site.master.log().matches("hashed").count();
    site.master.start_again();
    site.master.is_ready();
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 3));
    site.settles();
    until("the list is a new one", || site.list().unwrap().generation > generation);
    assert_eq!((fetched(&site), site.master.log().matches("hashed").count()), (before, hashed));
    let size: usize = author.values().map(Vec::len).sum();
    for program in [&site.master, &site.seeders[0]] {
        let read = program.proc("io", "rchar");
        assert!(read < size as u64 / 2, "{} has read {read} of {size} bytes", program.name);
    }

    // Touched and not changed: it is not published anew, and not withdrawn.
    let film = site.published("film.mkv").unwrap();
    let times = site.master.log().matches("is being withdrawn").count();
    let touched = fs::File::options().append(true).open(site.watched("film.mkv")).unwrap();
    touched.set_modified(SystemTime::now() - Duration::from_secs(7)).unwrap();
    // The Master waits for who has it open.
    drop(touched);
    let before = fs::metadata(site.watched("film.mkv")).unwrap().mtime();
    until("its new time is known", || {
        let item = site.home.path().join(format!("master/items/{film}.json"));
        fs::read_to_string(item).unwrap().contains(&format!("{before}"))
    });
    site.settles();
    assert_eq!(site.published("film.mkv"), Some(film));
    assert_eq!(site.master.log().matches("is being withdrawn").count(), times);

    // Changed: another torrent, with another title.
    site.put("film.mkv", &bytes(9, 700_001));
    until("it is another torrent", || site.published("film.mkv").is_some_and(|hash| hash != film));
    site.settles();
    let item = |site: &Site| {
        site.list().unwrap().items.into_iter().find(|item| item.name == "film.mkv").unwrap()
    };
    assert_eq!(item(&site).title, "film.mkv (2)");
    assert!(!site.torrent("film.mkv").ends_with(format!("{film}.torrent")));
    site.tracker.has_seeders(&film, 0);

    // Removed.
    let removed = [site.published("film.mkv").unwrap(), site.published("album").unwrap()];
    fs::remove_file(site.watched("film.mkv")).unwrap();
    fs::remove_dir_all(site.watched("album")).unwrap();
    until("they are gone from the list", || site.published("album").is_none());
    site.settles();
    removed.iter().for_each(|hash| site.tracker.has_seeders(hash, 0));
    assert_eq!(site.list().unwrap().items.len(), 3);
    let kept = tree(&site.home.path().join("in"));
    assert!(kept.iter().all(|(path, bytes)| author[path] == *bytes), "the author's files changed");
}

/// By each tool that people upload with.
fn upload(site: &Site) {
    let ssh = Ssh::start();
    fs::create_dir_all(site.outside("album/cd 2")).unwrap();
    for (name, size) in
        [("album/01 ü.flac", 300_000), ("album/cd 2/02.flac", 262_144), ("album/empty", 0)]
    {
        fs::write(site.outside(name), bytes(size as u64, size)).unwrap();
    }
    rsync(&["-a"], &site.outside("album"), &site.watched("")).succeeds();
    fs::write(site.outside("film.mkv"), bytes(1, 9_000_001)).unwrap();
    ssh.scp(None, &[], &site.outside("film.mkv"), &site.watched("film.mkv")).succeeds();
    fs::write(site.outside("disc.iso"), bytes(2, 1 << 20)).unwrap();
    let (from, to) = (site.outside("disc.iso"), site.watched("disc.iso"));
    ssh.sftp(None, &format!("put {} {}", from.display(), to.display())).succeeds();
    fs::write(site.outside("notes"), bytes(3, 1)).unwrap();
    run("cp", [site.outside("notes"), site.watched("notes [1] & more.txt")]);
    fs::write(site.outside("moved"), bytes(4, 262_143)).unwrap();
    run("mv", [site.outside("moved"), site.watched("moved.bin")]);
}

fn is_whole(site: &Site, name: &str, folder: &Path) {
    let is = tree(&folder.join(name));
    let file = fs::read(folder.join(name)).ok();
    assert!(
        is == tree(&site.watched(name)) && file == fs::read(site.watched(name)).ok(),
        "{name} has other bytes"
    );
}

const ARIA2: [&str; 9] = [
    "--seed-time=0",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--bt-stop-timeout=60",
    "--listen-port=20000-60000",
    "--file-allocation=none",
    "--no-conf",
];

fn aria2(torrent: &Path, to: &Path) {
    let dir = format!("--dir={}", to.display());
    let args = ARIA2.iter().map(|arg| arg.to_string());
    // One announce may come before a Seeder has said that it is there again.
    let args = args.chain(["--bt-tracker-interval=1".into(), "--quiet".into(), dir]);
    run(
        "timeout",
        ["120".into(), "aria2c".into()]
            .into_iter()
            .chain(args)
            .chain([torrent.display().to_string()]),
    );
}

fn libtorrent(torrent: &Path, to: &Path) {
    // 2.1.1 where the clients of the tracker's tests are prepared, Debian's own otherwise.
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or("../target".into(), std::path::PathBuf::from);
    let newer = target.join("clients/libtorrent-2.1.1/bin/python");
    let python = if newer.exists() { newer } else { "/usr/bin/python3".into() };
    let args = ["120".into(), python.display().to_string(), "-c".into(), LIBTORRENT.into()];
    let args = args.into_iter().chain([torrent, to].map(|path| path.display().to_string()));
    run("timeout", args);
}

const LIBTORRENT: &str = r#"
import sys, time
import libtorrent as lt
session = lt.session({
    "listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(sys.argv[1])
params.url_seeds = []
params.save_path = sys.argv[2]
handle = session.add_torrent(params)
while not handle.status().is_seeding:
    if handle.status().errc.value():
        sys.exit(handle.status().errc.message())
    time.sleep(0.05)
# It tells the tracker that it is complete, and then that it leaves: at once, the two may come the other way round.
time.sleep(1)
session.remove_torrent(handle)
time.sleep(1)
"#;

#[test]
fn files_are_served_in_ranges_and_are_a_web_seed() {
    let site = Site::start(0);
    let content = bytes(1, 3_000_000);
    site.put("film 1.mkv", &content);
    fs::create_dir(site.outside("album")).unwrap();
    fs::create_dir(site.outside("album/ü")).unwrap();
    fs::write(site.outside("album/ü/one"), bytes(2, 300_000)).unwrap();
    fs::write(site.outside("album/two"), bytes(3, 300_001)).unwrap();
    fs::rename(site.outside("album"), site.watched("album")).unwrap();
    site.settles();

    let part = get(site.served, "/files/film%201.mkv", "Range: bytes=1000000-1999999\r\n").unwrap();
    assert_eq!((part.status, part.body == content[1_000_000..2_000_000]), (206, true));
    assert!(part.head.contains("bytes 1000000-1999999/3000000"), "{}", part.head);
    let part = get(site.served, "/files/film%201.mkv", "Range: bytes=-7\r\n").unwrap();
    assert_eq!((part.status, &part.body[..]), (206, &content[2_999_993..]));
    let none = get(site.served, "/files/film%201.mkv", "Range: bytes=3000000-\r\n").unwrap();
    assert_eq!(none.status, 416);
    for path in [
        "/files/",
        "/files/album",
        "/files/../master/feed.key",
        "/files/..%2fmaster%2ffeed.key",
        "/files/none",
    ] {
        assert!(get(site.served, path, "").is_none_or(|answer| answer.status >= 400), "{path}");
    }

    // Nobody tells of a peer.
    for name in ["film 1.mkv", "album"] {
        let to = tempfile::tempdir().unwrap();
        let dir = format!("--dir={}", to.path().display());
        let args = ARIA2.iter().map(|arg| arg.to_string());
        let args = args.chain(["--bt-exclude-tracker=*".into(), "--quiet".into(), dir]);
        let args = args.chain([site.torrent(name).display().to_string()]);
        run("timeout", ["120".into(), "aria2c".into()].into_iter().chain(args));
        is_whole(&site, name, to.path());
    }
    let uploaded = site.master.status().unwrap().uploaded;
    assert_eq!(uploaded, 0, "a peer was found");

    // A file that changes is served no more.
    fs::write(site.watched("film 1.mkv"), bytes(4, 10)).unwrap();
    let status = |path| get(site.served, path, "").unwrap().status;
    assert!(matches!(status("/files/film%201.mkv"), 404 | 410));
}

/// Transmission connects neither to loopback nor to an address of its own host: it is in another namespace.
#[test]
fn transmission_downloads_from_seeders() {
    if !isolated("story::transmission_downloads_from_seeders") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::of(home, [198, 51, 100, 10].into(), 1, &[]);
    site.put("film.mkv", &bytes(1, 3_000_001));
    fs::create_dir(site.outside("album")).unwrap();
    fs::write(site.outside("album/one"), bytes(2, 300_000)).unwrap();
    fs::write(site.outside("album/two"), bytes(3, 300_001)).unwrap();
    fs::rename(site.outside("album"), site.watched("album")).unwrap();
    site.settles();
    site.master.stop();

    let to = tempfile::tempdir().unwrap();
    let _daemon = daemon(to.path(), "");
    for name in ["film.mkv", "album"] {
        until("the daemon takes it", || {
            let torrent = site.torrent(name);
            let words =
                ["transmission-remote", "127.0.0.1:9091", "--add", torrent.to_str().unwrap()];
            leecher(&words).output().unwrap().status.success()
        });
        until("it has the content", || {
            tree(&to.path().join(name)) == tree(&site.watched(name))
                && fs::read(to.path().join(name)).ok() == fs::read(site.watched(name)).ok()
        });
    }
}

/// A Seeder that has transmission-daemon fetch: both are in another namespace than the Master.
#[test]
fn a_seeder_fetches_by_transmission() {
    if !isolated("story::a_seeder_fetches_by_transmission") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let site = Site::of(home, [198, 51, 100, 10].into(), 0, &[]);
    site.put("film: what?.mkv", &bytes(1, 3_000_001));
    fs::create_dir_all(site.outside("album/cd 2")).unwrap();
    for (name, size) in [("album/one", 300_000), ("album/cd 2/two", 7), ("album/empty", 0)] {
        fs::write(site.outside(name), bytes(size as u64, size)).unwrap();
    }
    fs::rename(site.outside("album"), site.watched("album")).unwrap();
    site.settles();

    let to = tempfile::tempdir().unwrap();
    let login =
        r#""rpc-authentication-required":true,"rpc-username":"user","rpc-password":"5ec2e7","#;
    let _daemon = daemon(to.path(), login);
    let remote = |words: &[&str]| {
        let all = ["transmission-remote", "127.0.0.1:9091", "--auth", "user:5ec2e7"];
        let output = leecher(&[&all, words].concat()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    until("the daemon answers", || remote(&["--session-info"]).is_some());
    let data = site.home.path().join("by-transmission");
    let log = fs::File::create(site.home.path().join("by-transmission.log")).unwrap();
    let program = crate::site::program();
    let args = ["seed", "run", "--feed", &site.address, "--data", data.to_str().unwrap()];
    let more = ["--control", "none", "--listen", "198.51.100.11:6881", "--poll", "1s"];
    let engine =
        ["--removal-wait", "0s", "--engine", "transmission", "--transmission-user", "user"];
    let mut seeder = leecher(&[&[program.to_str().unwrap()], &args[..], &more, &engine].concat());
    seeder.env("MARGAY_SEED_TRANSMISSION_PASSWORD", "5ec2e7").stdout(log.try_clone().unwrap());
    let _seeder = Ends(seeder.stderr(log).spawn().unwrap());
    let content = |hash: &shard::InfoHash| data.join("content").join(hash.to_string());
    let hashes = ["film: what?.mkv", "album"].map(|name| site.published(name).unwrap());
    hashes.iter().for_each(|hash| site.tracker.has_seeders(hash, 2));
    for (name, hash) in ["film: what?.mkv", "album"].into_iter().zip(&hashes) {
        let (held, watched) = (content(hash).join(name), site.watched(name));
        assert!(tree(&held) == tree(&watched), "{name} has other bytes");
        assert!(fs::read(held).ok() == fs::read(watched).ok(), "{name} has other bytes");
    }
    // What is complete is the Seeder's alone, and goes with its feed.
    until("the daemon lets go", || {
        !remote(&["--torrent", "all", "--info"]).unwrap().contains("Hash")
    });
    fs::remove_dir_all(site.watched("album")).unwrap();
    until("it is removed", || !content(&hashes[1]).exists());
    site.tracker.has_seeders(&hashes[1], 0);
    site.tracker.has_seeders(&hashes[0], 2);
}

/// transmission-daemon in the namespace `leecher`, with its files in `folder` and more settings.
fn daemon(folder: &Path, more: &str) -> Ends {
    let config = folder.join("config");
    fs::create_dir(&config).unwrap();
    // With uTP on, 3.00 does not try TCP for a while.
    let settings = format!(
        r#"{{"dht-enabled":false,"lpd-enabled":false,"pex-enabled":false,"port-forwarding-enabled":false,{more}
        "utp-enabled":false,"download-dir":"{}","preallocation":0,"rpc-bind-address":"127.0.0.1"}}"#,
        folder.display()
    );
    fs::write(config.join("settings.json"), settings).unwrap();
    let mut daemon =
        leecher(&["transmission-daemon", "--foreground", "--config-dir", config.to_str().unwrap()]);
    Ends(daemon.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn leecher(words: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "leecher"]).args(words).stdin(Stdio::null());
    command
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs this test again where it is root of a network of its own: true there.
fn isolated(test: &str) -> bool {
    if std::env::var_os("MARGAY_TEST_ISOLATED").is_some() {
        return true;
    }
    let script = format!(
        "set -e\nip link set lo up\n{}\nexport MARGAY_TEST_ISOLATED=1\nexec \"$1\" --exact {test} --nocapture",
        crate::engine::NETWORK
    );
    let exe = std::env::current_exe().unwrap();
    let args = ["--map-root-user", "--net", "--mount", "--kill-child", "sh", "-c", &script, "sh"];
    run("unshare", args.into_iter().map(Into::into).chain([exe.into_os_string()]));
    false
}
