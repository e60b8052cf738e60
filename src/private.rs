//! The private mode: users by their passkeys, torrents by their numbers, what a core knows and decides, what is
//! known of the site and what it is told, and the books: what snapshot, journal and database say of each other.

pub mod books;
pub mod core;
pub mod site;
pub mod torrents;
pub mod users;
