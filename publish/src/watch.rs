//! The watched folder: what came, what has settled, what is gone.
//!
//! Each top-level name of the folder, a file or a directory, is one thing to publish. `look` reads what is there now,
//! `settle` decides from looks and time alone, `writers` sees who still writes, and `folder` drives them from inotify and
//! rescans.

mod folder;
mod look;
mod names;
mod settle;
mod writers;

pub use folder::{Event, Folder, FolderIdentity, How, Options, StartError, Watcher};
pub use look::{Entry, Look, look};
pub use names::{is_ignored, is_unfinished};
pub use settle::{Change, Overwrite, Rules, RulesError, Settle, State, Touch, Waits};
