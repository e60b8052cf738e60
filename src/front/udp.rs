//! Requests over UDP (BEP 15): a batch in, a batch out.
//!
//! With steering the kernel has already brought each datagram to the owner of its infohash; one that
//! belongs elsewhere all the same is parsed, checked and sent to its owner, who answers it from its
//! own socket of the same address.

pub mod errors;
pub mod port;
pub mod shedding;

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use glommio::net::UdpSocket;
use ops::counters::{Protocol, Reason};
use ops::screening::Verdict;
use ops::service::Service;
use persist::Trouble;
use shard::{Announce, Counts, InfoHash, Seconds};

use super::moderation::{self, Moderation};
use super::private::worth_of_udp;
use crate::core::floods::Worth;
use crate::core::mesh::message::{Message, ReplyTo, UdpAnnounce, UdpAsked};
use crate::core::{Engine, Refused, Scraped, TurnedAway, family};
use crate::front::udp::port::Waiting;
use crate::front::udp::shedding::Seen;
use crate::front::{Core, Reading, SharedCore, refused, rest_while, wait_for_reading};
use crate::net::batch::{BATCH_MAX, Correspondent, Inbox};
use crate::net::stream;
use crate::wire::private;
use crate::wire::udp::{
    self, PEERS_V4_MAX, PEERS_V6_MAX, Request, Transaction, write_announce, write_connect,
    write_error, write_scrape,
};

