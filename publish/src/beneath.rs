//! What is below a folder, reached without following a symbolic link and without a way out (openat2(2), Linux 5.6; where
//! there is no such call, part by part).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;

/// What the path of the folder itself may end in. What leads to it may be links in either case: the operator named it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// The folder: what was looked at is what is opened.
    Itself,
    /// The folder, or a symbolic link to it.
    OrByLink,
}

/// Opens the folder that names are looked up below.
pub(crate) fn folder(path: &Path, named: Named) -> io::Result<OwnedFd> {
    let follows = if named == Named::Itself { OFlags::NOFOLLOW } else { OFlags::empty() };
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(openat(CWD, path, FOLDER | follows, Mode::empty())?)
}

/// What may be opened for reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Whatever has that name, for who looks at it after that.
    Any,
    /// A regular file; all else is an error.
    Regular,
}

/// Opens a file below `root` for reading.
pub(crate) fn open_to_read(root: impl AsFd, path: &Path, kind: Kind) -> io::Result<File> {
    let opened = open(root, path, OFlags::RDONLY | NO_WAITING)?;
    if kind == Kind::Any { Ok(File::from(opened)) } else { regular(opened) }
}

/// Opens a regular file below `root` for reading and writing; with `makes`, it and its folders are made when they are
/// missing.
pub(crate) fn open_to_write(root: impl AsFd, path: &Path, makes: bool) -> io::Result<File> {
    let flags = OFlags::RDWR | NO_WAITING;
    match open(&root, path, flags) {
        Err(error) if makes && error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = split(path)?.0 {
                go_down(&root, parent, true)?;
            }
            regular(open(&root, path, flags | OFlags::CREATE)?)
        }
        opened => regular(opened?),
    }
}

/// Removes a file below `root`, or with `is_folder` an empty folder; nothing on the way may be a link.
pub(crate) fn remove(root: impl AsFd, path: &Path, is_folder: bool) -> io::Result<()> {
    let (parent, name) = split(path)?;
    let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match parent {
        Some(parent) => unlinkat(open(root, parent, FOLDER)?, name, flags)?,
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
            Err(Errno::NOSYS) => OPENAT2_MISSING.store(true, Ordering::Relaxed),
            // A sandbox may refuse a call that it does not know, and the kernel gives up when something is renamed
            // meanwhile. Going part by part comes to an end, and gives an error that was meant once more.
            Err(Errno::PERM | Errno::INVAL | Errno::AGAIN) => {}
            opened => return Ok(opened?),
        }
    }
    part_by_part(root, path, flags, mode)
}

/// Opens one folder after the other, each without following a link.
fn part_by_part(root: impl AsFd, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    let (parent, name) = split(path)?;
    let folder = go_down(&root, parent.unwrap_or(Path::new("")), false)?;
    let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
    Ok(openat(at, name, flags | OFlags::NOFOLLOW, mode)?)
}

/// The folder at `path` below `root`, none where that is `root` itself; with `makes`, what is missing is made.
fn go_down(root: impl AsFd, path: &Path, makes: bool) -> io::Result<Option<OwnedFd>> {
    let mut folder: Option<OwnedFd> = None;
    for part in parts(path) {
        let part = part?;
        let at = folder.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        if makes {
            match mkdirat(at, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        folder = Some(openat(at, part, FOLDER | OFlags::NOFOLLOW, Mode::empty())?);
    }
    Ok(folder)
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

/// A folder to look names up below, and nothing else.
const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A FIFO that took the place of a file would hold the thread until somebody writes to it.
const NO_WAITING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Set once when the kernel says that it has no openat2.
static OPENAT2_MISSING: AtomicBool = AtomicBool::new(false);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_and_ways_out_are_refused_by_both_ways_of_opening() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "content").unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("../../secret", root.join("a/secret")).unwrap();
        symlink("a", root.join("inner")).unwrap();
        symlink(outer.path(), root.join("out")).unwrap();
        let below = folder(&root, Named::Itself).unwrap();
        let by_parts = |path: &Path| {
            part_by_part(&below, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        let path = Path::new("a/b/file");
        for file in [open_to_read(&below, path, Kind::Regular), by_parts(path).map(File::from)] {
            assert_eq!(io::read_to_string(file.unwrap()).unwrap(), "content");
        }
        for path in [
            "link",
            "inner/b/file",
            "out/secret",
            "a/secret",
            "../secret",
            "/etc/passwd",
            "a/../../secret",
            "",
            "no",
            "a/b/none",
        ] {
            let path = Path::new(path);
            assert!(open_to_read(&below, path, Kind::Any).is_err(), "{path:?}");
            assert!(open_to_write(&below, path, false).is_err(), "{path:?}");
            assert!(by_parts(path).is_err(), "{path:?}");
        }
        assert!(open_to_read(&below, Path::new("a/b"), Kind::Regular).is_err(), "a folder");
        assert!(open_to_read(&below, Path::new("a/b"), Kind::Any).is_ok(), "a folder");
    }

    #[test]
    fn the_folder_itself_may_be_a_link_where_that_is_meant() {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        symlink("root", outer.path().join("link")).unwrap();
        let link = outer.path().join("link");
        assert!(folder(&link, Named::Itself).is_err());
        assert!(folder(&link, Named::OrByLink).is_ok());
        assert!(folder(Path::new(""), Named::OrByLink).is_ok(), "the working directory");
    }

    #[test]
    fn files_are_made_and_removed_below_and_nowhere_else() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        let below = folder(root.path(), Named::OrByLink).unwrap();
        open_to_write(&below, Path::new("new/deep/file"), true).unwrap();
        assert!(root.path().join("new/deep/file").is_file());
        sync_folders(&below, Path::new("new/deep/file")).unwrap();
        assert!(open_to_write(&below, Path::new("link/new"), true).is_err());
        assert!(open_to_write(&below, Path::new("link/new/new"), true).is_err());
        remove(&below, Path::new("new/deep/file"), false).unwrap();
        remove(&below, Path::new("new/deep"), true).unwrap();
        assert!(remove(&below, Path::new("link/secret"), false).is_err());
        assert!(outside.path().join("secret").exists());
    }
}
