//! One TCP connection of the load: opened without waiting, written and read without waiting.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, connect, setsockopt,
    socket, sockopt,
};

/// A connection and the requests that wait for their answer on it, oldest first.
pub(crate) struct Connection {
    stream: TcpStream,
    pub(crate) waiting: VecDeque<Asked>,
    /// When the last request was sent, or should have been: nanoseconds of the run.
    pub(crate) last: u64,
    /// What has come of the reply to the oldest.
    received: Vec<u8>,
    /// Requests the socket has not taken yet.
    unsent: Vec<u8>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// When it was sent, or should have been: nanoseconds of the run.
    pub(crate) since: u64,
    /// Who announced, and which of its announces this is; see [`crate::users::Users::answered`].
    pub(crate) peer: u32,
    pub(crate) said: u32,
}

/// Source ports of one address, taken in turn: a port comes again only when all others were used,
/// by which time the tracker has forgotten the connection it served before.
pub(crate) struct Ports {
    next: u16,
}

impl Ports {
    pub(crate) fn new(seed: u64) -> Self {
        Self { next: PORT_FIRST + (seed % u64::from(PORT_LAST - PORT_FIRST)) as u16 }
    }

    fn take(&mut self) -> u16 {
        let port = self.next;
        self.next = if port == PORT_LAST { PORT_FIRST } else { port + 1 };
        port
    }
}

impl Connection {
    /// Begins to connect, from `source` if there is one.
    pub(crate) fn open(to: SocketAddr, source: Option<(Ipv4Addr, &mut Ports)>) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(family, SockType::Stream, flags, None)?;
        if let Some((address, ports)) = source {
            bind_in_turn(&socket, address, ports)?;
        }
        match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            stream: socket.into(),
            waiting: VecDeque::new(),
            last: 0,
            received: Vec::new(),
            unsent: Vec::new(),
        })
    }

    /// The socket, to be watched.
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends what waits and then `request`; over loopback that nearly always succeeds at once, even
    /// right after [`Connection::open`]. True when something is left for later.
    pub(crate) fn send(&mut self, request: &[u8]) -> io::Result<bool> {
        if self.unsent.is_empty() {
            let sent = written(self.stream.write(request))?;
            self.unsent.extend_from_slice(&request[sent..]);
        } else {
            self.unsent.extend_from_slice(request);
            let sent = written(self.stream.write(&self.unsent))?;
            self.unsent.drain(..sent);
        }
        Ok(!self.unsent.is_empty())
    }

    /// Whether [`Connection::send`] has left something for later.
    pub(crate) fn is_sending(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads once into the bytes received; true at the end of the stream.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) => Ok(true),
            Ok(len) => {
                self.received.extend_from_slice(&buffer[..len]);
                Ok(false)
            }
            Err(error) if is_transient(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn received(&self) -> &[u8] {
        &self.received
    }

    /// Drops the first `len` bytes received.
    pub(crate) fn consume(&mut self, len: usize) {
        self.received.drain(..len);
    }

    /// Closes at once with a reset, which leaves nothing behind on either side.
    pub(crate) fn abort(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&self.stream, sockopt::Linger, &linger);
    }
}

fn bind_in_turn(socket: &OwnedFd, address: Ipv4Addr, ports: &mut Ports) -> io::Result<()> {
    for _ in 0..PORT_TRIES {
        let [a, b, c, d] = address.octets();
        match bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, ports.take())) {
            Ok(()) => return Ok(()),
            // Somebody listens on it, or the last connection from it is not quite gone.
            Err(Errno::EADDRINUSE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other(format!("no free port on {address}; use more --sources")))
}

fn written(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if is_transient(&error) => Ok(0),
        other => other,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::NotConnected
    )
}

const PORT_FIRST: u16 = 10_000;
const PORT_LAST: u16 = 65_000;

/// Ports tried for one connection before the address counts as exhausted.
const PORT_TRIES: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_comes_from_the_address_and_the_ports_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let source = Ipv4Addr::new(127, 77, 3, 4);
        let mut ports = Ports { next: PORT_LAST };
        for _ in 0..2 {
            let mut connection = Connection::open(to, Some((source, &mut ports))).unwrap();
            let (mut accepted, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), source);
            connection.send(b"hello").unwrap();
            let mut buffer = [0; 5];
            accepted.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"hello");
            connection.abort();
        }
        assert!(ports.next > PORT_FIRST && ports.next < PORT_FIRST + 100, "ports start again");
    }
}
