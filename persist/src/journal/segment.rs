//! The segment that is being written: the file, how much is in it, and how much of that is durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::format::{HEADER_BYTES, Header};
use super::names::Name;
use crate::data_dir::sync_dir;
use crate::trouble::Trouble;

/// The last segment of a journal.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    file: File,
    /// Bytes that are whole: the header and frames.
    pub(super) bytes: u64,
    /// The part of them that is durable.
    pub(super) synced: u64,
}

static UNCUT: Trouble = Trouble::new();

impl Segment {
    /// A new segment with these frames in it, all of it durable: the file appears under its name when
    /// everything is on the disk, and replaces one that has that name. On an error there may be such
    /// a file or not.
    pub(super) fn create(
        dir: &Path,
        first: u64,
        (id, life): (u64, u64),
        frames: &mut [u8],
    ) -> io::Result<Self> {
        #[cfg(test)]
        faults::check(faults::Step::Create)?;
        let (header, head) = Header::write(first, id, life, nanos_now());
        header.seal(frames, HEADER_BYTES as u64, HEADER_BYTES as u64);
        let bytes = (HEADER_BYTES + frames.len()) as u64;

        let (path, part) = (Name(first).path(dir), Name(first).part_path(dir));
        let write = || {
            let mut options = OpenOptions::new();
            // Only for the owner: there are passkeys and addresses in it.
            options.write(true).create(true).truncate(true).mode(0o600);
            let file = options.open(&part)?;
            file.write_all_at(&head, 0)?;
            file.write_all_at(frames, HEADER_BYTES as u64)?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            sync_dir(dir)?;
            Ok(file)
        };
        match write() {
            Ok(file) => Ok(Self { path, header, file, bytes, synced: bytes }),
            Err(error) => {
                let _ = fs::remove_file(&part); // Free the room; the next start would do it as well.
                Err(error)
            }
        }
    }

    /// Goes on with a segment of which `bytes` are whole: cuts off what is behind them, and makes
    /// them durable, as the process before may have ended before it did.
    pub(super) fn resume(path: PathBuf, header: Header, bytes: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(&path)?;
        let segment = Self { path, header, file, bytes, synced: bytes };
        if segment.file.metadata()?.len() != bytes {
            segment.cut(bytes)?;
        }
        segment.file.sync_all()?;
        Ok(segment)
    }

    /// Writes frames at the end. On an error nothing of them is left, or the second value is false:
    /// then the segment is of no more use.
    pub(super) fn append(&mut self, frames: &mut [u8]) -> Result<(), (io::Error, bool)> {
        self.header.seal(frames, self.bytes, self.synced);
        match self.write_at(frames, self.bytes) {
            Ok(()) => {
                self.bytes += frames.len() as u64;
                Ok(())
            }
            Err(error) => Err((error, self.cut(self.bytes).is_ok())),
        }
    }

    /// Makes all of it durable (fdatasync).
    pub(super) fn sync(&mut self) -> io::Result<()> {
        #[cfg(test)]
        faults::check(faults::Step::Sync)?;
        self.file.sync_data()?;
        self.synced = self.bytes;
        Ok(())
    }

    /// Tries whether there is room for so many bytes. What [`Segment::append`] says of errors holds.
    pub(super) fn probe(&mut self, bytes: usize) -> Result<(), (io::Error, bool)> {
        let written = self.write_at(&vec![0; bytes], self.bytes);
        match (written, self.cut(self.bytes)) {
            (Ok(()), Ok(())) => Ok(()),
            (Err(error), cut) => Err((error, cut.is_ok())),
            (Ok(()), Err(error)) => Err((error, false)),
        }
    }

    /// Cuts the file off behind what is durable. It is not written again.
    pub(super) fn give_up(self) -> u64 {
        if let Err(error) = self.cut(self.synced)
            && let Some(times) = UNCUT.again("")
        {
            let path = self.path.display();
            tracing::warn!(%path, %error, times, "cannot shorten a journal segment");
        }
        self.synced
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if let Err((error, written)) = faults::write(bytes.len()) {
            self.file.write_all_at(&bytes[..written], offset)?;
            return Err(error);
        }
        self.file.write_all_at(bytes, offset)
    }

    fn cut(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        faults::check(faults::Step::Cut)?;
        self.file.set_len(bytes)
    }
}

/// Unix nanoseconds.
pub(super) fn nanos_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Lets steps fail in tests, for the thread that asks for it.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;
    use std::io;

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(in crate::journal) enum Step {
        Create,
        Write,
        Sync,
        Cut,
    }

    thread_local! {
        static FAILING: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    }

    /// From now on these steps fail, and no others.
    pub(in crate::journal) fn fail(steps: &[Step]) {
        FAILING.with_borrow_mut(|failing| *failing = steps.to_vec());
    }

    pub(super) fn check(step: Step) -> io::Result<()> {
        match FAILING.with_borrow(|failing| failing.contains(&step)) {
            true => Err(io::Error::other("asked for by the test")),
            false => Ok(()),
        }
    }

    /// A write that fails gets half of its bytes into the file.
    pub(super) fn write(bytes: usize) -> Result<(), (io::Error, usize)> {
        check(Step::Write).map_err(|error| (error, bytes / 2))
    }
}
