//! A certificate and its key, as they are in two files.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::Files;

/// A file of certificates is a few KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A certificate that can be shown.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Where it was read.
    pub files: Files,
    /// The names that it is for, in lower case; one that begins with `*.` is for every name one label longer.
    pub names: Vec<String>,
    /// From when on it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
    pub(super) key: Arc<CertifiedKey>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; may this user read it?", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is far too large.
    #[error("{} has {bytes} bytes: that is no PEM file of a certificate or key", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// There is no certificate, or no key, or it is damaged.
    #[error("{} has no {what} that can be read (PEM is expected): {why}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
        /// What the reader says.
        why: String,
    },
    /// The key is of a kind that is not known.
    #[error("the key in {} cannot be used: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What the library says.
        why: rustls::Error,
    },
    /// They are not of one another.
    #[error(
        "the key in {} is not that of the first certificate in {}; were the two files taken from different places, or is one \
         of them still to be replaced?", files.key.display(), files.certificate.display()
    )]
    Mismatch {
        /// The two files.
        files: Files,
    },
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// When one cannot be read or used, or they do not belong together.
    pub fn read(files: &Files, provider: &CryptoProvider) -> Result<Self, CertificateError> {
        let path = &files.certificate;
        let bad =
            |why: String| CertificateError::Pem { path: path.clone(), what: "certificate", why };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(path)?)
            .collect::<Result<_, _>>()
            .map_err(|error| bad(error.to_string()))?;
        let first = chain.first().ok_or_else(|| bad("there is none in it".to_owned()))?;
        let (names, not_before, not_after) = {
            let (_, parsed) =
                X509Certificate::from_der(first).map_err(|error| bad(error.to_string()))?;
            let validity = parsed.validity();
            (names(&parsed), validity.not_before.timestamp(), validity.not_after.timestamp())
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?).map_err(|error| {
            let why = error.to_string();
            CertificateError::Pem { path: files.key.clone(), what: "private key", why }
        })?;
        let unusable = |why| CertificateError::Key { path: files.key.clone(), why };
        let key = provider.key_provider.load_private_key(key).map_err(unusable)?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                return Err(CertificateError::Mismatch { files: files.clone() });
            }
            Err(why) => return Err(bad(why.to_string())),
        }
        Ok(Self { files: files.clone(), names, not_before, not_after, key: Arc::new(key) })
    }

    /// Whether it is the same one, byte for byte.
    pub fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let failed = |source| CertificateError::Read { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(CertificateError::TooLarge { path: path.to_owned(), bytes });
    }
    fs::read(path).map_err(failed)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    }
}

/// Host names and addresses, as clients ask for them (RFC 6125: where there are alternative names, the common name is
/// not one).
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    if let Some(alternative) = alternative {
        let names = alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        });
        return names.collect();
    }
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}
