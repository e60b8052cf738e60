//! A peer in memory: 12 bytes over IPv4, 24 over IPv6.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::hash::Keys;
use crate::scope::Scope;
use crate::{ClientTag, PeerRecord, PeerState, Seconds};

/// An endpoint of a swarm. Whether it seeds is not written here: its place in the list says so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peer<E> {
    pub(crate) endpoint: E,
    pub(crate) seen: Seen,
    pub(crate) mark: Mark,
}

const _: () = assert!(size_of::<Peer<V4>>() == 12, "memory per peer, see shard/benches/memory.rs");
const _: () = assert!(size_of::<Peer<V6>>() == 24, "memory per peer, see shard/benches/memory.rs");

impl<E: Endpoint> Peer<E> {
    #[inline]
    pub(crate) fn new(endpoint: E, client: ClientTag, seen: Seen) -> Self {
        let (address, port) = endpoint.parts();
        let mark = Mark::new(client, Scope::of_peer(address.into(), port));
        Self { endpoint, seen, mark }
    }

    /// The same, which says that nothing is left and it has downloaded nothing where it `may_have_nothing`.
    #[inline]
    pub(crate) fn that(mut self, may_have_nothing: bool) -> Self {
        self.mark.0 |= u32::from(may_have_nothing) << ClientTag::BITS;
        self
    }

    /// A peer out of a snapshot.
    pub(crate) fn from_record(record: &PeerRecord<E::Address>, now: Seconds) -> Self {
        let endpoint = E::new(record.address, record.port);
        Self::new(endpoint, record.client, Seen::at_most_old(record.last_seen, now))
    }

    /// A peer for a snapshot.
    pub(crate) fn record(&self, state: PeerState, now: Seconds) -> PeerRecord<E::Address> {
        let (address, port) = self.endpoint.parts();
        let last_seen = self.seen.moment(now);
        PeerRecord { address, port, client: self.mark.client(), state, last_seen }
    }
}

/// Address and port exactly as they stand in a compact reply: network order (BEP 23, BEP 7).
pub(crate) trait Endpoint: Copy + Eq + Debug + Default + 'static {
    type Address: Copy + Into<IpAddr>;

    fn new(address: Self::Address, port: u16) -> Self;
    fn parts(&self) -> (Self::Address, u16);
    fn compact(&self) -> &[u8];
    fn hash(&self, keys: &Keys) -> u64;
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct V4([u8; 6]);

impl Endpoint for V4 {
    type Address = Ipv4Addr;

    #[inline]
    fn new(address: Ipv4Addr, port: u16) -> Self {
        let ([a, b, c, d], [high, low]) = (address.octets(), port.to_be_bytes());
        Self([a, b, c, d, high, low])
    }

