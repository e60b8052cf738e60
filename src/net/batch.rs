//! Datagrams by the batch: `recvmmsg(2)` in, `sendmmsg(2)` out.
//!
//! Under load the system calls are most of what an answer costs; one call for 64 datagrams makes them
//! about half as dear as one call each.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Datagrams received or sent by one system call, at most.
pub const BATCH_MAX: usize = 64;

/// Bytes kept of one datagram. A scrape of 74 torrents takes 1,496; what is longer is cut off.
pub const DATAGRAM_BYTES_MAX: usize = 1536;

/// Room for one `in6_pktinfo` (20 bytes) with its header, the larger of the two kinds.
const CONTROL_BYTES: usize = 48;

/// The sender of a datagram and the address of ours that it was sent to, so that the reply can leave from that very
/// address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Correspondent {
    /// Their address and port, as the socket's family shows it, or as a proxy says it.
    pub remote: SocketAddr,
    /// How the reply gets there.
    pub path: Path,
}

/// How a reply gets to who asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    /// Straight, and from this address of ours, where the socket is bound to all of them and the kernel told; with the
    /// interface index for IPv6, which link-local addresses need.
    Direct(Option<(IpAddr, u32)>),
    /// By a proxy. It leaves from the address that the socket is bound to; where that is all of them, from the one that
    /// the kernel takes for the way there.
    Proxied(Via),
}

/// A proxy that passes datagrams on. It is small, as it goes with every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via {
    address: Ipv6Addr,
    scope: u32,
    port: u16,
    echo_port: u16,
    echo: Option<Ipv6Addr>,
}

impl Via {
    /// The proxy at this address and port, as the socket's family shows it; replies by it carry a header with the address
    /// `echo` in it, where there is one.
    pub fn new(proxy: SocketAddr, echo: Option<SocketAddr>) -> Self {
        let scope = match proxy {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(proxy) => proxy.scope_id(),
        };
        Self {
            address: as_v6(proxy.ip()),
            scope,
            port: proxy.port(),
            echo_port: echo.map_or(0, |echo| echo.port()),
            echo: echo.map(|echo| as_v6(echo.ip())),
        }
    }

    fn proxy(&self) -> SocketAddr {
        match self.address.to_ipv4_mapped() {
            Some(address) => SocketAddrV4::new(address, self.port).into(),
            None => SocketAddrV6::new(self.address, self.port, 0, self.scope).into(),
        }
    }

    /// The address that replies carry in a header.
    pub fn echo(&self) -> Option<SocketAddr> {
        Some(SocketAddrV6::new(self.echo?, self.echo_port, 0, 0).into())
    }
}

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// A buffer of control messages, aligned as `cmsghdr` wants it.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Receives up to [`BATCH_MAX`] datagrams at a time into buffers of its own.
pub struct Inbox {
    datagrams: Box<[[u8; DATAGRAM_BYTES_MAX]]>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

impl Inbox {
    /// An empty inbox; about 120 KiB.
    pub fn new() -> Self {
        Self {
            datagrams: vec![[0; DATAGRAM_BYTES_MAX]; BATCH_MAX].into(),
            addresses: vec![zeroed_address(); BATCH_MAX].into(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH_MAX].into(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX].into(),
            headers: vec![zeroed_header(); BATCH_MAX].into(),
            received: 0,
        }
    }

    /// Takes the datagrams that are waiting, at most [`BATCH_MAX`], and returns how many; 0 when
    /// there is none. What was received before is gone.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        for slot in 0..BATCH_MAX {
            let vector = &mut self.vectors[slot];
            vector.iov_base = self.datagrams[slot].as_mut_ptr().cast();
            vector.iov_len = DATAGRAM_BYTES_MAX;
            let header = &mut self.headers[slot].msg_hdr;
            header.msg_name = (&raw mut self.addresses[slot]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_control = self.controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = CONTROL_BYTES;
        }
        // SAFETY: every header points at a buffer, an address and a control buffer of its own slot
        // (set in the loop above) that live in `self` and are not touched while the call runs.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                BATCH_MAX as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(received) {
            Ok(received) => self.received = received,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => {}
                // An ICMP error of an earlier reply; it says nothing about what waits here.
                error if error.raw_os_error() == Some(libc::ECONNREFUSED) => {}
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
        Ok(self.received)
    }

