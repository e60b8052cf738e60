//! Writes a snapshot to any stream: gathers what comes into frames of even size.

use std::collections::HashSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use rkyv::rancor;
use rkyv::util::AlignedVec;
use shard::private::{self, ClientPrefix, GroupId, Passkey, User, UserId};
use shard::{InfoHash, PeerRecord, Piece, Seconds, SwarmRecord};

use super::format::{Header, Kind, Meta, PAYLOAD_BYTES_MAX, Totals};
use super::formers::FORMERS_MAX;
use super::groups::GROUPS_MAX;
use super::rules::RULES_MAX;
use super::users::USERS_MAX;
use super::{columns, deletions, formers, groups, hybrids, rules, torrents, users};

/// A snapshot on its way to a stream.
pub(super) struct Encoder<W> {
    output: Output<W>,
    /// Of the open mode.
    swarms: columns::Filling,
    /// Of the private mode.
    users: users::Filling,
    groups: groups::Filling,
    formers: formers::Filling,
    rules: rules::Filling,
    torrents: torrents::Filling,
    deletions: deletions::Filling,
    hybrids: hybrids::Filling,
    /// The last swarm of every piece: where the next piece of the same shard may go on.
    tails: HashSet<InfoHash>,
}

impl<W: Write> Encoder<W> {
    pub(super) fn new(mut stream: W, meta: Meta) -> io::Result<Self> {
        let (header, bytes) = Header::write(meta);
        stream.write_all(&bytes)?;
        let output = Output {
            stream,
            header,
            archive: AlignedVec::new(),
            number: 0,
            place: 0,
            totals: Totals::default(),
            bytes: bytes.len() as u64,
        };
        Ok(Self {
            output,
            swarms: columns::Filling::default(),
            users: users::Filling::default(),
            groups: groups::Filling::default(),
            formers: formers::Filling::default(),
            rules: rules::Filling::default(),
            torrents: torrents::Filling::default(),
            deletions: deletions::Filling::default(),
            hybrids: hybrids::Filling::default(),
            tails: HashSet::new(),
        })
    }

    /// Bytes handed to the stream.
    pub(super) fn bytes(&self) -> u64 {
        self.output.bytes
    }

