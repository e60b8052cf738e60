//! What must be true of the peers in a reply, whichever were chosen.

use shard::model::Model;
use shard::{Announce, Event, PeerState, Reply, SEEDERS_FOR_NOTHING, SPARE_LOOKS};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Distinct, alive, eligible, the right kinds first, and as many as there can be.
pub(crate) fn peers(model: &Model, announce: &Announce, joined: bool, reply: &Reply) {
    let told = told(reply);
    let distinct: BTreeSet<SocketAddr> = told.iter().copied().collect();
    assert_eq!(distinct.len(), told.len(), "a peer was told twice: {told:?}");
    if announce.event == Event::Stopped {
        assert!(told.is_empty(), "who leaves is told nobody");
        return;
    }
    let numwant = usize::from(announce.numwant);
    assert!(told.len() <= numwant, "{} peers where {numwant} were asked for", told.len());

    let eligible = model.eligible(announce, joined);
    let kinds: BTreeMap<SocketAddr, PeerState> = eligible.iter().copied().collect();
    let mut chosen = [0; 3];
    let is_own = |at: &SocketAddr| at.is_ipv4() == announce.address.is_ipv4();
    let own_told = told.iter().filter(|at| is_own(at)).count();
    for at in told {
        let kind = kinds.get(&at).unwrap_or_else(|| panic!("{at} is not for {announce:?}"));
        chosen[*kind as usize] += 1;
    }
    let swarm = &model.swarms[&announce.info_hash];
    let both = announce.families.v4 && announce.families.v6;
    let own = eligible.iter().filter(|(at, _)| is_own(at)).count();
    if swarm.peers.len() > 2 * numwant + SPARE_LOOKS {
        return;
    }
    let all: usize = chosen.iter().sum();
    if joined && announce.left == 0 {
        // It may have nothing: leechers, and some seeders.
        let of = |kind| eligible.iter().filter(|(_, state)| *state == kind).count();
        let seeders = of(PeerState::Seeder).min(SEEDERS_FOR_NOTHING);
        assert!(all >= numwant.min(of(PeerState::Leecher) + seeders), "{chosen:?}: {announce:?}");
        return;
    }
    assert_eq!(all, numwant.min(eligible.len()), "{announce:?}");
    if both && own < eligible.len() && own > 0 {
        // Who was counted as there and may not be told is in nobody's place.
        let unfit = swarm.peers.len() - eligible.len();
        let least = own.min(numwant / 2);
        assert!(own_told + unfit >= least, "{own_told} of {own} of its own: {announce:?}");
    } else {
        let mut wanted = numwant;
        for kind in [PeerState::Seeder, PeerState::PartialSeed, PeerState::Leecher] {
            let available = eligible.iter().filter(|(_, state)| *state == kind).count();
            let expected = wanted.min(available);
            assert_eq!(chosen[kind as usize], expected, "{kind:?} of {available}: {announce:?}");
            wanted -= expected;
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
