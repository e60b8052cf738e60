//! The engine: swarms as plain data.
//!
//! A [`Shard`] is the part of the infohash space that one core owns. It does no I/O, starts no
//! thread, reads no clock and keeps no random state: time and randomness come in as arguments, so
//! that a seed replays a whole run.
//!
//! An announce goes from the index to the swarm's entry, joins the list, block or crowd it finds
//! there, and leaves with the peers that were chosen. [`model`] says the same in ordered maps.

#![deny(unsafe_code)]

mod id;
mod piece;
mod request;
mod time;

mod store;

mod hash;
mod index;
mod slab;

mod blocks;
mod crowd;
mod family;
mod list;
mod peer;
mod swarm;

mod pool;
mod stores;
mod table;
mod tags;

mod choose;
mod downloads;
mod export;
mod follow;
mod prefetch;
mod scope;
mod sweep;
mod warm;

pub mod model;
pub mod private;

pub use choose::{SEEDERS_FOR_NOTHING, SPARE_LOOKS};
pub use export::Cursor;
pub use follow::PeerChange;
pub use id::{ClientTag, InfoHash, lasting_key};
pub use piece::{PeerRecord, PeerState, Piece, SwarmRecord};
pub use request::{Announce, Counts, Event, Families, Refusal, Reply};
pub use scope::Scope;
pub use store::{Limits, Outcome, Shard, Totals};
pub use sweep::Expired;
pub use time::Seconds;
