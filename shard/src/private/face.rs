//! The part of a peer that choosing looks at: 16 bytes, with the number of its account.

use std::net::IpAddr;

use super::wides::Wides;
use super::{Announce, Endpoint, Endpoints, PeerId, UserId};
use crate::hash::Keys;
use crate::table::Record;
use crate::{Families, InfoHash, Reply, Scope};

/// A peer of a torrent as others see it. Whether it seeds is not written here: its place in the list says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(crate) struct Face {
    pub(crate) user: u32,
    pub(crate) account: u32,
    /// Its IPv4 address, or, of a wide one, the number of its addresses in [`Wides`].
    address: [u8; 4],
    /// Over IPv4; of a wide one, over IPv6.
    port: [u8; 2],
    pub(crate) mark: Mark,
}

const _: () = assert!(size_of::<Face>() == 16, "memory per peer, see shard/benches/private.rs");

/// How far each endpoint of a peer may be told (two bits each), five flags, and seven bits of a keyed
/// hash of its peer id and key, which tell apart nearly all clients of one user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Mark(u16);

/// Which families a peer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reached {
    V4,
    Both,
    V6,
}

/// In the place of a scope: there is no such endpoint. Told to nobody, as [`Scope::Nobody`].
const ABSENT: u16 = 3;

impl Mark {
    const V4_SHIFT: u32 = 0;
    const V6_SHIFT: u32 = 2;
    const WIDE: u16 = 1 << 4;
    const LARGE: u16 = 1 << 5;
    const HIDDEN: u16 = 1 << 6;
    const VISIBLE: u16 = 1 << 7;
    const APART: u16 = 1 << 8;
    const PRINT_SHIFT: u32 = 9;

    #[inline]
    fn scope(self, shift: u32) -> u16 {
        self.0 >> shift & 3
    }

    #[inline]
    fn set_scope(&mut self, shift: u32, scope: u16) {
        self.0 = self.0 & !(3 << shift) | scope << shift;
    }

    #[inline]
    fn set(&mut self, flag: u16, on: bool) {
        self.0 = if on { self.0 | flag } else { self.0 & !flag };
    }

    /// By which families it is reached; one that is reached by none counts as IPv4.
    #[inline]
    pub(crate) fn reached(self) -> Reached {
        match (self.is_wide(), self.has_v4()) {
            (false, _) => Reached::V4,
            (true, true) => Reached::Both,
            (true, false) => Reached::V6,
        }
    }

    /// It has an IPv6 endpoint.
    #[inline]
    pub(crate) fn is_wide(self) -> bool {
        self.0 & Self::WIDE != 0
    }

    /// It has an IPv4 endpoint.
    #[inline]
    pub(crate) fn has_v4(self) -> bool {
        self.scope(Self::V4_SHIFT) != ABSENT
    }

    /// It has endpoints of both families.
    #[inline]
    pub(crate) fn has_both(self) -> bool {
        self.is_wide() && self.has_v4()
    }

    /// Its figures are kept beside its account.
    #[inline]
    pub(crate) fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
    }

    #[inline]
    pub(crate) fn set_large(&mut self, on: bool) {
        self.set(Self::LARGE, on);
    }

    /// Its user's addresses are not to be written anywhere.
    #[inline]
    pub(crate) fn is_hidden(self) -> bool {
        self.0 & Self::HIDDEN != 0
    }

    #[inline]
    pub(crate) fn set_hidden(&mut self, on: bool) {
        self.set(Self::HIDDEN, on);
    }

    /// It seeds, or may leech.
    #[inline]
    pub(crate) fn is_visible(self) -> bool {
        self.0 & Self::VISIBLE != 0
    }

    #[inline]
    pub(crate) fn set_visible(&mut self, on: bool) {
        self.set(Self::VISIBLE, on);
    }

    /// It is visible, and there by the first name of its torrent.
    #[inline]
    pub(crate) fn is_told(self) -> bool {
        self.0 & (Self::VISIBLE | Self::APART) == Self::VISIBLE
    }

    /// It is there by the second name of its torrent alone; in the swarm of the first it is told to nobody.
    #[inline]
    pub(crate) fn is_apart(self) -> bool {
        self.0 & Self::APART != 0
    }

    #[inline]
    pub(crate) fn set_apart(&mut self, on: bool) {
        self.set(Self::APART, on);
    }

    #[inline]
    fn print(self) -> u8 {
        (self.0 >> Self::PRINT_SHIFT) as u8
    }
}

