//! Fetching by transmission-daemon, a process of its own, by its RPC.
//!
//! It writes the files itself, so its user has to be one that may write to the folder, and what it has written is opened,
//! synced and compared here when it says that it is complete. Its torrents have a comment that says whose they are: those
//! with ours are ours, whatever happened in between, and no other one is touched. It is told no peers but by the tracker
//! that a torrent is fetched with.
//!
//! A start and an end take ours out of the daemon, without the files; what is there is looked at when a torrent is fetched
//! again. While the daemon is away nothing fails: it is asked until it answers.

mod rpc;

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};
use shard::InfoHash;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use self::rpc::{RPC_MIN, Rpc};
use super::disk;
use super::fetch::{Engine, EngineError, Failure, Fetch, Progress, State, blocking, said};
use crate::beneath::{self, Kind, Named};
use crate::torrent::Metainfo;

pub use rpc::{Login, RpcError};

/// How transmission-daemon is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its RPC, on this machine.
    pub url: Url,
    /// Who asks, where the URL does not say it.
    pub login: Option<Login>,
    /// The folder that those of all torrents are in. It tells ours from those of others that use the same daemon.
    pub folder: PathBuf,
    /// Bytes a second; none leaves what the daemon has.
    pub download_rate: Option<u64>,
    /// Bytes a second that the daemon sends; none leaves what it has. What is complete is limited by `upload`.
    pub upload_rate: Option<u64>,
    /// Connected peers of a torrent.
    pub peers_max: usize,
}

/// transmission-daemon as an engine.
pub struct Transmission {
    shared: Arc<Shared>,
    /// Follows the torrents until this is dropped.
    _follower: AbortOnDropHandle<()>,
}

struct Shared {
    rpc: Rpc,
    host: IpAddr,
    comment: String,
    peers_max: usize,
    /// Where peers connect to it, and what it calls 1 KB.
    session: Mutex<Session>,
    fetches: Mutex<HashMap<InfoHash, Arc<Fetching>>>,
    strays: Mutex<Strays>,
    /// Held while a torrent comes or goes.
    changing: tokio::sync::Mutex<()>,
    wake: Notify,
}

/// Torrents of ours that nobody fetches: a crash has left them, or the daemon was away when it was told to let go. One that
/// has just started may not have read its torrents yet, so they are looked for over a while.
struct Strays {
    /// They are looked for from the next answer on.
    owed: bool,
    /// Until then they are looked for.
    until: Instant,
}

struct Fetching {
    metainfo: Arc<Metainfo>,
    folder: PathBuf,
    seen: Mutex<Seen>,
}

struct Seen {
    progress: Progress,
    /// It is being synced.
    is_settling: bool,
    /// Since when the daemon does not know it.
    missing: Option<Instant>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Session {
    version: String,
    rpc_version: u64,
    peer_port: u16,
    #[serde(default)]
    dht_enabled: bool,
    #[serde(default)]
    pex_enabled: bool,
    #[serde(default)]
    lpd_enabled: bool,
    #[serde(default)]
    incomplete_dir_enabled: bool,
    #[serde(default)]
    units: Units,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Units {
    speed_bytes: u64,
}

impl Default for Units {
    fn default() -> Self {
        Self { speed_bytes: 1000 }
    }
}

/// What is asked of a torrent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Torrent {
    hash_string: String,
    status: u8,
    error: i64,
    error_string: String,
    have_valid: u64,
    uploaded_ever: u64,
    rate_download: u64,
    peers_connected: usize,
    download_dir: String,
}

/// The fields of [`Torrent`].
const FIELDS: [&str; 9] = [
    "hashString",
    "status",
    "error",
    "errorString",
    "haveValid",
    "uploadedEver",
    "rateDownload",
    "peersConnected",
    "downloadDir",
];

#[derive(Deserialize)]
struct Torrents<T> {
    torrents: Vec<T>,
}

/// Whose a torrent is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owned {
    hash_string: String,
    comment: String,
    download_dir: String,
}

/// The daemon's names of a torrent's files.
#[derive(Deserialize)]
struct Listed {
    status: u8,
    files: Vec<NamedFile>,
}

#[derive(Deserialize)]
struct NamedFile {
    name: String,
}

