//! Writes the journal into the database: every record exactly once.
//!
//! A thread takes records from the journal ([`Source`]), adds up what announces did ([`batch`]), and writes
//! it in transactions that also move the position of the journal in the database ([`write`]). Whatever
//! dies in between, the position says what is written, and the thread goes on from there. What the
//! database does not take is put aside ([`isolate`]), and the rest is written.

mod adopt;
mod batch;
mod changes;
mod client_name;
mod isolate;
mod json;
mod run;
mod source;
mod statements;
mod status;
mod suspicions;
mod write;

#[doc(hidden)]
pub use batch::fold;
pub use client_name::client_name;
pub(crate) use json::freeleech_text;
pub use run::{Ledger, LedgerOptions};
pub use source::{JournalSource, Record, Source, SourceError};
pub use status::LedgerStatus;
