//! What a flood is made of: packets with IP headers of their own, from addresses that nobody has. They leave by a packet
//! socket (packet(7)), past the IP stack of this end, which would cost as much as the rest of it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use clap::ValueEnum;
use fastrand::Rng;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};

use super::{JUNK_NET, address};
use crate::batch::{Batch, Name};
use crate::udp::packet::{self, Announce, Counters, Event};

/// A kind of junk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Random bytes, 1 to 150 of them.
    Garbage,
    /// Connects, each well made.
    Connects,
    /// Announces that are well made, but for the connection id: its time is right, and nothing else.
    Ids,
}

/// A packet socket, and packets for it.
pub(crate) struct Junk {
    socket: OwnedFd,
    to: Name,
    packets: Vec<Vec<u8>>,
    next: usize,
    sources: u32,
    source: u32,
    batch: Batch,
}

impl Junk {
    /// Junk for `to`, a neighbour by `device`, from so many sources; `genuine` is a connection id that is good at the moment.
    pub(crate) fn open(
        kind: Kind,
        to: SocketAddrV4,
        device: &str,
        sources: u32,
        genuine: u64,
    ) -> io::Result<Self> {
        // Without a protocol it receives nothing.
        let socket =
            socket(AddressFamily::Packet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let _ = setsockopt(&socket, sockopt::SndBufForce, &(8 << 20));
        let mut rng = Rng::with_seed(5);
        let packets = (0..PACKETS).map(|_| packet(kind, to, genuine, &mut rng)).collect();
        let to = Name::neighbour(device_number(device)?, hardware_address(*to.ip())?);
        let batch = Batch::new();
        Ok(Self { socket, to, packets, next: 0, sources, source: 0, batch })
    }

    /// Sends `count` packets, at most as many as fit into a batch; how many the kernel took.
    pub(crate) fn send(&mut self, count: usize) -> io::Result<u64> {
        for _ in 0..count {
            let packet = &self.packets[self.next];
            let source = address(JUNK_NET, self.source).octets();
            self.batch.push(self.to, None, |buffer| {
                buffer[..packet.len()].copy_from_slice(packet);
                buffer[12..16].copy_from_slice(&source);
                let sum = checksum(&buffer[..20]);
                buffer[10..12].copy_from_slice(&sum.to_be_bytes());
                packet.len()
            });
            self.next = (self.next + 1) % PACKETS;
            self.source = (self.source + 1) % self.sources;
        }
        match self.batch.send(self.socket.as_fd()) {
            Ok(sent) => Ok(sent as u64),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// The checksum of an IP header (RFC 791) that has zero in its place.
fn checksum(header: &[u8]) -> u16 {
    let words = header.as_chunks().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

fn device_number(device: &str) -> io::Result<i32> {
    let text = fs::read_to_string(format!("/sys/class/net/{device}/ifindex"))?;
    text.trim().parse().map_err(io::Error::other)
}

/// Of a neighbour that has been spoken to.
fn hardware_address(of: Ipv4Addr) -> io::Result<[u8; 6]> {
    let table = fs::read_to_string("/proc/net/arp")?;
    let line = table.lines().find(|line| line.split(' ').next() == Some(&of.to_string()));
    let text = line.and_then(|line| line.split_whitespace().nth(3)).unwrap_or_default();
    let bytes: Vec<u8> = text.split(':').flat_map(|byte| u8::from_str_radix(byte, 16)).collect();
    bytes.try_into().map_err(|_| io::Error::other(format!("{of} is not a neighbour")))
}

/// An IPv4 packet without its source and its IP header's checksum, which are written when it is sent. UDP has none, which
/// IPv4 allows: a network card would have checked it.
fn packet(kind: Kind, to: SocketAddrV4, genuine: u64, rng: &mut Rng) -> Vec<u8> {
    let mut payload = [0; 256];
    let length = match kind {
        Kind::Garbage => {
            let length = rng.usize(1..=150);
            rng.fill(&mut payload[..length]);
            length
        }
        Kind::Connects => packet::write_connect(&mut payload, rng.u32(..)),
        Kind::Ids => {
            let id = genuine & 0xffff << 48 | rng.u64(..) >> 16;
            let (mut info_hash, mut peer_id) = ([0; 20], [0; 20]);
            rng.fill(&mut info_hash);
            rng.fill(&mut peer_id);
            let announce = Announce {
                info_hash,
                peer_id,
                left: 1,
                event: Event::Started,
                numwant: 50,
                port: 6881,
                counters: Counters::default(),
                passkey: None,
            };
            packet::write_announce(&mut payload, id, rng.u32(..), &announce)
        }
    };
    let mut packet = vec![0x45, 0];
    packet.extend((28 + length as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 0, 0, 0, 0]);
    packet.extend(to.ip().octets());
    packet.extend(rng.u16(1024..).to_be_bytes());
    packet.extend(to.port().to_be_bytes());
    packet.extend((8 + length as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&payload[..length]);
    packet
}

/// How many packets there are; then they come again.
const PACKETS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_sums_up_to_nothing() {
        let mut header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 168, 0, 1, 192, 168, 0, 199];
        assert_eq!(checksum(&header), 0xb861, "the example of everybody");
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        assert_eq!(checksum(&header), 0);
    }

    #[test]
    fn a_packet_says_its_lengths_and_where_it_goes() {
        let to: SocketAddrV4 = "10.9.8.7:6969".parse().unwrap();
        let mut rng = Rng::with_seed(1);
        for kind in [Kind::Garbage, Kind::Connects, Kind::Ids] {
            let packet = packet(kind, to, 0x1234 << 48, &mut rng);
            assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len());
            assert_eq!(
                usize::from(u16::from_be_bytes([packet[24], packet[25]])),
                packet.len() - 20
            );
            assert_eq!(packet[16..20], [10, 9, 8, 7]);
            assert_eq!(packet[22..24], 6969_u16.to_be_bytes());
        }
        let packet = packet(Kind::Ids, to, 0x1234 << 48, &mut rng);
        assert_eq!((packet.len(), &packet[28..30]), (126, &[0x12, 0x34][..]));
    }
}
