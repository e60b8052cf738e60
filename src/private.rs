//! The private mode: users by their passkeys, and what a core does for a known user.

pub mod accounts;
