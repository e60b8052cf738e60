//! Why a list is not followed.

use super::key::PublicKey;
use super::list::{BYTES_MAX, ITEMS_MAX};

/// Why a list was refused. Nothing is ever removed because of one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FeedError {
    /// No bytes at all.
    #[error(
        "the list is empty: not one byte came; look at the Master's docroot, where a full disk leaves empty files, and \
         at the web server"
    )]
    Empty,
    /// More than [`BYTES_MAX`].
    #[error(
        "the list is longer than {BYTES_MAX} bytes and is not read; let the Master publish less in one feed"
    )]
    TooLarge,
    /// Something else than a list.
    #[error(
        "this is no list but begins with {begins:?}; check that the feed's address is right, and that no error page, \
         login or proxy answers there"
    )]
    NotAList {
        /// Its first characters.
        begins: String,
    },
    /// A list of another version of margay.
    #[error("the list is of format {found}, and this program reads format 1; update it")]
    Version {
        /// What it says.
        found: String,
    },
    /// The line of key and signature, or the line behind it, is not what it has to be.
    #[error(
        "the list's head is damaged ({why}); fetch it again, and look at what is between here and the Master"
    )]
    Head {
        /// What is wrong.
        why: String,
    },
    /// It ends too early.
    #[error(
        "the list is cut off ({arrived}); it is fetched again at the next poll; if that stays, look at the Master's docroot"
    )]
    Truncated {
        /// How much of it is there.
        arrived: String,
    },
    /// Signed by somebody else.
    #[error(
        "the list is signed by {key}, which is not trusted here (trusted: {trusted}); if the Master has a new key, \
         compare it with what its operator tells you, put it into the feed's address (#ed25519=KEY) and start again"
    )]
    ForeignKey {
        /// The key it names.
        key: PublicKey,
        /// Those that are trusted.
        trusted: String,
    },
    /// The key is right, the signature is not.
    #[error(
        "the list's signature is wrong: it was changed on its way or at rest; look at what is between here and the Master"
    )]
    Signature,
    /// The number of items is not the one that is said.
    #[error(
        "the list says {said} items and has {found}; the Master that signed it is at fault: update it"
    )]
    Count {
        /// What its head says.
        said: u64,
        /// How many lines there are, at most one more than was said.
        found: u64,
    },
    /// More than [`ITEMS_MAX`].
    #[error(
        "the list says {said} items, more than {ITEMS_MAX}, and is not read; let the Master publish less in one feed"
    )]
    TooMany {
        /// What its head says.
        said: u64,
    },
    /// An item that cannot be.
    #[error(
        "line {line} of the list is refused: {why}; the Master that signed it is at fault: correct it there"
    )]
    Item {
        /// Its line, the first of the document is 1.
        line: u64,
        /// What is wrong.
        why: String,
    },
    /// Older than what was seen.
    #[error(
        "the list is of epoch {epoch} generation {generation}, older than {seen_epoch}/{seen_generation} that was seen; \
         an old copy is served: look at caches and at the Master's docroot; where the Master itself was put back to \
         an older state, raise the number in the file `epoch` of its data folder"
    )]
    Replayed {
        /// What it says.
        epoch: u64,
        /// What it says.
        generation: u64,
        /// What was seen of this Master.
        seen_epoch: u64,
        /// What was seen of this Master.
        seen_generation: u64,
    },
    /// Two lists with one number.
    #[error(
        "the list of epoch {epoch} generation {generation} is another one than was seen with these numbers; two Masters \
         use one key, or one was put back: stop one, and promote the other"
    )]
    Changed {
        /// What both say.
        epoch: u64,
        /// What both say.
        generation: u64,
    },
    /// Another Master has taken over since.
    #[error(
        "the list is of epoch {epoch}, and a Master of epoch {seen_epoch} has taken over since; this one should stand by, \
         or be promoted"
    )]
    Superseded {
        /// What it says.
        epoch: u64,
        /// The highest that was seen.
        seen_epoch: u64,
    },
    /// The packed form is damaged.
    #[error("the list cannot be unpacked: {why}; it is fetched again at the next poll")]
    Gzip {
        /// What the unpacker said.
        why: String,
    },
}
