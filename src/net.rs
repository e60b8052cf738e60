//! Sockets: the only part of the program that speaks to the kernel directly.
//!
//! Everything here is non-blocking and takes what is there; waiting is glommio's. The `unsafe` of the
//! program lives in these files, each around one system interface, but for the place where a connection is
//! lent ([`stream::Lent`]).

pub mod activation;
pub mod batch;
pub mod bind;
pub mod filter;
pub mod link;
pub mod readiness;
pub mod remote;
pub mod ring;
pub mod session;
pub mod steer;
pub mod stream;
pub mod unix;
