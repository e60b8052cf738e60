//! Whose docroot it is: where another Master's feed is, nothing is touched.
//!
//! A list in it says by whom it was signed. It is ours when our key has signed it, or when it names our key as the one
//! that follows: so it is after a rotation. Of a standby that takes over the key is the same.

use std::path::{Path, PathBuf};

use super::docroot::Docroot;
use super::manifest::{GENERATION, ITEMS};
use super::start::StartError;
use crate::feed::{KeyPair, PublicKey};
use crate::options;

/// A feed in the docroot that is not ours.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// There is a list, and no key.
    #[error(
        "the docroot has a feed, {}, signed by the key {signer}, and there is no key in {}: put that key there, from a backup. \
         If it is the feed of another Master, give this one a --docroot of its own. If the key is lost for good, remove \
         {} and start again: a new key is made, and every Seeder has to be given the new address",
        list.display(), key.display(), list.display()
    )]
    NoKey {
        /// The list.
        list: PathBuf,
        /// Who has signed it.
        signer: PublicKey,
        /// Where the key would be.
        key: PathBuf,
    },
    /// The list is another key's.
    #[error(
        "the docroot has a feed, {}, signed by the key {signer}, and the key in {} is {own}. If it is the feed of another \
         Master, give this one a --docroot of its own. If it is an older one of this Master, put that key back, from a \
         backup. To take the docroot over, remove {} and start again: its torrents are removed, and every Seeder of it \
         has to be given the new address",
        list.display(), key.display(), list.display()
    )]
    Foreign {
        /// The list.
        list: PathBuf,
        /// Who has signed it.
        signer: PublicKey,
        /// Where our key is.
        key: PathBuf,
        /// Our key.
        own: PublicKey,
    },
}

/// The key of this Master, whose docroot it is. One is made where there is none, and none is missing.
pub(super) fn key(options: &options::Master) -> Result<KeyPair, StartError> {
    let lists = Docroot::lists(options.docroot())?;
    let path = options.key_path();
    let is_there = path.exists();
    if let Some((list, signed)) = lists.first().filter(|_| !is_there) {
        let list = options.docroot().join(list);
        return Err(ClaimError::NoKey { list, signer: signed.key, key: path }.into());
    }
    let key = options.key()?;
    let own = key.public();
    let is_ours = |key: PublicKey, next: Option<PublicKey>| key == own || next == Some(own);
    let foreign = lists.into_iter().find(|(_, signed)| !is_ours(signed.key, signed.list.next_key));
    if let Some((list, signed)) = foreign {
        let list = options.docroot().join(list);
        return Err(ClaimError::Foreign { list, signer: signed.key, key: path, own }.into());
    }
    if !is_there && has_published(&options.data) {
        tracing::warn!(key = %own, "{NEW_KEY}");
    }
    Ok(key)
}

/// Whether a Master has worked with this data folder.
pub fn has_published(data: &Path) -> bool {
    data.join(ITEMS).exists() || data.join(GENERATION).exists()
}

/// What is said where a key was made and there was one before.
pub const NEW_KEY: &str = "there was no key any more and a new one was made: Seeders refuse its lists until they are \
    given the new address. If there is a backup of the old one, stop, and put that back";
