//! Requests over HTTP (BEP 3), run to completion.
//!
//! The kernel holds a new connection back until its request is there (`TCP_DEFER_ACCEPT`), so nearly
//! every one is accepted, read, answered and closed in one go: no task, no timer, no waiting. Only a
//! connection that lasts gets a task of its own (see [`super::conversation`]).
//!
//! When another core owns the torrent, the connection travels there with the parsed request, and
//! stays there.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::net::TcpStream;
use ops::counters::{Protocol, Reason};
use shard::{Announce, Counts, Families, InfoHash, Scope, Seconds};

use super::conversation;
use super::late::Late;
use super::moderation::{self, Moderation};
use crate::core::message::{Message, ReplyTo};
use crate::core::{Core, Refused, Scraped, SharedCore, family};
use crate::net::batch::BATCH_MAX;
use crate::net::stream;
use crate::wire::http::{
    Announced, Failure, Framing, Head, Malformed, Parsed, Persistence, Retry, Target, parse_head,
    write_announce, write_failure, write_not_found, write_root, write_scrape,
};
use crate::wire::query;

/// Connections accepted before other tasks get their turn.
const ACCEPTS_PER_TURN: usize = BATCH_MAX;

/// Bytes read at a time; a request with room to spare.
pub const READ_BYTES: usize = 4096;

/// When a client that was refused for a passing reason should come back.
const RETRY_SOON: Seconds = Seconds(60);

/// How often a torrent may be scraped, as scrape replies say it.
const SCRAPE_INTERVAL: Seconds = Seconds(900);

/// A connection on its way to the core that owns the torrent it announced.
pub struct Journey {
    connection: OwnedFd,
    remote: SocketAddr,
    request: AnnounceRequest,
    /// What the client has sent beyond this request.
    rest: Vec<u8>,
}

/// An announce and how its answer is to look.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceRequest {
    announce: Announce,
    framing: Framing,
    compact: bool,
}

/// A connection, and who holds it.
pub enum Held {
    /// Accepted or arrived just now.
    Fresh(OwnedFd),
    /// Already known to the executor, which can wait for it.
    Adopted(TcpStream),
}

/// What a connection needs next.
pub enum Next {
    /// Its first request, of which nothing is there yet.
    Begin,
    /// More of the request, or the next one.
    Read,
    /// To go to the core that owns the torrent.
    Travel(usize, AnnounceRequest),
    /// The parts of a scrape that other cores own.
    Gather(Rc<Late<Vec<Option<Counts>>>>, Vec<InfoHash>, Framing),
    /// Nothing; it is over.
    Close,
    /// To be closed when the client has what was said to it: it may still be sending.
    Linger,
}

/// Accepts connections for as long as the core lives.
pub async fn accept(core: SharedCore, listener: TcpListener) {
    // The executor does not give its descriptor away, and draining the backlog needs one.
    let waiting = match listener.try_clone() {
        Ok(copy) => stream::adopt_listener(copy),
        Err(error) => return tracing::error!(%error, "cannot copy a listener; it is not served"),
    };
    let mut moderation = Moderation::default();
    let mut looked = Instant::now();
    loop {
        let accepted = match accept_some(&core, &listener) {
            Ok(accepted) => accepted,
            Err(error) => {
                out_of_descriptors(&error).await;
                continue;
            }
        };
        let now = Instant::now();
        let pause = moderation.pause(accepted, now - looked);
        looked = now;
        match pause {
            Some(pause) => moderation::rest(pause, looked).await,
            None if accepted == ACCEPTS_PER_TURN => glommio::executor().yield_now().await,
            None => match waiting.accept().await {
                Ok(connection) => {
                    if let Ok(remote) = connection.peer_addr() {
                        begin(&core, Held::Adopted(connection), remote);
                    }
                }
                Err(error) => out_of_descriptors(&error.into()).await,
            },
        }
    }
}

fn accept_some(core: &SharedCore, listener: &TcpListener) -> std::io::Result<usize> {
    for accepted in 0..ACCEPTS_PER_TURN {
        match stream::accept(stream::borrow(listener))? {
            Some((connection, remote)) => begin(core, Held::Fresh(connection.into()), remote),
            None => return Ok(accepted),
        }
    }
    Ok(ACCEPTS_PER_TURN)
}

