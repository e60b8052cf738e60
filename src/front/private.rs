//! Requests of a private tracker, over HTTP and over UDP.

use std::fmt::Display;
use std::net::IpAddr;

use ops::counters::{Protocol, Reason};
use ops::screening::Verdict;
use shard::private::{Announce, Passkey, Refusal, User};
use shard::{Counts, Event, Families, InfoHash, Seconds};

use super::http::requests::Next;
use crate::api::Failure;
use crate::api::trace::What;
use crate::core::floods::Worth;
use crate::core::mesh::message::{HttpAsked, HttpRequest, PrivateAnnounce, UdpAnnounce, UdpAsked};
use crate::core::mesh::told::Told;
use crate::core::{Engine, TurnedAway, family};
use crate::front::udp::port::Waiting;
use crate::front::{Core, refused};
use crate::net::batch::Correspondent;
use crate::private::core::Booked;
use crate::private::core::outgoing::{Waited, Waiter};
use crate::private::site::Site;
use crate::wire::Key;
use crate::wire::http::{Framing, Head};
use crate::wire::private::{self, Announced, Asked, Dialect, Target};
use crate::wire::query;
use crate::wire::udp::{
    self, PEERS_V4_MAX, PEERS_V6_MAX, Transaction, URL_DATA_BYTES_MAX, write_announce, write_error,
};

/// Refused for what the client is or asks for, and not for how it says so.
fn will_not_be_served(refusal: &private::Refusal<'_>) -> bool {
    matches!(
        refusal,
        private::Refusal::PasskeyNotFound
            | private::Refusal::ClientRefused
            | private::Refusal::Unregistered { .. }
    )
}

/// What the metrics call it.
fn reason_of(refusal: &private::Refusal<'_>) -> Reason {
    match refusal {
        private::Refusal::PasskeyNotFound | private::Refusal::AuthenticationFailure => {
            Reason::Passkey
        }
        private::Refusal::ClientRefused => Reason::Client,
        private::Refusal::Unregistered { .. } => Reason::Torrent,
        private::Refusal::Unavailable => Reason::Overload,
        private::Refusal::TooLong => Reason::TooLarge,
        _ => Reason::Malformed,
    }
}

/// When something is asked for again that has been asked for in vain since then: `soon` at first, and each time after a
/// quarter of the time since.
fn later_and_later(soon: Seconds, since: Seconds, now: Seconds) -> Seconds {
    soon.max(Seconds(now.since(since).0 / 4).min(private::FAILURE_INTERVAL))
}

/// Answers an announce that is refused for good, over HTTP,
fn write_refusal(out: &mut Vec<u8>, framing: Framing, refusal: &dyn Display, told: TurnedAway) {
    match told {
        TurnedAway::Failure(interval) => {
            private::write_failure(out, framing, refusal, interval, interval);
        }
        TurnedAway::Nobody { interval, says_why } => {
            let announced = Announced {
                counts: Counts::default(),
                peers_v4: &[],
                peers_v6: &[],
                interval,
                interval_min: interval,
                compact: true,
                warning: says_why.then_some(refusal),
            };
            private::write_announce(out, framing, &announced);
        }
    }
}

/// What is lost at a private tracker with a request over HTTP that is turned away,
pub fn worth(engine: &Engine, head: &Head<'_>, head_bytes: usize) -> Worth {
    let Some(private) = &engine.private else { return Worth::Repeated };
    match Target::of(head, head_bytes) {
        Target::Announce(key) => match Asked::parse(head.query, Dialect::Standard) {
            Ok(asked) => worth_of(engine, &asked, key),
            Err(_) => Worth::Repeated,
        },
        Target::Update(said) if private.site.update().is_some_and(|ours| said.secret.is(ours)) => {
            Worth::OfTheSite
        }
        Target::Report(asked)
            if private.site.report().is_some_and(|ours| asked.secret.is(ours)) =>
        {
            Worth::OfTheSite
        }
        _ => Worth::Repeated,
    }
}

