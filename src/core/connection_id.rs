//! Connection ids (BEP 15): proof that a UDP client receives at the address it sends from.
//!
//! An id is made, not stored: 16 bits of the time it was issued, 12 bits of a tag, and 36 bits of a keyed hash over
//! that time and the address. Whoever has the key can check it, so ids survive a restart, and nodes
//! that share the key accept each other's.
//!
//! The tag is so simple that a filter in the kernel checks it while wrong ids flood in ([`crate::net::filter`]). Its key
//! follows from the key of the ids and is another one each [`EPOCH_SECONDS`]. What is good is decided by all bits.

#![forbid(unsafe_code)]

mod key_file;

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;

use shard::Seconds;
use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher24;

use crate::net::filter::{self, TAG_BITS, TagKey};
use crate::process::clock::BEFORE_KEPT;

pub use key_file::{KeyError, load_or_create, parse_key};

/// How long an id is good at least. Clients use one for 60 s and a tracker has to take it for 120 s
/// (BEP 15); 10 s more let a request that was on its way at the end still count.
pub const LIFETIME: Seconds = Seconds(130);

/// How far ahead of this node's clock the issuer's may be: the clocks of nodes that share a key
/// differ a little, and the clock may have been set back while the process was not running.
pub const CLOCK_SKEW: Seconds = Seconds(2);

/// The most grace, so that a time of 16 bits is never ambiguous.
pub const GRACE_MAX: Seconds = Seconds(8 * 60 * 60);

/// How long ids are tagged under one key. The upper bits of the time that an id carries say which it was.
pub const EPOCH_SECONDS: Seconds = Seconds(1 << EPOCH_BITS);

/// A filter takes ids that are older or newer by so much than those that are good: it is not made anew each second.
const FILTER_SLACK: Seconds = Seconds(60);

/// Issues and checks connection ids.
///
/// The hash is SipHash-1-3 with a 128-bit key. SipHash is made for just this, short inputs under a
/// secret key, and is a pseudorandom function: ids seen by their rightful receivers say nothing about
/// those of other addresses. A guess is right once in 2^48, and only sending it tells; who has broken the tag is right once
/// in 2^36. The hash over an IPv4 address takes about 17 ns.
#[derive(Clone)]
pub struct ConnectionIds {
    hasher: SipHasher13,
    lifetime: Seconds,
    /// The keys of the tags that were asked for last, of an even and of an odd epoch.
    tag_keys: [Cell<(u32, TagKey)>; 2],
}

impl ConnectionIds {
    /// Ids under `key`, accepted for [`LIFETIME`] and `grace` (at most [`GRACE_MAX`]) after they were
    /// issued. Grace is for clients that keep an id for longer than they may: uTorrent does so for
    /// more than five minutes.
    pub fn new(key: &[u8; 32], grace: Seconds) -> Self {
        // Both halves of the key count: one hashes the other.
        let (half, other) = key.split_first_chunk::<16>().expect("32 bytes are more than 16");
        let folded = SipHasher24::new_with_key(half).hash(other);
        let ids = Self {
            hasher: SipHasher13::new_with_key(&folded.as_bytes()),
            lifetime: LIFETIME + grace.min(GRACE_MAX),
            tag_keys: Default::default(),
        };
        for epoch in [0, 1] {
            ids.tag_keys[epoch as usize].set((epoch, ids.make_tag_key(epoch)));
        }
        ids
    }

    /// The id of a client that asks from `address` at `now`. Its port plays no part, as a NAT may
    /// change it; an IPv4-mapped IPv6 address is the IPv4 address.
    #[inline]
    pub fn issue(&self, address: IpAddr, now: Seconds) -> u64 {
        let tag = self.tag(address, now);
        u64::from(now.0 as u16) << TIMELESS_BITS
            | tag << MAC_BITS
            | !self.mac(address, now) & MAC_MASK
    }

    /// Whether `id` was issued to `address`, is not too old and does not come from the future (but
    /// for [`CLOCK_SKEW`]).
    #[inline]
    pub fn check(&self, id: u64, address: IpAddr, now: Seconds) -> bool {
        // The time comes as its low 16 bits; the age is what is between it and the latest time that
        // is allowed, and together with the clock gives all bits, which the hash covers. So an id is
        // not good again after 2^16 s.
        let latest = now.0.wrapping_add(CLOCK_SKEW.0);
        let age = (latest as u16).wrapping_sub((id >> TIMELESS_BITS) as u16);
        let issued = Seconds(latest.wrapping_sub(u32::from(age)));
        if u32::from(age) > (self.lifetime + CLOCK_SKEW).0 {
            return false;
        }
        let mac = self.mac(address, issued);
        // Up to 0.2 an id had no tag, and more bits of the hash in its place: what was given out before an upgrade is
        // good after it. They differ in every bit of the hash, so that no slip turns one into the other.
        match (id ^ mac) & MAC_MASK {
            MAC_MASK => id >> MAC_BITS & TAG_MASK == self.tag(address, issued),
            _ => (id ^ mac) & TIMELESS_MASK == 0,
        }
    }

