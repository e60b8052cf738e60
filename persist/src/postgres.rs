//! PostgreSQL, the book of record: how it is reached, what is in it, and what the site writes there.
//!
//! `settings` and `tls` connect, `migrations` makes the tables, `load` reads all that an announce needs,
//! `watch` hears of what the site changes by SQL. What announces do to it is in [`crate::ledger`].
//! Everything here blocks, and belongs on threads of its own.

mod backoff;
mod load;
mod migrations;
mod rows;
mod settings;
mod tls;
mod watch;

pub use load::{Loaded, Stored};
pub use migrations::Migrated;
pub use settings::{Database, DatabaseError};
pub use watch::{Seen, Watch, WatchStatus};

pub(crate) use backoff::Backoff;
pub(crate) use load::journal_name;
pub(crate) use settings::text_of;
