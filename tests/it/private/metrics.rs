//! What the metrics tell of the books, and that a database that is away is seen there and nowhere else.

use std::path::Path;
use std::process::Command;

use ops::metrics::Trackers;
use postgres::{Client, NoTls};
use tempfile::TempDir;

use super::{Site, announce};
use crate::tracker::http::{answer, escape};
use crate::tracker::{HOMES, get, hash, patiently};

/// A PostgreSQL of one test, which may stop it.
pub(super) struct Server {
    dir: TempDir,
    pub(super) url: String,
}

impl Server {
    /// `None` where there is no PostgreSQL, which is said.
    pub(super) fn start(test: &str) -> Option<Self> {
        if std::env::var_os("MARGAY_TEST_POSTGRES").is_none() {
            eprintln!("SKIPPED: {test} needs PostgreSQL: ops/test.d/postgres run cargo test");
            return None;
        }
        let mut server = Self { dir: TempDir::new().unwrap(), url: String::new() };
        server.url = server.control("start");
        Some(server)
    }

    /// What the script says.
    pub(super) fn control(&self, verb: &str) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/test.d/postgres");
        let output = Command::new(script).arg(verb).arg(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control("stop");
    }
}

/// The only client announces that it has uploaded so much; it is answered.
fn upload(site: &Site, uploaded: u64, event: &str) {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0{event}");
    answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, &more));
}

fn age(site: &Site) -> f64 {
    site.tracker().metric("margay_ledger_oldest_age_seconds", &[])
}

#[test]
fn the_metrics_tell_what_the_books_have() {
    let Some(mut site) = Site::open("metrics", "--cores 2") else { return };
    site.add_user(1);
    site.add_user(2);
    site.add_torrent(10, "disk");
    site.add_torrent(11, "book");
    site.says(&format!("add_token&info_hash={}&userid=1", escape(&hash("disk"))));
    upload(&site, 0, "&event=started");
    upload(&site, 5000, "");
    site.check_credit(1, [5000, 0]);
    let tracker = site.tracker();
    for (name, value) in [
        ("margay_accounts", 2.0),
        ("margay_registered_torrents", 2.0),
        ("margay_tokens", 1.0),
        ("margay_records_waiting", 0.0),
        ("margay_journal_records_total", 7.0),
        ("margay_journal_end_sequence", 7.0),
        ("margay_journal_durable_sequence", 7.0),
        ("margay_journal_begin_sequence", 0.0),
        ("margay_journal_accepting", 1.0),
        ("margay_journal_refused_batches_total", 0.0),
        ("margay_database_connected", 1.0),
        ("margay_watch_connected", 1.0),
        ("margay_ledger_oldest_age_seconds", 0.0),
        ("margay_ledger_records_behind", 0.0),
        ("margay_ledger_facts_total", 2.0),
        ("margay_ledger_changes_total", 5.0),
        ("margay_ledger_rejected_total", 0.0),
        ("margay_ledger_unknown_total", 0.0),
    ] {
        tracker.await_metric(name, &[], value);
    }
    for name in [
        "margay_journal_size_bytes",
        "margay_journal_size_max_bytes",
        "margay_journal_syncs_total",
        "margay_journal_last_sync_timestamp_seconds",
        "margay_ledger_batches_total",
        "margay_ledger_batch_seconds_total",
        "margay_ledger_batch_records",
    ] {
        assert!(tracker.metric(name, &[]) > 0.0, "{name}");
    }
    let page = get(tracker.control(), "/metrics").unwrap();
    for metric in ops::metrics::ALL {
        // There is no snapshot yet, and so no time of one.
        let is_told = metric.of != Trackers::WithTls;
        if is_told && metric.name != "margay_snapshot_last_success_timestamp_seconds" {
            assert!(page.contains(&format!("# TYPE {} ", metric.name)), "{}", metric.name);
        }
    }
}

#[test]
fn a_database_that_is_away_is_seen_in_the_age_and_by_no_client() {
    let Some(server) = Server::start("away") else { return };
    let mut site = Site::open_at(&server.url, "away", "");
    site.add_user(1);
    site.add_torrent(10, "disk");
    upload(&site, 0, "&event=started");
    let mut uploaded = 1000;
    upload(&site, uploaded, "");
    site.check_credit(1, [1000, 0]);
    // Announces come after the loss of the database has been noticed, or before.
    for noticed in [true, false] {
        site.tracker().await_metric("margay_ledger_oldest_age_seconds", &[], 0.0);
        server.control("stop");
        if noticed {
            site.tracker().await_metric("margay_database_connected", &[], 0.0);
        }
        let answered = site.tracker().metric("margay_announces_total", &[]);
        uploaded += 1000;
        upload(&site, uploaded, "");
        let mut ages = [0.0; 3];
        let mut announces = 1.0;
        for round in 1..ages.len() {
            ages[round] = patiently("an age that grows", || {
                uploaded += 10;
                upload(&site, uploaded, "");
                announces += 1.0;
                Some(age(&site)).filter(|age| *age > ages[round - 1])
            });
        }
        let tracker = site.tracker();
        tracker.await_metric("margay_announces_total", &[], answered + announces);
        tracker.await_metric("margay_database_connected", &[], 0.0);
        tracker.await_metric("margay_watch_connected", &[], 0.0);
        assert_eq!(tracker.metric("margay_journal_accepting", &[]), 1.0);
        assert!(tracker.metric("margay_ledger_records_behind", &[]) >= 1.0);
        assert!(tracker.metric("margay_ledger_retries_total", &[]) >= 1.0);
        assert!(get(tracker.control(), "/health/ready").is_some(), "clients are answered");

        assert_eq!(server.control("start"), server.url);
        tracker.await_metric("margay_ledger_oldest_age_seconds", &[], 0.0);
        tracker.await_metric("margay_ledger_records_behind", &[], 0.0);
        tracker.await_metric("margay_database_connected", &[], 1.0);
        tracker.await_metric("margay_watch_connected", &[], 1.0);
        site.database = Client::connect(&server.url, NoTls).unwrap();
        let schema = format!("it_away_{}", std::process::id());
        site.database.batch_execute(&format!("SET search_path TO {schema}")).unwrap();
        site.check_credit(1, [uploaded as i64, 0]);
    }
    site.stop();
}
