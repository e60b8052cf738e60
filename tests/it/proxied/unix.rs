//! A proxy on this machine that comes by a Unix socket.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;

use super::{ip, line, local, nginx, port, sample, taken_for};
use crate::tracker::http::{Http, announce, scrape};
use crate::tracker::tls::issue;
use crate::tracker::{HOMES, Tracker, hash};

/// What is answered to these bytes over a Unix socket, until it ends.
fn said(at: &Path, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = UnixStream::connect(at).unwrap();
    stream.write_all(bytes.as_ref()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same for an announce with these header lines.
fn announced(at: &Path, torrent: &str, lines: &str) -> String {
    let target = announce(hash(torrent), 7001, "&left=0");
    said(at, format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"))
}

/// How a client is told its own address.
fn own(address: [u8; 4]) -> String {
    format!("11:external ip4:{}", String::from_utf8_lossy(&address))
}

#[test]
fn clients_have_their_own_addresses_behind_nginx_over_a_unix_socket() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("http.sock");
    let tracker = Tracker::start(&format!(
        "--cores 2 --http unix:{} --http 127.0.0.1:0 --http [::1]:0",
        socket.display()
    ));
    issue(&["localhost"]).write(folder.path(), "a");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (plain, sealed) = (port(), port());
    let blocks = sample(
        "ops/nginx/margay.conf",
        &[
            ("server 127.0.0.1:6969;", &format!("server unix:{};", socket.display())),
            ("listen 80;", &format!("listen 127.0.0.1:{plain};")),
            ("listen [::]:80;", &format!("listen [::1]:{plain};")),
            ("listen 443 ssl;", &format!("listen 127.0.0.1:{sealed} ssl;")),
            ("listen [::]:443 ssl;", &format!("listen [::1]:{sealed} ssl;")),
            ("/etc/ssl/tracker.example.org/fullchain.pem", &file("a.pem")),
            ("/etc/ssl/tracker.example.org/privkey.pem", &file("a.key")),
        ],
    );
    let _nginx = nginx(folder.path(), &blocks, local(plain));
    for source in ["127.0.1.5", "127.0.1.6", "::1"].map(ip) {
        let home = HOMES[usize::from(source.is_ipv6())];
        let mut client = Http::connect_from(source, (home, plain).into());
        for number in 0..20 {
            let target = announce(hash(&format!("{number}")), 7001, "&left=0");
            for forged in ["", "X-Forwarded-For: 9.9.9.1\r\n", "X-Forwarded-For: 127.0.0.1\r\n"] {
                assert_eq!(taken_for(&mut client, &target, forged), Some(source), "{forged}");
            }
        }
        let torrents: Vec<_> = (0..20).map(|number| hash(&format!("{number}"))).collect();
        client.get(&scrape(&torrents)).dictionary();
    }
    tracker.await_metric("margay_proxies_silent_total", &[], 0.0);
    // Who comes by TCP is not believed: no other proxy is named.
    let mut direct = Http::connect_from(ip("127.0.1.7"), tracker.http(HOMES[0]));
    let target = announce(hash("direct"), 7001, "");
    let forged = "X-Forwarded-For: 9.9.9.1\r\n";
    assert_eq!(taken_for(&mut direct, &target, forged), Some(ip("127.0.1.7")));
}

#[test]
fn a_unix_socket_is_one_tracker_s_and_what_a_killed_one_left_is_replaced() {
    let folder = TempDir::new().unwrap();
    let (socket, data) = (folder.path().join("http.sock"), TempDir::new().unwrap());
    let options = format!(
        "--http unix:{} --http-unix-mode 0600 --http 127.0.0.1:0 --http [::1]:0",
        socket.display()
    );
    let tracker = Tracker::start_on(data.path(), &options);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let told = announced(&socket, "a", "X-Forwarded-For: 9.9.9.1\r\n");
    assert!(told.contains(&own([9, 9, 9, 1])), "{told}");
    // Without a word from it, its own: that of this machine, which is counted.
    let told = announced(&socket, "a", "");
    assert!(told.contains(&own([127, 0, 0, 1])), "{told}");
    tracker.await_metric("margay_proxies_silent_total", &[], 1.0);

    let other = TempDir::new().unwrap();
    let ended = Tracker::try_start_on(other.path(), &options).err().expect("there is one already");
    assert!(ended.err.contains("another process listens there"), "{}", ended.err);
    assert!(announced(&socket, "b", "").contains("external ip"));
    tracker.kill();
    assert!(socket.exists());
    let again = Tracker::start_on(other.path(), &options);
    assert!(announced(&socket, "c", "").contains("external ip"));
    again.stop();
    assert!(!socket.exists());
    // What is no socket is left alone.
    fs::write(&socket, "mine").unwrap();
    let ended = Tracker::try_start_on(other.path(), &options).err().expect("there is a file");
    assert!(ended.err.contains("a file that is no socket"), "{}", ended.err);
    assert_eq!(fs::read(&socket).unwrap(), b"mine");
}

#[test]
fn a_proxy_may_speak_the_proxy_protocol_over_a_unix_socket_and_clients_are_screened() {
    let folder = TempDir::new().unwrap();
    let (socket, deny) = (folder.path().join("http.sock"), folder.path().join("deny"));
    fs::write(&deny, "9.9.9.2\n127.0.0.1\n").unwrap();
    let at = socket.display();
    let _tracker = Tracker::start(&format!(
        "--http unix:{at} --proxy-protocol unix:{at} --http 127.0.0.1:0 --http [::1]:0 --screen-deny-list {}",
        deny.display()
    ));
    let target = announce(hash("a"), 7001, "&left=0");
    let asked = |client: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        said(&socket, [line(client), request.into_bytes()].concat())
    };
    assert!(asked("9.9.9.1:5").contains(&own([9, 9, 9, 1])));
    assert_eq!(asked("9.9.9.2:5"), "");
    assert_eq!(announced(&socket, "a", ""), "");
}
