//! Who changed what, and from where: a line in the log for each request, and a line of JSON for each change in a
//! file of the data folder, a file a day. By the API, by Ocelot's interface, by SQL, or by `margay api-token`.
//!
//! A change that cannot be noted is made all the same; the log says that it is missing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use persist::Trouble;
use serde_json::{Value, json};
use shard::Seconds;

use super::text::{date, moment};

/// What the names of the files begin and end with; between them is the day, as in `audit-2026-11-29.jsonl`.
const NAME: (&str, &str) = ("audit-", ".jsonl");

static UNWRITTEN: Trouble = Trouble::new();

/// The files of a data folder.
#[derive(Debug)]
pub struct Audit {
    folder: PathBuf,
    kept_days: u64,
    today: Mutex<Option<(u64, File)>>,
}

/// Who asks, and from where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asker {
    /// The name of a token of the API, `local` for the one in the data folder; `ocelot`, `sql`, or who ran a command.
    pub who: String,
    /// Where the request came from, if it came over a network.
    pub address: Option<IpAddr>,
}

/// A change without its secrets, and what became of it: `done`, or the code of a failure.
pub type Noted = (Value, &'static str);

impl Audit {
    /// Files in `folder`, each kept for this time.
    pub fn new(folder: PathBuf, kept: Duration) -> Self {
        Self { folder, kept_days: kept.as_secs().div_ceil(86_400), today: Mutex::default() }
    }

    /// Notes what a request has changed, in the log and in the file, where it is on the disk then.
    pub fn note(&self, asker: &Asker, changes: &[Noted], now: Seconds) {
        let [(first, became), ..] = changes else { return };
        let who = &asker.who;
        let address = asker.address.map(tracing::field::display);
        match changes.len() {
            1 => tracing::info!(who, address, change = %first, became, "audit"),
            many => {
                let done = changes.iter().filter(|(_, became)| *became == "done").count();
                tracing::info!(who, address, changes = many, done, first = %first, "audit");
            }
        }
        if let Err(error) = self.keep(asker, changes, now)
            && let Some(times) = UNWRITTEN.again("")
        {
            let folder = self.folder.display();
            tracing::error!(%error, %folder, times, "what was changed cannot be noted; it stands in the log alone");
        }
    }

    /// Notes it in the file alone.
    ///
    /// # Errors
    /// Of the file: it cannot be made, or written to.
    pub fn keep(&self, asker: &Asker, changes: &[Noted], now: Seconds) -> io::Result<()> {
        let mut lines = String::new();
        for (change, became) in changes {
            let line = json!({
                "at": moment(now.0.into()),
                "who": asker.who,
                "address": asker.address,
                "change": change,
                "became": became,
            });
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        self.write(&lines, now)
    }

    fn write(&self, lines: &str, now: Seconds) -> io::Result<()> {
        let day = u64::from(now.0) / 86_400;
        let path = self.folder.join(name(day));
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has moved it away gets a new one.
        let is_there = |file: &File| {
            let (Ok(named), Ok(open)) = (fs::symlink_metadata(&path), file.metadata()) else {
                return false;
            };
            (named.dev(), named.ino()) == (open.dev(), open.ino())
        };
        if !matches!(&*today, Some((of, file)) if *of == day && is_there(file)) {
            *today = Some((day, open(&path)?));
            self.forget_old(day);
        }
        let Some((_, file)) = &mut *today else { return Ok(()) };
        let bytes = file.metadata()?.len();
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        if written.is_err() {
            // Half a line would spoil the next one.
            let _ = file.set_len(bytes);
            *today = None;
        }
        written
    }

    /// Removes the files of days that are not kept. What cannot be read or removed stays.
    fn forget_old(&self, day: u64) {
        let oldest = name(day.saturating_sub(self.kept_days));
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let is_old = file.to_str().is_some_and(|file| {
                file.len() == oldest.len()
                    && file.starts_with(NAME.0)
                    && file.ends_with(NAME.1)
                    && file < oldest.as_str()
            });
            if is_old && let Err(error) = fs::remove_file(entry.path()) {
                tracing::warn!(%error, file = %entry.path().display(), "cannot remove an old audit file");
            }
        }
    }
}

/// Opens a file to write at its end, or makes it for the owner of its folder: root may be first today, and the
/// tracker is to go on with it. What lies there in its place (a link above all, by which the folder's owner could
/// have root write elsewhere) is refused.
fn open(path: &Path) -> io::Result<File> {
    let new = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
    match new {
        Ok(file) => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let (folder, own) = (fs::metadata(folder.unwrap_or(Path::new(".")))?, file.metadata()?);
            if (folder.uid(), folder.gid()) != (own.uid(), own.gid()) {
                let _ = fchown(&file, Some(folder.uid()), Some(folder.gid()));
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
            let file = OpenOptions::new().append(true).custom_flags(flags).open(path)?;
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
            }
        }
        Err(error) => Err(error),
    }
}

