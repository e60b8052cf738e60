//! Loading a list of a million infohashes, and asking it.
//!
//! Workload: 1,000,000 random infohashes in a file; then 4,000,000 look-ups in random order, half of
//! them of members. Units: seconds to load, nanoseconds a look-up. Beside it a hash set with std's
//! hasher, one that takes the infohash's own bytes as its hash, and a plain binary search. A look-up
//! over 100 ns would be worth another structure.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::{BuildHasherDefault, Hasher};
use std::hint::black_box;
use std::time::Instant;

use ops::lists::{Standings, TorrentLists, Verdict};
use shard::{InfoHash, Seconds};

fn main() {
    let mut random = fastrand::Rng::with_seed(1);
    let mut draw = || {
        let mut bytes = [0; 20];
        random.fill(&mut bytes);
        InfoHash(bytes)
    };
    let members: Vec<InfoHash> = (0..ENTRIES).map(|_| draw()).collect();
    let asked: Vec<InfoHash> = (0..ASKED)
        .map(|at| if at % 2 == 0 { members[at * 7919 % ENTRIES] } else { draw() })
        .collect();
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut text = String::new();
    members.iter().for_each(|member| writeln!(text, "{member}").expect("memory is enough"));
    std::fs::write(file.path(), text).expect("room for the list");

    let start = Instant::now();
    let lists = TorrentLists::load(Some(file.path()), None).expect("a good list");
    let seconds = start.elapsed().as_secs_f64();
    println!("load: {seconds:.3} s");

    let said = Standings::default();
    let verdict = |info_hash| lists.verdict(&said, info_hash, || Seconds(0));
    ask("the list", &asked, |info_hash| verdict(info_hash) == Verdict::Served);
    let set: HashSet<InfoHash> = members.iter().copied().collect();
    ask("hash set, std's hasher", &asked, |info_hash| set.contains(info_hash));
    let set: HashSet<InfoHash, BuildHasherDefault<OwnBytes>> = members.iter().copied().collect();
    ask("hash set, its own bytes", &asked, |info_hash| set.contains(info_hash));
    let mut sorted = members;
    sorted.sort_unstable();
    ask("binary search", &asked, |info_hash| sorted.binary_search(info_hash).is_ok());
}

/// Asks for all of `asked`; every second one must be there.
fn ask(name: &str, asked: &[InfoHash], contains: impl Fn(&InfoHash) -> bool) {
    let start = Instant::now();
    let found = asked.iter().filter(|info_hash| contains(black_box(info_hash))).count();
    let nanos = start.elapsed().as_nanos() as f64 / asked.len() as f64;
    assert_eq!(found, ASKED / 2, "{name}");
    println!("{name}: {nanos:.0} ns a look-up");
}

/// The best a hash set can do: infohashes are hashes already.
#[derive(Default)]
struct OwnBytes(u64);

impl Hasher for OwnBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some((first, _)) = bytes.split_first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

const ENTRIES: usize = 1_000_000;
const ASKED: usize = 4_000_000;
