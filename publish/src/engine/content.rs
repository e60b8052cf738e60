//! Complete content on the disk: blocks of it are read as long as its files are the ones that were hashed.
//!
//! A file is opened for reading only, when a block of it is asked for. What the file system says of the open file is
//! compared with what it said when it was hashed, before and after each read: the kernel changes the time of a file
//! before its bytes (`file_update_time` in its write paths), so bytes that were read before an unchanged `fstat` are
//! the hashed ones. Writes through `mmap` escape this, as their time comes late. `sendfile` would too: its pages are
//! sent later, as they are then.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use super::wire::{self, Block};
use crate::beneath::{self, Kind, Named};
use crate::torrent::{Identity, Metainfo};

/// The content of a torrent, complete in a folder.
pub(crate) struct Content {
    /// Tells it apart from all others in [`Descriptors`].
    number: u64,
    metainfo: Arc<Metainfo>,
    folder: PathBuf,
    /// Where each file begins in the content.
    begins: Box<[u64]>,
    identities: Box<[Identity]>,
    total: u64,
}

/// Why a block cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is not in memory; reading it would wait for the disk.
    #[error("it would wait for the disk")]
    Waits,
    /// A file is not the one that was hashed.
    #[error("{path} {how}")]
    Changed {
        /// Below the folder.
        path: PathBuf,
        /// What is known of it.
        how: Change,
    },
    /// The process has no room for it at the moment.
    #[error("cannot open a file")]
    Busy(#[source] io::Error),
}

/// How a file is found not to be the one that was hashed.
#[derive(Debug)]
pub enum Change {
    /// Another size, time or inode, or it ends early.
    Written,
    /// It cannot be reached or read any more.
    Unreadable(io::Error),
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Written => f.write_str("has been written to or replaced"),
            Self::Unreadable(error) => write!(f, "cannot be read any more: {error}"),
        }
    }
}

impl Content {
    /// `None` when there is not one identity of the right size for each file.
    pub(crate) fn new(
        number: u64,
        metainfo: Arc<Metainfo>,
        folder: PathBuf,
        identities: Vec<Identity>,
    ) -> Option<Self> {
        let fits = metainfo.files.len() == identities.len()
            && metainfo
                .files
                .iter()
                .zip(&identities)
                .all(|(file, identity)| file.length == identity.size);
        let mut total = 0;
        let begins = metainfo
            .files
            .iter()
            .map(|file| {
                let begin = total;
                total += file.length;
                begin
            })
            .collect();
        fits.then(|| Self {
            number,
            metainfo,
            folder,
            begins,
            identities: identities.into(),
            total,
        })
    }

    /// The torrent.
    pub(crate) fn metainfo(&self) -> &Arc<Metainfo> {
        &self.metainfo
    }

    /// The block lies within its piece, and is not longer than anybody asks for (128 KiB).
    pub(crate) fn has(&self, block: Block) -> bool {
        let piece_begin = u64::from(block.piece) * u64::from(self.metainfo.piece_length);
        block.piece < self.metainfo.pieces_count()
            && (1..=BLOCK_BYTES_MAX).contains(&block.length)
            && u64::from(block.begin) + u64::from(block.length)
                <= (self.total.saturating_sub(piece_begin))
                    .min(u64::from(self.metainfo.piece_length))
    }

    /// Writes `blocks`, each with the head of its message, to `batch`, which is emptied before.
    ///
    /// With `waits` it waits for the disk, and must not be called where others would wait with it; without, it reads
    /// what is in memory only. On an error nothing of `batch` is to be used.
    pub(crate) fn read(
        &self,
        descriptors: &Descriptors,
        blocks: &[Block],
        batch: &mut Batch,
        waits: bool,
    ) -> Result<(), ReadError> {
        batch.clear();
        // The files of the blocks of a batch follow each other mostly: each is compared once before and once after.
        let mut used: Vec<(usize, Arc<File>)> = Vec::with_capacity(2);
        for &block in blocks {
            batch.head(block);
            let mut at = u64::from(block.piece) * u64::from(self.metainfo.piece_length)
                + u64::from(block.begin);
            let mut missing = u64::from(block.length);
            // The last file that begins at or before `at`; empty ones before it begin there too.
            let mut index = self.begins.partition_point(|&begin| begin <= at) - 1;
            while missing > 0 {
                let offset = at - self.begins[index];
                let bytes = missing.min(self.identities[index].size - offset);
                if bytes > 0 {
                    let file = match used.iter().position(|(used, _)| *used == index) {
                        Some(found) => &used[found].1,
                        None => {
                            let file = self.file(descriptors, index, waits)?;
                            self.compare(index, &file)?;
                            used.push((index, file));
                            &used[used.len() - 1].1
                        }
                    };
                    self.fill(index, file, offset, batch.grow(bytes as usize), waits)?;
                }
                at += bytes;
                missing -= bytes;
                index += 1;
            }
        }
        used.iter().try_for_each(|(index, file)| self.compare(*index, file))
    }

