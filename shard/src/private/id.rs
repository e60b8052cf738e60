//! Names of the private mode: users and torrents as the site numbers them, passkeys, peer ids.

use std::fmt;

use crate::InfoHash;

/// A user's number at the site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct UserId(pub u32);

/// A torrent's number at the site.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct TorrentId(pub u32);

/// The number of a group of users at the site, at most [`GroupId::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(transparent)]
pub struct GroupId(pub u16);

impl GroupId {
    /// The largest one: what a `smallint` of the database holds.
    pub const MAX: GroupId = GroupId(i16::MAX as u16);
}

/// The name a client gives itself (BEP 3 `peer_id`); its first bytes mostly tell the program (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PeerId(pub [u8; 20]);

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

/// The secret in a user's announce URL: 32 ASCII letters and digits. Does not show itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Passkey([u8; Passkey::BYTES]);

/// Why something is no passkey.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a passkey is {} ASCII letters and digits", Passkey::BYTES)]
pub struct PasskeyError;

impl Passkey {
    /// How long every passkey is.
    pub const BYTES: usize = 32;

    /// The passkey of these bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, PasskeyError> {
        let bytes: [u8; Self::BYTES] = bytes.try_into().map_err(|_| PasskeyError)?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) {
            Ok(Self(bytes))
        } else {
            Err(PasskeyError)
        }
    }

    /// All of it in twenty bytes, for a table of names.
    pub(crate) fn as_name(&self) -> InfoHash {
        let mut name = *self.0.first_chunk::<20>().expect("it has 32 bytes");
        name.iter_mut().zip(&self.0[20..]).for_each(|(byte, more)| *byte ^= more.rotate_left(1));
        InfoHash(name)
    }

    /// The secret itself, for the database and for the site; not for a log.
    pub fn reveal(&self) -> &str {
        str::from_utf8(&self.0).expect("letters and digits")
    }
}

impl fmt::Debug for Passkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(passkey)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passkey_is_letters_and_digits_and_does_not_show_itself() {
        let text = "0123456789abcdefghijABCDEFGHIJxy";
        let passkey = Passkey::new(text.as_bytes()).unwrap();
        assert_eq!(passkey.reveal(), text);
        assert!(!format!("{passkey:?}").contains("0123"));
        for wrong in ["", "short", "0123456789abcdefghijABCDEFGHIJx/", &"a".repeat(33)] {
            assert_eq!(Passkey::new(wrong.as_bytes()), Err(PasskeyError), "{wrong}");
        }
    }
}
