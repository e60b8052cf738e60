//! The names of segments: `journal-<sequence number of the first record>.margay`, so that names sort
//! by age, and a segment ends where the next one begins.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::data_dir::UNFINISHED;

/// The folder of the segments, inside the data directory.
pub(super) const FOLDER: &str = "journal";

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".margay";

/// Which segment, by the sequence number of its first record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Name(pub(super) u64);

impl Name {
    /// The segments in a folder, oldest first.
    pub(super) fn list(dir: &Path) -> io::Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.extend(entry?.file_name().to_str().and_then(Self::parse));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The segment a path names.
    pub(super) fn of(path: &Path) -> Option<Self> {
        Self::parse(path.file_name()?.to_str()?)
    }

    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    /// Where the segment is until its header is on the disk.
    pub(super) fn part_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{self}.{UNFINISHED}"))
    }

    fn parse(name: &str) -> Option<Self> {
        let first = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let name_again = Self(first.parse().ok()?);
        // Only what this program would write itself.
        (name_again.to_string() == name).then_some(name_again)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:020}{SUFFIX}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written_and_sort_by_age() {
        let mut texts = Vec::new();
        for first in [0, 1, 9, 10, 4_000_000_000, u64::MAX] {
            texts.push(Name(first).to_string());
            assert_eq!(Name::parse(&texts[texts.len() - 1]), Some(Name(first)));
        }
        assert!(texts.is_sorted());
        for other in [
            "journal-1.margay",
            "journal-+0000000000000000001.margay",
            "journal-00000000000000000001.margay.part",
            "journal-99999999999999999999.margay",
            "journal-.margay",
            "lock",
            "",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
