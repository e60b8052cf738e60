//! `margay journal inspect FILE|DIR` and `margay journal verify FILE|DIR`.
//!
//! Both only read, and may look at the journal of a tracker that is running.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use persist::journal::{self, Damage, JournalError, Record, Survey, Torn};
use shard::Seconds;
use shard::private::Change;

use crate::command::snapshot::{date, span};

/// How many segments are listed, of the oldest and of the newest.
const LISTED_MAX: usize = 10;

/// Why a command did not do what it was asked for; the process ends with status 1.
#[derive(Debug, thiserror::Error)]
pub enum JournalCommandError {
    /// The folder has no segments.
    #[error("there is no journal in {0}; it is in the data directory of a private tracker")]
    Empty(PathBuf),
    /// A file cannot be read, is damaged, or records are missing.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The same, with what a tracker does about it.
    #[error(
        "{found}. As it is, a tracker goes on behind records {from} to {to} (exclusive): what was credited in \
         them and is not in the database is lost, and noted in the table gaps"
    )]
    Cut {
        /// The first record that is lost.
        from: u64,
        /// The first one after it that is there.
        to: u64,
        /// The error that was found.
        found: JournalError,
    },
    /// What is behind the last whole frame is more than a write that was broken off.
    #[error(
        "journal segment {path} is whole up to byte {}, and has {} bytes behind it that are not: {}. \
         A power cut leaves that, and the next start cuts it off",
        .torn.offset, .torn.bytes, .torn.damage
    )]
    Torn {
        /// The file.
        path: PathBuf,
        /// The bytes behind the last whole frame.
        torn: Torn,
    },
    /// A segment is of another journal than the one before.
    #[error("journal segment {path} belongs to another journal than those before; move it away")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Answer(#[from] io::Error),
}

/// Reads all of a journal, or of one segment, and says in one line that it is whole; what is wrong is
/// the error.
pub fn verify(path: &Path, out: &mut impl Write) -> Result<(), JournalCommandError> {
    let parts = survey(path, |_, _| {}).map_err(|error| what_follows(path, error))?;
    let (first, end) = (parts[0].first, parts[parts.len() - 1].end);
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    writeln!(
        out,
        "{} is whole: {} records from number {first} on, {bytes} bytes in {} segments",
        path.display(),
        end - first,
        parts.len(),
    )?;
    if let Some(Torn { bytes, .. }) = &parts[parts.len() - 1].torn {
        writeln!(
            out,
            "the last {bytes} bytes are part of a frame that is being written, or never was"
        )?;
    }
    Ok(())
}

/// Says of what is lost in the middle how a tracker goes on.
fn what_follows(path: &Path, error: JournalCommandError) -> JournalCommandError {
    let inner = path.join("journal");
    let dir = if inner.is_dir() { inner } else { path.to_owned() };
    match error {
        JournalCommandError::Journal(found) => match journal::cut_by(&dir, &found) {
            Some((from, to)) => JournalCommandError::Cut { from, to, found },
            None => JournalCommandError::Journal(found),
        },
        error => error,
    }
}

/// Verifies a journal, or one segment, and describes it: which records it has, what they say, its
/// segments. `now` tells how long ago that was.
pub fn inspect(path: &Path, now: Seconds, out: &mut impl Write) -> Result<(), JournalCommandError> {
    let mut tally = Tally::default();
    let parts = survey(path, |_, record| tally.add(record))?;
    let (oldest, newest) = (&parts[0], &parts[parts.len() - 1]);
    let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
    let records = newest.end - oldest.first;

    writeln!(out, "journal     {}", path.display())?;
    writeln!(out, "id          {:016x}", newest.id)?;
    writeln!(out, "format      {}, written by margay {}", newest.format, newest.version)?;
    match newest.end.checked_sub(1) {
        Some(last) if records > 0 => {
            writeln!(out, "records     {records} (number {} to {last})", oldest.first)?;
        }
        _ => writeln!(out, "records     0 (the next is number {})", newest.end)?,
    }
    write!(out, "size        {bytes} bytes in {} segments", parts.len())?;
    match records {
        0 => writeln!(out)?,
        records => writeln!(out, ", {:.1} bytes a record", bytes as f64 / records as f64)?,
    }
    tally.write(now, out)?;
    if let Some(Torn { offset, bytes, .. }) = &newest.torn {
        writeln!(out, "tail        {bytes} bytes from byte {offset} on are no whole frame")?;
    }
    writeln!(out, "segments    first record, bytes, frames, begun")?;
    for (at, part) in parts.iter().enumerate() {
        if at >= LISTED_MAX && at + LISTED_MAX < parts.len() {
            if at == LISTED_MAX {
                writeln!(out, "  … {} more", parts.len() - 2 * LISTED_MAX)?;
            }
            continue;
        }
        let Survey { first, bytes, frames, begun_at, .. } = part;
        writeln!(out, "  {first:>20} {bytes:>11} {frames:>7}  {}", date(*begun_at))?;
    }
    Ok(())
}

