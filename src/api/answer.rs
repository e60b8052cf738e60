//! What the API answers: what has become of an operation, and what is known, as JSON.

use persist::ledger::client_name;
use persist::postgres::Credited;
use serde_json::{Value, json};
use shard::private::{
    ClientPrefix, Freeleech, GroupId, HeldToken, PeerRecord, Presence, Terms, TorrentId, UserId,
};
use shard::{Counts, InfoHash, PeerState, Seconds};

use super::text::{escaped, hex};
use crate::private::torrents::numbers::Beginning;
use crate::private::users::accounts::Known;
use crate::private::users::groups::Group;

/// What has become of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// The user is like this now.
    User(Known),
    /// The group is like this now.
    Group(GroupId, Group),
    /// The torrent is like this now.
    Torrent(TorrentState),
    /// The torrent of an open tracker is like this now.
    OpenTorrent(OpenTorrent),
    /// The torrent of an open tracker is withdrawn.
    Withdrawn {
        /// It was served until now, or would have been but for the deny-list.
        was_served: bool,
        /// Until when that is known.
        until: Seconds,
    },
    /// There is this token now.
    Token(HeldToken),
    /// There is this rule now.
    ClientRule {
        /// Which clients.
        prefix: ClientPrefix,
        /// Allowed or refused.
        allow: bool,
    },
    /// It is not there now; whether it was.
    Removed(bool),
}

/// A torrent, and how it is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TorrentState {
    /// Its name.
    pub info_hash: InfoHash,
    /// Its second name, where it is a hybrid.
    pub info_hash_v2: Option<InfoHash>,
    /// Its rules.
    pub terms: Terms,
    /// Who is on it, and how often it was completed.
    pub counts: Counts,
    /// Bytes uploaded less bytes downloaded and corrupt.
    pub balance: i64,
}

/// A torrent of an open tracker, and how it is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenTorrent {
    /// Its infohash.
    pub info_hash: InfoHash,
    /// What it is called, where the API was told.
    pub name: Option<Box<str>>,
    /// Whether it is served.
    pub state: OpenState,
    /// Of one that the API withdrew: what its clients are told, and until when that is known.
    pub withdrawn: Option<(Box<str>, Seconds)>,
    /// Who is on it, and how often it was completed.
    pub counts: Counts,
}

/// Whether an open tracker serves a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenState {
    /// It does.
    Served,
    /// The deny-list names it.
    Denied,
    /// The API has withdrawn it.
    Withdrawn,
    /// Only named torrents are served, and nobody names it.
    Unlisted,
}

impl OpenState {
    /// As it stands in JSON.
    pub fn label(self) -> &'static str {
        match self {
            OpenState::Served => "served",
            OpenState::Denied => "denied",
            OpenState::Withdrawn => "withdrawn",
            OpenState::Unlisted => "unlisted",
        }
    }
}