/// Which peer: a user's client, by the hash of its name where it can be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(crate) user: UserId,
    pub(crate) peer_id: &'a PeerId,
    pub(crate) key: u32,
    print: u8,
}

/// Prints have seven bits.
const PRINT_MAX: u8 = (1 << 7) - 1;

impl<'a> Name<'a> {
    #[inline]
    pub(crate) fn new(keys: &Keys, user: UserId, peer_id: &'a PeerId, key: u32) -> Self {
        let hash = keys.info_hash(&InfoHash(peer_id.0)) ^ u64::from(key);
        Self { user, peer_id, key, print: (keys.word(hash) >> 40) as u8 & PRINT_MAX }
    }

    #[inline]
    pub(crate) fn of(keys: &Keys, announce: &'a Announce) -> Self {
        Self::new(keys, announce.user.id, &announce.peer_id, announce.key)
    }

    /// Whether this face may be its own; its account tells.
    #[inline]
    pub(crate) fn may_be(&self, face: &Face) -> bool {
        face.user == self.user.0 && face.mark.print() == self.print
    }

    #[inline]
    pub(crate) fn hash(&self, keys: &Keys) -> u64 {
        hash(keys, self.user.0, self.print)
    }
}

/// Into how many buckets the clients of one user go: enough that thousands of them fit, few enough to
/// count them all when one more comes.
pub(crate) const PARTS: u8 = 16;

#[inline]
pub(crate) fn hash(keys: &Keys, user: u32, print: u8) -> u64 {
    keys.word(u64::from(user) | u64::from(print % PARTS) << 32)
}

impl Record for Face {
    #[inline]
    fn hash(&self, keys: &Keys) -> u64 {
        hash(keys, self.user, self.mark.print())
    }
}

impl Face {
    /// A face without endpoints.
    pub(crate) fn new(name: &Name<'_>, account: u32) -> Self {
        let mut mark = Mark(u16::from(name.print) << Mark::PRINT_SHIFT);
        mark.set_scope(Mark::V4_SHIFT, ABSENT);
        mark.set_scope(Mark::V6_SHIFT, ABSENT);
        Self { user: name.user.0, account, address: [0; 4], port: [0; 2], mark }
    }

    #[inline]
    pub(crate) fn endpoints(&self, wides: &Wides) -> Endpoints {
        let has_v4 = self.mark.has_v4();
        let (address, port_v4, v6) = match self.mark.is_wide() {
            true => {
                let (wide, port_v4) = wides.get(self.wide(), self.port);
                (wide.v4, port_v4, Some(wide.v6.into()))
            }
            false => (self.address, self.port, None),
        };
        let port_v4 = u16::from_be_bytes(port_v4);
        Endpoints {
            v4: has_v4.then_some(Endpoint { address: address.into(), port: port_v4 }),
            v6: v6.map(|address| Endpoint { address, port: u16::from_be_bytes(self.port) }),
        }
    }

    /// Adds the endpoints of an announce to those known, or replaces them; true when that changed
    /// something.
    #[inline]
    pub(crate) fn meet(&mut self, wides: &mut Wides, announce: &Announce) -> bool {
        !self.has_just(&announce.endpoints) && self.meet_others(wides, announce)
    }

    /// It has one IPv4 endpoint and no other, and that is said again: nearly always.
    #[inline(always)]
    fn has_just(&self, endpoints: &Endpoints) -> bool {
        let Endpoints { v4: Some(v4), v6: None } = endpoints else { return false };
        self.address == v4.address.octets()
            && self.port == v4.port.to_be_bytes()
            && !self.mark.is_wide()
            && self.mark.has_v4()
    }

    fn meet_others(&mut self, wides: &mut Wides, announce: &Announce) -> bool {
        let known = self.endpoints(wides);
        self.change(wides, &known, &announce.meets(&known))
    }

