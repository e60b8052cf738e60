//! A UDP client (BEP 15) that builds datagrams field by field and reads replies strictly.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{PATIENCE, endpoints, peer_id};

/// BEP 15's number at the start of a connect.
pub(crate) const MAGIC: u64 = 0x0417_2710_1980;

/// `event` of an announce.
pub(crate) const NONE: u32 = 0;
pub(crate) const COMPLETED: u32 = 1;
pub(crate) const STARTED: u32 = 2;
pub(crate) const STOPPED: u32 = 3;
/// libtorrent's `paused` (BEP 21).
pub(crate) const PAUSED: u32 = 4;

/// A client on a socket of its own.
pub(crate) struct Udp {
    socket: UdpSocket,
    /// From its last connect.
    pub(crate) id: u64,
    transaction: Cell<u32>,
}

/// The fields of an announce.
#[derive(Clone, Debug)]
pub(crate) struct Announce {
    pub(crate) info_hash: [u8; 20],
    pub(crate) peer_id: [u8; 20],
    pub(crate) downloaded: u64,
    pub(crate) left: u64,
    pub(crate) uploaded: u64,
    pub(crate) event: u32,
    pub(crate) ip: [u8; 4],
    pub(crate) key: [u8; 4],
    pub(crate) numwant: i32,
    pub(crate) port: u16,
    /// What comes after the port (BEP 41).
    pub(crate) options: Vec<u8>,
}

/// What an announce is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Announced {
    pub(crate) interval: u32,
    pub(crate) leechers: u32,
    pub(crate) seeders: u32,
    pub(crate) peers: BTreeSet<SocketAddr>,
}

impl Udp {
    /// A client that has not asked for anything, at the loopback address of the tracker's family.
    pub(crate) fn new(tracker: SocketAddr) -> Self {
        Self::at(tracker, super::HOMES[usize::from(tracker.is_ipv6())])
    }

