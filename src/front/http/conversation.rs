//! A connection that lasts: kept alive, slow to ask, slow to read, or waiting for other cores.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::spawn_local;
use ops::counters::{Protocol, Reason};
use shard::{Counts, Event, InfoHash, Seconds};

use super::connection::{Held, travel};
use super::kept::Round;
use super::requests::Next;
use super::watch::Link;
use crate::core::family;
use crate::core::mesh;
use crate::core::mesh::message::{HttpAsked, HttpRequest, Journey, PrivateAnnounce};
use crate::front::heard::Doing;
use crate::front::http::seats::Seat;
use crate::front::{self, Core, Reading, SharedCore};
use crate::net::remote::Remote;
use crate::net::session::{Handshake, Sent};
use crate::net::stream::{self, Lent};
use crate::wire::http::Framing;
use crate::wire::ocelot;

/// Bytes that are read, and forgotten, at a time from a client that is not done sending.
const LINGER_READ_BYTES: usize = 512;

/// How long a client that is not done sending may take to see that it was answered.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// How much it may send meanwhile.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Time between two looks whether there is room to book an announce.
const TRY_PAUSE: Duration = Duration::from_secs(1);

/// A time that does not come.
const NEVER: Seconds = Seconds(u32::MAX);

/// A connection and what is on its way in and out.
pub(super) struct Conversation {
    pub(super) core: SharedCore,
    // Dropped before the connection it speaks of is closed.
    pub(super) seat: Seat,
    pub(super) link: Link,
    pub(super) remote: Remote,
    /// Read and not yet answered.
    pub(super) input: Vec<u8>,
    /// Written and not yet sent.
    pub(super) output: Vec<u8>,
    /// Where the last announce waits, when it was put down among others.
    batched: Option<Round>,
    /// No deadline goes beyond this one.
    last_deadline: Seconds,
}

/// The client has ended the connection, well or not.
struct Ended;

/// Starts a task for a connection; when all seats are taken, it is closed instead.
pub fn begin(
    core: &SharedCore,
    connection: Held,
    remote: Remote,
    unsent: Vec<u8>,
    input: &[u8],
    next: Next,
) {
    let seat = {
        let core = core.borrow();
        let deadline =
            core.engine.clock.steady() + whole_seconds(core.engine.settings.http_request_timeout);
        // SAFETY: a conversation drops its seat before its connection, in the order of its fields.
        let lent = unsafe { Lent::new(connection.descriptor()) };
        Seat::take(&core.desk.seats, lent, deadline)
    };
    let Some(seat) = seat else {
        let mut core = core.borrow_mut();
        let front = core.engine.counters.front(Protocol::Http, family(remote.client()));
        return front.refuse(Reason::Connections);
    };
    let conversation = Conversation {
        core: core.clone(),
        seat,
        link: Link::new(connection.into_stream()),
        remote,
        input: input.to_vec(),
        output: unsent,
        batched: None,
        last_deadline: NEVER,
    };
    spawn_local(conversation.hold(next)).detach();
}

impl Conversation {
    /// Goes on until the connection ends or travels on. An error is the client's end of it.
    async fn hold(mut self, mut next: Next) {
        loop {
            if next.waits() {
                // A kept connection has what is left of the time in which the request was to come.
                let time = self.core.borrow().engine.settings.http_request_timeout;
                self.give(time);
            }
            let held = match &next {
                Next::Hold(late, framing) => {
                    late.wait().await;
                    self.core.borrow_mut().note_reply(self.remote.client());
                    Some(*framing)
                }
                _ => None,
            };
            if let Next::Confirm(doing, framing) = next {
                match self.confirm(doing, framing).await {
                    Ok(after) => next = after,
                    Err(Ended) => return,
                }
                continue;
            }
            if let Next::TryAgain(asked, framing) = next {
                match self.try_again(*asked, framing).await {
                    Some(after) => next = after,
                    None => return,
                }
                continue;
            }
            if self.has_unsent() && self.send().await.is_err() {
                return;
            }
            if let Some(framing) = held {
                next = self.after_reply(framing);
                continue;
            }
            next = match next {
                Next::Hold(..) | Next::TryAgain(..) | Next::Confirm(..) => {
                    unreachable!("it was waited for above")
                }
                Next::Await => match front::wait_for_reading(&self.core).await {
                    true => self.go_on(),
                    false => return self.move_on().await,
                },
                Next::Close => return self.take_leave(),
                Next::Linger => return self.linger().await,
                Next::Travel(owner, request) => return self.leave(owner, *request),
                Next::Gather(late, hashes, framing) => {
                    let counts = late.wait().await;
                    self.answer_gathered(&hashes, &counts, framing)
                }
                Next::FullScrape(loan, framing) => {
                    if self.recite(&loan, framing).await.is_err() {
                        return;
                    }
                    drop(loan);
                    self.core.borrow_mut().note_reply(self.remote.client());
                    self.after_reply(framing)
                }
                next @ (Next::Begin | Next::Read | Next::Batched) => {
                    match self.listen(next).await {
                        Some(next) => next,
                        None => return,
                    }
                }
            };
        }
    }

