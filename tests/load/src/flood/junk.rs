//! What a flood is made of: packets with headers of their own, from addresses that nobody has.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, OwnedFd};

use clap::ValueEnum;
use fastrand::Rng;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};

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

/// A raw socket, and packets for it.
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
    /// Junk for `to` from so many sources; `genuine` is a connection id that is good at the moment.
    pub(crate) fn open(
        kind: Kind,
        to: SocketAddrV4,
        sources: u32,
        genuine: u64,
    ) -> io::Result<Self> {
        // IPPROTO_RAW: the packets bring their IP headers (raw(7)).
        let socket =
            socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
        let _ = setsockopt(&socket, sockopt::SndBufForce, &(8 << 20));
        let mut rng = Rng::with_seed(5);
        let packets = (0..PACKETS).map(|_| packet(kind, to, genuine, &mut rng)).collect();
        let (to, batch) = (std::net::SocketAddr::V4(to).into(), Batch::new());
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

/// An IPv4 packet without its source, which is written when it is sent; the kernel fills in the checksum of the IP
/// header. UDP has none, which IPv4 allows: a network card would have checked it.
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
