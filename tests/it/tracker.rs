//! A running tracker: the real program on addresses of its own, and clients that speak to it.
//!
//! Every tracker listens on 127.0.0.1 and `::1`, with UDP, HTTP and the control listener, on ports that
//! the system chooses and the ready line names.

pub(crate) mod bencode;
pub(crate) mod http;
pub(crate) mod tls;
pub(crate) mod udp;

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The address of each family that trackers listen on and clients ask from.
pub(crate) const HOMES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// How long anything may take before a test gives up; a loaded machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running tracker, killed when the test ends, however it ends.
pub(crate) struct Tracker {
    process: Child,
    log: Arc<Log>,
    /// Where it listens, from its ready line.
    udp: Vec<SocketAddr>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    control: SocketAddr,
    /// Kept for as long as the tracker, when it is its own.
    _own_data: Option<TempDir>,
}

/// What a tracker has logged so far, one JSON object a line.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
}

/// A tracker that ended by itself before it was ready.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    /// Everything it wrote to standard error.
    pub(crate) err: String,
}

impl Tracker {
    /// A tracker with one core, a data folder of its own, and `args`, separated by white space.
    pub(crate) fn start(args: &str) -> Self {
        let data = TempDir::new().unwrap();
        let mut tracker = Self::start_on(data.path(), args);
        tracker._own_data = Some(data);
        tracker
    }

    /// The same on a data folder that stays.
    pub(crate) fn start_on(data: &Path, args: &str) -> Self {
        Self::try_start_on(data, args).unwrap_or_else(|ended| {
            panic!("the tracker ended with {:?}: {}", ended.code, ended.err)
        })
    }

    /// The same, after `prepare` in its process: system calls only.
    pub(crate) fn start_under(
        data: &Path,
        args: &str,
        prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let mut command = command(data, args);
        // SAFETY: what is called between fork and exec are system calls.
        unsafe { command.pre_exec(prepare) };
        Self::try_spawn(command).unwrap_or_else(|ended| {
            panic!("the tracker ended with {:?}: {}", ended.code, ended.err)
        })
    }

    /// The same by another program, which is given the tracker's command line as its last arguments.
    pub(crate) fn start_by(by: &mut Command, data: &Path, args: &str) -> Self {
        let tracker = command(data, args);
        by.arg(tracker.get_program()).args(tracker.get_args());
        by.stdin(Stdio::null()).stdout(Stdio::null());
        Self::try_spawn(std::mem::replace(by, Command::new("true"))).unwrap_or_else(|ended| {
            panic!("the tracker ended with {:?}: {}", ended.code, ended.err)
        })
    }

    /// The same where it may not come to be ready.
    pub(crate) fn try_start_on(data: &Path, args: &str) -> Result<Self, Ended> {
        Self::try_spawn(command(data, args))
    }

    fn try_spawn(mut command: Command) -> Result<Self, Ended> {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let keep = log.clone();
        let reader = std::thread::spawn(move || keep.follow(lines.map(Result::unwrap)));
        let mut tracker = Self {
            process,
            log,
            udp: Vec::new(),
            http: Vec::new(),
            https: Vec::new(),
            control: SocketAddr::new(HOMES[0], 0),
            _own_data: None,
        };
        let Some(ready) = tracker.log.find("ready") else {
            let code = tracker.process.wait().unwrap().code();
            return Err(Ended { code, err: reader.join().unwrap() });
        };
        let addresses = |name: &str| -> Vec<SocketAddr> {
            let text = ready[name].as_str().unwrap();
            text.split(',')
                .filter(|text| *text != "none")
                .map(|text| text.parse().unwrap())
                .collect()
        };
        (tracker.udp, tracker.http) = (addresses("udp"), addresses("http"));
        tracker.https = addresses("https");
        tracker.control = addresses("control")[0];
        Ok(tracker)
    }

    /// Where it answers UDP clients of the family of `home`.
    pub(crate) fn udp(&self, home: IpAddr) -> SocketAddr {
        of_family(&self.udp, home)
    }

    /// Where it answers HTTP clients of the family of `home`.
    pub(crate) fn http(&self, home: IpAddr) -> SocketAddr {
        of_family(&self.http, home)
    }

    /// Where it answers HTTPS clients of the family of `home`.
    pub(crate) fn https(&self, home: IpAddr) -> SocketAddr {
        of_family(&self.https, home)
    }

