//! Errors over UDP, one a second to one address about one torrent.
//!
//! BEP 15 does not say what a client does after an error, and lftp 4.9.2 announces again as soon as it has one, for
//! ever (`findings/lftp_udp_error.sh`). Silence in place of the next error has each client wait as it waits for a
//! datagram that was lost: 15 s or longer.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use shard::{InfoHash, Seconds};

/// What a core has told lately, and to whom. Forgets by being written over: then an error is told once more.
pub struct Errors {
    /// By the low bits of the hash.
    told: Box<[Told; PLACES]>,
    /// Keyed anew for each core, so that nobody outside can aim at the place of another.
    keys: RandomState,
}

/// The last error of one place.
#[derive(Clone, Copy, Default)]
struct Told {
    /// The high bits of the hash.
    whom: u32,
    at: Seconds,
}

/// Places: 32 KiB a core.
const PLACES: usize = 4096;

impl Default for Errors {
    fn default() -> Self {
        Self { told: Box::new([Told::default(); PLACES]), keys: RandomState::new() }
    }
}

impl Errors {
    /// Whether an error about this torrent may go to this address in the second `now`; it is told then.
    pub fn may_tell(&mut self, address: IpAddr, info_hash: &InfoHash, now: Seconds) -> bool {
        let hash = self.keys.hash_one((address.to_canonical(), info_hash.0));
        let place = &mut self.told[hash as usize % PLACES];
        let told = Told { whom: (hash >> 32) as u32, at: now };
        let again = place.whom == told.whom && place.at == told.at;
        *place = told;
        !again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c5_an_error_is_told_once_a_second_to_each_address_about_each_torrent() {
        let mut errors = Errors::default();
        let [one, other]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap());
        let [torrent, second] = [1, 2].map(|byte| InfoHash([byte; 20]));
        for now in [Seconds(1_000), Seconds(1_001), Seconds(990)] {
            let mut told = |address, torrent| errors.may_tell(address, torrent, now);
            assert!(told(one, &torrent), "{now:?}");
            assert!(!told(one, &torrent) && !told("::ffff:192.0.2.1".parse().unwrap(), &torrent));
            assert!(told(other, &torrent) && told(one, &second));
        }
    }

    #[test]
    fn c5_whoever_asks_without_a_pause_is_told_little() {
        let mut errors = Errors::default();
        let mut random = fastrand::Rng::with_seed(5);
        let mut told = 0;
        // Sixty-four clients, each a thousand times in one second.
        for _ in 0..64_000 {
            let address = IpAddr::from([10, 0, 0, random.u8(..64)]);
            told += u32::from(errors.may_tell(address, &InfoHash([7; 20]), Seconds(9)));
        }
        // Two that have one place take it from each other, which is seldom.
        assert!(told >= 64, "{told}");
        let mut places: Vec<u64> = (0..64)
            .map(|at| errors.keys.hash_one((IpAddr::from([10, 0, 0, at]), [7u8; 20])))
            .map(|hash| hash % PLACES as u64)
            .collect();
        places.sort_unstable();
        let shared = places.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(told == 64 || shared > 0, "{told}");
    }
}