    /// Adds the swarms of a piece. Pieces of one shard come in the order of their export; those of
    /// several shards may alternate.
    pub(super) fn append(&mut self, piece: &Piece) -> io::Result<()> {
        self.output.expect(Kind::Swarms)?;
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

    /// Adds a user, and whether he may announce; users come before everything else.
    pub(super) fn append_user(
        &mut self,
        passkey: &Passkey,
        user: User,
        enabled: bool,
    ) -> io::Result<()> {
        self.output.expect(Kind::Users)?;
        if self.users.len() >= USERS_MAX {
            self.flush_users()?;
        }
        self.users.push(passkey, user, enabled);
        self.output.totals.users += 1;
        Ok(())
    }

    /// Adds a group of users, with the downloads that each of them may have at once; where users are.
    pub(super) fn append_group(
        &mut self,
        id: GroupId,
        downloads_max: Option<u32>,
    ) -> io::Result<()> {
        self.output.expect(Kind::Groups)?;
        if self.groups.len() >= GROUPS_MAX {
            self.flush_groups()?;
        }
        self.groups.push(id, downloads_max);
        Ok(())
    }

    /// Adds a passkey that a user had before, good until this moment; where users are.
    pub(super) fn append_former(
        &mut self,
        user: UserId,
        passkey: &Passkey,
        good_until: Seconds,
    ) -> io::Result<()> {
        self.output.expect(Kind::Formers)?;
        if self.formers.len() >= FORMERS_MAX {
            self.flush_formers()?;
        }
        self.formers.push(user, passkey, good_until);
        Ok(())
    }

    /// Adds a rule of clients; they come after users and before torrents.
    pub(super) fn append_rule(&mut self, prefix: &ClientPrefix, allow: bool) -> io::Result<()> {
        self.output.expect(Kind::Rules)?;
        self.flush_users()?;
        self.flush_groups()?;
        self.flush_formers()?;
        if self.rules.len() >= RULES_MAX {
            self.flush_rules()?;
        }
        self.rules.push(prefix, allow);
        self.output.totals.client_rules += 1;
        Ok(())
    }

    /// Adds the torrents of a piece; for the order see [`Encoder::append`].
    pub(super) fn append_private(&mut self, piece: &private::Piece) -> io::Result<()> {
        self.output.expect(Kind::Torrents)?;
        self.flush_users()?;
        self.flush_groups()?;
        self.flush_formers()?;
        self.flush_rules()?;
        let (mut peers, mut tokens) = (piece.peers.as_slice(), piece.tokens.as_slice());
        for (at, torrent) in piece.torrents.iter().enumerate() {
            let continued = at == 0 && self.tails.contains(&torrent.info_hash);
            let of_torrent = first(&mut peers, torrent.peers as usize)?;
            let for_torrent = first(&mut tokens, torrent.tokens as usize)?;
            self.append_torrent(torrent, continued, for_torrent, of_torrent)?;
        }
        if !peers.is_empty() || !tokens.is_empty() {
            return Err(mismatch());
        }
        self.tails.extend(piece.torrents.last().map(|torrent| torrent.info_hash));
        for deletion in &piece.deletions {
            if self.deletions.is_full() {
                self.flush_deletions()?;
            }
            self.deletions.push(deletion);
            self.output.totals.deletions += 1;
        }
        for (first, second) in &piece.hybrids {
            self.room_for_hybrids()?;
            self.hybrids.push(first, second);
        }
        for named in &piece.named {
            self.room_for_hybrids()?;
            self.hybrids.push_named(named);
        }
        Ok(())
    }

    /// Writes the last frames and returns the stream.
    pub(super) fn finish(mut self) -> io::Result<(W, Totals, u64)> {
        self.flush_swarms()?;
        self.flush_users()?;
        self.flush_groups()?;
        self.flush_formers()?;
        self.flush_rules()?;
        self.flush_torrents()?;
        self.flush_hybrids()?;
        self.flush_deletions()?;
        self.output.finish()
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
            if self.swarms.room() < 1 + usize::from(!empty) {
                self.flush_swarms()?;
            }
            let room = self.swarms.room() - 1;
            let count_v4 = room.min(peers_v4.len());
            let count_v6 = (room - count_v4).min(peers_v6.len());
            let v4 = first(&mut peers_v4, count_v4)?;
            let v6 = first(&mut peers_v6, count_v6)?;
            self.swarms.push(swarm, continued, v4, v6);
            let totals = &mut self.output.totals;
            totals.peers_v4 += v4.len() as u64;
            totals.peers_v6 += v6.len() as u64;
            totals.count_part(continued, swarm.snatches);
            if peers_v4.is_empty() && peers_v6.is_empty() {
                return Ok(());
            }
            continued = true;
        }
    }

    /// Spreads a torrent over as many frames as it needs.
    fn append_torrent(
        &mut self,
        torrent: &private::TorrentRecord,
        mut continued: bool,
        mut tokens: &[private::TokenRecord],
        mut peers: &[private::PeerRecord],
    ) -> io::Result<()> {
        loop {
            let empty = tokens.is_empty() && peers.is_empty();
            if self.torrents.room() < 1 + usize::from(!empty) {
                self.flush_torrents()?;
            }
            let room = self.torrents.room() - 1;
            let token_count = room.min(tokens.len());
            let peer_count = (room - token_count).min(peers.len());
            let part_tokens = first(&mut tokens, token_count)?;
            let part_peers = first(&mut peers, peer_count)?;
            self.torrents.push(torrent, continued, part_tokens, part_peers);
            let wide = part_peers.iter().filter(|peer| peer.endpoints.v6.is_some()).count();
            let totals = &mut self.output.totals;
            totals.tokens += part_tokens.len() as u64;
            totals.peers_v4 += (part_peers.len() - wide) as u64;
            totals.peers_v6 += wide as u64;
            totals.count_part(continued, torrent.snatches);
            if tokens.is_empty() && peers.is_empty() {
                return Ok(());
            }
            continued = true;
        }
    }

    fn flush_swarms(&mut self) -> io::Result<()> {
        if self.swarms.is_empty() {
            return Ok(());
        }
        self.output.frame(Kind::Swarms, |buffer| self.swarms.archive(buffer))
    }