/// Connections wait in the kernel meanwhile; those that end free descriptors.
async fn out_of_descriptors(error: &std::io::Error) {
    tracing::error!(%error, "cannot accept connections (out of file descriptors?); trying again");
    glommio::timer::sleep(Duration::from_millis(500)).await;
}

/// A new connection: reads what is there and answers it.
fn begin(core: &SharedCore, connection: Held, remote: SocketAddr) {
    let mut input = [0; READ_BYTES];
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    core.borrow_mut().counters.front(Protocol::Http, family(remote.ip())).connections += 1;
    match stream::receive(connection.descriptor(), &mut input) {
        Ok(Some(0)) | Err(_) => {}
        Ok(Some(received)) => go_on(core, connection, remote, &input[..received]),
        Ok(None) => conversation::begin(core, connection, remote, Vec::new(), &[], Next::Begin),
    }
}

/// A connection that another core sent: answers its request and keeps it.
pub fn arrive(core: &SharedCore, journey: Journey) {
    let Journey { connection, remote, request, rest } = journey;
    let mut out = Vec::new();
    {
        let core = &mut *core.borrow_mut();
        let now = core.clock.now();
        core.answer_http_announce(&request, now, &mut out);
        core.note_reply(remote.ip());
    }
    let connection = Held::Fresh(connection);
    let next = match (request.framing.persistence, &rest[..]) {
        (Persistence::Close, []) => Next::Close,
        (Persistence::Close, _) => Next::Linger,
        (_, []) => Next::Read,
        _ => {
            let (consumed, next) = core.borrow_mut().converse(remote, &rest, 0, &mut out);
            return settle(core, connection, remote, &out, &rest[consumed..], next);
        }
    };
    settle(core, connection, remote, &out, &rest, next);
}

fn go_on(core: &SharedCore, connection: Held, remote: SocketAddr, input: &[u8]) {
    let (mut out, consumed, next) = {
        let core = &mut *core.borrow_mut();
        let mut out = std::mem::take(&mut core.http_out);
        out.clear();
        let (consumed, next) = core.converse(remote, input, 0, &mut out);
        (out, consumed, next)
    };
    settle(core, connection, remote, &out, &input[consumed..], next);
    out.clear();
    core.borrow_mut().http_out = out;
}

/// Sends `out` as far as it goes and brings the connection to whatever is `next`; `rest` is input
/// that has not been looked at.
fn settle(
    core: &SharedCore,
    connection: Held,
    remote: SocketAddr,
    out: &[u8],
    rest: &[u8],
    next: Next,
) {
    // Unread input turns the end into a reset, which would take bytes that are held back with it.
    let last = matches!(next, Next::Close) && rest.is_empty();
    let sent = match out {
        [] => Ok(None),
        _ if last => stream::send_last(connection.descriptor(), out),
        _ => stream::send(connection.descriptor(), out),
    };
    let Ok(sent) = sent else { return };
    let sent = sent.unwrap_or(0);
    core.borrow_mut().note_sent(remote.ip(), sent);
    let unsent = &out[sent..];
    match next {
        Next::Close if unsent.is_empty() => {}
        Next::Travel(owner, request) if unsent.is_empty() => {
            if let Ok(connection) = connection.into_descriptor() {
                travel(core, owner, Journey { connection, remote, request, rest: rest.to_vec() });
            }
        }
        next => conversation::begin(core, connection, remote, unsent.to_vec(), rest, next),
    }
}

/// Sends a connection to `owner`; when that core has no room, the client is asked to come back.
pub fn travel(core: &SharedCore, owner: usize, journey: Journey) {
    let core = &mut *core.borrow_mut();
    core.counters.http_hops += 1;
    if let Err(Message::Connection(journey)) =
        core.send(owner, Message::Connection(Box::new(journey)))
    {
        let mut out = Vec::new();
        let framing = journey.request.framing.closing();
        core.refuse_http(journey.remote.ip(), framing, Refused::Overload, &mut out);
        let front = core.counters.front(Protocol::Http, family(journey.remote.ip()));
        front.refuse(Reason::Overload);
        core.note_reply(journey.remote.ip());
        // It fits the socket's empty buffer, and there is nobody to tell if not.
        let sent = stream::send(stream::borrow(&journey.connection), &out);
        core.note_sent(journey.remote.ip(), sent.ok().flatten().unwrap_or(0));
    }
}