    fn fill(
        &self,
        index: usize,
        file: &File,
        mut offset: u64,
        mut buffer: &mut [u8],
        waits: bool,
    ) -> Result<(), ReadError> {
        while !buffer.is_empty() {
            let read = if waits {
                pread(file, &mut *buffer, offset)
            } else {
                preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)
            };
            match read {
                Ok(0) => return Err(self.changed(index, Change::Written)),
                Ok(bytes) => {
                    offset += bytes as u64;
                    buffer = &mut buffer[bytes..];
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if !waits => {
                    return Err(ReadError::Waits);
                }
                Err(error) => return Err(self.changed(index, Change::Unreadable(error.into()))),
            }
        }
        Ok(())
    }

    fn file(
        &self,
        descriptors: &Descriptors,
        index: usize,
        waits: bool,
    ) -> Result<Arc<File>, ReadError> {
        let key = (self.number, index as u32);
        if let Some(file) = descriptors.get(key) {
            return Ok(file);
        }
        if !waits {
            return Err(ReadError::Waits);
        }
        let opened = beneath::folder(&self.folder, Named::OrByLink).and_then(|folder| {
            beneath::open_to_read(folder, &self.metainfo.files[index].path, Kind::Regular)
        });
        match opened {
            Ok(file) => Ok(descriptors.keep(key, file)),
            Err(error) if is_busy(&error) => Err(ReadError::Busy(error)),
            Err(error) => Err(self.changed(index, Change::Unreadable(error))),
        }
    }

    fn compare(&self, index: usize, file: &File) -> Result<(), ReadError> {
        let found =
            file.metadata().map_err(|error| self.changed(index, Change::Unreadable(error)))?;
        let (found, expected) = (Identity::of(&found), self.identities[index]);
        // The number of a device may be another one after a restart; the rest of it tells enough.
        if (Identity { device: expected.device, ..found }) == expected {
            Ok(())
        } else {
            Err(self.changed(index, Change::Written))
        }
    }

    fn changed(&self, index: usize, how: Change) -> ReadError {
        ReadError::Changed { path: self.metainfo.files[index].path.clone(), how }
    }

    /// Closes what is open of it.
    pub(crate) fn close(&self, descriptors: &Descriptors) {
        descriptors.forget(self.number);
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR)
    )
}

/// Blocks with the heads of their messages, as they go to the peer. The memory is kept from batch to batch.
#[derive(Default)]
pub(crate) struct Batch {
    // All of it is initialized, and what is used is at its beginning: no byte is zeroed for each batch.
    bytes: Vec<u8>,
    used: usize,
}

impl Batch {
    /// What is in it.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Gives its memory back.
    pub(crate) fn release(&mut self) {
        *self = Self::default();
    }

    fn clear(&mut self) {
        self.used = 0;
    }

    fn head(&mut self, block: Block) {
        let mut head = Vec::with_capacity(wire::PIECE_HEAD_BYTES);
        wire::piece_head(&mut head, block);
        self.grow(head.len()).copy_from_slice(&head);
    }

    fn grow(&mut self, bytes: usize) -> &mut [u8] {
        let begin = self.used;
        self.used += bytes;
        if self.bytes.len() < self.used {
            self.bytes.resize(self.used, 0);
        }
        &mut self.bytes[begin..self.used]
    }
}

/// The open files of all content: at most `open_max`, the one unused for longest is closed first.
///
/// A batch that is being read holds its files open beyond that.
pub(crate) struct Descriptors {
    open: Mutex<Open>,
    open_max: usize,
}

#[derive(Default)]
struct Open {
    files: HashMap<(u64, u32), (Arc<File>, u64)>,
    uses: u64,
}

impl Descriptors {
    pub(crate) fn new(open_max: usize) -> Self {
        Self { open: Mutex::default(), open_max: open_max.max(1) }
    }

    /// The files that are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().files.len()
    }

    pub(crate) fn get(&self, key: (u64, u32)) -> Option<Arc<File>> {
        let open = &mut *self.lock();
        open.uses += 1;
        let (file, used) = open.files.get_mut(&key)?;
        *used = open.uses;
        Some(file.clone())
    }

    pub(crate) fn keep(&self, key: (u64, u32), file: File) -> Arc<File> {
        let file = Arc::new(file);
        let open = &mut *self.lock();
        open.uses += 1;
        // One pass over some hundred entries, and only when a file is opened.
        if open.files.len() >= self.open_max
            && let Some(oldest) =
                open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key)
        {
            open.files.remove(&oldest);
        }
        open.files.insert(key, (file.clone(), open.uses));
        file
    }

    pub(crate) fn forget(&self, number: u64) {
        self.lock().files.retain(|key, _| key.0 != number);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it is held")
    }
}

/// The longest block that is answered (libtorrent and Transmission take requests up to this; all ask for 16 KiB).
pub(crate) const BLOCK_BYTES_MAX: u32 = 128 << 10;
