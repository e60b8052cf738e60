//! The names of snapshot files, which are good, and which have to go.
//!
//! `snapshot-<unix time>-<count>.margay`, so that names sort by age. The time in a name never goes
//! back, even when the clock does: it is only for order, the true one is in the header.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use shard::Seconds;

use crate::data_dir::UNFINISHED;

/// How many snapshots stay when a new one is finished, unless told otherwise.
pub const KEPT: usize = 3;
/// Fewer are never kept: when the newest is damaged, there is one before it.
pub(super) const KEPT_MIN: usize = 2;
/// Damaged files that stay for a look at them, beside those that one start finds.
const DAMAGED_KEPT: usize = 2;

/// What one step of a removal gives back: less than a millisecond of work.
const REMOVE_BYTES: u64 = 4 << 20;

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".margay";
const DAMAGED: &str = ".damaged";

/// Which snapshot: greater is newer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name {
    time: u64,
    count: u32,
}

/// The snapshot files of a directory, newest first.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) whole: Vec<Name>,
    damaged: Vec<Name>,
}

impl Files {
    /// Looks at the names in a directory.
    pub(super) fn list(dir: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(name) = Name::parse(name) {
                files.whole.push(name);
            } else if let Some(name) = name.strip_suffix(DAMAGED).and_then(Name::parse) {
                files.damaged.push(name);
            }
        }
        files.whole.sort_by(|a, b| b.cmp(a));
        files.damaged.sort_by(|a, b| b.cmp(a));
        Ok(files)
    }

    /// A name newer than all that were used.
    pub(super) fn next(&self, now: Seconds) -> Name {
        let newest = self.whole.first().max(self.damaged.first());
        match newest {
            Some(newest) if newest.time >= u64::from(now.0) => {
                Name { time: newest.time, count: newest.count.saturating_add(1) }
            }
            _ => Name { time: now.0.into(), count: 0 },
        }
    }

    /// Removes all whole files but the newest `kept`. What cannot be removed is logged and left.
    pub(super) fn prune(&self, dir: &Path, kept: usize) {
        for name in self.whole.iter().skip(kept.max(KEPT_MIN)) {
            // First it stops being a snapshot: what is shortened below must never be taken for one.
            let part = name.part_path(dir);
            match fs::rename(name.path(dir), &part) {
                Ok(()) => remove(&part),
                Err(error) => say_it_stays(&name.path(dir), &error),
            }
        }
    }
}

impl Name {
    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    /// Where the file is while it is written.
    pub(super) fn part_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.{UNFINISHED}"))
    }

    /// Puts a damaged file aside, where it does not count as a snapshot any more. Those in `now` were put aside
    /// by the same start and stay, as the log has just said where they are; of the others, some newest.
    pub(super) fn put_aside(self, dir: &Path, now: &[Self]) -> io::Result<PathBuf> {
        let aside = dir.join(format!("{self}{DAMAGED}"));
        fs::rename(self.path(dir), &aside)?;
        let damaged = Files::list(dir)?.damaged.into_iter();
        let others = damaged.filter(|name| *name != self && !now.contains(name));
        for name in others.skip(DAMAGED_KEPT.saturating_sub(1 + now.len())) {
            remove(&dir.join(format!("{name}{DAMAGED}")));
        }
        Ok(aside)
    }

    fn parse(name: &str) -> Option<Self> {
        let (time, count) = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-')?;
        let name_again = Self { time: time.parse().ok()?, count: count.parse().ok()? };
        // Only what this program would write itself: `+1` and `01` are somebody else's.
        (name_again.to_string() == name).then_some(name_again)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:010}-{:04}{SUFFIX}", self.time, self.count)
    }
}

/// Removes a file from its end on, in steps. Giving back all of a large one in a single system call can
/// take milliseconds, in which a core on the same CPU would not run.
fn remove(path: &Path) {
    let shorten = || {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        let mut bytes = file.metadata()?.len();
        while bytes > 0 {
            bytes = bytes.saturating_sub(REMOVE_BYTES);
            file.set_len(bytes)?;
        }
        fs::remove_file(path)
    };
    if let Err(error) = shorten() {
        say_it_stays(path, &error);
    }
}

fn say_it_stays(path: &Path, error: &io::Error) {
    tracing::warn!(path = %path.display(), %error, "cannot remove an old snapshot");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (time, count) in [(0, 0), (1_800_000_000, 7), (99_999_999_999, 123_456)] {
            let name = Name { time, count };
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        for other in [
            "snapshot-1-1.margay",
            "snapshot-+000000001-0001.margay",
            "snapshot-1800000000-0001.margay.part",
            "snapshot-1800000000-0001.margay.damaged",
            "snapshot-1800000000.margay",
            "snapshot-99999999999999999999-0000.margay",
            "snapshot-.margay",
            "lock",
            "",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_next_name_is_the_newest_whatever_the_clock_says() {
        let name = |time, count| Name { time, count };
        let files = Files { whole: vec![name(50, 3), name(40, 0)], damaged: vec![name(50, 4)] };
        assert_eq!(files.next(Seconds(60)), name(60, 0));
        assert_eq!(files.next(Seconds(50)), name(50, 5));
        assert_eq!(files.next(Seconds(10)), name(50, 5));
        assert_eq!(Files::default().next(Seconds(10)), name(10, 0));
    }

    #[test]
    fn names_sort_as_text_too() {
        let mut names: Vec<_> = [(1_799_999_999, 10), (1_800_000_000, 2), (1_800_000_000, 0)]
            .map(|(time, count)| Name { time, count })
            .to_vec();
        let mut texts: Vec<_> = names.iter().map(Name::to_string).collect();
        names.sort();
        texts.sort();
        assert_eq!(names.iter().map(Name::to_string).collect::<Vec<_>>(), texts);
    }

    #[test]
    fn two_damaged_files_are_kept() {
        let scratch = Scratch::new();
        for count in 0..5 {
            let name = Name { time: 9, count };
            fs::write(name.path(scratch.path()), "x").unwrap();
            name.put_aside(scratch.path(), &[]).unwrap();
        }
        let files = Files::list(scratch.path()).unwrap();
        assert!(files.whole.is_empty());
        assert_eq!(files.damaged.iter().map(|name| name.count).collect::<Vec<_>>(), [4, 3]);
    }

    #[test]
    fn all_that_one_start_puts_aside_stay() {
        let scratch = Scratch::new();
        let mut now = Vec::new();
        for count in (0..4).rev() {
            let name = Name { time: 9, count };
            fs::write(name.path(scratch.path()), "x").unwrap();
            // The first one was there before.
            name.put_aside(scratch.path(), &now).unwrap();
            now.extend((count < 3).then_some(name));
        }
        let files = Files::list(scratch.path()).unwrap();
        assert_eq!(files.damaged.iter().map(|name| name.count).collect::<Vec<_>>(), [2, 1, 0]);
    }

    #[test]
    fn two_whole_files_stay_even_when_fewer_are_asked_for() {
        let scratch = Scratch::new();
        for count in 0..5 {
            fs::write(Name { time: 9, count }.path(scratch.path()), "x").unwrap();
        }
        Files::list(scratch.path()).unwrap().prune(scratch.path(), 0);
        let files = Files::list(scratch.path()).unwrap();
        assert_eq!(files.whole.iter().map(|name| name.count).collect::<Vec<_>>(), [4, 3]);
    }
}
