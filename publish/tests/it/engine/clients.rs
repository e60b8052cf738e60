//! Real clients, each as a process that downloads from one address and ends.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use publish::engine::upload::Uploads;
use tempfile::TempDir;

use super::content::Made;

/// A client that downloads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Client {
    Aria2,
    Libtorrent,
}

pub(crate) const CLIENTS: [Client; 2] = [Client::Aria2, Client::Libtorrent];

impl Client {
    /// Downloads into a new folder, by the torrent's file or by a magnet link.
    pub(crate) async fn download(self, uploads: &Uploads, made: &Made, by_magnet: bool) -> TempDir {
        match self {
            Self::Aria2 => aria2(uploads, made, by_magnet).await,
            Self::Libtorrent => libtorrent(uploads, made, by_magnet).await,
        }
    }
}

/// Downloads with aria2, told of the peer by a tracker of one answer.
async fn aria2(uploads: &Uploads, made: &Made, by_magnet: bool) -> TempDir {
    let tracker = tracker(uploads.addresses()[0]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("aria2c");
    command
        .args([
            "--seed-time=0",
            "--enable-dht=false",
            "--enable-dht6=false",
            "--bt-enable-lpd=false",
        ])
        .args([
            "--enable-peer-exchange=false",
            "--bt-stop-timeout=120",
            "--listen-port=20000-60000",
            "--file-allocation=none",
            "--no-conf",
            "--bt-tracker-interval=1",
        ]);
    command
        .arg(format!("--dir={}", folder.path().display()))
        .arg(format!("--bt-tracker={tracker}"));
    if by_magnet {
        command.arg(magnet(made));
    } else {
        let file = folder.path().join("it.torrent");
        fs::write(&file, &made.metainfo.bytes).unwrap();
        command.arg(file);
    }
    assert_success("aria2c", run(command).await);
    folder
}

/// Downloads with Debian's python3-libtorrent, told of the peer by hand.
async fn libtorrent(uploads: &Uploads, made: &Made, by_magnet: bool) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let what = if by_magnet {
        magnet(made)
    } else {
        let file = folder.path().join("it.torrent");
        fs::write(&file, &made.metainfo.bytes).unwrap();
        file.display().to_string()
    };
    let address = uploads.addresses()[0];
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", LIBTORRENT, &what]).arg(folder.path());
    command.arg(address.ip().to_string()).arg(address.port().to_string());
    assert_success("libtorrent", run(command).await);
    folder
}

/// Downloads with Transmission in the network namespace `leecher`, from the torrent's tracker or by a magnet link with it.
/// It does not end by itself: it is ended when the content is there.
pub(crate) async fn transmission(tracker: &str, made: &Made, by_magnet: bool) {
    let folder = tempfile::tempdir().unwrap();
    let what = if by_magnet {
        format!("{}&tr={tracker}", magnet(made))
    } else {
        let file = folder.path().join("it.torrent");
        let head = format!("d8:announce{}:{tracker}4:info", tracker.len());
        fs::write(&file, [head.as_bytes(), &made.metainfo.info, b"e"].concat()).unwrap();
        file.display().to_string()
    };
    let config = folder.path().join("config");
    fs::create_dir_all(&config).unwrap();
    // With uTP on, 3.00 does not try TCP for a while.
    let settings = format!(
        r#"{{"dht-enabled":false,"lpd-enabled":false,"pex-enabled":false,"port-forwarding-enabled":false,"utp-enabled":false,
        "download-dir":"{}","preallocation":0,"rpc-bind-address":"127.0.0.1"}}"#,
        folder.path().display()
    );
    fs::write(config.join("settings.json"), settings).unwrap();
    let mut child = Command::new("ip")
        .args(["netns", "exec", "leecher", "transmission-daemon", "--foreground", "--config-dir"])
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let is_taken = super::until_is(|| {
        let mut add = Command::new("ip");
        add.args([
            "netns",
            "exec",
            "leecher",
            "transmission-remote",
            "127.0.0.1:9091",
            "--add",
            &what,
        ]);
        add.output().unwrap().status.success()
    })
    .await;
    assert!(is_taken, "the daemon does not take it");
    let is_there = super::until_is(|| made.is_same_but_empty(folder.path())).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_there, "Transmission has not the content, by magnet link: {by_magnet}");
}

fn magnet(made: &Made) -> String {
    format!("magnet:?xt=urn:btih:{}", made.metainfo.info_hash)
}

/// Runs the test `name` once more as root of namespaces of its own, after `prepare` in a shell, whose `$1` is a new folder.
/// There it gives the folder; outside, `None` when the other has passed.
pub(crate) async fn isolated(name: &str, prepare: &str) -> Option<String> {
    const INSIDE: &str = "MARGAY_TEST_ISOLATED";
    if let Ok(folder) = std::env::var(INSIDE) {
        return Some(folder);
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    let script = format!(
        "set -e\nip link set lo up\n{prepare}\nexport {INSIDE}=$1\nexec \"$2\" --exact \"$3\" --nocapture"
    );
    command.args([
        "--map-root-user",
        "--net",
        "--mount",
        "--kill-child",
        "sh",
        "-c",
        &script,
        "sh",
    ]);
    command.arg(folder.path()).arg(std::env::current_exe().unwrap()).arg(name);
    assert_success(name, run(command).await);
    None
}

/// Waits for a program, at most for ten minutes.
pub(crate) async fn run(command: Command) -> Output {
    let mut limited = Command::new("timeout");
    limited.arg("600").arg(command.get_program()).args(command.get_args());
    tokio::task::spawn_blocking(move || limited.output().unwrap()).await.unwrap()
}

fn assert_success(client: &str, output: Output) {
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{client}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&text)
    );
}

/// The URL of a tracker that tells everybody of the peer at `address`. It is there until the test ends.
pub(crate) async fn tracker(address: std::net::SocketAddr) -> String {
    tracker_on("127.0.0.1", address).await
}

/// The same at an address of this host.
pub(crate) async fn tracker_on(host: &str, address: std::net::SocketAddr) -> String {
    let listener = tokio::net::TcpListener::bind((host, 0)).await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let std::net::IpAddr::V4(ip) = address.ip() else { panic!("an IPv4 address") };
    let peer = [&ip.octets()[..], &address.port().to_be_bytes()].concat();
    let body = [b"d8:intervali5e5:peers6:", &peer[..], b"e"].concat();
    let mut head = String::new();
    write!(head, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())
        .unwrap();
    let reply = [head.as_bytes(), &body].concat();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let reply = reply.clone();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut request = vec![0; 4096];
                let _ =
                    tokio::time::timeout(Duration::from_secs(5), stream.read(&mut request)).await;
                let _ = stream.write_all(&reply).await;
            });
        }
    });
    url
}

const LIBTORRENT: &str = r#"
import sys, time
import libtorrent as lt
what, folder, host, port = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
    "allow_multiple_connections_per_ip": True,
})
if what.startswith("magnet:"):
    params = lt.parse_magnet_uri(what)
else:
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(what)
params.save_path = folder
handle = session.add_torrent(params)
handle.resume()
while True:
    status = handle.status()
    if status.errc.value():
        sys.exit(status.errc.message())
    if status.is_seeding:
        break
    if status.num_peers == 0:
        handle.connect_peer((host, int(port)))
    time.sleep(0.05)
"#;