impl Transmission {
    /// Asks the daemon whether it can be used, and takes what a crash has left out of it.
    pub async fn start(options: Options) -> Result<Self, EngineError> {
        let rpc = Rpc::new(options.url, options.login).map_err(said(NO_START))?;
        let host = rpc.host().await.map_err(said(NO_START))?;
        let session = session(&rpc).await.map_err(said(NO_START))?;
        let folder = std::path::absolute(&options.folder).map_err(said(NO_START))?;
        let shared = Arc::new(Shared {
            comment: format!("margay-publish: {}", text(&folder)?),
            rpc,
            host,
            peers_max: options.peers_max,
            session: Mutex::new(session),
            fetches: Mutex::default(),
            strays: Mutex::new(Strays { owed: true, until: Instant::now() }),
            changing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        });
        shared.prepare().await.map_err(said(NO_START))?;
        shared.set_rate("down", options.download_rate).await.map_err(said(NO_START))?;
        shared.set_rate("up", options.upload_rate).await.map_err(said(NO_START))?;
        shared.clear().await.map_err(said(NO_START))?;
        let follower = tokio::spawn(follow(shared.clone()));
        Ok(Self { shared, _follower: AbortOnDropHandle::new(follower) })
    }

    async fn begin(&self, fetch: Fetch) -> Result<(), EngineError> {
        let shared = &self.shared;
        let info_hash = fetch.metainfo.info_hash;
        let _changing = shared.changing.lock().await;
        if shared.fetches().contains_key(&info_hash) {
            return Err(EngineError::Twice(info_hash));
        }
        let (metainfo, folder) = (fetch.metainfo.clone(), fetch.folder.clone());
        blocking(move || no_links(&metainfo, &folder))
            .await
            .map_err(|(path, error)| said(&format!("does not use {}", path.display()))(error))?;
        let added = shared.add(&fetch).await;
        if added.is_err() {
            // What is half done is taken back.
            shared.let_go(info_hash).await;
        }
        added?;
        let progress = Progress {
            state: State::Checking,
            bytes: 0,
            total: fetch.metainfo.total(),
            uploaded: 0,
            rate: 0,
            peers: 0,
        };
        let seen = Mutex::new(Seen { progress, is_settling: false, missing: None });
        let fetching = Fetching { metainfo: fetch.metainfo, folder: fetch.folder, seen };
        shared.fetches().insert(info_hash, Arc::new(fetching));
        shared.wake.notify_one();
        Ok(())
    }

    async fn end(&self, info_hash: InfoHash, delete_files: bool) -> Result<(), EngineError> {
        let _changing = self.shared.changing.lock().await;
        let fetching = self.shared.fetches().remove(&info_hash);
        let fetching = fetching.ok_or(EngineError::Unknown(info_hash))?;
        self.shared.let_go(info_hash).await;
        if delete_files {
            blocking(move || disk::delete(&fetching.metainfo, &fetching.folder, &[PART]))
                .await
                .map_err(|(path, source)| EngineError::Delete { path, source })?;
        }
        Ok(())
    }
}

impl Engine for Transmission {
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Result<(), EngineError>> {
        self.begin(fetch).boxed()
    }

    fn progress(&self, info_hash: InfoHash) -> BoxFuture<'_, Option<Progress>> {
        async move {
            let fetching = self.shared.fetches().get(&info_hash).cloned()?;
            let progress = fetching.seen().progress.clone();
            Some(progress)
        }
        .boxed()
    }

    fn remove(
        &self,
        info_hash: InfoHash,
        delete_files: bool,
    ) -> BoxFuture<'_, Result<(), EngineError>> {
        self.end(info_hash, delete_files).boxed()
    }

    fn stats(&self) -> BoxFuture<'_, Vec<(InfoHash, Progress)>> {
        async move {
            let fetches = self.shared.fetches();
            fetches.iter().map(|(hash, it)| (*hash, it.seen().progress.clone())).collect()
        }
        .boxed()
    }

    fn set_download_rate(&self, rate: Option<u64>) -> BoxFuture<'_, Result<(), EngineError>> {
        async move {
            let set = match rate {
                Some(_) => self.shared.set_rate("down", rate).await,
                None => self.shared.set_session(json!({"speed-limit-down-enabled": false})).await,
            };
            set.map_err(said("does not set its rate"))
        }
        .boxed()
    }

    fn address(&self) -> Option<SocketAddr> {
        Some((self.shared.host, self.shared.session().peer_port).into())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        async move {
            let _changing = self.shared.changing.lock().await;
            self.shared.fetches().clear();
            if let Err(error) = self.shared.clear().await {
                // The next start takes them out.
                tracing::warn!(why = crate::chain(&error), "torrents stay in transmission-daemon");
            }
        }
        .boxed()
    }
}

