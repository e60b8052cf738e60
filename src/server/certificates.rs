//! The certificates of `https` and `control-https`: read at the start, again when their files change and at SIGHUP, and the keys of tickets.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ops::counters::{ShownCertificate, Tls};
use ops::log::ErrorChain;
use ops::tls::{Files, Served, TicketKeys, TicketsError, TlsError};
use persist::DataDir;

use super::ServerError;
use super::cores::Cores;
use crate::config::Config;
use crate::control::State;
use crate::core::mesh::message::Command;

/// A certificate and its key are replaced one after the other. So long it may take until that is worth a line.
const HALF_REPLACED: Duration = Duration::from_secs(30);

/// A certificate that ends so soon should have been renewed: Let's Encrypt's are valid for 90 days and are renewed 30
/// before their end.
const ENDS_SOON: i64 = 14 * 24 * 3600;

/// An end that is near is said again so often.
const REMINDER: Duration = Duration::from_secs(24 * 3600);

/// Certificates that are served, and what is known of their files.
pub(super) struct Certificates {
    files: Vec<Files>,
    tickets: Arc<TicketKeys>,
    served: Served,
    /// Since when the files cannot be used, and whether that was said.
    unusable: Option<(Instant, bool)>,
    failures: u64,
    trouble: Option<String>,
    reminded: Option<Instant>,
}

/// Why the certificates are not served.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// They cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys of tickets cannot be kept.
    #[error(transparent)]
    Tickets(#[from] TicketsError),
}

impl Certificates {
    /// Reads what the options name; nothing where nobody is shown any.
    pub(super) fn open(config: &Config, data: &DataDir) -> Result<Option<Self>, ServerError> {
        let open = || -> Result<Option<Self>, CertificatesError> {
            let files = config.tls_files()?;
            if files.is_empty() {
                return Ok(None);
            }
            let tickets = Arc::new(TicketKeys::open(data.path().join("tls-tickets"), now())?);
            let served = Served::read(&files, tickets.clone())?;
            let (unusable, failures, trouble, reminded) = (None, 0, None, None);
            Ok(Some(Self { files, tickets, served, unusable, failures, trouble, reminded }))
        };
        let opened = open()?;
        opened.iter().for_each(|opened| opened.say("certificate read"));
        Ok(opened)
    }

    /// What new connections are shown.
    pub(super) fn config(&self) -> Arc<rustls::ServerConfig> {
        self.served.config.clone()
    }

    /// Looks whether something is to be done: files that have changed, keys that are old, an end that is near.
    pub(super) fn look(&mut self, cores: &Cores, state: &State) {
        if self.served.has_changed() || self.unusable.is_some() {
            let _ = self.read(cores, state, false);
        }
        match self.tickets.rotate(now()) {
            Ok(false) => {}
            Ok(true) => tracing::debug!("TLS tickets have a new key"),
            Err(error) => {
                tracing::error!(error = %ErrorChain(&error), "the new key of TLS tickets is in memory alone")
            }
        }
        self.remind();
    }

    /// Reads all again; what was said by a person is answered at once.
    ///
    /// # Errors
    /// The reason, in words; what was shown before stays.
    pub(super) fn read(&mut self, cores: &Cores, state: &State, asked: bool) -> Result<(), String> {
        match Served::read(&self.files, self.tickets.clone()) {
            Ok(served) => {
                let is_same = self.served.is_same(&served);
                self.served = served;
                let was_said = self.unusable.take().is_some_and(|(_, said)| said);
                self.trouble = None;
                // Also when only the key has changed.
                cores.tell_all(&Command::Certificates(self.config()));
                if !is_same || was_said || asked {
                    self.say("certificate read again");
                }
                self.reminded = None;
                self.show(state);
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
                    self.show(state);
                }
                self.unusable = Some((since, said || is_time));
                Err(why)
            }
        }
    }

    /// Puts what there is to know where the pages find it.
    pub(super) fn show(&self, state: &State) {
        let certificates = self.served.certificates.iter().map(|certificate| ShownCertificate {
            file: certificate.files.certificate.display().to_string(),
            names: certificate.names.join(" "),
            not_after: certificate.not_after,
        });
        state.show_certificates(self.config());
        state.show_tls(Tls {
            certificates: certificates.collect(),
            failures: self.failures,
            trouble: self.trouble.clone(),
        });
    }

    fn say(&self, what: &str) {
        for certificate in &self.served.certificates {
            let days = (certificate.not_after - now() as i64).div_euclid(24 * 3600);
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
            let days = left.div_euclid(24 * 3600);
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
