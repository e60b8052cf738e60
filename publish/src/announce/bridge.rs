//! Peers on their way to the engine: a tracker on loopback, for the engine alone.
