//! Certificates that are served for long: read again when their files change, with what there is to say of them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::ServerConfig;

use super::{Files, Served, TicketKeys, TicketsError, TlsError};
use crate::counters::{ShownCertificate, Tls};
use crate::log::ErrorChain;

/// A certificate and its key are replaced one after the other. So long it may take until that is worth a line.
const HALF_REPLACED: Duration = Duration::from_secs(30);

/// A certificate that ends so soon should have been renewed: Let's Encrypt's are valid for 90 days and are renewed 30
/// before their end.
const ENDS_SOON: i64 = 14 * DAY;

/// An end that is near is said again so often.
const REMINDER: Duration = Duration::from_secs(DAY as u64);

const DAY: i64 = 24 * 3600;

/// Certificates that are served, and what is known of their files.
#[derive(Debug)]
pub struct Kept {
    files: Vec<Files>,
    tickets: Arc<TicketKeys>,
    served: Served,
    /// Since when the files cannot be used, and whether that was said.
    unusable: Option<(Instant, bool)>,
    failures: u64,
    trouble: Option<String>,
    reminded: Option<Instant>,
}

/// Why certificates are not served.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// They cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys of tickets cannot be kept.
    #[error(transparent)]
    Tickets(#[from] TicketsError),
}

impl Kept {
    /// Reads the files, and says so; the keys of tickets are in the file at `tickets`.
    ///
    /// # Errors
    /// When a certificate cannot be used, or the keys cannot be kept.
    pub fn open(files: Vec<Files>, tickets: std::path::PathBuf) -> Result<Self, KeptError> {
        let tickets = Arc::new(TicketKeys::open(tickets, now())?);
        let served = Served::read(&files, tickets.clone())?;
        let (unusable, failures, trouble, reminded) = (None, 0, None, None);
        let kept = Self { files, tickets, served, unusable, failures, trouble, reminded };
        kept.say("certificate read");
        Ok(kept)
    }

    /// What new connections are shown.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.served.config.clone()
    }

    /// What there is to know, for pages.
    pub fn figures(&self) -> Tls {
        let certificates = self.served.certificates.iter().map(|certificate| ShownCertificate {
            file: certificate.files.certificate.display().to_string(),
            names: certificate.names.join(" "),
            not_after: certificate.not_after,
        });
        Tls {
            certificates: certificates.collect(),
            failures: self.failures,
            trouble: self.trouble.clone(),
        }
    }

    /// Looks whether something is to be done, to be called every few seconds: files that have changed, keys that are old,
    /// an end that is near. True when there is something new to show or to know.
    pub fn look(&mut self) -> bool {
        let mut is_new = false;
        if self.served.has_changed() || self.unusable.is_some() {
            let failures = self.failures;
            is_new = self.read(false).is_ok() || failures != self.failures;
        }
        match self.tickets.rotate(now()) {
            Ok(false) => {}
            Ok(true) => tracing::debug!("TLS tickets have a new key"),
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the new key of TLS tickets is in memory alone");
            }
        }
        self.remind();
        is_new
    }

    /// Reads all again. What somebody `asked` for is said at once; else files that are half replaced have some time.
    ///
    /// # Errors
    /// The reason, in words; what was shown before stays.
    pub fn read(&mut self, asked: bool) -> Result<(), String> {
        match Served::read(&self.files, self.tickets.clone()) {
            Ok(served) => {
                let is_same = self.served.is_same(&served);
                self.served = served;
                let was_said = self.unusable.take().is_some_and(|(_, said)| said);
                self.trouble = None;
                if !is_same || was_said || asked {
                    self.say("certificate read again");
                }
                self.reminded = None;
                Ok(())
            }
            Err(error) => {
                let (since, said) = self.unusable.unwrap_or((Instant::now(), false));
                let why = ErrorChain(&error).to_string();
                let is_time = asked || since.elapsed() >= HALF_REPLACED;
                if is_time && !said {
                    self.failures += 1;
                    tracing::error!(
                        error = why,
                        "certificates not read; the ones from before are shown"
                    );
                    self.trouble = Some(why.clone());
                }
                self.unusable = Some((since, said || is_time));
                Err(why)
            }
        }
    }

    fn say(&self, what: &str) {
        for certificate in &self.served.certificates {
            let days = (certificate.not_after - now() as i64).div_euclid(DAY);
            tracing::info!(
                file = %certificate.files.certificate.display(),
                names = certificate.names.join(" "),
                days,
                "{what}"
            );
        }
    }

    fn remind(&mut self) {
        if self.reminded.is_some_and(|at| at.elapsed() < REMINDER) {
            return;
        }
        let now = now() as i64;
        for certificate in &self.served.certificates {
            let (file, left) =
                (certificate.files.certificate.display(), certificate.not_after - now);
            let days = left.div_euclid(DAY);
            if left <= 0 {
                tracing::error!(%file, days, "the certificate is over; clients refuse it: renew it");
            } else if left < ENDS_SOON {
                tracing::warn!(%file, days, "the certificate ends soon; does whatever renews it still run?");
            } else if certificate.not_before > now {
                tracing::error!(%file, "the certificate is not valid yet; is this machine's clock right?");
            } else {
                continue;
            }
            self.reminded = Some(Instant::now());
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