    /// The keys of the tags of all ids that are good at one of these times, or nearly, each for the [slot] of its epoch; none
    /// for a slot that has two of them.
    ///
    /// [slot]: crate::net::filter::Sieve::slots
    pub fn tag_slots(&self, times: impl IntoIterator<Item = Seconds>) -> Vec<(u8, Option<TagKey>)> {
        let mut slots: Vec<(u8, u32, Option<TagKey>)> = Vec::new();
        for now in times {
            let latest = i64::from((now + CLOCK_SKEW + FILTER_SLACK).0);
            let earliest = i64::from(now.0) - i64::from((self.lifetime + FILTER_SLACK).0);
            for epoch in earliest.max(0) >> EPOCH_BITS..=latest >> EPOCH_BITS {
                let epoch = epoch as u32;
                let slot = (epoch & (SLOTS - 1)) as u8;
                match slots.iter_mut().find(|(known, ..)| *known == slot) {
                    None => slots.push((slot, epoch, Some(self.make_tag_key(epoch)))),
                    Some((_, known, _)) if *known == epoch => {}
                    Some((_, _, key)) => *key = None,
                }
            }
        }
        slots.into_iter().map(|(slot, _, key)| (slot, key)).collect()
    }

    #[inline]
    fn tag(&self, address: IpAddr, issued: Seconds) -> u64 {
        let epoch = issued.0 >> EPOCH_BITS;
        let kept = &self.tag_keys[(epoch & 1) as usize];
        if kept.get().0 != epoch {
            kept.set((epoch, self.make_tag_key(epoch)));
        }
        let (_, key) = kept.get();
        filter::tag(&key, address.to_canonical(), issued.0 as u16).into()
    }

    #[cold]
    fn make_tag_key(&self, epoch: u32) -> TagKey {
        // Of a length that `mac` does not have.
        let word = |number: u32| {
            let mut input = *b"tag_________";
            input[4..8].copy_from_slice(&epoch.to_le_bytes());
            input[8..].copy_from_slice(&number.to_le_bytes());
            self.hasher.hash(&input) as u32
        };
        [word(0), word(1) | 1, word(2) | 1, word(3), word(4) | 1]
    }

    /// The hash over address and time. The two kinds of input differ in length, which SipHash includes.
    #[inline]
    fn mac(&self, address: IpAddr, issued: Seconds) -> u64 {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let mut input = [0; 8];
                input[..4].copy_from_slice(&address.octets());
                input[4..].copy_from_slice(&issued.0.to_le_bytes());
                self.hasher.hash(&input)
            }
            IpAddr::V6(address) => {
                let mut input = [0; 20];
                input[..16].copy_from_slice(&address.octets());
                input[16..].copy_from_slice(&issued.0.to_le_bytes());
                self.hasher.hash(&input)
            }
        }
    }
}

impl fmt::Debug for ConnectionIds {
    /// Leaves out the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIds").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// An id is 16 bits of time, the tag, and so many bits of the hash.
const MAC_BITS: u32 = 36;
const MAC_MASK: u64 = (1 << MAC_BITS) - 1;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
const TIMELESS_BITS: u32 = MAC_BITS + TAG_BITS;
const TIMELESS_MASK: u64 = (1 << TIMELESS_BITS) - 1;

/// The 16 bits of time begin with the slot of the epoch.
const EPOCH_BITS: u32 = 12;
const SLOTS: u32 = 1 << (16 - EPOCH_BITS);

const _: () = assert!(TIMELESS_BITS == 48);
/// The ids of a moment never fill all slots.
const _: () = assert!(
    (LIFETIME.0 + GRACE_MAX.0 + CLOCK_SKEW.0 + 2 * FILTER_SLACK.0) >> EPOCH_BITS < SLOTS - 2
);

const _: () = assert!(LIFETIME.0 + GRACE_MAX.0 + CLOCK_SKEW.0 < 1 << 15);
const _: () =
    assert!(LIFETIME.0 + GRACE_MAX.0 == BEFORE_KEPT.0, "an id outlives a jump of the clock");

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Seconds = Seconds(1_700_000_000);
    const KEY: [u8; 32] = *b"a test's key, known to everybody";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whether an id issued to `address` is good `later` seconds later.
    fn good(ids: &ConnectionIds, address: &str, later: i64) -> bool {
        let id = ids.issue(ip(address), NOW);
        ids.check(id, ip(address), Seconds((i64::from(NOW.0) + later) as u32))
    }

