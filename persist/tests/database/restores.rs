//! Either side is restored from a backup, at any moment: every byte is credited once, or the loss has a name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use persist::books::{Lasting, Obstacle, State};
use persist::journal::{Journal, Options, Reader};
use persist::ledger::{GapReason, JournalSource, Record};
use persist::{DataDir, Ledger, LedgerOptions};
use shard::Seconds;
use shard::private::{Counters, Fact, Stamp, Swarm};

use crate::site::{PATIENCE, Site, Tape, fact, quick, torrent, until, user};

const USERS: u32 = 12;
const TORRENTS: u32 = 5;

/// A tracker with one core: what it compares with is what its journal says.
struct Tracker {
    folder: PathBuf,
    journal: Option<Journal>,
    ledger: Option<Ledger>,
    options: Options,
    /// The last report of each client.
    baselines: BTreeMap<(u32, u32), u64>,
    balances: BTreeMap<u32, i64>,
    /// What each client has sent, and what it had sent when it announced first.
    sent: BTreeMap<(u32, u32), (u64, u64)>,
    millis: u64,
}

impl Tracker {
    fn new(test: &str) -> Self {
        let name = format!("margay-{test}-{}-{}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&folder);
        let options = Options { segment_bytes: 8 << 10, ..Options::default() };
        let mut tracker = Self {
            folder,
            journal: None,
            ledger: None,
            options,
            baselines: BTreeMap::new(),
            balances: BTreeMap::new(),
            sent: BTreeMap::new(),
            millis: 0,
        };
        tracker.start();
        tracker
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().unwrap()
    }

    /// Begins with what is in the folder.
    fn start(&mut self) {
        let data = DataDir::open(self.data()).unwrap();
        let journal = Journal::open(&data, self.options).unwrap();
        let mut reader = Reader::open(self.data().join("journal"), journal.begin()).unwrap();
        self.baselines.clear();
        self.balances.clear();
        while let Some((_, record)) = reader.read().unwrap() {
            if let Record::Fact(fact) = record {
                let key = (fact.user.0, fact.torrent.0);
                self.baselines.insert(key, fact.reported.uploaded);
                self.balances.insert(fact.torrent.0, fact.swarm.balance);
            }
        }
        self.journal = Some(journal);
    }

    fn write(&mut self, site: &Site, options: LedgerOptions) {
        let source = JournalSource::new(self.journal().status().clone());
        self.ledger = Some(Ledger::start(site.database.clone(), options, source).unwrap());
    }

    fn kill(&mut self, site: &Site) {
        if let Some(ledger) = self.ledger.take() {
            ledger.stop(Duration::ZERO);
            until("it is gone", || site.database.writer_of_schema().unwrap().is_none());
        }
        self.journal = None;
    }

    fn append(&mut self, records: &[Record]) {
        self.journal().append(records).unwrap();
        self.journal().sync().unwrap();
    }

    /// A client announces that it has sent so much more.
    fn announce(&mut self, (id, number): (u32, u32), more: u64) {
        let (sent, _) = self.sent.entry((id, number)).or_insert((1000, 1000));
        *sent += more;
        let uploaded = *sent;
        self.millis = now().max(self.millis + 1);
        let stamp = Stamp { millis: self.millis, node: 0 };
        let before = self.baselines.insert((id, number), uploaded);
        let moved = uploaded - before.unwrap_or(uploaded);
        let balance = self.balances.entry(number).or_default();
        *balance += moved as i64;
        let counters = |uploaded| Counters { uploaded, ..Counters::default() };
        let fact = Fact {
            at: Seconds((self.millis / 1000) as u32),
            stamp,
            reported: counters(uploaded),
            moved: counters(moved),
            credited_up: moved,
            swarm: Swarm { seeders: 1, leechers: 0, snatches: 0, balance: *balance },
            ..fact(id, number)
        };
        self.append(&[Record::Fact(fact)]);
    }

    fn everybody_announces(&mut self) {
        for id in 1..=USERS {
            for number in 1..=TORRENTS {
                self.announce((id, number), 10);
            }
        }
    }

    /// What all clients have sent since each announced first.
    fn expected(&self) -> BTreeMap<i64, i64> {
        let mut sums = BTreeMap::new();
        for ((id, _), (sent, first)) in &self.sent {
            *sums.entry(i64::from(*id)).or_default() += (sent - first) as i64;
        }
        sums
    }

    fn copy(&self, name: &str) {
        replace(&self.data().join("journal"), &self.folder.join(name));
    }

    /// The folder is lost. Nobody has it open.
    fn lose(&self) {
        fs::remove_dir_all(self.data().join("journal")).unwrap();
    }

    /// The folder is what it was when it was copied. Nobody has it open.
    fn restore(&self, name: &str) {
        replace(&self.folder.join(name), &self.data().join("journal"));
        // A life is told from those before by when it began, in milliseconds.
        std::thread::sleep(Duration::from_millis(3));
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = persist::journal::segments(&self.data()).unwrap();
        files.into_iter().map(|file| file.path).collect()
    }

    /// All is written, and every user has what his clients have sent.
    #[track_caller]
    fn check(&mut self, site: &mut Site, what: &str) {
        let ledger = self.ledger.as_ref().unwrap();
        let end = self.journal.as_ref().unwrap().durable();
        until("all is written", || {
            ledger.wake();
            ledger.status().position == Some(end)
        });
        assert_eq!(found(site), self.expected(), "{what}: {:?}", ledger.status());
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.stop(Duration::ZERO);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// One folder becomes a copy of the other.
fn replace(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn found(site: &mut Site) -> BTreeMap<i64, i64> {
    let rows = site.sql.query("SELECT id, uploaded FROM users", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

const TABLES: [&str; 4] = ["users", "torrents", "peers", "ledger"];

fn dump(site: &mut Site, name: usize) {
    let tables = TABLES.map(|table| {
        format!("DROP TABLE IF EXISTS dump_{name}_{table}; CREATE TABLE dump_{name}_{table} AS TABLE {table};")
    });
    site.write(&format!("BEGIN ISOLATION LEVEL REPEATABLE READ; {} COMMIT", tables.concat()));
}

fn restore(site: &mut Site, name: usize) {
    let tables =
        TABLES.map(|table| format!("INSERT INTO {table} SELECT * FROM dump_{name}_{table};"));
    let cleared = TABLES.join(", ");
    let all = format!("BEGIN; TRUNCATE {cleared} CASCADE; {} COMMIT", tables.concat());
    // It may deadlock with a batch, and who of the two begins anew is up to the server.
    while site.sql.batch_execute(&all).is_err() {
        site.write("ROLLBACK");
    }
}

/// Users, torrents and the first announce of every client are written.
fn begun(site: &Site, test: &str) -> Tracker {
    let mut tracker = Tracker::new(test);
    let mut records: Vec<Record> =
        (1..=USERS).map(user).chain((1..=TORRENTS).map(torrent)).collect();
    for record in &mut records {
        // The other tests live later.
        if let Record::Said(said) = record {
            said.at = Stamp { millis: now(), node: 0 };
        }
    }
    tracker.append(&records);
    for id in 1..=USERS {
        for number in 1..=TORRENTS {
            tracker.announce((id, number), 0);
        }
    }
    tracker.write(site, small());
    assert!(tracker.ledger.as_ref().unwrap().drain(PATIENCE));
    tracker
}

fn small() -> LedgerOptions {
    LedgerOptions { batch_max: 40, period: Duration::from_millis(1), ..quick() }
}

#[test]
fn both_sides_are_restored_at_random_moments() {
    let seeds = std::env::var("MARGAY_TEST_RESTORES").ok().and_then(|text| text.parse().ok());
    for seed in 0..seeds.unwrap_or(4_u64) {
        let Some(mut site) = Site::new(&format!("restores {seed}")) else { return };
        let mut tracker = begun(&site, "restores");
        let mut rng = Rng::with_seed(seed);
        tracker.copy("copy-0");
        dump(&mut site, 0);
        let (mut copies, mut dumps, mut story) = (1, 1, String::new());
        for _ in 0..40 {
            let step = rng.u8(..13);
            match step {
                0..6 => {
                    for _ in 0..rng.usize(1..30) {
                        let who = (rng.u32(1..=USERS), rng.u32(1..=TORRENTS));
                        tracker.announce(who, rng.u64(..1 << 20));
                    }
                    std::thread::sleep(Duration::from_millis(rng.u64(..15)));
                }
                6 => {
                    tracker.kill(&site);
                    tracker.start();
                }
                7 if tracker.ledger.is_none() => tracker.write(&site, small()),
                7 => {}
                8 => {
                    tracker.copy(&format!("copy-{copies}"));
                    copies += 1;
                }
                9 => {
                    tracker.kill(&site);
                    tracker.restore(&format!("copy-{}", rng.usize(..copies)));
                    tracker.start();
                }
                10 => {
                    dump(&mut site, dumps);
                    dumps += 1;
                }
                11 => {
                    tracker.kill(&site);
                    tracker.lose();
                    tracker.start();
                }
                _ => restore(&mut site, rng.usize(..dumps)),
            }
            story.push_str(&format!("{step} "));
        }
        if tracker.ledger.is_none() {
            tracker.write(&site, small());
        }
        tracker.everybody_announces();
        tracker.check(&mut site, &format!("seed {seed}: {story}"));
        let balance =
            "SELECT (SELECT sum(uploaded) FROM users) - (SELECT sum(balance) FROM torrents)";
        assert_eq!(site.number(&format!("SELECT ({balance})::bigint")), 0, "seed {seed}: {story}");
    }
}

/// The data folder is put back to a backup while the database is away, or is not: live, at the start, with the
/// end of the journal before and behind where the database is, twice in a row, killed in the middle.
#[test]
fn an_older_copy_of_the_data_folder_is_measured() {
    let Some(mut site) = Site::new("older copy") else { return };
    let mut tracker = begun(&site, "older-copy");
    tracker.copy("backup");
    tracker.everybody_announces();
    tracker.everybody_announces();
    tracker.check(&mut site, "before");
    for announces in [0, 1, 5] {
        for kills in 0..2 {
            tracker.kill(&site);
            tracker.restore("backup");
            tracker.start();
            for _ in 0..announces {
                tracker.everybody_announces();
            }
            for _ in 0..kills {
                tracker.write(&site, small());
                let status = tracker.ledger.as_ref().unwrap().watch_status();
                until("it writes", || status().position.is_some());
                tracker.kill(&site);
                tracker.start();
            }
            tracker.write(&site, small());
            tracker.everybody_announces();
            tracker.check(&mut site, &format!("{announces} announces, {kills} kills"));
            let status = tracker.ledger.as_ref().unwrap().status();
            assert_eq!(status.state, State::Measuring);
            assert_eq!(status.gaps.last.unwrap().reason, GapReason::JournalRestored);
        }
    }
    assert_eq!(site.number("SELECT count(*) FROM gaps"), 6);
}

/// The data folder is lost, with records that the database has not got: what clients say tells what they moved, by
/// what the database knows of them. So it does when the old one comes back.
#[test]
fn a_new_data_folder_is_measured() {
    let Some(mut site) = Site::new("new folder") else { return };
    let mut tracker = begun(&site, "new-folder");
    tracker.everybody_announces();
    tracker.check(&mut site, "before");
    for kills in 0..2 {
        tracker.kill(&site);
        // The database never gets these.
        tracker.start();
        tracker.everybody_announces();
        tracker.journal = None;
        tracker.copy("aside");
        tracker.lose();
        tracker.start();
        tracker.everybody_announces();
        for _ in 0..kills {
            tracker.write(&site, small());
            let status = tracker.ledger.as_ref().unwrap().watch_status();
            until("it writes", || status().position.is_some());
            tracker.kill(&site);
            tracker.start();
        }
        tracker.write(&site, small());
        tracker.everybody_announces();
        tracker.check(&mut site, &format!("{kills} kills"));
        let status = tracker.ledger.as_ref().unwrap().status();
        assert_eq!(status.state, State::Measuring);
        assert_eq!(status.gaps.last.unwrap().reason, GapReason::JournalLost);

        tracker.kill(&site);
        tracker.restore("aside");
        tracker.start();
        tracker.write(&site, small());
        tracker.everybody_announces();
        tracker.everybody_announces();
        tracker.check(&mut site, &format!("{kills} kills, and the old one is back"));
        assert_eq!(tracker.ledger.as_ref().unwrap().status().state, State::Measuring);
    }
    assert_eq!(site.number("SELECT count(*) FROM gaps"), 2);
    let balance = "SELECT (SELECT sum(uploaded) FROM users) - (SELECT sum(balance) FROM torrents)";
    assert_eq!(site.number(&format!("SELECT ({balance})::bigint")), 0);
}

/// Rows of clients that were written, and then not any more, say nothing of where clients are.
#[test]
fn a_new_data_folder_is_not_measured_by_rows_that_were_not_kept() {
    let Some(mut site) = Site::new("new folder, old rows") else { return };
    let mut tracker = begun(&site, "new-folder-old-rows");
    tracker.kill(&site);
    tracker.start();
    tracker.write(&site, LedgerOptions { peers: false, ..small() });
    tracker.everybody_announces();
    tracker.check(&mut site, "without rows");
    until("the rows are gone", || site.number("SELECT count(*) FROM peers") == 0);
    let credited = tracker.expected();
    tracker.kill(&site);
    tracker.lose();
    tracker.start();
    tracker.write(&site, small());
    tracker.everybody_announces();
    assert!(tracker.ledger.as_ref().unwrap().drain(PATIENCE));
    assert_eq!(found(&mut site), credited);
    assert_eq!(tracker.ledger.as_ref().unwrap().status().state, State::Up);
}

#[test]
fn a_database_that_goes_back_while_nobody_announces_is_brought_up_to_date() {
    let Some(mut site) = Site::new("idle") else { return };
    let mut tracker = begun(&site, "idle");
    dump(&mut site, 0);
    for _ in 0..3 {
        tracker.everybody_announces();
    }
    tracker.check(&mut site, "before");
    restore(&mut site, 0);
    let expected = tracker.expected();
    assert_ne!(found(&mut site), expected);
    until("it is noticed", || found(&mut site) == expected);
}

/// Without the table of clients, the first announce of each is not credited, and no other.
#[test]
fn without_rows_of_clients_the_first_announce_after_an_older_copy_is_not_credited() {
    let Some(mut site) = Site::new("no rows") else { return };
    let mut tracker = begun(&site, "no-rows");
    let options = || LedgerOptions { peers: false, ..small() };
    tracker.copy("backup");
    tracker.everybody_announces();
    tracker.check(&mut site, "before");
    tracker.kill(&site);
    tracker.restore("backup");
    tracker.start();
    tracker.write(&site, options());
    let mut expected = tracker.expected();
    tracker.everybody_announces();
    for again in 0..2 {
        tracker.everybody_announces();
        let end = tracker.journal().durable();
        let status = tracker.ledger.as_ref().unwrap().watch_status();
        until("all is written", || status().position == Some(end));
        for sum in expected.values_mut() {
            *sum += 10 * i64::from(TORRENTS);
        }
        assert_eq!(found(&mut site), expected, "{again}");
        tracker.kill(&site);
        tracker.start();
        tracker.write(&site, options());
    }
}

#[test]
fn a_database_older_than_what_is_kept_is_gone_on_with_and_the_gap_is_noted() {
    let Some(mut site) = Site::new("gone") else { return };
    let mut tracker = begun(&site, "gone");
    dump(&mut site, 0);
    let first = tracker.journal().durable();
    for _ in 0..5 {
        tracker.everybody_announces();
    }
    tracker.check(&mut site, "before");
    let end = tracker.journal().durable();
    tracker.journal().delete_before(end).unwrap();
    let begin = tracker.journal().begin();
    assert!(begin > first && begin < end);
    restore(&mut site, 0);
    for _ in 0..2 {
        tracker.everybody_announces();
        let end = tracker.journal().durable();
        let status = tracker.ledger.as_ref().unwrap().watch_status();
        until("it goes on", || status().position == Some(end));
    }
    // What is lost is what was between: each announce was worth 10.
    let lost = (begin - first) as i64 * 10;
    let sum: i64 = tracker.expected().values().sum();
    assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), sum - lost);
    assert_eq!(
        site.text("SELECT reason, first, behind, from_at < to_at FROM gaps"),
        format!("(database_restored,{first},{begin},t)")
    );
    tracker.kill(&site);
    tracker.start();
    tracker.write(&site, small());
    let status = tracker.ledger.as_ref().unwrap().watch_status();
    until("it knows", || status().gaps.count == 1 && status().gaps.records == begin - first);
}

/// A segment is gone, or a byte of it is not what it was.
#[test]
fn a_journal_with_a_part_lost_is_gone_on_with_behind_it() {
    for damaged in [false, true] {
        let Some(mut site) = Site::new(&format!("cut {damaged}")) else { return };
        let mut tracker = begun(&site, "cut");
        tracker.check(&mut site, "begun");
        tracker.ledger.take().unwrap().stop(PATIENCE);
        until("it is gone", || site.database.writer_of_schema().unwrap().is_none());
        for _ in 0..6 {
            tracker.everybody_announces();
        }
        let segments = tracker.segments();
        let lost = &segments[segments.len() / 2];
        match damaged {
            false => fs::remove_file(lost).unwrap(),
            true => {
                let mut bytes = fs::read(lost).unwrap();
                bytes[100] ^= 1;
                fs::write(lost, bytes).unwrap();
            }
        }
        tracker.write(&site, small());
        let end = tracker.journal().durable();
        let status = tracker.ledger.as_ref().unwrap().watch_status();
        until("it goes on", || status().position == Some(end));
        let gap = status().gaps.last.unwrap();
        let number = |path: &Path| -> u64 {
            let name = path.file_stem().unwrap().to_str().unwrap();
            name.trim_start_matches("journal-").parse().unwrap()
        };
        let next = number(&segments[segments.len() / 2 + 1]);
        assert_eq!(
            (gap.reason, gap.first, gap.behind),
            (GapReason::JournalLost, number(lost), next)
        );
        let sum: i64 = tracker.expected().values().sum();
        let missing = (gap.behind - gap.first) as i64 * 10;
        assert_eq!(site.number("SELECT sum(uploaded)::bigint FROM users"), sum - missing);
        assert_eq!(site.number("SELECT count(*) FROM gaps"), 1);
    }
}

/// Two trackers of one schema would write over each other.
#[test]
fn a_second_tracker_is_refused_with_words() {
    let Some(site) = Site::new("two trackers") else { return };
    let (one, two) = (Tape::new(1), Tape::new(2));
    let named = |node: &str| LedgerOptions { node: node.to_owned(), ..quick() };
    let first = Ledger::start(site.database.clone(), named("amsterdam"), one.reader()).unwrap();
    assert!(first.drain(PATIENCE));
    let writer = site.database.writer_of_schema().unwrap().unwrap();
    assert_eq!((writer.journal, writer.node.as_str()), (Some(1), "amsterdam"));
    let second = Ledger::start(site.database.clone(), named("berlin"), two.reader()).unwrap();
    let shared = State::Kept(Obstacle::Lasting(Lasting::Shared));
    until("it is refused", || second.status().state == shared);
    let status = second.status();
    let why = status.last_error.unwrap();
    assert!(why.contains("amsterdam") && why.contains("--database-schema"), "{why}");
    assert!(status.retries < 3, "it is not tried all the time");
    // The same journal: that of a process that has ended, for all that is known.
    let remnant = Ledger::start(site.database.clone(), named("amsterdam"), one.reader()).unwrap();
    let passing = State::Kept(Obstacle::Passing(persist::books::Passing::Remnant));
    until("it waits", || remnant.status().state == passing);
    first.stop(PATIENCE);
    until("it writes", || remnant.status().connected);
    remnant.stop(PATIENCE);
    until("the other one writes", || second.status().connected);
    second.stop(PATIENCE);
}

/// A later program has made the tables: nothing is written there.
#[test]
fn a_schema_that_is_newer_is_not_written() {
    let Some(mut site) = Site::new("newer ledger") else { return };
    let tape = Tape::new(1);
    tape.append([user(1)]);
    site.write(
        "INSERT INTO migrations (number, name, checksum, version) \
         SELECT max(number) + 1, 'later', 1, '9.8.7' FROM migrations",
    );
    let ledger = Ledger::start(site.database.clone(), quick(), tape.reader()).unwrap();
    let newer = State::Kept(Obstacle::Lasting(Lasting::Newer));
    until("it is noticed", || ledger.status().state == newer);
    let status = ledger.stop(Duration::ZERO);
    assert!(status.last_error.unwrap().contains("9.8.7"));
    assert_eq!(site.number("SELECT count(*) FROM ledger"), 0);
    assert_eq!(site.number("SELECT count(*) FROM users"), 0);
}

/// `pg_dump` at a moment, many facts later a restore, while the tracker is stopped and while it runs.
/// `MARGAY_TEST_RESTORE_FACTS` says how many facts; 5,000,000 take some minutes.
#[test]
fn last_nights_backup_catches_up_by_itself() {
    let Some(mut site) = Site::new("backup of last night") else { return };
    let facts = std::env::var("MARGAY_TEST_RESTORE_FACTS").ok().and_then(|text| text.parse().ok());
    let facts: usize = facts.unwrap_or(20_000);
    let Some(bin) = programs() else { return };
    let mut tracker = begun(&site, "backup");
    tracker.kill(&site);
    tracker.options.segment_bytes = 16 << 20;
    tracker.start();
    tracker.write(&site, quick());
    let file = tracker.folder.join("dump");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(bin.join(program)).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let schema: String = site.sql.query_one("SELECT current_schema()", &[]).unwrap().get(0);
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    let path = file.to_str().unwrap().to_owned();
    run("pg_dump", &["-Fc", "-f", &path, "-n", &quoted, "-d", &site.url]);
    let mut rng = Rng::with_seed(1);
    for stopped in [true, false] {
        many(&mut tracker, &mut rng, facts / 2);
        tracker.check(&mut site, "before the restore");
        if stopped {
            tracker.kill(&site);
        }
        site.write(&format!("DROP SCHEMA {quoted} CASCADE"));
        run("pg_restore", &["-d", &site.url, &path]);
        site.reconnect();
        let lacks = site.number("SELECT next FROM ledger");
        if stopped {
            tracker.start();
            tracker.write(&site, quick());
        }
        many(&mut tracker, &mut rng, 100);
        tracker.check(&mut site, "after the restore");
        let (sent, end) = (tracker.expected().values().sum::<i64>(), tracker.journal().durable());
        let credited = site.number("SELECT sum(uploaded)::bigint FROM users");
        println!(
            "restored at record {lacks}, caught up to {end}: {credited} bytes credited, {sent} sent"
        );
        assert_eq!(site.number("SELECT count(*) FROM gaps"), 0);
        assert_eq!(site.number("SELECT count(*) FROM rejected"), 0);
    }
}

/// Facts of clients at random, some thousand a batch.
fn many(tracker: &mut Tracker, rng: &mut Rng, facts: usize) {
    let mut left = facts;
    while left > 0 {
        let some = left.min(5000);
        let mut records = Vec::with_capacity(some);
        for _ in 0..some {
            let (id, number) = (rng.u32(1..=USERS), rng.u32(1..=TORRENTS));
            let (sent, _) = tracker.sent.get_mut(&(id, number)).unwrap();
            let moved = rng.u64(..1 << 20);
            *sent += moved;
            let uploaded = *sent;
            tracker.baselines.insert((id, number), uploaded);
            tracker.millis += 1;
            let counters = |uploaded| Counters { uploaded, ..Counters::default() };
            records.push(Record::Fact(Fact {
                stamp: Stamp { millis: tracker.millis, node: 0 },
                reported: counters(uploaded),
                moved: counters(moved),
                credited_up: moved,
                ..fact(id, number)
            }));
        }
        tracker.append(&records);
        left -= some;
    }
}

/// Where `pg_dump` is; `None` where it is not, which is said.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok();
    let found = versions.into_iter().flatten().filter_map(|entry| {
        let bin = entry.ok()?.path().join("bin");
        bin.join("pg_dump").exists().then_some(bin)
    });
    let newest = found.max();
    if newest.is_none() {
        eprintln!("SKIPPED: there is no pg_dump in /usr/lib/postgresql");
    }
    newest
}
