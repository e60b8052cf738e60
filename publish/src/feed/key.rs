//! Keys: what a Master signs with, and what a Seeder knows it by.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::{fmt, str};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::durable::{self, FileError, Readers};

/// The file of the key in the Master's data folder: PKCS#8 (RFC 5958), mode 0600.
pub const KEY_FILE: &str = "feed.key";
/// The file of the key that is to follow, while a rotation is under way.
pub const NEXT_KEY_FILE: &str = "feed.next.key";
/// The file of the key that was before, once a rotation is over.
pub const OLD_KEY_FILE: &str = "feed.old.key";
/// The file that says which key a list has named as the one to follow.
const TOLD_FILE: &str = "feed.next.told";

/// An ed25519 public key (RFC 8032). As text it is 43 characters of base64url (RFC 4648, section 5).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The key that is written as 43 characters, or 44 with the `=` behind them.
    pub fn parse(text: &str) -> Option<Self> {
        base64(text.strip_suffix('=').unwrap_or(text)).map(Self)
    }

    /// Whether `signature` is this key's over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("a key is 43 characters of base64url"))
    }
}

/// What a Master signs with.
pub struct KeyPair {
    pair: Ed25519KeyPair,
}

impl KeyPair {
    /// The key in the data folder `folder`; made there when there is none.
    ///
    /// A file that others may read is refused: whoever has it is the Master to every Seeder.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        Self::open_file(&folder.join(KEY_FILE))
    }

    /// The key that is to follow in `folder`, where a rotation is under way.
    pub fn next(folder: &Path) -> Result<Option<Self>, KeyError> {
        Self::read(&folder.join(NEXT_KEY_FILE))
    }

    /// Begins a rotation: makes the key that is to follow, or finds the one that was made.
    ///
    /// From now on lists are signed by the old key and name this one (`List::next_key`).
    pub fn begin_rotation(folder: &Path) -> Result<Self, KeyError> {
        Self::open_file(&folder.join(NEXT_KEY_FILE))
    }

    /// A list is out that names `next` as the key that follows.
    pub fn told_next(folder: &Path, next: &PublicKey) -> Result<(), FileError> {
        if Self::is_told(folder, next) {
            return Ok(());
        }
        let path = folder.join(TOLD_FILE);
        durable::write(&path, format!("{next}\n").as_bytes(), Readers::All)
    }

    fn is_told(folder: &Path, next: &PublicKey) -> bool {
        let told = fs::read_to_string(folder.join(TOLD_FILE));
        told.is_ok_and(|told| PublicKey::parse(told.trim()) == Some(*next))
    }

    /// Ends a rotation: the key that was to follow is now the key, and the old one is kept aside. Not before a list was
    /// out that names it: no Seeder would follow.
    pub fn end_rotation(folder: &Path) -> Result<Self, KeyError> {
        let (next, key) = (folder.join(NEXT_KEY_FILE), folder.join(KEY_FILE));
        let pair = Self::read(&next)?.ok_or_else(|| KeyError::NoNext { path: next.clone() })?;
        if !Self::is_told(folder, &pair.public()) {
            return Err(KeyError::Untold { path: next });
        }
        if let Some(old) = Self::read_bytes(&key)? {
            let aside = folder.join(OLD_KEY_FILE);
            durable::write(&aside, &old, Readers::Owner)
                .map_err(|error| KeyError::Write { path: aside, source: error.source })?;
        }
        durable::rename(&next, &key).map_err(|source| KeyError::Write { path: key, source })?;
        // What is left of it says nothing of another key.
        let _ = durable::remove(&folder.join(TOLD_FILE));
        Ok(pair)
    }

    /// A key of 32 bytes that are known: for tests alone.
    #[doc(hidden)]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(seed).expect("every 32 bytes are a seed") }
    }

    /// What Seeders know this key by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().try_into().expect("a key is 32 bytes"))
    }

    /// Its signature over `message`.
    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().expect("a signature is 64 bytes")
    }

    /// The key in the file at `path`; made there when there is none.
    pub fn open_file(path: &Path) -> Result<Self, KeyError> {
        loop {
            if let Some(pair) = Self::read(path)? {
                return Ok(pair);
            }
            match Self::make(path) {
                // Another process was faster, and its key is the one.
                Err(KeyError::Write { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
    }

    fn read(path: &Path) -> Result<Option<Self>, KeyError> {
        let Some(bytes) = Self::read_bytes(path)? else { return Ok(None) };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes)
            .map_err(|error| KeyError::Damaged { path: path.to_owned(), why: error.to_string() })?;
        Ok(Some(Self { pair }))
    }

    fn read_bytes(path: &Path) -> Result<Option<Vec<u8>>, KeyError> {
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.mode() & 0o077 != 0 {
            return Err(KeyError::Open { path: path.to_owned() });
        }
        let mut bytes = Vec::new();
        file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }

    /// Never over one that is there.
    fn make(path: &Path) -> Result<Self, KeyError> {
        let pkcs8 =
            Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        durable::write_new(path, pkcs8.as_ref(), Readers::Owner)
            .map_err(|error| KeyError::Write { path: path.to_owned(), source: error.source })?;
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("it was made here");
        Ok(Self { pair })
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair of {}", self.public())
    }
}

/// The `N` bytes that are written as base64url without padding.
pub(super) fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    // `decode` makes room for what it is given.
    if text.len() > N * 4 / 3 + 1 {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the key {path}; give the user that publishes access to it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the key {path}; the data folder has to be there and writable")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error(
        "others than its owner may read the key {path}; run chmod 600 on it, and rotate it if somebody may have read it"
    )]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// It is no key.
    #[error(
        "{path} is no ed25519 key in PKCS#8 ({why}); put it back from a backup, or remove it: then a new key is made, \
         which every Seeder has to be told by hand"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no rotation to end.
    #[error("there is no {path}: no rotation is under way; begin one first")]
    NoNext {
        /// The file.
        path: PathBuf,
    },
    /// No Seeder knows of the key that is to follow.
    #[error(
        "no list has named {path} yet, and no Seeder would follow it: start the Master again, wait until all Seeders have \
         asked it, and switch then"
    )]
    Untold {
        /// The file.
        path: PathBuf,
    },
    /// The system has no randomness.
    #[error(
        "the system gives no random bytes (getrandom), so no key can be made; see whether /dev/urandom is there"
    )]
    Random,
}

