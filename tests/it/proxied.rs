//! Where requests come from that proxies pass on: a trusted proxy is believed, and nobody else is.

mod by_haproxy;
mod by_nginx;
mod datagrams;
mod listeners;
mod private;
mod unix;

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::tracker::http::{Http, announce};
use crate::tracker::{hash, patiently};

/// Where trackers here listen with the PROXY protocol.
const PROXIED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// The proxy that is trusted.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Somebody else on this machine.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 5));

/// The options of trackers here: HTTP and UDP as ever, and with the PROXY protocol.
const OPTIONS: &str = "--http 127.0.0.1:0,[::1]:0,127.0.0.2:0 --udp 127.0.0.1:0,[::1]:0,127.0.0.2:0 --proxy-protocol \
                       127.0.0.2:0 --trusted-proxy 127.0.0.1/32";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whom the tracker takes an announce with these header lines to be from (`external ip`); `None` when it does not answer
/// one.
#[track_caller]
fn taken_for(client: &mut Http, target: &str, headers: &str) -> Option<IpAddr> {
    client.try_send(format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n{headers}\r\n")).ok()?;
    let answer = client.try_page(true)?.dictionary();
    match answer.find("external ip") {
        None => {
            assert!(answer.find("failure reason").is_some());
            None
        }
        Some(_) => {
            let bytes = answer.text("external ip");
            Some(match <[u8; 4]>::try_from(bytes) {
                Ok(v4) => v4.into(),
                Err(_) => <[u8; 16]>::try_from(bytes).unwrap().into(),
            })
        }
    }
}

/// The same of a new announce over this connection without further headers.
#[track_caller]
fn is_taken_for(client: &mut Http, name: &str) -> Option<IpAddr> {
    taken_for(client, &announce(hash(name), 7001, "&left=0"), "")
}

/// The header of the PROXY protocol in a line, for a connection of `client`.
fn line(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (kind, there) = if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "::1") };
    format!("PROXY {kind} {} {there} {} 443\r\n", client.ip(), client.port()).into_bytes()
}

/// The same in bytes; over UDP for `transport` 2, over TCP for 1.
fn bytes(client: &str, transport: u8) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, addresses) = match client.ip() {
        IpAddr::V4(address) => (0x10, [&address.octets()[..], &[192, 0, 2, 1]].concat()),
        IpAddr::V6(address) => (0x20, [&address.octets()[..], &[0; 16]].concat()),
    };
    // Something that nobody reads, behind the addresses.
    let more = [0x04, 0x00, 0x02, 0xAA, 0xBB];
    let ports = [client.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    let rest = [&addresses[..], &ports, &more].concat();
    let length = (rest.len() as u16).to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21"[..], &[family | transport], &length, &rest].concat()
}

/// The header of a proxy that speaks for itself.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A program that runs; it is killed when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of Debian's, which keeps it out of the path of users, and what it has to say in `name.log`.
fn run(at: &Path, name: &str, args: &[&str], ready: SocketAddr) -> Running {
    let program = format!("/usr/sbin/{name}");
    let log = File::create(at.join(format!("{name}.log"))).unwrap();
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{name} is missing ({error}); install its Debian package"));
    let mut running = Running(child);
    patiently(name, || {
        if let Some(status) = running.0.try_wait().unwrap() {
            let said = fs::read_to_string(at.join(format!("{name}.log"))).unwrap();
            panic!("{name} ended with {status}: {said}");
        }
        TcpStream::connect(ready).ok().map(drop)
    });
    running
}

/// nginx with these blocks of `http`.
fn nginx(at: &Path, blocks: &str, ready: SocketAddr) -> Running {
    let folder = at.display();
    let places: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|part| format!("{part}_temp_path {folder}/nginx-{part};\n"))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\nevents {{ }}\nhttp \
         {{\n{places}{blocks}}}\n"
    );
    let file = at.join("nginx.conf");
    fs::write(&file, whole).unwrap();
    run(at, "nginx", &["-c", file.to_str().unwrap()], ready)
}

/// haproxy with this configuration.
fn haproxy(at: &Path, configuration: &str, ready: SocketAddr) -> Running {
    let file = at.join("haproxy.cfg");
    fs::write(&file, configuration).unwrap();
    run(at, "haproxy", &["-db", "-f", file.to_str().unwrap()], ready)
}

/// A sample of `ops` with other places in it.
fn sample(path: &str, places: &[(&str, &str)]) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sample = fs::read_to_string(root.join(path)).unwrap();
    for (there, here) in places {
        assert!(sample.contains(there), "{there} in {path}");
        sample = sample.replace(there, here);
    }
    sample
}

/// A port that is free on both families.
fn port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if TcpListener::bind(format!("[::1]:{port}")).is_ok() {
            return port;
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(PROXY, port)
}