    /// Where it answers UDP clients at this address.
    pub(crate) fn udp_at(&self, address: IpAddr) -> SocketAddr {
        *self.udp.iter().find(|at| at.ip() == address).unwrap()
    }

    /// Where it answers HTTP clients at this address.
    pub(crate) fn http_at(&self, address: IpAddr) -> SocketAddr {
        *self.http.iter().find(|at| at.ip() == address).unwrap()
    }

    /// Where it answers HTTPS clients at this address.
    pub(crate) fn https_at(&self, address: IpAddr) -> SocketAddr {
        *self.https.iter().find(|at| at.ip() == address).unwrap()
    }

    /// Where it answers the operator.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// The first line of the log whose message contains `text`; waits for it.
    pub(crate) fn logged(&self, text: &str) -> Value {
        self.log.find(text).unwrap_or_else(|| panic!("the tracker ended without logging {text}"))
    }

    /// How many lines of the log have a message that contains `text`, now.
    pub(crate) fn times_logged(&self, text: &str) -> usize {
        let lines = &self.log.lines.lock().unwrap().0;
        lines.iter().filter(|line| says(line, text)).count()
    }

    /// Waits until the log has `times` lines whose message contains `text`.
    pub(crate) fn await_logged(&self, text: &str, times: usize) {
        patiently(text, || (self.times_logged(text) >= times).then_some(()));
    }

    /// Its process.
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.process)
    }

    /// Sends it a signal (signal(7)).
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub(crate) fn stop(self) {
        self.signal(rustix::process::Signal::TERM);
        self.await_exit();
    }

    /// Waits until it has ended, and how.
    pub(crate) fn await_end(mut self) -> Option<i32> {
        self.wait().code()
    }

    /// Lines it has logged so far.
    pub(crate) fn lines_logged(&self) -> usize {
        self.log.lines.lock().unwrap().0.len()
    }

    /// From now on no file of it can grow (true), as on a full disk, or all can again.
    pub(crate) fn fill_disk(&self, full: bool) {
        use rustix::process::{Resource, Rlimit, prlimit};
        let limit = Rlimit { current: full.then_some(64), maximum: None };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    /// Waits until it has ended as it should.
    pub(crate) fn await_exit(mut self) {
        let status = self.wait();
        assert!(status.success(), "{status}");
    }

    /// Kills it, as a crash or the out-of-memory killer would.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        assert_eq!(self.wait().signal(), Some(9));
    }

    fn wait(&mut self) -> ExitStatus {
        let process = &mut self.process;
        patiently("the tracker to end", || process.try_wait().unwrap())
    }

    /// It is there and every core turns.
    pub(crate) fn check_alive(&mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None, "the tracker ended");
        assert_eq!(get(self.control, "/health/live").as_deref(), Some("live\n"));
    }

    /// Has it write a snapshot and waits until that is done.
    pub(crate) fn write_snapshot(&self) {
        let before = self.times_logged("snapshot written");
        let request = "POST /snapshot HTTP/1.0\r\nMargay-Command: yes\r\nContent-Length: 0\r\n\r\n";
        let (status, _) = ask(self.control, request).unwrap();
        assert_eq!(status, 202);
        self.await_logged("snapshot written", before + 1);
    }

    /// The sum of all series of a metric whose labels contain all of `labels`, such as
    /// `protocol="udp"`; about a second old.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let page = get(self.control, "/metrics").unwrap();
        let series = page.lines().filter_map(|line| line.rsplit_once(' ')).filter(|(series, _)| {
            let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
            found == name && labels.iter().all(|label| found_labels.contains(label))
        });
        series.map(|(_, value)| value.parse::<f64>().unwrap()).sum()
    }

    /// Waits until no more than `files` files are open.
    #[track_caller]
    pub(crate) fn await_files(&self, files: f64) {
        patiently(&format!("no more than {files} open files"), || {
            (self.metric("margay_process_open_files", &[]) <= files).then_some(())
        });
    }

    /// Waits until that sum is `value`.
    #[track_caller]
    pub(crate) fn await_metric(&self, name: &str, labels: &[&str], value: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.metric(name, labels);
            if now == value {
                return;
            }
            assert!(Instant::now() < deadline, "{name} {labels:?} is {now}, not {value}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Log {
    /// Keeps what comes until it ends; returns all of it as text.
    fn follow(&self, lines: impl Iterator<Item = String>) -> String {
        let mut text = String::new();
        for line in lines {
            text += &line;
            text.push('\n');
            // What a failing program prints at its end is no JSON.
            if let Ok(line) = serde_json::from_str(&line) {
                self.lines.lock().unwrap().0.push(line);
                self.more.notify_all();
            }
        }
        self.lines.lock().unwrap().1 = true;
        self.more.notify_all();
        text
    }

    /// The first line whose message contains `text`; `None` when the log ended without it.
    fn find(&self, text: &str) -> Option<Value> {
        let mut lines = self.lines.lock().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = lines.0.iter().find(|line| says(line, text)) {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now());
            let left = left.unwrap_or_else(|| {
                let said: Vec<String> = lines.0.iter().map(Value::to_string).collect();
                panic!("waited for the log to say {text}; it has said:\n{}", said.join("\n"))
            });
            if lines.1 {
                return None;
            }
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}

fn says(line: &Value, text: &str) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains(text))
}

