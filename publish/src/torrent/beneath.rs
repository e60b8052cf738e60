//! Files are opened below a folder, and nothing leads out of it: no symbolic link, no `..`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// Opens the folder itself, which may not be a symbolic link.
pub(super) fn folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(
        CWD,
        path,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Opens a file below `folder` to be read (openat2(2); Linux 5.6). Where there is no such call, or a sandbox refuses
/// it, part by part.
pub(super) fn file(folder: &OwnedFd, path: &Path) -> io::Result<File> {
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(folder, path, READ, Mode::empty(), how) {
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => part_by_part(folder, path),
        opened => Ok(File::from(opened?)),
    }
}

// A pipe that took the place of a file would wait for a writer.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

fn part_by_part(folder: &OwnedFd, path: &Path) -> io::Result<File> {
    let outside = || io::Error::from(io::ErrorKind::InvalidInput);
    let mut parts = path.components().peekable();
    let mut above: Option<OwnedFd> = None;
    loop {
        let Some(Component::Normal(part)) = parts.next() else { return Err(outside()) };
        let within: BorrowedFd<'_> = above.as_ref().map_or(folder.as_fd(), OwnedFd::as_fd);
        if parts.peek().is_none() {
            return Ok(File::from(openat(within, part, READ, Mode::empty())?));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        above = Some(openat(within, part, flags, Mode::empty())?);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn both_ways_open_what_is_below_and_nothing_else() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/file"), "content").unwrap();
        fs::write(outer.path().join("secret"), "secret").unwrap();
        symlink("../secret", root.join("link")).unwrap();
        symlink("a", root.join("inner")).unwrap();
        symlink(outer.path(), root.join("out")).unwrap();
        let open = folder(&root).unwrap();
        for way in [file, part_by_part] {
            assert_eq!(
                io::read_to_string(way(&open, Path::new("a/b/file")).unwrap()).unwrap(),
                "content"
            );
            for path in [
                "link",
                "inner/b/file",
                "out/secret",
                "../secret",
                "/etc/hostname",
                "a/../../secret",
                "",
                "no",
            ] {
                assert!(way(&open, Path::new(path)).is_err(), "{path}");
            }
        }
        assert!(folder(&root.join("inner")).is_err());
    }
}
