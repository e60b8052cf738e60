//! The UDP tracker protocol (BEP 15, with BEP 7, 21 and 41): datagrams into requests, replies into
//! datagrams. Everything is big endian.

mod options;
mod reply;
mod request;

pub use options::{Options, URL_DATA_BYTES_MAX};
pub use reply::{
    DATAGRAM_BYTES_MAX, ERROR_TEXT_BYTES_MAX, PEERS_V4_MAX, PEERS_V6_MAX, write_announce,
    write_connect, write_error, write_scrape,
};
pub use request::{Announce, Malformed, Request, SCRAPE_HASHES_MAX, Scrape, parse};

/// Four bytes that the client chose and that its reply carries back as they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Transaction(pub [u8; 4]);