    /// Waits until an announce can be booked, for as long as a request may take; `None` when it cannot, and the
    /// connection is closed without an answer: a success would mean that it is booked.
    async fn try_again(&mut self, mut asked: PrivateAnnounce, framing: Framing) -> Option<Next> {
        if !self.output.is_empty() {
            self.send().await.ok()?;
        }
        let time = self.core.borrow().engine.settings.http_request_timeout;
        let until = Instant::now() + time;
        while Instant::now() < until {
            glommio::timer::sleep(TRY_PAUSE).await;
            // Who does not wait any more would take the room of others, though it may be gone; but that it leaves counts.
            let leaves = asked.announce.event == Event::Stopped;
            if !leaves && stream::has_ended(stream::borrow(&self.link.connection)) {
                return None;
            }
            let core = &mut *self.core.borrow_mut();
            match core.desk.reading {
                Reading::On => {}
                Reading::Paused => continue,
                // He asks again, and is heard by the process that serves.
                Reading::Over => return None,
            }
            if let Some(owner) = core.engine.elsewhere(&asked.announce.info_hash) {
                if core.engine.mesh[owner].depth() < mesh::INBOX_MESSAGES_MAX {
                    let asked = HttpAsked::User(asked);
                    return Some(Next::Travel(owner, Box::new(HttpRequest { asked, framing })));
                }
                continue;
            }
            // What he may has changed, perhaps; whoever may nothing any more is told so when he comes again.
            asked.announce.user = core.engine.private().accounts.of(asked.announce.user.id)?;
            let now = core.engine.clock.now();
            match core.answer_private(&asked, framing, now, &mut self.output) {
                Some(Next::TryAgain(..)) => {}
                Some(next) => return Some(next),
                None => {
                    core.note_reply(self.remote.client());
                    break;
                }
            }
        }
        if self.output.is_empty() || self.send().await.is_err() {
            return None;
        }
        Some(self.after_reply(framing))
    }

    /// Tells the site that its change is in force and on the disk, when it is, or that it is not.
    async fn confirm(&mut self, doing: Doing, framing: Framing) -> Result<Next, Ended> {
        match doing.done(&self.core).await {
            Ok(()) => ocelot::write_success(&mut self.output, framing),
            Err(why) => ocelot::write_failure(&mut self.output, framing, &why),
        }
        self.core.borrow_mut().note_reply(self.remote.client());
        self.send().await.map_err(|_| Ended)?;
        Ok(self.after_reply(framing))
    }

    /// Goes to the core that owns the torrent.
    fn leave(self, owner: usize, request: HttpRequest) {
        let Self { core, seat, link, remote, input: rest, .. } = self;
        let (connection, session) = link.give_up(&core.borrow().desk.watch);
        drop(seat);
        if let Ok((connection, session)) = Held::adopted(connection, session).into_descriptor() {
            travel(&core, owner, Journey { connection, session, remote, request, rest });
        }
    }

    /// Answers a scrape whose counts other cores have sent.
    fn answer_gathered(
        &mut self,
        hashes: &[InfoHash],
        counts: &[Option<Counts>],
        framing: Framing,
    ) -> Next {
        let remote = self.remote.client();
        {
            let core = &mut *self.core.borrow_mut();
            core.answer_http_scrape(remote, framing, hashes, counts, &mut self.output);
            core.note_reply(remote);
        }
        self.after_reply(framing)
    }

    /// The next need of the connection after a reply that had to wait.
    fn after_reply(&mut self, framing: Framing) -> Next {
        if let Some(over) = Next::after_the_last(framing, &self.input) {
            return over;
        }
        self.go_on()
    }

    /// Answers what has come already.
    fn go_on(&mut self) -> Next {
        if self.input.is_empty() {
            return Next::Read;
        }
        let core = &mut *self.core.borrow_mut();
        let (consumed, next) =
            core.converse(&mut self.remote, &self.input, 0, None, &mut self.output);
        self.input.drain(..consumed);
        next
    }

