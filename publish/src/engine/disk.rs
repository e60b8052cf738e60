//! The files of a torrent below its folder, whichever engine has written them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::beneath::{self, Named};
use crate::torrent::{Identity, Metainfo};

/// What cannot be used, and why.
pub(super) type Wrong = (PathBuf, io::Error);

/// Syncs each file and the folders of their names, and says which files they are. `open` opens one of them, by its number,
/// below the folder.
pub(super) fn settle(
    metainfo: &Metainfo,
    folder: &Path,
    open: impl Fn(&OwnedFd, usize) -> io::Result<File>,
) -> Result<Arc<[Identity]>, Wrong> {
    let root = beneath::folder(folder, Named::OrByLink).map_err(|error| (folder.into(), error))?;
    let mut identities = Vec::with_capacity(metainfo.files.len());
    for (index, file) in metainfo.files.iter().enumerate() {
        let sync = || {
            let opened = open(&root, index)?;
            opened.sync_all()?;
            beneath::sync_folders(&root, &file.path)?;
            let metadata = opened.metadata()?;
            if metadata.len() != file.length {
                return Err(io::Error::other("it has another size than the torrent says"));
            }
            Ok(Identity::of(&metadata))
        };
        identities.push(sync().map_err(|error| (file.path.clone(), error))?);
    }
    Ok(identities.into())
}

/// Deletes each file, under its own name and with each of `ends` behind it, and the folders that are empty then.
pub(super) fn delete(metainfo: &Metainfo, folder: &Path, ends: &[&str]) -> Result<(), Wrong> {
    let root = match beneath::folder(folder, Named::OrByLink) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err((folder.into(), error)),
    };
    let mut first = Ok(());
    let mut remove = |path: &Path| match beneath::remove(&root, path, false) {
        Err(error) if error.kind() != io::ErrorKind::NotFound && first.is_ok() => {
            first = Err((path.to_owned(), error));
        }
        _ => {}
    };
    for file in &metainfo.files {
        remove(&file.path);
        for end in ends {
            let mut path = file.path.clone().into_os_string();
            path.push(end);
            remove(Path::new(&path));
        }
    }
    let mut folders: Vec<&Path> = metainfo
        .files
        .iter()
        .flat_map(|file| file.path.ancestors().skip(1))
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    folders.dedup();
    for folder in folders {
        // One that is not empty holds what is not the torrent's, and stays.
        let _ = beneath::remove(&root, folder, true);
    }
    first
}
