//! Requests over HTTP (BEP 3, 48), and their answers.

use std::net::IpAddr;
use std::rc::Rc;

use ops::counters::{Protocol, Reason};
use ops::screening::Verdict;
use ops::service::Service;
use shard::{Counts, Families, InfoHash, Scope, Seconds};

use crate::core::mesh::late::Late;
use crate::core::mesh::message::{HttpAnnounce, HttpAsked, HttpRequest, PrivateAnnounce, ReplyTo};
use crate::core::{Engine, Refused, Scraped, TurnedAway, family};
use crate::front::heard::Doing;
use crate::front::http::shelf::Loan;
use crate::front::private::worth;
use crate::front::{Core, Reading, refused};
use crate::net::remote::Remote;
use crate::wire::http::{
    Announced, Failure, Framing, Head, Malformed, Parsed, Persistence, Retry, Target, parse_head,
    write_announce, write_failure, write_not_found, write_root, write_scrape,
};
use crate::wire::{private, query};

/// How often a torrent may be scraped, as scrape replies say it.
const SCRAPE_INTERVAL: Seconds = Seconds(900);

/// The next need of a connection.
pub enum Next {
    /// Its first request, of which nothing is there yet.
    Begin,
    /// More of the request, or the next one.
    Read,
    /// The next request; the answer to this one leaves with those of other connections.
    Batched,
    /// To go to the core that owns the torrent.
    Travel(usize, Box<HttpRequest>),
    /// To be sent no sooner than this comes: what it was told must be on the disk first.
    Hold(Rc<Late<bool>>, Framing),
    /// To be booked, when there is room for that.
    TryAgain(Box<PrivateAnnounce>, Framing),
    /// To be told that the site's change is in force and on the disk, when it is, or that it is not.
    Confirm(Doing, Framing),
    /// The parts of a scrape that other cores own.
    Gather(Rc<Late<Vec<Option<Counts>>>>, Vec<InfoHash>, Framing),
    /// The full scrape, as long as it is.
    FullScrape(Loan, Framing),
    /// To be heard when it is known which process serves.
    Await,
    /// Nothing; it is over.
    Close,
    /// To be closed when the client has what was said to it: it may still be sending.
    Linger,
}

impl Next {
    /// Whether the connection waits for the tracker, and not for its client.
    pub fn waits(&self) -> bool {
        matches!(
            self,
            Next::Hold(..)
                | Next::TryAgain(..)
                | Next::Confirm(..)
                | Next::Gather(..)
                | Next::Await
        )
    }

    /// The next need after a reply that ends its connection, `None` after another. `rest` is input that has not been
    /// looked at.
    pub fn after_the_last(framing: Framing, rest: &[u8]) -> Option<Self> {
        match framing.persistence {
            Persistence::Close if rest.is_empty() => Some(Next::Close),
            Persistence::Close | Persistence::CloseLate => Some(Next::Linger),
            Persistence::Keep | Persistence::KeepNamed => None,
        }
    }
}

impl Core {
    /// Answers every complete request of `input` that can be answered here; how many bytes that took, and what the
    /// connection needs next. `remote` says from then on who asked last. `seen` bytes were looked at before in vain. An
    /// announce that is all there is of a connection with a `seat` is answered later, with others.
    pub fn converse(
        &mut self,
        remote: &mut Remote,
        input: &[u8],
        mut seen: usize,
        seat: Option<usize>,
        out: &mut Vec<u8>,
    ) -> (usize, Next) {
        let now = self.engine.clock.now();
        let mut consumed = 0;
        loop {
            if self.desk.reading != Reading::On {
                return (consumed, Next::Await);
            }
            let rest = &input[consumed..];
            let parsed = match &self.engine.private {
                None => parse_head(rest, seen),
                Some(private) => private::parse_head(rest, seen, private.site.update()),
            };
            let (head, taken) = match parsed {
                Ok(Parsed::Partial) => return (consumed, Next::Read),
                Ok(Parsed::Complete { head, consumed }) => (head, consumed),
                Err(malformed) => {
                    remote.set_client(remote.connection());
                    self.refuse_malformed(remote.client(), malformed, out);
                    return (input.len(), Next::Linger);
                }
            };
            seen = 0;
            consumed += taken;
            let client = self.client_of(&head, *remote);
            remote.set_client(client);
            let front = self.engine.counters.front(Protocol::Http, family(client));
            front.received_bytes += taken as u64;
            let mut framing = self.framing(&head);
            if remote.is_relayed() {
                framing = framing.closing();
            }
            let screened = self.engine.screen(client, Protocol::Http);
            let service = Service::http(family(remote.connection()), remote.is_tls());
            let admitted = match screened {
                Verdict::Deny => Ok(()),
                _ => {
                    let worth = |engine: &Engine| worth(engine, &head, taken);
                    self.engine.admit(service, client, now, worth)
                }
            };
            let next = match head.target() {
                // Rules may have changed since the connection began.
                _ if screened == Verdict::Deny => Some(Next::Close),
                _ if let Err(refused) = admitted => {
                    framing = framing.closing();
                    self.turn_away(&head, framing, refused, out)
                }
                _ if screened == Verdict::Defer => self.defer(&head, taken, framing, out),
                _ if self.engine.private.is_some() => {
                    self.hear_private(&head, taken, framing, client, now, out)
                }
                Target::Announce(_) => {
                    let alone = out.is_empty() && consumed == input.len() && framing.keeps();
                    let seat = seat.filter(|_| alone);
                    self.hear_announce(&head, framing, client, seat, out)
                }
                Target::Scrape(_) => self.hear_scrape(&head, framing, client, now, out),
                Target::Root if !query::has_info_hash(head.query) => {
                    write_root(out, framing);
                    None
                }
                Target::Root | Target::Unknown => {
                    self.engine
                        .counters
                        .front(Protocol::Http, family(client))
                        .refuse(Reason::NotFound);
                    write_not_found(out, framing, head.query);
                    None
                }
            };
            match next {
                Some(next) => return (consumed, next),
                None => self.note_reply(client),
            }
            if let Some(over) = Next::after_the_last(framing, &input[consumed..]) {
                return (consumed, over);
            }
        }
    }

