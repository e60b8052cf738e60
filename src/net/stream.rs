//! TCP connections, taken as they are: whatever can be done now is done now. And descriptors on their
//! way to the executor.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;

use futures_lite::AsyncRead;
use glommio::io::BufferedFile;
use glommio::net::{TcpStream, UdpSocket};
use socket2::{SockRef, Socket};

/// Accepts a connection that is waiting, with its address where it has one; `None` when there is none.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(Socket, Option<SocketAddr>)>> {
    loop {
        match SockRef::from(&listener).accept() {
            Ok((socket, address)) => return Ok(Some((socket, address.as_socket()))),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                // The client is gone already (accept(2) lists these); the next may be there.
                io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => continue,
                _ => return Err(error),
            },
        }
    }
}

/// Reads what is there: `Some(0)` at the end of the stream, `None` when nothing has come yet.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and the length are those of `buffer`, which is borrowed mutably.
    let received = unsafe {
        libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    done(received)
}

/// Whether the other end has closed, though there may be something to read before that.
pub fn has_ended(socket: BorrowedFd<'_>) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: the pointer is that of one entry.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Sends what the kernel takes now; `None` when its buffer is full. Never raises `SIGPIPE`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
    send_with(socket, bytes, 0)
}

/// The same for the last bytes of a connection that is closed right after: the kernel holds them back
/// (`MSG_MORE`, send(2)) and sends them in one packet with the end of the stream.
pub fn send_last(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Option<usize>> {
    send_with(socket, bytes, libc::MSG_MORE)
}

fn send_with(socket: BorrowedFd<'_>, bytes: &[u8], flags: i32) -> io::Result<Option<usize>> {
    // SAFETY: the pointer and the length are those of `bytes`.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | flags,
        )
    };
    done(sent)
}

fn done(result: isize) -> io::Result<Option<usize>> {
    match usize::try_from(result) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

/// Hands a connection to the executor of this thread, which waits for it from now on.
pub fn adopt(connection: OwnedFd) -> TcpStream {
    // SAFETY: the descriptor is open and owned, and its ownership goes to the stream.
    unsafe { TcpStream::from_raw_fd(connection.into_raw_fd()) }
}

/// Waits until a connection can be accepted, and leaves it where it is.
///
/// An operation of the ring that accepts would take one even when nobody wants it any more, and it would be lost with the
/// ring; one that only looks takes nothing. glommio has such a look for streams alone: so a copy of the listener is
/// taken for a stream, reading from which fails as soon as there is something (`ENOTCONN`, recv(2)).
pub async fn acceptable(listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut copy = adopt(listener.try_clone_to_owned()?);
    let _ = poll_fn(|context| Pin::new(&mut copy).poll_read(context, &mut [0])).await;
    Ok(())
}

/// Hands a UDP socket to the executor of this thread.
pub fn adopt_udp(socket: std::net::UdpSocket) -> UdpSocket {
    // SAFETY: as in `adopt`.
    unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) }
}

/// Hands a file to the executor of this thread, which reads it without waiting for the disk.
pub fn adopt_file(file: std::fs::File) -> BufferedFile {
    // SAFETY: as in `adopt`.
    unsafe { BufferedFile::from_raw_fd(file.into_raw_fd()) }
}

mod owner {
    use super::{AsRawFd, OwnedFd, TcpStream, UdpSocket};

    /// An owner of a descriptor, which closes it when it is dropped. A bare number does not.
    pub trait Owner: AsRawFd {}

    impl Owner for OwnedFd {}
    impl Owner for std::net::TcpListener {}
    impl Owner for TcpStream {}
    impl Owner for UdpSocket {}
}

/// The descriptor under one of glommio's sockets, which do not implement `AsFd`.
pub fn borrow<S: owner::Owner>(socket: &S) -> BorrowedFd<'_> {
    // SAFETY: the descriptor belongs to `socket` and stays open for the borrow.
    unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) }
}

/// Says that nothing more will be sent; what was sent before still arrives.
pub fn finish(socket: BorrowedFd<'_>) {
    // An error means that the connection has ended already.
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Write);
}

/// The descriptor of a connection that somebody else owns, and closes only when this is gone.
#[derive(Debug)]
pub struct Lent(RawFd);

impl Lent {
    /// # Safety
    /// The descriptor stays open for as long as this is there.
    pub unsafe fn new(connection: BorrowedFd<'_>) -> Self {
        Self(connection.as_raw_fd())
    }

    /// The connection.
    pub fn borrow(&self) -> BorrowedFd<'_> {
        // SAFETY: it is open for as long as this is there.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }

    /// Ends it in both directions; whoever reads it sees the end. What is no socket is left as it is.
    pub fn shut_down(&self) {
        // An error means that it has ended already.
        let _ = SockRef::from(&self.borrow()).shutdown(std::net::Shutdown::Both);
    }
}
