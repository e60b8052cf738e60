//! The watched folder: what came, what has settled, what is gone.
