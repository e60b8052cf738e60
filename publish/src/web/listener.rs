//! A listener for HTTP: bounds for connections and time, as strangers may reach it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ops::screening::Verdict;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Certificates;
use crate::screening::Screening;

/// A bound listener.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why nothing is answered there.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} (option {option}); it runs already, another program has the port (`ss -tlnp sport = \
     :{port}` says which), or the address is none of this machine",
    port = address.port()
)]
pub struct ListenerError {
    /// The option that says where.
    pub option: &'static str,
    /// Where.
    pub address: SocketAddr,
    /// The system's error.
    pub source: io::Error,
}

impl Listener {
    /// Binds `address`, which `option` says; port 0 takes any.
    pub async fn bind(option: &'static str, address: SocketAddr) -> Result<Self, ListenerError> {
        let failed = |source| ListenerError { option, address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with `router` until `stop`, over TLS where there are `certificates`. A connection may last
    /// [`CONNECTION_TIME`]; whom `screening` refuses is closed without a word, and whom it defers is told to come back; `transfers` says that large content is served, which takes as long as it takes while it moves.
    pub async fn serve(
        self,
        router: Router,
        transfers: bool,
        certificates: Option<Certificates>,
        screening: Screening,
        stop: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (stream, from) = tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // A client that left again, or no file descriptor free: neither lasts.
                        tracing::debug!(%error, "could not accept");
                        sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
                () = stop.cancelled() => return,
            };
            let router = router.clone().layer(axum::Extension(ConnectInfo(from)));
            let stop = stop.clone();
            let tls = certificates.as_ref().map(|certificates| certificates.config());
            let until = screening.clone();
            let patient = screening.clone();
            let answered = async move {
                let (router, transfers) = match patient.judge_patiently(from.ip(), "http").await {
                    Verdict::Allow => (router, transfers),
                    Verdict::Defer => (later(), false),
                    Verdict::Deny => return,
                };
                match tls {
                    None => converse(stream, router, transfers, stop).await,
                    Some(config) => {
                        let shaken = TlsAcceptor::from(config).accept(stream);
                        match timeout(HEADER_TIME, shaken).await {
                            Ok(Ok(stream)) => converse(stream, router, transfers, stop).await,
                            ended => tracing::debug!(%from, ?ended, "no TLS"),
                        }
                    }
                }
                drop(place);
            };
            tokio::spawn(async move {
                tokio::select! {
                    () = answered => {}
                    () = until.until_refused(from.ip()) => {}
                }
            });
        }
    }
}

/// Tells to come back whoever's country is not known yet.
fn later() -> Router {
    let seconds = HeaderValue::from(LATER_SECONDS);
    let answer = (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, seconds)], LATER);
    Router::new().fallback(move || std::future::ready(answer.clone()))
}

/// All requests of a connection, and their answers.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    transfers: bool,
    stop: CancellationToken,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(transfers)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let time = if transfers { TRANSFER_TIME } else { CONNECTION_TIME };
    tokio::select! {
        ended = timeout(time, connection) => {
            tracing::trace!(?ended, "a connection ended");
        }
        // Who has said something hears the answer, also when it is what ends this.
        () = async { stop.cancelled().await; sleep(DRAIN_TIME).await } => {}
    }
}

/// When who is deferred may come back, and what is said to people.
const LATER_SECONDS: u32 = 60;
const LATER: &str = "the country of your address is not known yet; come back in a minute\n";

/// How long connections may last when nobody answers any more.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Connections at a time.
const CONNECTIONS_MAX: usize = 512;

/// From the accept to the last byte of the answer, on a control listener.
const CONNECTION_TIME: Duration = Duration::from_secs(30);

/// The same where content is served.
const TRANSFER_TIME: Duration = Duration::from_secs(6 * 3600);

/// From the accept, or the end of an answer, to the end of the next request's header.
const HEADER_TIME: Duration = Duration::from_secs(10);

/// Request line and header together.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How long the listener rests after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
