//! Runs one of the hot paths so that its instructions can be counted: `ops/test.d/instructions` runs this
//! under callgrind, which counts nothing but what [`counted`] calls, and compares with what is kept.
//!
//! `margay-instructions PATH [WALKS]` prepares what the path needs (500,000 peers, a journal, …), walks it
//! several times, and prints how many operations that were; without a path, it prints their names.
//! All that is asked is seeded, so each run does the same. What cannot be seeded (the keys of hash maps,
//! the wall clock) is evened out over thousands of operations.

#![allow(clippy::unwrap_used)] // A measurement ends at the first mistake.

mod crowd;
mod encode;
mod journal;
mod ledger;
mod open;
mod private;
mod tracker;

use std::process::ExitCode;

/// Prepares a path.
type Prepare = fn() -> Box<dyn Walk>;

/// A path that is ready.
trait Walk {
    /// Does some thousand operations inside of [`counted`]; how many.
    fn walk(&mut self) -> usize;
}

/// The paths, in the order of a request's life.
const PATHS: [(&str, Prepare); 9] = [
    ("udp-announce", open::udp_announce),
    ("http-announce", open::http_announce),
    ("private-announce", private::announce),
    ("encode-udp", encode::udp),
    ("encode-http", encode::http),
    ("encode-private", encode::private),
    ("encode-record", journal::encode),
    ("journal-append", journal::append),
    ("ledger-batch", ledger::batch),
];

/// How often a path is walked when nothing is said. Each walk asks something else.
const WALKS: usize = 3;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(asked) = arguments.next() else {
        PATHS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let walks = arguments.next().map_or(WALKS, |walks| walks.parse().unwrap());
    let Some((_, prepare)) = PATHS.iter().find(|(name, _)| *name == asked) else {
        eprintln!("there is no path {asked}; without an argument their names are printed");
        return ExitCode::FAILURE;
    };
    let mut path = prepare();
    let operations: usize = (0..walks).map(|_| path.walk()).sum();
    println!("operations {operations}");
    ExitCode::SUCCESS
}

/// Does `work`. Callgrind counts while this is running (`--toggle-collect`).
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}