const KEY_FILE_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeyPair::open(folder.path()).unwrap().public();
        assert_eq!(KeyPair::open(folder.path()).unwrap().public(), first);
        let mode = fs::metadata(folder.path().join(KEY_FILE)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn many_that_start_at_once_have_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| KeyPair::open(folder.path()).unwrap().public()))
                .collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_others_read_or_that_is_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        KeyPair::open(folder.path()).unwrap();
        let path = folder.path().join(KEY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(KeyPair::open(folder.path()).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(KeyPair::open(folder.path()), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn a_rotation_goes_from_key_to_key() {
        let folder = tempfile::tempdir().unwrap();
        let old = KeyPair::open(folder.path()).unwrap().public();
        assert!(KeyPair::next(folder.path()).unwrap().is_none());
        assert!(matches!(KeyPair::end_rotation(folder.path()), Err(KeyError::NoNext { .. })));
        let new = KeyPair::begin_rotation(folder.path()).unwrap().public();
        assert_eq!(KeyPair::begin_rotation(folder.path()).unwrap().public(), new);
        assert_eq!(KeyPair::open(folder.path()).unwrap().public(), old);
        KeyPair::told_next(folder.path(), &old).unwrap();
        assert!(matches!(KeyPair::end_rotation(folder.path()), Err(KeyError::Untold { .. })));
        assert_eq!(KeyPair::open(folder.path()).unwrap().public(), old);
        KeyPair::told_next(folder.path(), &new).unwrap();
        assert_eq!(KeyPair::end_rotation(folder.path()).unwrap().public(), new);
        assert_eq!(KeyPair::open(folder.path()).unwrap().public(), new);
        assert!(KeyPair::next(folder.path()).unwrap().is_none());
        let aside = KeyPair::open_file(&folder.path().join(OLD_KEY_FILE)).unwrap();
        assert_eq!(aside.public(), old);
        KeyPair::begin_rotation(folder.path()).unwrap();
        assert!(matches!(KeyPair::end_rotation(folder.path()), Err(KeyError::Untold { .. })));
    }

    #[test]
    fn a_public_key_is_its_text() {
        let key = KeyPair::from_seed(&[7; 32]).public();
        let text = key.to_string();
        assert_eq!(text.len(), 43);
        assert_eq!(PublicKey::parse(&text), Some(key));
        assert_eq!(PublicKey::parse(&format!("{text}=")), Some(key));
        for wrong in [
            "",
            "=",
            &text[1..],
            &format!("{text}=="),
            &format!("{text}A"),
            &text.replace(&text[..1], "!"),
        ] {
            assert_eq!(PublicKey::parse(wrong), None, "{wrong}");
        }
    }
}
