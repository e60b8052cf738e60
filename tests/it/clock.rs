//! The system's clock is wrong and is put right while the tracker runs: by libfaketime, in the process of the
//! tracker alone.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, hash, patiently};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// A clock that is wrong by as much as its file says.
pub(crate) struct WrongClock(TempDir);

impl WrongClock {
    /// By an amount such as `-3y`; `None` where there is no libfaketime, which is said.
    pub(crate) fn by(amount: &str) -> Option<Self> {
        if !Path::new(LIBRARY).exists() {
            eprintln!("SKIPPED: a wrong clock needs libfaketime: apt install faketime");
            return None;
        }
        let clock = Self(TempDir::new().unwrap());
        clock.set(amount);
        Some(clock)
    }

    pub(crate) fn set(&self, amount: &str) {
        // In one step: it is read at any time.
        fs::write(self.0.path().join("new"), amount).unwrap();
        fs::rename(self.0.path().join("new"), self.0.path().join("clock")).unwrap();
    }

    /// What puts a tracker under it.
    pub(crate) fn environment(&self) -> String {
        format!(
            "LD_PRELOAD={LIBRARY} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1 \
             FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1",
            self.0.path().join("clock").display()
        )
    }
}

#[test]
fn a_clock_that_is_put_right_costs_nobody_anything() {
    for wrong in ["-3y", "+3y"] {
        let Some(clock) = WrongClock::by(wrong) else { return };
        let data = TempDir::new().unwrap();
        let args = "TEST_SHORT_INTERVALS=1 --interval 1s --interval-min 1s --interval-max 1s --peer-timeout 12s";
        let faked = format!("{} {args}", clock.environment());
        let tracker = Tracker::start_on(data.path(), &faked);
        let torrent = hash("disk");
        let client = Udp::connect(tracker.udp(HOMES[0]));
        client.announce(&Announce::seeder(torrent, 7001));
        client.announce(&Announce::new(torrent, 7002));
        let mut kept = crate::tracker::http::Http::connect(tracker.http(HOMES[0]));
        assert_eq!(kept.get("/").status, 200);

        clock.set("+0");
        let jump = tracker.logged("the system's clock has jumped");
        let by = jump["seconds"].as_i64().unwrap();
        assert!(by.abs() > 2 * 365 * 86_400 && (by > 0) == (wrong == "-3y"), "{jump}");

        // The connection id, the connection and the peers are as good as before.
        let told = client.announce(&Announce::new(torrent, 7002));
        assert_eq!((told.seeders, told.leechers), (1, 1), "{wrong}");
        assert_eq!(kept.get("/").status, 200);
        let fresh = Udp::connect(tracker.udp(HOMES[0]));
        fresh.announce(&Announce::new(torrent, 7003));
        tracker.write_snapshot();
        assert_eq!(tracker.times_logged("the system's clock has jumped"), 1);
        tracker.stop();

        // And the next start knows when that was.
        let tracker = Tracker::start_on(data.path(), args);
        let counts = || Udp::connect(tracker.udp(HOMES[0])).scrape(&[torrent])[0];
        assert_eq!(counts(), [1, 0, 2], "{wrong}");
        patiently("peers that say nothing to time out", || (counts() == [0, 0, 0]).then_some(()));
    }
}
