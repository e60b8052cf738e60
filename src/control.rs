//! The control listener: metrics, health and commands for the operator, on one thread of its own; and another
//! one for metrics and health alone, where that is wanted.
//!
//! The thread runs a small tokio runtime with axum. Cores store copies of their counters in [`State`],
//! and commands go out through a callback; only the API puts questions into the
//! inboxes of cores, a bounded number at a time. Nothing here can slow an announce down.
//!
//! Bounds: [`CONNECTIONS_MAX`] connections at a time, one request on each, [`CONNECTION_TIME`] for
//! everything from accept to the last byte. Further clients wait in the kernel's backlog. Bulk changes
//! and traces get more time as they get on.

mod api;
mod host;
mod lease;
mod pages;
mod state;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use lease::Lease;

pub use api::{Api, said};
pub use pages::Pages;
pub use state::{BansAnswer, BansAsked, Command, Declined, State};

/// How a listener is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// As it is.
    Plain,
    /// Over TLS, with the certificates of [`State::show_certificates`].
    Tls,
}

/// The running control listener. Dropping it stops it as well, without waiting.
#[derive(Debug)]
pub struct ControlHandle {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl ControlHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, gives requests that are being answered [`DRAIN_TIME`], and waits for the
    /// thread. Call it last of all, so that `/health/ready` says "draining" until the end.
    pub fn shutdown(self) {
        // A thread that is gone has nothing to be told; it can only have panicked.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the control listener had panicked");
        }
    }
}

/// Starts answering with these pages on `listener`, on a thread of its own.
///
/// # Errors
/// When the listener cannot be made non-blocking, or the runtime or the thread cannot be started.
pub fn spawn(
    listener: TcpListener,
    state: Arc<State>,
    pages: Pages,
    transport: Transport,
) -> io::Result<ControlHandle> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (stop, stopped) = oneshot::channel();
    let router = pages::router(state.clone(), pages);
    let thread =
        std::thread::Builder::new().name("margay-control".to_owned()).spawn(move || {
            crate::process::thread::give_way();
            runtime.block_on(serve(listener, state, router, transport, stopped));
        })?;
    Ok(ControlHandle { address, stop, thread })
}

/// Accepts until `stopped` resolves, which it also does when the handle is dropped.
async fn serve(
    listener: tokio::net::TcpListener,
    state: Arc<State>,
    router: Router,
    transport: Transport,
    mut stopped: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place.expect("nobody closes the semaphore"),
            _ = &mut stopped => break,
        };
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => (stream, from.ip().to_canonical()),
                Err(error) => {
                    // A client that left again, or no file descriptor free: neither lasts.
                    tracing::debug!(%error, "the control listener could not accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            _ = &mut stopped => break,
        };
        if !state.lets_in(from) {
            continue;
        }
        let (router, state) = (router.clone(), state.clone());
        tokio::spawn(async move {
            match transport {
                Transport::Plain => converse(stream, from, transport, router).await,
                Transport::Tls => converse_over_tls(stream, from, &state, router).await,
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = timeout(DRAIN_TIME, places.acquire_many(CONNECTIONS_MAX)).await;
}

/// The same over TLS; the handshake has the time of a header.
async fn converse_over_tls(stream: TcpStream, from: IpAddr, state: &State, router: Router) {
    let Some(certificates) = state.certificates() else { return };
    match timeout(HEADER_TIME, TlsAcceptor::from(certificates).accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, from, Transport::Tls, router).await,
        Ok(Err(error)) => tracing::debug!(%error, %from, "a control connection was no TLS"),
        Err(_) => tracing::debug!(%from, "a TLS handshake took too long"),
    }
}

/// One request and its answer. Without keep-alive one time limit covers a slow sender, an idle
/// client and a slow reader alike; a scraper that comes every few seconds does not miss it.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    from: IpAddr,
    transport: Transport,
    router: Router,
) {
    let lease = Lease::new(CONNECTION_TIME);
    let router = router.layer(Extension(lease.clone())).layer(Extension(from));
    let router = router.layer(Extension(transport));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(REQUEST_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match lease.bound(connection).await {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a control connection broke"),
        None => tracing::debug!("a control connection took too long"),
    }
}

/// Connections answered at a time.
pub const CONNECTIONS_MAX: u32 = 32;

/// From the accept to the last byte of the answer.
pub const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// From the accept to the end of the request's header.
pub const HEADER_TIME: Duration = Duration::from_secs(3);

/// What [`ControlHandle::shutdown`] waits for requests under way.
pub const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Request line and header together.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// How long the listener rests after `accept` failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
