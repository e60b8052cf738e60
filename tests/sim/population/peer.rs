//! One client of the population: what it says when, by what was measured of its kind.

use std::net::Ipv4Addr;

use shard::Event;
use shard::private::Counters;

use crate::clients::{Class, Kind, Protocol};
use crate::tracker::Said;

/// How far it is with its torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// It knows the infohash alone.
    Magnet,
    Leeching,
    Seeding,
}

/// How a session ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The user takes the torrent out.
    Removed,
    /// SIGTERM, which is how the system ends programs.
    Terminated,
    /// Nobody is asked.
    Crashed,
}

/// A download that a client makes, and what the tracker could know of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Download {
    pub finished: bool,
    /// In which session and at which port it has last said that something was left.
    pub more: Option<(u32, u16)>,
    /// It was heard to say, after that and in the same session, that nothing is left.
    pub said: bool,
    /// The same in a later session, at the same port.
    pub said_later: bool,
    /// How often the engine has counted it.
    pub counted: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub class: Class,
    /// Its place in [`crate::clients::Mix::classes`].
    pub number: usize,
    pub refused: bool,
    pub torrent: u32,
    pub user: u32,
    pub address: Ipv4Addr,
    pub port: u16,
    pub peer_id: [u8; 20],
    pub key: u32,
    pub stage: Stage,
    pub download: Option<Download>,
    /// Since when it runs; `None` while it does not.
    pub since: Option<u32>,
    /// Counts its starts.
    pub session: u32,
    /// Counts its announces: one that was planned before the last one is not made.
    pub turn: u32,
    /// What it will say with its next announce.
    pub event: Event,
    /// Failed announces in a row.
    pub failures: u32,
    /// It was told of somebody since it started.
    pub connected: bool,
    /// It has not been answered since it started.
    pub unheard: bool,
    /// It checks what is on the disk, and says meanwhile that it has nothing.
    pub checking: bool,
    /// In which session its download ended.
    pub finished_in: u32,
}

impl Peer {
    /// Starts the program: a new peer id, and for some a new port.
    pub(crate) fn start(&mut self, now: u32, random: &mut fastrand::Rng) {
        self.since = Some(now);
        self.session += 1;
        self.turn += 1;
        self.failures = 0;
        self.connected = false;
        self.unheard = true;
        self.event = Event::Started;
        self.peer_id = std::array::from_fn(|_| random.u8(..));
        self.key = random.u32(1..);
        if self.session == 1
            || matches!(self.kind(), Kind::Aria2 | Kind::Rtorrent | Kind::Webtorrent)
        {
            self.port = random.u16(6881..=6999);
        }
        self.checking = self.kind() == Kind::Ctorrent && self.stage == Stage::Seeding;
    }

    pub(crate) fn kind(&self) -> Kind {
        self.class.kind
    }

    /// The announce that it makes now.
    pub(crate) fn says(&self, event: Event, random: &mut fastrand::Rng) -> Said {
        let over_udp = self.class.protocol == Protocol::Udp;
        let left = match (self.stage, self.kind()) {
            // Both figures of a WebTorrent that stops are as if it knew nothing.
            (_, Kind::Webtorrent) if event == Event::Stopped => UNKNOWN,
            (Stage::Magnet, Kind::Aria2 | Kind::Librqbit) => 0,
            (Stage::Magnet, Kind::Webtorrent) if over_udp => 0,
            (Stage::Magnet, Kind::Transmission) => i64::MAX as u64,
            (Stage::Magnet, Kind::Rtorrent) => 1,
            (Stage::Magnet, _) => UNKNOWN,
            (Stage::Leeching, _) => SIZE,
            (Stage::Seeding, _) if self.checking => SIZE,
            (Stage::Seeding, _) => 0,
        };
        let event = match (self.kind(), self.class.protocol) {
            (Kind::Librqbit, _) if event == Event::Stopped => event,
            // Over UDP it knows one event, and says it as long as nothing is left.
            (Kind::Librqbit, Protocol::Udp) if left == 0 && self.stage != Stage::Magnet => {
                Event::Completed
            }
            (Kind::Librqbit, Protocol::Udp) => Event::None,
            (Kind::Librqbit, Protocol::Http) if event == Event::Completed => Event::None,
            _ => event,
        };
        let downloaded = match (self.kind(), self.download) {
            (Kind::Webtorrent, _) if event == Event::Stopped => 0,
            // These say what they have, whoever they got it from.
            (Kind::Webtorrent | Kind::Librqbit, _) if self.stage == Stage::Seeding => SIZE,
            (_, Some(Download { finished: true, .. })) if self.finished_in == self.session => SIZE,
            _ => 0,
        };
        let key = match self.kind() {
            Kind::Aria2 if over_udp => random.u32(..),
            Kind::Webtorrent => 0,
            _ => self.key,
        };
        Said {
            torrent: self.torrent,
            refused: self.refused,
            protocol: self.class.protocol,
            user: self.user,
            address: self.address,
            port: self.port,
            peer_id: self.peer_id,
            key,
            counters: Counters { uploaded: 0, downloaded, corrupt: 0 },
            left,
            event,
        }
    }

    /// Whether it announces at once that its download is complete. rTorrent does with its next regular
    /// announce, librqbit not by itself.
    pub(crate) fn completes_at_once(&self) -> bool {
        !matches!(self.kind(), Kind::Rtorrent | Kind::Librqbit)
    }

    /// Whether it says `stopped`. libtorrent over UDP is taken for qBittorrent, which does at its end; a
    /// plain session does not.
    pub(crate) fn says_stopped(&self, end: End) -> bool {
        match (end, self.kind(), self.class.protocol) {
            (End::Crashed, ..) | (_, Kind::Librqbit, _) => false,
            (_, Kind::Rtorrent, Protocol::Udp) => false,
            (End::Removed, ..) => true,
            (End::Terminated, Kind::Aria2, _) => false,
            (End::Terminated, Kind::Transmission, Protocol::Http) => false,
            (End::Terminated, ..) => true,
        }
    }

    /// Whether it asks after two minutes whatever it is told: aria2 does as long as it downloads and has
    /// no connection.
    pub(crate) fn is_impatient(&self) -> bool {
        self.kind() == Kind::Aria2 && self.stage != Stage::Seeding && !self.connected
    }
}

/// A download has so many bytes.
const SIZE: u64 = 1 << 30;

/// Said by some of a torrent that they know nothing of.
const UNKNOWN: u64 = 16_384;
