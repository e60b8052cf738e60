//! What a name of the folder is at this moment.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::torrent::{Content, Found, Identity, WalkError};

/// What is there under a top-level name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Look {
    /// Nothing.
    Absent,
    /// A regular file.
    File(Identity),
    /// A directory, with all files below it.
    Directory {
        /// The device of the directory itself: another one when what was mounted on it is not.
        device: u64,
        /// The files below, in the order of the bytes of their path's components.
        files: Arc<[Entry]>,
        /// A temporary name of an uploading tool below: something is still to come.
        unfinished: Option<PathBuf>,
    },
    /// It cannot be read, or cannot be published: why, and what to do.
    Failed(String),
}

/// A file below a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its path below the directory.
    pub path: PathBuf,
    /// Which file it is.
    pub identity: Identity,
}

impl Look {
    /// There is nothing to publish yet: no file, or only empty ones.
    pub fn is_empty(&self) -> bool {
        match self {
            Look::Absent | Look::Failed(_) => false,
            Look::File(identity) => identity.size == 0,
            Look::Directory { files, .. } => files.iter().all(|file| file.identity.size == 0),
        }
    }

    /// The same files with the same identities; what else differs is no content.
    pub fn same_files(&self, other: &Look) -> bool {
        match (self, other) {
            (Look::File(a), Look::File(b)) => a == b,
            (Look::Directory { files: a, .. }, Look::Directory { files: b, .. }) => a == b,
            _ => false,
        }
    }

    /// The files that were written to in place since: the same inode under the same path is not what it was. Paths are
    /// those below the name; that of a file itself is empty.
    pub fn written_in_place<'a>(&'a self, now: &'a Look) -> impl Iterator<Item = &'a Path> {
        let is_written =
            |a: &Identity, b: &Identity| (a.device, a.inode) == (b.device, b.inode) && a != b;
        let (one, many) = match (self, now) {
            (Look::File(a), Look::File(b)) => (is_written(a, b).then_some(Path::new("")), None),
            (Look::Directory { files: a, .. }, Look::Directory { files: b, .. }) => {
                (None, Some((a, b)))
            }
            _ => (None, None),
        };
        let below = many.into_iter().flat_map(move |(a, b)| {
            b.iter().filter(move |file| {
                a.binary_search_by(|old| old.path.cmp(&file.path))
                    .is_ok_and(|at| is_written(&a[at].identity, &file.identity))
            })
        });
        one.into_iter().chain(below.map(|file| file.path.as_path()))
    }

    /// The identities of all files.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        let (one, many) = match self {
            Look::Absent | Look::Failed(_) => (None, &[][..]),
            Look::File(identity) => (Some(identity), &[][..]),
            Look::Directory { files, .. } => (None, &files[..]),
        };
        one.into_iter().chain(many.iter().map(|file| &file.identity))
    }

    /// The same look with the files of device `from` on device `to`: numbers of devices change over a restart.
    pub(super) fn moved(self, from: u64, to: u64) -> Look {
        let device_of = |device| if device == from { to } else { device };
        let moved =
            |identity: Identity| Identity { device: device_of(identity.device), ..identity };
        match self {
            Look::File(identity) => Look::File(moved(identity)),
            Look::Directory { device, files, unfinished } => Look::Directory {
                device: device_of(device),
                files: files
                    .iter()
                    .map(|file| Entry { path: file.path.clone(), identity: moved(file.identity) })
                    .collect(),
                unfinished,
            },
            other => other,
        }
    }
}

/// Looks at `path`: one lstat(2) of a file; of a directory each one below is read and each file below is looked at, as
/// [`Content::walk`] has it, so that what has settled is what is hashed.
///
/// Nothing is opened but directories, and no symbolic link is followed.
pub fn look(path: &Path) -> Look {
    let device = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.dev(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Look::Absent,
        Err(error) => return Look::Failed(format!("cannot look at it: {error}")),
    };
    let directory =
        |files: Vec<Entry>, unfinished| Look::Directory { device, files: files.into(), unfinished };
    match Content::walk(path) {
        Ok(content) if content.is_single => Look::File(content.files[0].identity),
        Ok(content) => {
            let entry = |file: Found| Entry { path: file.path, identity: file.identity };
            directory(content.files.into_iter().map(entry).collect(), None)
        }
        Err(WalkError::NothingYet { .. }) => match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Look::File(Identity::of(&metadata)),
            Ok(_) => directory(Vec::new(), None),
            Err(_) => Look::Absent,
        },
        Err(WalkError::Uploading { path: unfinished }) => {
            let below = unfinished.strip_prefix(path).unwrap_or(&unfinished).to_owned();
            directory(Vec::new(), Some(below))
        }
        // What vanished while it was read makes the next look another one.
        Err(WalkError::Gone { path: gone }) if gone != path => directory(Vec::new(), Some(gone)),
        Err(WalkError::Gone { .. }) => Look::Absent,
        Err(error) => Look::Failed(crate::chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_its_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        fs::create_dir_all(path.join("b/c")).unwrap();
        assert!(look(&path).is_empty());
        for file in ["b/c/1", "b.txt", "a"] {
            fs::write(path.join(file), file).unwrap();
        }
        let Look::Directory { files, unfinished: None, .. } = look(&path) else { panic!() };
        let paths: Vec<_> = files.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["a", "b/c/1", "b.txt"]);

        fs::write(path.join("b/.x.iso.AbCd12"), "").unwrap();
        let Look::Directory { unfinished, .. } = look(&path) else { panic!() };
        assert_eq!(unfinished.unwrap(), Path::new("b/.x.iso.AbCd12"));
    }

    #[test]
    fn what_cannot_be_published_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("l");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let Look::Failed(reason) = look(&link) else { panic!() };
        assert!(reason.contains("symbolic link"), "{reason}");
        assert_eq!(look(&folder.path().join("none")), Look::Absent);
    }
}
