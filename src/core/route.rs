//! Which core owns an infohash.

use shard::InfoHash;

/// The core that does what is said of users and client rules, so that what is said of one of them is done
/// and journaled in one order, however it came in.
pub const SITE_CORE: usize = 0;

/// The owner's number, below `cores`: the first four bytes of the infohash, big endian, modulo the
/// number of cores. [`crate::net::steer`] makes the kernel compute the same.
#[inline]
pub fn owner(info_hash: &InfoHash, cores: usize) -> usize {
    info_hash.prefix() as usize % cores
}

/// Sorts the positions of `hashes` by their owners, of `cores` cores: entry `i` lists those that core `i` owns.
pub fn split(
    hashes: &[InfoHash],
    cores: usize,
    owner: impl Fn(&InfoHash) -> usize,
) -> Vec<Vec<u16>> {
    let mut parts = vec![Vec::new(); cores];
    for (position, info_hash) in hashes.iter().enumerate() {
        parts[owner(info_hash)].push(position as u16);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_has_exactly_one_owner() {
        let mut random = fastrand::Rng::with_seed(1);
        let hashes: Vec<InfoHash> =
            (0..74).map(|_| InfoHash(std::array::from_fn(|_| random.u8(..)))).collect();
        for cores in 1..=7 {
            let parts = split(&hashes, cores, |info_hash| owner(info_hash, cores));
            let mut seen = vec![0; hashes.len()];
            for (core, part) in parts.iter().enumerate() {
                for position in part {
                    seen[usize::from(*position)] += 1;
                    assert_eq!(owner(&hashes[usize::from(*position)], cores), core);
                }
            }
            assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
