//! One session writes a schema: one that is gone is put out, one that is alive is not, and one of before writes nothing.

use std::thread;
use std::time::{Duration, Instant};

use persist::Ledger;
use persist::books::State;

use crate::site::{PATIENCE, Site, Tape, fact, quick, until, user};

/// A session that holds the lock of the ledger, as one does whose machine is gone; its process.
fn remnant(site: &mut Site) -> (postgres::Client, i32) {
    let tape = Tape::new(77);
    let before = Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    until("the lock of the ledger", || before.status().connected);
    let held = "SELECT classid::bigint << 32 | objid::bigint FROM pg_locks JOIN writer USING (pid) \
                WHERE locktype = 'advisory'";
    let lock = site.number(held);
    before.stop(PATIENCE);
    let mut session = site.beside();
    session.execute("SELECT pg_advisory_lock($1)", &[&lock]).unwrap();
    let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).unwrap().get(0);
    site.write(&format!("UPDATE writer SET pid = {pid}, beat_at = clock_timestamp()"));
    (session, pid)
}

#[test]
fn a_session_that_is_silent_is_put_out() {
    let Some(mut site) = Site::new("put out") else { return };
    let (_session, pid) = remnant(&mut site);
    let tape = Tape::new(78);
    tape.append(vec![user(1), fact(1, 1).into()]);
    let start = Instant::now();
    let ledger = Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    until("a word of who is in the way", || {
        let error = ledger.status().last_error;
        error.is_some_and(|error| error.contains(&format!("pid {pid}")))
    });
    assert!(!ledger.status().connected);
    // As long as it says that it is alive it stays, though it does nothing else.
    for _ in 0..8 {
        thread::sleep(Duration::from_secs(1));
        site.write("UPDATE writer SET beat_at = clock_timestamp()");
        assert!(!ledger.status().connected);
    }
    let alive = start.elapsed();
    let late = Instant::now() + Duration::from_secs(60);
    while !ledger.drain(Duration::from_secs(1)) {
        assert!(Instant::now() < late, "{:?}", ledger.status());
    }
    assert!(start.elapsed() > alive + Duration::from_secs(20), "it was silent for half a minute");
    let others = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
    assert_eq!(site.number(&others), 0);
    assert_eq!(ledger.stop(PATIENCE).state, State::Up);
}

#[test]
fn a_session_of_an_earlier_epoch_writes_nothing() {
    let Some(mut site) = Site::new("epochs") else { return };
    let tape = Tape::new(79);
    let ledger = Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    tape.append(vec![user(1), fact(1, 1).into()]);
    assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
    let epoch = site.number("SELECT epoch FROM writer");
    for round in 1..=3 {
        // Somebody else has written, and this one has not noticed.
        site.write("UPDATE writer SET epoch = epoch + 1");
        tape.append(vec![fact(1, 1).into(); 5]);
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        assert_eq!(site.number("SELECT epoch FROM writer"), epoch + 2 * round);
    }
    assert_eq!(ledger.status().retries, 3);
    // Each fact is written once, by who has found out from where on.
    assert_eq!(site.number("SELECT next FROM ledger"), 2 + 15);
    ledger.stop(PATIENCE);
}
