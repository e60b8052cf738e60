//! The pieces of a content, read and hashed by several threads while nobody changes it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use super::sha1::{Digest, One, Two};
use super::{Content, Identity, PIECE_LENGTH_MAX, TORRENT_BYTES_MAX};
use crate::beneath::{self, Kind, Named};

/// SHA-1 of each piece of a content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pieces {
    /// Bytes in a piece but the last.
    pub piece_length: u32,
    /// 20 bytes for each piece.
    pub hashes: Bytes,
}

/// How far hashing is; for a status page to read while it goes on.
#[derive(Default, Debug)]
pub struct Progress {
    /// Bytes that have been hashed.
    pub bytes: AtomicU64,
}

/// Why there are no pieces.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// It is not what it was when it was walked.
    #[error("{path:?} changed while it was hashed; wait until nobody writes to it")]
    Changed {
        /// The file, or what was named.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {path:?}; may this user read it, and is its disk whole?")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The piece length does not fit.
    #[error(
        "a piece length of {piece_length} bytes does not fit {total} bytes; leave it out, or take a larger one"
    )]
    PieceLength {
        /// What was asked for.
        piece_length: u32,
        /// The size of the content.
        total: u64,
    },
    /// It was told to stop.
    #[error("hashing was stopped")]
    Stopped,
}

/// What a thread takes at once, at least: read in order, and done before the other threads are long out of work.
const PORTION_BYTES: u64 = 8 * 1024 * 1024;

/// What is read at once of each of two pieces. It stays in the cache of a core until it is hashed; larger ones were
/// slower (benches/hash.rs).
const BUFFER_BYTES: usize = 64 * 1024;

/// The clock of a file system stands still for so long at most (a jiffy, before Linux 6.13): bytes that were written in
/// that time leave no mark.
const TICK: Duration = Duration::from_millis(50);

impl Content {
    /// Hashes it with so many threads of the lowest priority, and proves that it was the same from the walk to the end.
    ///
    /// Each descriptor's identity is compared before and after it is read, and at the end the whole content is walked
    /// once more: what was changed, replaced, added or taken away meanwhile gives `Changed`. Reads exactly the bytes
    /// that the walk found, and never writes. `stop` is looked at for each 64 KiB.
    pub fn hash(
        &self,
        piece_length: u32,
        threads: usize,
        progress: &Progress,
        stop: &AtomicBool,
    ) -> Result<Pieces, HashError> {
        let total = self.total();
        let count = total.div_ceil(u64::from(piece_length.max(1)));
        if !(1..=PIECE_LENGTH_MAX).contains(&piece_length)
            || count > (TORRENT_BYTES_MAX / 20) as u64
        {
            return Err(HashError::PieceLength { piece_length, total });
        }
        self.wait_for_clock();
        let folder = match self.is_single {
            // What leads to it may be a symbolic link; the file itself is not.
            true => beneath::folder(self.root.parent().unwrap_or(Path::new("")), Named::OrByLink),
            false => beneath::folder(&self.root, Named::Itself),
        };
        let folder = folder.map_err(|source| unreadable(self.root.clone(), source))?;
        let mut end = 0;
        let ends = self.files.iter().map(|file| {
            end += file.identity.size;
            end
        });
        // Two pieces are hashed at once, but for what would leave another thread without work.
        let pieces_min = if count >= 2 * threads.max(1) as u64 { 2 } else { 1 };
        let shared = Shared {
            content: self,
            folder,
            ends: ends.collect(),
            piece_length: u64::from(piece_length),
            count,
            portion: PORTION_BYTES.div_ceil(u64::from(piece_length)).max(pieces_min),
            next: AtomicU64::new(0),
            progress,
            stop,
            done: Mutex::new(Done { hashes: vec![0; count as usize * 20], error: None }),
            has_failed: AtomicBool::new(false),
        };
        let useful = count.div_ceil(shared.portion).min(threads.max(1) as u64);
        thread::scope(|scope| {
            for _ in 0..useful {
                scope.spawn(|| {
                    yield_to_others();
                    if let Err(error) = Worker::new(&shared).run() {
                        shared.fail(error);
                    }
                });
            }
        });
        let done = shared.done.into_inner().expect("no thread panics while it holds the pieces");
        if let Some(error) = done.error {
            return Err(error);
        }
        match Self::walk(&self.root) {
            Ok(now)
                if now.files == self.files
                    && now.name == self.name
                    && now.is_single == self.is_single => {}
            _ => return Err(HashError::Changed { path: self.root.clone() }),
        }
        Ok(Pieces { piece_length, hashes: done.hashes.into() })
    }

