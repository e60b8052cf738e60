//! Requests over HTTP (BEP 3), run to completion.
//!
//! The kernel holds a new connection back until its request is there (`TCP_DEFER_ACCEPT`), so nearly
//! every one is accepted, read, answered and closed in one go: no task, no timer, no waiting. Only a
//! connection that lasts gets a task of its own (see [`super::http::conversation`]).
//!
//! When another core owns the torrent, the connection travels there with the parsed request, and
//! stays there.

pub mod connection;
pub mod conversation;
pub mod full_scrape;
pub mod kept;
mod leaving;
pub mod requests;
pub mod seats;
pub mod shelf;
pub mod watch;

pub(super) use conversation::whole_seconds;

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use ops::counters::{Family, Protocol};
use ops::screening::Verdict;
use ops::service::Service;
use persist::Trouble;

use super::http::connection::{Held, travel};
use super::http::requests::Next;
use super::moderation::{self, Moderation};
use crate::core::family;
use crate::core::mesh::message::{HttpAsked, Journey};
use crate::core::mesh::succession::Leaving;
use crate::front::door::{self, Door};
use crate::front::{Core, Reading, SharedCore, rest_while, wait_for_reading};
use crate::net::batch::BATCH_MAX;
use crate::net::remote::Remote;
use crate::net::session::Sent;
use crate::net::stream;

/// Connections accepted before other tasks get their turn.
const ACCEPTS_PER_TURN: usize = BATCH_MAX;

/// Accepts connections that come in by `door` for as long as the core lives.
pub async fn accept(core: SharedCore, listener: TcpListener, door: Door) {
    let mut moderation = Moderation::default();
    let mut looked = Instant::now();
    let local = listener.local_addr().map_or(Family::V4, |address| family(address.ip()));
    let service = Service::http(local, door.is_tls);
    loop {
        if core.borrow().desk.reading != Reading::On && !wait_for_reading(&core).await {
            return;
        }
        rest_while(&core, |core| core.engine.rests(service)).await;
        let accepted = match accept_some(&core, &listener, door) {
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
            None => {
                if let Err(error) = stream::acceptable(stream::borrow(&listener)).await {
                    out_of_descriptors(&error).await;
                }
            }
        }
    }
}

fn accept_some(core: &SharedCore, listener: &TcpListener, door: Door) -> std::io::Result<usize> {
    for accepted in 0..ACCEPTS_PER_TURN {
        match stream::accept(stream::borrow(listener))? {
            Some((connection, address)) => {
                if let Some(remote) = remote(address, door) {
                    begin(core, Held::fresh(connection.into(), None), remote, door);
                }
            }
            None => return Ok(accepted),
        }
    }
    Ok(ACCEPTS_PER_TURN)
}

/// Who is at the other end of a new connection; `None` where the kernel cannot say.
fn remote(address: Option<SocketAddr>, door: Door) -> Option<Remote> {
    match door.is_unix {
        true => Some(Remote::unix()),
        false => address.map(|address| Remote::new(address.ip(), door.is_tls)),
    }
}

/// Connections wait in the kernel meanwhile; those that end free descriptors.
async fn out_of_descriptors(error: &std::io::Error) {
    if let Some(times) = UNACCEPTED.again("") {
        tracing::error!(%error, times, "cannot accept connections (out of file descriptors?); trying again");
    }
    glommio::timer::sleep(Duration::from_millis(500)).await;
}

/// Of all listeners.
static UNACCEPTED: Trouble = Trouble::new();

/// A new connection: reads what is there and answers it.
fn begin(core: &SharedCore, mut connection: Held, remote: Remote, door: Door) {
    let Door { is_tls, is_proxied, .. } = door;
    if is_proxied {
        return door::stream::greet(core, connection, remote, is_tls);
    }
    let mut input = {
        let core = &mut *core.borrow_mut();
        if core.turns_away(remote) || !core.welcome(&mut connection, remote) {
            return;
        }
        std::mem::take(&mut core.desk.http_in)
    };
    match stream::receive(connection.descriptor(), &mut input) {
        Ok(Some(0)) | Err(_) => {}
        Ok(Some(received)) if is_tls => shake(core, connection, remote, &input[..received]),
        Ok(Some(received)) => go_on(core, connection, remote, &input[..received]),
        Ok(None) => conversation::begin(core, connection, remote, Vec::new(), &[], Next::Begin),
    }
    core.borrow_mut().desk.http_in = input;
}

/// A connection that a proxy has brought, with what came behind its header: answers that.
pub(super) fn enter(
    core: &SharedCore,
    mut connection: Held,
    remote: Remote,
    input: &[u8],
    is_tls: bool,
) {
    {
        let core = &mut *core.borrow_mut();
        if core.turns_away(remote) || !core.welcome(&mut connection, remote) {
            return;
        }
    }
    match input {
        [] => conversation::begin(core, connection, remote, Vec::new(), &[], Next::Begin),
        _ if is_tls => shake(core, connection, remote, input),
        _ => go_on(core, connection, remote, input),
    }
}