fn of_family(addresses: &[SocketAddr], home: IpAddr) -> SocketAddr {
    *addresses.iter().find(|address| address.is_ipv4() == home.is_ipv4()).unwrap()
}

/// The tracker's command line. Options in `args` go before those here; a word of it like `NAME=value` goes into the
/// environment.
fn command(data: &Path, args: &str) -> Command {
    let mut command = crate::program::margay();
    let is_variable = |word: &&str| {
        let name = word.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
    };
    let (variables, args): (Vec<&str>, Vec<&str>) = args.split_whitespace().partition(is_variable);
    command.envs(variables.iter().filter_map(|word| word.split_once('=')));
    for (option, value) in [
        ("--cores", "1"),
        ("--udp", "127.0.0.1:0,[::1]:0"),
        ("--http", "127.0.0.1:0,[::1]:0"),
        ("--control", "127.0.0.1:0"),
    ] {
        if !args.contains(&option) {
            command.args([option, value]);
        }
    }
    command.arg("--data").arg(data).args(["--log-format", "json"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Asks until there is an answer.
#[track_caller]
pub(crate) fn patiently<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The body of an answer with status 200; `None` when nobody answers, or otherwise.
pub(crate) fn get(address: SocketAddr, path: &str) -> Option<String> {
    let (status, body) = ask(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))?;
    (status == 200).then_some(body)
}

/// Status and body of the answer to a request of text, after which the connection ends.
fn ask(address: SocketAddr, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (header, body) = answer.split_once("\r\n\r\n")?;
    Some((header.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The endpoints in compact form: 6 bytes each for IPv4, 18 for IPv6 (BEP 23, BEP 7), each once.
#[track_caller]
pub(crate) fn endpoints(compact: &[u8], v4: bool) -> BTreeSet<SocketAddr> {
    let stride = if v4 { 6 } else { 18 };
    assert_eq!(compact.len() % stride, 0, "{} bytes of endpoints", compact.len());
    let endpoint = |bytes: &[u8]| {
        let (address, port) = bytes.split_at(stride - 2);
        let address = match <[u8; 4]>::try_from(address) {
            Ok(address) => IpAddr::from(address),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(address).unwrap()),
        };
        SocketAddr::new(address, u16::from_be_bytes(port.try_into().unwrap()))
    };
    let set: BTreeSet<SocketAddr> = compact.chunks(stride).map(endpoint).collect();
    assert_eq!(set.len(), compact.len() / stride, "an endpoint twice");
    set
}

/// Endpoints at one address.
pub(crate) fn at(home: IpAddr, ports: impl IntoIterator<Item = u16>) -> BTreeSet<SocketAddr> {
    ports.into_iter().map(|port| SocketAddr::new(home, port)).collect()
}

/// 40 hex digits.
pub(crate) fn hex(info_hash: &[u8; 20]) -> String {
    info_hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An infohash of its own for every name.
pub(crate) fn hash(name: &str) -> [u8; 20] {
    let mut random =
        fastrand::Rng::with_seed(name.bytes().fold(0xcbf2_9ce4_8422_2325, |seed, byte| {
            (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }));
    std::array::from_fn(|_| random.u8(..))
}

/// The peer id of the client that listens on `port`.
pub(crate) fn peer_id(port: u16) -> [u8; 20] {
    format!("-MG0001-{port:012}").into_bytes().try_into().unwrap()
}