    fn flush_users(&mut self) -> io::Result<()> {
        if self.users.len() == 0 {
            return Ok(());
        }
        let kind = if self.users.is_grouped() { Kind::GroupedUsers } else { Kind::Users };
        self.output.frame(kind, |buffer| self.users.archive(buffer))
    }

    fn flush_groups(&mut self) -> io::Result<()> {
        if self.groups.len() == 0 {
            return Ok(());
        }
        self.output.frame(Kind::Groups, |buffer| self.groups.archive(buffer))
    }

    fn flush_formers(&mut self) -> io::Result<()> {
        if self.formers.len() == 0 {
            return Ok(());
        }
        self.output.frame(Kind::Formers, |buffer| self.formers.archive(buffer))
    }

    fn flush_rules(&mut self) -> io::Result<()> {
        if self.rules.len() == 0 {
            return Ok(());
        }
        self.output.frame(Kind::Rules, |buffer| self.rules.archive(buffer))
    }

    fn flush_torrents(&mut self) -> io::Result<()> {
        if self.torrents.is_empty() {
            return Ok(());
        }
        let kind = if self.torrents.is_ported() { Kind::PortedTorrents } else { Kind::Torrents };
        self.output.frame(kind, |buffer| self.torrents.archive(buffer))
    }

    fn room_for_hybrids(&mut self) -> io::Result<()> {
        if self.hybrids.is_full() { self.flush_hybrids() } else { Ok(()) }
    }

    /// Names come after the torrents and peers that they are of.
    fn flush_hybrids(&mut self) -> io::Result<()> {
        if self.hybrids.is_empty() {
            return Ok(());
        }
        self.flush_torrents()?;
        self.output.frame(Kind::Hybrids, |buffer| self.hybrids.archive(buffer))
    }

    fn flush_deletions(&mut self) -> io::Result<()> {
        if self.deletions.len() == 0 {
            return Ok(());
        }
        self.output.frame(Kind::Deletions, |buffer| self.deletions.archive(buffer))
    }
}

impl Totals {
    /// Counts an entry of a swarm.
    fn count_part(&mut self, continued: bool, snatches: u32) {
        self.records += 1;
        if !continued {
            self.swarms += 1;
            self.snatches += u64::from(snatches);
        }
    }
}

/// The stream, and what has gone into it.
struct Output<W> {
    stream: W,
    header: Header,
    archive: AlignedVec,
    number: u32,
    /// Where the last frame belongs; see [`Kind::place`].
    place: u8,
    totals: Totals,
    bytes: u64,
}

impl<W: Write> Output<W> {
    /// Refuses what does not belong into the file, or not there.
    fn expect(&mut self, kind: Kind) -> io::Result<()> {
        if !kind.belongs_to(self.header.meta.mode) || kind.place() < self.place {
            let text = "this does not belong there in a snapshot of this mode";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.place = kind.place();
        Ok(())
    }

    /// Writes a frame with what `fill` archives into the buffer.
    fn frame(
        &mut self,
        kind: Kind,
        fill: impl FnOnce(AlignedVec) -> Result<AlignedVec, rancor::BoxedError>,
    ) -> io::Result<()> {
        let archive = std::mem::take(&mut self.archive);
        self.archive = fill(archive).map_err(io::Error::other)?;
        let payload = self.archive.as_slice();
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "every filling has its bound");

        let head = self.header.head(kind, self.number, payload);
        self.stream.write_all(&head)?;
        self.stream.write_all(payload)?;
        self.number = self.number.wrapping_add(1);
        self.totals.frames += 1;
        self.bytes += (head.len() + payload.len()) as u64;
        Ok(())
    }

    fn finish(mut self) -> io::Result<(W, Totals, u64)> {
        let payload = self.totals.to_bytes();
        let head = self.header.head(Kind::End, self.number, &payload);
        self.stream.write_all(&head)?;
        self.stream.write_all(&payload)?;
        self.stream.flush()?;
        self.bytes += (head.len() + payload.len()) as u64;
        Ok((self.stream, self.totals, self.bytes))
    }
}

/// Takes the first `count` off a list.
fn first<'a, T>(list: &mut &'a [T], count: usize) -> io::Result<&'a [T]> {
    list.split_off(..count).ok_or_else(mismatch)
}

fn mismatch() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "a piece whose swarms and peers do not fit")
}