impl Core {
    /// Whether a connection is refused for its address, or as one too many. That of a trusted proxy is asked of each
    /// request, by whose it is.
    fn turns_away(&mut self, remote: Remote) -> bool {
        let address = remote.connection();
        let service = Service::http(family(address), remote.is_tls());
        !remote.is_unix()
            && (self.engine.screen(address, Protocol::Http) == Verdict::Deny
                && !self.is_proxy(address)
                || !self.engine.admit_connection(service, address))
    }

    /// Counts a new connection, and begins its TLS where there is to be any; false when that cannot be.
    fn welcome(&mut self, connection: &mut Held, remote: Remote) -> bool {
        let is_tls = remote.is_tls();
        self.engine.counters.front(Protocol::Http, family(remote.connection())).connections += 1;
        if is_tls {
            connection.session = self.desk.session();
        }
        connection.session.is_some() == is_tls
    }
}

/// The first bytes of a connection with TLS: answers them, and waits for what follows.
fn shake(core: &SharedCore, mut connection: Held, remote: Remote, input: &[u8]) {
    let mut plain = Vec::new();
    let session = connection.session.as_mut().expect("it was made for this one");
    let opened = session.open(input, &mut plain);
    let Ok(sent) = connection.send(&[], false) else { return };
    {
        let core = &mut *core.borrow_mut();
        core.note_sent(remote.client(), sent.bytes);
        if opened.is_err() {
            return core.engine.counters.tls_failures += 1;
        }
    }
    conversation::begin(core, connection, remote, Vec::new(), &plain, Next::Begin);
}

/// A connection that the process before has handed on, with what it has not answered: goes on with it.
pub fn take(core: &SharedCore, Leaving { connection, remote, input }: Leaving) {
    let connection = Held::fresh(connection, None);
    match input.is_empty() {
        true => conversation::begin(core, connection, remote, Vec::new(), &[], Next::Read),
        false => go_on(core, connection, remote, &input),
    }
}

/// A connection that another core sent: answers its request and keeps it.
pub fn arrive(core: &SharedCore, journey: Journey) {
    let Journey { connection, session, mut remote, request, rest } = journey;
    let mut out = Vec::new();
    let connection = Held::fresh(connection, session);
    let held = {
        let core = &mut *core.borrow_mut();
        let (now, framing) = (core.engine.clock.now(), request.framing);
        let held = match &request.asked {
            HttpAsked::Open(asked) => {
                core.answer_http_announce(asked, framing, now, &mut out);
                None
            }
            HttpAsked::User(asked) => core.answer_private(asked, framing, now, &mut out),
            HttpAsked::Report(info_hash) => {
                core.answer_torrent_report(*info_hash, framing, &mut out);
                None
            }
            HttpAsked::Site(update) => {
                Some(core.answer_update(update, framing, remote.client(), now, &mut out))
            }
        };
        if held.is_none() {
            core.note_reply(remote.client());
        }
        held
    };
    if let Some(next) = held {
        return settle(core, connection, remote, &out, &rest, next);
    }
    let next = match (Next::after_the_last(request.framing, &rest), &rest[..]) {
        (Some(over), _) => over,
        (None, []) => Next::Read,
        (None, _) => {
            let (consumed, next) =
                core.borrow_mut().converse(&mut remote, &rest, 0, None, &mut out);
            return settle(core, connection, remote, &out, &rest[consumed..], next);
        }
    };
    settle(core, connection, remote, &out, &rest, next);
}

fn go_on(core: &SharedCore, connection: Held, mut remote: Remote, input: &[u8]) {
    let (mut out, consumed, next) = {
        let core = &mut *core.borrow_mut();
        let mut out = std::mem::take(&mut core.desk.http_out);
        out.clear();
        let (consumed, next) = core.converse(&mut remote, input, 0, None, &mut out);
        (out, consumed, next)
    };
    settle(core, connection, remote, &out, &input[consumed..], next);
    out.clear();
    core.borrow_mut().desk.http_out = out;
}

/// Sends `out` as far as it goes and brings the connection to whatever is `next`; `rest` is input
/// that has not been looked at.
fn settle(
    core: &SharedCore,
    mut connection: Held,
    remote: Remote,
    out: &[u8],
    rest: &[u8],
    next: Next,
) {
    if let Next::Hold(..) | Next::TryAgain(..) | Next::Confirm(..) = next {
        return conversation::begin(core, connection, remote, out.to_vec(), rest, next);
    }
    // Unread input turns the end into a reset, which would take bytes that are held back with it.
    let last = matches!(next, Next::Close) && rest.is_empty();
    let Ok(Sent { bytes, unsent }) = connection.send(out, last) else { return };
    core.borrow_mut().note_sent(remote.client(), bytes);
    let is_sent = unsent.is_empty() && !connection.has_unsent();
    match next {
        Next::Close if is_sent => {}
        Next::Travel(owner, request) if is_sent => {
            if let Ok((connection, session)) = connection.into_descriptor() {
                let (request, rest) = (*request, rest.to_vec());
                travel(core, owner, Journey { connection, session, remote, request, rest });
            }
        }
        next => conversation::begin(core, connection, remote, unsent.to_vec(), rest, next),
    }
}
