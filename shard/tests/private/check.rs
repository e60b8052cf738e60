//! What must be true of the peers in a reply, whichever were chosen.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shard::private::model::{Client, Model, may_download, usable};
use shard::private::{Announce, PeerRecord};
use shard::{Event, PeerState, Reply, SEEDERS_FOR_NOTHING, SPARE_LOOKS};

/// Distinct, alive, eligible, the right kinds first, as many as there can be, and each with all the
/// endpoints the requester can use. No two peers of the model have an endpoint in common, unless it was restarted
/// without what was postponed.
pub(crate) fn peers(
    model: &Model,
    announce: &Announce,
    is_new: bool,
    refused: bool,
    postponed: bool,
    reply: &Reply,
) {
    let told = told(reply);
    if announce.event == Event::Stopped || refused {
        assert!(told.is_empty(), "who leaves or may not download is told nobody");
        return;
    }
    let eligible = model.eligible(announce, is_new);
    let mut clients: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (number, peer) in eligible.iter().enumerate() {
        let endpoints = usable(announce, &peer.endpoints);
        let v4 = endpoints.v4.map(|v4| SocketAddr::from((v4.address, v4.port)));
        let v6 = endpoints.v6.map(|v6| SocketAddr::from((v6.address, v6.port)));
        for at in v4.into_iter().chain(v6) {
            if clients.insert(at, number).is_some() {
                assert!(postponed, "two peers at {at}");
                return;
            }
        }
    }
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    for at in told {
        let client = clients.get(&at).unwrap_or_else(|| panic!("{at} is not for {announce:?}"));
        *times.entry(*client).or_default() += 1;
    }
    let mut chosen = [[0; 3]; 2];
    let own = model.torrents[&model.first(announce.info_hash)].peers.get(&client(announce));
    let has_v6 = own.map_or(announce.endpoints.v6, |own| own.endpoints.v6).is_some();
    let is_v4_only = !has_v6 && announce.families.v4 && announce.families.v6;
    // Who is reached over IPv6 alone comes last for who has no such address.
    let last = |peer: &PeerRecord| usize::from(is_v4_only && peer.endpoints.v4.is_none());
    for (client, times) in &times {
        let peer = &eligible[*client];
        let endpoints = usable(announce, &peer.endpoints);
        let expected = usize::from(endpoints.v4.is_some()) + usize::from(endpoints.v6.is_some());
        assert_eq!(*times, expected, "endpoints told of {peer:?}");
        chosen[last(peer)][peer.state as usize] += 1;
    }
    let numwant = usize::from(announce.numwant);
    assert!(times.len() <= numwant, "{} peers where {numwant} were asked for", times.len());
    let swarm = &model.torrents[&model.first(announce.info_hash)];
    if swarm.peers.len() <= 2 * numwant + SPARE_LOOKS {
        if is_new && announce.left == 0 && may_download(announce) {
            // It may have nothing: leechers, and some seeders.
            let of = |kind| eligible.iter().filter(|peer| peer.state == kind).count();
            let seeders = of(PeerState::Seeder).min(SEEDERS_FOR_NOTHING);
            let least = numwant.min(of(PeerState::Leecher) + seeders);
            assert!(times.len() >= least, "{chosen:?}: {announce:?}");
            return;
        }
        let mut wanted = numwant;
        for (turn, chosen) in chosen.iter().enumerate() {
            for kind in [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher] {
                let are = |peer: &&PeerRecord| peer.state == kind && last(peer) == turn;
                let available = eligible.iter().filter(are).count();
                let expected = wanted.min(available);
                assert_eq!(
                    chosen[kind as usize], expected,
                    "{kind:?} of {available}: {announce:?}"
                );
                wanted -= expected;
            }
        }
    }
}

/// The endpoints of a reply.
pub(crate) fn told(reply: &Reply) -> Vec<SocketAddr> {
    assert_eq!((reply.peers_v4.len() % 6, reply.peers_v6.len() % 18), (0, 0));
    let v4 = reply.peers_v4.chunks(6).map(|peer| {
        let address: [u8; 4] = peer[..4].try_into().unwrap();
        endpoint(Ipv4Addr::from(address).into(), &peer[4..])
    });
    let v6 = reply.peers_v6.chunks(18).map(|peer| {
        let address: [u8; 16] = peer[..16].try_into().unwrap();
        endpoint(Ipv6Addr::from(address).into(), &peer[16..])
    });
    v4.chain(v6).collect()
}

fn endpoint(address: IpAddr, port: &[u8]) -> SocketAddr {
    SocketAddr::new(address, u16::from_be_bytes(port.try_into().unwrap()))
}

/// Which peer an announce is about.
pub(crate) fn client(announce: &Announce) -> Client {
    (announce.user.id, announce.peer_id, announce.key)
}