    /// Tells who is deferred nobody, and to come back soon; what is no announce gets nothing.
    #[cold]
    fn defer(
        &mut self,
        head: &Head<'_>,
        head_bytes: usize,
        framing: Framing,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        if self.engine.private.is_some() {
            return self.defer_private(head, head_bytes, framing, out);
        }
        let Target::Announce(_) = head.target() else { return Some(Next::Close) };
        self.refuse_http(framing, Refused::Deferred, out);
        None
    }

    /// Tells who asks more than there is room for nobody, and to come back much later. What is no announce or scrape gets
    /// nothing, and a private tracker says nothing: a success would mean that the announce is booked.
    #[cold]
    fn turn_away(
        &mut self,
        head: &Head<'_>,
        framing: Framing,
        refused: Refused,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        if self.engine.private.is_some() || refused == Refused::Off {
            return Some(Next::Close);
        }
        match head.target() {
            Target::Announce(_) => self.refuse_http(framing, refused, out),
            Target::Scrape(_) => write_scrape(out, framing, &mut [], SCRAPE_INTERVAL),
            Target::Root | Target::Unknown => return Some(Next::Close),
        }
        None
    }

    fn framing(&self, head: &Head<'_>) -> Framing {
        let framing = head.framing();
        if self.engine.settings.http_keep_alive && !self.engine.draining {
            framing
        } else {
            framing.closing()
        }
    }