    /// Takes the endpoints of these families away; true when that changed something.
    pub(crate) fn part(&mut self, wides: &mut Wides, left: &Endpoints) -> bool {
        let known = self.endpoints(wides);
        let (v4, v6) =
            (known.v4.filter(|_| left.v4.is_none()), known.v6.filter(|_| left.v6.is_none()));
        self.change(wides, &known, &Endpoints { v4, v6 })
    }

    #[inline]
    fn change(&mut self, wides: &mut Wides, from: &Endpoints, to: &Endpoints) -> bool {
        if from == to {
            return false;
        }
        self.set_endpoints(wides, to);
        true
    }

    pub(crate) fn set_endpoints(&mut self, wides: &mut Wides, endpoints: &Endpoints) {
        let Endpoints { v4, v6 } = *endpoints;
        let scope = |address: IpAddr, port| Scope::of_peer(address, port) as u16;
        let v4_scope = v4.map_or(ABSENT, |at| scope(at.address.into(), at.port));
        let v6_scope = v6.map_or(ABSENT, |at| scope(at.address.into(), at.port));
        self.mark.set_scope(Mark::V4_SHIFT, v4_scope);
        self.mark.set_scope(Mark::V6_SHIFT, v6_scope);
        let address_v4 = v4.map_or([0; 4], |v4| v4.address.octets());
        self.address = match (v6, self.mark.is_wide()) {
            (Some(v6), true) => wides.set(self.wide(), v4, v6).to_le_bytes(),
            (Some(v6), false) => wides.insert(v4, v6).to_le_bytes(),
            (None, true) => {
                wides.remove(self.wide());
                address_v4
            }
            (None, false) => address_v4,
        };
        let port = v6.map(|v6| v6.port).or(v4.map(|v4| v4.port));
        self.port = port.unwrap_or_default().to_be_bytes();
        self.mark.set(Mark::WIDE, v6.is_some());
    }

    /// Makes the face of the same client in the swarm of its torrent's second name what this one is.
    pub(crate) fn copy(&self, wides: &mut Wides, other: &mut Face) {
        let endpoints = self.endpoints(wides);
        let known = other.endpoints(wides);
        other.change(wides, &known, &endpoints);
        other.account = self.account;
        other.mark.set_visible(self.mark.is_visible());
        other.mark.set_hidden(self.mark.is_hidden());
    }

    /// Gives back what it has beside itself.
    pub(crate) fn forget(&self, wides: &mut Wides) {
        if self.mark.is_wide() {
            wides.remove(self.wide());
        }
    }

    /// The number of its addresses in [`Wides`].
    #[inline]
    fn wide(&self) -> u32 {
        u32::from_le_bytes(self.address)
    }

    #[inline]
    pub(crate) fn prefetch(&self, wides: &Wides) {
        if self.mark.is_wide() {
            wides.prefetch(self.wide());
        }
    }

    /// Appends those of its endpoints that a requester can use and may be told; true when there was
    /// one.
    #[inline]
    pub(crate) fn tell(
        &self,
        wides: &Wides,
        families: Families,
        reach: Scope,
        reply: &mut Reply,
    ) -> bool {
        let v4 = families.v4 && self.mark.scope(Mark::V4_SHIFT) <= reach as u16;
        let v6 = families.v6 && self.mark.scope(Mark::V6_SHIFT) <= reach as u16;
        if !self.mark.is_wide() {
            if v4 {
                let ([a, b, c, d], [high, low]) = (self.address, self.port);
                reply.peers_v4.extend_from_slice(&[a, b, c, d, high, low]);
            }
            return v4;
        }
        if v4 || v6 {
            let (wide, port_v4) = wides.get(self.wide(), self.port);
            if v4 {
                reply.peers_v4.extend_from_slice(&wide.v4);
                reply.peers_v4.extend_from_slice(&port_v4);
            }
            if v6 {
                reply.peers_v6.extend_from_slice(&wide.v6);
                reply.peers_v6.extend_from_slice(&self.port);
            }
        }
        v4 || v6
    }
}