    #[inline]
    fn parts(&self) -> (Ipv4Addr, u16) {
        let [a, b, c, d, high, low] = self.0;
        (Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
    }

    #[inline]
    fn compact(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn hash(&self, keys: &Keys) -> u64 {
        keys.compact_v4(&self.0)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct V6([u8; 18]);

impl Endpoint for V6 {
    type Address = Ipv6Addr;

    #[inline]
    fn new(address: Ipv6Addr, port: u16) -> Self {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&address.octets());
        bytes[16..].copy_from_slice(&port.to_be_bytes());
        Self(bytes)
    }

    #[inline]
    fn parts(&self) -> (Ipv6Addr, u16) {
        let address: [u8; 16] = *self.0.first_chunk().expect("16 of 18 bytes");
        (address.into(), u16::from_be_bytes([self.0[16], self.0[17]]))
    }

    #[inline]
    fn compact(&self) -> &[u8] {
        &self.0
    }

    #[inline]
    fn hash(&self, keys: &Keys) -> u64 {
        keys.compact_v6(&self.0)
    }
}

/// A client tag; in the bit above it, whether it is a seeder that says it has downloaded nothing; and in the two above
/// that, the endpoint's scope: all that choosing asks of a candidate, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark(u32);

impl Mark {
    const SCOPE_SHIFT: u32 = 30;

    #[inline]
    fn new(client: ClientTag, scope: Scope) -> Self {
        Self(client.bits() | ((scope as u32) << Self::SCOPE_SHIFT))
    }

    #[inline]
    pub(crate) fn client(self) -> ClientTag {
        ClientTag::from_bits(self.0)
    }

    /// Whether it said that nothing is left and it had downloaded nothing: it had everything, or has a magnet link and
    /// nothing.
    #[inline]
    pub(crate) fn may_have_nothing(self) -> bool {
        self.0 >> ClientTag::BITS & 1 != 0
    }

    /// Whether a requester may be told: not when it is the same client, not beyond its scope.
    #[inline]
    pub(crate) fn is_for(self, client: ClientTag, reach: Scope) -> bool {
        self.client() != client && self.0 >> Self::SCOPE_SHIFT <= reach as u32
    }
}

/// From when on a peer has been silent, in 4-second units that wrap after 72 hours: when it last announced, and as much
/// later as it was told to wait longer than others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen(u16);

impl Seen {
    /// Half the wrap, less a margin: an age beyond this would read as a moment to come.
    const AGE_MAX: u32 = 30 * 3600;

    #[inline]
    pub(crate) fn at(now: Seconds) -> Self {
        Self((now.0 / 4) as u16)
    }

    /// `moment` as seen from `now`: never later than `now`, and never so old that it wraps.
    fn at_most_old(moment: Seconds, now: Seconds) -> Self {
        Self::at(now - Seconds(now.since(moment).0.min(Self::AGE_MAX)))
    }

    /// Whole units since; 0 when it lies ahead of `now`.
    #[inline]
    fn age(self, now: Seconds) -> u32 {
        // A moment a little ahead comes out just below zero, not 72 hours old.
        (Self::at(now).0.wrapping_sub(self.0) as i16).max(0) as u32
    }

    /// Silent for more than `timeout`, at most 8 seconds late and never early.
    #[inline]
    pub(crate) fn is_older(self, timeout: Seconds, now: Seconds) -> bool {
        self.age(now) > timeout.0.div_ceil(4)
    }

    /// The moment, which may lie ahead of `now`.
    fn moment(self, now: Seconds) -> Seconds {
        let units = Self::at(now).0.wrapping_sub(self.0) as i16;
        Seconds((now.0 / 4).saturating_add_signed(-i32::from(units)) * 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_times_out_never_early_and_at_most_eight_seconds_late() {
        let timeout = Seconds(1800);
        for start in [1_700_000_000, 262_140, 262_143, 262_144 * 3 - 2] {
            let seen = Seen::at(Seconds(start));
            assert!((0..=1800).all(|age| !seen.is_older(timeout, Seconds(start + age))));
            assert!((1808..90_000).all(|age| seen.is_older(timeout, Seconds(start + age))));
        }
    }

    #[test]
    fn a_clock_that_stepped_back_does_not_age_anybody() {
        assert!(!Seen::at(Seconds(1_000_000)).is_older(Seconds(60), Seconds(999_000)));
    }

    #[test]
    fn a_snapshot_keeps_the_moment_to_four_seconds() {
        let now = Seconds(1_700_000_123);
        for age in [0, 1, 59, 1800, 24 * 3600] {
            let moment = now - Seconds(age);
            let kept = Seen::at_most_old(moment, now).moment(now);
            assert!(moment.0 - kept.0 < 4, "{moment:?} became {kept:?}");
        }
        assert_eq!(Seen::at_most_old(now + Seconds(99), now).moment(now), Seconds(1_700_000_120));
        for ahead in [4, 900, 12 * 3600] {
            let moment = Seen::at(now + Seconds(ahead)).moment(now);
            assert!((now + Seconds(ahead)).0 - moment.0 < 4, "{ahead}");
        }
        let old = Seen::at_most_old(now - Seconds(200 * 3600), now);
        assert!(old.is_older(Seconds(24 * 3600), now));
    }
}