/// Why a request is not answered as it was meant. Shows itself as the client is told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Failure {
    /// What was sent is not what it should be.
    #[error("{0}")]
    BadRequest(String),
    /// There is no token in the request, or none that is good.
    #[error("{0}")]
    Unauthorized(String),
    /// There is no such page.
    #[error("there is no {0}; GET /api/v1/openapi.json describes what there is")]
    NoPage(String),
    /// The page does not know the method.
    #[error("{0} does not know this method")]
    Method(String),
    /// The tracker is not private.
    #[error(
        "this tracker is not private: it has no users, groups, tokens and client rules, no numbers and rules of torrents, \
         and does not say who is on them"
    )]
    NotPrivate,
    /// An open tracker knows no hybrids.
    #[error(
        "on an open tracker the infohashes of a hybrid are torrents of their own; put each of them, without info_hash_v2"
    )]
    OpenHybrid,
    /// Of an open tracker: the torrent is not known.
    #[error("torrent {} is not known: nobody named it, and nobody announced it", hex(.0))]
    NeverNamed(InfoHash),
    /// No such user.
    #[error("user {} is not known; put it with its passkey", .0.0)]
    UserUnknown(UserId),
    /// The user is known already, and was to be a new one.
    #[error("user {} is known already, and nothing was changed", .0.0)]
    UserKnown(UserId),
    /// No such group.
    #[error("group {} is not known; put it first", .0.0)]
    GroupUnknown(GroupId),
    /// The name is another group's.
    #[error("this name is that of group {}", .0.0)]
    GroupNameTaken(GroupId),
    /// No torrent has this number.
    #[error("no registered torrent has number {}", .0.0)]
    NumberUnknown(TorrentId),
    /// The torrent is not registered.
    #[error("torrent {} is not registered", hex(.0))]
    TorrentUnknown(InfoHash),
    /// The passkey is another user's, or was and is good still.
    #[error("this passkey is that of user {}, or his former one that is good still", .0.0)]
    PasskeyTaken(UserId),
    /// The torrent has another number.
    #[error("the torrent is registered as number {}; remove it first", .0.0)]
    TorrentNumber(TorrentId),
    /// The number is another torrent's, whose infohash begins like this.
    #[error("number {} is that of torrent {}; remove that one first", .0.0, .1)]
    NumberTaken(TorrentId, Beginning),
    /// There is no number left to give.
    #[error("no number is free above the highest one; say one")]
    NoNumber,
    /// The infohash is a name of another torrent, which has this first one.
    #[error("infohash {} is a name of torrent {}; remove that one first, or put both names into one", hex(.0), hex(.1))]
    NameTaken(InfoHash, InfoHash),
    /// No such service, or nobody listens for it.
    #[error("the tracker does not listen for {0:?}; GET /api/v1/services lists what it does")]
    ServiceUnknown(String),
    /// The body is too long.
    #[error("the body is longer than {0} bytes; send it in parts")]
    TooLarge(usize),
    /// No more torrents fit.
    #[error("the tracker holds as many torrents as it may; raise torrents-max")]
    Full,
    /// A file of the data folder takes nothing: that of an open tracker's torrents, or that of numbers.
    #[error("cannot write to the data folder ({0}), and nothing was changed; ask again later")]
    NotWritten(String),
    /// The journal takes nothing, and much waits for it already.
    #[error("the journal takes nothing now, and nothing was changed; ask again later")]
    JournalFull,
    /// Done, and not yet on the disk.
    #[error(
        "done, but the journal could not write it yet: it goes on trying; ask again to be sure"
    )]
    NotOnDisk,
    /// Nobody has answered in time.
    #[error("no answer came in time; it may have been done all the same: ask again to be sure")]
    Late,
    /// Too many of these at once.
    #[error("there are as many of these requests as may be; ask again later")]
    Busy,
    /// The tracker is starting or stopping.
    #[error("the tracker is {0}; ask again soon")]
    Unavailable(&'static str),
}

impl Failure {
    /// A wrong request, and what is wrong with it.
    pub fn bad(text: impl Into<String>) -> Self {
        Failure::BadRequest(text.into())
    }

    /// The status of the answer (RFC 9110, section 15), and the failure's name in it.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            Failure::BadRequest(_) => (400, "bad_request"),
            Failure::Unauthorized(_) => (401, "unauthorized"),
            Failure::NoPage(_) => (404, "no_such_page"),
            Failure::Method(_) => (405, "method_not_allowed"),
            Failure::NotPrivate => (404, "not_private"),
            Failure::OpenHybrid => (400, "open_hybrid"),
            Failure::UserUnknown(_) => (404, "user_unknown"),
            Failure::GroupUnknown(_) => (404, "group_unknown"),
            Failure::GroupNameTaken(_) => (409, "group_name_taken"),
            Failure::TorrentUnknown(_) | Failure::NeverNamed(_) | Failure::NumberUnknown(_) => {
                (404, "torrent_unknown")
            }
            Failure::UserKnown(_) => (409, "user_known"),
            Failure::PasskeyTaken(_) => (409, "passkey_taken"),
            Failure::TorrentNumber(_) => (409, "torrent_number"),
            Failure::NumberTaken(..) | Failure::NoNumber => (409, "number_taken"),
            Failure::NameTaken(..) => (409, "name_taken"),
            Failure::ServiceUnknown(_) => (404, "service_unknown"),
            Failure::TooLarge(_) => (413, "too_large"),
            Failure::Full => (507, "full"),
            Failure::NotWritten(_) => (503, "not_written"),
            Failure::JournalFull => (503, "journal_full"),
            Failure::NotOnDisk => (503, "not_on_disk"),
            Failure::Late => (503, "late"),
            Failure::Busy => (503, "busy"),
            Failure::Unavailable(_) => (503, "unavailable"),
        }
    }

    /// `{"error": …}`.
    pub fn json(&self) -> Value {
        json!({"error": {"code": self.status().1, "message": self.to_string()}})
    }
}

impl Done {
    /// The thing as it is now; of one that is gone, whether it was there.
    pub fn json(&self) -> Value {
        match self {
            Done::User(known) => user(known, None),
            Done::Group(id, group) => self::group(*id, group),
            Done::Torrent(state) => torrent(state),
            Done::OpenTorrent(torrent) => open_torrent(torrent),
            Done::Withdrawn { was_served, until } => {
                json!({"removed": was_served, "withdrawn_until": until.0})
            }
            Done::Token(held) => token(held),
            Done::ClientRule { prefix, allow } => client_rule(prefix, *allow),
            Done::Removed(was_there) => json!({"removed": was_there}),
        }
    }
}

