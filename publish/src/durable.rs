//! Files that are whole or not there: written beside, synced, renamed, and the folder synced (rename(2), fsync(2)).

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// Why a file was not written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", path.display())]
pub struct FileError {
    /// What was tried: `write`, `read`, `remove`.
    pub verb: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub fn of(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { verb, path, source }
    }
}

/// Who may read a file that is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Everybody, as a web server has to.
    All,
    /// The user who runs the program: for keys.
    Owner,
}

/// Puts `bytes` into the file at `path`, whose folder is there. After a crash it is the old one or the new one.
pub fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    put(path, bytes, readers)?;
    sync_folder_of(path).map_err(FileError::of("write", path))
}

/// Puts many files there, each at another path, as [`write`] does with one: all are there when it returns `Ok`. After an
/// error, and after a crash before that, each is the old one or the new one.
///
/// What costs is the wait for the disk: several threads wait at a time, so that file systems with a journal sync the
/// files of all of them at once, and each folder is synced once.
pub fn write_all(files: &[(PathBuf, Vec<u8>)], readers: Readers) -> Result<(), FileError> {
    if let [(path, bytes)] = files {
        return write(path, bytes, readers);
    }
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let put_next = || {
        while let Some((path, bytes)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = put(path, bytes, readers) {
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                // The others have no more to do either.
                next.store(files.len(), Ordering::Relaxed);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..files.len().min(WAITING_MAX) {
            // One that cannot be started leaves its part to the others.
            let _ = thread::Builder::new().spawn_scoped(scope, put_next);
        }
        put_next();
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut synced = BTreeSet::new();
    for (path, _) in files {
        if synced.insert(path.parent()) {
            sync_folder_of(path).map_err(FileError::of("write", path))?;
        }
    }
    Ok(())
}

/// Puts the file there; the folder is not synced.
fn put(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    let mut file = OpenOptions::new();
    file.create_new(true);
    let at = beside(path, "");
    // Never into what is there: it may be a link to a file of somebody else.
    remove(&at)?;
    write_beside(&at, file, bytes, readers, |beside| fs::rename(beside, path))
        .map_err(FileError::of("write", path))
}

/// As [`write`], but never over a file that is there: the error is `AlreadyExists` then. Several processes may try it at
/// once, and one of them does it.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), FileError> {
    let written = (|| {
        // A name that nobody else writes to, also in another container with the same process ids.
        let mut name = [0; 8];
        SystemRandom::new()
            .fill(&mut name)
            .map_err(|_| io::Error::other("the system gives no random bytes"))?;
        let beside = beside(path, &format!(".{:016x}", u64::from_ne_bytes(name)));
        let mut file = OpenOptions::new();
        file.create_new(true);
        write_beside(&beside, file, bytes, readers, |beside| {
            rename_new(beside, path)?;
            sync_folder_of(path)
        })
    })();
    written.map_err(FileError::of("write", path))
}

/// Renames a file over another, for good.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder_of(to)
}

fn write_beside(
    beside: &Path,
    mut file: OpenOptions,
    bytes: &[u8],
    readers: Readers,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mode = match readers {
        Readers::All => 0o644,
        Readers::Owner => 0o600,
    };
    let written = (|| {
        let mut file = file.write(true).mode(mode).open(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        put(beside)
    })();
    if written.is_err() {
        // A full disk gets its room back; what is left otherwise is removed by the next start.
        let _ = fs::remove_file(beside);
    }
    written
}

/// Renames where nothing is yet; file systems without that (NFS) do it by a second name.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        done => Ok(done?),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Removes the file at `path`, which may be gone already.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder and those above it.
pub fn folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of("make the folder", path))
}

/// The files in a folder, names that are UTF-8 with their paths, without what a crash left beside, which is removed.
pub fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, FileError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(FileError::of("read", folder))? {
        let path = entry.map_err(FileError::of("read", folder))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else {
            continue;
        };
        match is_left_over(&name) {
            true => remove(&path)?,
            false => files.push((name, path)),
        }
    }
    Ok(files)
}

/// True for the name of a file that a crash left beside the one that was meant.
fn is_left_over(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(BESIDE)
}

fn beside(path: &Path, whose: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{whose}{BESIDE}"))
}

/// Threads that wait for the disk at a time; more do not make a journal faster.
const WAITING_MAX: usize = 16;

const BESIDE: &str = ".being-written";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_there_or_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        let path = |number: usize| match number % 2 {
            0 => folder.path().join(number.to_string()),
            _ => folder.path().join("below").join(number.to_string()),
        };
        for count in [0, 1, 2, 100] {
            let files: Vec<_> =
                (0..count).map(|number| (path(number), number.to_string().into_bytes())).collect();
            write_all(&files, Readers::All).unwrap();
            for (path, bytes) in &files {
                assert_eq!(fs::read(path).unwrap(), *bytes);
            }
        }
        let gone = folder.path().join("no/such");
        let files = [(path(0), b"0".to_vec()), (gone, Vec::new()), (path(2), b"2".to_vec())];
        let error = write_all(&files, Readers::All).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("item.json");
        write(&path, b"one", Readers::All).unwrap();
        write(&path, b"two", Readers::Owner).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let names: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["item.json"]);
        assert!(is_left_over(beside(&path, "").file_name().unwrap().to_str().unwrap()));
        let other = folder.path().join("other");
        write(&other, b"other's", Readers::All).unwrap();
        std::os::unix::fs::symlink(&other, beside(&path, "")).unwrap();
        write(&path, b"two", Readers::All).unwrap();
        assert_eq!(fs::read(&other).unwrap(), b"other's", "it was not written through a link");
        remove(&other).unwrap();
        let error = write_new(&path, b"three", Readers::All).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"two");
        remove(&path).unwrap();
        remove(&path).unwrap();
        write_new(&path, b"three", Readers::Owner).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let gone = folder.path().join("no/such");
        let error = write(&gone, b"", Readers::All).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
    }
}
