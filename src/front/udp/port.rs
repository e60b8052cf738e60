//! A UDP socket of a core.

use std::rc::Rc;

use glommio::net::UdpSocket;
use ops::counters::{self, Family, Protocol};
use ops::service::Service;
use shard::Announce;

use crate::core::family;
use crate::front::udp::shedding::Guard;
use crate::front::{Core, Desk};
use crate::net::batch::{Correspondent, Outbox, Path, Via};
use crate::net::{filter, stream};
use crate::wire::proxy;
use crate::wire::udp::Transaction;

/// A socket, and what goes through it.
pub struct Port {
    /// The socket.
    pub socket: Rc<UdpSocket>,
    /// Replies that wait to leave together.
    outbox: Outbox,
    /// Announces that wait to be applied together.
    pub waiting: Waiting,
    /// Whether each datagram begins with the PROXY protocol.
    pub is_proxied: bool,
    /// The place of its address among all; there may be several sockets of one address.
    pub place: usize,
    /// Watches for floods.
    pub guard: Guard,
    /// Of its addresses.
    pub family: Family,
    /// What it is a part of.
    pub service: Service,
}

/// The announces of a batch, parsed and not yet applied, and who sent each.
#[derive(Default)]
pub struct Waiting {
    /// The announces.
    pub announces: Vec<Announce>,
    /// The announces of users to a private tracker; there are no others then.
    pub private: Vec<shard::private::Announce>,
    /// The client that gets the answer to the announce at the same place.
    pub senders: Vec<(Correspondent, Transaction)>,
    /// The seed from which the chance of the announce at the same place follows.
    pub seeds: Vec<u64>,
}

impl Waiting {
    /// Empties it: nobody waits any more.
    pub fn clear(&mut self) {
        self.announces.clear();
        self.private.clear();
        self.senders.clear();
        self.seeds.clear();
    }
}

impl Port {
    /// The port for `socket`, from now on this executor's, whose address has this place; nothing waiting.
    pub fn new(socket: std::net::UdpSocket, is_proxied: bool, place: usize) -> Self {
        let family = socket.local_addr().map_or(Family::V4, |address| family(address.ip()));
        let socket = Rc::new(stream::adopt_udp(socket));
        let (outbox, waiting) = (Outbox::new(), Waiting::default());
        // One that a process before put on knows the time and the flood of then.
        let _ = filter::detach(stream::borrow(&*socket));
        let (guard, service) = (Guard::default(), Service::udp(family));
        Self { socket, outbox, waiting, is_proxied, place, guard, service, family }
    }
}

impl Desk {
    /// Adds a reply to those that leave by `port`; sends them all when there is no room for more.
    pub fn push(
        &mut self,
        counters: &mut counters::Core,
        port: usize,
        to: Correspondent,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if self.ports[port].outbox.is_full() {
            self.flush(counters, port);
        }
        counters.front(Protocol::Udp, family(to.remote.ip().to_canonical())).responses += 1;
        let outbox = &mut self.ports[port].outbox;
        match to.path {
            Path::Direct(_) => outbox.push(to, write),
            Path::Proxied(via) => push_proxied(outbox, to, via, write),
        }
    }

    /// Sends the replies that wait to leave by `port`.
    pub fn flush(&mut self, counters: &mut counters::Core, port: usize) {
        let Port { socket, outbox, family, .. } = &mut self.ports[port];
        let sent = outbox.flush(stream::borrow(&**socket));
        counters.front(Protocol::Udp, *family).sent_bytes += sent.bytes as u64;
        counters.udp_send_drops += sent.dropped as u64;
    }

    /// Sends the replies that wait at any port.
    pub fn flush_all(&mut self, counters: &mut counters::Core) {
        for port in 0..self.ports.len() {
            if !self.ports[port].outbox.is_empty() {
                self.flush(counters, port);
            }
        }
    }
}

/// Adds a reply that goes by a proxy, behind the header that it wants there.
#[inline(never)]
fn push_proxied(
    outbox: &mut Outbox,
    to: Correspondent,
    via: Via,
    write: impl FnOnce(&mut Vec<u8>),
) {
    outbox.push(to, |out| {
        let start = out.len();
        if let Some(proxy) = via.echo() {
            proxy::write_simple(out, to.remote, proxy);
        }
        let begin = out.len();
        write(out);
        if out.len() == begin {
            out.truncate(start);
        }
    });
}

impl Core {
    /// Adds a reply to those that leave by `port`; see [`Desk::push`].
    pub fn push(&mut self, port: usize, to: Correspondent, write: impl FnOnce(&mut Vec<u8>)) {
        self.desk.push(&mut self.engine.counters, port, to, write);
    }

    /// Sends the replies that wait at any port.
    pub fn flush_all(&mut self) {
        self.desk.flush_all(&mut self.engine.counters);
    }
}
