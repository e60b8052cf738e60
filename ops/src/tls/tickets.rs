//! Session tickets (RFC 5077; RFC 8446, section 4.6.1): what a client keeps to come back without a full handshake.
//!
//! The server keeps nothing but the keys that they are sealed with. All threads have the same keys, and so has the next
//! process, by a file: clients that resume before a restart resume after it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// A new key is used from then on; the one before opens tickets for as long again.
const ROTATION: u64 = 12 * 60 * 60;

/// A client comes back within two announces; a ticket is good for at least one rotation.
const LIFETIME: u32 = ROTATION as u32;

/// The key's name, its random part, and when it was made.
const NAME_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// First line of the file.
const MAGIC: &[u8; 16] = b"margay tickets 1";
const RECORD_BYTES: usize = NAME_BYTES + SECRET_BYTES + 8;

/// The keys, shared by all threads.
pub struct TicketKeys {
    path: PathBuf,
    keys: RwLock<Keys>,
}

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TicketKeys").field("path", &self.path).finish_non_exhaustive()
    }
}

struct Keys {
    current: Key,
    former: Option<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    secret: [u8; SECRET_BYTES],
    /// In seconds since 1970.
    made: u64,
    sealer: LessSafeKey,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum TicketsError {
    /// The file cannot be read or written.
    #[error("cannot keep the keys of TLS tickets in {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for the keys of TLS tickets")]
    Random,
}

impl TicketKeys {
    /// The keys in this file, or new ones, which are written there. What is damaged is replaced: that costs each client
    /// one full handshake.
    ///
    /// # Errors
    /// When the file cannot be read or written for another reason than that it is not there.
    pub fn open(path: PathBuf, now: u64) -> Result<Self, TicketsError> {
        let failed = |source| TicketsError::File { path: path.clone(), source };
        let found = match fs::read(&path) {
            Ok(bytes) => read(&bytes, now),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        let is_new = found.is_none();
        let keys = match found {
            Some(keys) => keys,
            None => Keys { current: Key::make(now)?, former: None },
        };
        let tickets = Self { path, keys: RwLock::new(keys) };
        if is_new {
            tickets.write()?;
        }
        tickets.rotate(now)?;
        Ok(tickets)
    }

    /// Takes a new key when it is time; whether it was.
    ///
    /// # Errors
    /// When it cannot be written: it is used all the same, and tried again.
    pub fn rotate(&self, now: u64) -> Result<bool, TicketsError> {
        {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            // A clock that went back makes no key that lasts for ever.
            let age = now.checked_sub(keys.current.made);
            if age.is_some_and(|age| age < ROTATION) {
                return Ok(false);
            }
            let new = Key::make(now)?;
            let former = std::mem::replace(&mut keys.current, new);
            keys.former = age.is_some_and(|age| age < 2 * ROTATION).then_some(former);
        }
        self.write()?;
        Ok(true)
    }

    /// Beside, synced, renamed: a reader sees all of it or what was before.
    fn write(&self) -> Result<(), TicketsError> {
        let mut bytes = MAGIC.to_vec();
        {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            for key in std::iter::once(&keys.current).chain(&keys.former) {
                bytes.extend_from_slice(&key.name);
                bytes.extend_from_slice(&key.secret);
                bytes.extend_from_slice(&key.made.to_le_bytes());
            }
        }
        let beside = self.path.with_extension("new");
        let write = |path: &Path| {
            let mut file = fs::OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(path)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(path, &self.path)
        };
        write(&beside).map_err(|source| TicketsError::File { path: self.path.clone(), source })
    }
}

impl Key {
    fn make(now: u64) -> Result<Self, TicketsError> {
        let (mut name, mut secret) = ([0; NAME_BYTES], [0; SECRET_BYTES]);
        rand::fill(&mut name).map_err(|_| TicketsError::Random)?;
        rand::fill(&mut secret).map_err(|_| TicketsError::Random)?;
        Ok(Self::new(name, secret, now))
    }

    fn new(name: [u8; NAME_BYTES], secret: [u8; SECRET_BYTES], made: u64) -> Self {
        let unbound =
            UnboundKey::new(&AES_256_GCM, &secret).expect("the length is that of AES-256");
        Self { name, secret, made, sealer: LessSafeKey::new(unbound) }
    }
}

/// The keys in a file; nothing when they are damaged, or too old to be of use.
fn read(bytes: &[u8], now: u64) -> Option<Keys> {
    let records = bytes.strip_prefix(MAGIC)?;
    let (records, rest) = records.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let mut keys = records.iter().map(|record| {
        let (name, rest) = record.split_first_chunk::<NAME_BYTES>()?;
        let (secret, made) = rest.split_first_chunk::<SECRET_BYTES>()?;
        let made = u64::from_le_bytes(*made.first_chunk()?);
        Some(Key::new(*name, *secret, made))
    });
    let current = keys.next()??;
    let former = keys.next().flatten().filter(|key| key.made.saturating_add(2 * ROTATION) > now);
    Some(Keys { current, former })
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    /// The key's name, a nonce, and the sealed session.
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = &keys.current;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let tag_bytes = AES_256_GCM.tag_len();
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + plain.len() + tag_bytes);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[NAME_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.sealer.seal_in_place_separate_tag(nonce, Aad::from(key.name), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key =
            std::iter::once(&keys.current).chain(&keys.former).find(|key| key.name == *name)?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.sealer.open_in_place(nonce, Aad::from(*name), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_outlives_a_restart_and_one_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tls-tickets");
        let keys = TicketKeys::open(path.clone(), 1000).unwrap();
        let ticket = keys.encrypt(b"a session").unwrap();
        drop(keys);
        let keys = TicketKeys::open(path.clone(), 1000 + ROTATION - 1).unwrap();
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"a session");
        assert!(keys.rotate(1000 + ROTATION).unwrap());
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"a session");
        drop(keys);
        let keys = TicketKeys::open(path, 1000 + ROTATION + 1).unwrap();
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"a session");
        let newer = keys.encrypt(b"another").unwrap();
        assert!(keys.rotate(1000 + 2 * ROTATION).unwrap());
        assert_eq!(keys.decrypt(&ticket), None);
        assert_eq!(keys.decrypt(&newer).unwrap(), b"another");
    }

    #[test]
    fn what_is_no_ticket_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keys = TicketKeys::open(folder.path().join("t"), 0).unwrap();
        let ticket = keys.encrypt(b"a session").unwrap();
        for length in 0..ticket.len() {
            assert_eq!(keys.decrypt(&ticket[..length]), None);
        }
        for at in 0..ticket.len() {
            let mut damaged = ticket.clone();
            damaged[at] ^= 1;
            assert_eq!(keys.decrypt(&damaged), None);
        }
    }

    #[test]
    fn a_damaged_file_is_replaced_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        for damaged in [&b""[..], b"garbage", b"margay tickets 1", b"margay tickets 1 and more"] {
            fs::write(&path, damaged).unwrap();
            let keys = TicketKeys::open(path.clone(), 5).unwrap();
            let ticket = keys.encrypt(b"x").unwrap();
            let again = TicketKeys::open(path.clone(), 6).unwrap();
            assert_eq!(again.decrypt(&ticket).unwrap(), b"x");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
