//! The books are held against the journal.

use persist::DataDir;
use persist::check::check_books;
use persist::journal::{Journal, Options};
use persist::ledger::{JournalSource, Record};
use persist::{Ledger, LedgerOptions};
use shard::Seconds;
use shard::private::{Fact, Stamp};

use crate::site::{PATIENCE, Site, fact, quick, torrent, until, user};

/// An announce of now, or of long ago.
fn announce(id: u32, number: u32, ago: u32) -> Record {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    let at = Seconds(now - ago);
    Record::Fact(Fact { at, stamp: Stamp::at(at), ..fact(id, number) })
}

#[test]
fn rows_of_clients_that_have_been_silent_for_long_are_not_missed() {
    let Some(mut site) = Site::new("check old") else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let mut journal = Journal::open(&data, Options::default()).unwrap();
    let two_days = 2 * 24 * 3600;
    let records = [user(1), user(2), torrent(1), announce(1, 1, two_days), announce(2, 1, 0)];
    journal.append(&records).unwrap();
    journal.sync().unwrap();
    let run = |options: LedgerOptions| {
        let source = JournalSource::new(journal.status().clone());
        let ledger = Ledger::start(site.database.clone(), options, source).unwrap();
        assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
        ledger
    };
    let ledger = run(quick());
    let mut sql = site.beside();
    until("the old row is gone", || {
        sql.query_one("SELECT count(*) FROM peers", &[]).unwrap().get::<_, i64>(0) == 1
    });
    ledger.stop(PATIENCE);
    let checked = check_books(&site.database, folder.path(), true).unwrap();
    assert!(checked.holds(), "{checked:?}");
    assert_eq!(checked.peers, Some(2));
    // A row that should be there is missed, all of them as well.
    site.write("DELETE FROM peers");
    let checked = check_books(&site.database, folder.path(), true).unwrap();
    assert_eq!((checked.peers, checked.strayed), (Some(2), 1));
    assert_eq!((checked.strays[0].user.0, checked.strays[0].found), (2, None));
    let checked = check_books(&site.database, folder.path(), false).unwrap();
    assert!(checked.holds(), "{checked:?}");
    assert_eq!(checked.peers, None);
}