impl Shared {
    /// Turns off what would find peers past the tracker, and the folder that it would move content from when it is
    /// complete.
    async fn prepare(&self) -> Result<(), RpcError> {
        let session = self.session().clone();
        let mut off = serde_json::Map::new();
        for (name, is_on) in [
            ("dht-enabled", session.dht_enabled),
            ("pex-enabled", session.pex_enabled),
            ("lpd-enabled", session.lpd_enabled),
            ("incomplete-dir-enabled", session.incomplete_dir_enabled),
        ] {
            if is_on {
                off.insert(name.to_owned(), false.into());
            }
        }
        tracing::info!(version = session.version, url = %self.rpc.url(), "transmission-daemon fetches");
        if off.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = off.keys().map(String::as_str).collect();
        tracing::warn!(
            "turned off in transmission-daemon, as peers come from trackers and files are written where they stay: {}",
            names.join(", ")
        );
        self.set_session(off.into()).await
    }

    async fn set_rate(&self, way: &str, rate: Option<u64>) -> Result<(), RpcError> {
        let Some(rate) = rate else { return Ok(()) };
        let unit = self.session().units.speed_bytes.max(1);
        let limit = format!("speed-limit-{way}");
        let is_limited = format!("speed-limit-{way}-enabled");
        self.set_session(json!({limit: (rate / unit).max(1), is_limited: true})).await
    }

    async fn set_session(&self, arguments: Value) -> Result<(), RpcError> {
        self.rpc.call::<Value>("session-set", arguments).await.map(drop)
    }

    /// Has it let go of all that is ours and is not fetched.
    async fn clear(&self) -> Result<(), RpcError> {
        let fields = json!({"fields": ["hashString", "comment", "downloadDir"]});
        let all: Torrents<Owned> = self.rpc.call("torrent-get", fields).await?;
        let is_fetched =
            |hash: &str| hash.parse().is_ok_and(|hash| self.fetches().contains_key(&hash));
        let ours: Vec<&str> = all
            .torrents
            .iter()
            .filter(|torrent| torrent.comment == self.comment)
            .map(|torrent| torrent.hash_string.as_str())
            .filter(|hash| !is_fetched(hash))
            .collect();
        // No ids would be all torrents.
        if ours.is_empty() { Ok(()) } else { self.remove(json!(ours)).await }
    }

    async fn remove(&self, ids: Value) -> Result<(), RpcError> {
        let arguments = json!({"ids": ids, "delete-local-data": false});
        self.rpc.call::<Value>("torrent-remove", arguments).await.map(drop)
    }

    /// Has it let go of a torrent, now or when it answers again, if it is ours.
    async fn let_go(&self, info_hash: InfoHash) {
        if let Err(error) = self.remove_ours(info_hash).await {
            tracing::debug!(torrent = %info_hash, why = crate::chain(&error), "transmission-daemon is told later to let go of it");
            self.strays().owed = true;
            self.wake.notify_one();
        }
    }

    /// Removes a torrent that has our comment; gives the folder of one that has another.
    async fn remove_ours(&self, info_hash: InfoHash) -> Result<Option<String>, RpcError> {
        let id = info_hash.to_string();
        let arguments = json!({"ids": [id], "fields": ["hashString", "comment", "downloadDir"]});
        let found: Torrents<Owned> = self.rpc.call("torrent-get", arguments).await?;
        match found.torrents.into_iter().next() {
            None => Ok(None),
            Some(found) if found.comment != self.comment => Ok(Some(found.download_dir)),
            Some(_) => self.remove(json!([id])).await.map(|()| None),
        }
    }