/// The widest scope that a requester is told of: that of the network it announces from.
#[inline]
pub(crate) fn reach(endpoints: &Endpoints) -> Scope {
    let (v4, v6) = (endpoints.address_v4(), endpoints.address_v6());
    let v4 = v4.map_or(Scope::Public, |v4| Scope::of_requester(v4.into()));
    let v6 = v6.map_or(Scope::Public, |v6| Scope::of_requester(v6.into()));
    v4.max(v6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::{Counters, User};
    use crate::{Event, InfoHash};

    fn announce(at: &str) -> Announce {
        Announce {
            info_hash: InfoHash([1; 20]),
            user: User { id: UserId(1), can_leech: true, hidden: false, group: None },
            peer_id: PeerId(*b"-XX0001-abcdefghijkl"),
            key: 0,
            endpoints: at.parse::<std::net::SocketAddr>().unwrap().into(),
            assumed: Families::default(),
            counters: Counters::default(),
            left: 0,
            event: Event::None,
            numwant: 0,
            families: Families::default(),
            interval: crate::Seconds(1800),
            downloads_full: false,
        }
    }

    fn told(face: &Face, wides: &Wides) -> (Vec<u8>, Vec<u8>) {
        let (mut reply, both) = (Reply::default(), Families { v4: true, v6: true });
        let is_told = face.tell(wides, both, Scope::Public, &mut reply);
        assert_eq!(is_told, !reply.peers_v4.is_empty() || !reply.peers_v6.is_empty());
        (reply.peers_v4.clone(), reply.peers_v6.clone())
    }

    #[test]
    fn each_family_keeps_its_own_endpoint() {
        let (keys, mut wides) = (Keys::new(1), Wides::new());
        let [v4, v6, v6_own, moved] =
            ["45.1.2.3:6881", "[2a00::1]:6881", "[2a00::1]:2222", "[2a00::2]:7000"].map(announce);
        let mut face = Face::new(&Name::of(&keys, &v4), 0);
        assert!(face.meet(&mut wides, &v4) && !face.meet(&mut wides, &v4));
        assert_eq!(face.endpoints(&wides), v4.endpoints);
        for v6 in [v6, v6_own, moved, v6] {
            assert!(face.meet(&mut wides, &v6) && !face.meet(&mut wides, &v4));
            let both = Endpoints { v4: v4.endpoints.v4, v6: v6.endpoints.v6 };
            assert_eq!((face.endpoints(&wides), wides.len()), (both, 1));
            let (told_v4, told_v6) = told(&face, &wides);
            assert_eq!(told_v4, [45, 1, 2, 3, 0x1a, 0xe1]);
            assert_eq!(told_v6[16..], v6.endpoints.port_v6().unwrap().to_be_bytes());
        }
        face.set_endpoints(&mut wides, &v4.endpoints);
        assert_eq!((face.endpoints(&wides), wides.len()), (v4.endpoints, 0));
    }

    #[test]
    fn port_0_hides_the_family_that_says_it() {
        let (keys, mut wides) = (Keys::new(1), Wides::new());
        let mut face = Face::new(&Name::of(&keys, &announce("45.1.2.3:1")), 0);
        for (said, is_told) in [
            ("45.1.2.3:6881", (true, false)),
            ("[2a00::1]:0", (true, false)),
            ("45.1.2.3:0", (false, false)),
            ("[2a00::1]:6881", (false, true)),
            ("45.1.2.3:6881", (true, true)),
        ] {
            face.meet(&mut wides, &announce(said));
            let (v4, v6) = told(&face, &wides);
            assert_eq!((!v4.is_empty(), !v6.is_empty()), is_told, "{said}");
        }
    }

    #[test]
    fn an_assumed_port_gives_way_to_one_that_was_said() {
        let (keys, mut wides) = (Keys::new(1), Wides::new());
        let mut both = announce("45.1.2.3:1111");
        both.endpoints.v6 = announce("[2a00::1]:1111").endpoints.v6;
        both.assumed.v6 = true;
        let mut face = Face::new(&Name::of(&keys, &both), 0);
        assert!(face.meet(&mut wides, &both));
        assert_eq!(face.endpoints(&wides), both.endpoints);
        assert!(face.meet(&mut wides, &announce("[2a00::1]:2222")));
        assert!(!face.meet(&mut wides, &both));
        assert_eq!(face.endpoints(&wides).port_v6(), Some(2222));
        both.endpoints.v6 = announce("[2a00::2]:1111").endpoints.v6;
        assert!(face.meet(&mut wides, &both));
        assert_eq!(face.endpoints(&wides), both.endpoints);
    }
}
