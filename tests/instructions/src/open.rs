//! Announces to an open tracker with 500,000 peers.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use fastrand::Rng;
use margay::front::Core;
use margay::net::batch::{BATCH_MAX, Correspondent, Inbox, Outbox};
use margay::net::remote::Remote;
use margay::process::clock::Clock;
use margay::wire::percent;
use margay::wire::udp::{self, PEERS_V4_MAX, Request, Transaction, write_announce};
use ops::counters::Protocol;
use shard::{Announce, ClientTag, Event, Families, lasting_key};

use crate::crowd::{Crowd, Peer};
use crate::tracker::{self, SINCE_LAST};
use crate::{Walk, counted};

/// Announces of a walk.
const ANNOUNCES: usize = 100 * BATCH_MAX;

/// A core whose swarms have everybody, known by these tags.
fn full(tag: impl Fn(Peer) -> ClientTag, downloaded: u64) -> (Core, Crowd) {
    let clock = Clock::start();
    let (mut core, _) = tracker::core(clock, |_| None);
    let crowd = Crowd::new();
    let before = clock.now() - SINCE_LAST;
    for peer in crowd.everybody() {
        let announce = Announce {
            info_hash: peer.info_hash(),
            address: peer.address().into(),
            port: peer.port(),
            client: tag(peer),
            left: peer.left(),
            downloaded,
            event: Event::Started,
            numwant: 0,
            families: Families { v4: true, v6: false },
        };
        core.engine
            .shard
            .announce(&announce, before, &mut core.engine.random, &mut core.engine.reply)
            .unwrap();
    }
    (core, crowd)
}

/// A batch of datagrams over a real socket, taken, parsed, checked, applied together and answered, as
/// `front::udp` does it.
struct Udp {
    core: Core,
    crowd: Crowd,
    random: Rng,
    socket: UdpSocket,
    client: UdpSocket,
    inbox: Inbox,
    outbox: Outbox,
    waiting: Vec<Announce>,
    senders: Vec<(Correspondent, Transaction)>,
    seeds: Vec<u64>,
}

pub(crate) fn udp_announce() -> Box<dyn Walk> {
    // The key of a datagram is the peer's address here, see `answer_batch`.
    let key = |peer: Peer| u32::from_be_bytes(peer.address().octets());
    let tag = |peer: Peer| ClientTag::of(&peer.peer_id(), lasting_key(&peer.peer_id(), key(peer)));
    let (core, crowd) = full(tag, 0);
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (socket, client) = (bind(), bind());
    client.connect(socket.local_addr().unwrap()).unwrap();
    Box::new(Udp {
        core,
        crowd,
        random: Rng::with_seed(2),
        socket,
        client,
        inbox: Inbox::new(),
        outbox: Outbox::new(),
        waiting: Vec::new(),
        senders: Vec::new(),
        seeds: Vec::new(),
    })
}

impl Walk for Udp {
    fn walk(&mut self) -> usize {
        let peers = self.crowd.some(&mut self.random, ANNOUNCES);
        for batch in peers.chunks(BATCH_MAX) {
            let id = self
                .core
                .engine
                .connection_ids
                .issue(Ipv4Addr::LOCALHOST.into(), self.core.engine.clock.now());
            for peer in batch {
                self.client.send(&datagram(*peer, id)).unwrap();
            }
            counted(&mut || self.answer_batch(batch.len()));
            // So that the next ones find room.
            let mut reply = [0; udp::DATAGRAM_BYTES_MAX];
            for _ in batch {
                let bytes = self.client.recv(&mut reply).unwrap();
                assert!(bytes >= 20 && reply[3] == 1, "no answer to an announce");
            }
        }
        assert_eq!(
            self.core.engine.shard.totals().peers_v4,
            self.crowd.peers() as usize,
            "all were known"
        );
        peers.len()
    }
}

