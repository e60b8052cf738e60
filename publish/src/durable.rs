//! Files that are whole or not there: written beside, synced, renamed, and the folder synced (rename(2), fsync(2)).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
    let folder = path.parent().unwrap_or(Path::new("."));
    let beside = beside(path);
    let written = (|| {
        let mode = match readers {
            Readers::All => 0o644,
            Readers::Owner => 0o600,
        };
        // Never into what is there: it may be a link to a file of somebody else.
        let make = || OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
        let mut file = match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&beside)?;
                make()?
            }
            made => made?,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    written.map_err(|source| {
        // A full disk gets its room back; what is left otherwise is removed by the next start.
        let _ = fs::remove_file(&beside);
        FileError { verb: "write", path: path.to_owned(), source }
    })
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

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{BESIDE}"))
}

const BESIDE: &str = ".being-written";

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(is_left_over(beside(&path).file_name().unwrap().to_str().unwrap()));
        let other = folder.path().join("other");
        write(&other, b"other's", Readers::All).unwrap();
        std::os::unix::fs::symlink(&other, beside(&path)).unwrap();
        write(&path, b"three", Readers::All).unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&other).unwrap()),
            (b"three".into(), b"other's".into())
        );
        remove(&path).unwrap();
        remove(&path).unwrap();
        let gone = folder.path().join("no/such");
        let error = write(&gone, b"", Readers::All).unwrap_err();
        assert!(error.to_string().contains("no/such"), "{error}");
    }
}
