//! qBittorrent without a screen, on loopback alone, told what to do by its web API.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use shard::InfoHash;
use tempfile::TempDir;

/// A running one; it ends with this value.
pub(super) struct QBittorrent {
    child: Child,
    port: u16,
    profile: TempDir,
}

const CONFIG: &str = r"[BitTorrent]
Session\AddTorrentPaused=true
Session\DHTEnabled=false
Session\Interface=lo
Session\InterfaceName=lo
Session\LSDEnabled=false
Session\PeXEnabled=false
[LegalNotice]
Accepted=true
[Network]
PortForwardingEnabled=false
[Preferences]
Connection\ResolvePeerCountries=false
WebUI\Address=127.0.0.1
WebUI\CSRFProtection=false
WebUI\HostHeaderValidation=false
WebUI\LocalHostAuth=false
WebUI\UseUPnP=false
[RSS]
AutoDownloader\DownloadRepacks=true
AutoDownloader\EnableProcessing=true
Session\EnableProcessing=true
";

/// What it is given to do anything.
const PATIENCE: Duration = Duration::from_secs(120);

impl QBittorrent {
    pub(super) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let config = profile.path().join("qBittorrent/config");
        fs::create_dir_all(&config).unwrap();
        fs::write(config.join("qBittorrent.conf"), CONFIG).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("qbittorrent-nox")
            .arg(format!("--profile={}", profile.path().display()))
            .arg(format!("--webui-port={port}"))
            .env("QT_QPA_PLATFORM", "offscreen")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run qbittorrent-nox: {error}; Debian package qbittorrent-nox")
            });
        let started = Self { child, port, profile };
        started.wait("it answers", || started.call("app/version", "").is_some());
        started
    }

    /// Follows a feed, and fetches all that is in it.
    pub(super) fn follow(&self, feed: &str) {
        let said = self.call("rss/addFeed", &form(&[("url", feed), ("path", "margay")]));
        assert!(said.is_some(), "it takes no feed");
        let rule = serde_json::json!({
            "enabled": true, "mustContain": "", "affectedFeeds": [feed], "addPaused": true,
            "savePath": self.profile.path().join("files"),
        });
        let rule = form(&[("ruleName", "all"), ("ruleDef", &rule.to_string())]);
        assert!(self.call("rss/setRule", &rule).is_some(), "it takes no rule");
    }

    /// Has it look at the feed until it has these torrents, and asserts that it has no others.
    pub(super) fn wait_for(&self, wanted: &[InfoHash]) {
        let wanted: BTreeSet<String> = wanted.iter().map(InfoHash::to_string).collect();
        let mut there = BTreeSet::new();
        self.wait(&format!("it has {wanted:?}"), || {
            self.call("rss/refreshItem", "itemPath=margay");
            let told = self.call("torrents/info", "").unwrap_or_default();
            let told: Vec<serde_json::Value> = serde_json::from_str(&told).unwrap_or_default();
            there = told
                .iter()
                .filter_map(|torrent| torrent["hash"].as_str().map(str::to_owned))
                .collect();
            there.len() >= wanted.len()
        });
        assert_eq!(there, wanted);
    }

    /// The body of an answer that is a success.
    fn call(&self, method: &str, form: &str) -> Option<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        let request = format!(
            "POST /api/v2/{method} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len(),
        );
        connection.write_all(request.as_bytes()).ok()?;
        // It keeps the connection: what the head says is read.
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()
                });
                if body.len() >= length.unwrap_or(0) {
                    return head.starts_with("HTTP/1.1 200").then(|| body.to_owned());
                }
            }
            match connection.read(&mut buffer).ok()? {
                0 => return None,
                read => answer.extend_from_slice(&buffer[..read]),
            }
        }
    }

    fn wait(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(
                    self.profile.path().join("qBittorrent/data/logs/qbittorrent.log"),
                );
                let feeds = self.call("rss/items", "withData=true");
                panic!(
                    "qBittorrent: {what}: not in {PATIENCE:?}; {} {}",
                    log.unwrap_or_default(),
                    feeds.unwrap_or_default()
                );
            }
            sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for QBittorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    form.finish()
}