    /// The datagram in `slot` of the last [`Inbox::receive`] and who sent it; `None` for an address
    /// that is neither IPv4 nor IPv6.
    pub fn datagram(&self, slot: usize) -> Option<(&[u8], Correspondent)> {
        assert!(slot < self.received, "slot {slot} of {}", self.received);
        let header = &self.headers[slot];
        let bytes = &self.datagrams[slot][..(header.msg_len as usize).min(DATAGRAM_BYTES_MAX)];
        let remote = socket_address(&self.addresses[slot])?;
        let local = local_address(&header.msg_hdr, &self.controls[slot]);
        Some((bytes, Correspondent { remote, path: Path::Direct(local) }))
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// The outcome of one flush of an [`Outbox`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Replies the kernel took.
    pub replies: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Replies given up: the send buffer was full or the address cannot be reached.
    pub dropped: usize,
}

/// Replies waiting to be sent together.
pub struct Outbox {
    bytes: Vec<u8>,
    replies: Vec<(usize, Correspondent)>,
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(BATCH_MAX * 512),
            replies: Vec::with_capacity(BATCH_MAX),
            addresses: vec![zeroed_address(); BATCH_MAX].into(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH_MAX].into(),
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH_MAX].into(),
            headers: vec![zeroed_header(); BATCH_MAX].into(),
        }
    }

    /// True when the next reply must wait for a [`Outbox::flush`].
    pub fn is_full(&self) -> bool {
        self.replies.len() >= BATCH_MAX
    }

    /// True when there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty()
    }

    /// Adds the reply that `write` appends to the buffer it is given; nothing, when it appends
    /// nothing. The outbox must not be full.
    pub fn push(&mut self, to: Correspondent, write: impl FnOnce(&mut Vec<u8>)) {
        assert!(!self.is_full(), "flush before the {BATCH_MAX}th reply");
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.replies.push((self.bytes.len(), to));
        }
    }

    /// Sends everything and empties the outbox. A full send buffer drops what is left: UDP clients
    /// ask again, and waiting here would stop the core.
    pub fn flush(&mut self, socket: BorrowedFd<'_>) -> Sent {
        let count = self.replies.len();
        self.address_replies();
        let mut sent = Sent::default();
        let mut next = 0;
        while next < count {
            // SAFETY: `address_replies` pointed the first `count` headers at addresses, control
            // buffers and bytes that live in `self` and do not change until the call returns.
            let taken = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr().add(next),
                    (count - next) as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(taken) = usize::try_from(taken) {
                for header in &self.headers[next..next + taken] {
                    sent.bytes += header.msg_len as usize;
                }
                sent.replies += taken;
                next += taken;
                continue;
            }
            match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::WouldBlock => {
                    sent.dropped += count - next;
                    break;
                }
                // This one cannot be sent (no route, a firewall); the others can.
                _ => {
                    sent.dropped += 1;
                    next += 1;
                }
            }
        }
        self.replies.clear();
        self.bytes.clear();
        sent
    }

    fn address_replies(&mut self) {
        let mut start = 0;
        for (slot, (end, to)) in self.replies.iter().enumerate() {
            let vector = &mut self.vectors[slot];
            vector.iov_base = self.bytes[start..*end].as_mut_ptr().cast();
            vector.iov_len = end - start;
            start = *end;
            let header = &mut self.headers[slot].msg_hdr;
            let (receiver, local) = match &to.path {
                Path::Direct(local) => (to.remote, *local),
                Path::Proxied(via) => (via.proxy(), None),
            };
            header.msg_namelen = write_socket_address(receiver, &mut self.addresses[slot]);
            header.msg_name = (&raw mut self.addresses[slot]).cast();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            let control = &mut self.controls[slot];
            header.msg_controllen = local.map_or(0, |local| write_local_address(local, control));
            header.msg_control = match header.msg_controllen {
                0 => ptr::null_mut(),
                _ => control.0.as_mut_ptr().cast(),
            };
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: the raw pointers in `vectors` and `headers` are written anew by `receive` or
// `address_replies` before each use and never read otherwise, so moving the value is harmless.
unsafe impl Send for Inbox {}
// SAFETY: as for `Inbox`.
unsafe impl Send for Outbox {}

fn zeroed_address() -> libc::sockaddr_storage {
    // SAFETY: `sockaddr_storage` is plain bytes; all zero is its "unspecified" value.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn zeroed_header() -> libc::mmsghdr {
    // SAFETY: `mmsghdr` is integers and pointers; zero and null are valid for all of them.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Reads what the kernel wrote as the sender's address.
fn socket_address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a `sockaddr_in`, which is smaller.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a `sockaddr_in6`, which is smaller.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Writes `address` for the kernel; the length it has there.
fn write_socket_address(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> u32 {
    match address {
        SocketAddr::V4(address) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as u16,
                sin_port: address.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
                sin_zero: [0; 8],
            };
            // SAFETY: a `sockaddr_storage` is large enough and aligned for any socket address.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in>().write(raw) };
            mem::size_of::<libc::sockaddr_in>() as u32
        }
        SocketAddr::V6(address) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as u16,
                sin6_port: address.port().to_be(),
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: address.ip().octets() },
                sin6_scope_id: address.scope_id(),
            };
            // SAFETY: as above.
            unsafe { (&raw mut *storage).cast::<libc::sockaddr_in6>().write(raw) };
            mem::size_of::<libc::sockaddr_in6>() as u32
        }
    }
}

