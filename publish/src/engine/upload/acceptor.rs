//! The one port of a node: the handshake of who connects is read once, and says where the connection goes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::admission::Pass;
use super::{Entry, ListenError, Shared, connection};
use crate::engine::wire::{HANDSHAKE_BYTES, Handshake, Message, PROTOCOL};

/// Listens on each address. Where a port is 0, it is the one that the first address of port 0 got.
pub(super) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut port = 0;
    let mut listeners = Vec::new();
    for &address in addresses {
        let mut address = address;
        if address.port() == 0 {
            address.set_port(port);
        }
        let listener = bind_one(address).map_err(|source| ListenError::Bind { address, source })?;
        if port == 0 {
            port = listener.local_addr().map_or(0, |address| address.port());
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // So that it does not take the IPv4 port too.
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until all is stopped.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    while let Some(accepted) = shared.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((_, address)) if shared.screening.turns_away(address.ip(), "peer") => {}
            Ok((stream, address)) => match shared.admission.enter(address.ip()) {
                Some(pass) => {
                    let answer = answer(shared.clone(), stream, address, pass);
                    shared.spawn_screened(address.ip(), answer);
                }
                None => {
                    shared.refused.fetch_add(1, Ordering::Relaxed);
                }
            },
            Err(error) => {
                // Without descriptors it fails at once again; a pause lets others close theirs.
                tracing::debug!("cannot take a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Reads the handshake and hands the connection to who it is for; one that is for nobody is closed.
async fn answer(shared: Arc<Shared>, mut stream: TcpStream, address: SocketAddr, mut pass: Pass) {
    let handshake = tokio::select! {
        () = shared.stop.cancelled() => return,
        read = timeout(shared.limits.handshake_timeout, read_handshake(&mut stream)) => match read {
            Ok(Ok(Some(handshake))) => handshake,
            _ => return,
        }
    };
    if handshake.peer_id == shared.peer_id {
        return;
    }
    let deadline = Instant::now() + shared.limits.handshake_timeout;
    loop {
        match shared.entry(&handshake.info_hash) {
            None => return,
            Some(Entry::Complete(torrent)) => {
                connection::run(shared, torrent, stream, address, handshake, pass, false).await;
                return;
            }
            Some(Entry::Fetching { engine, pieces }) => {
                let nothing = nothing_of(pieces);
                let relayed = async {
                    let opening = open(engine, &handshake, &nothing);
                    let Ok(opened) = timeout_at(deadline, opening).await else { return true };
                    let Ok((inside, mut first)) = opened else { return false };
                    pass.opened();
                    if handshake.peer_id[..8] == shared.peer_id[..8] {
                        first.extend_from_slice(&nothing);
                    }
                    if let Err(error) = relay(&shared, &mut stream, inside, &first).await {
                        tracing::debug!("the relay to {engine} ended: {error}");
                    }
                    true
                };
                match shared.stop.run_until_cancelled(relayed).await {
                    // An engine that is still looking at what is there answers nobody.
                    Some(false) if Instant::now() + RELAY_PAUSE < deadline => {
                        sleep(RELAY_PAUSE).await
                    }
                    _ => return,
                }
            }
        }
    }
}

/// The handshake that a stream begins with; `None` is another protocol, which is noticed at its first bytes.
pub(super) async fn read_handshake(stream: &mut TcpStream) -> io::Result<Option<Handshake>> {
    let mut bytes = [0; HANDSHAKE_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        let read = stream.read(&mut bytes[filled..]).await?;
        filled += read;
        let known = filled.min(PROTOCOL.len());
        if read == 0 || bytes[..known] != PROTOCOL[..known] {
            return Ok(None);
        }
    }
    Ok(Handshake::read(&bytes))
}

/// Connects to an engine on this machine with a peer's handshake, and with `nothing` as what the peer has; gives the
/// handshake of the engine.
///
/// librqbit 9.1 tells a peer of its new pieces only when that has said what it has, and says itself what it has only when
/// that is something: two that begin with nothing would never hear of each other's pieces. So here each of them is told
/// that the other has nothing; a peer of another kind tells what it has itself, and that counts when it does. Flags of the
/// handshake that this side does not know are not handed on.
async fn open(
    engine: SocketAddr,
    handshake: &Handshake,
    nothing: &[u8],
) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut inside = dial(engine).await?;
    inside.set_nodelay(true)?;
    inside.write_all(&[&handshake.write(), nothing].concat()).await?;
    let mut first = vec![0; HANDSHAKE_BYTES];
    inside.read_exact(&mut first).await?;
    Ok((inside, first))
}

/// Connects to an engine. On loopback each connection comes from an address of its own, all of which are this machine:
/// Transmission takes one peer from an address.
async fn dial(engine: SocketAddr) -> io::Result<TcpStream> {
    if engine.ip().is_loopback() && engine.is_ipv4() {
        let [b, c, d] = [(); 3].map(|()| fastrand::u8(1..=254));
        let socket = TcpSocket::new_v4()?;
        if socket.bind((Ipv4Addr::new(127, b, c, d), 0).into()).is_ok() {
            return socket.connect(engine).await;
        }
    }
    TcpStream::connect(engine).await
}

/// The message of a peer that has none of the pieces.
fn nothing_of(pieces: u32) -> Vec<u8> {
    let mut message = Vec::new();
    Message::Bitfield(&vec![0; pieces.div_ceil(8) as usize]).write(&mut message);
    message
}

/// Carries bytes between a peer and an engine until one of them ends. What goes out counts for the upload rate.
async fn relay(
    shared: &Shared,
    stream: &mut TcpStream,
    mut inside: TcpStream,
    first: &[u8],
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(first).await?;
    let (mut from_engine, mut to_engine) = inside.split();
    let (mut from_peer, mut to_peer) = stream.split();
    let inward = tokio::io::copy(&mut from_peer, &mut to_engine);
    let outward = async {
        let mut buffer = vec![0; RELAY_BYTES];
        loop {
            let read = timeout(shared.limits.idle_timeout, from_engine.read(&mut buffer)).await??;
            if read == 0 {
                return Ok(());
            }
            shared.bucket.take(read as u64).await;
            timeout(shared.limits.idle_timeout, to_peer.write_all(&buffer[..read])).await??;
        }
    };
    // A connection of peers has no half that goes on alone.
    tokio::select! {
        ended = inward => ended.map(|_| ()),
        ended = outward => ended,
    }
}

/// Connections that wait to be taken.
const BACKLOG: u32 = 256;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// An engine that does not answer is asked again after so long.
const RELAY_PAUSE: Duration = Duration::from_millis(300);
/// The buffer of a relayed connection.
const RELAY_BYTES: usize = 32 << 10;
