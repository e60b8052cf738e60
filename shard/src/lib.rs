//! The engine: swarms as plain data.
//!
//! A [`Shard`] is the part of the infohash space that one core owns. It does no I/O, starts no
//! thread, reads no clock and keeps no random state: time and randomness come in as arguments, so
//! that a seed replays a whole run.

#![forbid(unsafe_code)]

mod id;
mod piece;
mod request;
#[path = "shard.rs"]
mod store;
mod time;

pub use id::{ClientTag, InfoHash};
pub use piece::{PeerRecord, PeerState, Piece, SwarmRecord};
pub use request::{Announce, Counts, Event, Families, Refusal, Reply};
pub use store::{Cursor, Expired, Limits, Outcome, Shard, Totals};
pub use time::Seconds;
