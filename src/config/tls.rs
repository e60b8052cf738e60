//! Which certificates `https` shows.

use ops::tls::{Files, Served, TlsError};

use super::Config;

impl Config {
    /// The files of the certificates, in the order in which they are shown; none without `https`.
    ///
    /// # Errors
    /// When there is none though there is `https`, or one has no partner.
    pub fn tls_files(&self) -> Result<Vec<Files>, TlsError> {
        match self.https.is_empty() {
            true => Ok(Vec::new()),
            false => Served::pairs(&self.tls_certificate, &self.tls_key),
        }
    }
}
