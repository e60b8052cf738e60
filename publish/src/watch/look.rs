//! What a name of the folder is at this moment.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::is_unfinished;
use crate::torrent::Identity;

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

/// Looks at `path`: one lstat(2) of a file; of a directory each one below is read and each file below is looked at.
///
/// Nothing is opened but directories, and no symbolic link is followed.
pub fn look(path: &Path) -> Look {
    match read(path) {
        Ok(look) => look,
        Err(error) if error.kind() == ErrorKind::NotFound => Look::Absent,
        Err(error) => Look::Failed(format!("cannot look at it: {error}")),
    }
}

fn read(path: &Path) -> io::Result<Look> {
    let metadata = fs::symlink_metadata(path)?;
    if path.file_name().is_none_or(|name| name.to_str().is_none()) {
        return Ok(Look::Failed("its name is not UTF-8: rename it".to_owned()));
    }
    if metadata.is_file() {
        return Ok(Look::File(Identity::of(&metadata)));
    }
    if !metadata.is_dir() {
        return Ok(Look::Failed(format!(
            "it is a {}: only files and directories are published",
            kind(metadata.file_type())
        )));
    }

    use std::os::unix::fs::MetadataExt;
    let mut files = Vec::new();
    let mut unfinished = None;
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let entries = match fs::read_dir(path.join(&directory)) {
            Ok(entries) => entries,
            // What vanishes while it is read makes the next look another one.
            Err(error)
                if error.kind() == ErrorKind::NotFound && !directory.as_os_str().is_empty() =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let below = directory.join(&name);
            if is_unfinished(&name) {
                unfinished.get_or_insert(below);
                continue;
            }
            if name == "lost+found" {
                continue;
            }
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if name.to_str().is_none() {
                return Ok(Look::Failed(format!(
                    "{} below is not UTF-8: rename it",
                    below.display()
                )));
            }
            if metadata.is_dir() {
                directories.push(below);
            } else if metadata.is_file() {
                files.push(Entry { path: below, identity: Identity::of(&metadata) });
            } else {
                let kind = kind(metadata.file_type());
                return Ok(Look::Failed(format!(
                    "{} below is a {kind}: take it out",
                    below.display()
                )));
            }
            if files.len() + directories.len() > FILES_MAX {
                return Ok(Look::Failed(format!(
                    "there are more than {FILES_MAX} files below: split it, or pack it"
                )));
            }
        }
    }
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(Look::Directory { device: metadata.dev(), files: files.into(), unfinished })
}

fn kind(kind: fs::FileType) -> &'static str {
    if kind.is_symlink() { "symbolic link" } else { "special file" }
}

/// Files and directories below one name. A look at as many takes seconds, and keeps some 200 bytes of each.
const FILES_MAX: usize = 500_000;

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
