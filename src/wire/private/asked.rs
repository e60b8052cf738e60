//! An announce as a client of a private tracker puts it, over HTTP (BEP 3, 7, 21, 23) or UDP (BEP 15,
//! 41), before its user, its torrent and its address are looked up.
//!
//! Numbers are read so that no nonsense is credited: what is missing, no number, or negative is 0,
//! and what is too large is as large as the database goes (`i64::MAX`). Of a key given twice the first
//! counts; two infohashes are refused.

use std::net::Ipv4Addr;

use shard::private::{Announce, Counters, Passkey, PeerId, User};
use shard::{Event, Families, InfoHash, Seconds, lasting_key};

use super::{ClientRules, Located, Refusal, url_data_key};
use crate::wire::query::{RawAnnounce, client_key, event, number};
use crate::wire::{Key, Numwant, percent, udp};

/// Where readings differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// A client that does not say what it has left is a leecher, as it is in open mode; `compact` may
    /// be missing, and `compact=0` gets the list form.
    #[default]
    Standard,
    /// As Ocelot has it: who does not say what it has left, or says no number, has nothing left; and
    /// `compact` has to be 1.
    Ocelot,
}

/// An announce as it is said. `Debug` leaves the passkey out.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'q> {
    /// The torrent; `None` when nothing can have this name: it is not registered then.
    pub info_hash: Option<InfoHash>,
    peer_id: Result<PeerId, Refusal<'static>>,
    compact_refused: bool,
    port_refused: bool,
    /// See [`Announce::key`].
    pub key: u32,
    /// Where the client listens; 0 when it does not say.
    pub port: u16,
    /// The counters that it says it has moved.
    pub counters: Counters,
    /// Bytes left, at most `i64::MAX`; `u64::MAX` when unknown.
    pub left: u64,
    /// The event; one that nobody knows is none.
    pub event: Event,
    /// How many peers are asked for.
    pub numwant: Numwant,
    /// False for one who wants the list form of BEP 3.
    pub compact: bool,
    /// The passkey in the query (HTTP), or in the URL data (UDP).
    pub passkey: Option<Key<'q>>,
    /// The client's claims about its address.
    pub claims: Claims<'q>,
}

/// The claims of a client about its address, not decoded; for trusted networks only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Claims<'q> {
    /// `ip=` (BEP 3).
    pub ip: Option<&'q [u8]>,
    /// `ipv4=` (BEP 7).
    pub ipv4: Option<&'q [u8]>,
    /// `ipv6=` (BEP 7).
    pub ipv6: Option<&'q [u8]>,
    /// The IP field of BEP 15; `None` when it is 0.
    pub udp: Option<Ipv4Addr>,
}

