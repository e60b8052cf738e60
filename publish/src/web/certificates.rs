//! The certificate that the docroot is served with, read again when it changes.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ops::tls::{Files, Kept, KeptError};
use rustls::ServerConfig;

/// So often it is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// A certificate, shared by who accepts connections and who looks after it.
#[derive(Clone, Debug)]
pub struct Certificates(Arc<Mutex<Kept>>);

impl Certificates {
    /// Reads it. Keys of tickets are in the file at `tickets`.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open(certificate: PathBuf, key: PathBuf, tickets: PathBuf) -> Result<Self, KeptError> {
        let kept = Kept::open(vec![Files { certificate, key }], tickets)?;
        Ok(Self(Arc::new(Mutex::new(kept))))
    }

    /// What a new connection is shown.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.lock().config()
    }

    /// Why the files cannot be used as they are now, or that the certificate is over; nothing when all is well.
    pub fn trouble(&self) -> Option<String> {
        let figures = self.lock().figures();
        if let Some(why) = figures.trouble {
            return Some(format!(
                "the certificate is not read again, the one before is shown: {why}"
            ));
        }
        let now = crate::unix_seconds() as i64;
        let over = figures.certificates.into_iter().find(|shown| shown.not_after <= now)?;
        Some(format!("the certificate {} is over; renew it", over.file))
    }

    /// Looks after it, for ever.
    pub async fn look_after(self) {
        loop {
            tokio::time::sleep(LOOK_PERIOD).await;
            // Two small files, on a disk of this machine.
            self.lock().look();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