/// Reads all segments and holds each against the one before. There is at least one.
fn survey(
    path: &Path,
    mut each: impl FnMut(u64, &Record),
) -> Result<Vec<Survey>, JournalCommandError> {
    let files = journal::segments(path)?;
    let mut parts: Vec<Survey> = Vec::with_capacity(files.len());
    for file in files {
        let part = journal::survey(&file, &mut each)?;
        if let Some(before) = parts.last() {
            check_follows(before, &part)?;
        }
        parts.push(part);
    }
    match parts.last() {
        None => Err(JournalCommandError::Empty(path.to_owned())),
        Some(Survey { torn: Some(torn), path, .. })
            if !matches!(torn.damage, Damage::Truncated { .. }) =>
        {
            Err(JournalCommandError::Torn { path: path.clone(), torn: torn.clone() })
        }
        Some(_) => Ok(parts),
    }
}

fn check_follows(before: &Survey, part: &Survey) -> Result<(), JournalCommandError> {
    if before.id != part.id {
        return Err(JournalCommandError::Foreign { path: part.path.clone() });
    }
    if before.end >= part.first {
        return Ok(());
    }
    let (path, sequence) = (before.path.clone(), before.end);
    Err(JournalCommandError::Journal(match &before.torn {
        Some(torn) => JournalError::Damaged { path, sequence, damage: torn.damage.clone() },
        None => JournalError::Missing {
            dir: path.parent().unwrap_or(&path).to_owned(),
            from: sequence,
            to: part.first,
        },
    }))
}

