//! Messages of cores to each other, and of the control side to them.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use ops::lists::TorrentLists;
use ops::screening::Table;
use ops::screening::lookups::Said;
use ops::service::Service;
use persist::postgres::SaidAt;
use shard::private::{self, Change, Endpoints, Rules, User, UserId};
use shard::{Announce, Counts, InfoHash, Piece, Seconds};
use tokio::sync::oneshot;

use super::ask::Ask;
use super::edition::Edition;
use super::gather::GatherId;
use super::late::Late;
use super::succession::{Leaving, Step};
use super::told::Told;
use super::tracer::Tracer;
use crate::net::batch::Correspondent;
use crate::net::remote::Remote;
use crate::net::session::Session;
use crate::wire::http::Framing;
use crate::wire::ocelot::Update;
use crate::wire::private::ClientRules;
use crate::wire::udp::Transaction;

/// A message in a core's inbox.
pub enum Message {
    /// A UDP announce, on its way to the owner of its infohash, who answers it.
    Announce(UdpAnnounce),
    /// An HTTP connection with a parsed announce, on its way to the owner, who answers and keeps it.
    Connection(Box<Journey>),
    /// An HTTP connection that the process before has handed on.
    Taken(Box<Leaving>),
    /// Torrents of a scrape that the receiver owns.
    Count(Box<CountPart>),
    /// The answer to a [`Message::Count`].
    Counted(Box<CountedPart>),
    /// The site's word on torrents that the receiver owns, or nothing but whether it has heard what was said before.
    Site(Option<Box<Update>>, oneshot::Sender<Told>),
    /// A request of the API.
    Ask(Box<Ask>),
    /// It is known what became of records that the receiver sent to the journal.
    Journaled,
    /// From the control side.
    Command(Command),
}

/// A UDP announce that another core received.
#[derive(Clone, Copy, Debug)]
pub struct UdpAnnounce {
    /// The socket it came in on and leaves by: its place among the UDP addresses.
    pub port: usize,
    /// The client that asked, and at which address of ours.
    pub from: Correspondent,
    /// Echoed in the reply.
    pub transaction: Transaction,
    /// The request.
    pub asked: UdpAsked,
}

/// An announce over UDP.
#[derive(Clone, Copy, Debug)]
pub enum UdpAsked {
    /// By anybody, to an open tracker.
    Open(Announce),
    /// By a user, to a private one.
    User(shard::private::Announce),
}

impl UdpAsked {
    /// The address it came from.
    pub fn address(&self) -> IpAddr {
        match self {
            UdpAsked::Open(announce) => announce.address,
            UdpAsked::User(announce) => match announce.endpoints {
                Endpoints { v4: Some(at), .. } => at.address.into(),
                Endpoints { v6, .. } => v6.map_or(Ipv6Addr::UNSPECIFIED, |v6| v6.address).into(),
            },
        }
    }
}

/// A connection on its way to the core that owns the torrent it announced. Nothing waits to be sent.
pub struct Journey {
    /// The connection.
    pub connection: OwnedFd,
    /// Its TLS, where it has any.
    pub session: Option<Box<Session>>,
    /// Who is at the other end, and who asked.
    pub remote: Remote,
    /// Its request.
    pub request: HttpRequest,
    /// The bytes that the client has sent beyond this request.
    pub rest: Vec<u8>,
}

/// A request over HTTP that the owner of a torrent answers.
#[derive(Debug)]
pub struct HttpRequest {
    /// The request itself.
    pub asked: HttpAsked,
    /// The framing of the answer, with what becomes of the connection after it.
    pub framing: Framing,
}

/// A request over HTTP to the owner of a torrent.
#[derive(Debug)]
pub enum HttpAsked {
    /// An announce to an open tracker.
    Open(HttpAnnounce),
    /// A user's announce to a private tracker.
    User(PrivateAnnounce),
    /// The site's word about the torrent.
    Site(Box<Update>),
    /// The site's question about the torrent.
    Report(InfoHash),
}

/// An announce to an open tracker and how its answer is to look.
#[derive(Clone, Copy, Debug)]
pub struct HttpAnnounce {
    /// The request.
    pub announce: Announce,
    /// Peers as byte strings, not as a list.
    pub compact: bool,
    /// See [`crate::wire::query::comes_at_min_interval`].
    pub comes_at_min: bool,
}

/// An announce of a known user over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct PrivateAnnounce {
    /// The announce.
    pub announce: private::Announce,
    /// Where it came from.
    pub remote: IpAddr,
    /// Peers as byte strings, not as a list.
    pub compact: bool,
    /// It names an address that is none.
    pub illegal: bool,
    /// It was turned away before, and waits: that is counted, and said, once.
    pub waits: bool,
}

