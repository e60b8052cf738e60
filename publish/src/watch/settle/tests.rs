use std::collections::BTreeMap;

use super::super::look::Entry;
use super::*;

const SETTLE: Duration = Duration::from_secs(10);
const LONGER: Duration = Duration::from_secs(50);

/// A folder without files, a careless inotify, and an owner that publishes what it is told.
struct World {
    random: fastrand::Rng,
    now: Duration,
    settle: Settle,
    files: BTreeMap<&'static str, File>,
    /// Written and removed apart from the files: they may come first.
    markers: BTreeMap<&'static str, Identity>,
    /// What the owner has published, and when.
    published: BTreeMap<&'static str, Look>,
    told: BTreeMap<&'static str, State>,
    inodes: u64,
    loss: f64,
}

#[derive(Clone)]
struct File {
    look: Look,
    changed: Duration,
}

impl World {
    fn new(rules: Rules, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let loss = [0.0, 0.3, 1.0][random.usize(..3)];
        World {
            random,
            now: Duration::ZERO,
            settle: Settle::new(rules),
            files: BTreeMap::new(),
            markers: BTreeMap::new(),
            published: BTreeMap::new(),
            told: BTreeMap::new(),
            inodes: 0,
            loss,
        }
    }

    fn identity(&mut self, inode: Option<u64>, size: u64) -> Identity {
        self.inodes += 1;
        Identity {
            device: 1,
            inode: inode.unwrap_or(self.inodes),
            size,
            // From the past and the future.
            modified: i128::from(self.random.i64(..)),
            changed: self.now.as_nanos() as i128,
        }
    }

    /// Something happens to `name`.
    fn change(&mut self, name: &'static str) {
        self.now += Duration::from_millis(1);
        let old = self.files.get(name).map(|file| file.look.clone());
        let (look, touch) = match (self.random.u8(..12), old) {
            (0, Some(_)) => (None, Touch::Removed),
            (1, _) => {
                self.marker(name);
                return;
            }
            (2..=5, Some(Look::File(old))) => {
                let size = self.random.u64(..3) * 100;
                (Some(Look::File(self.identity(Some(old.inode), size))), Touch::Written)
            }
            (2..=7, Some(Look::Directory { files, .. })) => {
                let mut files = files.to_vec();
                let path = PathBuf::from(["a", "b", "c"][self.random.usize(..3)]);
                let inode =
                    files.iter().find(|file| file.path == path).map(|file| file.identity.inode);
                let inode = if self.random.bool() { inode } else { None };
                files.retain(|file| file.path != path);
                files.push(Entry { path, identity: self.identity(inode, 5) });
                files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
                let unfinished = self.random.bool().then(|| PathBuf::from("x.part"));
                (
                    Some(Look::Directory { device: 1, files: files.into(), unfinished }),
                    Touch::Written,
                )
            }
            (10, Some(_)) => (Some(Look::Failed("EIO".to_owned())), Touch::Written),
            (11, None) => (
                Some(Look::Directory { device: 1, files: [].into(), unfinished: None }),
                Touch::Written,
            ),
            (_, None) => (Some(Look::File(self.identity(None, 0))), Touch::Written),
            _ => (Some(Look::File(self.identity(None, 100))), Touch::Renamed),
        };
        match look {
            Some(look) => _ = self.files.insert(name, File { look, changed: self.now }),
            None => _ = self.files.remove(name),
        }
        if self.random.f64() >= self.loss {
            self.settle.touched(OsStr::new(name), touch, self.now);
        }
    }

    fn marker(&mut self, name: &'static str) {
        if self.random.bool() {
            let marker = self.identity(None, 0);
            self.markers.insert(name, marker);
        } else {
            self.markers.remove(name);
        }
        if self.random.f64() >= self.loss {
            self.settle.touched(OsStr::new(&format!("{name}.done")), Touch::Written, self.now);
        }
    }

