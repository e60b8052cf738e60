//! Files below a folder, reached without following a symbolic link and without a way out.
//!
//! The folder itself is named by the operator and may be reached through links; nothing below it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, mkdirat, open as open_path, openat, openat2, unlinkat,
};
use rustix::io::Errno;

/// Opens the folder that names are looked up below.
pub(crate) fn folder(root: &Path) -> io::Result<OwnedFd> {
    Ok(open_path(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a regular file below `root` for reading.
pub(crate) fn open_to_read(root: impl AsFd, path: &Path) -> io::Result<File> {
    // Without NONBLOCK a FIFO of that name would hold the thread until somebody writes to it.
    regular(open(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?)
}

/// Opens a regular file below `root` for reading and writing; with `makes`, it and its folders are made when they are
/// missing.
pub(crate) fn open_to_write(root: impl AsFd, path: &Path, makes: bool) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY;
    match open(&root, path, flags) {
        Err(error) if makes && error.kind() == io::ErrorKind::NotFound => {
            make_parents(&root, path)?;
            regular(open(&root, path, flags | OFlags::CREATE)?)
        }
        opened => regular(opened?),
    }
}

/// Removes a file below `root`; its folder must not be reached through a link.
pub(crate) fn remove(root: impl AsFd, path: &Path, is_folder: bool) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match parent {
        Some(parent) => {
            let parent = open(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
            unlinkat(parent, name, flags)?;
        }
        None => unlinkat(root, name, flags)?,
    }
    Ok(())
}

/// Syncs the folders from `root` to the one that a file below it is in, so that its name is kept.
pub(crate) fn sync_folders(root: impl AsFd, path: &Path) -> io::Result<()> {
    for folder in path.ancestors().skip(1) {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        rustix::fs::fsync(open(&root, folder, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
    }
    Ok(())
}

fn open(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    // What makes a file gives it these, less the umask; openat2 refuses a mode where nothing is made.
    let mode =
        if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
    if !OPENAT2_MISSING.load(Ordering::Relaxed) {
        match openat2(&root, path, flags, mode, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            // Linux before 5.6, or a filter of system calls that does not know it.
            Err(Errno::NOSYS) => OPENAT2_MISSING.store(true, Ordering::Relaxed),
            // The kernel gives up when something is renamed meanwhile; walking comes to an end.
            Err(Errno::AGAIN) => {}
            opened => return Ok(opened?),
        }
    }
    open_walking(root, path, flags, mode)
}

/// Opens one folder after the other, each without following a link.
fn open_walking(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let (parent, name) = split(path)?;
    let mut folder: Option<OwnedFd> = None;
    for part in parts(parent.unwrap_or(Path::new(""))) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        folder = Some(openat(at, part?, flags, Mode::empty())?);
    }
    let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    Ok(openat(at, name, flags | OFlags::NOFOLLOW, mode)?)
}

fn make_parents(root: impl AsFd, path: &Path) -> io::Result<()> {
    let Some(parent) = split(path)?.0 else { return Ok(()) };
    let mut folder: Option<OwnedFd> = None;
    for part in parts(parent) {
        let part = part?;
        let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        match mkdirat(at, part, Mode::from_raw_mode(0o777)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        folder = Some(openat(at, part, flags, Mode::empty())?);
    }
    Ok(())
}

/// The folder and the name in it; refuses what does not end in a plain name.
fn split(path: &Path) -> io::Result<(Option<&Path>, &OsStr)> {
    if path == Path::new(".") {
        return Ok((None, OsStr::new(".")));
    }
    let name = parts(path).last().unwrap_or_else(|| Err(leads_out()))?;
    Ok((path.parent().filter(|parent| !parent.as_os_str().is_empty()), name))
}

fn parts(path: &Path) -> impl Iterator<Item = io::Result<&OsStr>> {
    path.components().map(|part| match part {
        Component::Normal(name) => Ok(name),
        _ => Err(leads_out()),
    })
}

fn leads_out() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a path that is not plainly below its folder")
}

fn regular(opened: OwnedFd) -> io::Result<File> {
    let file = File::from(opened);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// Set once when the kernel says that it has no openat2.
static OPENAT2_MISSING: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_ways_out_are_refused_by_both_ways_of_opening() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b")).unwrap();
        fs::write(root.path().join("a/b/file"), "x").unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), root.path().join("a/link")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("a/secret")).unwrap();
        let folder = folder(root.path()).unwrap();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        for (path, is_reached) in [
            ("a/b/file", true),
            ("a/link/secret", false),
            ("a/secret", false),
            ("../secret", false),
            ("/etc/passwd", false),
            ("a/b/none", false),
        ] {
            assert_eq!(open_to_read(&folder, Path::new(path)).is_ok(), is_reached, "{path}");
            assert_eq!(
                open_walking(&folder, Path::new(path), flags, Mode::empty()).is_ok(),
                is_reached,
                "walking {path}"
            );
        }
        assert!(open_to_read(&folder, Path::new("a/b")).is_err(), "a folder is not a file");
        open_to_write(&folder, Path::new("new/deep/file"), true).unwrap();
        assert!(root.path().join("new/deep/file").is_file());
        assert!(open_to_write(&folder, Path::new("a/link/new"), true).is_err());
        assert!(open_to_write(&folder, Path::new("a/secret"), true).is_err());
        remove(&folder, Path::new("new/deep/file"), false).unwrap();
        remove(&folder, Path::new("new/deep"), true).unwrap();
        assert!(remove(&folder, Path::new("a/link/secret"), false).is_err());
        assert!(outside.path().join("secret").exists());
    }
}