/// Answers what comes in by one socket, for as long as the core lives.
pub async fn serve(core: SharedCore, port: usize) {
    let socket = core.borrow().desk.ports[port].socket.clone();
    let mut inbox = Inbox::new();
    let mut moderation = Moderation::default();
    let mut looked = Instant::now();
    let service = core.borrow().desk.ports[port].service;
    loop {
        if core.borrow().desk.reading != Reading::On && !wait_for_reading(&core).await {
            return;
        }
        rest_while(&core, |core| core.engine.floods.is_off(service)).await;
        let received = match inbox.receive(stream::borrow(&*socket)) {
            Ok(received) => received,
            Err(error) => {
                // Nothing a sender does leads here; the kernel is short of memory. Wait and go on.
                if let Some(times) = DEAF.again("") {
                    tracing::error!(%error, times, "cannot receive datagrams; trying again each second");
                }
                glommio::timer::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if received > 0 {
            let core = &mut *core.borrow_mut();
            let before = Seen::of(&core.engine.counters);
            core.answer_batch(port, &inbox, received);
            core.watch_for_flood(port, Seen::of(&core.engine.counters).since(before));
        }
        let now = Instant::now();
        let longest = core.borrow().desk.ports[port].guard.pause_max();
        let pause = moderation.pause(received, now - looked).map(|pause| pause.min(longest));
        looked = now;
        match pause {
            Some(pause) => moderation::rest(pause, looked).await,
            None if received == BATCH_MAX => glommio::executor().yield_now().await,
            _ => wait(&socket).await,
        }
    }
}

/// Batches dropped when a service is switched on: more than a buffer holds.
const DROPPED_BATCHES_MAX: usize = 4096;

/// Waits until a datagram is there and leaves it there.
async fn wait(socket: &UdpSocket) {
    // An error is that of an earlier reply (ICMP) and tells nothing about what waits.
    let _ = socket.peek_from(&mut [0]).await;
}

/// Of all sockets.
static DEAF: Trouble = Trouble::new();

/// Answers an announce that another core received.
pub fn arrive(core: &mut Core, journey: UdpAnnounce) {
    let UdpAnnounce { port, from, transaction, asked } = journey;
    let now = core.engine.clock.now();
    match asked {
        UdpAsked::Open(announce) => core.answer_announce(port, from, transaction, &announce, now),
        UdpAsked::User(announce) => {
            core.answer_private_udp(port, from, transaction, &announce, now);
        }
    }
}

impl Core {
    /// Answers the datagrams of `inbox`: connects and scrapes as they come, then the announces, whose
    /// memory is reached for together so that they do not wait for it one by one.
    fn answer_batch(&mut self, port: usize, inbox: &Inbox, received: usize) {
        let now = self.engine.clock.now();
        self.engine.counters.wakeups += 1;
        self.engine.counters.udp_batches += 1;
        self.engine.counters.udp_datagrams += received as u64;
        let mut waiting = std::mem::take(&mut self.desk.ports[port].waiting);
        let is_proxied = self.desk.ports[port].is_proxied;
        for slot in 0..received {
            let Some((datagram, from)) = inbox.datagram(slot) else { continue };
            match is_proxied {
                false => self.hear_datagram(port, datagram, from, now, &mut waiting),
                true => {
                    if let Some((datagram, from)) = self.behind_proxy(datagram, from) {
                        self.hear_datagram(port, datagram, from, now, &mut waiting);
                    }
                }
            }
        }
        self.apply(port, &mut waiting, now);
        waiting.clear();
        self.desk.ports[port].waiting = waiting;
        self.desk.flush(&mut self.engine.counters, port);
    }

    /// Applies the announces of a batch.
    fn apply(&mut self, port: usize, waiting: &mut Waiting, now: Seconds) {
        let Waiting { announces, private, senders, seeds } = waiting;
        if self.engine.private.is_some() {
            let warm = |core: &Self, seeds: &[u64]| {
                if let Some(users) = &core.engine.private {
                    users.swarms.warm(private, seeds);
                }
            };
            self.answer_together(private, seeds, warm, |core, at, announce| {
                let (from, transaction) = senders[at];
                core.answer_private_udp(port, from, transaction, announce, now);
            });
            self.engine.hurry();
        } else {
            let warm = |core: &Self, seeds: &[u64]| core.engine.shard.warm(announces, seeds);
            self.answer_together(announces, seeds, warm, |core, at, announce| {
                let (from, transaction) = senders[at];
                core.answer_announce(port, from, transaction, announce, now);
            });
        }
    }

    /// Switches a service on or off. What waits of one that comes on is dropped: whoever asked has given up, and answers
    /// would be for nobody.
    pub fn switch(&mut self, service: Service, is_on: bool) {
        if is_on && self.engine.floods.is_off(service) {
            let mut inbox = Inbox::new();
            for port in self.desk.ports.iter().filter(|port| port.service == service) {
                let mut drop_some = || inbox.receive(stream::borrow(&*port.socket)).unwrap_or(0);
                let _ = (0..DROPPED_BATCHES_MAX).take_while(|_| drop_some() > 0).count();
            }
        }
        self.engine.floods.switch(service, is_on);
    }

    fn hear_datagram(
        &mut self,
        port: usize,
        datagram: &[u8],
        from: Correspondent,
        now: Seconds,
        waiting: &mut Waiting,
    ) {
        let address = from.remote.ip().to_canonical();
        if self.engine.gate.has_rules() && !self.lets_in_udp(port, datagram, from, address, now) {
            return;
        }
        let front = self.engine.counters.front(Protocol::Udp, family(address));
        front.received_bytes += datagram.len() as u64;
        if !can_be_answered(from.remote) {
            return front.refuse(Reason::Source);
        }
        match udp::parse(datagram) {
            Ok(Request::Connect(transaction)) => {
                front.connects += 1;
                let id = self.engine.connection_ids.issue(address, now);
                self.push(port, from, |out| write_connect(out, transaction, id));
            }
            Ok(Request::Announce(announce)) => {
                if !self.is_good(announce.connection_id, address, now) {
                    let front = self.engine.counters.front(Protocol::Udp, family(address));
                    return front.refuse(Reason::ConnectionId);
                }
                // Silence: whoever hears nothing comes back later than who is told something.
                let service = self.desk.ports[port].service;
                let worth = |engine: &Engine| worth_of_udp(engine, &announce);
                if self.engine.admit(service, address, now, worth).is_err() {
                    return;
                }
                if self.engine.private.is_some() {
                    return self.hear_private_udp(port, from, &announce, waiting);
                }
                let numwant = self.udp_numwant(&announce, address);
                let transaction = announce.transaction;
                let announce = announce.to_engine(address, numwant);
                match self.engine.elsewhere(&announce.info_hash) {
                    None => {
                        waiting.announces.push(announce);
                        waiting.senders.push((from, transaction));
                    }
                    Some(owner) => {
                        let asked = UdpAsked::Open(announce);
                        self.pass_on(owner, UdpAnnounce { port, from, transaction, asked });
                    }
                }
            }
            Ok(Request::Scrape(scrape)) => {
                if !self.is_good(scrape.connection_id, address, now) {
                    let front = self.engine.counters.front(Protocol::Udp, family(address));
                    return front.refuse(Reason::ConnectionId);
                }
                if !self.is_admitted(port, address, now) {
                    return;
                }
                self.hear_scrape_udp(port, from, &scrape, now);
            }
            Err(malformed) => {
                front.refuse(Reason::Malformed);
                refused::say(Protocol::Udp, address, &malformed);
            }
        }
    }

    /// Whether the rules about addresses let a datagram in; who is deferred is answered here.
    #[cold]
    #[inline(never)]
    fn lets_in_udp(
        &mut self,
        port: usize,
        datagram: &[u8],
        from: Correspondent,
        address: IpAddr,
        now: Seconds,
    ) -> bool {
        let verdict = self.engine.screen(address, Protocol::Udp);
        if self.engine.gate.is_due() {
            self.ask_for_country(datagram, address, verdict, now);
        }
        match verdict {
            Verdict::Allow => return true,
            Verdict::Deny => return false,
            Verdict::Defer => {}
        }
        match udp::parse(datagram) {
            _ if !can_be_answered(from.remote) => {}
            // It is needed for the announce.
            Ok(Request::Connect(_)) => return true,
            Ok(Request::Announce(announce))
                if self.is_good(announce.connection_id, address, now)
                    && self.is_admitted(port, address, now) =>
            {
                let interval = self.engine.soon();
                self.push(port, from, |out| {
                    write_announce(out, announce.transaction, interval, Counts::default(), &[]);
                });
            }
            _ => {}
        }
        false
    }

    fn is_admitted(&mut self, port: usize, address: IpAddr, now: Seconds) -> bool {
        let service = self.desk.ports[port].service;
        self.engine.admit(service, address, now, |_| Worth::Repeated).is_ok()
    }

    /// Asks for the country of who has shown that it has this address; of who is refused until it is known, and so can
    /// show nothing, when it begins.
    fn ask_for_country(
        &mut self,
        datagram: &[u8],
        address: IpAddr,
        verdict: Verdict,
        now: Seconds,
    ) {
        let is_to_be_asked = match udp::parse(datagram) {
            Ok(Request::Connect(_)) => verdict == Verdict::Deny,
            Ok(Request::Announce(announce)) => self.is_good(announce.connection_id, address, now),
            Ok(Request::Scrape(_)) | Err(_) => false,
        };
        if is_to_be_asked {
            self.engine.gate.ask(now);
        }
    }

    /// Answers a scrape whose connection id is good, here or when other cores have counted.
    fn hear_scrape_udp(
        &mut self,
        port: usize,
        from: Correspondent,
        scrape: &udp::Scrape<'_>,
        now: Seconds,
    ) {
        if self.engine.private.is_some() {
            // There is no room for a passkey in it.
            let address = from.remote.ip().to_canonical();
            self.engine.counters.front(Protocol::Udp, family(address)).refuse(Reason::Passkey);
            let refusal = private::Refusal::PasskeyNotFound;
            let first = scrape.hashes().next().unwrap_or(InfoHash([0; 20]));
            return self.push_error(port, from, scrape.transaction, &first, &refusal);
        }
        let hashes: Vec<InfoHash> = scrape.hashes().collect();
        let reply_to = ReplyTo::Udp(port, from, scrape.transaction);
        if let Scraped::Here(counts) = self.engine.scrape(&hashes, reply_to, now) {
            self.answer_scrape(port, from, scrape.transaction, &counts);
        }
    }

    /// Whether a connection id is good, or was before the clock jumped.
    #[inline]
    fn is_good(&self, id: u64, address: IpAddr, now: Seconds) -> bool {
        let good = |now| self.engine.connection_ids.check(id, address, now);
        good(now) || self.engine.clock.others(now).any(good)
    }

    fn udp_numwant(&self, announce: &udp::Announce<'_>, address: IpAddr) -> u16 {
        let fits = if address.is_ipv4() { PEERS_V4_MAX } else { PEERS_V6_MAX };
        let cap = self.engine.settings.numwant_max.min(fits);
        announce.numwant.peers(announce.event, self.engine.settings.numwant_default, cap)
    }

    pub(super) fn pass_on(&mut self, owner: usize, mut journey: UdpAnnounce) {
        journey.port = self.desk.ports[journey.port].place;
        let family = family(journey.asked.address());
        self.engine.counters.udp_hops += 1;
        if self.engine.send(owner, Message::Announce(journey)).is_err() {
            // Silence: the client asks again in 15 seconds.
            self.engine.counters.front(Protocol::Udp, family).refuse(Reason::Overload);
        }
    }

    fn answer_announce(
        &mut self,
        port: usize,
        from: Correspondent,
        transaction: Transaction,
        announce: &Announce,
        now: Seconds,
    ) {
        match self.engine.announce(announce, Protocol::Udp, now) {
            Ok(interval) => {
                let Engine { reply, counters, .. } = &mut self.engine;
                let peers = if announce.families.v4 { &reply.peers_v4 } else { &reply.peers_v6 };
                self.desk.push(counters, port, from, |out| {
                    write_announce(out, transaction, interval, reply.counts, peers);
                });
            }
            Err(refused) => {
                refused::say(Protocol::Udp, from.remote.ip(), &refused);
                if refused == Refused::Draining {
                    // Silence: the client asks again in 15 seconds, and later after an error.
                    return;
                }
                match self.engine.told_of(&refused) {
                    TurnedAway::Failure(_) => {
                        let info_hash = &announce.info_hash;
                        self.push_error(port, from, transaction, info_hash, &refused);
                    }
                    TurnedAway::Nobody { interval, .. } => self.push(port, from, |out| {
                        write_announce(out, transaction, interval, Counts::default(), &[]);
                    }),
                }
            }
        }
    }

    /// Answers a request about `info_hash` with an error, unless its sender has had one within this second.
    pub(super) fn push_error(
        &mut self,
        port: usize,
        to: Correspondent,
        transaction: Transaction,
        info_hash: &InfoHash,
        text: &dyn Display,
    ) {
        if self.may_tell_error(to, info_hash) {
            self.push(port, to, |out| write_error(out, transaction, text));
        }
    }

    /// Whether an error about `info_hash` may go there now; it is told then, or counted as withheld.
    pub(super) fn may_tell_error(&mut self, to: Correspondent, info_hash: &InfoHash) -> bool {
        let now = self.engine.clock.now();
        let may = self.desk.errors.may_tell(to.remote.ip(), info_hash, now);
        self.engine.counters.udp_errors_withheld += u64::from(!may);
        may
    }

    /// Answers a scrape; torrents without counts are all zero (BEP 15).
    pub fn answer_scrape(
        &mut self,
        port: usize,
        to: Correspondent,
        transaction: Transaction,
        counts: &[Option<Counts>],
    ) {
        self.engine.counters.front(Protocol::Udp, family(to.remote.ip().to_canonical())).scrapes +=
            1;
        self.push(port, to, |out| {
            write_scrape(out, transaction, counts.iter().map(|counts| counts.unwrap_or_default()));
        });
    }
}

/// False for a sender that no reply can reach or should be sent to: port 0, an address that
/// is nobody's, or one that is many people's.
fn can_be_answered(remote: SocketAddr) -> bool {
    let address = remote.ip();
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    remote.port() != 0 && !address.is_unspecified() && !address.is_multicast() && !broadcast
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c6_nobody_is_not_answered() {
        for remote in ["1.2.3.4:0", "0.0.0.0:5", "224.0.0.1:5", "255.255.255.255:5", "[ff02::1]:5"]
        {
            assert!(!can_be_answered(remote.parse().unwrap()), "{remote}");
        }
        for remote in ["1.2.3.4:5", "127.0.0.1:1", "[2001:db8::1]:6881"] {
            assert!(can_be_answered(remote.parse().unwrap()), "{remote}");
        }
    }
}
