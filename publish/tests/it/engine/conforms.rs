//! What every engine does, asked of each of them; and transmission-daemon, with what only it can do wrong.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ops::options::Secret;
use publish::engine::transmission::{Login, Options, Transmission};
use publish::engine::upload::{Limits, Uploads};
use publish::engine::{Engine, EngineError, Fetch, Progress, Rqbit, RqbitOptions, State, finished};
use publish::torrent::Identity;
use shard::InfoHash;
use tempfile::TempDir;

use super::clients::{isolated, tracker};
use super::content::Made;
use super::fetching::walk;
use super::{NETWORK, PEER_ID, add, listen, must, until, until_is};

/// Where engines fetch: a peer that has everything, and a tracker that tells of it.
struct Ground {
    master: Uploads,
    tracker: String,
    root: TempDir,
}

impl Ground {
    async fn of(master: Uploads) -> Self {
        let tracker = tracker(master.addresses()[0]).await;
        Self { master, tracker, root: tempfile::tempdir().unwrap() }
    }

    /// The folder of a torrent, as a Seeder has it.
    fn folder(&self, made: &Made) -> PathBuf {
        let folder = self.root.path().join(made.metainfo.info_hash.to_string());
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn fetch(&self, made: &Made) -> Fetch {
        Fetch {
            metainfo: made.metainfo.clone(),
            folder: self.folder(made),
            peers: self.master.addresses().to_vec(),
            tracker: Some(self.tracker.parse().unwrap()),
        }
    }
}

/// Waits until it has so many bytes, and is not complete.
async fn until_begun(engine: &dyn Engine, info_hash: InfoHash, bytes: u64) -> Progress {
    must(async {
        loop {
            let progress = engine.progress(info_hash).await.unwrap();
            assert!(
                matches!(progress.state, State::Checking | State::Fetching),
                "too soon: {progress:?}"
            );
            if progress.bytes >= bytes {
                return progress;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

/// Waits until it is complete; its files are those of `made`, and the ones that it says.
async fn complete(engine: &dyn Engine, ground: &Ground, made: &Made) {
    let info_hash = made.metainfo.info_hash;
    let identities = must(finished(engine, info_hash)).await.unwrap().unwrap();
    let folder = ground.folder(made);
    made.assert_same(&folder);
    let files = &made.metainfo.files;
    assert_eq!(identities.len(), files.len());
    for (identity, file) in identities.iter().zip(files) {
        let now = Identity::of(&fs::symlink_metadata(folder.join(&file.path)).unwrap());
        assert_eq!(*identity, now, "{}", file.path.display());
    }
}

/// All that [`Engine`] promises. `start` starts the engine, and is called again after a stop.
async fn conforms(ground: &Ground, start: impl AsyncFn() -> Box<dyn Engine>) {
    let master = &ground.master;
    let engine = start().await;
    assert!(engine.address().is_some());
    engine.set_download_rate(Some(1 << 30)).await.unwrap();
    engine.set_download_rate(None).await.unwrap();
    let all = [Made::single(5_000_001), Made::folder_with_empty_files(), Made::single(1), names()];
    for made in &all {
        add(master, made);
        let info_hash = made.metainfo.info_hash;
        assert!(engine.progress(info_hash).await.is_none());
        assert!(matches!(engine.remove(info_hash, true).await, Err(EngineError::Unknown(_))));
        engine.fetch(ground.fetch(made)).await.unwrap();
        let twice = engine.fetch(ground.fetch(made)).await;
        assert!(matches!(twice, Err(EngineError::Twice(_))), "{twice:?}");
    }
    for made in &all {
        complete(&*engine, ground, made).await;
    }
    assert_eq!(engine.stats().await.len(), all.len());
    for made in &all {
        let (info_hash, total) = (made.metainfo.info_hash, made.metainfo.total());
        let stats = engine.stats().await;
        let (_, progress) = stats.iter().find(|(hash, _)| *hash == info_hash).unwrap();
        assert_eq!((progress.bytes, progress.total), (total, total));
        engine.remove(info_hash, false).await.unwrap();
        assert!(engine.progress(info_hash).await.is_none());
        made.assert_same(&ground.folder(made));

        // What is there is not fetched, and goes alone.
        let before = master.stats().uploaded;
        engine.fetch(ground.fetch(made)).await.unwrap();
        complete(&*engine, ground, made).await;
        assert_eq!(master.stats().uploaded, before);
        fs::write(ground.folder(made).join("mine"), "mine").unwrap();
        engine.remove(info_hash, true).await.unwrap();
        assert_eq!(walk(&ground.folder(made)), ["mine"]);
        assert!(master.remove(&info_hash));
    }
    assert!(engine.stats().await.is_empty());

    // What is removed on the way leaves nothing.
    master.set_upload_rate(Some(4 << 20));
    let made = Made::single(16 << 20);
    let info_hash = made.metainfo.info_hash;
    add(master, &made);
    engine.fetch(ground.fetch(&made)).await.unwrap();
    until_begun(&*engine, info_hash, 1).await;
    engine.remove(info_hash, true).await.unwrap();
    assert!(walk(&ground.folder(&made)).is_empty());

    // What is interrupted goes on.
    let before = master.stats().uploaded;
    engine.fetch(ground.fetch(&made)).await.unwrap();
    until_begun(&*engine, info_hash, 4 << 20).await;
    must(engine.stop()).await;
    assert!(engine.progress(info_hash).await.is_none());
    drop(engine);
    let engine = start().await;
    let had = master.stats().uploaded - before;
    master.set_upload_rate(None);
    engine.fetch(ground.fetch(&made)).await.unwrap();
    complete(&*engine, ground, &made).await;
    let again = before + had + made.metainfo.total() - master.stats().uploaded;
    assert!(again >= 3 << 20, "only {again} of {had} bytes were kept");
    engine.remove(info_hash, true).await.unwrap();

    // Nothing is written through a link.
    let made = Made::folder_with_empty_files();
    add(master, &made);
    let outside = tempfile::tempdir().unwrap();
    fs::remove_file(ground.folder(&made).join("mine")).unwrap();
    symlink(outside.path(), ground.folder(&made).join("folder")).unwrap();
    if engine.fetch(ground.fetch(&made)).await.is_ok() {
        must(finished(&*engine, made.metainfo.info_hash)).await.unwrap().unwrap_err();
    }
    assert!(walk(outside.path()).is_empty());
    must(engine.stop()).await;
}

/// Names that Transmission writes otherwise.
fn names() -> Made {
    let files = [("a: b?/c|d.", 300_000), ("a: b?/con", 7), (" e", 3), ("plain", 5)];
    Made::new("x <1>", &files, 256 << 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn librqbit_does_what_an_engine_does() {
    let ground = Ground::of(listen(Limits::default())).await;
    let start = async || Box::new(rqbit(b'1').await) as Box<dyn Engine>;
    conforms(&ground, start).await;
}

async fn rqbit(number: u8) -> Rqbit {
    let mut peer_id = PEER_ID;
    peer_id[19] = number;
    let options = RqbitOptions {
        peer_id,
        announce_port: 6881,
        download_rate: None,
        upload_rate: None,
        peers_max: 32,
        descriptors_max: 16,
    };
    Rqbit::start(options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn transmission_does_what_an_engine_does() {
    let name = "engine::conforms::transmission_does_what_an_engine_does";
    if isolated(name, NETWORK).await.is_none() {
        return;
    }
    let ground = Ground::of(far()).await;
    let daemon = Daemon::start().await;
    let start = async || Box::new(daemon.engine(&ground).await.unwrap()) as Box<dyn Engine>;
    conforms(&ground, start).await;
    assert_eq!(daemon.hashes(), "");
}

/// Peers that come to the node's own port are handed to the daemon, several of one host at a time.
#[tokio::test(flavor = "multi_thread")]
async fn transmission_shares_what_it_still_fetches() {
    let name = "engine::conforms::transmission_shares_what_it_still_fetches";
    if isolated(name, NETWORK).await.is_none() {
        return;
    }
    let ground = Ground::of(far()).await;
    let daemon = Daemon::start().await;
    let engine = daemon.engine(&ground).await.unwrap();
    let made = Made::single(8 << 20);
    let info_hash = made.metainfo.info_hash;
    add(&ground.master, &made);
    ground.master.set_upload_rate(Some(256 << 10));
    engine.fetch(ground.fetch(&made)).await.unwrap();
    let node = listen(Limits::default());
    node.relay(&made.metainfo, engine.address().unwrap());
    let others = [rqbit(b'1').await, rqbit(b'2').await];
    let folders = others.each_ref().map(|_| tempfile::tempdir().unwrap());
    for (other, folder) in others.iter().zip(&folders) {
        // They know the node alone.
        let fetch = Fetch {
            metainfo: made.metainfo.clone(),
            folder: folder.path().into(),
            peers: node.addresses().to_vec(),
            tracker: None,
        };
        other.fetch(fetch).await.unwrap();
    }
    for other in &others {
        until_begun(other, info_hash, 1).await;
    }
    let progress = engine.progress(info_hash).await.unwrap();
    assert!(progress.bytes < progress.total, "it was complete before another had a piece");
    // The far one, and both.
    until(|| {
        daemon
            .remote(&["--torrent", "1", "--info-peers"])
            .is_some_and(|peers| peers.lines().filter(|line| line.starts_with("127.")).count() == 2)
    })
    .await;
    ground.master.set_upload_rate(None);
    for (other, folder) in others.iter().zip(&folders) {
        must(finished(other, info_hash)).await.unwrap().unwrap();
        made.assert_same(folder.path());
    }
    complete(&engine, &ground, &made).await;
    assert_eq!(ground.master.stats().uploaded, made.metainfo.total(), "it was given once");
    must(engine.stop()).await;
}

/// Uploads in the network namespace `leecher`, where the daemon connects to them from this one: it does not to an
/// address of its own host.
fn far() -> Uploads {
    let runtime = tokio::runtime::Handle::current();
    let inside = move || {
        let namespace = fs::File::open("/run/netns/leecher").unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind)
            .unwrap();
        let _runtime = runtime.enter();
        Uploads::listen(&[FAR], Limits::default(), PEER_ID).unwrap().0
    };
    std::thread::spawn(inside).join().unwrap()
}

const FAR: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 11)), 6881);

/// transmission-daemon, with a password and with all turned on that does not fit.
struct Daemon {
    home: TempDir,
    child: Child,
}

const PASSWORD: &str = "5ec:2 e7";

impl Daemon {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        // With uTP on, 3.00 does not try TCP for a while.
        let settings = format!(
            r#"{{"dht-enabled":true,"lpd-enabled":true,"pex-enabled":true,"port-forwarding-enabled":false,
            "utp-enabled":false,"download-dir":"{home}","incomplete-dir":"{home}/incomplete","incomplete-dir-enabled":true,
            "rpc-bind-address":"127.0.0.1","rpc-authentication-required":true,"rpc-username":"user",
            "rpc-password":"{PASSWORD}","peer-port":51413}}"#,
            home = home.path().display()
        );
        fs::create_dir(home.path().join("config")).unwrap();
        fs::write(home.path().join("config/settings.json"), settings).unwrap();
        let child = Self::run(home.path());
        let daemon = Self { home, child };
        daemon.is_there().await;
        daemon
    }

    fn run(home: &Path) -> Child {
        let mut command = Command::new("transmission-daemon");
        command.args(["--foreground", "--config-dir"]).arg(home.join("config"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    async fn is_there(&self) {
        let is = until_is(|| self.remote(&["--session-info"]).is_some()).await;
        assert!(is, "the daemon does not answer");
    }

    /// What transmission-remote prints; nothing where it fails.
    fn remote(&self, words: &[&str]) -> Option<String> {
        let mut command = Command::new("transmission-remote");
        command.args(["127.0.0.1:9091", "--auth", &format!("user:{PASSWORD}")]).args(words);
        let output = command.output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The infohashes of its torrents.
    fn hashes(&self) -> String {
        let info = self.remote(&["--torrent", "all", "--info"]).unwrap();
        let hashes = info.lines().filter_map(|line| line.trim().strip_prefix("Hash: "));
        let mut hashes: Vec<_> = hashes.collect();
        hashes.sort_unstable();
        hashes.join(" ")
    }

    async fn engine(&self, ground: &Ground) -> Result<Transmission, EngineError> {
        Transmission::start(options(ground, Some(PASSWORD))).await
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn options(ground: &Ground, password: Option<&str>) -> Options {
    let login = Login { user: "user".into(), password: password.and_then(Secret::new) };
    Options {
        url: "http://127.0.0.1:9091/transmission/rpc".parse().unwrap(),
        login: Some(login),
        folder: ground.root.path().into(),
        download_rate: None,
        upload_rate: None,
        peers_max: 50,
    }
}

/// What the errors of an engine say, all of it.
fn told(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_may_die_and_others_use_it_too() {
    let name = "engine::conforms::the_daemon_may_die_and_others_use_it_too";
    if isolated(name, NETWORK).await.is_none() {
        return;
    }
    let ground = Ground::of(far()).await;
    let error = Transmission::start(options(&ground, None)).await.err().unwrap();
    assert!(told(&error).contains("is it running"), "{}", told(&error));
    let mut daemon = Daemon::start().await;
    let error = Transmission::start(options(&ground, Some("wrong"))).await.err().unwrap();
    assert!(told(&error).contains("another user or password"), "{}", told(&error));

    // Somebody's own torrents, one of which is in the feed as well.
    let (other, both) = (Made::single(300_000), Made::single(300_001));
    for made in [&other, &both] {
        let file = daemon.home.path().join("it.torrent");
        fs::write(&file, &made.metainfo.bytes).unwrap();
        daemon.remote(&["--start-paused", "--add", file.to_str().unwrap()]).unwrap();
    }
    let theirs = daemon.hashes();
    let engine = daemon.engine(&ground).await.unwrap();
    let session = daemon.remote(&["--session-info"]).unwrap();
    for line in ["Distributed hash table enabled: No", "Peer exchange allowed: No"] {
        assert!(session.contains(line), "{session}");
    }
    let error = engine.fetch(ground.fetch(&both)).await.unwrap_err();
    assert!(told(&error).contains("somebody else has it there already"), "{}", told(&error));
    assert_eq!(daemon.hashes(), theirs);

    // The daemon dies, and is there again.
    let made = Made::single(16 << 20);
    let info_hash = made.metainfo.info_hash;
    add(&ground.master, &made);
    ground.master.set_upload_rate(Some(4 << 20));
    engine.fetch(ground.fetch(&made)).await.unwrap();
    until_begun(&engine, info_hash, 4 << 20).await;
    let pid = daemon.child.id();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid as i32).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    daemon.child.wait().unwrap();
    // While it is away, nothing has failed, and what is removed goes later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let progress = engine.progress(info_hash).await.unwrap();
    assert!(matches!(progress.state, State::Fetching), "{progress:?}");
    assert!(engine.fetch(ground.fetch(&other)).await.is_err());
    daemon.child = Daemon::run(daemon.home.path());
    ground.master.set_upload_rate(None);
    complete(&engine, &ground, &made).await;

    // It dies as it is told to let go.
    daemon.kill();
    engine.remove(info_hash, false).await.unwrap();
    daemon.child = Daemon::run(daemon.home.path());
    until(|| daemon.remote(&["--list"]).is_some() && daemon.hashes() == theirs).await;

    // This side dies: what it has left there is taken up again, and others' is not.
    engine.fetch(ground.fetch(&made)).await.unwrap();
    drop(engine);
    assert!(daemon.hashes().contains(&info_hash.to_string()));
    let before = ground.master.stats().uploaded;
    let engine = daemon.engine(&ground).await.unwrap();
    assert_eq!(daemon.hashes(), theirs);
    engine.fetch(ground.fetch(&made)).await.unwrap();
    complete(&engine, &ground, &made).await;
    assert_eq!(ground.master.stats().uploaded, before);

    // Somebody takes it away: it is told, and can be fetched again.
    engine.remove(info_hash, true).await.unwrap();
    ground.master.set_upload_rate(Some(4 << 20));
    engine.fetch(ground.fetch(&made)).await.unwrap();
    daemon.remote(&["--torrent", &info_hash.to_string(), "--remove"]).unwrap();
    let failure = must(finished(&engine, info_hash)).await.unwrap().unwrap_err();
    assert!(failure.to_string().contains("somebody has removed it"), "{failure}");
    engine.remove(info_hash, false).await.unwrap();
    ground.master.set_upload_rate(None);
    engine.fetch(ground.fetch(&made)).await.unwrap();
    complete(&engine, &ground, &made).await;
    must(engine.stop()).await;
    assert_eq!(daemon.hashes(), theirs);
}
