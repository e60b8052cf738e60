//! The watched folder: what came, what has settled, what is gone.
//!
//! Each top-level name of the folder, a file or a directory, is one thing to publish. `look` reads what is there now,
//! `settle` decides by the `rules` from looks and time alone, `writers` sees who still writes, `inbox` takes what inotify and
//! the owner say, `place` knows whether it is still the same folder, and the `turns` of a thread drive them all.

mod folder;
mod inbox;
mod look;
mod names;
mod place;
mod rules;
mod settle;
mod turns;
mod writers;

pub use folder::{Event, Folder, How, Options, StartError, Watcher};
pub use look::{Entry, Look, look};
pub use names::{is_ignored, is_unfinished};
pub use place::FolderIdentity;
pub use rules::{Overwrite, Rules, RulesError};
pub use settle::{Change, Settle, State, Touch, Waits};
