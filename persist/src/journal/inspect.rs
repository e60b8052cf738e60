//! Reads all of a journal again while it is written, to know early of what a disk has lost: the records that the
//! database has already are read by nobody until a database is restored, and then they are all that there is.

use std::path::{Path, PathBuf};

use super::survey::{SegmentFile, segments, survey};
use super::{JournalError, Status, Survey};

/// Damage in a journal, as the next start or restore would meet it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// In which segment.
    pub path: PathBuf,
    /// What is wrong with it, in words.
    pub text: String,
}

/// Reads all segments in a folder but the last, which is being written. `pace` is called for each record, and is where
/// the reader rests; false ends it, and then nothing is known.
pub fn inspect(
    dir: &Path,
    mut pace: impl FnMut() -> bool,
) -> Result<Option<Vec<Found>>, JournalError> {
    let files = segments(dir)?;
    let (mut found, mut goes_on) = (Vec::new(), true);
    let Some((_, whole)) = files.split_last() else { return Ok(Some(found)) };
    for file in whole {
        match survey(file, |_, _| goes_on = goes_on && pace()) {
            Ok(part) => found.extend(missing(&part, file)),
            // It was not needed any more.
            Err(_) if !file.path.exists() => {}
            Err(error) => found.push(Found { path: file.path.clone(), text: error.to_string() }),
        }
        if !goes_on {
            return Ok(None);
        }
    }
    Ok(Some(found))
}

/// What a segment lacks up to where the next one begins.
fn missing(part: &Survey, file: &SegmentFile) -> Option<Found> {
    let lacks = file.below.checked_sub(part.end).filter(|lacks| *lacks > 0)?;
    let text = match &part.torn {
        Some(torn) => torn.damage.to_string(),
        None => format!("{lacks} records are not in it"),
    };
    Some(Found { path: part.path.clone(), text })
}

impl Status {
    /// Notes what [`inspect`] has found.
    pub fn note_damage(&self, found: Vec<Found>) {
        *self.damage() = found;
    }

    /// What [`inspect`] has found the last time.
    pub fn found_damage(&self) -> Vec<Found> {
        self.damage().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data_dir::DataDir;
    use crate::journal::{Journal, Options, random};
    use crate::scratch::Scratch;

    #[test]
    fn damage_in_the_middle_is_found_and_the_end_is_left_alone() {
        let scratch = Scratch::new();
        let options = Options { segment_bytes: 8 << 10, ..Options::default() };
        let data = DataDir::open(scratch.path()).unwrap();
        let mut journal = Journal::open(&data, options).unwrap();
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..50 {
            journal.append(&random::several(&mut rng, 20)).unwrap();
        }
        journal.sync().unwrap();
        let files = segments(scratch.path()).unwrap();
        assert!(files.len() > 4, "{}", files.len());
        assert_eq!(inspect(scratch.path(), || true).unwrap(), Some(Vec::new()));
        // Whoever is told to end knows nothing.
        assert_eq!(inspect(scratch.path(), || false).unwrap(), None);
        let spoil = |at: usize| {
            let path = &files[at].path;
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        };
        spoil(files.len() - 1);
        assert_eq!(inspect(scratch.path(), || true).unwrap(), Some(Vec::new()));
        spoil(1);
        let found = inspect(scratch.path(), || true).unwrap().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, files[1].path);
    }
}
