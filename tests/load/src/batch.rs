//! Many datagrams in one system call: `recvmmsg(2)` and `sendmmsg(2)`. The only unsafe code here.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::libc;

/// Datagrams moved by one system call at most.
pub(crate) const BATCH: usize = 64;

/// Room for one datagram; a scrape of 74 hashes is the longest that is sent, at 1,496 bytes.
const DATAGRAM_MAX: usize = 2048;

/// A socket address as the kernel reads and writes it (`ip(7)`, `ipv6(7)`).
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Name {
    bytes: [u8; 28],
    len: u32,
}

impl From<SocketAddr> for Name {
    fn from(address: SocketAddr) -> Self {
        let mut bytes = [0; 28];
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let (family, len) = match address {
            SocketAddr::V4(v4) => {
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                (libc::AF_INET, size_of::<libc::sockaddr_in>())
            }
            SocketAddr::V6(v6) => {
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                (libc::AF_INET6, size_of::<libc::sockaddr_in6>())
            }
        };
        bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        Self { bytes, len: len as u32 }
    }
}

impl Name {
    /// A neighbour of a packet socket: IPv4 packets by a device, to a hardware address (`packet(7)`).
    pub(crate) fn neighbour(device: i32, hardware: [u8; 6]) -> Self {
        let mut bytes = [0; 28];
        bytes[..2].copy_from_slice(&(libc::AF_PACKET as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&(libc::ETH_P_IP as u16).to_be_bytes());
        bytes[4..8].copy_from_slice(&device.to_ne_bytes());
        bytes[11] = hardware.len() as u8;
        bytes[12..18].copy_from_slice(&hardware);
        Self { bytes, len: size_of::<libc::sockaddr_ll>() as u32 }
    }
}

/// `IP_PKTINFO` ancillary data: which of the machine's addresses a datagram leaves from.
#[derive(Clone, Copy)]
#[repr(C)]
struct From4 {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

/// Up to [`BATCH`] datagrams with their addresses, to be sent or just received.
pub(crate) struct Batch {
    bytes: Box<[[u8; DATAGRAM_MAX]; BATCH]>,
    lens: [usize; BATCH],
    names: Box<[Name; BATCH]>,
    from: Box<[Option<From4>; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
    vectors: Box<[libc::iovec; BATCH]>,
    used: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let header = libc::mmsghdr {
            msg_hdr: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: ptr::null_mut(),
                msg_iovlen: 1,
                msg_control: ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            msg_len: 0,
        };
        Self {
            bytes: Box::new([[0; DATAGRAM_MAX]; BATCH]),
            lens: [0; BATCH],
            names: Box::new([Name { bytes: [0; 28], len: 0 }; BATCH]),
            from: Box::new([None; BATCH]),
            headers: Box::new([header; BATCH]),
            vectors: Box::new([libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH]),
            used: 0,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.used == BATCH
    }

    /// Adds a datagram to `to`; `write` fills the buffer and returns the length. `from` picks the
    /// source address, for which the socket must be bound to the unspecified address.
    pub(crate) fn push(
        &mut self,
        to: Name,
        from: Option<Ipv4Addr>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) {
        assert!(self.used < BATCH, "the caller flushes a full batch");
        self.lens[self.used] = write(&mut self.bytes[self.used]).min(DATAGRAM_MAX);
        self.names[self.used] = to;
        self.from[self.used] = from.map(from4);
        self.used += 1;
    }

    /// The datagrams received by the last [`Batch::receive`].
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Name)> {
        (0..self.used).map(|i| (&self.bytes[i][..self.lens[i]], self.names[i]))
    }

    /// Replaces the contents with what the socket holds, at most `limit` datagrams, and returns how
    /// many. With `wait` the call sleeps until there is one; without, there may be none.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        limit: usize,
        wait: bool,
    ) -> io::Result<usize> {
        self.used = 0;
        let limit = limit.min(BATCH);
        for i in 0..limit {
            self.vectors[i].iov_base = self.bytes[i].as_mut_ptr().cast();
            self.vectors[i].iov_len = DATAGRAM_MAX;
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.names[i].bytes.as_mut_ptr().cast();
            header.msg_namelen = 28;
            header.msg_iov = &raw mut self.vectors[i];
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
        }
        let flags = if wait { libc::MSG_WAITFORONE } else { libc::MSG_DONTWAIT };
        // SAFETY: the first `limit` (≤ BATCH) headers were filled just above with pointers into
        // `bytes`, `names` and `vectors`, whose lengths are given with them and which `self` keeps
        // alive and unmoved (boxes) and exclusively borrowed during the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                limit as u32,
                flags as _,
                ptr::null_mut(),
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        self.used = received as usize;
        for i in 0..self.used {
            self.lens[i] = (self.headers[i].msg_len as usize).min(DATAGRAM_MAX);
            self.names[i].len = self.headers[i].msg_hdr.msg_namelen.min(28);
        }
        Ok(self.used)
    }

