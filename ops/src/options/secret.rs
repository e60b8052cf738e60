//! Secrets that an operator gives: in an option, in the environment, or in a file.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// A text that nobody is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

/// Why a file with a secret was refused.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read the secret in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is nothing in the file.
    #[error("{} is empty: it must hold the secret, on one line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// The secret `text`; `None` when it is empty.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The text itself; not for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The secret of an option, or of the file beside it; the file's first line, without the white
    /// space around it.
    pub fn given(option: Option<&Self>, file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        let Some(path) = file else { return Ok(option.cloned()) };
        let text = fs::read_to_string(path)
            .map_err(|source| SecretError::Read { path: path.into(), source })?;
        match Self::new(text.lines().next().unwrap_or_default().trim()) {
            Some(secret) => Ok(Some(secret)),
            None => Err(SecretError::Empty { path: path.into() }),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown_and_a_file_goes_before_the_option() {
        let option = Secret::new("hunter2").unwrap();
        assert!(!format!("{option:?}").contains("hunter2"));
        assert_eq!(Secret::given(Some(&option), None).unwrap(), Some(option.clone()));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "  from the file \nsecond line\n").unwrap();
        let given = Secret::given(Some(&option), Some(&path)).unwrap().unwrap();
        assert_eq!(given.reveal(), "from the file");
        fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::given(None, Some(&path)), Err(SecretError::Empty { .. })));
        let missing = folder.path().join("missing");
        assert!(matches!(Secret::given(None, Some(&missing)), Err(SecretError::Read { .. })));
    }
}