    /// Time passes without changes, with looks when they are due and a rescan each minute.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let step = Duration::from_millis(self.random.u64(1..1500));
            let before = self.now;
            self.now = (self.now + step).min(end);
            if before.as_secs() / 60 != self.now.as_secs() / 60 {
                for name in self.files.keys() {
                    self.settle.listed(OsStr::new(name), self.now);
                }
                self.settle.look_at_all(self.now);
            }
            for name in self.settle.due(self.now, 100) {
                let known = NAMES.into_iter().find(|known| name == **known).unwrap();
                let look = self.files.get(known).map_or(Look::Absent, |file| file.look.clone());
                let marker = self
                    .settle
                    .asks_marker(&name)
                    .then(|| self.markers.get(known).copied())
                    .flatten();
                self.settle.looked(&name, look, marker, None, self.now, Duration::ZERO);
            }
            let told: Vec<_> = self.settle.tell().collect();
            for (name, state) in told {
                let known = NAMES.into_iter().find(|known| name == **known).unwrap();
                self.hear(known, state);
            }
        }
    }

    /// What is told is held against what is.
    fn hear(&mut self, name: &'static str, state: State) {
        let is = self.files.get(name);
        match &state {
            State::Settled(look) => {
                let is = is.unwrap_or_else(|| panic!("{name} settled and is not there"));
                assert_eq!(&is.look, look);
                if !self.published.get(name).is_some_and(|published| published.same_files(look)) {
                    assert!(is.changed + SETTLE <= self.now, "{name} settled and has changed");
                    assert_eq!(self.expected(name), Some("settled"), "{name}");
                }
                if self.random.bool() {
                    self.published.insert(name, look.clone());
                    self.settle.published(OsStr::new(name), look.clone(), self.now);
                }
            }
            State::Overwritten(_) => assert_eq!(self.expected(name), Some("overwritten"), "{name}"),
            State::Gone => {
                assert!(is.is_none());
                self.published.remove(name);
            }
            State::Changed(_) => {
                let told = match self.told.get(name) {
                    Some(State::Settled(look) | State::Overwritten(look)) => Some(look),
                    _ => None,
                };
                let is = &is.unwrap().look;
                let differs = |look: &Look| !look.same_files(is);
                assert!(
                    told.is_some_and(differs) || self.published.get(name).is_some_and(differs),
                    "{name}"
                );
            }
            State::Uploading(_) | State::Settling { .. } | State::Failed(_) => {}
        }
        self.told.insert(name, state);
    }

    /// What it has come to when nothing changes any more: the rules once more, without looks and touches.
    fn expected(&self, name: &str) -> Option<&'static str> {
        let file = self.files.get(name)?;
        let rules = self.settle.rules();
        let published = self.published.get(name);
        if published.is_some_and(|published| published.same_files(&file.look)) {
            return Some("settled");
        }
        let marked = self
            .markers
            .get(name)
            .is_some_and(|marker| marker.changed >= file.changed.as_nanos() as i128);
        let files = |look: &Look| -> Vec<(PathBuf, Identity)> {
            match look {
                Look::File(identity) => vec![(PathBuf::new(), *identity)],
                Look::Directory { files, .. } => {
                    files.iter().map(|file| (file.path.clone(), file.identity)).collect()
                }
                _ => Vec::new(),
            }
        };
        let now = files(&file.look);
        let overwritten = published.is_some_and(|published| {
            files(published).iter().any(|(path, old)| {
                now.iter().any(|(other, new)| path == other && old.inode == new.inode && old != new)
            })
        });
        Some(match &file.look {
            Look::Failed(_) => "failed",
            Look::Directory { unfinished: Some(_), .. } => "unfinished",
            _ if now.iter().all(|(_, identity)| identity.size == 0) => "empty",
            _ if rules.overwrite == Overwrite::Rename && overwritten && !marked => "overwritten",
            _ if rules.overwrite == Overwrite::Marker && published.is_some() && !marked => {
                "overwritten"
            }
            _ if rules.done_marker && !marked => "marker",
            _ => "settled",
        })
    }
}

const NAMES: [&str; 3] = ["a", "b", "c.iso"];