/// The address a datagram was sent to: `IP_PKTINFO` (ip(7)) or `IPV6_PKTINFO` (ipv6(7)).
fn local_address(header: &libc::msghdr, control: &Control) -> Option<(IpAddr, u32)> {
    let held = header.msg_controllen.min(CONTROL_BYTES);
    let (head, data) = control.0[..held].split_first_chunk::<16>()?;
    // `cmsghdr` on 64-bit Linux: length (8 bytes), level (4), type (4), then the data.
    let length = usize::from_ne_bytes(head[..8].try_into().ok()?);
    let level = i32::from_ne_bytes(head[8..12].try_into().ok()?);
    let kind = i32::from_ne_bytes(head[12..].try_into().ok()?);
    let data = data.get(..length.checked_sub(16)?)?;
    match (level, kind) {
        // `in_pktinfo`: interface (4 bytes), the local address of the packet (4), its destination.
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let address: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some((IpAddr::from(address), 0))
        }
        // `in6_pktinfo`: destination address (16 bytes), interface (4).
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let address: [u8; 16] = data.get(..16)?.try_into().ok()?;
            let interface = u32::from_ne_bytes(data.get(16..20)?.try_into().ok()?);
            Some((IpAddr::from(address), interface))
        }
        _ => None,
    }
}

/// Writes a control message that makes a datagram leave from `local`; its length with padding.
fn write_local_address((local, interface): (IpAddr, u32), control: &mut Control) -> usize {
    let mut data = [0; 20];
    let (level, kind, length) = match local {
        IpAddr::V4(address) => {
            data[4..8].copy_from_slice(&address.octets());
            (libc::IPPROTO_IP, libc::IP_PKTINFO, 12)
        }
        IpAddr::V6(address) => {
            data[..16].copy_from_slice(&address.octets());
            data[16..].copy_from_slice(&interface.to_ne_bytes());
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, 20)
        }
    };
    let length: usize = length;
    control.0[..8].copy_from_slice(&(16 + length).to_ne_bytes());
    control.0[8..12].copy_from_slice(&level.to_ne_bytes());
    control.0[12..16].copy_from_slice(&kind.to_ne_bytes());
    control.0[16..36].copy_from_slice(&data);
    16 + length.next_multiple_of(8)
}

const _: () = {
    assert!(mem::size_of::<libc::cmsghdr>() == 16, "the layout that `local_address` reads");
    assert!(mem::size_of::<libc::in_pktinfo>() == 12);
    assert!(mem::size_of::<libc::in6_pktinfo>() == 20);
    assert!(CONTROL_BYTES >= 16 + 24);
};

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    fn receive_all(inbox: &mut Inbox, socket: &UdpSocket, want: usize) -> usize {
        let deadline = Instant::now() + Duration::from_secs(5);
        let received = inbox.receive(socket.as_fd()).unwrap();
        assert!(received <= want);
        if received == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            return receive_all(inbox, socket, want);
        }
        received
    }

    /// Sends a few datagrams to `server`, answers each in capitals, and checks what comes back.
    fn check_round_trip(server: UdpSocket, to: SocketAddr, client: UdpSocket) {
        let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
        for text in ["ann", "bob", "cy"] {
            client.send_to(text.as_bytes(), to).unwrap();
        }
        let mut answered = 0;
        while answered < 3 {
            let received = receive_all(&mut inbox, &server, 3);
            assert_ne!(received, 0, "datagrams lost on loopback");
            for slot in 0..received {
                let (bytes, from) = inbox.datagram(slot).unwrap();
                assert_eq!(from.remote.port(), client.local_addr().unwrap().port());
                outbox.push(from, |out| out.extend(bytes.to_ascii_uppercase()));
            }
            answered += outbox.flush(server.as_fd()).replies;
            assert!(outbox.is_empty());
        }
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for text in ["ANN", "BOB", "CY"] {
            let mut buffer = [0; 16];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], text.as_bytes());
            assert_eq!(from, to, "the reply leaves from the address that was asked");
        }
    }

    #[test]
    fn c14_a_reply_leaves_from_the_address_that_was_asked() {
        let server = crate::net::bind::udp("0.0.0.0:0".parse().unwrap(), None).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        check_round_trip(server, SocketAddr::new("127.5.6.7".parse().unwrap(), port), client);
    }

    #[test]
    fn c14_a_reply_leaves_from_the_address_that_was_asked_v6() {
        let server = crate::net::bind::udp("[::]:0".parse().unwrap(), None).unwrap();
        let port = server.local_addr().unwrap().port();
        let client = UdpSocket::bind("[::1]:0").unwrap();
        check_round_trip(server, SocketAddr::new("::1".parse().unwrap(), port), client);
    }

    #[test]
    fn an_unreachable_address_does_not_hold_up_the_others() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut outbox = Outbox::new();
        let nowhere = "255.255.255.255:9".parse().unwrap();
        for remote in [nowhere, client.local_addr().unwrap(), nowhere] {
            outbox.push(Correspondent { remote, path: Path::Direct(None) }, |out| out.push(1));
        }
        let sent = outbox.flush(server.as_fd());
        assert_eq!(sent, Sent { replies: 1, bytes: 1, dropped: 2 });
    }
}