    /// Waits for bytes and answers what they complete; `None` at the end of the connection. `next` says
    /// whether this is the first request or a later one.
    async fn listen(&mut self, next: Next) -> Option<Next> {
        // A connection that waits does not keep the room of its replies.
        self.output = Vec::new();
        self.await_request(!matches!(next, Next::Begin) && self.input.is_empty());
        poll_fn(|context| {
            loop {
                match ready!(self.poll_hear(context)) {
                    Ok(Some(next)) => return Poll::Ready(Some(next)),
                    // More of the same request.
                    Ok(None) => {}
                    Err(Ended) => return Poll::Ready(None),
                }
            }
        })
        .await
    }

    /// Reads what has come and answers what it completes; nothing when that is not a whole request.
    ///
    /// Both buffers are the core's. So a connection that waits has none of its own, and what is read and
    /// written lies where the processor has it at hand.
    fn poll_hear(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Next>, Ended>> {
        let shared = self.core.clone();
        let core = &mut *shared.borrow_mut();
        if self.batched.is_some_and(|round| round != core.desk.kept.round()) {
            self.batched = None;
            if let Some(unsent) = core.desk.kept.take_unsent(self.seat.number()) {
                self.output = unsent;
                return Poll::Ready(Ok(Some(Next::Read)));
            }
        }
        if core.desk.http_in.is_empty() {
            // Whoever began this conversation still has the buffer: a task runs as soon as it is spawned.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut input = std::mem::take(&mut core.desk.http_in);
        let read = self.link.poll_receive(&self.seat, core, context, &mut input);
        let mut unsent = None;
        if read.is_ready() && self.batched.take().is_some() {
            // The client did not wait for the answer; it comes first all the same.
            core.answer_kept();
            unsent = core.desk.kept.take_unsent(self.seat.number());
        }
        let heard = match read {
            Poll::Ready(Ok(received @ 1..)) => {
                let mut output = std::mem::take(&mut core.desk.http_out);
                output.clear();
                output.extend(unsent.into_iter().flatten());
                let heard = match &self.link.session {
                    None => Ok(self.hear(core, &input[..received], &mut output)),
                    Some(_) => self.hear_sealed(core, &input[..received], &mut output),
                };
                let heard = heard.and_then(|heard| match heard {
                    Some((next, begins)) => self.send_heard(core, next, begins, &output),
                    None => Ok(None),
                });
                core.desk.http_out = output;
                Poll::Ready(heard)
            }
            Poll::Ready(_) | Poll::Pending => read.map(|_| Err(Ended)),
        };
        core.desk.http_in = input;
        heard
    }

    /// Answers what these bytes complete; with it, whether they were the first of a request.
    fn hear(
        &mut self,
        core: &mut Core,
        received: &[u8],
        output: &mut Vec<u8>,
    ) -> Option<(Next, bool)> {
        let begins = self.input.is_empty();
        Some((self.answer(core, received, output), begins))
    }

    /// The same for bytes of TLS; nothing when they say nothing yet.
    fn hear_sealed(
        &mut self,
        core: &mut Core,
        received: &[u8],
        output: &mut Vec<u8>,
    ) -> Result<Option<(Next, bool)>, Ended> {
        let session = self.link.session.as_mut().expect("it is asked for above");
        let mut plain = std::mem::take(&mut core.desk.tls_in);
        plain.clear();
        let opened = session.open(received, &mut plain);
        let heard = match (opened, session.tell_handshake()) {
            (Err(_), _) => {
                core.engine.counters.tls_failures += 1;
                // Why, for the client; it is over whether that arrives or not.
                let _ = self.link.send_now(&[], false);
                Err(Ended)
            }
            (Ok(()), handshake) => {
                match handshake {
                    Some(Handshake::Full) => core.engine.counters.tls_full += 1,
                    Some(Handshake::Resumed) => core.engine.counters.tls_resumed += 1,
                    None => {}
                }
                match plain.is_empty() {
                    false => Ok(self.hear(core, &plain, output)),
                    true if session.is_closed() => Err(Ended),
                    // A part of the handshake, or of a record. What it takes to answer that leaves at once.
                    true => match self.link.send_now(&[], false) {
                        Ok(_) if self.link.has_unsent() => Ok(Some((Next::Begin, false))),
                        Ok(_) => Ok(None),
                        Err(_) => Err(Ended),
                    },
                }
            }
        };
        core.desk.tls_in = plain;
        heard
    }

    /// Answers what these bytes complete, and keeps the others.
    fn answer(&mut self, core: &mut Core, received: &[u8], output: &mut Vec<u8>) -> Next {
        let seen = self.input.len();
        if seen == 0 {
            // The usual case: the whole request at once, nothing to keep.
            // What is sealed leaves one by one.
            let seat = self.link.session.is_none().then(|| self.seat.number());
            let (consumed, next) = core.converse(&mut self.remote, received, 0, seat, output);
            self.input.extend_from_slice(&received[consumed..]);
            return next;
        }
        self.input.extend_from_slice(received);
        let (consumed, next) = core.converse(&mut self.remote, &self.input, seen, None, output);
        self.input.drain(..consumed);
        next
    }

    /// Sends what was answered as far as that is possible at once; nothing when more of the request is to come, of
    /// which this may have been the first part.
    fn send_heard(
        &mut self,
        core: &mut Core,
        next: Next,
        begins: bool,
        output: &[u8],
    ) -> Result<Option<Next>, Ended> {
        match (&next, output) {
            (Next::Read, []) if !self.link.has_unsent() => {
                if begins {
                    // The first part of a head: from here on it has its own time, whatever trickles.
                    let time = whole_seconds(core.engine.settings.http_header_timeout);
                    self.seat.extend(core.engine.clock.steady() + time);
                }
                Ok(None)
            }
            (Next::Batched, _) => {
                self.batched = Some(core.desk.kept.round());
                Ok(Some(next))
            }
            (Next::Hold(..) | Next::TryAgain(..) | Next::Confirm(..), _) => {
                self.output.extend_from_slice(output);
                Ok(Some(next))
            }
            _ => {
                let last = matches!(next, Next::Close | Next::Linger);
                match self.link.send_now(output, last) {
                    Ok(sent) => {
                        core.note_sent(self.remote.client(), sent.bytes);
                        self.output.extend_from_slice(sent.unsent);
                        Ok(Some(next))
                    }
                    Err(_) => Err(Ended),
                }
            }
        }
    }

    /// Gives the connection its time for a request: until it begins, when it is `idle`, or until it is
    /// there.
    fn await_request(&self, idle: bool) {
        let time = {
            let settings = &self.core.borrow().engine.settings;
            if idle { settings.http_idle_timeout } else { settings.http_header_timeout }
        };
        self.give(time);
    }

    /// Waits until the client has closed its end, for a while and for some bytes.
    ///
    /// A connection that is closed while its client is still sending is reset, and a reset may destroy
    /// the reply before the client has read it (RFC 9112, section 9.6).
    async fn linger(mut self) {
        self.take_leave();
        stream::finish(stream::borrow(&self.link.connection));
        self.give(LINGER_TIME);
        let mut left = LINGER_BYTES_MAX;
        let mut buffer = [0; LINGER_READ_BYTES];
        while left > 0 {
            match self.link.connection.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(received) => left = left.saturating_sub(received),
            }
        }
    }

    /// Sends what was written, for as long as the client takes.
    pub(super) async fn send(&mut self) -> std::io::Result<()> {
        let output = std::mem::take(&mut self.output);
        let Sent { mut bytes, unsent } = self.link.send_now(&output, false)?;
        let sealed = self.link.session.as_mut().map(|session| session.take_unsent());
        let unsent = sealed.as_deref().unwrap_or(unsent);
        if !unsent.is_empty() {
            let timeout = self.core.borrow().engine.settings.http_request_timeout;
            self.give(timeout);
            self.link.connection.write_all(unsent).await?;
            bytes += unsent.len();
        }
        // Its room is for the next answer.
        self.output = output;
        self.output.clear();
        self.core.borrow_mut().note_sent(self.remote.client(), bytes);
        Ok(())
    }

    /// Whether something was written and is not sent.
    fn has_unsent(&self) -> bool {
        !self.output.is_empty() || self.link.has_unsent()
    }

    /// Says that nothing more comes, where that has to be said.
    pub(super) fn take_leave(&mut self) {
        if self.link.session.is_some() {
            // Who is gone does not hear it.
            let _ = self.link.send_now(&[], true);
        }
    }

    /// Gives the connection this much time from now.
    pub(super) fn give(&self, time: Duration) {
        let now = self.core.borrow().engine.clock.steady();
        self.seat.extend((now + whole_seconds(time)).min(self.last_deadline));
    }

    /// Ends whatever is given from here on after the time of a request and `more`.
    pub(super) fn set_last_deadline(&mut self, more: Seconds) {
        let (now, timeout) = {
            let core = self.core.borrow();
            (core.engine.clock.steady(), core.engine.settings.http_request_timeout)
        };
        self.last_deadline = now + whole_seconds(timeout) + more;
        self.give(timeout);
    }

    /// Deadlines are free again.
    pub(super) fn clear_last_deadline(&mut self) {
        self.last_deadline = NEVER;
    }
}

/// Rounded up: deadlines are looked at once a second.
pub(in crate::front) fn whole_seconds(time: Duration) -> Seconds {
    Seconds(time.as_secs_f64().ceil() as u32)
}