    /// Waits until what is written from now on has another time than what was written before the walk.
    fn wait_for_clock(&self) {
        let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) else { return };
        let newest =
            self.files.iter().map(|file| file.identity.changed.max(file.identity.modified)).max();
        let age = now.as_nanos() as i128 - newest.unwrap_or_default();
        if let Ok(age) = u64::try_from(age) {
            thread::sleep(TICK.saturating_sub(Duration::from_nanos(age)));
        }
    }
}

/// What the threads share.
struct Shared<'c> {
    content: &'c Content,
    folder: OwnedFd,
    /// Where each file ends in the bytes of the torrent.
    ends: Vec<u64>,
    piece_length: u64,
    /// The number of pieces.
    count: u64,
    /// Pieces that a thread takes at once.
    portion: u64,
    /// The first piece that nobody has taken.
    next: AtomicU64,
    progress: &'c Progress,
    stop: &'c AtomicBool,
    done: Mutex<Done>,
    has_failed: AtomicBool,
}

struct Done {
    hashes: Vec<u8>,
    error: Option<HashError>,
}

impl Shared<'_> {
    /// Where a piece begins and ends in the bytes of the torrent.
    fn bounds(&self, piece: u64) -> (u64, u64) {
        let at = piece * self.piece_length;
        (at, (at + self.piece_length).min(self.ends.last().copied().unwrap_or_default()))
    }

    /// Keeps the first error, and ends the other threads.
    fn fail(&self, error: HashError) {
        self.has_failed.store(true, Relaxed);
        let mut done = self.done.lock().expect("no thread panics while it holds the pieces");
        done.error.get_or_insert(error);
    }
}

struct Worker<'s> {
    shared: &'s Shared<'s>,
    /// Each reads half of a portion.
    readers: [Reader<'s>; 2],
}

impl<'s> Worker<'s> {
    fn new(shared: &'s Shared<'s>) -> Self {
        Self { shared, readers: [Reader::new(shared), Reader::new(shared)] }
    }

    fn run(&mut self) -> Result<(), HashError> {
        let mut hashes = Vec::new();
        loop {
            let from = self.shared.next.fetch_add(self.shared.portion, Relaxed);
            if from >= self.shared.count {
                return self.readers.iter_mut().try_for_each(Reader::close);
            }
            let to = (from + self.shared.portion).min(self.shared.count);
            hashes.clear();
            hashes.resize((to - from) as usize, [0; 20]);
            self.portion(from, &mut hashes)?;
            let mut done =
                self.shared.done.lock().expect("no thread panics while it holds the pieces");
            done.hashes[from as usize * 20..to as usize * 20]
                .copy_from_slice(hashes.as_flattened());
        }
    }

    /// The hashes of pieces that follow one another, of which `from` is the first.
    fn portion(&mut self, from: u64, hashes: &mut [Digest]) -> Result<(), HashError> {
        let half = hashes.len() / 2;
        let (first, rest) = hashes.split_at_mut(half);
        let (second, odd) = rest.split_at_mut(half);
        for (at, hashes) in first.iter_mut().zip(second).enumerate() {
            let pieces = [from + at as u64, from + (half + at) as u64];
            (*hashes.0, *hashes.1) = self.pair(pieces)?.into();
        }
        for hash in odd {
            *hash = self.readers[1].piece(from + 2 * half as u64)?;
        }
        Ok(())
    }

    fn pair(&mut self, pieces: [u64; 2]) -> Result<[Digest; 2], HashError> {
        let [(mut first, end), (mut second, last)] = pieces.map(|piece| self.shared.bounds(piece));
        let [one, other] = &mut self.readers;
        match Two::new() {
            Some(mut two) if end - first == last - second => {
                while first < end {
                    let wanted = (end - first).min(BUFFER_BYTES as u64) as usize;
                    two.update([one.read(first, wanted)?, other.read(second, wanted)?]);
                    first += wanted as u64;
                    second += wanted as u64;
                }
                Ok(two.finish())
            }
            _ => Ok([one.piece(pieces[0])?, other.piece(pieces[1])?]),
        }
    }
}

/// Reads content from its beginning on.
struct Reader<'s> {
    shared: &'s Shared<'s>,
    buffer: Vec<u8>,
    /// The file that was read last, by its place in the content.
    open: Option<(usize, File)>,
}

