//! The private mode: users by their passkeys, what is known of the site, and what it is told.

pub mod accounts;
pub mod calls;
pub mod groups;
mod packed;
mod pages;
pub mod report;
pub mod site;
