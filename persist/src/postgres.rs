//! PostgreSQL, the book of record: how it is reached, what is in it, and what the site writes there.
//!
//! `settings`, `tls` and `session` connect, `migrations` makes the tables, `rights` says what the role needs,
//! `load` reads all that an announce needs, `watch` hears of what the site changes by SQL by `notices` and reads it
//! `again`, `spent_tokens` has what the site is to be told,
//! `credits` what users have so far. A row that cannot be read is put `aside`. What announces do to it is in
//! [`crate::ledger`].
//!
//! Everything here blocks, and belongs on threads of its own. Connecting, migrating and loading block no
//! longer than they say, whatever the server does: `errands` wait for it.

mod admit;
mod again;
mod aside;
mod backoff;
mod credits;
mod errands;
mod error;
mod fill;
mod heard;
mod load;
mod locks;
mod look;
mod migrations;
mod notices;
mod proof;
mod rights;
mod rows;
mod session;
mod settings;
mod spent_tokens;
mod tls;
mod watch;

pub use admit::Home;
pub use aside::SetAside;
pub use backoff::Backoff;
pub use credits::{Credited, Credits};
pub use error::{DatabaseError, Obstacle};
pub use fill::{FillError, Filled};
pub use heard::{Heard, Moment, SaidAt};
pub use load::{Loaded, Stored};
pub use look::Look;
pub use migrations::Migrated;
pub use settings::Database;
pub use spent_tokens::{SpentToken, SpentTokens};
pub use watch::{Seen, Watch, WatchStatus};

pub(crate) use error::text_of;
pub(crate) use load::journal_name;
pub(crate) use migrations::{SchemaState, schema_state};
pub(crate) use session::{LOCK_PATIENCE, START_LOCK_PATIENCE, let_go, wait_for_locks};
