//! Writes the journal into the database: every record exactly once.
//!
//! A thread takes records from the journal ([`Source`]), adds up what announces did ([`batch`]), and writes
//! it in transactions that also move the position of the journal in the database ([`write`]); far behind, many
//! records become one large transaction ([`digest`]). Whatever
//! dies in between, the position says what is written, and the thread goes on from there. What the
//! database does not take is put aside ([`isolate`]), and the rest is written.

mod adopt;
mod batch;
mod changes;
mod client_name;
mod digest;
mod gaps;
mod isolate;
mod json;
mod measure;
mod minutely;
mod run;
mod schema_writer;
mod source;
mod standing;
mod statements;
mod status;
mod suspicions;
mod write;

#[doc(hidden)]
pub use batch::fold;
pub use client_name::client_name;
pub use gaps::{Gap, GapReason, Gaps};
pub(crate) use json::freeleech_text;
pub use run::{Ledger, LedgerOptions};
pub use schema_writer::SchemaWriter;
pub use source::{JournalSource, Record, Source, SourceError};
pub use status::LedgerStatus;