impl Journey {
    /// A connection whose buffers are empty but for `rest`.
    pub fn new(
        connection: OwnedFd,
        remote: SocketAddr,
        request: AnnounceRequest,
        rest: Vec<u8>,
    ) -> Self {
        Self { connection, remote, request, rest }
    }
}

impl Held {
    /// The connection, for calls that do not wait.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Held::Fresh(connection) => stream::borrow(connection),
            Held::Adopted(connection) => stream::borrow(connection),
        }
    }

    /// The connection as something to wait for.
    pub fn into_stream(self) -> TcpStream {
        match self {
            Held::Fresh(connection) => stream::adopt(connection),
            Held::Adopted(connection) => connection,
        }
    }

    /// The connection as something to send to another core. The executor does not give its own
    /// descriptor away, so one that it knows is duplicated.
    pub fn into_descriptor(self) -> std::io::Result<OwnedFd> {
        match self {
            Held::Fresh(connection) => Ok(connection),
            Held::Adopted(connection) => stream::borrow(&connection).try_clone_to_owned(),
        }
    }
}

impl AsRawFd for Held {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.descriptor().as_raw_fd()
    }
}

impl Core {
    /// Answers every complete request of `input` that can be answered here; how many bytes that took,
    /// and what the connection needs next. `seen` bytes were looked at before in vain.
    pub fn converse(
        &mut self,
        remote: SocketAddr,
        input: &[u8],
        mut seen: usize,
        out: &mut Vec<u8>,
    ) -> (usize, Next) {
        let now = self.clock.now();
        let mut consumed = 0;
        loop {
            let (head, taken) = match parse_head(&input[consumed..], seen) {
                Ok(Parsed::Partial) => return (consumed, Next::Read),
                Ok(Parsed::Complete { head, consumed }) => (head, consumed),
                Err(malformed) => {
                    self.refuse_malformed(remote.ip(), malformed, out);
                    return (input.len(), Next::Linger);
                }
            };
            seen = 0;
            consumed += taken;
            let front = self.counters.front(Protocol::Http, family(remote.ip()));
            front.received_bytes += taken as u64;
            let framing = self.framing(&head);
            let next = match head.target() {
                Target::Announce(_) => self.hear_announce(&head, framing, remote.ip(), now, out),
                Target::Scrape(_) => self.hear_scrape(&head, framing, remote.ip(), now, out),
                Target::Root => {
                    write_root(out, framing);
                    None
                }
                Target::Unknown => {
                    self.counters
                        .front(Protocol::Http, family(remote.ip()))
                        .refuse(Reason::NotFound);
                    write_not_found(out, framing, head.query);
                    None
                }
            };
            match next {
                Some(next) => return (consumed, next),
                None => self.note_reply(remote.ip()),
            }
            if framing.persistence == Persistence::Close {
                let over = if consumed == input.len() { Next::Close } else { Next::Linger };
                return (consumed, over);
            }
        }
    }

    fn framing(&self, head: &Head<'_>) -> Framing {
        let framing = head.framing();
        if self.settings.http_keep_alive && !self.draining { framing } else { framing.closing() }
    }