    /// Gives it a torrent, under the names that its files have here, and starts it.
    async fn add(&self, fetch: &Fetch) -> Result<(), EngineError> {
        let info_hash = fetch.metainfo.info_hash;
        let folder = std::path::absolute(&fetch.folder).map_err(said(NO_TORRENT))?;
        if let Some(other) = self.remove_ours(info_hash).await.map_err(said(NO_TORRENT))? {
            let why = format!("somebody else has it there already, in {other}");
            return Err(said(NO_TORRENT)(why));
        }
        let torrent = fetch.torrent(Some(&self.comment));
        let arguments = json!({
            "metainfo": STANDARD.encode(torrent),
            "download-dir": text(&folder)?,
            "paused": true,
            "peer-limit": self.peers_max,
        });
        let added: Value =
            self.rpc.call("torrent-add", arguments).await.map_err(said(NO_TORRENT))?;
        if added.get("torrent-added").is_none() {
            return Err(said(NO_TORRENT)("somebody has added it at the same moment"));
        }
        self.rename(&fetch.metainfo).await?;
        self.start(info_hash).await.map_err(said(NO_TORRENT))?;
        if let Ok(session) = session(&self.rpc).await {
            *self.session() = session;
        }
        Ok(())
    }

    /// Past its queue, which others' torrents may fill.
    async fn start(&self, info_hash: InfoHash) -> Result<(), RpcError> {
        let arguments = json!({"ids": [info_hash.to_string()]});
        self.rpc.call::<Value>("torrent-start-now", arguments).await.map(drop)
    }

    /// It writes some characters of names otherwise: it is told the names that the torrent has.
    async fn rename(&self, metainfo: &Metainfo) -> Result<(), EngineError> {
        let id = metainfo.info_hash.to_string();
        let arguments = json!({"ids": [id], "fields": ["status", "files"]});
        let begun = Instant::now();
        loop {
            let found: Result<Torrents<Listed>, _> =
                self.rpc.call("torrent-get", arguments.clone()).await;
            let Some(found) = found.map_err(said(NO_NAMES))?.torrents.into_iter().next() else {
                return Err(said(NO_NAMES)("it is gone"));
            };
            let names = found.files.iter().map(|file| file.name.as_str());
            let Some(renames) = renames(names, metainfo) else {
                return Err(said(NO_NAMES)("they have other folders there"));
            };
            if renames.is_empty() {
                return Ok(());
            }
            // It looks for the files under the names that it began with.
            if is_checking(found.status) && begun.elapsed() < CHECK_TIMEOUT {
                tokio::time::sleep(POLL).await;
                continue;
            }
            for (path, name) in renames {
                let arguments = json!({"ids": [id], "path": path, "name": name});
                self.rpc
                    .call::<Value>("torrent-rename-path", arguments)
                    .await
                    .map_err(said(NO_NAMES))?;
            }
            let arguments = json!({"ids": [id]});
            self.rpc.call::<Value>("torrent-verify", arguments).await.map_err(said(NO_NAMES))?;
            return Ok(());
        }
    }

    /// Looks at all that is fetched, once.
    async fn look(self: &Arc<Self>) -> Result<(), RpcError> {
        if self.looks_for_strays() {
            let _changing = self.changing.lock().await;
            self.clear().await?;
            let strays = &mut *self.strays();
            if std::mem::take(&mut strays.owed) {
                strays.until = Instant::now() + LOADING_TIME;
            }
        }
        let mut fetches = self.fetches().clone();
        if fetches.is_empty() {
            return Ok(());
        }
        let ids: Vec<String> = fetches.keys().map(ToString::to_string).collect();
        let arguments = json!({"ids": ids, "fields": FIELDS});
        let all: Torrents<Torrent> = self.rpc.call("torrent-get", arguments).await?;
        for torrent in all.torrents {
            let info_hash = torrent.hash_string.parse().ok();
            let Some((info_hash, fetching)) =
                info_hash.and_then(|info_hash| fetches.remove_entry(&info_hash))
            else {
                continue;
            };
            if fetching.hear(torrent) {
                self.start(info_hash).await?;
            }
            let is_complete = {
                let mut seen = fetching.seen();
                let is = matches!(seen.progress.state, State::Fetching)
                    && seen.progress.bytes == seen.progress.total
                    && !seen.is_settling;
                seen.is_settling |= is;
                is
            };
            if is_complete {
                let shared = self.clone();
                tokio::spawn(async move { shared.settle(info_hash, fetching).await });
            }
        }
        for fetching in fetches.into_values() {
            fetching.misses();
        }
        Ok(())
    }

