//! The publishing side of margay: a Master turns the files of a folder into torrents, seeds them and tells of them in a
//! feed; Seeders follow the feed.

pub mod announce;
pub mod command;
pub mod engine;
pub mod feed;
pub mod master;
pub mod options;
pub mod seeder;
pub mod torrent;
pub mod watch;
pub mod web;