/// The tally of a journal's records.
#[derive(Default, Debug)]
struct Tally {
    facts: u64,
    snatches: u64,
    credited_up: u128,
    credited_down: u128,
    oldest: Option<Seconds>,
    newest: Option<Seconds>,
    users: u64,
    torrents: u64,
    removed: u64,
    tokens: u64,
    tokens_removed: u64,
    rules: u64,
    gone: u64,
    groups: u64,
    formers: u64,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        match record {
            Record::Fact(fact) => {
                self.facts += 1;
                self.snatches += u64::from(fact.snatched);
                self.credited_up += u128::from(fact.credited_up);
                self.credited_down += u128::from(fact.credited_down);
                self.newest = self.newest.max(Some(fact.at));
                self.oldest = Some(self.oldest.map_or(fact.at, |oldest| oldest.min(fact.at)));
            }
            Record::Gone(_) => self.gone += 1,
            Record::Tick(_) => {}
            Record::Said(said) => match &said.change {
                Change::User { .. } => self.users += 1,
                Change::Former { .. } | Change::FormerRemoved { .. } => self.formers += 1,
                Change::Group { .. } | Change::GroupRemoved { .. } => self.groups += 1,
                Change::Torrent { .. } => self.torrents += 1,
                Change::TorrentRemoved { .. } => self.removed += 1,
                Change::Token { .. } => self.tokens += 1,
                Change::TokenRemoved { .. } => self.tokens_removed += 1,
                Change::ClientRule { .. } | Change::ClientRuleRemoved { .. } => self.rules += 1,
            },
        }
    }

    fn write(&self, now: Seconds, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "facts       {}", self.facts)?;
        if let (Some(oldest), Some(newest)) = (self.oldest, self.newest) {
            let ago = |at| span(now - at);
            writeln!(out, "  oldest    {} ({} ago)", date(oldest), ago(oldest))?;
            writeln!(out, "  newest    {} ({} ago)", date(newest), ago(newest))?;
            writeln!(
                out,
                "  credited  {} bytes up, {} down",
                self.credited_up, self.credited_down
            )?;
            writeln!(out, "  snatches  {}", self.snatches)?;
        }
        writeln!(out, "gone        {} peers without a word", self.gone)?;
        writeln!(
            out,
            "changes     {} users, {} torrents, {} torrents removed, {} tokens, {} tokens removed, \
             {} client rules, {} groups, {} former passkeys",
            self.users,
            self.torrents,
            self.removed,
            self.tokens,
            self.tokens_removed,
            self.rules,
            self.groups,
            self.formers
        )
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use persist::DataDir;
    use persist::journal::{Columns, Journal, Options, Said};
    use shard::InfoHash;
    use shard::private::{
        Counters, Endpoints, Fact, Freeleech, Names, Passkey, PeerId, Stamp, Swarm, TorrentId,
        UserId,
    };

    use super::*;

    const NOW: Seconds = Seconds(1_800_000_000);

    fn fact(at: Seconds) -> Record {
        let moved = Counters { uploaded: 1000, downloaded: 10, corrupt: 0 };
        Record::Fact(Fact {
            at,
            stamp: Stamp::at(at),
            over_v6: false,
            after: None,
            user: UserId(1),
            torrent: TorrentId(2),
            info_hash: InfoHash([3; 20]),
            peer_id: PeerId([4; 20]),
            key: 5,
            endpoints: Endpoints::default(),
            hidden: false,
            visible: true,
            reported: moved,
            said: None,
            left: 0,
            partial: false,
            active: true,
            names: Names::FIRST,
            since: at,
            elapsed: 0,
            announces: 1,
            moved,
            upload_percent: 100,
            download_percent: 0,
            token: false,
            credited_up: 1000,
            credited_down: 0,
            token_down: 0,
            token_spent: false,
            snatched: true,
            swarm: Swarm::default(),
        })
    }

    fn changes() -> [Record; 2] {
        let user = Change::User {
            id: UserId(1),
            passkey: Passkey::new(&[b'a'; 32]).unwrap(),
            can_leech: true,
            hidden: false,
            enabled: true,
            group: None,
        };
        let torrent = Change::Torrent {
            id: TorrentId(2),
            info_hash: InfoHash([3; 20]),
            info_hash_v2: None,
            freeleech: Freeleech::Free,
            upload_percent: 100,
        };
        let (at, columns) = (Stamp::at(NOW), Columns::ALL);
        [user, torrent].map(|change| Said { at, columns, change }.into())
    }

    /// A journal of two segments: 2 changes and 100 facts, a minute apart, the last one at `NOW`.
    fn sample(data: &Path) -> Vec<PathBuf> {
        let data_dir = DataDir::open(data).unwrap();
        let options = Options { segment_bytes: 4096, ..Options::default() };
        let mut journal = Journal::open(&data_dir, options).unwrap();
        journal.append(&changes()).unwrap();
        for minutes in (0..100).rev() {
            journal.append(&[fact(NOW - Seconds(60 * minutes))]).unwrap();
        }
        journal.sync().unwrap();
        journal::segments(data).unwrap().into_iter().map(|file| file.path).collect()
    }

    fn with_sample(name: &str, test: impl FnOnce(&Path, &[PathBuf])) {
        let dir = std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let files = sample(&dir);
        test(&dir, &files);
        fs::remove_dir_all(&dir).unwrap();
    }

    fn text(command: impl FnOnce(&mut Vec<u8>) -> Result<(), JournalCommandError>) -> String {
        let mut out = Vec::new();
        command(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn inspect_describes_a_journal() {
        with_sample("journal-inspect", |dir, files| {
            let text = text(|out| inspect(dir, NOW + Seconds(60), out));
            for line in [
                "records     102 (number 0 to 101)",
                "facts       100",
                "  oldest    2027-01-15 06:21:00 UTC (1 h 40 min ago)",
                "  newest    2027-01-15 08:00:00 UTC (1 min ago)",
                "  credited  100000 bytes up, 0 down",
                "  snatches  100",
                "changes     1 users, 1 torrents, 0 torrents removed, 0 tokens, 0 tokens removed, 0 \
                 client rules, 0 groups, 0 former passkeys",
            ] {
                assert!(text.contains(&format!("{line}\n")), "{line} in {text}");
            }
            let bytes: u64 = files.iter().map(|file| fs::metadata(file).unwrap().len()).sum();
            let size = format!("size        {bytes} bytes in {} segments, ", files.len());
            assert!(files.len() > 1 && text.contains(&size), "{size} in {text}");
            assert!(!text.contains("aaaa"), "no passkey is shown");
        });
    }

    #[test]
    fn verify_says_that_a_journal_is_whole_or_what_is_wrong_where() {
        with_sample("journal-verify", |dir, files| {
            let whole = text(|out| verify(dir, out));
            assert!(whole.contains("is whole: 102 records from number 0 on"), "{whole}");
            let one = text(|out| verify(&files[0], out));
            assert!(one.contains("in 1 segments") && !one.contains("102"), "{one}");

            let last = &files[files.len() - 1];
            let bytes = fs::read(last).unwrap();
            fs::write(last, &bytes[..bytes.len() - 1]).unwrap();
            let torn = text(|out| verify(dir, out));
            assert!(torn.contains("being written, or never was"), "{torn}");
            let mut flipped = bytes.clone();
            flipped[bytes.len() - 1] ^= 1;
            fs::write(last, &flipped).unwrap();
            let error = verify(dir, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, JournalCommandError::Torn { .. }), "{error:?}");
            fs::write(last, &bytes).unwrap();

            let mut flipped = fs::read(&files[0]).unwrap();
            flipped[100] ^= 4;
            fs::write(&files[0], &flipped).unwrap();
            let error = verify(dir, &mut Vec::new()).unwrap_err().to_string();
            let expected = format!(
                "journal segment {} is damaged: the checksum of the frame at byte 64 is wrong",
                files[0].display()
            );
            assert!(error.starts_with(&expected), "{error}");
        });
    }

    #[test]
    fn a_missing_segment_is_named() {
        with_sample("journal-missing", |dir, files| {
            fs::copy(&files[1], dir.join("aside")).unwrap();
            let data = DataDir::open(dir).unwrap();
            let options = Options { begin_at: 500, ..Options::default() };
            drop(Journal::open(&data, options).unwrap());
            let error = verify(dir, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("no records from 102 to 500"), "{error}");
            let error = verify(&dir.join("missing"), &mut Vec::new()).unwrap_err().to_string();
            assert_eq!(error, format!("cannot read journal {}", dir.join("missing").display()));
            fs::remove_dir_all(dir.join("journal")).unwrap();
            let error = verify(dir, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, JournalCommandError::Empty(_)), "{error:?}");
        });
    }
}
