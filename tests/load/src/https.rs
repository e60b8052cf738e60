//! The load over HTTPS, closed: each client waits for its answer, and then asks again. What is measured is the CPU time
//! of the other side for each answer, which does not hang on how fast it goes.

use std::error::Error;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme, Stream,
};

use crate::bare::http::requests;
use crate::cli::{HttpsMode, HttpsOptions};
use crate::process::Process;

/// Runs the load and prints what an answer costs.
pub(crate) fn load(options: &HttpsOptions) -> Result<(), Box<dyn Error>> {
    let processes: Vec<Process> =
        options.pid.iter().map(|pid| Process::new(*pid)).collect::<io::Result<_>>()?;
    let config = options.mode.version().map(|is_13| client_config(is_13, options.mode));
    let answers = Arc::new(AtomicU64::new(0));
    let resumed = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs_f64(options.warm_up + options.seconds);
    let clients: Vec<_> = (0..options.clients)
        .map(|number| {
            let client = Client {
                to: options.to,
                config: config.clone(),
                request: request(number, options.mode.is_kept()),
                is_kept: options.mode.is_kept(),
            };
            let (answers, resumed) = (answers.clone(), resumed.clone());
            thread::spawn(move || client.ask_until(end, &answers, &resumed))
        })
        .collect();
    thread::sleep(Duration::from_secs_f64(options.warm_up));
    let cpu = || processes.iter().map(Process::cpu).sum::<io::Result<Duration>>();
    let (before, cpu_before) = (answers.load(Ordering::Relaxed), cpu()?);
    let resumed_before = resumed.load(Ordering::Relaxed);
    thread::sleep(Duration::from_secs_f64(options.seconds) - Duration::from_millis(100));
    let answered = answers.load(Ordering::Relaxed) - before;
    let used = cpu()? - cpu_before;
    let resumed = resumed.load(Ordering::Relaxed) - resumed_before;
    for client in clients {
        client
            .join()
            .map_err(|_| "a client panicked")?
            .map_err(|error| format!("a client: {error}"))?;
    }
    println!(
        "https {:?} answers {answered} resumed {resumed} cpu_us_per_answer {:.2}",
        options.mode,
        used.as_secs_f64() * 1e6 / answered.max(1) as f64
    );
    Ok(())
}

pub(crate) struct Client {
    pub(crate) to: SocketAddr,
    /// None is plain HTTP.
    pub(crate) config: Option<Arc<ClientConfig>>,
    pub(crate) request: Vec<u8>,
    pub(crate) is_kept: bool,
}

impl Client {
    fn ask_until(&self, end: Instant, answers: &AtomicU64, resumed: &AtomicU64) -> io::Result<()> {
        while Instant::now() < end {
            if self.connect(end, answers)? == Some(HandshakeKind::Resumed) {
                resumed.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Connects and asks, on a connection that is kept until `end`. Says how it shook hands.
    pub(crate) fn connect(
        &self,
        end: Instant,
        answers: &AtomicU64,
    ) -> io::Result<Option<HandshakeKind>> {
        let mut stream = TcpStream::connect(self.to)?;
        stream.set_nodelay(true)?;
        let Some(config) = &self.config else {
            self.ask(&mut stream, end, answers)?;
            return Ok(None);
        };
        let name = ServerName::from(self.to.ip());
        let mut tls = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        self.ask(&mut Stream::new(&mut tls, &mut stream), end, answers)?;
        Ok(tls.handshake_kind())
    }

    fn ask(
        &self,
        stream: &mut (impl Read + Write),
        end: Instant,
        answers: &AtomicU64,
    ) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        loop {
            stream.write_all(&self.request)?;
            stream.flush()?;
            let mut received = 0;
            loop {
                let more = match stream.read(&mut buffer[received..]) {
                    Ok(more) => more,
                    // The end without a word of it.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                    Err(error) => return Err(error),
                };
                received += more;
                if more == 0 || self.is_kept && is_whole(&buffer[..received]) {
                    break;
                }
            }
            if !is_whole(&buffer[..received]) {
                let said = buffer[..received].escape_ascii();
                return Err(io::Error::other(format!("an answer is {said}")));
            }
            answers.fetch_add(1, Ordering::Relaxed);
            if !self.is_kept || Instant::now() >= end {
                return Ok(());
            }
        }
    }
}

/// A good answer to an announce, all of it.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let body = &answer[head + 4..];
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
    answer.starts_with(b"HTTP/1.1 200")
        && body.starts_with(b"d8:complete")
        && length == Some(body.len())
}

pub(crate) fn request(number: usize, is_kept: bool) -> Vec<u8> {
    let connection = if is_kept { "keep-alive" } else { "close" };
    format!(
        "GET /announce?info_hash=aaaaaaaaaaaaaaaaaa{:02}&peer_id=-XX0000-0123456789{:02}&port={}&uploaded=0&downloaded=0\
         &left=0&compact=1&numwant=50 HTTP/1.1\r\nHost: tracker\r\nConnection: {connection}\r\n\r\n",
        number % 100,
        number % 100,
        1000 + number
    )
    .into_bytes()
}

fn client_config(is_13: bool, mode: HttpsMode) -> Arc<ClientConfig> {
    let mut config = client(is_13);
    if !mode.is_resumed() {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

/// Who asks whomever answers. What it is given to resume with counts for this one alone.
pub(crate) fn client(is_13: bool) -> ClientConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[if is_13 { &TLS13 } else { &TLS12 }])
        .expect("both versions are built in")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth()
}

/// Who is there does not matter: it is a bench.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The bare responder: one connection after the other, each with the calls that TLS needs and no more.
pub(crate) fn serve(
    listener: &TcpListener,
    certificate: &Path,
    key: &Path,
    reply: &[u8],
) -> Result<(), Box<dyn Error>> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&fs::read(certificate)?).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    let config = Arc::new(config);
    let mut buffer = vec![0; 16 << 10];
    loop {
        let (stream, _) = listener.accept()?;
        // A client that goes away is its own affair.
        let _ = answer(stream, config.clone(), &mut buffer, reply);
    }
}

fn answer(
    mut stream: TcpStream,
    config: Arc<ServerConfig>,
    buffer: &mut [u8],
    reply: &[u8],
) -> io::Result<()> {
    let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut length = 0;
    loop {
        if tls.read_tls(&mut stream)? == 0 {
            return Ok(());
        }
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        if state.plaintext_bytes_to_read() > 0 {
            length += tls.reader().read(&mut buffer[length..])?;
        }
        if requests(&buffer[..length]) > 0 {
            tls.writer().write_all(reply)?;
            tls.send_close_notify();
        }
        while tls.wants_write() {
            tls.write_tls(&mut stream)?;
        }
        if length > 0 && requests(&buffer[..length]) > 0 {
            return Ok(());
        }
    }
}