#[test]
fn what_settles_is_what_the_rules_say_of_what_is_there() {
    for seed in 0..1_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let rules = Rules {
            settle: SETTLE,
            overwrite: [Overwrite::Rename, Overwrite::Marker, Overwrite::SettleLonger]
                [random.usize(..3)],
            overwrite_settle: LONGER,
            done_marker: random.u8(..4) == 0,
            ..Rules::default()
        };
        eprintln!("seed {seed}: {rules:?}");
        let mut world = World::new(rules, seed);
        for _ in 0..random.usize(1..60) {
            world.change(NAMES[random.usize(..3)]);
            let time = [0, 3, 30, 90, 300][random.usize(..5)];
            world.pass(Duration::from_secs(time));
        }
        world.pass(Duration::from_secs(600));

        for name in NAMES {
            // It was held against the rules when it was told; a marker that goes after that changes nothing.
            if let (Some(State::Settled(look)), Some(file)) =
                (world.told.get(name), world.files.get(name))
            {
                assert_eq!(look, &file.look, "{name}");
                continue;
            }
            let told = world.told.get(name).map(|state| match state {
                State::Uploading(Waits::Empty) => "empty",
                State::Uploading(Waits::Unfinished(_)) => "unfinished",
                State::Uploading(Waits::Marker) => "marker",
                State::Uploading(_) | State::Settling { .. } => "on its way",
                State::Settled(_) => "settled before",
                State::Overwritten(_) => "overwritten",
                State::Changed(_) => "changed",
                State::Gone => "gone",
                State::Failed(_) => "failed",
            });
            match world.expected(name) {
                Some(expected) => assert_eq!(told, Some(expected), "{name}"),
                None => assert!(matches!(told, None | Some("gone")), "{name}: {told:?}"),
            }
        }
    }
}

fn file(inode: u64, size: u64, changed: i128) -> Look {
    Look::File(Identity { device: 1, inode, size, modified: changed, changed })
}

/// Looks at "a" each half second from `from` to `to`, and returns what is told.
fn looks(settle: &mut Settle, look: &Look, from: u64, to: u64, writer: Option<u32>) -> Vec<State> {
    let name = OsStr::new("a");
    settle.listed(name, Duration::from_secs(from));
    for half in from * 2..=to * 2 {
        let now = Duration::from_millis(half * 500);
        settle.looked(name, look.clone(), None, writer, now, Duration::ZERO);
    }
    settle.tell().map(|(_, state)| state).collect()
}

#[test]
fn a_writer_keeps_it_from_settling() {
    let mut settle = Settle::new(Rules::default());
    let told = looks(&mut settle, &file(1, 5, 1), 0, 60, Some(7));
    assert_eq!(told.last(), Some(&State::Uploading(Waits::Open(7))));
    let told = looks(&mut settle, &file(1, 5, 1), 60, 61, None);
    assert_eq!(told, [State::Settled(file(1, 5, 1))]);
}

#[test]
fn an_overwritten_name_settles_later_when_the_rules_say_so() {
    let mut settle = Settle::new(Rules { overwrite: Overwrite::SettleLonger, ..Rules::default() });
    settle.published(OsStr::new("a"), file(1, 5, 1), Duration::ZERO);
    let told = looks(&mut settle, &file(1, 5, 2), 0, 599, None);
    assert_eq!(told[0], State::Changed(Change::Content));
    assert!(told[1..].iter().all(|state| matches!(state, State::Settling { .. })), "{told:?}");
    let told = looks(&mut settle, &file(1, 5, 2), 600, 601, None);
    assert_eq!(told, [State::Settled(file(1, 5, 2))]);
}

#[test]
fn only_a_time_of_the_inode_changed() {
    let mut settle = Settle::new(Rules::default());
    let Look::File(old) = file(1, 5, 1) else { unreachable!() };
    settle.published(OsStr::new("a"), Look::File(old), Duration::ZERO);
    let new = Look::File(Identity { changed: 9, ..old });
    let told = looks(&mut settle, &new, 0, 20, None);
    assert_eq!(told.first(), Some(&State::Changed(Change::Inode)));
    assert_eq!(told.last(), Some(&State::Overwritten(new)));
}

#[test]
fn an_empty_directory_on_another_device_is_not_mounted() {
    let mut settle = Settle::new(Rules::default());
    let Look::File(identity) = file(1, 5, 1) else { unreachable!() };
    let files = [Entry { path: "x".into(), identity }];
    let published = Look::Directory { device: 1, files: files.into(), unfinished: None };
    settle.published(OsStr::new("a"), published.clone(), Duration::ZERO);
    let empty = Look::Directory { device: 2, files: [].into(), unfinished: None };
    let told = looks(&mut settle, &empty, 0, 60, None);
    assert!(matches!(&told[..], [State::Failed(_)]), "{told:?}");
    let told = looks(&mut settle, &published, 60, 61, None);
    assert_eq!(told, [State::Settled(published)]);
}