    /// Sends the contents and empties the batch. Returns how many the kernel took: fewer when the
    /// socket's buffer is full, as a datagram may be lost anywhere on its way.
    pub(crate) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let count = std::mem::take(&mut self.used);
        if count == 0 {
            return Ok(0);
        }
        for i in 0..count {
            self.vectors[i].iov_base = self.bytes[i].as_mut_ptr().cast();
            self.vectors[i].iov_len = self.lens[i];
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = self.names[i].bytes.as_mut_ptr().cast();
            header.msg_namelen = self.names[i].len;
            header.msg_iov = &raw mut self.vectors[i];
            (header.msg_control, header.msg_controllen) = match &mut self.from[i] {
                Some(from) => (ptr::from_mut(from).cast(), size_of::<From4>() as _),
                None => (ptr::null_mut(), 0),
            };
        }
        let mut sent = 0;
        while sent < count {
            // SAFETY: headers `sent..count` (≤ BATCH) were filled just above with pointers into
            // buffers that `self` keeps alive, unmoved and exclusively borrowed during the call;
            // every length is that of the buffer it goes with.
            let result = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr().add(sent),
                    (count - sent) as u32,
                    0,
                )
            };
            if result < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock => break,
                    _ => return Err(error),
                }
            }
            sent += result as usize;
        }
        Ok(sent)
    }
}

fn from4(address: Ipv4Addr) -> From4 {
    From4 {
        header: libc::cmsghdr {
            cmsg_len: (size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>()) as _,
            cmsg_level: libc::IPPROTO_IP,
            cmsg_type: libc::IP_PKTINFO,
        },
        info: libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(address.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        },
    }
}

// `CMSG_LEN` of an `in_pktinfo`: the data follows the header directly.
const _: () = assert!(
    std::mem::offset_of!(From4, info) == size_of::<libc::cmsghdr>()
        && size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>() <= size_of::<From4>()
);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn datagrams_leave_from_the_address_asked_for_and_come_back_to_it() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        let port = client.local_addr().unwrap().port();
        let to = Name::from(server.local_addr().unwrap());
        let mut batch = Batch::new();
        for last in 1..=3 {
            batch.push(to, Some(Ipv4Addr::new(127, 77, 0, last)), |buffer| {
                buffer[..2].copy_from_slice(&[b'x', last]);
                2
            });
        }
        assert_eq!(batch.send(client.as_fd()).unwrap(), 3);

        let mut buffer = [0; 16];
        for last in 1..=3 {
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..len], [b'x', last]);
            assert_eq!(from, SocketAddr::from(([127, 77, 0, last], port)));
            server.send_to(&buffer[..len], from).unwrap();
        }
        assert_eq!(batch.receive(client.as_fd(), BATCH, true).unwrap(), 3);
        let texts: Vec<_> = batch.datagrams().map(|(bytes, _)| bytes.to_vec()).collect();
        assert_eq!(texts, [[b'x', 1], [b'x', 2], [b'x', 3]]);
        assert_eq!(batch.receive(client.as_fd(), BATCH, false).unwrap(), 0);
    }

    #[test]
    fn a_sender_can_be_answered_on_both_families() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let server = UdpSocket::bind(host).unwrap();
            let client = UdpSocket::bind(host).unwrap();
            client.send_to(b"ping", server.local_addr().unwrap()).unwrap();
            let mut inbox = Batch::new();
            assert_eq!(inbox.receive(server.as_fd(), BATCH, true).unwrap(), 1);
            let (bytes, sender) = inbox.datagrams().next().unwrap();
            assert_eq!(bytes, b"ping");
            let mut outbox = Batch::new();
            outbox.push(sender, None, |buffer| {
                buffer[..4].copy_from_slice(b"pong");
                4
            });
            assert_eq!(outbox.send(server.as_fd()).unwrap(), 1);
            let mut buffer = [0; 16];
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (&b"pong"[..], server.local_addr().unwrap()));
        }
    }
}
