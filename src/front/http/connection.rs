//! A connection as it is held, and its way to another core.

use std::os::fd::{BorrowedFd, OwnedFd};

use glommio::net::TcpStream;
use ops::counters::{Protocol, Reason};

use crate::core::mesh::message::{Journey, Message};
use crate::core::{Refused, family};
use crate::front::SharedCore;
use crate::net::stream;

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

/// Sends a connection to `owner`; when that core has no room, the client is asked to come back.
pub fn travel(core: &SharedCore, owner: usize, journey: Journey) {
    let core = &mut *core.borrow_mut();
    core.engine.counters.http_hops += 1;
    if let Err(Message::Connection(journey)) =
        core.engine.send(owner, Message::Connection(Box::new(journey)))
    {
        let mut out = Vec::new();
        let framing = journey.request.framing.closing();
        core.refuse_http(framing, Refused::Overload, &mut out);
        let front = core.engine.counters.front(Protocol::Http, family(journey.remote.ip()));
        front.refuse(Reason::Overload);
        core.note_reply(journey.remote.ip());
        // It fits the socket's empty buffer, and there is nobody to tell if not.
        let sent = stream::send(stream::borrow(&journey.connection), &out);
        core.note_sent(journey.remote.ip(), sent.ok().flatten().unwrap_or(0));
    }
}
