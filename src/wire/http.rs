//! HTTP (RFC 9110, RFC 9112) as far as a tracker needs it: the head of a GET, and whole replies.

pub mod forwarded;
mod head;
mod reply;
mod scrape;
mod target;

pub(super) use head::parse_head_within;
pub use head::{HEAD_BYTES_MAX, Head, Headers, Malformed, Method, Parsed, parse_head};
pub use reply::{
    Announced, Coding, Failure, Framing, Persistence, Retry, write_announce, write_body_head,
    write_failure, write_not_found, write_root, write_scrape,
};
pub(super) use reply::{Status, list_peers, respond};
pub use scrape::ScrapeBody;
pub use target::Target;
