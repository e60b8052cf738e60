//! The private mode: registered torrents, known users, and what each is credited.
//!
//! What is here is what the engine, the journal and the database say to each other. A [`Fact`] is what
//! one announce did to the accounting; a [`Change`] is what the site did. Both carry absolute values, so
//! that whoever applies one twice is where he was after the first time.

mod change;
mod fact;
mod id;
mod request;
mod terms;

pub use change::{Change, ClientPrefix};
pub use fact::{Fact, Swarm};
pub use id::{Passkey, PasskeyError, PeerId, TorrentId, UserId};
pub use request::{Announce, Counters, Endpoints};
pub use terms::{Freeleech, Terms, User};
