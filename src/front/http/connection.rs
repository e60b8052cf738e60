//! A connection as it is held, and its way to another core.

use std::os::fd::{BorrowedFd, OwnedFd};

use glommio::net::TcpStream;
use ops::counters::{Protocol, Reason};

use super::conversation;
use super::requests::Next;
use crate::core::mesh::message::{HttpAsked, Journey, Message};
use crate::core::{Refused, family};
use crate::front::SharedCore;
use crate::net::session::{self, Sent, Session};
use crate::net::stream;
use crate::wire::http::{Failure, write_failure};

/// A connection, who holds it, and its TLS.
pub struct Held {
    holder: Holder,
    /// Its TLS, where it has any.
    pub session: Option<Box<Session>>,
}

enum Holder {
    /// Accepted or arrived just now.
    Fresh(OwnedFd),
    /// Already known to the executor, which can wait for it.
    Adopted(TcpStream),
}

impl Held {
    /// One that was accepted or has arrived just now.
    pub fn fresh(connection: OwnedFd, session: Option<Box<Session>>) -> Self {
        Self { holder: Holder::Fresh(connection), session }
    }

    /// One that the executor knows already, and can wait for.
    pub fn adopted(connection: TcpStream, session: Option<Box<Session>>) -> Self {
        Self { holder: Holder::Adopted(connection), session }
    }

    /// The connection, for calls that do not wait.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.holder {
            Holder::Fresh(connection) => stream::borrow(connection),
            Holder::Adopted(connection) => stream::borrow(connection),
        }
    }

    /// Sends what the kernel takes now. `last` bytes are held back for the end of the stream, which has to follow.
    pub fn send<'o>(&mut self, out: &'o [u8], last: bool) -> std::io::Result<Sent<'o>> {
        let descriptor = match &self.holder {
            Holder::Fresh(connection) => stream::borrow(connection),
            Holder::Adopted(connection) => stream::borrow(connection),
        };
        session::send(descriptor, self.session.as_deref_mut(), out, last, last)
    }

    /// Whether its TLS has something left to be sent.
    pub fn has_unsent(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.has_unsent())
    }

    /// The connection as something to wait for.
    pub fn into_stream(self) -> (TcpStream, Option<Box<Session>>) {
        let stream = match self.holder {
            Holder::Fresh(connection) => stream::adopt(connection),
            Holder::Adopted(connection) => connection,
        };
        (stream, self.session)
    }

    /// The connection as something to send to another core. The executor does not give its own
    /// descriptor away, so one that it knows is duplicated.
    pub fn into_descriptor(self) -> std::io::Result<(OwnedFd, Option<Box<Session>>)> {
        let descriptor = match self.holder {
            Holder::Fresh(connection) => connection,
            Holder::Adopted(connection) => stream::borrow(&connection).try_clone_to_owned()?,
        };
        Ok((descriptor, self.session))
    }
}

/// Sends a connection to `owner`. When that core has no room, the client is asked to come back; a user's announce, which
/// is booked when it is answered, waits here until there is.
pub fn travel(core: &SharedCore, owner: usize, journey: Journey) {
    let journey = {
        let engine = &mut core.borrow_mut().engine;
        engine.counters.http_hops += 1;
        match engine.send(owner, Message::Connection(Box::new(journey))) {
            Err(Message::Connection(journey)) => *journey,
            _ => return,
        }
    };
    let Journey { connection, session, remote, request, rest } = journey;
    let mut connection = Held::fresh(connection, session);
    if let HttpAsked::User(asked) = request.asked {
        let next = Next::TryAgain(Box::new(asked), request.framing);
        return conversation::begin(core, connection, remote, Vec::new(), &rest, next);
    }
    let core = &mut *core.borrow_mut();
    let mut out = Vec::new();
    let framing = request.framing.closing();
    match request.asked {
        HttpAsked::Open(_) => core.refuse_http(framing, Refused::Overload, &mut out),
        _ => {
            let reason = &Refused::Overload;
            write_failure(&mut out, framing, &Failure { reason, intervals: None, retry: None });
        }
    }
    core.engine.counters.front(Protocol::Http, family(remote.client())).refuse(Reason::Overload);
    core.note_reply(remote.client());
    // It fits the socket's empty buffer, and there is nobody to tell if not.
    if let Ok(sent) = connection.send(&out, true) {
        core.note_sent(remote.client(), sent.bytes);
    }
}