/// An export to the thread outside, in pieces of `P`.
pub enum Exported<P> {
    /// A part of a shard.
    Piece(P),
    /// All of a shard has been sent. Without it the export was broken off.
    End,
}

/// A part of a snapshot.
pub enum Part {
    /// Of an open tracker.
    Open(Piece),
    /// Of a private one.
    Private(private::Piece),
}

/// Swarms, and how many are in each.
pub type Census = Vec<(InfoHash, Counts)>;

/// A wish of the site at run time, by Ocelot's interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Another interval, in place of [`Policy::base`].
    Interval(Seconds),
    /// How far answers may be from it, in place of [`Policy::jitter`].
    Jitter(Seconds),
}

/// Torrents that one core asks another about.
pub struct CountPart {
    /// The core that asks.
    pub from: usize,
    /// The asker's scrape.
    pub id: GatherId,
    /// Where these torrents stand in it.
    pub positions: Vec<u16>,
    /// The torrents.
    pub hashes: Vec<InfoHash>,
}

/// The answer to a [`CountPart`].
pub struct CountedPart {
    /// The asker's scrape.
    pub id: GatherId,
    /// Where these torrents stand in it.
    pub positions: Vec<u16>,
    /// Their counts; `None` for torrents nobody announced.
    pub counts: Vec<Option<Counts>>,
}

/// Where the answer to a scrape goes when it had to be gathered.
#[derive(Clone, Debug)]
pub enum ReplyTo {
    /// Out of this UDP socket, with the transaction id.
    Udp(usize, Correspondent, Transaction),
    /// To the task that holds the connection.
    Http(Rc<Late<Vec<Option<Counts>>>>),
}

/// A torrent or a token as it was read in the database.
#[derive(Clone, Debug)]
pub struct SeenRow {
    /// As it is there.
    pub change: Change,
    /// Of a torrent: its snatches and its balance, for one that is not here.
    pub figures: Option<(u32, i64)>,
    /// When SQL said its columns.
    pub said_at: SaidAt,
    /// Records of the journal before this one are in it.
    pub position: u64,
}

/// A torrent or a token that is otherwise in the database.
#[derive(Clone, Debug)]
pub struct Differing {
    /// As it is there.
    pub change: Change,
    /// Of a torrent that is not here: its snatches and its balance.
    pub figures: Option<(u32, i64)>,
}

/// A command of the control side to a core.
#[derive(Clone)]
pub enum Command {
    /// Use these lists from now on.
    Lists(Arc<TorrentLists>),
    /// Serve by these rules about addresses from now on.
    Screening(Arc<Table>),
    /// Look-ups say this of countries.
    Countries(Arc<[Said]>),
    /// Serve a service from now on (true), or do so no longer.
    Switch(Service, bool),
    /// Show these certificates from now on.
    Certificates(Arc<rustls::ServerConfig>),
    /// Drop the swarms of these torrents, as far as this core owns them.
    Forget(Arc<Vec<InfoHash>>),
    /// Send the shard, piece by piece, for a snapshot. A core that drains sends it as fast as it can.
    Export(Sender<Exported<Part>>),
    /// Hand the journal all that there is to tell it, and say when that is on the disk (true) or was
    /// refused (false).
    HandOver(Sender<bool>),
    /// Send the counts of all swarms, piece by piece, for a full scrape.
    Census(Sender<Exported<Census>>),
    /// Answer full scrapes with this from now on.
    FullScrape(Arc<Edition>),
    /// A user has these rights from now on.
    Rights(User),
    /// A user may announce no longer; his peers are told to nobody.
    UserGone(UserId),
    /// The database's word on a torrent or a token.
    Seen(Arc<SeenRow>),
    /// Note from now on which torrents and tokens change, or no longer.
    WatchChanges(bool),
    /// Send the rules of all torrents and the tokens for them, piece by piece, to be compared with the
    /// database.
    Rules(Sender<Exported<Rules>>),
    /// The database's word on torrents and tokens that differ here. Those that have changed since
    /// [`Command::WatchChanges`] are newer here than there.
    Differing(Arc<Vec<Differing>>),
    /// Allow these clients from now on.
    ClientRules(Arc<ClientRules>),
    /// Answer such intervals from now on, as far as the operator allows.
    Interval(Wish),
    /// Tell this one of a user's announces.
    Trace(Arc<Tracer>),
    /// Write a user's announces into the log (true), or do so no longer.
    TraceIntoLog(UserId, bool),
    /// Another process takes over, or this one does.
    Succession(Step),
    /// Change nothing in the shard any more; refuse what would.
    Drain,
    /// End.
    Stop,
}
