//! Writes a snapshot file beside the others and puts it in place when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shard::private::{self, ClientPrefix, GroupId, Passkey, User, UserId};
use shard::{Piece, Seconds};

use super::encoder::Encoder;
use super::files::{Files, KEPT, Name};
use super::{Meta, SnapshotError, Totals};
use crate::data_dir::{DataDir, sync_dir};

/// A snapshot being written. Dropping it before [`SnapshotWriter::finish`] removes the file; the
/// snapshots before stay as they are.
///
/// Blocks on the disk, so it belongs on a thread of its own. Memory: about one megabyte.
pub struct SnapshotWriter {
    encoder: Encoder<PacedFile>,
    part: Part,
    dir: PathBuf,
    name: Name,
    kept: usize,
    failed: bool,
}

/// A snapshot that is on the disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it holds.
    pub totals: Totals,
}

impl SnapshotWriter {
    /// Starts a file `snapshot-….margay.part` (mode 0600: it holds addresses of people).
    pub fn create(dir: &DataDir, meta: Meta) -> Result<Self, SnapshotError> {
        let dir = dir.path();
        let files = Files::list(dir)
            .map_err(|source| SnapshotError::Write { path: dir.to_owned(), source })?;
        let name = files.next(meta.written_at);
        let part = name.part_path(dir);
        let start = || {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
            // From here on the file is removed when anything fails.
            let part = Part { path: part.clone(), abandoned: true };
            Ok((Encoder::new(PacedFile { file, unsynced_bytes: 0 }, meta)?, part))
        };
        let (encoder, part) =
            start().map_err(|source| SnapshotError::Write { path: part.clone(), source })?;
        Ok(Self { encoder, part, dir: dir.to_owned(), name, kept: KEPT, failed: false })
    }

    /// How many whole snapshots stay, this one included; at least 2, by default 3.
    pub fn keep(mut self, snapshots: usize) -> Self {
        self.kept = snapshots;
        self
    }

    /// Adds a piece of an open tracker. Pieces of one shard come in the order of their export; those
    /// of several shards may alternate. After an error the writer is of no more use than to be dropped.
    pub fn append(&mut self, piece: &Piece) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append(piece))
    }

    /// Adds a piece of a private tracker, after all its users and client rules; for the order and for
    /// errors see [`SnapshotWriter::append`].
    pub fn append_private(&mut self, piece: &private::Piece) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append_private(piece))
    }

    /// Adds a user of a private tracker, and whether he may announce. Users come first of all.
    pub fn append_user(
        &mut self,
        passkey: &Passkey,
        user: User,
        enabled: bool,
    ) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append_user(passkey, user, enabled))
    }

    /// Adds a group of users, with the downloads that each of them may have at once. Groups come with
    /// the users, before everything else.
    pub fn append_group(
        &mut self,
        id: GroupId,
        downloads_max: Option<u32>,
    ) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append_group(id, downloads_max))
    }

    /// Adds a passkey that a user had before, good until this moment. They come where users and groups do.
    pub fn append_former(
        &mut self,
        user: UserId,
        passkey: &Passkey,
        good_until: Seconds,
    ) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append_former(user, passkey, good_until))
    }

    /// Adds a rule of clients of a private tracker. They come after the users.
    pub fn append_rule(&mut self, prefix: &ClientPrefix, allow: bool) -> Result<(), SnapshotError> {
        self.add(|encoder| encoder.append_rule(prefix, allow))
    }

    fn add(
        &mut self,
        add: impl FnOnce(&mut Encoder<PacedFile>) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        self.refuse_when_failed()?;
        add(&mut self.encoder).map_err(|source| {
            self.failed = true;
            SnapshotError::Write { path: self.part.path.clone(), source }
        })
    }

    /// Bytes written until now.
    pub fn bytes(&self) -> u64 {
        self.encoder.bytes()
    }

    /// Completes the file, makes it last (fsync), gives it its name, makes that last too, and
    /// removes the snapshots that are no longer needed.
    ///
    /// Only to be called when every shard has been exported to its end: the file counts as complete
    /// from here on.
    pub fn finish(self) -> Result<Written, SnapshotError> {
        self.refuse_when_failed()?;
        let Self { encoder, mut part, dir, name, kept, .. } = self;
        let write_error = |path: &Path, source| SnapshotError::Write { path: path.into(), source };
        let (file, totals, bytes) =
            encoder.finish().map_err(|source| write_error(&part.path, source))?;
        file.file.sync_all().map_err(|source| write_error(&part.path, source))?;
        drop(file);

        let path = name.path(&dir);
        part.put_in_place(&path).map_err(|source| write_error(&path, source))?;
        sync_dir(&dir).map_err(|source| write_error(&path, source))?;
        match Files::list(&dir) {
            Ok(files) => files.prune(&dir, kept),
            Err(error) => tracing::warn!(dir = %dir.display(), %error, "old snapshots stay"),
        }
        Ok(Written { path, bytes, totals })
    }

    fn refuse_when_failed(&self) -> Result<(), SnapshotError> {
        if self.failed {
            let source = io::Error::other("a write to it failed before");
            return Err(SnapshotError::Write { path: self.part.path.clone(), source });
        }
        Ok(())
    }
}

/// The unfinished file; dropped before it is put in place, it is removed.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    abandoned: bool,
}

impl Part {
    /// Renames the file. The name was free when the writer was made, and the directory is ours.
    fn put_in_place(&mut self, path: &Path) -> io::Result<()> {
        if path.try_exists()? {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.path, path)?;
        self.abandoned = false;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.abandoned {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove an unfinished snapshot");
        }
    }
}

/// A file that goes to the disk in steps, so that other writers never wait behind all of it.
#[derive(Debug)]
struct PacedFile {
    file: File,
    unsynced_bytes: usize,
}

/// A step: little enough for a slow disk, and few enough steps for a fast one.
const STEP_BYTES: usize = 8 << 20;

impl Write for PacedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced_bytes += written;
        if self.unsynced_bytes >= STEP_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
