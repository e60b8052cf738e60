//! A watched folder and the tools that people upload with (docs/publishing-watch.md).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use publish::watch::{
    Change, Event, Folder, How, Look, Options, Overwrite, Rules, State, Waits, Watcher, look,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

mod overwrite;
mod places;
mod plain;
pub(crate) mod tools;

/// A folder that is watched, and what was told of it.
struct Watched {
    /// Holds the folder `in`, which is watched, and `out`, which is not, on the same file system.
    home: TempDir,
    watcher: Option<Watcher>,
    events: mpsc::Receiver<Event>,
    told: Vec<Event>,
}

impl Watched {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Options)) -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(home.path().join("in")).unwrap();
        fs::create_dir(home.path().join("out")).unwrap();
        let mut options = Options::new(home.path().join("in"));
        options.rules = rules();
        options.rescan = Duration::from_secs(5);
        change(&mut options);
        let (watcher, events) = Watcher::start(options).unwrap();
        let mut watched = Watched { home, watcher: Some(watcher), events, told: Vec::new() };
        watched.folder(|folder| matches!(folder, Folder::Watching { .. }));
        watched
    }

    fn watcher(&self) -> &Watcher {
        self.watcher.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("in").join(name)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.home.path().join("out").join(name)
    }

    /// Waits for the next event.
    fn next(&mut self) -> Event {
        let began = Instant::now();
        loop {
            match self.events.try_recv() {
                Ok(event) => {
                    self.told.push(event.clone());
                    return event;
                }
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    panic!("the watcher has ended; told {:#?}", self.told)
                }
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            assert!(began.elapsed() < BOUND, "nothing was told; before it {:#?}", self.told);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `wanted` is told of `name`; it must not be told `never` before.
    fn until(
        &mut self,
        name: &str,
        wanted: impl Fn(&State) -> bool,
        never: impl Fn(&State) -> bool,
    ) -> State {
        loop {
            if let Event::Name { name: of, state } = self.next()
                && of == OsStr::new(name)
            {
                if wanted(&state) {
                    return state;
                }
                assert!(!never(&state), "{name} must not be {state:?}; told {:#?}", self.told);
            }
        }
    }

    fn settled(&mut self, name: &str) -> Look {
        match self.until(name, is_settled, is_overwritten) {
            State::Settled(look) => look,
            _ => unreachable!(),
        }
    }

    fn state(&mut self, name: &str, wanted: impl Fn(&State) -> bool) -> State {
        self.until(name, wanted, is_settled)
    }

    fn folder(&mut self, wanted: impl Fn(&Folder) -> bool) -> Folder {
        loop {
            if let Event::Folder(folder) = self.next()
                && wanted(&folder)
            {
                return folder;
            }
        }
    }

    /// `name` settles with the bytes that are wanted, and is published.
    fn publish(&mut self, name: &str, bytes: &[u8]) -> Look {
        let settled = self.settled(name);
        self.has(name, &settled, bytes);
        self.watcher().published(OsStr::new(name), settled.clone());
        settled
    }

    /// What settled is there, and is `bytes`.
    fn has(&self, name: &str, settled: &Look, bytes: &[u8]) {
        assert!(
            fs::read(self.path(name)).unwrap() == bytes,
            "{name} settled, and is not the whole file"
        );
        assert_eq!(&look(&self.path(name)), settled);
    }

    /// Waits until a file that comes after it has settled: whatever is to be told of what was before has been told.
    /// Returns all that was told of other names meanwhile.
    fn pass(&mut self) -> Vec<Event> {
        let from = self.told.len();
        let name = format!("pass-{from}");
        fs::write(self.path(&name), "x").unwrap();
        fs::write(self.path(&format!("{name}.done")), "").unwrap();
        self.settled(&name);
        let others = self.told[from..].iter();
        others
            .filter(|event| !matches!(event, Event::Name { name: of, .. } if *of == *name))
            .cloned()
            .collect()
    }

    fn never_settled(&self, name: &str) {
        for event in &self.told {
            if let Event::Name { name: of, state } = event {
                assert!(
                    of != OsStr::new(name) || !is_settled(state),
                    "{name} was told to have settled"
                );
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.stop();
        }
    }
}

fn rules() -> Rules {
    Rules {
        settle: Duration::from_secs(1),
        overwrite_settle: Duration::from_secs(3),
        ..Rules::default()
    }
}

fn is_settled(state: &State) -> bool {
    matches!(state, State::Settled(_))
}

fn is_overwritten(state: &State) -> bool {
    matches!(state, State::Overwritten(_))
}

fn is_changed(state: &State) -> bool {
    matches!(state, State::Changed(_))
}

/// Bytes that differ by `seed`.
fn content(seed: u8, size: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 1;
    let next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// How long what must come may take on a busy machine.
const BOUND: Duration = Duration::from_secs(60);
