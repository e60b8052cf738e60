//! The publisher as its users have it: real programs, real files.

mod feed;
