//! Waiting for connections that are kept alive.
//!
//! While they are busy, the core does not wait for each of them. It looks from time to time which have
//! something to read, as it does with datagrams (see [`crate::front::moderation`]). When they are quiet again,
//! each waits for itself by glommio.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use shard::Seconds;

use crate::core::mesh::late::Late;
use crate::front::http::seats::Seat;
use crate::front::moderation::{self, Moderation};
use crate::front::{Core, SharedCore};
use crate::net::batch::BATCH_MAX;
use crate::net::readiness::Readiness;
use crate::net::session::{self, Sent, Session};
use crate::net::stream;

/// Requests of kept connections in a second from which on they are busy. Waiting for each costs a
/// wake-up of about 50 µs then, a thousand looks a second 5 µs each.
const BUSY: u32 = 1000;

/// They are quiet when they have been for so long.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// How long to look less often before it is quiet.
const QUIET_PAUSE: Duration = Duration::from_millis(1);

/// Connections woken in one step.
const WAKE_STEP: usize = 64;

/// Finds out which connections are ready.
#[derive(Default)]
pub struct Watch {
    /// Looked at while the connections are busy.
    readiness: Option<Readiness>,
    watching: bool,
    /// Requests heard in the second since.
    heard: (u32, Seconds),
    busy: Rc<Late<()>>,
}

/// A connection that is kept, and how it waits.
pub struct Link {
    /// For everything but reading requests.
    pub connection: TcpStream,
    /// Its TLS, where it has any.
    pub session: Option<Box<Session>>,
    /// Whether the core looks after it while such connections are busy.
    watched: bool,
}

impl Watch {
    /// The means to find out which connections are ready, as long as they are busy; nothing when each waits for
    /// itself.
    pub fn watching(&self) -> Option<&Readiness> {
        self.readiness.as_ref().filter(|_| self.watching)
    }

    /// Counts a request that a connection waited for by itself.
    pub fn note_heard(&mut self, now: Seconds) {
        let (heard, since) = &mut self.heard;
        if *since != now {
            (*heard, *since) = (0, now);
        }
        *heard += 1;
        if *heard == BUSY {
            self.busy.bring(());
        }
    }
}

impl Link {
    /// A connection that waits for itself.
    pub fn new((connection, session): (TcpStream, Option<Box<Session>>)) -> Self {
        Self { connection, session, watched: false }
    }

    /// Sends what the kernel takes at once. With `last` nothing follows.
    pub fn send_now<'o>(&mut self, out: &'o [u8], last: bool) -> std::io::Result<Sent<'o>> {
        let connection = stream::borrow(&self.connection);
        session::send(connection, self.session.as_deref_mut(), out, last, false)
    }

    /// Whether its TLS has something left to be sent.
    pub fn has_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unsent())
    }

    /// The connection, to be given to another core.
    pub fn give_up(self, watch: &Watch) -> (TcpStream, Option<Box<Session>>) {
        if let Some(readiness) = watch.readiness.as_ref().filter(|_| self.watched) {
            readiness.give_up(stream::borrow(&self.connection));
        }
        (self.connection, self.session)
    }

    /// Reads what has come, at most as much as `input` holds; 0 bytes at the end.
    pub fn poll_receive(
        &mut self,
        seat: &Seat,
        core: &mut Core,
        context: &mut Context<'_>,
        input: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        seat.wake_with(context.waker());
        let watched = core.desk.watch.watching().is_some_and(|watch| self.join(watch, seat));
        if !watched {
            let read = Pin::new(&mut self.connection).poll_read(context, input);
            if read.is_ready() {
                core.desk.watch.note_heard(core.engine.clock.steady());
            }
            return read;
        }
        if !seat.take_arrival() {
            return Poll::Pending;
        }
        match stream::receive(stream::borrow(&self.connection), input) {
            Ok(Some(received)) => {
                if received == input.len() {
                    seat.note_arrival();
                }
                Poll::Ready(Ok(received))
            }
            Ok(None) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Has the connection watched; false when that cannot be.
    fn join(&mut self, readiness: &Readiness, seat: &Seat) -> bool {
        if !self.watched {
            let connection = stream::borrow(&self.connection);
            // Says so at the next look when something is there already.
            self.watched = readiness.watch(connection, seat.number()).is_ok();
        }
        self.watched
    }
}

/// Looks after the connections whenever they are busy, for as long as the core lives.
pub async fn watch(core: SharedCore) {
    let busy = core.borrow().desk.watch.busy.clone();
    match Readiness::new() {
        Ok(readiness) => core.borrow_mut().desk.watch.readiness = Some(readiness),
        Err(error) => {
            return tracing::warn!(%error, "no epoll: many kept connections cost more than they could");
        }
    }
    loop {
        busy.wait().await;
        core.borrow_mut().desk.watch.watching = true;
        look_while_busy(&core).await;
        core.borrow_mut().desk.watch.watching = false;
        // Now each has to wait for itself.
        let seats = core.borrow().desk.seats.clone();
        let mut seat = 0;
        while seat < seats.borrow().all() {
            for seat in seat..seat + WAKE_STEP {
                seats.borrow().wake(seat);
            }
            seat += WAKE_STEP;
            glommio::executor().yield_now().await;
        }
    }
}

async fn look_while_busy(core: &SharedCore) {
    let mut moderation = Moderation::default();
    let mut looked = Instant::now();
    let mut busy = looked;
    loop {
        let ready = core.borrow_mut().wake_ready();
        let now = Instant::now();
        let pause = moderation.pause(ready, now - looked);
        looked = now;
        if pause.is_some() || ready == BATCH_MAX {
            busy = now;
        }
        match pause {
            Some(pause) => moderation::rest(pause, looked).await,
            None if ready == BATCH_MAX => glommio::executor().yield_now().await,
            None if now - busy > QUIET_TIME => return,
            None => moderation::rest(QUIET_PAUSE, looked).await,
        }
    }
}

impl Core {
    /// Wakes the tasks of the connections that have become ready; how many.
    fn wake_ready(&mut self) -> usize {
        let mut seats = self.desk.seats.borrow_mut();
        let Some(readiness) = &mut self.desk.watch.readiness else { return 0 };
        // Interrupted at most; the next look is soon.
        let Ok(ready) = readiness.look() else { return 0 };
        let found = ready.len();
        self.engine.counters.wakeups += 1;
        self.engine.counters.http_batches += u64::from(found > 0);
        self.engine.counters.http_batched += found as u64;
        for ready in ready {
            seats.note_arrival(ready.number, ready.ending);
        }
        found
    }
}
