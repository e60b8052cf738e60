//! Changes of peers as bytes.

use std::net::{IpAddr, Ipv6Addr};

use rkyv::rancor;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};
use shard::{ClientTag, InfoHash, PeerChange, PeerState, Seconds};

/// It is no parcel of changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the other process says of changes what cannot be read")]
pub struct NoChanges;

/// A change; IPv4 addresses are mapped.
#[derive(Archive, Serialize)]
struct Row {
    info_hash: [u8; 20],
    address: [u8; 16],
    port: u16,
    state: u8,
    marks: u8,
    client: u32,
    silent_from: u32,
    snatches: u32,
}

const LEFT: u8 = 0;
const SEEDER: u8 = 1;
const PARTIAL_SEED: u8 = 2;
const LEECHER: u8 = 3;

const MAY_HAVE_NOTHING: u8 = 1;
const SNATCHED: u8 = 2;

pub(super) fn write(changes: &[PeerChange], out: &mut Vec<u8>) {
    let rows: Vec<Row> = changes.iter().map(row).collect();
    let bytes = rkyv::to_bytes::<rancor::Error>(&rows).expect("numbers in memory become bytes");
    out.extend(&*bytes);
}

fn row(change: &PeerChange) -> Row {
    let address = match change.address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    Row {
        info_hash: change.info_hash.0,
        address: address.octets(),
        port: change.port,
        state: match change.state {
            None => LEFT,
            Some(PeerState::Seeder) => SEEDER,
            Some(PeerState::PartialSeed) => PARTIAL_SEED,
            Some(PeerState::Leecher) => LEECHER,
        },
        marks: u8::from(change.may_have_nothing) * MAY_HAVE_NOTHING
            + u8::from(change.snatched) * SNATCHED,
        client: change.client.bits(),
        silent_from: change.silent_from.0,
        snatches: change.snatches,
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<PeerChange>, NoChanges> {
    let mut aligned = AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    let rows = rkyv::access::<rkyv::vec::ArchivedVec<ArchivedRow>, rancor::Failure>(&aligned);
    rows.map_err(|_| NoChanges)?.iter().map(change).collect()
}

fn change(row: &ArchivedRow) -> Result<PeerChange, NoChanges> {
    let address = Ipv6Addr::from(row.address);
    Ok(PeerChange {
        info_hash: InfoHash(row.info_hash),
        address: address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4),
        port: row.port.to_native(),
        client: ClientTag::from_bits(row.client.to_native()),
        state: match row.state {
            LEFT => None,
            SEEDER => Some(PeerState::Seeder),
            PARTIAL_SEED => Some(PeerState::PartialSeed),
            LEECHER => Some(PeerState::Leecher),
            _ => return Err(NoChanges),
        },
        may_have_nothing: row.marks & MAY_HAVE_NOTHING != 0,
        silent_from: Seconds(row.silent_from.to_native()),
        snatches: row.snatches.to_native(),
        snatched: row.marks & SNATCHED != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_garbage_is_not() {
        let mut random = fastrand::Rng::with_seed(3);
        let states =
            [None, Some(PeerState::Seeder), Some(PeerState::PartialSeed), Some(PeerState::Leecher)];
        for length in 0..300 {
            let changes: Vec<PeerChange> = (0..length)
                .map(|_| PeerChange {
                    info_hash: InfoHash(std::array::from_fn(|_| random.u8(..))),
                    address: match random.bool() {
                        true => IpAddr::V4(random.u32(..).into()),
                        false => IpAddr::V6((random.u128(..) | 1 << 127).into()),
                    },
                    port: random.u16(..),
                    client: ClientTag::from_bits(random.u32(..)),
                    state: states[random.usize(..4)],
                    may_have_nothing: random.bool(),
                    silent_from: Seconds(random.u32(..)),
                    snatches: random.u32(..),
                    snatched: random.bool(),
                })
                .collect();
            let mut bytes = Vec::new();
            write(&changes, &mut bytes);
            assert_eq!(read(&bytes).unwrap(), changes);
            for _ in 0..20 {
                let mut garbage = bytes.clone();
                let at = random.usize(..garbage.len());
                garbage[at] ^= 1 << random.u8(..8);
                garbage.truncate(garbage.len() - random.usize(..2));
                let _ = read(&garbage);
            }
        }
        assert_eq!(read(b""), Err(NoChanges));
    }
}