    /// What the daemon says is complete is made safe.
    async fn settle(&self, info_hash: InfoHash, fetching: Arc<Fetching>) {
        let settling = fetching.clone();
        let settled = blocking(move || settling.settle()).await;
        let has_failed = settled.is_err();
        fetching.seen().progress.state = match settled {
            Ok(identities) => State::Complete(identities),
            Err((path, error)) => State::Failed(Failure::of(&error, &path.display().to_string())),
        };
        if has_failed {
            let arguments = json!({"ids": [info_hash.to_string()]});
            // It is removed in any case when it is fetched again.
            let _ = self.rpc.call::<Value>("torrent-stop", arguments).await;
        }
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetches(&self) -> MutexGuard<'_, HashMap<InfoHash, Arc<Fetching>>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn looks_for_strays(&self) -> bool {
        let strays = self.strays();
        strays.owed || Instant::now() < strays.until
    }

    fn strays(&self) -> MutexGuard<'_, Strays> {
        self.strays.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetching {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what the daemon says of it; true when it has to be started.
    fn hear(&self, torrent: Torrent) -> bool {
        let seen = &mut *self.seen();
        seen.missing = None;
        let progress = &mut seen.progress;
        progress.uploaded = torrent.uploaded_ever;
        progress.rate = torrent.rate_download;
        progress.peers = torrent.peers_connected;
        if matches!(progress.state, State::Complete(_) | State::Failed(_)) || seen.is_settling {
            return false;
        }
        if torrent.error == LOCAL_ERROR {
            progress.state = State::Failed(failure(torrent.error_string));
            return false;
        }
        if !is_folder(&torrent.download_dir, &self.folder) {
            // A daemon that was killed may have forgotten where.
            let why = format!("transmission-daemon has it in {} now", torrent.download_dir);
            progress.state = State::Failed(Failure::Other(why));
            return false;
        }
        if is_checking(torrent.status) {
            progress.state = State::Checking;
            return false;
        }
        progress.state = State::Fetching;
        progress.bytes = torrent.have_valid.min(progress.total);
        progress.bytes < progress.total && matches!(torrent.status, STOPPED | QUEUED)
    }

    /// The daemon does not know it. One that has just started may not have read its torrents yet.
    fn misses(&self) {
        let seen = &mut *self.seen();
        let since = *seen.missing.get_or_insert_with(Instant::now);
        let ends = matches!(seen.progress.state, State::Complete(_) | State::Failed(_));
        if !ends && !seen.is_settling && since.elapsed() >= LOADING_TIME {
            let why =
                "transmission-daemon does not have it any more: somebody has removed it there";
            seen.progress.state = State::Failed(Failure::Other(why.to_owned()));
        }
    }

    fn settle(&self) -> Result<Arc<[crate::torrent::Identity]>, disk::Wrong> {
        disk::settle(&self.metainfo, &self.folder, |root, index| {
            let file = &self.metainfo.files[index];
            match file.length {
                // Transmission 3.00 does not make it.
                0 => beneath::open_to_write(root, &file.path, true),
                _ => beneath::open_to_read(root, &file.path, Kind::Regular),
            }
        })
    }
}

/// Asks the daemon how they are until it is stopped.
async fn follow(shared: Arc<Shared>) {
    let mut is_away = false;
    loop {
        let is_idle = shared.fetches().is_empty() && !shared.looks_for_strays();
        if is_idle {
            shared.wake.notified().await;
        }
        match shared.look().await {
            Ok(()) if is_away => {
                is_away = false;
                tracing::info!("transmission-daemon answers again");
                shared.strays().owed = true;
                // It may listen on another port now.
                if let Ok(session) = session(&shared.rpc).await {
                    *shared.session() = session;
                }
            }
            Ok(()) => {}
            Err(error) => {
                if !is_away {
                    let passes = if error.passes() { "" } else { "; this may not pass by itself" };
                    tracing::warn!(
                        why = crate::chain(&error),
                        "transmission-daemon does not say how fetching goes; it is asked until it does{passes}"
                    );
                }
                is_away = true;
            }
        }
        tokio::time::sleep(if is_away { POLL_AWAY } else { POLL }).await;
    }
}

async fn session(rpc: &Rpc) -> Result<Session, RpcError> {
    let session: Session = rpc.call("session-get", json!({})).await?;
    match session.rpc_version < RPC_MIN {
        true => Err(RpcError::Old { version: session.version, rpc: session.rpc_version }),
        false => Ok(session),
    }
}

/// The daemon follows links: no file may be reached by one.
fn no_links(metainfo: &Metainfo, folder: &Path) -> Result<(), disk::Wrong> {
    let root = beneath::folder(folder, Named::OrByLink).map_err(|error| (folder.into(), error))?;
    for file in &metainfo.files {
        let mut part = file.path.clone().into_os_string();
        part.push(PART);
        for path in [file.path.as_path(), Path::new(&part)] {
            match beneath::open_to_read(&root, path, Kind::Regular) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err((path.to_owned(), error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Which paths of the daemon need which name, the upper ones first; `None` when the two are not of one torrent.
fn renames<'a>(
    theirs: impl Iterator<Item = &'a str>,
    metainfo: &Metainfo,
) -> Option<Vec<(String, String)>> {
    let mut renames = Vec::new();
    let mut done = HashSet::new();
    let mut count = 0;
    for (theirs, ours) in theirs.zip(&metainfo.files) {
        count += 1;
        let ours: Vec<&str> = ours.path.iter().map(|name| name.to_str()).collect::<Option<_>>()?;
        let theirs: Vec<&str> = theirs.split('/').collect();
        if theirs.len() != ours.len() {
            return None;
        }
        // What is above has its right name when it comes to what is below.
        let mut above = String::new();
        for (theirs, ours) in theirs.into_iter().zip(ours) {
            let path = format!("{above}{theirs}");
            if theirs != ours && done.insert(path.clone()) {
                renames.push((path, ours.to_owned()));
            }
            let _ = write!(above, "{ours}/");
        }
    }
    (count == metainfo.files.len()).then_some(renames)
}

/// What the daemon says of an error on its disk, which is the words of the C library.
fn failure(text: String) -> Failure {
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if has(&["No space left", "quota exceeded", "File too large"]) {
        Failure::DiskFull(text)
    } else if has(&["Permission denied", "Read-only file system", "Operation not permitted"]) {
        Failure::Permission(text)
    } else {
        Failure::Other(text)
    }
}

fn is_folder(said: &str, folder: &Path) -> bool {
    std::path::absolute(folder).is_ok_and(|folder| Path::new(said) == folder)
}

fn text(path: &Path) -> Result<&str, EngineError> {
    path.to_str().ok_or_else(|| said("does not take the name of the folder")("it is not UTF-8"))
}

fn is_checking(status: u8) -> bool {
    matches!(status, CHECK_WAITING | CHECKING)
}

const NO_START: &str = "did not start";
const NO_TORRENT: &str = "does not take the torrent";
const NO_NAMES: &str = "does not take the names of the torrent";

/// `status` of a torrent.
const STOPPED: u8 = 0;
const CHECK_WAITING: u8 = 1;
const CHECKING: u8 = 2;
const QUEUED: u8 = 3;

/// `error` of a torrent that cannot go on; others are of trackers.
const LOCAL_ERROR: i64 = 3;

/// The end of the name of a file that is not complete.
const PART: &str = ".part";

/// How often the daemon is asked how fetching goes.
const POLL: Duration = Duration::from_millis(200);

/// How often it is asked while it does not answer.
const POLL_AWAY: Duration = Duration::from_secs(1);

/// How long it may answer and not know torrents that were given to it.
const LOADING_TIME: Duration = Duration::from_secs(10);

/// How long it may look for files under names that it will not have.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::torrent::File;

    fn metainfo(paths: &[&str]) -> Arc<Metainfo> {
        let file = |path: &&str| File { path: path.into(), length: 10 };
        Arc::new(Metainfo {
            bytes: Bytes::new(),
            info_hash: InfoHash([7; 20]),
            info: Bytes::from_static(b"d4:name1:xe"),
            name: "x".into(),
            piece_length: 16 << 10,
            pieces: Bytes::new(),
            files: paths.iter().map(file).collect(),
            is_single: false,
            private: false,
            tiers: Vec::new(),
        })
    }

    #[test]
    fn names_are_given_back_from_above() {
        let ours = metainfo(&["x?/a:b/c ", "x?/a:b/d", "x?/e"]);
        let renamed = renames(["x_/a_b/c", "x_/a_b/d", "x_/e"].into_iter(), &ours).unwrap();
        let renamed: Vec<_> = renamed.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(renamed, [("x_", "x?"), ("x?/a_b", "a:b"), ("x?/a:b/c", "c ")]);
        let same = ["x?/a:b/c ", "x?/a:b/d", "x?/e"];
        assert_eq!(renames(same.into_iter(), &ours), Some(Vec::new()));
        assert_eq!(renames(["x?/a:b/c", "x?/e"].into_iter(), &ours), None);
        assert_eq!(renames(["x?/c", "x?/d", "x?/e"].into_iter(), &ours), None);
    }

    #[test]
    fn errors_of_a_disk_are_told_apart() {
        assert!(matches!(failure("No space left on device (x)".into()), Failure::DiskFull(_)));
        assert!(matches!(failure("Disk quota exceeded".into()), Failure::DiskFull(_)));
        assert!(matches!(failure("Permission denied (/x)".into()), Failure::Permission(_)));
        assert!(matches!(failure("No data found!".into()), Failure::Other(_)));
    }

    #[test]
    fn what_the_daemon_says_is_a_state() {
        let progress = Progress {
            state: State::Checking,
            bytes: 0,
            total: 20,
            uploaded: 0,
            rate: 0,
            peers: 0,
        };
        let fetching = || Fetching {
            metainfo: metainfo(&["x/a", "x/b"]),
            folder: "/folder".into(),
            seen: Mutex::new(Seen {
                progress: progress.clone(),
                is_settling: false,
                missing: Some(Instant::now()),
            }),
        };
        let torrent = |status, error, have_valid, download_dir: &str| Torrent {
            hash_string: String::new(),
            status,
            error,
            error_string: "because".into(),
            have_valid,
            uploaded_ever: 3,
            rate_download: 4,
            peers_connected: 5,
            download_dir: download_dir.into(),
        };
        let hear = |torrent| {
            let it = fetching();
            let has_to_start = it.hear(torrent);
            let seen = it.seen();
            assert!(seen.missing.is_none());
            (format!("{:?}", seen.progress.state), seen.progress.bytes, has_to_start)
        };
        assert_eq!(hear(torrent(2, 0, 7, "/folder")), ("Checking".into(), 0, false));
        assert_eq!(hear(torrent(4, 0, 7, "/folder/")), ("Fetching".into(), 7, false));
        // A tracker's error is none of the torrent's.
        assert_eq!(hear(torrent(3, 2, 7, "/folder")), ("Fetching".into(), 7, true));
        assert_eq!(hear(torrent(0, 0, 20, "/folder")), ("Fetching".into(), 20, false));
        assert!(hear(torrent(0, 3, 7, "/folder")).0.contains("because"));
        assert!(hear(torrent(4, 0, 7, "/other")).0.contains("Failed"));
    }

    #[test]
    fn a_torrent_says_whose_it_is() {
        let fetch = Fetch {
            metainfo: metainfo(&["x"]),
            folder: "/folder".into(),
            peers: Vec::new(),
            tracker: Some("http://127.0.0.1:1/a".parse().unwrap()),
        };
        let torrent = fetch.torrent(Some("me"));
        let wanted = b"d8:announce20:http://127.0.0.1:1/a7:comment2:me4:infod4:name1:xee";
        assert_eq!(torrent, wanted, "{}", String::from_utf8_lossy(&torrent));
        let bare = Fetch { tracker: None, ..fetch };
        assert_eq!(bare.torrent(None), b"d4:infod4:name1:xee");
    }
}