impl Udp {
    fn answer_batch(&mut self, expected: usize) {
        let now = self.core.engine.clock.now();
        let received = self.inbox.receive(self.socket.as_fd()).unwrap();
        assert_eq!(received, expected);
        for slot in 0..received {
            let (datagram, from) = self.inbox.datagram(slot).unwrap();
            let address = from.remote.ip().to_canonical();
            let Ok(Request::Announce(announce)) = udp::parse(datagram) else { unreachable!() };
            assert!(self.core.engine.connection_ids.check(announce.connection_id, address, now));
            let settings = &self.core.engine.settings;
            let cap = settings.numwant_max.min(PEERS_V4_MAX);
            let numwant = announce.numwant.peers(announce.event, settings.numwant_default, cap);
            self.senders.push((from, announce.transaction));
            // All come from one address here; in the swarms each is known by its own.
            let peer = Ipv4Addr::from(announce.key);
            self.waiting.push(announce.to_engine(peer.into(), numwant));
        }
        self.seeds.extend(self.waiting.iter().map(|_| self.core.engine.random.u64(..)));
        self.core.engine.shard.warm(&self.waiting, &self.seeds);
        for ((announce, (to, transaction)), seed) in
            self.waiting.iter().zip(&self.senders).zip(&self.seeds)
        {
            self.core.engine.random.seed(*seed);
            let interval = self.core.engine.announce(announce, Protocol::Udp, now).unwrap();
            let reply = &self.core.engine.reply;
            self.outbox.push(*to, |out| {
                write_announce(out, *transaction, interval, reply.counts, &reply.peers_v4);
            });
        }
        self.outbox.flush(self.socket.as_fd());
        self.waiting.clear();
        self.senders.clear();
        self.seeds.clear();
    }
}

/// An announce as libtorrent sends it; its key is the peer's address.
fn datagram(peer: Peer, connection_id: u64) -> Vec<u8> {
    let mut datagram = vec![0; 98];
    datagram[..8].copy_from_slice(&connection_id.to_be_bytes());
    datagram[11] = 1;
    datagram[12..16].copy_from_slice(&peer.number.to_be_bytes());
    datagram[16..36].copy_from_slice(&peer.info_hash().0);
    datagram[36..56].copy_from_slice(&peer.peer_id());
    datagram[64..72].copy_from_slice(&peer.left().to_be_bytes());
    datagram[88..92].copy_from_slice(&peer.address().octets());
    datagram[92..96].copy_from_slice(&50_u32.to_be_bytes());
    datagram[96..98].copy_from_slice(&peer.port().to_be_bytes());
    datagram.extend_from_slice(b"\x02\x09/announce");
    datagram
}

/// A request on a new connection, from its first byte to the last of the reply.
struct Http {
    core: Core,
    crowd: Crowd,
    random: Rng,
    out: Vec<u8>,
}

pub(crate) fn http_announce() -> Box<dyn Walk> {
    let tag = |peer: Peer| ClientTag::of(&peer.peer_id(), lasting_key(&peer.peer_id(), peer.key()));
    let (core, crowd) = full(tag, 123_456_789);
    Box::new(Http { core, crowd, random: Rng::with_seed(2), out: Vec::new() })
}

impl Walk for Http {
    fn walk(&mut self) -> usize {
        let Self { core, crowd, random, out } = self;
        let peers = crowd.some(random, ANNOUNCES);
        for peer in &peers {
            let (request, mut remote) =
                (request("", *peer, 1 << 30), Remote::new(remote(*peer).ip(), false));
            out.clear();
            counted(&mut || _ = core.converse(&mut remote, &request, 0, None, out));
            assert!(out.starts_with(b"HTTP/1.1 200"), "no answer to an announce");
        }
        assert_eq!(core.engine.shard.totals().peers_v4, crowd.peers() as usize, "all were known");
        peers.len()
    }
}

pub(crate) fn remote(peer: Peer) -> SocketAddr {
    (peer.address(), 40_000).into()
}

/// An announce of libtorrent's shape with five headers; `path` goes before `/announce`.
pub(crate) fn request(path: &str, peer: Peer, uploaded: u64) -> Vec<u8> {
    let mut request = format!("GET {path}/announce?info_hash=").into_bytes();
    percent::encode(&peer.info_hash().0, &mut request);
    request.extend_from_slice(b"&peer_id=");
    request.extend_from_slice(&peer.peer_id());
    let rest = format!(
        "&port={}&uploaded={uploaded}&downloaded=123456789&left={}&corrupt=0&key={:08X}&numwant=50\
         &compact=1&no_peer_id=1&supportcrypto=1&redundant=0 HTTP/1.1\r\n\
         Host: tracker.example:6969\r\nUser-Agent: qBittorrent/5.0.2\r\nAccept-Encoding: gzip\r\n\
         Connection: close\r\nAccept: */*\r\n\r\n",
        peer.port(),
        peer.left(),
        peer.key(),
    );
    request.extend_from_slice(rest.as_bytes());
    request
}