    #[test]
    fn c3_an_id_is_good_for_two_minutes_and_not_for_long() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        for address in ["192.0.2.1", "2001:db8::1"] {
            for later in [0, 1, 60, 119, 120, 130] {
                assert!(good(&ids, address, later), "{address} after {later} s");
            }
            for later in [131, 200, 3600, 32768, 65535, 65536, 65537, 65536 + 60, 7 * 65536] {
                assert!(!good(&ids, address, later), "{address} after {later} s");
            }
        }
    }

    #[test]
    fn c3_an_id_from_the_future_is_refused() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        assert!(good(&ids, "192.0.2.1", -1), "clocks of two nodes differ a little");
        assert!(good(&ids, "192.0.2.1", -2));
        for earlier in [-3, -60, -130, -32768, -65536] {
            assert!(!good(&ids, "192.0.2.1", earlier), "{earlier}");
        }
    }

    #[test]
    fn c4_grace_is_for_clients_that_keep_ids() {
        let ids = ConnectionIds::new(&KEY, Seconds(600));
        assert!(good(&ids, "192.0.2.1", 730));
        assert!(!good(&ids, "192.0.2.1", 731));
        let ids = ConnectionIds::new(&KEY, Seconds(u32::MAX));
        let most = i64::from((LIFETIME + GRACE_MAX).0);
        assert!(good(&ids, "192.0.2.1", most));
        assert!(!good(&ids, "192.0.2.1", most + 1));
    }

    #[test]
    fn c3_an_id_is_bound_to_the_address() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        let id = ids.issue(ip("192.0.2.1"), NOW);
        for other in ["192.0.2.2", "193.0.2.1", "0.0.0.0", "2001:db8::1", "::192.0.2.1", "::"] {
            assert!(!ids.check(id, ip(other), NOW), "{other}");
        }
        let id = ids.issue(ip("2001:db8::1"), NOW);
        for other in ["2001:db8::2", "2001:db9::1", "192.0.2.1"] {
            assert!(!ids.check(id, ip(other), NOW), "{other}");
        }
    }

    #[test]
    fn a6_c9_a_mapped_address_is_the_ipv4_address() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        let id = ids.issue(ip("::ffff:192.0.2.1"), NOW);
        assert_eq!(id, ids.issue(ip("192.0.2.1"), NOW));
        assert!(ids.check(id, ip("192.0.2.1"), NOW));
        assert!(ids.check(id, ip("::ffff:192.0.2.1"), NOW));
    }

    #[test]
    fn c3_the_key_decides_to_its_last_bit() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        let id = ids.issue(ip("192.0.2.1"), NOW);
        for bit in 0..256 {
            let mut key = KEY;
            key[bit / 8] ^= 1 << (bit % 8);
            let other = ConnectionIds::new(&key, Seconds(0));
            assert!(!other.check(id, ip("192.0.2.1"), NOW), "bit {bit}");
        }
    }

    #[test]
    fn c16_another_node_with_the_key_accepts_the_id() {
        let id = ConnectionIds::new(&KEY, Seconds(0)).issue(ip("192.0.2.1"), NOW);
        let after_restart = ConnectionIds::new(&KEY, Seconds(0));
        assert!(after_restart.check(id, ip("192.0.2.1"), NOW + Seconds(100)));
    }

    #[test]
    fn c3_every_bit_of_an_id_counts() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        for host in 0..1000_u32 {
            let address = IpAddr::from([192, 0, (host >> 8) as u8, host as u8]);
            let id = ids.issue(address, NOW);
            for bit in 0..64 {
                assert!(!ids.check(id ^ 1 << bit, address, NOW), "bit {bit} of {address}");
            }
            // Nor does another byte make a good one of it.
            for change in 1..=255_u64 {
                for byte in 0..8 {
                    assert!(!ids.check(id ^ change << (8 * byte), address, NOW), "{address}");
                }
            }
        }
    }

    #[test]
    fn c4_an_id_of_before_the_tags_is_good() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        for address in ["192.0.2.1", "2001:db8::1"] {
            let mac = ids.mac(ip(address), NOW) & TIMELESS_MASK;
            let id = u64::from(NOW.0 as u16) << TIMELESS_BITS | mac;
            assert!(ids.check(id, ip(address), NOW + Seconds(100)));
            assert!(!ids.check(id, ip(address), NOW + Seconds(131)));
            assert!(!ids.check(id, ip("192.0.2.2"), NOW));
        }
    }

    /// Whether a filter that is made at `now` lets an id through.
    fn passes(
        ids: &ConnectionIds,
        id: u64,
        address: &str,
        now: impl IntoIterator<Item = u32>,
    ) -> bool {
        let slots = ids.tag_slots(now.into_iter().map(Seconds));
        let time = (id >> TIMELESS_BITS) as u16;
        let slot = slots.iter().find(|(slot, _)| *slot == (time >> EPOCH_BITS) as u8);
        match slot {
            None => false,
            Some((_, None)) => true,
            Some((_, Some(key))) => {
                u64::from(filter::tag(key, ip(address), time)) == id >> MAC_BITS & TAG_MASK
            }
        }
    }

    #[test]
    fn c18_what_is_good_has_its_tag() {
        let mut random = fastrand::Rng::with_seed(4);
        for grace in [0, 600, GRACE_MAX.0] {
            let ids = ConnectionIds::new(&KEY, Seconds(grace));
            for _ in 0..2000 {
                let address = match random.bool() {
                    true => std::net::Ipv4Addr::from(random.u32(..)).to_string(),
                    false => std::net::Ipv6Addr::from(random.u128(..)).to_string(),
                };
                let now = random.u32(GRACE_MAX.0 + 1000..);
                let issued = now.saturating_sub(random.u32(..=ids.lifetime.0));
                let id = ids.issue(ip(&address), Seconds(issued));
                assert!(ids.check(id, ip(&address), Seconds(now)));
                assert!(passes(&ids, id, &address, [now]), "{address} {issued} at {now}");
                assert!(passes(&ids, id, &address, [now.saturating_sub(50)]), "made before");
                assert!(passes(&ids, id, &address, [random.u32(..), now]), "of another clock");
            }
        }
    }

    #[test]
    fn c18_what_is_not_good_rarely_has_a_tag() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        let mut random = fastrand::Rng::with_seed(5);
        let mut passed = [0; 3];
        for _ in 0..40_960 {
            let guess = u64::from(NOW.0 as u16) << TIMELESS_BITS | random.u64(..) >> 16;
            let address = std::net::Ipv4Addr::from(random.u32(..)).to_string();
            passed[0] += u32::from(passes(&ids, guess, &address, [NOW.0]));
            let id = ids.issue(ip("192.0.2.1"), NOW);
            passed[1] += u32::from(passes(&ids, id, &address, [NOW.0]));
            let later = ids.issue(ip(&address), NOW) & u64::MAX >> 16;
            let later = u64::from((NOW.0 + (1 << EPOCH_BITS)) as u16) << TIMELESS_BITS | later;
            passed[2] += u32::from(passes(&ids, later, &address, [NOW.0 + (1 << EPOCH_BITS)]));
        }
        assert!(
            passed.iter().all(|passed| (1..40).contains(passed)),
            "{passed:?}: 10 of 40,960 is chance"
        );
    }

    #[test]
    fn c3_guesses_are_refused() {
        let ids = ConnectionIds::new(&KEY, Seconds(600));
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..100_000 {
            let guess = u64::from(NOW.0 as u16) << 48 | random.u64(..) >> 16;
            assert!(!ids.check(guess, ip("192.0.2.1"), NOW), "{guess:x}");
            assert!(!ids.check(random.u64(..), IpAddr::V4(random.u32(..).into()), NOW));
        }
    }

    #[test]
    fn ids_work_at_both_ends_of_time() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        for now in [0, 1, 129, 65535, 65536, u32::MAX - 1, u32::MAX] {
            let id = ids.issue(ip("192.0.2.1"), Seconds(now));
            assert!(ids.check(id, ip("192.0.2.1"), Seconds(now)), "{now}");
            assert!(ids.check(id, ip("192.0.2.1"), Seconds(now) + Seconds(130)), "{now}");
        }
    }

    #[test]
    fn the_key_is_never_printed() {
        let ids = ConnectionIds::new(&KEY, Seconds(0));
        assert_eq!(format!("{ids:?}"), "ConnectionIds { lifetime: Seconds(130), .. }");
    }
}
