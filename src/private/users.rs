//! Users: who they are by passkey, what they may, and what of it is not in the database yet.

pub mod accounts;
pub mod formers;
pub mod groups;
mod packed;
mod pages;
pub mod unwritten;
