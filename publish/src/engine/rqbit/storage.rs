//! Where librqbit writes: files below one folder, never through a link, few of them open at a time.
//!
//! A file is made when librqbit sets its length, which it does after it has looked at what is there; from then on it is
//! known by its inode, so that a file that was deleted or replaced meanwhile is noticed instead of written anew.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use librqbit::storage::{BoxStorageFactory, StorageFactory, StorageFactoryExt, TorrentStorage};
use librqbit::{ManagedTorrentShared, TorrentMetadata};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::beneath::{self, Kind, Named};
use crate::engine::content::Descriptors;
use crate::engine::disk;
use crate::engine::fetch::Failure;
use crate::torrent::{Identity, Metainfo};

/// The device and inode of each file, where it has been made.
type Inodes = Box<[Option<(u64, u64)>]>;

/// The files of a torrent that is being fetched.
pub(super) struct Files {
    number: u64,
    metainfo: Arc<Metainfo>,
    folder: PathBuf,
    descriptors: Arc<Descriptors>,
    /// The device and inode of each file since its length was set.
    inodes: Mutex<Inodes>,
    failure: Mutex<Option<Failure>>,
    closed: AtomicBool,
}

impl Files {
    pub(super) fn new(
        metainfo: Arc<Metainfo>,
        folder: PathBuf,
        descriptors: Arc<Descriptors>,
    ) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            inodes: Mutex::new(vec![None; metainfo.files.len()].into()),
            metainfo,
            folder,
            descriptors,
            failure: Mutex::new(None),
            closed: AtomicBool::new(false),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.metainfo.total()
    }

    /// The first error of writing.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure.lock().expect("nothing panics while it is held").clone()
    }

    /// Nothing is read or written any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.descriptors.forget(self.number);
    }

    /// Syncs all of it, and says which files they are: the ones that were written.
    pub(super) fn settle(&self) -> Result<Arc<[Identity]>, Failure> {
        disk::settle(&self.metainfo, &self.folder, |root, index| self.open(root, index))
            .map_err(|(path, error)| self.failed(&path, &error))
    }

    /// Deletes each file, and the folders that are empty then.
    pub(super) fn delete(&self) -> Result<(), (PathBuf, io::Error)> {
        disk::delete(&self.metainfo, &self.folder, &[])
    }

    /// The file that was written so far.
    fn open(&self, root: &OwnedFd, index: usize) -> io::Result<File> {
        let path = &self.metainfo.files[index].path;
        let known = self.inodes()[index];
        let file = match known {
            // What has no length yet is only looked at: nothing is made by that.
            None => beneath::open_to_read(root, path, Kind::Regular)?,
            Some(_) => beneath::open_to_write(root, path, false)?,
        };
        let metadata = file.metadata()?;
        match known {
            Some(known) if known != (metadata.dev(), metadata.ino()) => {
                Err(io::Error::other("another file has taken its place"))
            }
            _ => Ok(file),
        }
    }

    fn file(&self, index: usize) -> io::Result<Arc<File>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(io::Error::other("it is not fetched any more"));
        }
        let key = (self.number, index as u32);
        match self.descriptors.get(key) {
            Some(file) => Ok(file),
            None => {
                let file = self.open(&beneath::folder(&self.folder, Named::OrByLink)?, index)?;
                Ok(self.descriptors.keep(key, file))
            }
        }
    }

    /// Makes the file, with all the room that it will take where the file system can do that.
    fn make(&self, index: usize) -> io::Result<()> {
        // One that cannot be made is enough: it has failed, and the rest would fill the disk and the log.
        if self.closed.load(Ordering::Acquire) || self.failure().is_some() {
            return Ok(());
        }
        let (root, known) = (beneath::folder(&self.folder, Named::OrByLink)?, self.inodes()[index]);
        let wanted = &self.metainfo.files[index];
        let file = beneath::open_to_write(&root, &wanted.path, known.is_none())?;
        let metadata = file.metadata()?;
        if metadata.len() != wanted.length {
            file.set_len(wanted.length)?;
        }
        if metadata.len() < wanted.length {
            match fallocate(&file, FallocateFlags::empty(), 0, wanted.length) {
                // Then it is sparse.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => {
                    // A full disk gets back what was taken of it, so that what is small can still be written.
                    let _ = file.set_len(metadata.len());
                    return Err(error.into());
                }
            }
        }
        self.inodes()[index] = Some((metadata.dev(), metadata.ino()));
        // What was opened for reading only.
        self.descriptors.forget(self.number);
        Ok(())
    }

    fn inodes(&self) -> std::sync::MutexGuard<'_, Inodes> {
        self.inodes.lock().expect("nothing panics while it is held")
    }

    fn failed(&self, path: &Path, error: &io::Error) -> Failure {
        let failure = Failure::of(error, &path.display().to_string());
        if !self.closed.load(Ordering::Acquire) {
            self.failure
                .lock()
                .expect("nothing panics while it is held")
                .get_or_insert_with(|| failure.clone());
        }
        failure
    }

    fn note<T>(&self, index: usize, result: io::Result<T>) -> anyhow::Result<T> {
        result.map_err(|error| self.failed(&self.metainfo.files[index].path, &error).into())
    }
}

/// Gives librqbit the files of one torrent.
pub(super) struct Factory(Arc<Files>);

impl Factory {
    pub(super) fn new(files: Arc<Files>) -> Self {
        Self(files)
    }
}

impl StorageFactory for Factory {
    type Storage = Storage;

    fn create(&self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> anyhow::Result<Storage> {
        Ok(Storage(self.0.clone()))
    }

    fn clone_box(&self) -> BoxStorageFactory {
        Self(self.0.clone()).boxed()
    }
}

/// The files of one torrent as librqbit wants them.
pub(super) struct Storage(Arc<Files>);

impl TorrentStorage for Storage {
    fn init(&mut self, _: &ManagedTorrentShared, _: &TorrentMetadata) -> anyhow::Result<()> {
        Ok(())
    }

    fn pread_exact(&self, index: usize, offset: u64, buffer: &mut [u8]) -> anyhow::Result<()> {
        let read = self.0.file(index).and_then(|file| file.read_exact_at(buffer, offset));
        match read {
            // Before the length is set, that there is no file or a shorter one is no failure.
            Err(error) if self.0.inodes()[index].is_none() => Err(error.into()),
            read => self.0.note(index, read),
        }
    }

    fn pwrite_all(&self, index: usize, offset: u64, buffer: &[u8]) -> anyhow::Result<()> {
        let written = self.0.file(index).and_then(|file| file.write_all_at(buffer, offset));
        self.0.note(index, written)
    }

    fn remove_file(&self, _: usize, _: &Path) -> anyhow::Result<()> {
        anyhow::bail!("files are deleted by this side")
    }

    fn remove_directory_if_empty(&self, _: &Path) -> anyhow::Result<()> {
        Ok(())
    }

    fn ensure_file_length(&self, index: usize, _: u64) -> anyhow::Result<()> {
        let made = self.0.make(index);
        self.0.note(index, made)
    }

    fn take(&self) -> anyhow::Result<Box<dyn TorrentStorage>> {
        Ok(Box::new(Self(self.0.clone())))
    }
}