/// and with one over UDP.
pub fn worth_of_udp(engine: &Engine, announce: &udp::Announce<'_>) -> Worth {
    if engine.private.is_none() || announce.event != Event::Stopped {
        return Worth::Repeated;
    }
    let mut url_data = [0; URL_DATA_BYTES_MAX];
    let url_data = announce.options.url_data(&mut url_data);
    worth_of(engine, &Asked::of_udp(announce, url_data), None)
}

/// Counters are absolute, so what is turned away is said by the next announce, but for the last one.
fn worth_of(engine: &Engine, asked: &Asked<'_>, key: Option<Key<'_>>) -> Worth {
    let is_user = || {
        let passkey = asked.passkey(key).ok();
        passkey.is_some_and(|passkey| engine.private().find(passkey, &engine.clock).is_ok())
    };
    match asked.event {
        Event::Stopped if is_user() => Worth::SaidOnce,
        _ => Worth::Repeated,
    }
}

impl Core {
    /// and over UDP: the datagram, but for an error that its sender has had a moment ago.
    fn refusal_udp(
        &mut self,
        to: Correspondent,
        transaction: Transaction,
        info_hash: &InfoHash,
        refusal: &dyn Display,
        told: TurnedAway,
    ) -> Option<Vec<u8>> {
        let mut datagram = Vec::new();
        match told {
            TurnedAway::Failure(_) if !self.may_tell_error(to, info_hash) => return None,
            TurnedAway::Failure(_) => write_error(&mut datagram, transaction, refusal),
            TurnedAway::Nobody { interval, .. } => {
                write_announce(&mut datagram, transaction, interval, Counts::default(), &[]);
            }
        }
        Some(datagram)
    }

    /// Answers a request to a private tracker; `Some` when it cannot be answered here and now.
    pub fn hear_private(
        &mut self,
        head: &Head<'_>,
        head_bytes: usize,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        match Target::of(head, head_bytes) {
            Target::Announce(key) => {
                match self.ask_private(head, key, remote) {
                    Ok(asked) => {
                        let others = [asked.remote].into_iter().filter(|other| *other != remote);
                        return match self.screen_named(
                            &asked.announce,
                            others,
                            remote,
                            Protocol::Http,
                        ) {
                            Verdict::Allow => self.go_to_owner(asked, framing, now, out),
                            Verdict::Deny => Some(Next::Close),
                            Verdict::Defer => self.defer_private(head, head_bytes, framing, out),
                        };
                    }
                    Err(refusal) => {
                        let said = Asked::parse(head.query, Dialect::Standard).ok();
                        let passkey = said.and_then(|asked| asked.passkey(key).ok());
                        self.refuse_announce(remote, framing, &refusal, passkey, out);
                    }
                }
                None
            }
            Target::Scrape(key) => self.scrape_private(head, key, framing, remote, now, out),
            Target::Update(said) => match self.site().update() {
                Some(ours) if said.secret.is(ours) => {
                    self.hear_update(said.query, framing, remote, now, out)
                }
                _ => self.refuse_site(remote, framing, out),
            },
            Target::Report(asked) => match self.site().report() {
                Some(ours) if asked.secret.is(ours) => {
                    let next = self.answer_report(asked.query, framing, now, out);
                    // The reply says that it is the last one, whatever the site has said.
                    let over = Next::after_the_last(framing, &[]).is_some();
                    if next.is_some() || over {
                        return next;
                    }
                    self.note_reply(remote);
                    Some(Next::Linger)
                }
                _ => self.refuse_site(remote, framing, out),
            },
            Target::Page => {
                private::write_page(out, framing);
                None
            }
            Target::Refused(refusal) => {
                self.refuse_private(remote, framing, &refusal, out);
                None
            }
        }
    }