    /// The same at an address of its own.
    pub(crate) fn at(tracker: SocketAddr, address: IpAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        // From here on only what comes from the very address that was asked is received.
        socket.connect(tracker).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, id: 0, transaction: Cell::new(0xfe00_0001) }
    }

    /// A client with a connection id.
    pub(crate) fn connect(tracker: SocketAddr) -> Self {
        let mut client = Self::new(tracker);
        client.connect_again();
        client
    }

    /// Takes a new connection id.
    pub(crate) fn connect_again(&mut self) {
        let reply = self.ask(self.connect_request());
        assert_eq!((reply.len(), &reply[..4]), (16, &[0; 4][..]), "{}", reply.escape_ascii());
        self.id = u64::from_be_bytes(reply[8..].try_into().unwrap());
    }

    /// The same on a socket of its own, where many replies may wait on this one, and asked again where the tracker
    /// has no room for it.
    pub(crate) fn connect_again_past_replies(&mut self) {
        let fresh = Self::new(self.socket.peer_addr().unwrap());
        fresh.socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut reply = [0; 16];
        while {
            fresh.send(&fresh.connect_request());
            fresh.socket.recv(&mut reply).is_err()
        } {}
        self.id = u64::from_be_bytes(reply[8..].try_into().unwrap());
    }

    pub(crate) fn connect_request(&self) -> Vec<u8> {
        self.request(MAGIC, 0)
    }

    /// A header: an id, an action, and a transaction of its own.
    pub(crate) fn request(&self, id: u64, action: u32) -> Vec<u8> {
        let transaction =
            self.transaction.replace(self.transaction.get().wrapping_add(0x0101_0001));
        let mut datagram = id.to_be_bytes().to_vec();
        datagram.extend(action.to_be_bytes());
        datagram.extend(transaction.to_be_bytes());
        datagram
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// The next datagram for this client.
    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut reply = vec![0; 65536];
        let length = self.socket.recv(&mut reply).expect("there is a reply");
        reply.truncate(length);
        reply
    }

    /// The reply to a datagram, which carries its transaction.
    #[track_caller]
    pub(crate) fn ask(&self, datagram: impl AsRef<[u8]>) -> Vec<u8> {
        let datagram = datagram.as_ref();
        self.send(datagram);
        let reply = self.receive();
        assert_eq!(reply[4..8], datagram[12..16], "the transaction comes back");
        reply
    }

    /// The same when it comes in time; replies to what was asked before are passed over.
    pub(crate) fn ask_within(&self, datagram: impl AsRef<[u8]>, time: Duration) -> Option<Vec<u8>> {
        let (datagram, until) = (datagram.as_ref(), Instant::now() + time);
        self.send(datagram);
        let mut reply = vec![0; 65536];
        let answer = loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break None;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            match self.socket.recv(&mut reply) {
                Ok(length) if reply[4..8] == datagram[12..16] => {
                    break Some(reply[..length].to_vec());
                }
                _ => {}
            }
        };
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        answer
    }

    /// Nobody answers this datagram: the reply to a connect that is sent behind it comes first. With
    /// one core only, where datagrams are answered in order.
    #[track_caller]
    pub(crate) fn check_silence(&self, datagram: impl AsRef<[u8]>) {
        let datagram = datagram.as_ref();
        self.send(datagram);
        let connect = self.connect_request();
        self.send(&connect);
        let reply = self.receive();
        let shown = datagram.escape_ascii();
        assert_eq!(reply[4..8], connect[12..16], "{shown} is answered {}", reply.escape_ascii());
    }

    pub(crate) fn announce_request(&self, announce: &Announce) -> Vec<u8> {
        let mut datagram = self.request(self.id, 1);
        datagram.extend(announce.info_hash);
        datagram.extend(announce.peer_id);
        for bytes in [announce.downloaded, announce.left, announce.uploaded] {
            datagram.extend(bytes.to_be_bytes());
        }
        datagram.extend(announce.event.to_be_bytes());
        datagram.extend(announce.ip);
        datagram.extend(announce.key);
        datagram.extend(announce.numwant.to_be_bytes());
        datagram.extend(announce.port.to_be_bytes());
        assert_eq!(datagram.len(), 98);
        datagram.extend(&announce.options);
        datagram
    }

    /// Announces, and reads the answer.
    #[track_caller]
    pub(crate) fn announce(&self, announce: &Announce) -> Announced {
        self.announced(&self.ask(self.announce_request(announce)))
    }

    /// Announces many, a handful at a time; all are answered.
    #[track_caller]
    pub(crate) fn announce_all(&self, announces: &[Announce]) {
        for some in announces.chunks(32) {
            some.iter().for_each(|announce| self.send(&self.announce_request(announce)));
            some.iter().for_each(|_| drop(self.announced(&self.receive())));
        }
    }

    /// Reads the answer to an announce.
    #[track_caller]
    pub(crate) fn announced(&self, reply: &[u8]) -> Announced {
        assert_eq!(reply[..4], [0, 0, 0, 1], "no announce reply: {}", reply.escape_ascii());
        let number = |at: usize| u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
        let v4 = self.socket.local_addr().unwrap().is_ipv4();
        Announced {
            interval: number(8),
            leechers: number(12),
            seeders: number(16),
            peers: endpoints(&reply[20..], v4),
        }
    }

    pub(crate) fn scrape_request(&self, hashes: &[[u8; 20]]) -> Vec<u8> {
        [self.request(self.id, 2), hashes.concat()].concat()
    }

    /// Seeders, downloads and leechers of each torrent.
    #[track_caller]
    pub(crate) fn scrape(&self, hashes: &[[u8; 20]]) -> Vec<[u32; 3]> {
        scraped(&self.ask(self.scrape_request(hashes)))
    }
}

impl Announce {
    /// A first announce of the client that listens on `port` and has nothing yet.
    pub(crate) fn new(info_hash: [u8; 20], port: u16) -> Self {
        Self {
            info_hash,
            peer_id: peer_id(port),
            downloaded: 0,
            left: 1000,
            uploaded: 0,
            event: STARTED,
            ip: [0; 4],
            key: [0; 4],
            numwant: -1,
            port,
            options: Vec::new(),
        }
    }

    /// The same of a client that has everything.
    pub(crate) fn seeder(info_hash: [u8; 20], port: u16) -> Self {
        Self { left: 0, ..Self::new(info_hash, port) }
    }

    pub(crate) fn event(self, event: u32) -> Self {
        Self { event, ..self }
    }
}

/// Reads the answer to a scrape.
#[track_caller]
pub(crate) fn scraped(reply: &[u8]) -> Vec<[u32; 3]> {
    assert_eq!(reply[..4], [0, 0, 0, 2], "no scrape reply: {}", reply.escape_ascii());
    let (torrents, rest) = reply[8..].as_chunks::<12>();
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
    let number = |torrent: &[u8; 12], at: usize| {
        u32::from_be_bytes([torrent[at], torrent[at + 1], torrent[at + 2], torrent[at + 3]])
    };
    torrents.iter().map(|torrent| [0, 4, 8].map(|at| number(torrent, at))).collect()
}
