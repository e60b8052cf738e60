//! Load generator for BitTorrent trackers.
fn main() {}