fn name(day: u64) -> String {
    format!("{}{}{}", NAME.0, date(day * 86_400), NAME.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &std::path::Path) -> Vec<(String, usize)> {
        let mut files: Vec<(String, usize)> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let lines = fs::read_to_string(entry.path()).unwrap().lines().count();
                (entry.file_name().into_string().unwrap(), lines)
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn nothing_but_a_file_is_written_to_and_one_that_is_gone_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        let path = folder.path().join("audit-1970-01-01.jsonl");
        let audit = Audit::new(folder.path().to_owned(), Duration::from_secs(86_400));
        let asker = Asker { who: "site".to_owned(), address: None };
        let keep = || audit.keep(&asker, &[(json!({}), "done")], Seconds(5));
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        keep().unwrap_err();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        keep().unwrap_err();
        fs::remove_dir(&path).unwrap();
        for _ in 0..2 {
            keep().unwrap();
        }
        fs::rename(&path, folder.path().join("moved")).unwrap();
        keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_file_a_day_is_kept_for_as_long_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let day = |day: u32| Seconds(day * 86_400 + 5);
        let audit = Audit::new(folder.path().to_owned(), Duration::from_secs(2 * 86_400));
        let asker = Asker { who: "site".to_owned(), address: Some([127, 0, 0, 1].into()) };
        fs::write(folder.path().join("audit-of-mine.jsonl"), "x\n").unwrap();
        let change = (json!({"op": "patch_user", "id": 7}), "done");
        audit.note(&asker, std::slice::from_ref(&change), day(0));
        audit.note(&asker, &[change.clone(), change.clone()], day(0));
        audit.note(&asker, &[], day(0));
        for later in [1, 2] {
            audit.note(&asker, std::slice::from_ref(&change), day(later));
        }
        let files = |files: &[(&str, usize)]| -> Vec<(String, usize)> {
            files.iter().map(|(name, lines)| ((*name).to_owned(), *lines)).collect()
        };
        let all = files(&[
            ("audit-1970-01-01.jsonl", 3),
            ("audit-1970-01-02.jsonl", 1),
            ("audit-1970-01-03.jsonl", 1),
            ("audit-of-mine.jsonl", 1),
        ]);
        assert_eq!(read(folder.path()), all);
        audit.note(&asker, std::slice::from_ref(&change), day(3));
        let kept = [&all[1..3], &files(&[("audit-1970-01-04.jsonl", 1)]), &all[3..]].concat();
        assert_eq!(read(folder.path()), kept);
        let text = fs::read_to_string(folder.path().join("audit-1970-01-02.jsonl")).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            line,
            json!({
                "at": "1970-01-02 00:00:05", "who": "site", "address": "127.0.0.1",
                "change": {"op": "patch_user", "id": 7}, "became": "done",
            })
        );
    }
}
