//! A Master, Seeders and a tracker as programs, on loopback or wherever a test wants them.
//!
//! `MARGAY` and `MARGAY_PUBLISH` name other programs than those that cargo has built.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use publish::feed::{FeedAddress, List, TrustedKeys, read};
use publish::torrent::Metainfo;
use publish::web::status::{FileState, Status};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use shard::InfoHash;
use tempfile::TempDir;

/// A Master's folders, the Seeders that follow it, and the tracker that they use.
pub(crate) struct Site {
    pub(crate) home: TempDir,
    pub(crate) tracker: Tracker,
    pub(crate) master: Program,
    pub(crate) seeders: Vec<Program>,
    pub(crate) address: String,
    /// Where the Master serves docroot and files.
    pub(crate) served: SocketAddr,
}

impl Site {
    /// Nothing is published yet, and all are ready.
    pub(crate) fn start(seeders: usize) -> Self {
        let home = tempfile::tempdir().unwrap();
        Self::of(home, Ipv4Addr::LOCALHOST.into(), seeders, &[])
    }

    /// In the folder `home`, whose folders may be there already, at an address of this host, with more options of the
    /// Master.
    pub(crate) fn of(home: TempDir, host: IpAddr, seeders: usize, options: &[&str]) -> Self {
        Self::with(Tracker::start(host), home, host, seeders, options)
    }

    /// The same with a tracker that runs already.
    pub(crate) fn with(
        tracker: Tracker,
        home: TempDir,
        host: IpAddr,
        seeders: usize,
        options: &[&str],
    ) -> Self {
        let served = free_port(host);
        let at = |name: &str| home.path().join(name).display().to_string();
        for folder in ["in", "out"] {
            fs::create_dir_all(home.path().join(folder)).unwrap();
        }
        let scheme = if options.contains(&"--tls-certificate") { "https" } else { "http" };
        let feed = format!("{scheme}://{served}/feed.xml");
        let data = at("master");
        let key = publisher(&["publish", "key", "--data", &data, "--feed-url", &feed]);
        let address = String::from_utf8(key.stdout).unwrap().trim().to_owned();
        let control = free_port(Ipv4Addr::LOCALHOST.into());
        let mut args: Vec<String> = ["publish", "run", "--settle", "200ms", "--data", &data]
            .map(str::to_owned)
            .into_iter()
            .chain(options.iter().map(|option| option.to_string()))
            .collect();
        for (option, value) in [
            ("--watch", at("in")),
            ("--docroot", at("docroot")),
            ("--control", control.to_string()),
            ("--serve", served.to_string()),
            ("--feed-url", feed),
            ("--files-url", format!("{scheme}://{served}/files/")),
            ("--tracker", tracker.announce()),
            ("--listen", free_port(host).to_string()),
        ] {
            args.extend([option.to_owned(), value]);
        }
        let master = Program::start("master", home.path(), control, args);
        let seeders = (1..=seeders)
            .map(|number| seeder(&format!("seeder-{number}"), home.path(), host, &address))
            .collect();
        Site { home, tracker, master, seeders, address, served }
    }

    /// The feed's address, as the Master's data folder has its key now.
    pub(crate) fn printed_address(&self) -> String {
        let (feed, _) = self.address.split_once('#').unwrap();
        let data = self.home.path().join("master").display().to_string();
        let key = publisher(&["publish", "key", "--data", &data, "--feed-url", feed]);
        String::from_utf8(key.stdout).unwrap().trim().to_owned()
    }

    /// The feed's key.
    pub(crate) fn key(&self) -> String {
        self.address.parse::<FeedAddress>().unwrap().key.unwrap().to_string()
    }

    /// A path in the watched folder.
    pub(crate) fn watched(&self, name: &str) -> PathBuf {
        self.home.path().join("in").join(name)
    }

    /// A path outside of it, on the same file system.
    pub(crate) fn outside(&self, name: &str) -> PathBuf {
        self.home.path().join("out").join(name)
    }

