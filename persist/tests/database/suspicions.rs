//! What looks like cheating becomes a row for each rule, user and torrent.

use persist::ledger::Record;
use persist::suspicion::Thresholds;
use persist::{Ledger, LedgerOptions, LedgerStatus};
use shard::Seconds;
use shard::private::{Counters, Fact};

use crate::site::{NOW, PATIENCE, Site, Tape, fact, quick, torrent, user};

const SUSPICIONS: &str = "SELECT kind, user_id, torrent_id, extract(epoch FROM first_at)::bigint, \
    extract(epoch FROM last_at)::bigint, times, worst FROM suspicions ORDER BY 1, 2, 3";

/// A client that says it moved this much in a thousand seconds.
fn fast(user: u32, torrent: u32, at: u32, uploaded: u64) -> Record {
    let moved = Counters { uploaded, ..Counters::default() };
    Record::Fact(Fact {
        at: NOW + Seconds(at),
        elapsed: 1000,
        reported: moved,
        said: None,
        moved,
        credited_up: uploaded,
        ..fact(user, torrent)
    })
}

fn run(site: &Site, tape: &Tape, suspect: Thresholds) -> LedgerStatus {
    let options = LedgerOptions { suspect, ..quick() };
    let ledger = Ledger::start(site.database.clone(), options, tape.reader()).unwrap();
    assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
    ledger.stop(PATIENCE)
}

#[test]
fn a_row_says_how_often_and_how_far() {
    let Some(mut site) = Site::new("suspicions") else { return };
    let on = Thresholds { rate: Some(1000), same_counters: Some(2), ..Thresholds::default() };
    let tape = Tape::new(fastrand::u64(..));
    tape.append([user(1), user(2), torrent(1), torrent(2)]);
    tape.append([
        fast(1, 1, 0, 1_000_000),
        fast(1, 1, 1000, 5_000_000),
        fast(1, 1, 2000, 3_000_000),
        fast(1, 2, 2001, 3_000_000),
    ]);
    let status = run(&site, &tape, on);
    let first = format!(
        "(rate,1,1,{},{},2,5000); (rate,1,2,{},{},1,3000); (same_counters,1,2,{},{},1,2)",
        NOW.0 + 1000,
        NOW.0 + 2000,
        NOW.0 + 2001,
        NOW.0 + 2001,
        NOW.0 + 2001,
        NOW.0 + 2001,
    );
    assert_eq!(site.text(SUSPICIONS), first);
    assert_eq!(status.suspected, [3, 0, 1, 0]);
    assert_eq!(site.number("SELECT uploaded FROM users WHERE id = 1"), 12_000_000);

    // It happens again, after a restart; and to somebody else.
    tape.append([fast(1, 1, 3000, 9_000_000), fast(2, 1, 3000, 2_000_000)]);
    let status = run(&site, &tape, on);
    assert_eq!(status.suspected, [2, 0, 0, 0]);
    let rates = site.text("SELECT user_id, torrent_id, times, worst FROM suspicions WHERE kind = 'rate' ORDER BY 1, 2");
    assert_eq!(rates, "(1,1,3,9000); (1,2,1,3000); (2,1,1,2000)");
}

#[test]
fn without_thresholds_there_are_no_rows() {
    let Some(mut site) = Site::new("no_suspicions") else { return };
    let status = site.apply(vec![user(1), torrent(1), fast(1, 1, 0, 1 << 60)]);
    assert_eq!(site.number("SELECT count(*) FROM suspicions"), 0);
    assert_eq!(status.suspected, [0; 4]);
}

#[test]
fn a_table_that_takes_none_stops_nothing() {
    let Some(mut site) = Site::new("refused_suspicions") else { return };
    site.write("ALTER TABLE suspicions ADD CHECK (worst < 2000)");
    let on = Thresholds { rate: Some(1000), ..Thresholds::default() };
    let tape = Tape::new(fastrand::u64(..));
    tape.append([user(1), torrent(1), fast(1, 1, 0, 5_000_000)]);
    let status = run(&site, &tape, on);
    assert_eq!(status.position, Some(3));
    assert_eq!(site.number("SELECT uploaded FROM users WHERE id = 1"), 5_000_000);
    assert_eq!(site.number("SELECT count(*) FROM suspicions"), 0);
}
