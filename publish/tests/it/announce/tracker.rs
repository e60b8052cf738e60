//! Trackers to announce to: real ones, and one that answers as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shard::InfoHash;
use tempfile::TempDir;

/// A tracker program, killed when the test ends.
pub(crate) struct Tracker {
    process: Child,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) udp: Vec<SocketAddr>,
    _folder: TempDir,
}

impl Tracker {
    /// margay, open: the program that `MARGAY` names, or the one that cargo has built.
    pub(crate) fn margay() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = std::env::var_os("MARGAY").map_or_else(built, PathBuf::from);
        let mut command = Command::new(&program);
        command.args(["--cores", "1", "--control", "127.0.0.1:0", "--log-format", "json"]);
        command
            .args(["--udp", "127.0.0.1:0,[::1]:0", "--http", "127.0.0.1:0,[::1]:0", "--data"])
            .arg(folder.path());
        let mut process =
            (command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()))
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("{}: {error}; build margay or name it by MARGAY", program.display())
                });
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let ready =
            lines.by_ref().map(Result::unwrap).find(|line| line.contains(r#""message":"ready""#));
        let ready: serde_json::Value =
            serde_json::from_str(&ready.expect("margay is ready")).unwrap();
        let addresses = |name: &str| -> Vec<SocketAddr> {
            ready[name]
                .as_str()
                .unwrap()
                .split(',')
                .map(|address| address.parse().unwrap())
                .collect()
        };
        let (http, udp) = (addresses("http"), addresses("udp"));
        // Read on, so that it can log.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, http, udp, _folder: folder }
    }

    /// Debian's opentracker, which serves what is on its list. None where it is not installed.
    pub(crate) fn opentracker(serves: &InfoHash) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list"), format!("{serves}\n")).unwrap();
        for path in [folder.path().to_owned(), folder.path().join("list")] {
            let mut all = std::fs::metadata(&path).unwrap().permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut all, 0o755);
            std::fs::set_permissions(&path, all).unwrap();
        }
        let at = free_port();
        let port = at.port().to_string();
        let mut command = Command::new("opentracker");
        command.args([
            "-i",
            "127.0.0.1",
            "-p",
            &port,
            "-P",
            &port,
            "-u",
            "nobody",
            "-w",
            "list",
            "-d",
        ]);
        let process = command
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let tracker = Self { process, http: vec![at], udp: vec![at], _folder: folder };
        patiently("opentracker listens", || TcpStream::connect(at).ok());
        Some(tracker)
    }

    /// Seeders, downloads and leechers of a torrent, by scrape.
    pub(crate) fn scrape(&self, info_hash: &InfoHash) -> [u64; 3] {
        let escaped: String = info_hash.0.iter().map(|byte| format!("%{byte:02x}")).collect();
        let mut connection = TcpStream::connect(self.http[0]).unwrap();
        write!(connection, "GET /scrape?info_hash={escaped} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ["8:completei", "10:downloadedi", "10:incompletei"].map(|key| {
            let number =
                answer.split_once(key).map_or("0", |(_, rest)| rest.split('e').next().unwrap());
            number.parse().unwrap()
        })
    }

    /// Waits until a scrape says so.
    pub(crate) fn await_scrape(
        &self,
        info_hash: &InfoHash,
        seeders: u64,
        downloads: u64,
        leechers: u64,
    ) {
        let wanted = [seeders, downloads, leechers];
        let mut last = [0; 3];
        let deadline = Instant::now() + PATIENCE;
        while last != wanted {
            assert!(
                Instant::now() < deadline,
                "seeders, downloads, leechers are {last:?}, not {wanted:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
            last = self.scrape(info_hash);
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn built() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target
        .unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into())
        .join("debug/margay")
}

/// An HTTP tracker that answers as it is told to.
pub(crate) struct Fake {
    pub(crate) at: SocketAddr,
    pub(crate) seen: Arc<Seen>,
}

/// What a fake tracker has seen.
#[derive(Default)]
pub(crate) struct Seen {
    targets: Mutex<Vec<(Instant, String)>>,
    under_way: AtomicUsize,
    pub(crate) under_way_max: AtomicUsize,
    pub(crate) connections: AtomicUsize,
}

/// What it answers.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A body, with status 200.
    Body(Vec<u8>),
    /// Anything else, as it is; the connection is closed after it.
    Raw(Vec<u8>),
    /// Nothing for as long as the client waits.
    Silence,
    /// So many bytes of nothing.
    Flood(usize),
}

