//! The Master: a file that came becomes a torrent that is seeded and told of.
