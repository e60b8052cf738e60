//! The publishing side of margay: a Master turns the files of a folder into torrents, seeds them and tells of them in a
//! feed; Seeders follow the feed.

pub mod announce;
pub mod bencode;
mod beneath;
pub mod command;
pub mod durable;
pub mod engine;
pub mod feed;
pub mod master;
pub mod node;
pub mod options;
pub mod screening;
pub mod seeder;
pub mod shelf;
pub mod torrent;
pub mod watch;
pub mod web;

/// An error with all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    ops::log::ErrorChain(error).to_string()
}

/// Seconds since 1970.
fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}
