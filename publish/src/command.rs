//! What the shell says.
