//! What the site did.

use super::{Freeleech, GroupId, Passkey, TorrentId, UserId};
use crate::{InfoHash, Seconds};

/// The first bytes of peer ids, at most 20: what tells one client program from another (BEP 20).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientPrefix(Vec<u8>);

impl ClientPrefix {
    /// The prefix of these bytes; `None` when there are none, or more than a peer id has.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        (1..=20).contains(&bytes.len()).then(|| Self(bytes.to_vec()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One change to users, their former passkeys, groups, torrents, tokens or client rules. Each says what is true from now on, in whole:
/// applying one twice is applying it once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A user is there, with these rights. Another passkey than before replaces the old one; uploads
    /// and downloads credited so far stay.
    User {
        /// Who.
        id: UserId,
        /// The secret of the announce URL.
        passkey: Passkey,
        /// See [`super::User::can_leech`].
        can_leech: bool,
        /// See [`super::User::hidden`].
        hidden: bool,
        /// May announce at all.
        enabled: bool,
        /// See [`super::User::group`]. `None` when he is in none, and when that is not known: a row of
        /// the database keeps the group it has.
        group: Option<GroupId>,
    },
    /// The passkey that a user had before is good beside his own until a moment. He has one such at most.
    Former {
        /// Who.
        user: UserId,
        /// The passkey before his own.
        passkey: Passkey,
        /// From this moment on it is good no longer.
        good_until: Seconds,
    },
    /// A user has no such passkey any more.
    FormerRemoved {
        /// Who.
        user: UserId,
    },
    /// There is a group of users, with this bound.
    Group {
        /// Its number at the site.
        id: GroupId,
        /// What it is called, for people.
        name: String,
        /// Downloads that each of its users may have at once; `None` for any number.
        downloads_max: Option<u32>,
    },
    /// There is no such group any more; its users are in none.
    GroupRemoved {
        /// Its number at the site.
        id: GroupId,
    },
    /// A torrent is registered, with these rules. Balance and snatches so far stay.
    Torrent {
        /// Its number at the site.
        id: TorrentId,
        /// Its name.
        info_hash: InfoHash,
        /// Its second name, where it is a hybrid (BEP 52): the first 20 bytes of its SHA-256.
        info_hash_v2: Option<InfoHash>,
        /// See [`super::Terms::freeleech`].
        freeleech: Freeleech,
        /// See [`super::Terms::upload_percent`].
        upload_percent: u16,
    },
    /// A torrent is no longer registered.
    TorrentRemoved {
        /// Its number at the site.
        id: TorrentId,
        /// Its name.
        info_hash: InfoHash,
        /// What its clients are told, for a day; nothing more than that it is not registered when empty.
        reason: String,
        /// When.
        at: Seconds,
    },
    /// What a user downloads of a torrent is free, until he has it.
    Token {
        /// Who.
        user: UserId,
        /// What.
        torrent: TorrentId,
        /// Its name.
        info_hash: InfoHash,
        /// When it ends by itself.
        expires_at: Option<Seconds>,
    },
    /// A token is over.
    TokenRemoved {
        /// Who.
        user: UserId,
        /// What.
        torrent: TorrentId,
        /// Its name.
        info_hash: InfoHash,
    },
    /// Clients whose peer id begins like this are allowed, or refused. The longest prefix decides; where
    /// any prefix is allowed, others are refused.
    ClientRule {
        /// Which clients.
        prefix: ClientPrefix,
        /// Allowed or refused.
        allow: bool,
    },
    /// There is no rule for these clients any more.
    ClientRuleRemoved {
        /// Which clients.
        prefix: ClientPrefix,
    },
}

impl Change {
    /// The torrent that this is about, if it is about one: the core that owns it is the one to apply it.
    pub fn info_hash(&self) -> Option<&InfoHash> {
        match self {
            Change::Torrent { info_hash, .. }
            | Change::TorrentRemoved { info_hash, .. }
            | Change::Token { info_hash, .. }
            | Change::TokenRemoved { info_hash, .. } => Some(info_hash),
            Change::User { .. }
            | Change::Former { .. }
            | Change::FormerRemoved { .. }
            | Change::Group { .. }
            | Change::GroupRemoved { .. }
            | Change::ClientRule { .. }
            | Change::ClientRuleRemoved { .. } => None,
        }
    }
}
