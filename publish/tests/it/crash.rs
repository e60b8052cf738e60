//! Master and Seeders are killed at any moment of publishing and withdrawing, and what they say comes true all the same.
//!
//! `MARGAY_TEST_KILLS` says how often, `MARGAY_TEST_SEED` which moments.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use publish::torrent::Metainfo;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::site::{Site, bytes, tree};

#[test]
fn killed_at_any_moment_all_of_it_comes_true() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
    let kills = number("MARGAY_TEST_KILLS").unwrap_or(12);
    let seed = number("MARGAY_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("again with: MARGAY_TEST_KILLS={kills} MARGAY_TEST_SEED={seed}");
    let mut story = Story::begin(seed);
    for kill in 1..=kills {
        story.kill();
        // Some are killed again before they have come to rest.
        if kill % 3 == 0 || kill == kills {
            story.site.settles();
            story.is_sound();
        }
    }
    println!("found at kills: {:?}", story.steps);
}

struct Story {
    site: Site,
    random: fastrand::Rng,
    /// Each content that a name ever had, by its SHA-1: no torrent is of anything else.
    versions: HashMap<String, HashSet<Vec<u8>>>,
    count: u64,
    generation: u64,
    steps: BTreeMap<String, u32>,
}

/// What nobody touches.
const STAY: [&str; 3] = ["stay a", "stay b", "stay c"];

/// What is changed and removed.
const NAMES: [&str; 6] = ["1", "2", "3.bin", "4 ü", "5", "6"];

impl Story {
    fn begin(seed: u64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let host = std::net::Ipv4Addr::LOCALHOST.into();
        let mut site = Site::of(home, host, 2, &[]);
        // What goes here goes in no order and is meant.
        for seeder in &mut site.seeders {
            seeder.stop();
            seeder.with(&["--removal-share", "100%"]);
            seeder.start_again();
        }
        let random = fastrand::Rng::with_seed(seed);
        let mut story = Story {
            site,
            random,
            versions: HashMap::new(),
            count: 0,
            generation: 0,
            steps: BTreeMap::new(),
        };
        STAY.iter().chain(&NAMES[..3]).for_each(|name| story.put(name));
        story.site.settles();
        story
    }

    /// Files change, somebody is killed, the world is sound, and he comes back.
    fn kill(&mut self) {
        (0..self.random.usize(1..4)).for_each(|_| self.change());
        self.wait();
        let who = self.random.u8(1..8);
        let programs = [&mut self.site.master].into_iter().chain(&mut self.site.seeders);
        let killed: Vec<_> =
            programs.enumerate().filter(|(at, _)| who & (1 << at) != 0).map(|(_, it)| it).collect();
        for program in killed {
            program.kill();
        }
        self.is_sound();
        self.count_steps();
        if self.random.bool() {
            // While they are away.
            self.change();
        }
        let programs = [&mut self.site.master].into_iter().chain(&mut self.site.seeders);
        for (at, program) in programs.enumerate() {
            if who & (1 << at) != 0 {
                program.start_again();
            }
        }
        let programs = [&mut self.site.master].into_iter().chain(&mut self.site.seeders);
        programs.for_each(|program| program.is_ready());
    }

    /// For any time, or for somebody to have said something: then he is at it.
    fn wait(&mut self) {
        if self.random.u8(..3) == 0 {
            return std::thread::sleep(Duration::from_millis(self.random.u64(0..1_500)));
        }
        let whose = self.random.usize(..3);
        let lines = || {
            let all = [&self.site.master].into_iter().chain(&self.site.seeders);
            all.skip(whose).map(|program| program.log().matches('\n').count()).next().unwrap()
        };
        let wanted = lines() + self.random.usize(1..6);
        // There may be nothing left to say.
        let began = Instant::now();
        while lines() < wanted && began.elapsed() < Duration::from_secs(3) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(self.random.u64(0..20_000)));
    }

    fn change(&mut self) {
        let name = NAMES[self.random.usize(..NAMES.len())];
        let path = self.site.watched(name);
        match (path.exists(), self.random.u8(..4)) {
            (false, _) | (true, 0) => self.put(name),
            (true, 1 | 2) => fs::remove_file(path).unwrap(),
            (true, _) => {
                let file = fs::File::options().append(true).open(path).unwrap();
                let ago = Duration::from_millis(self.random.u64(1..100_000));
                file.set_modified(SystemTime::now() - ago).unwrap();
            }
        }
    }

    /// A name has another content.
    fn put(&mut self, name: &str) {
        self.count += 1;
        // One piece.
        let size = self.random.usize(1..200_000);
        let content = bytes(self.count, size);
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &content).as_ref().to_vec();
        self.versions.entry(name.to_owned()).or_default().insert(hash);
        self.site.put(name, &content);
    }

    /// Whatever runs or not: lists only get newer, no torrent is of half a file, and what nobody touches is there.
    fn is_sound(&mut self) {
        let list = self.site.list().unwrap();
        assert!(
            list.generation >= self.generation,
            "{} after {}",
            list.generation,
            self.generation
        );
        self.generation = list.generation;
        let home = self.site.home.path();
        for (name, torrent) in tree(&home.join("docroot/torrents")) {
            self.is_whole(&name, torrent);
        }
        for item in &list.items {
            let torrent = format!("docroot/torrents/{}.torrent", item.info_hash);
            let torrent = fs::read(home.join(&torrent));
            self.is_whole(&item.name, torrent.expect("what the list tells of is there"));
        }
        for name in STAY {
            let info_hash = self.site.published(name);
            let info_hash = info_hash.unwrap_or_else(|| panic!("{name} is withdrawn"));
            for seeder in 0..self.site.seeders.len() {
                let held = fs::read(self.site.content(seeder, &info_hash).join(name));
                let is_same =
                    held.is_ok_and(|held| held == fs::read(self.site.watched(name)).unwrap());
                assert!(is_same, "a Seeder has {name} no more");
            }
        }
        for seeder in &self.site.seeders {
            self.is_kept(&seeder.data(home));
        }
    }

    /// What a Seeder says that it has completely, it has completely.
    fn is_kept(&self, data: &Path) {
        for (name, text) in tree(&data.join("items")) {
            let Some(info_hash) = name.strip_suffix(".json") else { continue };
            let item: serde_json::Value = serde_json::from_slice(&text).unwrap();
            if item["state"]["complete"].is_array() {
                let held = item["name"].as_str().unwrap();
                // One that goes by now was there.
                if let Ok(content) = fs::read(data.join("content").join(info_hash).join(held)) {
                    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &content).as_ref().to_vec();
                    assert!(self.versions[held].contains(&hash), "a Seeder has half of {held}");
                }
            }
        }
    }

    fn is_whole(&self, what: &str, torrent: Vec<u8>) {
        let metainfo = Metainfo::parse(Bytes::from(torrent)).unwrap();
        let is_whole = self.versions[&metainfo.name].contains(&metainfo.pieces.to_vec());
        assert!(is_whole, "{what} is of a content that {} never had", metainfo.name);
    }

    /// In which steps items are found.
    fn count_steps(&mut self) {
        for name in ["master", "seeder-1", "seeder-2"] {
            for (file, text) in tree(&self.site.home.path().join(name).join("items")) {
                if file.ends_with(".json") {
                    let item: serde_json::Value = serde_json::from_slice(&text).unwrap();
                    let step =
                        item["step"].as_str().or(item["state"].as_str()).unwrap_or("complete");
                    *self.steps.entry(step.to_owned()).or_default() += 1;
                }
            }
        }
    }
}
