//! The two address families: where a swarm keeps the peers of each.
//!
//! Everything a swarm does is written once for a [`Family`] and its [`Family::Other`].

use crate::blocks::Blocks;
use crate::crowd::{Crowd, Tables, Tags};
use crate::list::{List, Parts};
use crate::peer::{Endpoint, Peer, V4, V6};
use crate::pool::Pool;
use crate::stores::Pools;
use crate::swarm::Body;
use crate::tags::TagIndex;
use crate::{Families, PeerState};

/// An endpoint's family, as a way to its places.
pub(crate) trait Family: Endpoint {
    /// The other one.
    type Other: Family<Other = Self>;

    /// A twin is counted by its IPv4 endpoint and not by its IPv6 endpoint.
    const COUNTS_TWINS: bool;

    fn pool(pools: &Pools) -> &Pool<Peer<Self>>;
    fn pool_mut(pools: &mut Pools) -> &mut Pool<Peer<Self>>;
    fn few(body: &Body) -> Option<(Parts, &[Peer<Self>])>;
    fn few_mut(body: &mut Body) -> Option<(&mut Parts, &mut [Peer<Self>])>;
    fn list(blocks: &Blocks) -> &List;
    fn list_mut(blocks: &mut Blocks) -> &mut List;
    fn tables(crowd: &Crowd) -> &Tables<Self>;
    fn tables_mut(crowd: &mut Crowd) -> &mut Tables<Self>;
    fn tags(tags: &Tags) -> &TagIndex;
    fn tags_mut(tags: &mut Tags) -> &mut TagIndex;
    fn is_wanted(families: Families) -> bool;
}

/// Which endpoints begin (or cease) to be twins when an endpoint in `state` comes (or goes), by
/// state. `own` and `other` are how many endpoints of its own and of the other family have its
/// client tag, itself not among them.
///
/// A twin is an IPv6 endpoint whose client is also in the swarm over IPv4 (BEP 7).
#[inline]
pub(crate) fn twins<E: Family>(state: PeerState, own: [u32; 3], other: [u32; 3]) -> [u32; 3] {
    let mut twins = [0; 3];
    if E::COUNTS_TWINS && own == [0; 3] {
        twins = other;
    } else if !E::COUNTS_TWINS && other != [0; 3] {
        twins[state as usize] = 1;
    }
    twins
}

impl Family for V4 {
    type Other = V6;
    const COUNTS_TWINS: bool = true;

    #[inline]
    fn pool(pools: &Pools) -> &Pool<Peer<Self>> {
        &pools.v4
    }
    #[inline]
    fn pool_mut(pools: &mut Pools) -> &mut Pool<Peer<Self>> {
        &mut pools.v4
    }
    #[inline]
    fn few(body: &Body) -> Option<(Parts, &[Peer<Self>])> {
        match body {
            Body::Few { parts, peers } => Some((*parts, peers)),
            _ => None,
        }
    }
    #[inline]
    fn few_mut(body: &mut Body) -> Option<(&mut Parts, &mut [Peer<Self>])> {
        match body {
            Body::Few { parts, peers } => Some((parts, peers)),
            _ => None,
        }
    }
    #[inline]
    fn list(blocks: &Blocks) -> &List {
        &blocks.v4
    }
    #[inline]
    fn list_mut(blocks: &mut Blocks) -> &mut List {
        &mut blocks.v4
    }
    #[inline]
    fn tables(crowd: &Crowd) -> &Tables<Self> {
        &crowd.v4
    }
    #[inline]
    fn tables_mut(crowd: &mut Crowd) -> &mut Tables<Self> {
        &mut crowd.v4
    }
    #[inline]
    fn tags(tags: &Tags) -> &TagIndex {
        &tags.v4
    }
    #[inline]
    fn tags_mut(tags: &mut Tags) -> &mut TagIndex {
        &mut tags.v4
    }
    #[inline]
    fn is_wanted(families: Families) -> bool {
        families.v4
    }
}

impl Family for V6 {
    type Other = V4;
    const COUNTS_TWINS: bool = false;

    #[inline]
    fn pool(pools: &Pools) -> &Pool<Peer<Self>> {
        &pools.v6
    }
    #[inline]
    fn pool_mut(pools: &mut Pools) -> &mut Pool<Peer<Self>> {
        &mut pools.v6
    }
    #[inline]
    fn few(_: &Body) -> Option<(Parts, &[Peer<Self>])> {
        None
    }
    #[inline]
    fn few_mut(_: &mut Body) -> Option<(&mut Parts, &mut [Peer<Self>])> {
        None
    }
    #[inline]
    fn list(blocks: &Blocks) -> &List {
        &blocks.v6
    }
    #[inline]
    fn list_mut(blocks: &mut Blocks) -> &mut List {
        &mut blocks.v6
    }
    #[inline]
    fn tables(crowd: &Crowd) -> &Tables<Self> {
        &crowd.v6
    }
    #[inline]
    fn tables_mut(crowd: &mut Crowd) -> &mut Tables<Self> {
        &mut crowd.v6
    }
    #[inline]
    fn tags(tags: &Tags) -> &TagIndex {
        &tags.v6
    }
    #[inline]
    fn tags_mut(tags: &mut Tags) -> &mut TagIndex {
        &mut tags.v6
    }
    #[inline]
    fn is_wanted(families: Families) -> bool {
        families.v6
    }
}