    /// Answers an announce; `Some` when another core has to.
    fn hear_announce(
        &mut self,
        head: &Head<'_>,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let asked = match query::parse_announce(head.query) {
            Ok(asked) => asked,
            Err(malformed) => {
                self.refuse_query(remote, framing, &malformed, out);
                return None;
            }
        };
        let settings = &self.settings;
        let numwant =
            asked.numwant.peers(asked.event, settings.numwant_default, settings.numwant_max);
        let address = self.announced_address(&asked, remote);
        let announce = asked.to_engine(address, Families { v4: true, v6: true }, numwant);
        let request = AnnounceRequest { announce, framing, compact: asked.compact.unwrap_or(true) };
        match self.elsewhere(&announce.info_hash) {
            Some(owner) => Some(Next::Travel(owner, request)),
            None => {
                self.answer_http_announce(&request, now, out);
                None
            }
        }
    }

    /// The address a peer is known by: the one it came from, unless it came from a trusted network
    /// and names a public one (`ip=`, BEP 3). Any other would be of no use to those who are told.
    fn announced_address(&self, asked: &query::Announce<'_>, remote: IpAddr) -> IpAddr {
        let settings = &self.settings;
        if !settings.ip_parameter
            || !settings.trusted_network.iter().any(|network| network.contains(&remote))
        {
            return remote;
        }
        let claimed = asked.ip.and_then(query::claimed_address).map(|(address, _)| address);
        // Any port but 0 does; the scope is that of the address.
        let public = |address: &IpAddr| Scope::of_peer(*address, 1) == Scope::Public;
        claimed.filter(public).unwrap_or(remote)
    }

    fn answer_http_announce(&mut self, request: &AnnounceRequest, now: Seconds, out: &mut Vec<u8>) {
        let remote = request.announce.address;
        match self.announce(&request.announce, Protocol::Http, now) {
            Ok(()) => {
                let announced = Announced {
                    reply: &self.reply,
                    interval: self.interval.answer(now, &mut self.random),
                    interval_min: self.interval.min(),
                    external_ip: self.settings.external_ip.then_some(remote),
                    compact: request.compact,
                };
                write_announce(out, request.framing, &announced);
            }
            Err(refused) => self.refuse_http(remote, request.framing, refused, out),
        }
    }

    /// Answers a scrape; `Some` when other cores have to be asked.
    fn hear_scrape(
        &mut self,
        head: &Head<'_>,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let mut hashes = Vec::new();
        let everything = match query::parse_scrape(head.query, &mut hashes) {
            Ok(scrape) => scrape.everything,
            Err(malformed) => {
                self.refuse_query(remote, framing, &malformed, out);
                return None;
            }
        };
        if everything {
            self.refuse_query(remote, framing, &"Full scrape is not available here", out);
            return None;
        }
        let late = Rc::new(Late::new());
        match self.scrape(&hashes, ReplyTo::Http(late.clone()), now) {
            Scraped::Here(counts) => {
                self.answer_http_scrape(remote, framing, &hashes, &counts, out);
                None
            }
            Scraped::Later => Some(Next::Gather(late, hashes, framing)),
        }
    }

    /// Answers a scrape whose counts are all there; torrents nobody announced are all zero.
    pub fn answer_http_scrape(
        &mut self,
        remote: IpAddr,
        framing: Framing,
        hashes: &[InfoHash],
        counts: &[Option<Counts>],
        out: &mut Vec<u8>,
    ) {
        self.counters.front(Protocol::Http, family(remote)).scrapes += 1;
        let known = |counts: &Option<Counts>| Some(counts.unwrap_or_default());
        let mut files: Vec<_> = hashes.iter().copied().zip(counts.iter().map(known)).collect();
        write_scrape(out, framing, &mut files, SCRAPE_INTERVAL);
    }

    fn refuse_malformed(&mut self, remote: IpAddr, malformed: Malformed, out: &mut Vec<u8>) {
        let reason = match malformed {
            Malformed::TooLarge => Reason::TooLarge,
            _ => Reason::Malformed,
        };
        self.counters.front(Protocol::Http, family(remote)).refuse(reason);
        self.note_reply(remote);
        let intervals = None;
        let retry = Some(Retry::Never);
        write_failure(out, Framing::CLOSE, &Failure { reason: &malformed, intervals, retry });
    }

    fn refuse_query(
        &mut self,
        remote: IpAddr,
        framing: Framing,
        reason: &dyn std::fmt::Display,
        out: &mut Vec<u8>,
    ) {
        self.counters.front(Protocol::Http, family(remote)).refuse(Reason::Malformed);
        let intervals = Some((self.interval.current(), self.interval.min()));
        let retry = Some(Retry::Never);
        write_failure(out, framing, &Failure { reason, intervals, retry });
    }

    fn refuse_http(
        &mut self,
        _remote: IpAddr,
        framing: Framing,
        refused: Refused,
        out: &mut Vec<u8>,
    ) {
        let (intervals, retry) = match refused {
            Refused::Overload | Refused::Draining => {
                (Some((RETRY_SOON, RETRY_SOON)), Some(Retry::Minutes(RETRY_SOON.0 / 60)))
            }
            Refused::Torrent | Refused::Full(_) => {
                (Some((self.interval.current(), self.interval.min())), None)
            }
        };
        write_failure(out, framing, &Failure { reason: &refused, intervals, retry });
    }

    /// Counts one reply.
    pub fn note_reply(&mut self, remote: IpAddr) {
        self.counters.front(Protocol::Http, family(remote)).responses += 1;
    }

    /// Counts bytes that left.
    pub fn note_sent(&mut self, remote: IpAddr, bytes: usize) {
        self.counters.front(Protocol::Http, family(remote)).sent_bytes += bytes as u64;
    }
}
