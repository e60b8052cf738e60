//! Certificates, and clients that speak TLS.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::http::Http;

/// A certificate for some names, and its key.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
}

/// A certificate that is valid between these years.
pub(crate) fn issue_for(names: &[&str], years: (i32, i32)) -> Issued {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let mut wanted = CertificateParams::new(names).unwrap();
    wanted.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    wanted.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let certificate = wanted.self_signed(&key).unwrap();
    Issued {
        der: certificate.der().clone(),
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A certificate that is valid now.
pub(crate) fn issue(names: &[&str]) -> Issued {
    issue_for(names, (2020, 2200))
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key` as renewal does: each is there whole or not.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        for (end, text) in [("pem", &self.certificate), ("key", &self.key)] {
            let beside = folder.join("new");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, folder.join(format!("{name}.{end}"))).unwrap();
        }
    }

    /// The options of a tracker with `https` on both families, and with the certificate in these files.
    pub(crate) fn options(folder: &Path, name: &str) -> String {
        let file = |end| folder.join(format!("{name}.{end}")).display().to_string();
        format!(
            "--https 127.0.0.1:0,[::1]:0 --tls-certificate {} --tls-key {}",
            file("pem"),
            file("key")
        )
    }
}

/// A client that trusts these certificates and keeps tickets.
pub(crate) struct Trusting(Arc<ClientConfig>);

impl Trusting {
    /// By TLS 1.3 or 1.2.
    pub(crate) fn new(trusted: &[&Issued], is_13: bool) -> Self {
        let mut roots = RootCertStore::empty();
        trusted.iter().for_each(|issued| roots.add(issued.der.clone()).unwrap());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[if is_13 { &TLS13 } else { &TLS12 }])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self(Arc::new(config))
    }

    /// Connects and asks for `name`; why the handshake fails otherwise.
    pub(crate) fn try_connect(&self, address: SocketAddr, name: &str) -> Result<Http, String> {
        self.over(TcpStream::connect(address).unwrap(), name)
    }

    /// The same over a connection that is there.
    pub(crate) fn over(&self, stream: TcpStream, name: &str) -> Result<Http, String> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(self.0.clone(), name).unwrap();
        Http::prepare(&stream);
        let mut stream = stream;
        while client.is_handshaking() {
            client.complete_io(&mut stream).map_err(|error| error.to_string())?;
        }
        Ok(Http::over_tls(StreamOwned::new(client, stream)))
    }

    #[track_caller]
    pub(crate) fn connect(&self, address: SocketAddr) -> Http {
        self.try_connect(address, "localhost").unwrap()
    }
}

/// Whether a connection was made with a ticket.
pub(crate) fn is_resumed(stream: &StreamOwned<ClientConnection, TcpStream>) -> bool {
    stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
}
