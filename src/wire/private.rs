//! The requests and answers of a private tracker: passkeys, counters, refusals with the texts that sites and client
//! tools know, and where a client says that it is.
//!
//! A stream goes through [`parse_head`] and [`Target::of`], the query of an announce through
//! [`Asked::parse`], a datagram through [`Asked::of_udp`]. Then come the passkey, the address
//! ([`locate`]) and the client ([`ClientRules`]). A scrape is read with
//! [`crate::wire::query::parse_scrape`]. Answers leave through [`write_announce`], [`write_scrape`] and
//! [`write_failure`], over UDP through [`crate::wire::udp`]. What the site itself asks is in
//! [`crate::wire::ocelot`].

mod asked;
mod client_rules;
mod located;
mod refusal;
mod reply;
mod target;

pub use asked::{Asked, Claims, Dialect, passkey};
pub use client_rules::ClientRules;
pub use located::{Located, locate};
pub use refusal::{FAILURE_INTERVAL, ILLEGAL_ADDRESS, Refusal, SOON};
pub use reply::{Announced, write_announce, write_failure, write_page, write_scrape};
pub use target::{FromSite, Secret, Target, UPDATE_BYTES_MAX, parse_head, url_data_key};
