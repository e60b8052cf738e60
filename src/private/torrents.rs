//! Torrents across cores: which number and which names each has.

pub mod hybrids;
pub mod numbers;
