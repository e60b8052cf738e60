//! What cores say to each other, and what the control side says to them.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::Sender;
use ops::lists::TorrentLists;
use shard::{Announce, Counts, InfoHash, Piece};

use super::export::{Census, Exported};
use super::late::Late;
use crate::full_scrape::Edition;
use crate::gather::GatherId;
use crate::net::batch::Correspondent;
use crate::wire::http::Framing;
use crate::wire::udp::Transaction;

/// A message in a core's inbox.
pub enum Message {
    /// A UDP announce, on its way to the owner of its infohash, who answers it.
    Announce(UdpAnnounce),
    /// An HTTP connection with a parsed announce, on its way to the owner, who answers and keeps it.
    Connection(Box<Journey>),
    /// Torrents of a scrape that the receiver owns.
    Count(Box<CountPart>),
    /// The answer to a [`Message::Count`].
    Counted(Box<CountedPart>),
    /// From the control side.
    Command(Command),
}

/// A UDP announce that another core received.
#[derive(Clone, Copy, Debug)]
pub struct UdpAnnounce {
    /// The socket it came in on and leaves by: its place among the UDP addresses.
    pub port: usize,
    /// Who asked, and at which address of ours.
    pub from: Correspondent,
    /// Echoed in the reply.
    pub transaction: Transaction,
    /// The request.
    pub announce: Announce,
}

/// A connection on its way to the core that owns the torrent it announced. Nothing waits to be sent.
pub struct Journey {
    /// The connection.
    pub connection: OwnedFd,
    /// Whose it is.
    pub remote: SocketAddr,
    /// The announce.
    pub request: HttpAnnounce,
    /// What the client has sent beyond this request.
    pub rest: Vec<u8>,
}

/// An announce over HTTP and how its answer is to look.
#[derive(Clone, Copy, Debug)]
pub struct HttpAnnounce {
    /// The request.
    pub announce: Announce,
    /// What becomes of the connection after the answer.
    pub framing: Framing,
    /// Peers as byte strings, not as a list.
    pub compact: bool,
}

/// Torrents that one core asks another about.
pub struct CountPart {
    /// Who asks.
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

/// What the control side asks of a core.
#[derive(Clone)]
pub enum Command {
    /// Use these lists from now on.
    Lists(Arc<TorrentLists>),
    /// Drop the swarms of these torrents, as far as this core owns them.
    Forget(Arc<Vec<InfoHash>>),
    /// Send the shard, piece by piece, for a snapshot. A core that drains sends it as fast as it can.
    Export(Sender<Exported<Piece>>),
    /// Send the counts of all swarms, piece by piece, for a full scrape.
    Census(Sender<Exported<Census>>),
    /// Answer full scrapes with this from now on.
    FullScrape(Arc<Edition>),
    /// Change nothing in the shard any more; refuse what would.
    Drain,
    /// End.
    Stop,
}
