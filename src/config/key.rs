//! The key of UDP connection ids, as an operator gives it.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

/// 32 secret bytes that UDP connection ids are made with. Never printed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionIdKey(pub [u8; 32]);

/// Why a key file was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the connection-id key in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{} holds no connection-id key: it must be 64 hex digits, as `openssl rand -hex 32` writes",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

impl ConnectionIdKey {
    /// Reads 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = (high? * 16 + low?) as u8;
        }
        Some(Self(key))
    }
}

impl fmt::Debug for ConnectionIdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionIdKey(…)")
    }
}

/// Reads a key file: 64 hex digits, white space around them ignored.
pub(super) fn read(path: &Path) -> Result<ConnectionIdKey, KeyError> {
    let text = fs::read(path).map_err(|source| KeyError::Read { path: path.into(), source })?;
    let text = String::from_utf8_lossy(&text);
    ConnectionIdKey::from_hex(text.trim()).ok_or_else(|| KeyError::Malformed { path: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_64_hex_digits_and_nothing_else() {
        let key = ConnectionIdKey::from_hex(&"0aFf".repeat(16)).unwrap();
        assert_eq!(key.0[..4], [0x0a, 0xff, 0x0a, 0xff]);
        for text in [String::new(), "0".repeat(63), "0".repeat(65), "0g".repeat(32), "é".repeat(32)]
        {
            assert_eq!(ConnectionIdKey::from_hex(&text), None, "{text}");
        }
    }

    #[test]
    fn a_key_is_not_printed() {
        let key = ConnectionIdKey([0xab; 32]);
        assert!(!format!("{key:?}").contains("ab"));
    }
}
