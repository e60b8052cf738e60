//! What the database side costs: loading a large site, and writing facts.
//!
//! `POSTGRES_FSYNC=on ops/test.d/postgres run cargo bench -p margay-persist --bench ledger -- [NAME=VALUE…]`
//!
//! with `users`, `torrents`, `peers` (distinct clients that announce), `rate` (facts a second; 0 for as fast
//! as it goes), `seconds`, `batch` (records a transaction), `table` (0 leaves `peers` alone). With `backlog`, so
//! many facts are there at once as after an outage, and `rate` facts a second come on top, until all are
//! written; then all rows are counted and added up, and have to be what came of the facts. CPU time of this
//! process and of PostgreSQL is by `/proc/PID/stat`.

#![allow(clippy::unwrap_used)] // A measurement ends at the first mistake.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use persist::ledger::{Record, Source, SourceError};
use persist::{Database, Ledger, LedgerOptions};
use postgres::{Client, NoTls};
use shard::private::{Counters, Endpoints, Fact, Names, PeerId, Stamp, Swarm, TorrentId, UserId};
use shard::{InfoHash, Seconds};

const NOW: Seconds = Seconds(1_800_000_000);

fn main() {
    let Ok(url) = env::var("MARGAY_TEST_POSTGRES") else {
        println!(
            "needs PostgreSQL: ops/test.d/postgres run cargo bench -p margay-persist --bench ledger"
        );
        return;
    };
    let value = |name: &str, default: u64| {
        let given = env::args()
            .find_map(|arg| Some(arg.strip_prefix(name)?.strip_prefix('=')?.parse().unwrap()));
        given.unwrap_or(default)
    };
    let (users, torrents) = (value("users", 500_000), value("torrents", 900_000));
    let (peers, rate) = (value("peers", 2_000_000), value("rate", 0));
    let (seconds, batch) = (value("seconds", 30), value("batch", 50_000));
    let backlog = value("backlog", 0);

    let database = Database::new(&url, None, "bench").unwrap();
    let mut sql = Client::connect(&url, NoTls).unwrap();
    sql.batch_execute("DROP SCHEMA IF EXISTS bench CASCADE").unwrap();
    database.migrate().unwrap();
    sql.batch_execute(&format!(
        "SET search_path TO bench; SET margay.ledger TO 'on';
        INSERT INTO users (id, passkey) SELECT n, md5(n::text) FROM generate_series(0, {users} - 1) AS n;
        INSERT INTO torrents (id, info_hash)
            SELECT n, decode(md5(n::text) || '00112233', 'hex') FROM generate_series(0, {torrents} - 1) AS n;
        INSERT INTO tokens (user_id, torrent_id) SELECT n, n FROM generate_series(0, 9999) AS n"
    ))
    .unwrap();
    let postmaster: u32 = {
        let dir: String = sql.query_one("SHOW data_directory", &[]).unwrap().get(0);
        fs::read_to_string(format!("{dir}/postmaster.pid"))
            .unwrap()
            .lines()
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };

    for _ in 0..if backlog == 0 { 3 } else { 0 } {
        let (start, cpu) = (Instant::now(), cpu(postmaster));
        let loaded = database.load(1, NOW, |stored| drop(std::hint::black_box(stored))).unwrap();
        report("load", start, cpu, postmaster, loaded.users + loaded.torrents);
    }

    let clock = Arc::new(AtomicU64::new(0));
    let crowd = Crowd { users, torrents, peers, limit: clock.clone(), next: 0 };
    let options = LedgerOptions {
        batch_max: batch as usize,
        peers: value("table", 1) != 0,
        ..LedgerOptions::default()
    };
    let ledger = Ledger::start(database, options, crowd).unwrap();
    // Every peer once, so that rows are there to be updated.
    let (start, begun) = (Instant::now(), cpu(postmaster));
    clock.store(peers, Ordering::Relaxed);
    while ledger.status().position != Some(peers) {
        thread::sleep(Duration::from_millis(1));
    }
    report("facts of new peers", start, begun, postmaster, peers);
    sql.batch_execute("VACUUM ANALYZE bench.peers").unwrap();
    sql.batch_execute("CHECKPOINT").unwrap();

    let wal = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let mut wal_bytes = || sql.query_one(wal, &[]).unwrap().get::<_, i64>(0);
    let (start, begun, before) = (Instant::now(), cpu(postmaster), ledger.status());
    let wal_before = wal_bytes();
    let mut late = Duration::ZERO;
    let mut behind = u64::MAX;
    let goes_on = |behind: u64| match backlog {
        0 => start.elapsed() < Duration::from_secs(seconds),
        _ => behind > rate * 2,
    };
    while goes_on(behind) {
        let due = start.elapsed().as_secs_f64() * rate as f64;
        let limit = match (backlog, rate) {
            (0, 0) => u64::MAX / 2,
            _ => peers + backlog + due as u64,
        };
        clock.store(limit, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(1));
        behind = limit.saturating_sub(ledger.status().position.unwrap());
        if rate > 0 {
            late = late.max(Duration::from_secs_f64(behind as f64 / rate as f64));
        }
    }
    let after = ledger.status();
    report("facts of known peers", start, begun, postmaster, after.facts - before.facts);
    let (wal_bytes, facts) = (wal_bytes() - wal_before, after.facts - before.facts);
    println!(
        "    {} bytes of WAL a fact; {} of memory in this process at most, it has {} now",
        wal_bytes.cast_unsigned() / facts.max(1),
        memory("VmHWM"),
        memory("VmRSS"),
    );
    println!(
        "    {} batches of {} records and {:.2} s on average; the oldest fact waited {:.1} s at most; {after:?}",
        after.batches - before.batches,
        (after.facts - before.facts) / (after.batches - before.batches).max(1),
        (after.batches_time - before.batches_time).as_secs_f64()
            / (after.batches - before.batches).max(1) as f64,
        late.as_secs_f64(),
    );
    let sizes = "SELECT pg_size_pretty(pg_total_relation_size('bench.peers')), n_tup_upd, n_tup_hot_upd \
                 FROM pg_stat_user_tables WHERE schemaname = 'bench' AND relname = 'peers'";
    let row = sql.query_one(sizes, &[]).unwrap();
    let (size, updates, hot): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    println!("    peers: {size}, {updates} updates, {hot} of them within their page");
    ledger.stop(Duration::ZERO);
    if backlog > 0 {
        check(&mut sql);
    }
}