impl<'q> Asked<'q> {
    /// Reads the query of an announce, without the `?`. The only thing refused at once is a second
    /// infohash: what else is wrong comes after passkey and torrent, in [`Asked::client`].
    pub fn parse(query: &'q [u8], dialect: Dialect) -> Result<Self, Refusal<'static>> {
        let raw = RawAnnounce::read(query).map_err(|_| Refusal::MalformedAnnounce)?;
        let ocelot = dialect == Dialect::Ocelot;
        let port = raw.port();
        let counter = |value: Option<&[u8]>| value.and_then(number).unwrap_or(0).min(MOST);
        let left = match raw.left.and_then(number) {
            Some(left) if left <= MOST => left,
            Some(_) if ocelot => MOST,
            None if ocelot => 0,
            _ => u64::MAX,
        };
        let peer_id = match raw.peer_id {
            None => Err(Refusal::NoPeerId),
            Some(raw) => percent::decode_exact(raw).map(PeerId).ok_or(Refusal::InvalidPeerId),
        };
        let key = |key: &[u8]| peer_id.as_ref().map_or(0, |peer_id| client_key(&peer_id.0, key));
        Ok(Self {
            info_hash: raw.info_hash.and_then(percent::decode_exact).map(InfoHash),
            key: raw.key.map_or(0, key),
            peer_id,
            compact_refused: ocelot && raw.compact != Some(b"1"),
            port_refused: port.is_err(),
            port: port.ok().flatten().unwrap_or(0),
            counters: Counters {
                uploaded: counter(raw.uploaded),
                downloaded: counter(raw.downloaded),
                corrupt: counter(raw.corrupt),
            },
            left,
            event: raw.event.map(event).unwrap_or_default(),
            numwant: raw.numwant(),
            compact: raw.compact != Some(b"0"),
            passkey: raw.passkey.and_then(Key::new),
            claims: Claims { ip: raw.ip, ipv4: raw.ipv4, ipv6: raw.ipv6, udp: None },
        })
    }

    /// The announce of a datagram; `url_data` is that of its options, in one piece.
    ///
    /// Counters are signed here too: one with its highest bit set is negative, and so 0. What is left
    /// is unknown then (−1).
    pub fn of_udp(announce: &udp::Announce<'_>, url_data: &'q [u8]) -> Self {
        let counter = |value: u64| if value <= MOST { value } else { 0 };
        let left = if announce.left <= MOST { announce.left } else { u64::MAX };
        Self {
            info_hash: Some(announce.info_hash),
            peer_id: Ok(PeerId(announce.peer_id)),
            compact_refused: false,
            port_refused: false,
            key: lasting_key(&announce.peer_id, announce.key),
            port: announce.port,
            counters: Counters {
                uploaded: counter(announce.uploaded),
                downloaded: counter(announce.downloaded),
                corrupt: 0,
            },
            left,
            event: announce.event,
            numwant: announce.numwant,
            compact: true,
            passkey: url_data_key(url_data),
            claims: Claims {
                udp: Some(announce.ip).filter(|ip| !ip.is_unspecified()),
                ..Claims::default()
            },
        }
    }

    /// The passkey: that of the path, else that of the query or URL data.
    #[inline]
    pub fn passkey(&self, in_path: Option<Key<'_>>) -> Result<Passkey, Refusal<'static>> {
        passkey(in_path, self.passkey)
    }

    /// The peer id, if there is one.
    pub fn peer_id(&self) -> Option<PeerId> {
        self.peer_id.as_ref().ok().copied()
    }

    /// Which client this is, unless it cannot be answered, says no proper name, or is refused by the
    /// rules; in this order, which comes after passkey and torrent.
    #[inline]
    pub fn client(&self, rules: &ClientRules) -> Result<PeerId, Refusal<'static>> {
        if self.compact_refused {
            return Err(Refusal::NoCompact);
        }
        let peer_id = self.peer_id?;
        if self.port_refused {
            return Err(Refusal::InvalidPort);
        }
        if rules.allowed(&peer_id) { Ok(peer_id) } else { Err(Refusal::ClientRefused) }
    }

    /// The announce for the engine. `numwant` is already decided; see [`Numwant::peers`].
    #[inline]
    pub fn to_engine(
        &self,
        info_hash: InfoHash,
        peer_id: PeerId,
        user: User,
        located: &Located,
        numwant: u16,
        families: Families,
    ) -> Announce {
        Announce {
            info_hash,
            user,
            peer_id,
            key: self.key,
            endpoints: located.endpoints,
            assumed: located.assumed,
            counters: self.counters,
            left: self.left,
            event: self.event,
            numwant,
            families,
            // The core that owns the torrent decides how long to wait, and looks up what the user does elsewhere.
            interval: Seconds(0),
            downloads_full: false,
        }
    }
}

/// The passkey of an announce or scrape: what stands in the path goes first.
#[inline]
pub fn passkey(
    in_path: Option<Key<'_>>,
    in_query: Option<Key<'_>>,
) -> Result<Passkey, Refusal<'static>> {
    let key = in_path.or(in_query).ok_or(Refusal::MalformedAnnounce)?;
    Passkey::new(key.bytes()).map_err(|_| Refusal::PasskeyNotFound)
}

/// The largest number that is read: what a signed column of the database holds.
const MOST: u64 = i64::MAX.cast_unsigned();

#[cfg(test)]
mod tests;
