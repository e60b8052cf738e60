//! The private mode: users by their passkeys, what is known of the site, and what it is told.

pub mod accounts;
pub mod calls;
pub mod groups;
pub mod hybrids;
pub mod numbers;
mod packed;
mod pages;
pub mod report;
pub mod site;
pub mod unwritten;
