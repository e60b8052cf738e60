//! Which certificates `https` and `control-https` show.

use ops::tls::{Files, Served, TlsError};

use super::Config;

impl Config {
    /// The files of the certificates, in the order in which they are shown; none where neither is wanted.
    ///
    /// # Errors
    /// When there is none though one is wanted, or one has no partner.
    pub fn tls_files(&self) -> Result<Vec<Files>, TlsError> {
        match self.https.is_empty() && self.control_https.is_none() {
            true => Ok(Vec::new()),
            false => Served::pairs(&self.tls_certificate, &self.tls_key),
        }
    }
}
