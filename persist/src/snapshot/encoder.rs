//! Writes a snapshot to any stream: gathers pieces into frames of even size.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use rkyv::util::AlignedVec;
use shard::{InfoHash, PeerRecord, Piece, SwarmRecord};

use super::columns::Filling;
use super::format::{Header, Kind, Meta, PAYLOAD_BYTES_MAX, Totals};

/// A snapshot on its way to a stream.
#[derive(Debug)]
pub(super) struct Encoder<W> {
    stream: W,
    header: Header,
    filling: Filling,
    archive: AlignedVec,
    number: u32,
    totals: Totals,
    bytes: u64,
    /// The last swarm of every piece: where the next piece of the same shard may go on.
    tails: HashSet<InfoHash>,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut stream: W, meta: Meta) -> io::Result<Self> {
        let (header, bytes) = Header::write(meta);
        stream.write_all(&bytes)?;
        Ok(Self {
            stream,
            header,
            filling: Filling::default(),
            archive: AlignedVec::new(),
            number: 0,
            totals: Totals::default(),
            bytes: bytes.len() as u64,
            tails: HashSet::new(),
        })
    }

    /// Bytes handed to the stream.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the swarms of a piece. Pieces of one shard come in the order of their export; those of
    /// several shards may alternate.
    pub(super) fn append(&mut self, piece: &Piece) -> io::Result<()> {
        let (mut peers_v4, mut peers_v6) = (piece.peers_v4.as_slice(), piece.peers_v6.as_slice());
        for (at, swarm) in piece.swarms.iter().enumerate() {
            let continued = at == 0 && self.tails.contains(&swarm.info_hash);
            let of_swarm_v4 = first(&mut peers_v4, swarm.peers_v4 as usize)?;
            let of_swarm_v6 = first(&mut peers_v6, swarm.peers_v6 as usize)?;
            self.append_swarm(swarm, continued, of_swarm_v4, of_swarm_v6)?;
        }
        if !peers_v4.is_empty() || !peers_v6.is_empty() {
            return Err(mismatch());
        }
        self.tails.extend(piece.swarms.last().map(|swarm| swarm.info_hash));
        Ok(())
    }

    /// Writes the last frame and returns the stream.
    pub(super) fn finish(mut self) -> io::Result<(W, Totals, u64)> {
        self.flush()?;
        let payload = self.totals.to_bytes();
        let head = self.header.head(Kind::End, self.number, &payload);
        self.stream.write_all(&head)?;
        self.stream.write_all(&payload)?;
        self.stream.flush()?;
        self.bytes += (head.len() + payload.len()) as u64;
        Ok((self.stream, self.totals, self.bytes))
    }

    /// Spreads a swarm over as many frames as it needs.
    fn append_swarm(
        &mut self,
        swarm: &SwarmRecord,
        mut continued: bool,
        mut peers_v4: &[PeerRecord<Ipv4Addr>],
        mut peers_v6: &[PeerRecord<Ipv6Addr>],
    ) -> io::Result<()> {
        loop {
            // Room for the swarm and one of its peers, so that every turn takes something.
            let empty = peers_v4.is_empty() && peers_v6.is_empty();
            if self.filling.room() < 1 + usize::from(!empty) {
                self.flush()?;
            }
            let room = self.filling.room() - 1;
            let count_v4 = room.min(peers_v4.len());
            let count_v6 = (room - count_v4).min(peers_v6.len());
            let v4 = first(&mut peers_v4, count_v4)?;
            let v6 = first(&mut peers_v6, count_v6)?;
            self.filling.push(swarm, continued, v4, v6);
            self.totals.records += 1;
            self.totals.peers_v4 += v4.len() as u64;
            self.totals.peers_v6 += v6.len() as u64;
            if !continued {
                self.totals.swarms += 1;
                self.totals.snatches += u64::from(swarm.snatches);
            }
            if peers_v4.is_empty() && peers_v6.is_empty() {
                return Ok(());
            }
            continued = true;
        }
    }

    /// Writes the frame that has been filled.
    fn flush(&mut self) -> io::Result<()> {
        if self.filling.is_empty() {
            return Ok(());
        }
        let archive = std::mem::take(&mut self.archive);
        self.archive = self.filling.archive(archive).map_err(io::Error::other)?;
        let payload = self.archive.as_slice();
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a frame has at most ENTRIES_MAX entries");

        let head = self.header.head(Kind::Piece, self.number, payload);
        self.stream.write_all(&head)?;
        self.stream.write_all(payload)?;
        self.number = self.number.wrapping_add(1);
        self.totals.frames += 1;
        self.bytes += (head.len() + payload.len()) as u64;
        Ok(())
    }
}

/// Takes the first `count` off a list.
fn first<'a, T>(list: &mut &'a [T], count: usize) -> io::Result<&'a [T]> {
    list.split_off(..count).ok_or_else(mismatch)
}

fn mismatch() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a piece whose swarms and peers do not fit")
}
