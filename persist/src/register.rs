//! What an open tracker was told of torrents at run time: which to serve, and which were withdrawn. In the file
//! `torrents.log` of the data folder.
//!
//! A line for each change, synced before the change is answered. So what was answered is there, whatever ends the
//! process. The file is written anew when it has more than twice the lines it needs, and at the start.

mod line;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use shard::{InfoHash, Seconds};

use crate::DataDir;
use crate::data_dir::{UNFINISHED, sync_dir};

pub use line::{Line, NoLine, parse, write};

/// The name of the file.
pub const FILE: &str = "torrents.log";

/// How long a torrent that was withdrawn is known as one: 30 days.
pub const WITHDRAWN_KEPT: Seconds = Seconds(30 * 86_400);

/// Lines in the file before it is written anew at all.
const LINES_FREE: usize = 1024;

const READ_BYTES: usize = 256 << 10;

/// A torrent that the tracker was told of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Entry {
    /// What it is called.
    pub name: Option<Box<str>>,
    /// It is not to be served.
    pub withdrawn: Option<Box<Withdrawn>>,
}

/// Why a torrent is served no longer, and for how long that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Withdrawn {
    /// What its clients are told; may be empty.
    pub reason: Box<str>,
    /// Forgotten from this moment on.
    pub until: Seconds,
}

/// What is said of a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is to be served.
    Put {
        /// Which.
        info_hash: InfoHash,
        /// What it is called; as before where that is not said.
        name: Option<Box<str>>,
    },
    /// It is to be served no longer.
    Withdraw {
        /// Which.
        info_hash: InfoHash,
        /// What its clients are told.
        reason: Box<str>,
    },
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// It cannot be read.
    #[error(
        "cannot read {}, which says what the API has put and withdrawn; make it readable for this user, or move it \
         away to begin without",
        path.display()
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A newer margay wrote it.
    #[error(
        "{} has version {version}, written by a newer margay; start that one, or move the file away to begin without",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
}

/// All torrents that the tracker was told of, and the file that says so.
#[derive(Debug)]
pub struct Register {
    folder: PathBuf,
    entries_max: usize,
    entries: BTreeMap<InfoHash, Entry>,
    /// Where the next line goes; `None` where the file has to be written anew first.
    file: Option<File>,
    /// Lines in the file.
    lines: usize,
    /// A file that had damage and is to be put aside under this name before it is written anew.
    aside: Option<PathBuf>,
}

/// As many torrents are known as may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Entry {
    fn is_forgotten(&self, now: Seconds) -> bool {
        self.withdrawn.as_ref().is_some_and(|withdrawn| withdrawn.until <= now)
    }
}

impl Change {
    fn info_hash(&self) -> &InfoHash {
        match self {
            Change::Put { info_hash, .. } | Change::Withdraw { info_hash, .. } => info_hash,
        }
    }

    /// What the torrent is like when this is done.
    fn applied(self, before: Option<&Entry>, now: Seconds) -> Entry {
        let known = before.and_then(|before| before.name.clone());
        match self {
            Change::Put { name, .. } => Entry { name: name.or(known), withdrawn: None },
            Change::Withdraw { reason, .. } => {
                let withdrawn = Withdrawn { reason, until: now + WITHDRAWN_KEPT };
                Entry { name: known, withdrawn: Some(Box::new(withdrawn)) }
            }
        }
    }
}

