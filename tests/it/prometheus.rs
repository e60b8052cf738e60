//! A real Prometheus scrapes the control listener, and everything the dashboard asks for is there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use margay::control::{self, State};
use ops::counters::{Channel, Core, Family, Protocol, Reason, Snapshot};
use ops::health::Phase;
use serde_json::Value;
use shard::Totals;

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that is killed when the test ends, however it ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port nobody uses at the moment.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// The body of an answer with status 200; `None` when nobody answers, or otherwise.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (header, body) = answer.split_once("\r\n\r\n")?;
    header.split(' ').nth(1).filter(|status| *status == "200")?;
    Some(body.to_owned())
}

/// Asks until there is an answer; a minute is long enough for a loaded machine.
fn patiently<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited a minute for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A Prometheus that scrapes one tracker every second and has the alert rules loaded.
struct Prometheus {
    address: SocketAddr,
    _process: Running,
    _folder: Scratch,
}

impl Prometheus {
    fn watch(control: SocketAddr, name: &str) -> Self {
        let folder = Scratch::new(name);
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/alerts/margay.rules.yaml");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: margay\n    static_configs:\n      - targets: ['{control}']\n",
            rules.display()
        );
        let config_file = folder.0.join("prometheus.yaml");
        fs::write(&config_file, config).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.0.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.0.join("log")).unwrap())
            .spawn()
            .expect("prometheus is needed: install the Debian package prometheus");
        let prometheus = Self { address, _process: Running(process), _folder: folder };
        patiently("Prometheus to be ready", || get(prometheus.address, "/-/ready"));
        prometheus
    }

    fn api(&self, path: &str) -> Value {
        let body = get(self.address, path).unwrap_or_else(|| panic!("no answer to {path}"));
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].clone()
    }

    /// The series an expression has now.
    fn query(&self, expression: &str) -> Vec<Value> {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02x}")).collect();
        self.api(&format!("/api/v1/query?query={encoded}"))["result"].as_array().unwrap().clone()
    }

    /// The value of an expression with one series.
    fn value(&self, expression: &str) -> Option<f64> {
        self.query(expression).first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until the target has been scraped often enough for rates.
    fn scraped(&self) {
        patiently("scrapes that succeed", || {
            self.value("count_over_time(up{job=\"margay\"}[1m])").filter(|count| *count >= 4.0)?;
            self.value("up{job=\"margay\"}").filter(|up| *up == 1.0)
        });
    }

    /// Every panel's expression has at least one series.
    fn check_dashboard(&self) {
        let dashboard: Value =
            serde_json::from_str(include_str!("../../grafana/dashboards/margay.json")).unwrap();
        let mut asked = 0;
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let expression = target["expr"]
                    .as_str()
                    .unwrap()
                    .replace("$__rate_interval", "30s")
                    .replace("$instance", ".*");
                let title = &panel["title"];
                assert!(!self.query(&expression).is_empty(), "{title} is empty: {expression}");
                asked += 1;
            }
        }
        assert!(asked > 30);
    }

    /// The alert rules are loaded, evaluate without an error, and none fires.
    fn check_alerts(&self) {
        let groups = patiently("the alert rules to be evaluated", || {
            let groups = self.api("/api/v1/rules")["groups"].clone();
            let rules = groups[0]["rules"].as_array()?;
            rules.iter().all(|rule| rule["health"] != "unknown").then_some(groups)
        });
        let rules = groups[0]["rules"].as_array().unwrap();
        assert!(rules.len() > 5);
        for rule in rules {
            assert_eq!(rule["health"], "ok", "{rule}");
            assert_ne!(rule["state"], "firing", "{rule}");
        }
    }
}

/// The counters of a core of two after `seconds` of work.
fn busy_core(seconds: u64) -> Core {
    let channel = Channel { sent: 3 * seconds, dropped: 0, depth: 1, capacity: 64 };
    let mut core = Core {
        channels: vec![channel; 2],
        udp_batches: 10 * seconds,
        udp_datagrams: 100 * seconds,
        busy_nanos: 200_000_000 * seconds,
        elapsed_nanos: 1_000_000_000 * seconds,
        totals: Totals { swarms: 5, peers_v4: 40, peers_v6: 2, seeders: 12, leechers: 30 },
        interval_seconds: 1800,
        ..Core::default()
    };
    for protocol in Protocol::ALL {
        for family in Family::ALL {
            let front = core.front(protocol, family);
            front.announces = 50 * seconds;
            front.refusals[Reason::Malformed as usize] = seconds;
        }
    }
    core
}