/// Each fact credits the same, so what was credited says how many were.
fn check(sql: &mut Client) {
    let sums = "SELECT (SELECT (sum(uploaded) / (1 << 20))::bigint FROM bench.users), \
                (SELECT (sum(downloaded) / (1 << 21))::bigint FROM bench.users), \
                (SELECT next FROM bench.ledger), (SELECT 100 * count(*) FROM bench.snatches)";
    let row = sql.query_one(sums, &[]).unwrap();
    let (up, down, written, snatched): (i64, i64, i64, i64) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!((up, down), (written, written));
    assert!(snatched.abs_diff(written) <= 100, "{snatched} {written}");
}

fn report(what: &str, start: Instant, (own, server): (f64, f64), postmaster: u32, rows: u64) {
    let seconds = start.elapsed().as_secs_f64();
    let now = cpu(postmaster);
    println!(
        "{what}: {rows} rows in {seconds:.2} s, {:.0}/s; CPU a row: {:.1} us here, {:.1} us PostgreSQL \
         ({:.0}% and {:.0}% of a core)",
        rows as f64 / seconds,
        (now.0 - own) * 1e6 / rows as f64,
        (now.1 - server) * 1e6 / rows as f64,
        (now.0 - own) * 100.0 / seconds,
        (now.1 - server) * 100.0 / seconds,
    );
}

/// A line of `/proc/self/status`.
fn memory(what: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line[1..].trim().to_owned()
}

/// CPU seconds of this process, and of all processes of the server together with those that have ended.
fn cpu(postmaster: u32) -> (f64, f64) {
    let mut sum = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some((parent, ticks)) = stat(pid)
            && (pid == postmaster || parent == postmaster)
        {
            sum += ticks;
        }
    }
    (stat(std::process::id()).unwrap().1 as f64 / 100.0, sum as f64 / 100.0)
}

/// Parent, and ticks of 10 ms: its own and those of its children that have ended (proc(5)).
fn stat(pid: u32) -> Option<(u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Some((fields[1].parse().ok()?, ticks))
}

/// Facts of many clients, each in its turn, in an order that is not that of the tables.
struct Crowd {
    users: u64,
    torrents: u64,
    peers: u64,
    /// How many there are now.
    limit: Arc<AtomicU64>,
    next: u64,
}

impl Source for Crowd {
    fn journal(&self) -> u64 {
        1
    }

    fn first(&self) -> u64 {
        0
    }

    fn end(&self) -> Option<u64> {
        Some(self.limit.load(Ordering::Relaxed))
    }

    fn seek(&mut self, number: u64) -> Result<(), SourceError> {
        self.next = number;
        Ok(())
    }

    fn next_batch(&mut self, max: usize, out: &mut Vec<(u64, Record)>) -> Result<(), SourceError> {
        let end = self.limit.load(Ordering::Relaxed).min(self.next + max as u64);
        out.extend((self.next..end).map(|number| (number, Record::Fact(self.fact(number)))));
        self.next = end.max(self.next);
        Ok(())
    }
}

impl Crowd {
    fn fact(&self, number: u64) -> Fact {
        let round = number / self.peers;
        // A prime that the number of peers is no multiple of scatters them; who comes again does so at random.
        let peer = match round {
            0 => number * 1_000_000_007 % self.peers,
            _ => fastrand::Rng::with_seed(number).u64(..self.peers),
        };
        let user = (peer * 7 % self.users) as u32;
        let torrent = (peer % self.torrents) as u32;
        let mut peer_id = *b"-qB4520-abcdefghijkl";
        peer_id[12..].copy_from_slice(&peer.to_be_bytes());
        let moved = Counters { uploaded: 1 << 20, downloaded: 1 << 21, corrupt: 0 };
        Fact {
            at: NOW + Seconds((number / 12_000) as u32),
            user: UserId(user),
            torrent: TorrentId(torrent),
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId(peer_id),
            key: 1,
            stamp: Stamp::at(NOW),
            over_v6: false,
            after: None,
            endpoints: Endpoints::new(Some([10, 1, 2, 3].into()), None, 6881),
            hidden: false,
            visible: true,
            reported: Counters { uploaded: round << 20, downloaded: round << 21, corrupt: 0 },
            said: None,
            left: if peer.is_multiple_of(4) { 1 << 30 } else { 0 },
            partial: false,
            active: true,
            names: Names::FIRST,
            since: NOW,
            elapsed: 1800,
            announces: round as u32 + 1,
            upload_percent: 100,
            download_percent: 100,
            token: false,
            moved,
            credited_up: moved.uploaded,
            credited_down: moved.downloaded,
            token_down: 0,
            token_spent: false,
            snatched: number.is_multiple_of(100),
            swarm: Swarm { seeders: 3, leechers: 1, snatches: 9, balance: 5 },
        }
    }
}
