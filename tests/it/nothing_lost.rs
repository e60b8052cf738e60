//! No statistic is lost, whatever is killed: what users are credited is what their clients reported, by the
//! rules, to the byte.
//!
//! A simulated site has users, torrents and clients ([`client`]); a tracker serves it and is killed at
//! random moments; in the end the tables of PostgreSQL are compared with what a judge says ([`judge`]), who
//! has listened to the clients alone. The tracker is there twice: its engine, journal, snapshots and ledger
//! in one process with a disk that forgets what was not synced ([`one_process`]), and the program itself
//! ([`program`]).
//!
//! What the judge leaves out is what the tracker does not promise: a client that was not answered may say
//! so again, and what a client said less than a sync interval before a kill is credited with its next
//! announce, so it has to make one.
//!
//! `MARGAY_TEST_RUNS=10000` goes through that many runs, `MARGAY_TEST_SEED=7` repeats one.

mod books;
mod client;
mod copied;
mod done;
mod judge;
mod one_process;
pub(crate) mod program;
mod site;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use persist::Database;
use postgres::{Client as Sql, NoTls};

use done::Done;
use one_process::Size;
use program::Server;

/// Runs at a time.
const THREADS: usize = 3;

/// Most runs: little at stake, and much happening to it.
const SMALL: Size = Size { users: 20, torrents: 12, clients: 40, steps: 1500 };

/// One in a hundred.
const LARGE: Size = Size { users: 2000, torrents: 2000, clients: 4000, steps: 20_000 };

#[test]
fn what_is_credited_is_what_was_reported_whatever_is_killed() {
    let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
        eprintln!(
            "SKIPPED: the proof in one process needs PostgreSQL: ops/test.d/postgres run cargo test"
        );
        return;
    };
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("MARGAY_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MARGAY_TEST_RUNS").unwrap_or(500),
    };
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let all = Mutex::new(Done::default());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (url, seeds, next, failed, all) = (&url, &seeds, &next, &failed, &all);
            scope.spawn(move || {
                // One tracker writes a schema: a second one would wait for seconds.
                let schema = format!("nothing_lost_{}_{thread}", std::process::id());
                let mut sql = Sql::connect(url, NoTls).unwrap();
                sql.batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE")).unwrap();
                let database = Database::new(url, None, &schema).unwrap();
                database.migrate().unwrap();
                sql.batch_execute(&format!("SET search_path TO {schema}")).unwrap();
                while let seed = next.fetch_add(1, Relaxed)
                    && seed < seeds.end
                    && !failed.load(Relaxed)
                {
                    // The same when it is repeated alone.
                    let first_id = (seed % 1_000_000) as u32 * 4000;
                    let size = if seed % 100 == 99 { LARGE } else { SMALL };
                    let run = || one_process::run(seed, first_id, size, &database, &mut sql);
                    match catch_unwind(AssertUnwindSafe(run)) {
                        Ok(done) => all.lock().unwrap().add(&done),
                        Err(panic) => {
                            failed.store(true, Relaxed);
                            eprintln!(
                                "replay with: MARGAY_TEST_SEED={seed} ops/test.d/postgres run \
                                 cargo test --test it what_is_credited"
                            );
                            resume_unwind(panic);
                        }
                    }
                }
                sql.batch_execute(&format!("DROP SCHEMA {schema} CASCADE")).unwrap();
            });
        }
    });
    let done = all.into_inner().unwrap();
    println!("{} runs: {done:?}", seeds.end - seeds.start);
    if seeds.end - seeds.start > 1 {
        done.check(&one_process::KINDS);
    }
}

/// Runs of the program at a time, each with a PostgreSQL of its own.
const LANES: usize = 2;

#[test]
fn the_program_loses_nothing_when_it_or_its_database_is_killed_or_its_disk_is_full() {
    if std::env::var("MARGAY_TEST_POSTGRES").is_err() {
        eprintln!(
            "SKIPPED: the proof with the program needs PostgreSQL: ops/test.d/postgres run cargo test"
        );
        return;
    }
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("MARGAY_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MARGAY_TEST_PROGRAM_RUNS").unwrap_or(20),
    };
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let all = Mutex::new(Done::default());
    std::thread::scope(|scope| {
        for lane in 0..LANES {
            let (seeds, next, failed, all) = (seeds.clone(), &next, &failed, &all);
            scope.spawn(move || {
                let mut server = Server::start(&format!("nothing-lost-{lane}"));
                while let seed = next.fetch_add(1, Relaxed)
                    && seed < seeds.end
                    && !failed.load(Relaxed)
                {
                    let began = Instant::now();
                    match catch_unwind(AssertUnwindSafe(|| program::run(seed, &mut server))) {
                        Ok(done) => {
                            println!("run {seed}, {:.1?}: {done:?}", began.elapsed());
                            all.lock().unwrap().add(&done);
                        }
                        Err(panic) => {
                            failed.store(true, Relaxed);
                            eprintln!(
                                "replay with: MARGAY_TEST_SEED={seed} ops/test.d/postgres run \
                                 cargo test --test it the_program"
                            );
                            resume_unwind(panic);
                        }
                    }
                }
            });
        }
    });
    let done = all.into_inner().unwrap();
    println!("{} runs: {done:?}", seeds.end - seeds.start);
    // The kinds of run take turns.
    if seeds.end - seeds.start >= 4 {
        done.check(&program::KINDS);
    }
}