impl Fake {
    /// At a free port of loopback.
    pub(crate) fn start(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), reply)
    }

    /// At this address.
    pub(crate) fn start_at(
        at: SocketAddr,
        reply: impl Fn(&str) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let at = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let (kept, reply) = (Arc::clone(&seen), Arc::new(reply));
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (seen, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                seen.connections.fetch_add(1, Ordering::SeqCst);
                // A client that goes away ends its connection with an error.
                std::thread::spawn(move || seen.serve(connection.unwrap(), &*reply).ok());
            }
        });
        Self { at, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/announce", self.at)
    }

    pub(crate) fn await_seen(&self, part: &str, times: usize) {
        patiently(part, || (self.seen.times(part) >= times).then_some(()));
    }
}

impl Seen {
    /// How often it was asked something with this in it.
    pub(crate) fn times(&self, part: &str) -> usize {
        self.targets.lock().unwrap().iter().filter(|(_, target)| target.contains(part)).count()
    }

    /// The most that were asked within a second.
    pub(crate) fn busiest_second(&self) -> usize {
        let targets = self.targets.lock().unwrap();
        let times: Vec<Instant> = targets.iter().map(|(at, _)| *at).collect();
        let within = |from: &Instant| {
            times.iter().filter(|at| (*from..*from + Duration::from_secs(1)).contains(*at)).count()
        };
        times.iter().map(within).max().unwrap_or(0)
    }

    fn serve(&self, connection: TcpStream, reply: &dyn Fn(&str) -> Reply) -> std::io::Result<()> {
        let mut lines = BufReader::new(connection.try_clone()?).lines();
        let mut connection = connection;
        loop {
            let Some(request) = lines.next().transpose()? else { return Ok(()) };
            while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
            let target = request.split(' ').nth(1).unwrap().to_owned();
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.under_way_max.fetch_max(under_way, Ordering::SeqCst);
            self.targets.lock().unwrap().push((Instant::now(), target.clone()));
            let reply = reply(&target);
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            match reply {
                Reply::Body(body) => {
                    write!(
                        connection,
                        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    )?;
                    connection.write_all(&body)?;
                }
                Reply::Raw(bytes) => return connection.write_all(&bytes),
                Reply::Silence => return lines.next().transpose().map(drop),
                Reply::Flood(bytes) => {
                    write!(
                        connection,
                        "HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\nd5:peers{bytes}:"
                    )?;
                    for _ in 0..bytes / 65_536 {
                        connection.write_all(&[0; 65_536])?;
                    }
                }
            }
        }
    }
}

/// An HTTPS tracker with a certificate of an authority of its own.
pub(crate) struct Https {
    process: Child,
    at: SocketAddr,
    folder: TempDir,
}

impl Https {
    /// None where openssl or python3 is not installed.
    pub(crate) fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let openssl = |args: &str| {
            let mut command = Command::new("openssl");
            command
                .args(args.split(' '))
                .current_dir(&folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().ok().filter(std::process::ExitStatus::success)
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 30 -subj /CN=authority"
        ))?;
        openssl(&format!(
            "req -x509 {key} -keyout other.key -out other.pem -days 30 -subj /CN=other"
        ))?;
        openssl(&format!("req {key} -keyout key.pem -out request.pem -subj /CN=tracker"))?;
        std::fs::write(folder.path().join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem",
        )?;
        std::fs::write(folder.path().join("announce"), "d8:intervali1800e5:peers0:e").unwrap();
        let at = free_port();
        let serve = "import http.server, ssl, sys\n\
            server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)\n\
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
            context.load_cert_chain('cert.pem', 'key.pem')\n\
            server.socket = context.wrap_socket(server.socket, server_side=True)\n\
            server.serve_forever()\n";
        let mut command = Command::new("python3");
        command.args(["-c", serve, &at.port().to_string()]).current_dir(&folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        patiently("python3 listens", || TcpStream::connect(at).ok());
        Some(Self { process, at, folder })
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/announce", self.at)
    }

    /// The files with its authority, and with another one.
    pub(crate) fn authorities(&self) -> [PathBuf; 2] {
        ["ca.pem", "other.pem"].map(|name| self.folder.path().join(name))
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A UDP tracker that answers as it is told to: what is sent comes in, what is answered goes out.
pub(crate) fn fake_udp(
    mut reply: impl FnMut(&[u8]) -> Option<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 65_536];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            if let Some(answer) = reply(&buffer[..length]) {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    at
}

/// An address of loopback where nobody listens, TCP or UDP.
pub(crate) fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

/// Waits for something.
pub(crate) fn patiently<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
