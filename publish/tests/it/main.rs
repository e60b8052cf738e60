//! Tests of the publishing side with real programs.

mod torrent;