    /// Answers an announce; `Some` when another core has to, or later with others.
    fn hear_announce(
        &mut self,
        head: &Head<'_>,
        framing: Framing,
        remote: IpAddr,
        seat: Option<usize>,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let asked = match query::parse_announce(head.query) {
            Ok(asked) => asked,
            Err(malformed) => {
                self.refuse_query(remote, framing, &malformed, out);
                return None;
            }
        };
        let settings = &self.engine.settings;
        let numwant =
            asked.numwant.peers(asked.event, settings.numwant_default, settings.numwant_max);
        let address = self.announced_address(&asked, remote);
        if address != remote {
            match self.engine.screen(address, Protocol::Http) {
                Verdict::Allow => {}
                Verdict::Deny => return Some(Next::Close),
                Verdict::Defer => {
                    self.refuse_http(framing, Refused::Deferred, out);
                    return None;
                }
            }
        }
        let announce = asked.to_engine(address, Families { v4: true, v6: true }, numwant);
        let asked = HttpAnnounce {
            announce,
            compact: asked.compact.unwrap_or(true),
            comes_at_min: query::comes_at_min_interval(&asked.peer_id),
        };
        match (self.engine.elsewhere(&announce.info_hash), seat) {
            (Some(owner), _) => {
                let asked = HttpAsked::Open(asked);
                Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })))
            }
            (None, Some(seat)) => {
                self.desk.kept.put(&asked, framing, remote, seat);
                Some(Next::Batched)
            }
            (None, None) => {
                self.answer_http_announce(&asked, framing, self.engine.clock.now(), out);
                None
            }
        }
    }

    /// The address a peer is known by: the one it came from, unless it came from a trusted network
    /// and names a public one (`ip=`, BEP 3). Any other would be of no use to those who are told.
    fn announced_address(&self, asked: &query::Announce<'_>, remote: IpAddr) -> IpAddr {
        let settings = &self.engine.settings;
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

    /// Answers an announce of a torrent that this core owns.
    pub fn answer_http_announce(
        &mut self,
        request: &HttpAnnounce,
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) {
        let remote = request.announce.address;
        match self.engine.announce(&request.announce, Protocol::Http, now) {
            Ok(interval) => {
                let announced = Announced {
                    reply: &self.engine.reply,
                    interval,
                    interval_min: self.engine.interval.min(interval, request.comes_at_min),
                    external_ip: self.engine.settings.external_ip.then_some(remote),
                    compact: request.compact,
                    warning: None,
                };
                write_announce(out, framing, &announced);
            }
            Err(refused) => {
                refused::say(Protocol::Http, remote, &refused);
                self.refuse_http(framing, refused, out);
            }
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
            return self.hear_full_scrape(head, framing, remote, out);
        }
        self.gather_scrape(hashes, framing, remote, now, out)
    }

    /// Answers a scrape of these torrents; `Some` when other cores have to be asked.
    pub fn gather_scrape(
        &mut self,
        hashes: Vec<InfoHash>,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let late = Rc::new(Late::new());
        match self.engine.scrape(&hashes, ReplyTo::Http(late.clone()), now) {
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
        self.engine.counters.front(Protocol::Http, family(remote)).scrapes += 1;
        if self.engine.private.is_some() {
            let mut files: Vec<_> = hashes.iter().copied().zip(counts.iter().copied()).collect();
            return private::write_scrape(out, framing, &mut files);
        }
        let known = |counts: &Option<Counts>| Some(counts.unwrap_or_default());
        let mut files: Vec<_> = hashes.iter().copied().zip(counts.iter().map(known)).collect();
        write_scrape(out, framing, &mut files, SCRAPE_INTERVAL);
    }

    fn refuse_malformed(&mut self, remote: IpAddr, malformed: Malformed, out: &mut Vec<u8>) {
        refused::say(Protocol::Http, remote, &malformed);
        if self.engine.private.is_some() {
            self.refuse_private(remote, Framing::CLOSE, &malformed.into(), out);
            return self.note_reply(remote);
        }
        let reason = match malformed {
            Malformed::TooLarge => Reason::TooLarge,
            _ => Reason::Malformed,
        };
        self.engine.counters.front(Protocol::Http, family(remote)).refuse(reason);
        self.note_reply(remote);
        let intervals = None;
        let retry = Some(Retry::Never);
        write_failure(out, Framing::CLOSE, &Failure { reason: &malformed, intervals, retry });
    }

    /// Refuses what a client should not ask again.
    pub(super) fn refuse_query(
        &mut self,
        remote: IpAddr,
        framing: Framing,
        reason: &dyn std::fmt::Display,
        out: &mut Vec<u8>,
    ) {
        refused::say(Protocol::Http, remote, reason);
        self.engine.counters.front(Protocol::Http, family(remote)).refuse(Reason::Malformed);
        let interval = self.engine.interval.current();
        let intervals = Some((interval, interval));
        let retry = Some(Retry::Never);
        write_failure(out, framing, &Failure { reason, intervals, retry });
    }

    /// Answers an announce that is refused: one that can be served soon by a success with nobody, as clients come back
    /// when a success tells them to, and not when a failure does.
    pub fn refuse_http(&mut self, framing: Framing, refused: Refused, out: &mut Vec<u8>) {
        let told = self.engine.told_of(&refused);
        match told {
            TurnedAway::Failure(interval) => {
                let intervals = Some((interval, interval));
                write_failure(out, framing, &Failure { reason: &refused, intervals, retry: None });
            }
            TurnedAway::Nobody { interval, says_why } => {
                self.engine.reply.clear();
                let announced = Announced {
                    reply: &self.engine.reply,
                    interval,
                    interval_min: interval,
                    external_ip: None,
                    compact: true,
                    warning: says_why.then_some(&refused),
                };
                write_announce(out, framing, &announced);
            }
        }
    }

    /// Counts one reply.
    pub fn note_reply(&mut self, remote: IpAddr) {
        self.engine.counters.front(Protocol::Http, family(remote)).responses += 1;
    }

    /// Counts bytes that left.
    pub fn note_sent(&mut self, remote: IpAddr, bytes: usize) {
        self.engine.counters.front(Protocol::Http, family(remote)).sent_bytes += bytes as u64;
    }
}
