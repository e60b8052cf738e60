//! Announces over UDP (BEP 15): one socket for each family, for all trackers.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::address::Address;
use super::answer::Refusal;
use super::datagram::{self, Received};
use super::names::Family;
use super::schedule::Outcome;
use super::{Announce, Event};

/// Asks over UDP.
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    sockets: [Option<Arc<Socket>>; 2],
    /// Of several addresses another one is first after a failure.
    turn: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    waiting: Arc<Mutex<Waiting>>,
    connections: Mutex<HashMap<SocketAddr, Connection>>,
    random: SystemRandom,
    _receiver: AbortOnDropHandle<()>,
}

/// Who waits for an answer, by transaction: nobody but who was asked may give it.
type Waiting = HashMap<u32, (SocketAddr, oneshot::Sender<Received>)>;

/// The connection id of a tracker. Who needs one waits for who is asking for it.
type Connection = Arc<tokio::sync::Mutex<Option<(u64, Instant)>>>;

impl Udp {
    /// Sockets of any ports. Only a family that the machine has not is left out.
    pub(crate) async fn new() -> Self {
        let any: [SocketAddr; 2] =
            [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
        let [v4, v6] = any.map(|any| async move {
            let socket = UdpSocket::bind(any).await;
            let socket = socket.inspect_err(|error| tracing::warn!("no socket at {any}: {error}"));
            socket.ok().map(|socket| Arc::new(Socket::new(socket)))
        });
        Self { sockets: [v4.await, v6.await], turn: Arc::default() }
    }

    /// Announces to one of these, and again to the next, with the waits of BEP 15: 15 s and 30 s.
    ///
    /// BEP 15 has eight tries and more than two hours of them; then others would wait for a tracker that is silent. It is
    /// tried again as after any failure.
    pub(crate) async fn ask(
        &self,
        to: &[SocketAddr],
        address: &Address,
        announce: &Announce,
        family: Family,
    ) -> Outcome {
        let Some(socket) = &self.sockets[family as usize] else {
            return unreachable(format!("this machine has no {family:?} socket"));
        };
        let first = if announce.event == Event::Stopped { FIRST_WAIT_STOPPED } else { FIRST_WAIT };
        let mut last = unreachable("the name has no address of this family".into());
        let turn = self.turn.load(Ordering::Relaxed) % to.len().max(1);
        for (n, &to) in to.iter().cycle().skip(turn).take(TRIES).enumerate() {
            let until = Instant::now() + first * (1 << n);
            last = match socket.announce(to, address, announce, until).await {
                Ok(Received::Announced(answer)) => return Outcome::Answered(answer),
                Ok(Received::Error(reason)) => {
                    return Outcome::Refused(Refusal { reason, wait: None });
                }
                Ok(Received::Connected(_)) => {
                    unreachable("it connects where it was told to announce".into())
                }
                Err(error) => unreachable(error.to_string()),
            };
        }
        self.turn.fetch_add(TRIES, Ordering::Relaxed);
        last
    }
}

impl Socket {
    fn new(socket: UdpSocket) -> Self {
        let socket = Arc::new(socket);
        let waiting = Arc::new(Mutex::new(Waiting::new()));
        let receiver = tokio::spawn(receive(Arc::clone(&socket), Arc::clone(&waiting)));
        Self {
            socket,
            waiting,
            connections: Mutex::default(),
            random: SystemRandom::new(),
            _receiver: AbortOnDropHandle::new(receiver),
        }
    }

    /// One round: a connection id if there is none, and the announce.
    async fn announce(
        &self,
        to: SocketAddr,
        address: &Address,
        announce: &Announce,
        until: Instant,
    ) -> io::Result<Received> {
        let connection = self.connection(to);
        let mut renewed = false;
        loop {
            let id = match self.connect(to, &connection, until).await? {
                Ok(id) => id,
                Err(reason) => return Ok(Received::Error(reason)),
            };
            let said = |transaction| datagram::announce(id, transaction, announce, &address.path);
            let received = self.exchange(to, said, until).await;
            match &received {
                // Silence, too, is what a tracker has for an id that it does not know.
                Err(_) => forget(&connection, id).await,
                Ok(Received::Error(reason))
                    if !renewed && reason.to_ascii_lowercase().contains("connection id") =>
                {
                    forget(&connection, id).await;
                    renewed = true;
                    continue;
                }
                Ok(_) => {}
            }
            return received;
        }
    }