impl<'s> Reader<'s> {
    fn new(shared: &'s Shared<'s>) -> Self {
        Self { shared, buffer: vec![0; BUFFER_BYTES], open: None }
    }

    fn piece(&mut self, piece: u64) -> Result<Digest, HashError> {
        let (mut at, end) = self.shared.bounds(piece);
        let mut one = One::new();
        while at < end {
            let wanted = (end - at).min(BUFFER_BYTES as u64) as usize;
            one.update(self.read(at, wanted)?);
            at += wanted as u64;
        }
        Ok(one.finish())
    }

    /// So many bytes of the content from `at` on, at most [`BUFFER_BYTES`].
    fn read(&mut self, at: u64, wanted: usize) -> Result<&[u8], HashError> {
        let shared = self.shared;
        if shared.stop.load(Relaxed) || shared.has_failed.load(Relaxed) {
            return Err(HashError::Stopped);
        }
        let mut index = shared.ends.partition_point(|file_end| *file_end <= at);
        let mut filled = 0;
        while filled < wanted {
            let at = at + filled as u64;
            // Empty ones hold none of it.
            while shared.ends[index] <= at {
                index += 1;
            }
            let begin = shared.ends[index] - shared.content.files[index].identity.size;
            let to = wanted.min(filled + (shared.ends[index] - at).min(wanted as u64) as usize);
            self.open(index)?;
            let (_, file) = self.open.as_ref().expect("it was opened in the line above");
            file.read_exact_at(&mut self.buffer[filled..to], at - begin)
                .map_err(|source| self.cannot_read(index, source))?;
            filled = to;
        }
        shared.progress.bytes.fetch_add(wanted as u64, Relaxed);
        Ok(&self.buffer[..wanted])
    }

    /// Has this file open, as the walk found it.
    fn open(&mut self, index: usize) -> Result<(), HashError> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == index) {
            return Ok(());
        }
        self.close()?;
        let content = self.shared.content;
        let found = &content.files[index];
        let path = if content.is_single { Path::new(&content.name) } else { &found.path };
        let file = beneath::open_to_read(&self.shared.folder, path, Kind::Any)
            .map_err(|source| self.cannot_read(index, source))?;
        self.check(index, &file)?;
        // Only speed hangs on it.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        self.open = Some((index, file));
        Ok(())
    }

    /// Looks once more at the file that was read, and lets it go.
    fn close(&mut self) -> Result<(), HashError> {
        match self.open.take() {
            Some((index, file)) => self.check(index, &file),
            None => Ok(()),
        }
    }

    fn check(&self, index: usize, file: &File) -> Result<(), HashError> {
        let metadata = file.metadata().map_err(|source| self.cannot_read(index, source))?;
        let found = &self.shared.content.files[index];
        if metadata.is_file() && Identity::of(&metadata) == found.identity {
            Ok(())
        } else {
            Err(HashError::Changed { path: self.shared.content.at(found) })
        }
    }

    fn cannot_read(&self, index: usize, source: io::Error) -> HashError {
        unreadable(self.shared.content.at(&self.shared.content.files[index]), source)
    }
}

/// What is gone, shorter, or a symbolic link or socket now has changed since the walk; the rest are errors.
fn unreadable(path: PathBuf, source: io::Error) -> HashError {
    use io::ErrorKind::{NotADirectory, NotFound, UnexpectedEof};
    let is_another = matches!(source.kind(), NotFound | UnexpectedEof | NotADirectory);
    match Errno::from_io_error(&source) {
        Some(Errno::LOOP | Errno::NXIO) => HashError::Changed { path },
        _ if is_another => HashError::Changed { path },
        _ => HashError::Read { path, source },
    }
}

