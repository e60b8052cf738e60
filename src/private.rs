//! The private mode: users by their passkeys, and what is known of the site.

pub mod accounts;
mod packed;
pub mod report;
pub mod site;
