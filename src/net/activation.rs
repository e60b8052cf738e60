//! Sockets that the service manager has bound or kept for this process (sd_listen_fds(3)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use socket2::{SockRef, Type};

use super::bind;

/// A socket that was passed.
#[derive(Debug)]
pub struct Passed {
    /// Its name there (`FileDescriptorName=`).
    pub name: String,
    /// Where it is bound.
    pub address: SocketAddr,
    /// Datagrams, or connections.
    pub is_udp: bool,
    /// The socket.
    pub socket: OwnedFd,
}

/// The sockets that were passed to this process; none where nobody has. What is no socket of IP is closed, and said.
pub fn passed() -> io::Result<Vec<Passed>> {
    let mut all = Vec::new();
    for (descriptor, name) in sd_notify::listen_fds_with_names()? {
        // SAFETY: the service manager has opened it for this process, and nobody else here knows of it: this is
        // called once.
        let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
        match look(&socket) {
            Ok((address, is_udp)) => all.push(Passed { name, address, is_udp, socket }),
            Err(error) => {
                tracing::warn!(%error, name, "what the service manager has passed is no socket that can be served; it is closed");
            }
        }
    }
    Ok(all)
}

/// Where a socket is bound, and whether it is of UDP; makes it as those are that this process binds.
fn look(socket: &OwnedFd) -> io::Result<(SocketAddr, bool)> {
    let socket = SockRef::from(socket);
    let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let kind = socket.r#type()?;
    socket.set_nonblocking(true)?;
    match kind {
        Type::DGRAM => bind::settle_udp(&socket, address)?,
        Type::STREAM if socket.is_listener()? => bind::settle_tcp(&socket)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    }
    Ok((address, kind == Type::DGRAM))
}

/// Gives a copy of a socket to the service manager, which keeps it until this process, or the next one in its place, asks
/// for it (`FileDescriptorStoreMax=`).
pub fn keep(name: &str, socket: impl AsFd) -> io::Result<()> {
    use sd_notify::NotifyState::{FdName, FdStore};
    sd_notify::notify_with_fds(&[FdStore, FdName(name)], &[socket.as_fd()])
}

/// Has the service manager close what it keeps under a name.
pub fn forget(name: &str) -> io::Result<()> {
    use sd_notify::NotifyState::{FdName, FdStoreRemove};
    sd_notify::notify(&[FdStoreRemove, FdName(name)])
}
