//! Announces to trackers: the only ones that are made, as the engine makes none.