#[test]
fn prometheus_reads_the_control_listener_and_the_dashboard_has_no_empty_panel() {
    let state = Arc::new(State::new(2, vec![], |_| Ok(())));
    state.set_phase(Phase::Ready);
    state.update_snapshot(|snapshot| *snapshot = Snapshot { written: 1, ..Snapshot::default() });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let control = control::spawn(listener, state.clone()).unwrap();
    let prometheus = Prometheus::watch(control.address(), "prometheus-listener");
    let cores = std::thread::spawn({
        let state = Arc::downgrade(&state);
        move || {
            for second in 1.. {
                let Some(state) = state.upgrade() else { return };
                for number in 0..2 {
                    state.slot(number).store(&busy_core(second));
                }
                drop(state);
                std::thread::sleep(Duration::from_secs(1));
            }
        }
    });

    prometheus.scraped();
    assert_eq!(prometheus.value("margay_ready"), Some(1.0));
    assert_eq!(prometheus.value("sum(margay_peers)"), Some(84.0));
    assert_eq!(prometheus.query("margay_channel_capacity").len(), 2);
    let busy = prometheus.value("margay_core_busy_ratio{core=\"1\"}").unwrap();
    assert!((busy - 0.2).abs() < 1e-9, "{busy}");
    let metadata = prometheus.api("/api/v1/metadata?metric=margay_core_busy_seconds_total");
    assert_eq!(metadata["margay_core_busy_seconds_total"][0]["type"], "counter");
    prometheus.check_dashboard();
    prometheus.check_alerts();

    control.shutdown();
    drop(state);
    cores.join().unwrap();
}

#[test]
fn prometheus_reads_a_running_tracker() {
    let data = Scratch::new("prometheus-data");
    let udp = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let http = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let control = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut tracker = Command::new(env!("CARGO_BIN_EXE_margay"))
        .args(["run", "--cores", "2", "--data"])
        .arg(&data.0)
        .args(["--udp", &udp.to_string(), "--http", &http.to_string()])
        .args(["--control", &control.to_string()])
        .stdout(Stdio::null())
        .spawn()
        .map(Running)
        .unwrap();
    patiently("the tracker to be ready", || {
        assert_eq!(tracker.0.try_wait().unwrap(), None, "the tracker ended");
        get(control, "/health/ready")
    });
    let prometheus = Prometheus::watch(control, "prometheus-tracker");

    announce(udp);
    let malformed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    malformed.send_to(b"no request", udp).unwrap();
    prometheus.scraped();
    patiently("the announce to be counted", || {
        prometheus.value("sum(margay_announces_total)").filter(|count| *count == 1.0)
    });
    assert_eq!(prometheus.value("sum(margay_peers)"), Some(1.0));
    assert_eq!(prometheus.value("sum(margay_torrents)"), Some(1.0));
    assert_eq!(prometheus.value("sum(margay_connects_total)"), Some(1.0));
    assert_eq!(prometheus.value("margay_cores"), Some(2.0));
    assert_eq!(prometheus.query("margay_core_busy_ratio").len(), 2);
    assert!(prometheus.value("margay_process_resident_memory_bytes").unwrap() > 1e6);
    for metric in ops::metrics::ALL {
        // There is no snapshot yet, and so no time of one.
        if metric.name != "margay_snapshot_last_success_timestamp_seconds" {
            assert!(!prometheus.query(metric.name).is_empty(), "{} is missing", metric.name);
        }
    }
    prometheus.check_alerts();
    drop(tracker);
}

/// Connects and announces one peer over UDP (BEP 15).
fn announce(tracker: SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(tracker).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = [0; 2048];
    let connect = [&0x0417_2710_1980_u64.to_be_bytes()[..], &[0, 0, 0, 0, 0, 0, 0, 7]].concat();
    socket.send(&connect).unwrap();
    assert_eq!(socket.recv(&mut answer).unwrap(), 16, "a connect is answered");
    let connection_id: [u8; 8] = answer[8..16].try_into().unwrap();

    let mut request = connection_id.to_vec();
    request.extend_from_slice(&1u32.to_be_bytes()); // Announce.
    request.extend_from_slice(&8u32.to_be_bytes()); // The transaction.
    request.extend_from_slice(&[b'h'; 20]);
    request.extend_from_slice(b"-MG0001-abcdefghijkl");
    for bytes in [0u64, 100, 0] {
        request.extend_from_slice(&bytes.to_be_bytes()); // Downloaded, left, uploaded.
    }
    request.extend_from_slice(&2u32.to_be_bytes()); // Started.
    request.extend_from_slice(&[0; 8]); // The sender's address; no key.
    request.extend_from_slice(&u32::MAX.to_be_bytes());
    request.extend_from_slice(&6881u16.to_be_bytes());
    socket.send(&request).unwrap();
    let length = socket.recv(&mut answer).unwrap();
    assert!(length >= 20 && answer[..4] == 1u32.to_be_bytes(), "{:?}", &answer[..length]);
}
