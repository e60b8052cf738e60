//! PostgreSQL, the book of record: how it is reached, what is in it, and what the site writes there.
//!
//! `settings` and `tls` connect, `migrations` makes the tables, `load` reads all that an announce needs,
//! `watch` hears of what the site changes by SQL, `spent_tokens` has
//! what the site is to be told. What announces do to it is in [`crate::ledger`].
//! Everything here blocks, and belongs on threads of its own.

mod admit;
mod backoff;
mod fill;
mod load;
mod look;
mod migrations;
mod rows;
mod settings;
mod spent_tokens;
mod tls;
mod watch;

pub use admit::Home;
pub use backoff::Backoff;
pub use fill::{FillError, Filled};
pub use load::{Loaded, Stored};
pub use look::Look;
pub use migrations::Migrated;
pub use settings::{Database, DatabaseError};
pub use spent_tokens::{SpentToken, SpentTokens};
pub use watch::{Seen, Watch, WatchStatus};

pub(crate) use load::journal_name;
pub(crate) use settings::text_of;
