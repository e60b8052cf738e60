//! TLS: which certificate is shown under which name, read again when its files change; and tickets that every thread
//! and the next process understand.
//!
//! Values alone: who accepts connections, and on which thread, is decided elsewhere.

mod certificate;
mod kept;
mod served;
mod tickets;

pub use certificate::{Certificate, CertificateError};
pub use kept::{Kept, KeptError};
pub use served::{Served, TlsError};
pub use tickets::{TicketKeys, TicketsError};

/// Whose names, in which files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Files {
    /// The certificate, and after it those that lead to its authority (PEM).
    pub certificate: std::path::PathBuf,
    /// Its private key (PEM: PKCS #8, PKCS #1 or SEC 1).
    pub key: std::path::PathBuf,
}