    /// What happens to an announce for the addresses that it names beside the one it came from.
    fn screen_named(
        &mut self,
        announce: &Announce,
        others: impl Iterator<Item = IpAddr>,
        remote: IpAddr,
        protocol: Protocol,
    ) -> Verdict {
        if !self.engine.gate.has_rules() {
            return Verdict::Allow;
        }
        let endpoints = &announce.endpoints;
        let (v4, v6) = (endpoints.address_v4(), endpoints.address_v6());
        let named = [v4.map(IpAddr::from), v6.map(IpAddr::from)].into_iter().flatten();
        let named = named.filter(|named| *named != remote).chain(others);
        let now = self.engine.clock.now();
        named.fold(Verdict::Allow, |strictest: Verdict, address| {
            let verdict = self.engine.screen(address, protocol);
            self.engine.gate.ask(now);
            strictest.max(verdict)
        })
    }

    /// Tells who is deferred nobody, and to come back soon; what is no announce gets nothing.
    #[cold]
    pub fn defer_private(
        &mut self,
        head: &Head<'_>,
        head_bytes: usize,
        framing: Framing,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let Target::Announce(_) = Target::of(head, head_bytes) else { return Some(Next::Close) };
        let told = TurnedAway::Nobody { interval: self.engine.soon(), says_why: false };
        write_refusal(out, framing, &crate::core::Refused::Deferred, told);
        None
    }

    fn refuse_site(&mut self, remote: IpAddr, framing: Framing, out: &mut Vec<u8>) -> Option<Next> {
        self.refuse_private(remote, framing, &private::Refusal::AuthenticationFailure, out);
        None
    }

    pub(super) fn site(&self) -> &Site {
        &self.engine.private().site
    }

