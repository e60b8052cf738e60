//! The file that remembers how far torrents are numbered, so that the number of one that is gone is not given again
//! after a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The number above each that was ever given, as it is on the disk.
pub(super) struct HighestNumber {
    folder: PathBuf,
    written: Mutex<u64>,
}

const FILE: &str = "torrent-number";

impl HighestNumber {
    /// As the data folder has it; 0 where it says nothing.
    pub(super) fn of(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let written = match fs::read_to_string(&path).map(|text| text.trim().parse()) {
            Ok(Ok(number)) => number,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            wrong => {
                let path = path.display();
                tracing::warn!(%path, ?wrong, "no number is in this file; new torrents are numbered from the highest one that is known");
                0
            }
        };
        Self { folder: folder.to_owned(), written: Mutex::new(written) }
    }

    /// The number.
    pub(super) fn get(&self) -> u64 {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has it on the disk that numbers below `next` were given.
    pub(super) fn keep(&self, next: u64) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if next <= *written {
            return Ok(());
        }
        let part = self.folder.join(format!("{FILE}.part"));
        let mut file = File::create(&part)?;
        writeln!(file, "{next}")?;
        file.sync_all()?;
        fs::rename(&part, self.folder.join(FILE))?;
        File::open(&self.folder)?.sync_all()?;
        *written = next;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_and_is_there_at_the_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let highest = HighestNumber::of(folder.path());
        assert_eq!(highest.get(), 0);
        highest.keep(7).unwrap();
        highest.keep(5).unwrap();
        assert_eq!((highest.get(), HighestNumber::of(folder.path()).get()), (7, 7));
        fs::write(folder.path().join(FILE), "x").unwrap();
        assert_eq!(HighestNumber::of(folder.path()).get(), 0);
    }
}