impl Register {
    /// Reads the file of the data folder, if there is one. Of what was withdrawn, what is to be forgotten by `now` is
    /// left out. Holds `entries_max` torrents at most, but for what is in the file already.
    ///
    /// A last line that is not whole was never answered, and is dropped. With any other damage the whole lines are
    /// used, and the file as it was is kept aside under a name that says so.
    pub fn open(data: &DataDir, entries_max: usize, now: Seconds) -> Result<Self, RegisterError> {
        let folder = data.path().to_owned();
        let path = folder.join(FILE);
        let mut register = Self {
            folder,
            entries_max,
            entries: BTreeMap::new(),
            file: None,
            lines: 0,
            aside: None,
        };
        let read = |source| RegisterError::Read { path: path.clone(), source };
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(register),
            file => file.map_err(read)?,
        };
        let found = line::read(BufReader::with_capacity(READ_BYTES, file), |info_hash, entry| {
            register.entries.insert(info_hash, entry);
        });
        let found = found.map_err(read)?;
        if let Some(version) = found.newer {
            return Err(RegisterError::Newer { path, version });
        }
        register.entries.retain(|_, entry| !entry.is_forgotten(now));
        register.lines = found.lines;
        if let Some(at) = found.damaged_at {
            let aside = register.folder.join(format!("{FILE}-{}.damaged", now.0));
            tracing::error!(
                path = %path.display(),
                line = at,
                lines = found.damaged,
                aside = %aside.display(),
                "lines of this file are damaged and what they said is lost: a torrent may have been put or withdrawn \
                 since; say that again by the API. The file is kept as it was"
            );
            register.aside = Some(aside);
        } else if found.torn {
            tracing::info!(path = %path.display(), "the last line was not whole, and never answered; it is dropped");
        }
        let is_whole = found.headed && !found.torn && register.aside.is_none();
        if is_whole && found.lines == register.entries.len() {
            let append = OpenOptions::new().append(true).open(&path);
            register.file = Some(append.map_err(read)?);
        } else if let Err(error) = register.rewrite() {
            // A full disk is no reason not to serve; the next change tries it again.
            tracing::error!(%error, path = %path.display(), "cannot write this file anew; changes are refused until that is possible");
        }
        Ok(register)
    }

    /// What the tracker was told of a torrent.
    pub fn get(&self, info_hash: &InfoHash, now: Seconds) -> Option<&Entry> {
        self.entries.get(info_hash).filter(|entry| !entry.is_forgotten(now))
    }

    /// All of them behind `after`, in the order of their infohashes.
    pub fn after(
        &self,
        after: Option<InfoHash>,
        now: Seconds,
    ) -> impl Iterator<Item = (&InfoHash, &Entry)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let all = self.entries.range((from, Bound::Unbounded));
        all.filter(move |(_, entry)| !entry.is_forgotten(now))
    }

    /// How many are to be served, and how many were withdrawn.
    pub fn sizes(&self) -> (usize, usize) {
        let withdrawn = self.entries.values().filter(|entry| entry.withdrawn.is_some()).count();
        (self.entries.len() - withdrawn, withdrawn)
    }

    /// Does the changes in this order. They are on the disk when this returns, or none was done: but for those that
    /// are one torrent too many, which are told in their places. The entries as they are then.
    ///
    /// # Errors
    /// Of the file. Nothing has changed then.
    pub fn change(
        &mut self,
        changes: Vec<Change>,
        now: Seconds,
    ) -> io::Result<Vec<Result<(InfoHash, Entry), Full>>> {
        if self.entries.len() + changes.len() > self.entries_max {
            self.entries.retain(|_, entry| !entry.is_forgotten(now));
        }
        let mut text = Vec::new();
        let mut new: BTreeMap<InfoHash, Entry> = BTreeMap::new();
        let mut added = 0;
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            let info_hash = *change.info_hash();
            let before = new.get(&info_hash).or_else(|| self.get(&info_hash, now));
            if before.is_none() && !self.entries.contains_key(&info_hash) {
                if self.entries.len() + added >= self.entries_max {
                    results.push(Err(Full));
                    continue;
                }
                added += 1;
            }
            let entry = change.applied(before, now);
            line::write(&mut text, &Line::Entry(info_hash, entry.clone()));
            new.insert(info_hash, entry.clone());
            results.push(Ok((info_hash, entry)));
        }
        let lines = results.iter().filter(|result| result.is_ok()).count();
        self.append(&text, lines)?;
        self.entries.append(&mut new);
        if self.lines > LINES_FREE + 2 * self.entries.len()
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(%error, "{FILE} has grown, and cannot be written anew; it goes on growing");
        }
        Ok(results)
    }

    fn append(&mut self, text: &[u8], lines: usize) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            self.rewrite()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = file.metadata()?.len();
        if let Err(error) = file.write_all(text).and_then(|()| file.sync_data()) {
            // What was not synced may be there or not: the next change begins with a file of its own.
            let _ = file.set_len(bytes);
            self.file = None;
            return Err(error);
        }
        self.lines += lines;
        Ok(())
    }

    /// Writes a file with a line for each torrent in place of the one that is there.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = self.folder.join(FILE);
        if let Some(aside) = &self.aside {
            fs::copy(&path, aside)?;
            File::open(aside)?.sync_all()?;
            self.aside = None;
        }
        let part = self.folder.join(format!("{FILE}.{UNFINISHED}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o640).open(&part)?;
        let mut out = BufWriter::with_capacity(READ_BYTES, file);
        let mut text = Vec::new();
        line::write(&mut text, &Line::Header { version: line::VERSION });
        for (info_hash, entry) in &self.entries {
            if text.len() > READ_BYTES {
                out.write_all(&text)?;
                text.clear();
            }
            line::write(&mut text, &Line::Entry(*info_hash, entry.clone()));
        }
        out.write_all(&text)?;
        out.into_inner()?.sync_all()?;
        fs::rename(&part, &path)?;
        sync_dir(&self.folder)?;
        self.file = Some(OpenOptions::new().append(true).open(&path)?);
        self.lines = self.entries.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const NOW: Seconds = Seconds(1_000_000);

    fn put(at: u32, name: Option<&str>) -> Change {
        Change::Put { info_hash: hash(at), name: name.map(Into::into) }
    }

    fn withdraw(at: u32, reason: &str) -> Change {
        Change::Withdraw { info_hash: hash(at), reason: reason.into() }
    }

    fn hash(at: u32) -> InfoHash {
        let mut bytes = [7; 20];
        bytes[..4].copy_from_slice(&at.to_be_bytes());
        InfoHash(bytes)
    }

    fn open(data: &DataDir, now: Seconds) -> Register {
        Register::open(data, 3_000, now).unwrap()
    }

    fn all(register: &Register, now: Seconds) -> Vec<(InfoHash, Entry)> {
        register.after(None, now).map(|(info_hash, entry)| (*info_hash, entry.clone())).collect()
    }

    fn file(data: &DataDir) -> PathBuf {
        data.path().join(FILE)
    }

    fn lines(data: &DataDir) -> usize {
        fs::read(file(data)).unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    #[test]
    fn what_was_said_is_there_at_the_next_start() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut register = open(&data, NOW);
        assert!(!file(&data).exists(), "nothing is written before something is said");
        let said = vec![
            put(1, Some("one")),
            put(2, None),
            withdraw(1, "Dupe"),
            withdraw(3, ""),
            put(3, None),
            put(2, Some("two")),
            put(2, None),
        ];
        let results = register.change(said, NOW).unwrap();
        assert_eq!(results.len(), 7);
        let before = all(&register, NOW);
        assert_eq!(before.len(), 3);
        let one = register.get(&hash(1), NOW).unwrap();
        assert_eq!(one.name.as_deref(), Some("one"), "a name stays");
        assert_eq!(&*one.withdrawn.as_ref().unwrap().reason, "Dupe");
        assert_eq!(register.get(&hash(2), NOW).unwrap().name.as_deref(), Some("two"));
        assert_eq!((register.sizes(), lines(&data)), ((2, 1), 8));
        drop(register);
        let register = open(&data, NOW);
        assert_eq!((all(&register, NOW), lines(&data)), (before, 4));
        // What was withdrawn is forgotten in its time, whether somebody starts it anew or not.
        let later = NOW + WITHDRAWN_KEPT;
        assert_eq!((all(&register, later).len(), register.get(&hash(1), later)), (2, None));
        assert_eq!(open(&data, later).sizes(), (2, 0));
        let after: Vec<_> = register.after(Some(hash(2)), NOW).map(|(hash, _)| *hash).collect();
        assert_eq!(after, [hash(3)]);
    }

    #[test]
    fn a_torn_line_is_dropped_and_the_next_one_is_whole() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        open(&data, NOW).change(vec![put(1, Some("one")), put(2, None)], NOW).unwrap();
        let whole = fs::read(file(&data)).unwrap();
        for length in 0..whole.len() {
            fs::write(file(&data), &whole[..length]).unwrap();
            let known = all(&open(&data, NOW), NOW).len();
            assert_eq!(
                known,
                whole[..length].iter().filter(|byte| **byte == b'\n').count().saturating_sub(1)
            );
            open(&data, NOW).change(vec![put(9, None)], NOW).unwrap();
            assert_eq!(all(&open(&data, NOW), NOW).len(), known + 1, "cut at {length}");
        }
        let names = fs::read_dir(data.path()).unwrap().count();
        assert_eq!(names, 2, "a torn line is no damage, and nothing is put aside");
    }

    #[test]
    fn damage_costs_its_line_and_the_file_is_kept_aside() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        open(&data, NOW).change((0..5).map(|at| put(at, None)).collect(), NOW).unwrap();
        let mut damaged = fs::read(file(&data)).unwrap();
        let at = damaged.len() / 2;
        damaged[at] ^= 0x10;
        fs::write(file(&data), &damaged).unwrap();
        assert_eq!(all(&open(&data, NOW), NOW).len(), 4);
        let aside = data.path().join(format!("{FILE}-{}.damaged", NOW.0));
        assert_eq!(fs::read(aside).unwrap(), damaged);
        assert_eq!((all(&open(&data, NOW), NOW).len(), lines(&data)), (4, 5));
    }

    #[test]
    fn a_newer_file_is_left_as_it_is() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut text = Vec::new();
        write(&mut text, &Line::Header { version: 2 });
        fs::write(file(&data), &text).unwrap();
        let error = Register::open(&data, 9, NOW).unwrap_err();
        assert!(matches!(error, RegisterError::Newer { version: 2, .. }), "{error}");
        assert_eq!(fs::read(file(&data)).unwrap(), text);
    }

    #[test]
    fn it_holds_so_many_and_forgets_what_it_may() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut register = Register::open(&data, 2, NOW).unwrap();
        let said =
            vec![put(1, None), withdraw(2, ""), put(3, None), put(2, None), withdraw(2, "x")];
        let done: Vec<bool> =
            register.change(said, NOW).unwrap().iter().map(Result::is_ok).collect();
        assert_eq!(done, [true, true, false, true, true]);
        let later = NOW + WITHDRAWN_KEPT;
        assert!(register.change(vec![put(3, None)], later).unwrap()[0].is_ok());
        assert_eq!(register.sizes(), (2, 0));
    }

    #[test]
    fn what_has_grown_is_written_anew() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut register = open(&data, NOW);
        let mut most = 0;
        for round in 0..12 {
            let name = format!("round {round}");
            register.change((0..100).map(|at| put(at, Some(&name))).collect(), NOW).unwrap();
            most = most.max(lines(&data));
        }
        assert!(most > 1_000 && most < 1_400, "{most}");
        assert_eq!(lines(&data), 101);
        assert_eq!(all(&open(&data, NOW), NOW), all(&register, NOW));
    }

    #[test]
    fn a_file_that_takes_nothing_changes_nothing() {
        let scratch = Scratch::new();
        let data = DataDir::open(scratch.path()).unwrap();
        let mut register = open(&data, NOW);
        register.change(vec![put(1, None)], NOW).unwrap();
        // Writing fails from here on, as it is opened for reading.
        register.file = Some(File::open(file(&data)).unwrap());
        register.change(vec![put(2, None), withdraw(1, "")], NOW).unwrap_err();
        assert_eq!((all(&register, NOW).len(), register.sizes()), (1, (1, 0)));
        register.change(vec![put(3, None)], NOW).unwrap();
        assert_eq!(all(&open(&data, NOW), NOW), all(&register, NOW));
        assert_eq!(register.sizes(), (2, 0));
    }
}