    /// Reads who asks for what; everything is checked that does not need the torrent.
    fn ask_private<'h>(
        &self,
        head: &Head<'h>,
        key: Option<Key<'h>>,
        remote: IpAddr,
    ) -> Result<PrivateAnnounce, private::Refusal<'static>> {
        let private = self.engine.private();
        let asked = Asked::parse(head.query, Dialect::Standard)?;
        let passkey = asked.passkey(key)?;
        let user = private.find(passkey, &self.engine.clock).inspect_err(|_| {
            refused::say_passkey(Protocol::Http, remote, &passkey);
            self.trace_disabled(&passkey, Protocol::Http, remote, &asked);
        })?;
        self.announce_of(user, &asked, remote).inspect_err(|refusal| {
            self.trace_refusal(user, Protocol::Http, remote, &asked, refusal);
        })
    }

    fn announce_of(
        &self,
        user: User,
        asked: &Asked<'_>,
        remote: IpAddr,
    ) -> Result<PrivateAnnounce, private::Refusal<'static>> {
        let private = self.engine.private();
        let info_hash = asked.info_hash.ok_or(private::Refusal::Unregistered { reason: None })?;
        let peer_id = match asked.client(&private.rules) {
            Ok(peer_id) => peer_id,
            // What is wrong with the torrent comes first, where it is known here.
            Err(refusal) => {
                let here = self.engine.elsewhere(&info_hash).is_none();
                let unknown = here && private.swarms.terms(&info_hash).is_none();
                return Err(if unknown {
                    private::Refusal::Unregistered { reason: None }
                } else {
                    refusal
                });
            }
        };
        let located = private::locate(asked, remote, &self.engine.settings.trusted_network);
        let numwant = asked.numwant.peers(
            asked.event,
            self.engine.settings.numwant_default,
            self.engine.settings.numwant_max,
        );
        let families = Families { v4: true, v6: true };
        let announce = asked.to_engine(info_hash, peer_id, user, &located, numwant, families);
        Ok(PrivateAnnounce {
            announce,
            remote: located.address,
            compact: asked.compact,
            illegal: located.illegal,
            waits: false,
        })
    }

    fn go_to_owner(
        &mut self,
        asked: PrivateAnnounce,
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        match self.engine.elsewhere(&asked.announce.info_hash) {
            Some(owner) => {
                let asked = HttpAsked::User(asked);
                Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })))
            }
            None => self.answer_private(&asked, framing, now, out),
        }
    }

    /// Answers an announce of a torrent that this core owns; `Some` when the answer has to wait, or the announce itself.
    pub fn answer_private(
        &mut self,
        asked: &PrivateAnnounce,
        framing: Framing,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let PrivateAnnounce { announce, remote, compact, illegal, waits } = asked;
        match self.engine.book(announce, Protocol::Http, family(*remote), *waits, now) {
            Booked::Told { interval, once } => {
                self.engine.private_mut().trace_answer(Some(interval), now);
                let comes_at_min = query::comes_at_min_interval(&announce.peer_id.0);
                let announced = Announced {
                    counts: self.engine.reply.counts,
                    peers_v4: &self.engine.reply.peers_v4,
                    peers_v6: &self.engine.reply.peers_v6,
                    interval,
                    interval_min: self.engine.interval.min(interval, comes_at_min),
                    compact: *compact,
                    warning: illegal.then_some(&private::ILLEGAL_ADDRESS),
                };
                private::write_announce(out, framing, &announced);
                once.then(|| Next::Hold(self.engine.private_mut().hold(), framing))
            }
            Booked::Refused { refusal, once } => {
                let interval = self.refusal_interval(&refusal, &announce.info_hash, now);
                if interval.is_some() || !waits {
                    refused::say(Protocol::Http, *remote, &refusal);
                }
                let Some(interval) = interval else { return self.wait(asked, framing, now) };
                self.engine.private_mut().trace_answer(Some(interval), now);
                write_refusal(out, framing, &refusal, self.engine.told_for_good(interval));
                once.then(|| Next::Hold(self.engine.private_mut().hold(), framing))
            }
            Booked::Unable => self.wait(asked, framing, now),
        }
    }

    /// Has an announce that cannot be booked now wait until it can be. When the core ends that is not to come, and its
    /// client had better ask again, or go.
    fn wait(&mut self, asked: &PrivateAnnounce, framing: Framing, now: Seconds) -> Option<Next> {
        let private = self.engine.private_mut();
        match asked.waits {
            false => private.trace_answer(None, now),
            true => private.traces.forget(),
        }
        if private.is_closed {
            return Some(Next::Close);
        }
        let asked = PrivateAnnounce { waits: true, ..*asked };
        Some(Next::TryAgain(Box::new(asked), framing))
    }

    /// When a client that was refused should come back: soon, where the site may be about to register
    /// the torrent, else late. A name that is asked for in vain is asked for less and less often, each time a
    /// quarter of the time since then; one that was registered and is no longer, late. `None` where only
    /// something is full: there may be room again any moment.
    fn refusal_interval(
        &mut self,
        refusal: &Refusal,
        info_hash: &InfoHash,
        now: Seconds,
    ) -> Option<Seconds> {
        Some(match refusal {
            Refusal::Unregistered => {
                let soon = self.soon_registered();
                let private = self.engine.private_mut();
                later_and_later(soon, private.swarms.asked_in_vain(info_hash, now), now)
            }
            Refusal::PeersMax | Refusal::TorrentsMax | Refusal::NoRoom => return None,
            // One of the downloads may be complete by then.
            Refusal::DownloadsMax => self.engine.interval.current(),
            Refusal::Deleted { .. }
            | Refusal::LeechingForbidden
            | Refusal::ClientsMax
            | Refusal::NameTaken => private::FAILURE_INTERVAL,
        })
    }

    /// When a client comes back whose torrent or user the site may be about to register.
    fn soon_registered(&self) -> Seconds {
        Seconds(self.engine.settings.unregistered_interval.as_secs() as u32)
    }

    /// Refuses an announce, before its torrent is looked at. A passkey that nobody has, which may be about to be given to
    /// somebody, is asked for less and less often, as an infohash is.
    fn refuse_announce(
        &mut self,
        remote: IpAddr,
        framing: Framing,
        refusal: &private::Refusal<'_>,
        passkey: Option<Passkey>,
        out: &mut Vec<u8>,
    ) {
        refused::say(Protocol::Http, remote, refusal);
        self.engine.counters.front(Protocol::Http, family(remote)).refuse(reason_of(refusal));
        let told = self.told_without_torrent(refusal, passkey);
        write_refusal(out, framing, refusal, told);
    }

    /// What a client is told that is refused before its torrent is looked at.
    fn told_without_torrent(
        &mut self,
        refusal: &private::Refusal<'_>,
        passkey: Option<Passkey>,
    ) -> TurnedAway {
        let interval = self.interval_without_torrent(refusal, passkey);
        match will_not_be_served(refusal) {
            true => self.engine.told_for_good(interval),
            false => TurnedAway::Failure(interval),
        }
    }

    /// When a client comes back that was refused before its torrent was looked at. Whoever may not announce any more is
    /// not about to be registered.
    fn interval_without_torrent(
        &mut self,
        refusal: &private::Refusal<'_>,
        passkey: Option<Passkey>,
    ) -> Seconds {
        let (soon, now) = (self.soon_registered(), self.engine.clock.now());
        match (refusal, passkey) {
            (private::Refusal::PasskeyNotFound, Some(passkey))
                if self.engine.private().accounts.holder_at(&passkey, now).is_none() =>
            {
                let swarms = &mut self.engine.private_mut().swarms;
                later_and_later(soon, swarms.passkey_in_vain(&passkey, now), now)
            }
            (private::Refusal::Unregistered { .. }, _) => soon,
            _ => private::FAILURE_INTERVAL,
        }
    }

    pub(super) fn refuse_private(
        &mut self,
        remote: IpAddr,
        framing: Framing,
        refusal: &private::Refusal<'_>,
        out: &mut Vec<u8>,
    ) {
        let interval = self.interval_without_torrent(refusal, None);
        refused::say(Protocol::Http, remote, refusal);
        self.engine.counters.front(Protocol::Http, family(remote)).refuse(reason_of(refusal));
        private::write_failure(out, framing, refusal, interval, interval);
    }

    /// Answers a user's scrape; `Some` when other cores have to be asked.
    fn scrape_private(
        &mut self,
        head: &Head<'_>,
        key: Option<Key<'_>>,
        framing: Framing,
        remote: IpAddr,
        now: Seconds,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let mut hashes = Vec::new();
        let asked = query::parse_scrape(head.query, &mut hashes);
        let in_query = asked.as_ref().ok().and_then(|scrape| scrape.passkey);
        let user = private::passkey(key, in_query)
            .and_then(|passkey| self.engine.private().find(passkey, &self.engine.clock));
        match user {
            Ok(user) => self.engine.private().trace(user, Protocol::Http, now, || What::Scraped {
                address: remote,
                info_hashes: hashes.clone(),
            }),
            Err(refusal) => {
                self.refuse_private(remote, framing, &refusal, out);
                return None;
            }
        }
        self.gather_scrape(hashes, framing, remote, now, out)
    }

    /// Hears an announce over UDP, whose connection id is good.
    pub fn hear_private_udp(
        &mut self,
        port: usize,
        from: Correspondent,
        announce: &udp::Announce<'_>,
        waiting: &mut Waiting,
    ) {
        let address = from.remote.ip().to_canonical();
        let mut url_data = [0; URL_DATA_BYTES_MAX];
        let url_data = announce.options.url_data(&mut url_data);
        let asked = Asked::of_udp(announce, url_data);
        let heard = self.ask_private_udp(&asked, address);
        if let Ok(announce_of_user) = &heard {
            let others = std::iter::empty();
            match self.screen_named(announce_of_user, others, address, Protocol::Udp) {
                Verdict::Allow => {}
                Verdict::Deny => return,
                Verdict::Defer => {
                    let (interval, transaction) = (self.engine.soon(), announce.transaction);
                    return self.push(port, from, |out| {
                        write_announce(out, transaction, interval, Counts::default(), &[]);
                    });
                }
            }
        }
        match heard {
            Ok(announce_of_user) => match self.engine.elsewhere(&announce_of_user.info_hash) {
                None => {
                    waiting.private.push(announce_of_user);
                    waiting.senders.push((from, announce.transaction));
                }
                Some(owner) => {
                    let asked = UdpAsked::User(announce_of_user);
                    let transaction = announce.transaction;
                    self.pass_on(owner, UdpAnnounce { port, from, transaction, asked });
                }
            },
            Err(refusal) => {
                refused::say(Protocol::Udp, address, &refusal);
                let front = self.engine.counters.front(Protocol::Udp, family(address));
                front.refuse(reason_of(&refusal));
                let told = self.told_without_torrent(&refusal, asked.passkey(None).ok());
                let (transaction, info_hash) = (announce.transaction, &announce.info_hash);
                let datagram = self.refusal_udp(from, transaction, info_hash, &refusal, told);
                if let Some(datagram) = datagram {
                    self.push(port, from, |out| out.extend_from_slice(&datagram));
                }
            }
        }
    }

    fn ask_private_udp(
        &self,
        asked: &Asked<'_>,
        address: IpAddr,
    ) -> Result<Announce, private::Refusal<'static>> {
        let private = self.engine.private();
        // Who sends no path (BEP 41) is told what is missing.
        let passkey = asked.passkey(None).map_err(|_| private::Refusal::PasskeyNotFound)?;
        let user: User = private.find(passkey, &self.engine.clock).inspect_err(|_| {
            refused::say_passkey(Protocol::Udp, address, &passkey);
            self.trace_disabled(&passkey, Protocol::Udp, address, asked);
        })?;
        self.announce_of_udp(user, asked, address).inspect_err(|refusal| {
            self.trace_refusal(user, Protocol::Udp, address, asked, refusal);
        })
    }

    fn announce_of_udp(
        &self,
        user: User,
        asked: &Asked<'_>,
        address: IpAddr,
    ) -> Result<Announce, private::Refusal<'static>> {
        let private = self.engine.private();
        let info_hash = asked.info_hash.ok_or(private::Refusal::Unregistered { reason: None })?;
        let peer_id = asked.client(&private.rules)?;
        let located = private::locate(asked, address, &self.engine.settings.trusted_network);
        let fits = if address.is_ipv4() { PEERS_V4_MAX } else { PEERS_V6_MAX };
        let cap = self.engine.settings.numwant_max.min(fits);
        let numwant = asked.numwant.peers(asked.event, self.engine.settings.numwant_default, cap);
        // A reply over UDP has room for peers of the family that it is sent over (BEP 15).
        let families = Families { v4: address.is_ipv4(), v6: address.is_ipv6() };
        Ok(asked.to_engine(info_hash, peer_id, user, &located, numwant, families))
    }

    /// Answers an announce over UDP of a torrent that this core owns.
    pub fn answer_private_udp(
        &mut self,
        port: usize,
        from: Correspondent,
        transaction: Transaction,
        announce: &Announce,
        now: Seconds,
    ) {
        match self.engine.book(
            announce,
            Protocol::Udp,
            family(from.remote.ip().to_canonical()),
            false,
            now,
        ) {
            Booked::Told { interval, once } => {
                self.engine.private_mut().trace_answer(Some(interval), now);
                let Engine { reply, counters, .. } = &mut self.engine;
                let peers = if announce.families.v4 { &reply.peers_v4 } else { &reply.peers_v6 };
                if once {
                    let mut datagram = Vec::new();
                    write_announce(&mut datagram, transaction, interval, reply.counts, peers);
                    self.hold_udp(port, from, datagram);
                } else {
                    self.desk.push(counters, port, from, |out| {
                        write_announce(out, transaction, interval, reply.counts, peers);
                    });
                }
            }
            Booked::Refused { refusal, once } => {
                refused::say(Protocol::Udp, from.remote.ip(), &refusal);
                let interval = self.refusal_interval(&refusal, &announce.info_hash, now);
                let Some(interval) = interval else {
                    return self.engine.private_mut().trace_answer(None, now);
                };
                let told = self.engine.told_for_good(interval);
                let interval = matches!(told, TurnedAway::Nobody { .. }).then_some(interval);
                self.engine.private_mut().trace_answer(interval, now);
                let info_hash = &announce.info_hash;
                match self.refusal_udp(from, transaction, info_hash, &refusal, told) {
                    Some(datagram) if once => self.hold_udp(port, from, datagram),
                    Some(datagram) => {
                        self.push(port, from, |out| out.extend_from_slice(&datagram));
                    }
                    None => {}
                }
            }
            // Silence: the client asks again in 15 seconds, and later after an error.
            Booked::Unable => self.engine.private_mut().trace_answer(None, now),
        }
    }

    /// Sends a datagram when everything booked so far is on the disk.
    fn hold_udp(&mut self, port: usize, to: Correspondent, datagram: Vec<u8>) {
        let private = self.engine.private_mut();
        private.outgoing.wait(Waiter::Udp { port, to, datagram });
    }

    /// A user was refused before the torrent was looked at.
    fn trace_refusal(
        &self,
        user: User,
        protocol: Protocol,
        address: IpAddr,
        asked: &Asked<'_>,
        refusal: &dyn std::fmt::Display,
    ) {
        self.engine.private().trace(user, protocol, self.engine.clock.now(), || What::Refused {
            address,
            info_hash: asked.info_hash,
            peer_id: asked.peer_id(),
            refusal: refusal.to_string(),
        });
    }

    /// Traces an announce with a passkey that nobody may announce with. If it is a disabled user's, he is the one who
    /// is looked for.
    #[cold]
    fn trace_disabled(
        &self,
        passkey: &Passkey,
        protocol: Protocol,
        address: IpAddr,
        asked: &Asked<'_>,
    ) {
        let accounts = &self.engine.private().accounts;
        let holder = accounts.holder_at(passkey, self.engine.clock.now());
        if let Some(known) = holder.and_then(|id| accounts.known(id)) {
            let told = private::Refusal::PasskeyNotFound;
            let why = format_args!("{told} (user {} is disabled)", known.user.id.0);
            self.trace_refusal(known.user, protocol, address, asked, &why);
        }
    }

    /// Takes in what became of records that went to the journal, where that is known by now, and lets those
    /// go on who waited.
    pub fn journaled(&mut self) {
        while let Some(private) = &mut self.engine.private
            && let Some(waited) = private.next_answer()
        {
            self.release(waited);
        }
    }

    /// Lets those go on who waited for the journal.
    pub fn release(&mut self, Waited { waiters, on_disk }: Waited) {
        for waiter in waiters {
            match waiter {
                Waiter::Http(late) => late.bring(on_disk),
                Waiter::Core(told) => {
                    // Who asked may have given up.
                    _ = told.send(if on_disk { Told::Done } else { Told::NotOnDisk });
                }
                Waiter::Site { mut results, reply } => {
                    if !on_disk {
                        for result in results.iter_mut().filter(|result| result.is_ok()) {
                            *result = Err(Failure::NotOnDisk);
                        }
                    }
                    // Who asked may have given up.
                    let _ = reply.send(results);
                }
                Waiter::Udp { port, to, datagram } => {
                    self.push(port, to, |out| out.extend_from_slice(&datagram));
                }
            }
        }
        self.flush_all();
    }
}
