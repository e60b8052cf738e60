//! What Seeders and readers follow: the feed, its signed list, and the rules for what vanished from it.
//!
//! A Master makes a [`List`] of all that it publishes. [`write`] signs it for Seeders, [`rss`] tells readers of the
//! newest of it. A Seeder has [`read`] check what came, [`Follower`] choose between several feeds and refuse what is
//! older than what was seen, and [`Removals`] decide what may go. Here are values and functions alone: no socket, no
//! clock, no thread, and no files but those of the key.

mod address;
mod document;
mod error;
mod follower;
mod item;
mod key;
mod list;
mod removals;
mod rss;
mod trust;

pub use address::{AddressError, FeedAddress};
pub use document::{Document, unpack};
pub use error::FeedError;
pub use follower::{Follower, Verdict};
pub use item::{Item, NameFault, check_name, title};
pub use key::{KEY_FILE, KeyError, KeyPair, NEXT_KEY_FILE, OLD_KEY_FILE, PublicKey};
pub use list::{
    BYTES_MAX, ITEMS_MAX, LINE_BYTES_MAX, List, MASTERS_MAX, NAME_BYTES_MAX, SIZE_MAX, Signed,
    TITLE_BYTES_MAX, TORRENT_BYTES_MAX, URL_BYTES_MAX, read, read_of_anyone, sign, write,
};
pub use removals::{Held, Removals, Rules as RemovalRules, State as RemovalState};
pub use rss::{ITEMS as RSS_ITEMS, NAMESPACE, Page, rss};
pub use trust::TrustedKeys;