    /// The connection id of a tracker, asked for when the one that is known is a minute old.
    async fn connect(
        &self,
        to: SocketAddr,
        connection: &Connection,
        until: Instant,
    ) -> io::Result<Result<u64, String>> {
        let mut known = timeout_at(until, connection.lock()).await.map_err(|_| silent())?;
        if let Some((id, since)) = *known
            && since.elapsed() < CONNECTION_LIFETIME
        {
            return Ok(Ok(id));
        }
        *known = None;
        match self
            .exchange(to, |transaction| datagram::connect(transaction).to_vec(), until)
            .await?
        {
            Received::Connected(id) => {
                *known = Some((id, Instant::now()));
                Ok(Ok(id))
            }
            Received::Error(reason) => Ok(Err(reason)),
            Received::Announced(_) => Err(io::Error::other("it answers a connect by an announce")),
        }
    }

    /// Sends and waits for the answer.
    async fn exchange(
        &self,
        to: SocketAddr,
        said: impl FnOnce(u32) -> Vec<u8>,
        until: Instant,
    ) -> io::Result<Received> {
        let (sender, receiver) = oneshot::channel();
        let transaction = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = loop {
                let mut bytes = [0; 4];
                self.random.fill(&mut bytes).map_err(|_| io::Error::other("no randomness"))?;
                let transaction = u32::from_ne_bytes(bytes);
                if !waiting.contains_key(&transaction) {
                    break transaction;
                }
            };
            waiting.insert(transaction, (to, sender));
            transaction
        };
        let _forget = Forget { transaction, waiting: &self.waiting };
        self.socket.send_to(&said(transaction), to).await?;
        timeout_at(until, receiver)
            .await
            .map_err(|_| silent())?
            .map_err(|_| io::Error::other("the socket is gone"))
    }

    fn connection(&self, to: SocketAddr) -> Connection {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if connections.len() >= CONNECTIONS_MAX {
            connections.retain(|_, connection| Arc::strong_count(connection) > 1);
        }
        Arc::clone(connections.entry(to).or_default())
    }
}

/// Takes a transaction out when nobody waits for it any more.
struct Forget<'s> {
    transaction: u32,
    waiting: &'s Mutex<Waiting>,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.transaction);
    }
}

async fn forget(connection: &Connection, id: u64) {
    let mut known = connection.lock().await;
    if known.is_some_and(|(known, _)| known == id) {
        *known = None;
    }
}

/// Hands what comes to who waits for it.
async fn receive(socket: Arc<UdpSocket>, waiting: Arc<Mutex<Waiting>>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // Of a datagram that was sent before; the socket stays.
                tracing::debug!("receiving from trackers: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let datagram = &buffer[..length];
        let Some(transaction) = datagram::transaction(datagram) else { continue };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(&transaction).is_none_or(|(asked, _)| *asked != from) {
            continue;
        }
        let Some(received) = datagram::read(datagram, from) else { continue };
        if let Some((_, sender)) = waiting.remove(&transaction) {
            // Who gave up meanwhile does not want it.
            let _ = sender.send(received);
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}

fn unreachable(reason: String) -> Outcome {
    Outcome::Unreachable(Refusal { reason, wait: None })
}

const FIRST_WAIT: Duration = Duration::from_secs(15);
/// Of who leaves: there is little time, and nothing is lost by saying it twice.
const FIRST_WAIT_STOPPED: Duration = Duration::from_secs(3);
const TRIES: usize = 2;
const CONNECTION_LIFETIME: Duration = Duration::from_secs(60);
const CONNECTIONS_MAX: usize = 1_024;
const DATAGRAM_BYTES_MAX: usize = 65_535;
