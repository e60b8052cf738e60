//! The front ends: requests in, replies out, on the thread of the core they reached.

pub mod conversation;
pub mod http;
pub mod late;
pub mod moderation;
pub mod seats;
pub mod udp;
