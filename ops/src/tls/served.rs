//! All certificates that are shown, and the configuration of rustls that shows them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Certificate, CertificateError, Files};
use crate::watched::Watched;

/// Certificates as they were when they were read last, ready to be shown.
#[derive(Clone, Debug)]
pub struct Served {
    /// In the order of the options; the first is shown to who asks for no name, or for one that no certificate has.
    pub certificates: Vec<Certificate>,
    /// For the threads that accept connections.
    pub config: Arc<ServerConfig>,
    watched: Watched,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There are not as many keys as certificates.
    #[error(
        "tls-certificate names {certificates} files and tls-key {keys}; each certificate needs its key, in the same order"
    )]
    Pairs {
        /// How many certificates are named.
        certificates: usize,
        /// How many keys are named.
        keys: usize,
    },
    /// None is named.
    #[error("https and control-https need a certificate: tls-certificate and tls-key")]
    None,
    /// The library does not take it.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

impl Served {
    /// Pairs of files, as the options name them.
    ///
    /// # Errors
    /// When there is none, or one has no partner.
    pub fn pairs(certificates: &[PathBuf], keys: &[PathBuf]) -> Result<Vec<Files>, TlsError> {
        if certificates.len() != keys.len() {
            let (certificates, keys) = (certificates.len(), keys.len());
            return Err(TlsError::Pairs { certificates, keys });
        }
        if certificates.is_empty() {
            return Err(TlsError::None);
        }
        let pairs = certificates.iter().zip(keys);
        Ok(pairs
            .map(|(certificate, key)| Files { certificate: certificate.clone(), key: key.clone() })
            .collect())
    }

    /// Reads all of them. Sessions are resumed by tickets alone, so nothing is kept for a client that has gone.
    ///
    /// # Errors
    /// When one cannot be used: none is shown then.
    pub fn read(files: &[Files], tickets: Arc<dyn ProducesTickets>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let paths = files.iter().flat_map(|files| [&files.certificate, &files.key]);
        let watched = Watched::now(paths);
        let read = |files| Certificate::read(files, &provider);
        let certificates = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let config = config(provider, &certificates, tickets).map_err(TlsError::Library)?;
        Ok(Self { certificates, config: Arc::new(config), watched })
    }

    /// Reads all of them, as [`Served::read`], to see whether they can be used.
    ///
    /// # Errors
    /// When one cannot.
    pub fn check(files: &[Files]) -> Result<(), TlsError> {
        let provider = aws_lc_rs::default_provider();
        let read = |files| Certificate::read(files, &provider).map(drop);
        Ok(files.iter().try_for_each(read)?)
    }

    /// Whether the same certificates are shown.
    pub fn is_same(&self, other: &Self) -> bool {
        let same = |(one, other): (&Certificate, &Certificate)| one.is_same(other);
        self.certificates.iter().zip(&other.certificates).all(same)
    }

    /// Whether a file is another one than when they were read.
    pub fn has_changed(&self) -> bool {
        self.watched.changed().is_some()
    }
}

fn config(
    provider: Arc<CryptoProvider>,
    certificates: &[Certificate],
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByName::new(certificates)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = tickets;
    // A client gets a new one with each connection, and opens one at a time.
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Finds the certificate for the name that a client asks for (SNI, RFC 6066 section 3).
#[derive(Debug)]
struct ByName {
    first: Arc<CertifiedKey>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the asterisk, with its dot.
    wildcards: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let first = certificates.first().expect("there is at least one").key.clone();
        let (mut exact, mut wildcards) = (HashMap::new(), HashMap::new());
        for certificate in certificates {
            for name in &certificate.names {
                match name.strip_prefix('*') {
                    Some(rest) => wildcards.entry(rest.to_owned()),
                    None => exact.entry(name.clone()),
                }
                .or_insert_with(|| certificate.key.clone());
            }
        }
        Self { first, exact, wildcards }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // rustls has made it lower case.
        let Some(name) = hello.server_name() else { return Some(self.first.clone()) };
        let wildcard = || name.find('.').and_then(|dot| self.wildcards.get(&name[dot..]));
        let found = self.exact.get(name).or_else(wildcard);
        Some(found.unwrap_or(&self.first).clone())
    }
}
