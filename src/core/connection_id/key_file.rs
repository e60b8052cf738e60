//! Where the key of the connection ids is kept: one line of 64 hex digits, readable by its owner.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file is there and cannot be read.
    #[error(
        "cannot read the connection-id key {path}; let the tracker's user read it",
        path = path.display()
    )]
    Read {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what [`load_or_create`] writes. It is left alone: another node may share it.
    #[error(
        "the connection-id key {path} is not 64 hex digits; put the right key there, or remove it \
         to have a new one made (clients then have to connect again)",
        path = path.display()
    )]
    Format {
        /// The key file.
        path: PathBuf,
    },
    /// The file is missing and cannot be made.
    #[error(
        "cannot write the connection-id key {path}; is its directory there and writable?",
        path = path.display()
    )]
    Write {
        /// The key file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a connection-id key")]
    Random(#[source] getrandom::Error),
}

/// The key in the file at `path`; when there is none, a new random one, which is then there: written
/// beside with mode 0600, synced and renamed, so that a crash leaves a whole key or none. The
/// directory has to exist.
pub fn load_or_create(path: &Path) -> Result<[u8; 32], KeyError> {
    match fs::read(path) {
        Ok(text) => parse_key(&text).ok_or_else(|| KeyError::Format { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(KeyError::Random)?;
            store(path, &key)
                .map_err(|source| KeyError::Write { path: path.to_owned(), source })?;
            Ok(key)
        }
        Err(source) => Err(KeyError::Read { path: path.to_owned(), source }),
    }
}

/// A key as its file or an operator has it: 64 hex digits, with any white space around them.
pub fn parse_key(text: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.trim_ascii().try_into().ok()?;
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(key)
}

fn store(path: &Path, key: &[u8; 32]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that a crash has left behind may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut line: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    line.push('\n');
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(line.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory of its own for one test, removed at its end.
    struct Directory(PathBuf);

    impl Directory {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("margay-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn key(&self) -> PathBuf {
            self.0.join("connection-id.key")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn c16_a_key_is_made_once_and_then_stays() {
        let directory = Directory::new("key-stays");
        let key = load_or_create(&directory.key()).unwrap();
        assert_ne!(key, [0; 32]);
        assert_eq!(load_or_create(&directory.key()).unwrap(), key);
        let mode = fs::metadata(directory.key()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1, "nothing is left beside it");
        let other = Directory::new("key-other");
        assert_ne!(load_or_create(&other.key()).unwrap(), key);
    }

    #[test]
    fn a_key_that_a_crash_left_half_written_is_replaced() {
        let directory = Directory::new("key-crash");
        fs::write(directory.0.join("connection-id.key.new"), "0123").unwrap();
        let key = load_or_create(&directory.key()).unwrap();
        assert_eq!(load_or_create(&directory.key()).unwrap(), key);
    }

    #[test]
    fn a_damaged_key_is_named_and_left_alone() {
        let directory = Directory::new("key-damaged");
        for damaged in ["", "0123", &"g".repeat(64), &"0".repeat(65), &"é".repeat(32)] {
            fs::write(directory.key(), damaged).unwrap();
            let error = load_or_create(&directory.key()).unwrap_err();
            assert!(matches!(error, KeyError::Format { .. }), "{error}");
            assert!(error.to_string().contains("connection-id.key is not 64 hex digits"));
            assert_eq!(fs::read_to_string(directory.key()).unwrap(), damaged);
        }
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let directory = Directory::new("key-nowhere");
        let path = directory.0.join("missing").join("key");
        assert!(matches!(load_or_create(&path), Err(KeyError::Write { .. })));
        assert!(matches!(load_or_create(&directory.0), Err(KeyError::Read { .. })));
    }

    #[test]
    fn an_operators_key() {
        let key =
            parse_key(b"  000102030405060708090a0b0c0d0e0fF0F1F2F3F4F5F6F7F8F9FAFBFCFDFEFF\r\n");
        let expected = std::array::from_fn(|at| if at < 16 { at as u8 } else { 0xe0 + at as u8 });
        assert_eq!(key, Some(expected));
        assert_eq!(parse_key(b"+1".repeat(32).as_slice()), None);
    }
}