/// Gives this thread the lowest priority, so that others on the machine do not wait for it. Linux has priorities of
/// threads behind setpriority(2). Within a control group only: a service has its `CPUWeight=` beside.
fn yield_to_others() {
    // A system that does not let it is one where it takes its turn with the others.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;

    use super::*;

    /// One pass over all bytes in memory.
    fn naive(content: &Content, piece_length: u32) -> Vec<u8> {
        let bytes: Vec<u8> =
            content.files.iter().flat_map(|file| fs::read(content.at(file)).unwrap()).collect();
        let hash =
            |piece| aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref().to_vec();
        bytes.chunks(piece_length as usize).flat_map(hash).collect()
    }

    fn hash(content: &Content, piece_length: u32, threads: usize) -> Result<Pieces, HashError> {
        let progress = Progress::default();
        let pieces = content.hash(piece_length, threads, &progress, &AtomicBool::new(false))?;
        assert_eq!(progress.bytes.into_inner(), content.total());
        Ok(pieces)
    }

    #[test]
    fn pieces_are_those_of_the_files_one_after_another() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..60 {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            fs::create_dir(&root).unwrap();
            let piece_length = 1 << random.u32(8..14);
            for file in 0..random.usize(1..20) {
                let around = piece_length * random.usize(0..5);
                let length =
                    [0, 1, around, around + 1, around.saturating_sub(1)][random.usize(0..5)];
                let bytes: Vec<u8> =
                    std::iter::repeat_with(|| random.u8(..)).take(length).collect();
                fs::write(root.join(file.to_string()), bytes).unwrap();
            }
            fs::write(root.join("x"), "x").unwrap();
            let content = Content::walk(&root).unwrap();
            let pieces = hash(&content, piece_length as u32, random.usize(1..4)).unwrap();
            assert_eq!(pieces.hashes, naive(&content, piece_length as u32), "round {round}");
        }
    }

    #[test]
    fn threads_share_one_large_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        let mut random = fastrand::Rng::with_seed(7);
        let bytes: Vec<u8> = std::iter::repeat_with(|| random.u64(..).to_le_bytes())
            .take(5_000_001)
            .flatten()
            .collect();
        fs::write(&path, bytes).unwrap();
        let content = Content::walk(&path).unwrap();
        for piece_length in [16 * 1024, 1 << 20, 16 << 20, 1 << 28] {
            let expected = naive(&content, piece_length);
            for threads in [0, 1, 2, 5] {
                assert_eq!(hash(&content, piece_length, threads).unwrap().hashes, expected);
            }
        }
    }

    #[test]
    fn what_cannot_be_hashed_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, vec![7; 4 << 20]).unwrap();
        let content = Content::walk(&path).unwrap();
        let (progress, stop) = (Progress::default(), AtomicBool::new(true));
        let stopped = content.hash(1 << 14, 2, &progress, &stop);
        assert!(matches!(stopped, Err(HashError::Stopped)), "{stopped:?}");
        for piece_length in [0, 1, (1 << 28) + 1] {
            let refused = hash(&content, piece_length, 1);
            assert!(matches!(refused, Err(HashError::PieceLength { .. })), "{refused:?}");
        }
    }

    #[test]
    fn what_is_not_what_was_walked_has_no_pieces() {
        type Change = fn(&Path);
        let changes: [(&str, Change); 9] = [
            ("appended", |root| fs::write(root.join("b"), "12345").unwrap()),
            ("truncated", |root| fs::write(root.join("b"), "123").unwrap()),
            ("rewritten", |root| fs::write(root.join("b"), "9999").unwrap()),
            ("replaced", |root| {
                fs::write(root.join("../new"), "1234").unwrap();
                fs::rename(root.join("../new"), root.join("b")).unwrap();
            }),
            ("removed", |root| fs::remove_file(root.join("b")).unwrap()),
            ("empty one written", |root| fs::write(root.join("empty"), "x").unwrap()),
            ("empty one removed", |root| fs::remove_file(root.join("empty")).unwrap()),
            ("one more", |root| fs::write(root.join("c"), "").unwrap()),
            ("folder for a link", |root| {
                fs::rename(root.join("f"), root.join("../f")).unwrap();
                std::os::unix::fs::symlink("../f", root.join("f")).unwrap();
            }),
        ];
        for (what, change) in changes {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            fs::create_dir_all(root.join("f")).unwrap();
            for (name, content) in [("a", "1"), ("b", "1234"), ("empty", ""), ("f/x", "x")] {
                fs::write(root.join(name), content).unwrap();
            }
            let content = Content::walk(&root).unwrap();
            assert!(hash(&content, 4, 1).is_ok());
            let modified = fs::metadata(root.join("b")).unwrap().modified().unwrap();
            change(&root);
            // What `touch -r` does.
            if let Ok(file) = fs::File::options().write(true).open(root.join("b")) {
                file.set_modified(modified).unwrap();
            }
            let changed = hash(&content, 4, 1);
            assert!(matches!(changed, Err(HashError::Changed { .. })), "{what}: {changed:?}");
        }
    }
}
