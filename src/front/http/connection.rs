//! A connection as it is held, and its way to another core.

use std::os::fd::{BorrowedFd, OwnedFd};

use glommio::net::TcpStream;
use ops::counters::{Protocol, Reason};

use super::conversation;
use super::requests::Next;
use crate::core::mesh::message::{HttpAsked, Journey, Message};
use crate::core::{Refused, family};
use crate::front::SharedCore;
use crate::net::stream;
use crate::wire::http::{Failure, write_failure};

/// A connection, and who holds it.
pub enum Held {
    /// Accepted or arrived just now.
    Fresh(OwnedFd),
    /// Already known to the executor, which can wait for it.
    Adopted(TcpStream),
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
    let Journey { connection, remote, request, rest } = journey;
    if let HttpAsked::User(asked) = request.asked {
        let next = Next::TryAgain(Box::new(asked), request.framing);
        return conversation::begin(core, Held::Fresh(connection), remote, Vec::new(), &rest, next);
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
    core.engine.counters.front(Protocol::Http, family(remote.ip())).refuse(Reason::Overload);
    core.note_reply(remote.ip());
    // It fits the socket's empty buffer, and there is nobody to tell if not.
    let sent = stream::send(stream::borrow(&connection), &out);
    core.note_sent(remote.ip(), sent.ok().flatten().unwrap_or(0));
}
