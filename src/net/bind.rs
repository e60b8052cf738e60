//! Listening sockets, one per core and address, all in one `SO_REUSEPORT` group.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections that may wait to be accepted by one core; the kernel cuts it to `somaxconn`.
const BACKLOG: i32 = 4096;

/// How long the kernel holds a connection back until its request is there, in seconds.
///
/// Almost every client sends its request at once, so an accepted connection can be answered in the
/// same turn. A silent one is handed over after this time and meets the request time-out.
const DEFER_ACCEPT_SECONDS: i32 = 3;

/// A UDP socket of the group that shares `address`; IPv6 ones take no IPv4. `receive_buffer` is in
/// bytes, cut by the kernel to `net.core.rmem_max`.
pub fn udp(address: SocketAddr, receive_buffer: Option<usize>) -> io::Result<UdpSocket> {
    let socket = shared(address, Type::DGRAM, Protocol::UDP)?;
    if let Some(bytes) = receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    settle_udp(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes a UDP socket as [`udp`] makes one, but for the size of its buffers.
pub(super) fn settle_udp(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() {
        // "Don't fragment", without looking at what routers say about a path: replies are far below
        // any path's MTU (1,232 bytes at most, 320 with 50 peers). An unfragmentable packet needs no
        // IP identification, whose making is 2% of an answer.
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    }
    if address.ip().is_unspecified() {
        // Which of this machine's addresses was asked, so that the reply leaves from there.
        match address {
            SocketAddr::V4(_) => set_flag(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?,
            SocketAddr::V6(_) => set_flag(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?,
        }
    }
    Ok(())
}

/// A TCP listener of the group that shares `address`; IPv6 ones take no IPv4.
pub fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = shared(address, Type::STREAM, Protocol::TCP)?;
    // Connections of the last process may still be in TIME_WAIT after a restart.
    socket.set_reuse_address(true)?;
    settle_tcp(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Makes a listener as [`tcp`] makes one.
pub(super) fn settle_tcp(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, DEFER_ACCEPT_SECONDS)
}

/// Whether somebody listens on `address` already. The sockets of a group share it with one another, and
/// would with those of any other process of the same user, to whom a part of all requests would go.
pub fn in_use(address: SocketAddr, kind: Type) -> bool {
    // Port 0 is never in use, and what else is wrong with an address shows when it is bound.
    let probe = || {
        let socket = Socket::new(Domain::for_address(address), kind, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // As in `tcp`; for UDP it would mean sharing.
        socket.set_reuse_address(kind == Type::STREAM)?;
        socket.bind(&address.into())
    };
    matches!(probe(), Err(error) if error.kind() == io::ErrorKind::AddrInUse)
}

fn shared(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let kind = kind.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// How many bytes `socket` can hold for its reader.
pub fn receive_buffer_bytes(socket: &UdpSocket) -> io::Result<usize> {
    SockRef::from(socket).recv_buffer_size()
}

fn set_flag(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    set_option(socket, level, option, 1)
}

fn set_option(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the option takes an `int`, and the length given is that of the `i32` pointed at.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<i32>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
