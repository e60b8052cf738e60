//! The data directory: one process owns it, and knows that it can write there.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A data directory that belongs to this process until it is dropped (or the process dies).
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked as long as it is open.
    lock: File,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process (perhaps another margay) has it.
    #[error(
        "data directory {path} is in use by another process{}; stop that one, or give this one a \
         directory of its own with --data",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process that holds it, when it said so.
        pid: Option<u32>,
    },
    /// It is not there and could not be made.
    #[error("cannot create data directory {path}; create it, or choose another with --data")]
    Create {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is there, but files cannot be made in it.
    #[error(
        "cannot write to data directory {path}; make it writable for this user, or choose another \
         with --data"
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file system cannot lock files.
    #[error("cannot lock {path}; choose a directory on a local file system with --data")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the directory when there is none (mode 0750), locks it, tries whether files can be
    /// made in it, and removes unfinished files that a killed process has left.
    ///
    /// The lock is `flock(2)` on the file `lock` inside, so it is gone with the process, however
    /// that ends. A full disk is no error here: the tracker can run without writing.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&path)
            .map_err(|source| DataDirError::Create { path: path.clone(), source })?;
        let lock = self::lock(&path)?;
        probe(&path).map_err(|source| DataDirError::NotWritable { path: path.clone(), source })?;
        let dir = Self { path, lock };
        dir.remove_unfinished();
        Ok(dir)
    }

    /// The directory of the process that this one takes over from, which has given its `lock`: that stays until both
    /// are gone. Nothing is removed, as that one may be writing.
    pub fn adopt(path: impl Into<PathBuf>, lock: File) -> Self {
        Self { path: path.into(), lock }
    }

    /// Says in the lock which process has it.
    pub fn sign(&self) {
        // Only for a message, so it does not matter when a full disk has no room for it.
        let text = format!("{}\n", std::process::id());
        let _ = self.lock.set_len(0).and_then(|()| self.lock.write_all_at(text.as_bytes(), 0));
    }

    /// The descriptor of its lock, for a process that takes over.
    pub fn lock(&self) -> &File {
        &self.lock
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A new file in the directory that has no name and is gone with its last descriptor, for what no
    /// later process needs. Readable and writable (mode 0600).
    ///
    /// `purpose` names it for the moment until its name is taken away.
    pub fn nameless_file(&self, purpose: &str) -> io::Result<File> {
        let path = self.path.join(format!("{purpose}.{UNFINISHED}"));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Makes a rename or a removal in the directory last.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_dir(&self.path)
    }

    /// Removes unfinished files: nobody else is writing here, so whatever is unfinished will stay so.
    fn remove_unfinished(&self) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                match fs::remove_file(&path) {
                    Ok(()) => tracing::info!(path = %path.display(), "removed an unfinished file"),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished file");
                    }
                }
            }
        }
    }
}

/// Makes a rename or a removal in this directory last.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(|source| DataDirError::NotWritable { path: dir.to_owned(), source })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(20).read_to_string(&mut pid);
            return Err(DataDirError::InUse { path: dir.to_owned(), pid: pid.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(DataDirError::Lock { path, source }),
    }
    // Only for the message above, so it does not matter when a full disk has no room for it.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

fn probe(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!("probe.{UNFINISHED}"));
    match File::create(&path).and_then(|_| fs::remove_file(&path)) {
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        result => result,
    }
}

/// The extension of files that are not complete.
pub(crate) const UNFINISHED: &str = "part";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn one_process_owns_a_directory() {
        let scratch = Scratch::new();
        let path = scratch.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(
            matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
            "{error:?}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn unfinished_files_are_removed_and_others_left() {
        let scratch = Scratch::new();
        fs::write(scratch.path().join("snapshot-1-1.margay.part"), "x").unwrap();
        fs::write(scratch.path().join("notes"), "x").unwrap();
        let dir = DataDir::open(scratch.path()).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["lock", "notes"]);
    }

    #[test]
    fn a_nameless_file_is_read_and_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let dir = DataDir::open(scratch.path()).unwrap();
        // What a process left that was killed between the two steps.
        fs::write(scratch.path().join("purpose.part"), "left over").unwrap();
        let mut file = dir.nameless_file("purpose").unwrap();
        file.write_all(b"written").unwrap();
        let mut read = [0; 8];
        assert_eq!(std::os::unix::fs::FileExt::read_at(&file, &mut read, 0).unwrap(), 7);
        assert_eq!(&read[..7], b"written");
        let names: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["lock"]);
    }

    #[test]
    fn a_file_in_its_place_is_explained() {
        let scratch = Scratch::new();
        let path = scratch.path().join("data");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(&path).unwrap_err();
        assert!(matches!(error, DataDirError::Create { .. }), "{error:?}");
        assert!(error.to_string().contains("--data"));
    }
}