    /// Puts a whole file there at once.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.outside(name), bytes).unwrap();
        fs::rename(self.outside(name), self.watched(name)).unwrap();
    }

    /// The list that is in the docroot, whose signature is the Master's.
    pub(crate) fn list(&self) -> Option<List> {
        let bytes = fs::read(self.home.path().join("docroot/feed.list")).ok()?;
        let address: FeedAddress = self.address.parse().unwrap();
        Some(read(&bytes, &TrustedKeys::new(address.key.unwrap())).unwrap().list)
    }

    /// The infohash of a name in the list.
    pub(crate) fn published(&self, name: &str) -> Option<InfoHash> {
        Some(self.list()?.items.iter().find(|item| item.name == name)?.info_hash)
    }

    /// The `.torrent` file of a name, from the docroot.
    pub(crate) fn torrent(&self, name: &str) -> PathBuf {
        let info_hash = self.published(name).unwrap();
        self.home.path().join(format!("docroot/torrents/{info_hash}.torrent"))
    }

    /// Where a Seeder has a torrent's content.
    pub(crate) fn content(&self, seeder: usize, info_hash: &InfoHash) -> PathBuf {
        self.seeders[seeder].data(self.home.path()).join("content").join(info_hash.to_string())
    }

    /// Waits until everything is what the watched folder says, see [`Site::settled`].
    pub(crate) fn settles(&self) {
        let mut last = Ok(());
        let is = until_is(|| {
            last = self.settled();
            last.is_ok()
        });
        assert!(is, "it does not settle: {}", last.unwrap_err());
    }

    /// Whether feed, docroot, Master and Seeders have the content of the watched folder, all of it, and nothing else.
    pub(crate) fn settled(&self) -> Result<(), String> {
        let differ = |what: &str, is: &dyn Debug, wanted: &dyn Debug| {
            Err(format!("{what} {is:#?}, and should be {wanted:#?}"))
        };
        let files = tree(&self.home.path().join("in"));
        let names: HashSet<String> =
            files.keys().map(|path| path.split('/').next().unwrap().to_owned()).collect();
        let list = self.list().ok_or("there is no list")?;
        let told: HashSet<String> = list.items.iter().map(|item| item.name.clone()).collect();
        if told != names {
            return differ("the list tells of", &told, &names);
        }
        let torrents = tree(&self.home.path().join("docroot/torrents"));
        let wanted: HashSet<String> =
            list.items.iter().map(|item| format!("{}.torrent", item.info_hash)).collect();
        if torrents.keys().cloned().collect::<HashSet<_>>() != wanted {
            return differ("in the docroot are", &torrents.keys(), &wanted);
        }
        for item in &list.items {
            let torrent = &torrents[&format!("{}.torrent", item.info_hash)];
            if digest(&SHA256, torrent).as_ref() != item.torrent_sha256 {
                return Err(format!("the .torrent of {} is not what the list says", item.name));
            }
            let metainfo = Metainfo::parse(Bytes::from(torrent.clone())).unwrap();
            if !is_of(&metainfo, &files) {
                return Err(format!("the torrent of {} is not of what is there", item.name));
            }
        }
        let feed = fs::read_to_string(self.home.path().join("docroot/feed.xml")).unwrap();
        if feed.matches("<item>").count() != list.items.len()
            || !wanted.iter().all(|name| feed.contains(name))
        {
            return Err(format!("the feed is not the list: {feed}"));
        }
        for program in [&self.master].into_iter().chain(&self.seeders) {
            let status = program.status().ok_or("no status yet")?;
            let seeding: HashSet<(String, String)> = status
                .files
                .iter()
                .filter(|file| file.state == FileState::Seeding)
                .map(|file| (file.name.clone(), file.info_hash.clone().unwrap_or_default()))
                .collect();
            let wanted: HashSet<(String, String)> = list
                .items
                .iter()
                .map(|item| (item.name.clone(), item.info_hash.to_string()))
                .collect();
            if seeding != wanted || status.files.len() != wanted.len() {
                return differ(&format!("{} has", program.name), &status.files, &wanted);
            }
        }
        for (number, seeder) in self.seeders.iter().enumerate() {
            let data = seeder.data(self.home.path());
            let held: HashSet<String> = folders(&data.join("content"));
            let wanted: HashSet<String> =
                list.items.iter().map(|item| item.info_hash.to_string()).collect();
            if held != wanted {
                return differ(&format!("{} has on its disk", seeder.name), &held, &wanted);
            }
            let items: HashSet<String> = tree(&data.join("items")).into_keys().collect();
            if items.len() != 2 * wanted.len() {
                return differ(&format!("{} has on its shelf", seeder.name), &items, &wanted);
            }
            for item in &list.items {
                let held = tree(&self.content(number, &item.info_hash));
                let in_folder = |path: &&String| path.split('/').next() == Some(&item.name);
                let wanted: BTreeMap<_, _> =
                    files.iter().filter(|(path, _)| in_folder(path)).collect();
                if !held.iter().eq(wanted) {
                    return Err(format!("{} has other bytes of {}", seeder.name, item.name));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for program in [&self.master].into_iter().chain(&self.seeders) {
                program.show();
            }
        }
    }
}

/// Starts a Seeder of the feed at `address`; what vanished goes after two polls.
pub(crate) fn seeder(name: &str, home: &Path, host: IpAddr, address: &str) -> Program {
    let control = free_port(Ipv4Addr::LOCALHOST.into());
    let args = [
        "seed",
        "run",
        "--feed",
        address,
        "--data",
        &home.join(name).display().to_string(),
        "--control",
        &control.to_string(),
        "--listen",
        &free_port(host).to_string(),
        "--poll",
        "1s",
        "--removal-wait",
        "0s",
    ]
    .map(str::to_owned);
    Program::start(name, home, control, args.to_vec())
}

/// A Master or a Seeder, which can be ended and started again. It is killed when the test ends.
pub(crate) struct Program {
    pub(crate) name: String,
    pub(crate) control: SocketAddr,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Program {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(name: &str, home: &Path, control: SocketAddr, args: Vec<String>) -> Self {
        let log = home.join(format!("{name}.log"));
        let mut program = Program { name: name.to_owned(), control, args, log, child: None };
        program.start_again();
        program.is_ready();
        program
    }

    /// Starts it again, and does not wait.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "{} runs", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = clean(program());
        // Who is trusted beside what the system trusts.
        let authority = self.log.with_file_name("authority.pem");
        if authority.exists() {
            command.env("SSL_CERT_FILE", authority);
        }
        command.args(&self.args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it is ready.
    pub(crate) fn is_ready(&mut self) {
        let mut ended = None;
        let is = until_is(|| {
            ended = self.child.as_mut().unwrap().try_wait().unwrap();
            ended.is_some()
                || get(self.control, "/health/ready", "").is_some_and(|answer| answer.status == 200)
        });
        if !is || ended.is_some() {
            self.show();
            panic!("{} is not ready, ended: {ended:?}", self.name);
        }
    }

    /// Starts it, which it refuses, and returns what it says.
    pub(crate) fn is_refused(&self) -> String {
        assert!(self.child.is_none(), "{} runs", self.name);
        let words: Vec<&str> = self.args.iter().map(String::as_str).collect();
        let said = publisher(&words);
        let error = String::from_utf8(said.stderr).unwrap();
        assert_eq!(said.status.code(), Some(1), "{} starts: {error}", self.name);
        error
    }

    /// Changes the value of an option from the next start on.
    pub(crate) fn set(&mut self, option: &str, value: &str) {
        let at = self.args.iter().position(|word| word == option).unwrap();
        self.args[at + 1] = value.to_owned();
    }

    /// Adds an option from the next start on.
    pub(crate) fn with(&mut self, option: &[&str]) {
        self.args.extend(option.iter().map(|word| word.to_string()));
    }

    /// Ends it as an operator does, and waits.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        let id = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success(), "{} does not end well", self.name);
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        assert_eq!(child.try_wait().unwrap(), None, "{} has ended by itself", self.name);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.child.as_ref().unwrap().id() as i32).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// What it says of itself, when it answers.
    pub(crate) fn status(&self) -> Option<Status> {
        serde_json::from_slice(&get(self.control, "/status.json", "")?.body).ok()
    }

    /// The state of a name.
    pub(crate) fn state(&self, name: &str) -> Option<FileState> {
        Some(self.status()?.files.into_iter().find(|file| file.name == name)?.state)
    }

    /// `/health`; empty when it does not answer.
    pub(crate) fn health(&self) -> String {
        get(self.control, "/health", "").map(|answer| answer.text()).unwrap_or_default()
    }

    /// Waits until `/health` says this.
    pub(crate) fn says(&self, text: &str) {
        let mut last = String::new();
        let is = until_is(|| {
            last = self.health();
            last.contains(text)
        });
        if !is {
            self.show();
        }
        assert!(is, "{} does not say {text:?} but {last}", self.name);
    }

    /// All that it has logged, over its starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Gives a command of the shell to it.
    pub(crate) fn order(&self, words: &[&str]) -> String {
        let control = self.control.to_string();
        let words: Vec<&str> = words.iter().copied().chain(["--control", &control]).collect();
        let said = publisher(&words);
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// Its folder below the site's.
    pub(crate) fn data(&self, home: &Path) -> PathBuf {
        home.join(&self.name)
    }

    /// A number of `/proc/PID/FILE`, in the line of this name.
    pub(crate) fn proc(&self, file: &str, line: &str) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let text = fs::read_to_string(format!("/proc/{id}/{file}")).unwrap();
        let found = text.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        found.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Prints the end of its log.
    pub(crate) fn show(&self) {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        println!("--- {} says:\n{last}\n--- health:\n{}", self.name, self.health());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// margay, open to all torrents.
pub(crate) struct Tracker {
    child: Child,
    http: SocketAddr,
    control: SocketAddr,
    data: TempDir,
}

impl Tracker {
    pub(crate) fn start(host: IpAddr) -> Self {
        Self::with(host, &[])
    }

    /// With these options.
    pub(crate) fn with(host: IpAddr, options: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (http, control) = (free_port(host), free_port(Ipv4Addr::LOCALHOST.into()));
        let log = data.path().join("log");
        let mut command = clean(margay());
        command
            .args(["--cores", "1", "--udp", &http.to_string(), "--http", &http.to_string()])
            .args(["--control", &control.to_string()])
            .args(options)
            .arg("--data")
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let child = command.spawn().expect("build margay, or name it by MARGAY");
        let tracker = Tracker { child, http, control, data };
        let ready = || get(control, "/health/ready", "").is_some_and(|answer| answer.status == 200);
        assert!(until_is(ready), "margay is not ready: {}", fs::read_to_string(&log).unwrap());
        tracker
    }

    /// Where it is asked and told.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// What a command of its shell prints, which works with its data folder and control listener.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let mut command = clean(margay());
        command.args(words).arg("--data").arg(self.data.path()).stdin(Stdio::null());
        if words[0] != "api-token" {
            command.args(["--control", &self.control.to_string()]);
        }
        let said = command.output().unwrap();
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    /// Its announce URL.
    pub(crate) fn announce(&self) -> String {
        format!("http://{}/announce", self.http)
    }

    /// How many seed a torrent.
    pub(crate) fn seeders(&self, info_hash: &InfoHash) -> u64 {
        let escaped: String = info_hash.0.iter().map(|byte| format!("%{byte:02x}")).collect();
        let answer = get(self.http, &format!("/scrape?info_hash={escaped}"), "").unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        text.split_once("8:completei")
            .map_or(0, |(_, rest)| rest.split('e').next().unwrap().parse().unwrap())
    }

    /// Waits until so many seed it.
    pub(crate) fn has_seeders(&self, info_hash: &InfoHash, wanted: u64) {
        let mut last = 0;
        let is = until_is(|| {
            last = self.seeders(info_hash);
            last == wanted
        });
        assert!(is, "{last} seed {info_hash}, not {wanted}");
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for a page, with more lines of the head; `None` when nobody answers.
pub(crate) fn get(at: SocketAddr, path: &str, head: &str) -> Option<Answer> {
    let mut connection = TcpStream::connect_timeout(&at, Duration::from_secs(5)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    write!(connection, "GET {path} HTTP/1.0\r\nHost: {at}\r\n{head}\r\n").ok()?;
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).ok()?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head, body: bytes.split_off(end + 4) })
}

/// Runs margay-publish with these words to its end.
pub(crate) fn publisher(words: &[&str]) -> Output {
    clean(program()).args(words).stdin(Stdio::null()).output().unwrap()
}

fn margay() -> PathBuf {
    let built = || Path::new(env!("CARGO_BIN_EXE_margay-publish")).with_file_name("margay");
    std::env::var_os("MARGAY").map_or_else(built, PathBuf::from)
}

pub(crate) fn program() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_margay-publish").into();
    std::env::var_os("MARGAY_PUBLISH").map_or_else(built, PathBuf::from)
}

/// Without options and proxies of whoever runs the test.
fn clean(program: PathBuf) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// A port that nobody has, and that the system gives to no connection.
pub(crate) fn free_port(host: IpAddr) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let from = (std::process::id() as u16).wrapping_mul(61);
        let port = 10_000 + from.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let at = SocketAddr::new(host, port);
        if TcpListener::bind(at).is_ok() {
            return at;
        }
    }
}

/// Waits until something is, at most for two minutes; says whether it is.
pub(crate) fn until_is(mut is: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is() {
        if began.elapsed() > BOUND {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// Waits until something is.
pub(crate) fn until(what: &str, is: impl FnMut() -> bool) {
    assert!(until_is(is), "{what}");
}

/// All files below a folder by their path, but for those whose name begins with a dot.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(path),
                // One that goes meanwhile was not there.
                false => files.extend(fs::read(&path).ok().map(|bytes| (name, bytes))),
            }
        }
    }
    files
}

fn folders(folder: &Path) -> HashSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Whether a torrent is of these files.
pub(crate) fn is_of(metainfo: &Metainfo, files: &BTreeMap<String, Vec<u8>>) -> bool {
    let mut content = Vec::new();
    for file in &metainfo.files {
        match files.get(file.path.to_str().unwrap()) {
            Some(bytes) if bytes.len() as u64 == file.length => content.extend_from_slice(bytes),
            _ => return false,
        }
    }
    let pieces: Vec<u8> = content
        .chunks(metainfo.piece_length as usize)
        .flat_map(|piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref().to_vec())
        .collect();
    pieces == metainfo.pieces
}

/// Bytes that differ by `seed`.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes
}

/// How long what must come may take on a busy machine.
const BOUND: Duration = Duration::from_secs(120);
