//! Files that are read again when they change.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files, and how they were when they were looked at.
#[derive(Clone, Debug)]
pub struct Watched(Vec<(PathBuf, Option<Mark>)>);

/// How files are that have changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed(Vec<Option<Mark>>);

/// What a file is changed by: another one, another size, another time. Links are followed.
type Mark = (u64, u64, Option<SystemTime>);

impl Watched {
    /// These files as they are now. To be called before they are read: what changes meanwhile is read again.
    pub fn now<'p>(paths: impl Iterator<Item = &'p PathBuf>) -> Self {
        Self(paths.map(|path| (path.clone(), mark(path))).collect())
    }

    /// How the files are now, where one is another one than it was.
    pub fn changed(&self) -> Option<Changed> {
        let marks: Vec<_> = self.0.iter().map(|(path, _)| mark(path)).collect();
        let is_same = self.0.iter().zip(&marks).all(|((_, before), now)| before == now);
        (!is_same).then_some(Changed(marks))
    }
}

/// None of a file that is not there, or may not be looked at.
fn mark(path: &Path) -> Option<Mark> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.modified().ok()))
}
