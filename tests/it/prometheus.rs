//! A real Prometheus scrapes the control listener, and everything the dashboard asks for is there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use margay::control::{self, Pages, State, Transport};
use ops::counters::{Books, Channel, Core, Family, Journal, Ledger, Protocol, Reason, Snapshot};
use ops::health::Phase;
use ops::metrics::Trackers;
use ops::service::Service;
use serde_json::Value;
use shard::Totals;
use tempfile::TempDir;

use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

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

/// A Prometheus that scrapes one tracker every second and has the alert rules loaded.
struct Prometheus {
    address: SocketAddr,
    _process: Running,
    _folder: TempDir,
}

impl Prometheus {
    fn watch(control: SocketAddr) -> Self {
        let folder = TempDir::new().unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana/alerts/margay.rules.yaml");
        let config = format!(
            "global:\n  scrape_interval: 1s\n  evaluation_interval: 1s\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: margay\n    static_configs:\n      - targets: ['{control}']\n",
            rules.display()
        );
        let config_file = folder.path().join("prometheus.yaml");
        fs::write(&config_file, config).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
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
    state.show_services(&Service::ALL);
    state.update_snapshot(|snapshot| *snapshot = Snapshot { written: 1, ..Snapshot::default() });
    state.show_books(|| Books {
        journal: Journal { accepting: true, ..Journal::default() },
        ledger: Ledger {
            connected: true,
            watching: true,
            position: Some(0),
            states: &["up", "away"],
            state: "up",
            ..Ledger::default()
        },
        ..Books::default()
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let control = control::spawn(listener, state.clone(), Pages::All, Transport::Plain).unwrap();
    let prometheus = Prometheus::watch(control.address());
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
    let tracker = Tracker::start("--cores 2");
    let prometheus = Prometheus::watch(tracker.control());

    let client = Udp::connect(tracker.udp(HOMES[0]));
    client.announce(&Announce::new(hash("prometheus"), 6881));
    client.send(b"no request");
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
        let expected = metric.of == Trackers::Every
            && metric.name != "margay_snapshot_last_success_timestamp_seconds";
        assert_eq!(!prometheus.query(metric.name).is_empty(), expected, "{}", metric.name);
    }
    prometheus.check_alerts();
}