/// A user, as [`Known::at`] the moment of the answer; `credited` where it was looked up.
pub fn user(known: &Known, credited: Option<&Credited>) -> Value {
    json!({
        "id": known.user.id.0,
        "passkey": known.passkey.reveal(),
        "can_leech": known.user.can_leech,
        "hidden": known.user.hidden,
        "enabled": known.enabled,
        "group": known.user.group.map(|group| group.0),
        "former_until": known.former_until.map(|until| until.0),
        "seeding": known.active.seeding,
        "leeching": known.active.leeching,
        "credited": credited.map(|credited| json!({
            "uploaded": credited.uploaded, "downloaded": credited.downloaded,
        })),
    })
}

/// A group of users.
pub fn group(id: GroupId, group: &Group) -> Value {
    json!({"id": id.0, "name": group.name.as_deref(), "downloads_max": group.downloads_max})
}

/// A token.
pub fn token(token: &HeldToken) -> Value {
    json!({
        "user": token.user.0,
        "info_hash": hex(&token.info_hash),
        "torrent": token.torrent.0,
        "expires_at": token.expires_at.map(|at| at.0),
    })
}

/// A torrent.
pub fn torrent(state: &TorrentState) -> Value {
    let TorrentState { info_hash, info_hash_v2, terms, counts, balance } = state;
    json!({
        "info_hash": hex(info_hash),
        "info_hash_v2": info_hash_v2.as_ref().map(hex),
        "id": terms.id.0,
        "freeleech": freeleech(terms.freeleech),
        "upload_percent": terms.upload_percent,
        "seeders": counts.seeders,
        "leechers": counts.leechers,
        "partial_seeds": counts.partial_seeds,
        "snatches": counts.snatches,
        "balance": balance,
    })
}

/// A torrent of an open tracker.
pub fn open_torrent(torrent: &OpenTorrent) -> Value {
    let OpenTorrent { info_hash, name, state, withdrawn, counts } = torrent;
    let (reason, until) = withdrawn.as_ref().map(|(reason, until)| (reason, until.0)).unzip();
    json!({
        "info_hash": hex(info_hash),
        "name": name.as_deref(),
        "state": state.label(),
        "reason": reason.map(|reason| &**reason),
        "withdrawn_until": until,
        "seeders": counts.seeders,
        "leechers": counts.leechers,
        "partial_seeds": counts.partial_seeds,
        "snatches": counts.snatches,
    })
}

/// A client rule.
pub fn client_rule(prefix: &ClientPrefix, allow: bool) -> Value {
    json!({"prefix": escaped(prefix.bytes()), "allow": allow})
}

/// A client on a torrent. Where a hidden user is, is told to nobody.
pub fn peer(peer: &PeerRecord) -> Value {
    let endpoints = Some(peer.endpoints).filter(|_| !peer.hidden);
    json!({
        "user": peer.user.0,
        "peer_id": escaped(&peer.peer_id.0),
        "client": client_name(&peer.peer_id.0),
        "state": match peer.state {
            PeerState::Seeder => "seeder",
            PeerState::PartialSeed => "partial_seed",
            PeerState::Leecher => "leecher",
        },
        "address_v4": endpoints.and_then(|endpoints| endpoints.address_v4()),
        "address_v6": endpoints.and_then(|endpoints| endpoints.address_v6()),
        "port": endpoints.and_then(|endpoints| endpoints.port()),
        "port_v6": endpoints.and_then(|endpoints| endpoints.port_v6()),
        "uploaded": peer.reported.uploaded,
        "downloaded": peer.reported.downloaded,
        "corrupt": peer.reported.corrupt,
        "left": left(peer.left),
        "visible": peer.visible,
        "announces": peer.announces,
        "first_seen": peer.since.0,
        "last_seen": peer.seen.0,
    })
}

/// A client of a user, with the torrent that it is on.
pub fn presence(presence: &Presence) -> Value {
    let mut value = peer(&presence.peer);
    value["info_hash"] = hex(&presence.info_hash).into();
    value["torrent"] = presence.torrent.0.into();
    value
}

/// Bytes left; nothing where the client did not say.
pub(super) fn left(left: u64) -> Option<u64> {
    (left != u64::MAX).then_some(left)
}

/// Which transfers of a torrent count.
pub fn freeleech(freeleech: Freeleech) -> &'static str {
    match freeleech {
        Freeleech::None => "none",
        Freeleech::Free => "free",
        Freeleech::Neutral => "neutral",
    }
}
