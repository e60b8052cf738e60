//! The private mode: registered torrents, known users, and what each is credited.
//!
//! [`Swarms`] is the engine of it: an [`Announce`] goes in, a [`Fact`] comes out. The rest of what is here
//! is what the engine, the journal and the database say to each other. A [`Fact`] is what one announce
//! did to the accounting; a [`Change`] is what the site did. Both carry absolute values, so that whoever
//! applies one twice is where he was after the first time.
//!
//! A peer is a `Face`, 16 bytes that choosing looks at, in a list or table of its torrent,
//! and an account of 48 bytes with its name and figures, which stays where it is.

mod change;
mod fact;
mod id;
mod request;
mod stamp;
mod terms;

mod piece;
mod swarms;

mod announce;
mod credit;
mod heard;
mod recent;

mod account;
mod face;
mod hybrid;
mod members;
mod slots;
mod succeeded;
mod torrent;
mod wait;
mod wides;

mod deletions;
mod rights;
mod strangers;
mod tokens;

mod choose;
mod export;
mod inspect;
mod replay;
mod rules;
mod sweep;
mod warm;

pub mod fold;
pub mod model;

pub use change::{Change, ClientPrefix};
pub use export::Cursor;
pub use fact::{Fact, Swarm};
pub use hybrid::{NamedRecord, Names};
pub use id::{GroupId, Passkey, PasskeyError, PeerId, TorrentId, UserId};
pub use inspect::{Bookmark, Presence};
pub use piece::{DeletionRecord, PeerRecord, Piece, TokenRecord, TorrentRecord};
pub use request::{Announce, Counters, Endpoint, Endpoints};
pub use rules::{HeldToken, Rules, RulesCursor};
pub use stamp::Stamp;
pub use swarms::{AHEAD_MAX, Facts, Gone, Limits, Outcome, Refusal, Swarms, Totals};
pub use sweep::{Refused, Swept};
pub use terms::{Freeleech, Terms, User};
