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
            "--bt-stop-timeout=60",
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

fn magnet(made: &Made) -> String {
    format!("magnet:?xt=urn:btih:{}", made.metainfo.info_hash)
}

/// Waits for a program, at most for two minutes.
pub(crate) async fn run(command: Command) -> Output {
    let mut limited = Command::new("timeout");
    limited.arg("120").arg(command.get_program()).args(command.get_args());
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
