//! The front ends: requests in, replies out, on the thread of the core they reached.

pub mod ask;
pub mod door;
pub mod heard;
pub mod http;
pub mod moderation;
mod ocelot;
pub mod private;
mod refused;
pub mod udp;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use ops::counters::{Family, Protocol, Reason};
use rustls::ServerConfig;
use shard::Counts;

use crate::core::Engine;
use crate::core::mesh::message::ReplyTo;
use crate::core::mesh::succession::Leaving;
use crate::net::session::Session;
use http::kept::Kept;
use http::seats::Seats;
use http::shelf::Shelf;
use http::watch::Watch;
use udp::errors::Errors;
use udp::port::Port;

/// The core of this thread, shared by its tasks. No borrow of it is ever held across an `await`.
pub type SharedCore = Rc<RefCell<Core>>;

/// Bytes read at a time over HTTP.
pub const HTTP_READ_BYTES: usize = 4096;

/// Whether requests are taken from the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// They are.
    On,
    /// Another process may take over: not for the moment.
    Paused,
    /// It has: never again.
    Over,
}

/// How often it is looked whether a pause is over.
const PAUSE_LOOK: Duration = Duration::from_millis(2);

/// Waits while requests are not to be taken from the sockets; false when they never will be again.
#[cold]
pub(in crate::front) async fn wait_for_reading(core: &SharedCore) -> bool {
    loop {
        let reading = core.borrow().desk.reading;
        match reading {
            Reading::On => return true,
            Reading::Paused => glommio::timer::sleep(PAUSE_LOOK).await,
            Reading::Over => return false,
        }
    }
}

/// All that one thread owns.
pub struct Core {
    /// Its state, by which it decides.
    pub engine: Engine,
    /// Its sockets, with what goes in and out.
    pub desk: Desk,
}

/// The sockets of a core, and what is on its way through them.
pub struct Desk {
    /// Whether requests are taken from the sockets.
    pub reading: Reading,
    /// Where another process serves: what takes connections to it.
    pub leaving: Option<Sender<Leaving>>,
    /// The UDP sockets, in the order of their addresses.
    pub ports: Vec<Port>,
    /// Which errors have left by them within this second.
    pub errors: Errors,
    /// HTTP connections that last.
    pub seats: Rc<RefCell<Seats>>,
    /// Announces of such connections, to be answered together.
    pub kept: Kept,
    /// Which of such connections have something to read.
    pub watch: Watch,
    /// The full scrape, where it is switched on.
    pub shelf: Shelf,
    /// What new connections with TLS are shown.
    pub tls: Option<Arc<ServerConfig>>,
    /// What such connections say is put down here; its buffer is used again.
    pub tls_in: Vec<u8>,
    /// Into which requests over HTTP are read; a request has room to spare in it.
    pub http_in: Box<[u8]>,
    /// Filled by every run of HTTP replies; its buffer is used again.
    pub http_out: Vec<u8>,
}

impl Desk {
    /// Without sockets, and with room for so many connections that last.
    pub fn new(connections_max: usize) -> Self {
        Self {
            reading: Reading::On,
            leaving: None,
            ports: Vec::new(),
            errors: Errors::default(),
            seats: Seats::new(connections_max),
            kept: Kept::default(),
            watch: Watch::default(),
            shelf: Shelf::default(),
            tls: None,
            tls_in: Vec::new(),
            http_in: vec![0; HTTP_READ_BYTES].into_boxed_slice(),
            http_out: Vec::new(),
        }
    }
}

impl Desk {
    /// TLS for a new connection; `None` where there is no certificate.
    pub fn session(&self) -> Option<Box<Session>> {
        Session::new(self.tls.clone()?).ok().map(Box::new)
    }
}

impl Core {
    /// Answers the announces of a batch, after `warm` has reached for their memory together. Each has a seed
    /// of its own, so that the peers it will be told are known while memory is asked for. `seeds` is empty
    /// before and after.
    fn answer_together<A>(
        &mut self,
        announces: &[A],
        seeds: &mut Vec<u64>,
        warm: impl FnOnce(&Self, &[u64]),
        mut answer: impl FnMut(&mut Self, usize, &A),
    ) {
        seeds.extend(announces.iter().map(|_| self.engine.random.u64(..)));
        let after = self.engine.random.clone();
        warm(self, seeds);
        for (at, (announce, seed)) in announces.iter().zip(&*seeds).enumerate() {
            self.engine.random.seed(*seed);
            answer(self, at, announce);
        }
        self.engine.random = after;
        seeds.clear();
    }

    /// Answers scrapes that other cores left open, and shuts down connections past their deadline.
    pub fn end_what_is_late(&mut self) {
        let now = self.engine.clock.steady();
        for (reply_to, counts) in self.engine.gather.give_up(now) {
            bring(self, reply_to, counts);
        }
        self.flush_all();
        let late = self.desk.seats.borrow_mut().clear(now) as u64;
        // The family is not known any more; the protocol is what matters here.
        let front = self.engine.counters.front(Protocol::Http, Family::V4);
        front.refusals[Reason::Timeout as usize] += late;
    }
}

/// Waits for as long as a service does not take what comes. The kernel keeps what it has room for meanwhile.
async fn rest_while(core: &SharedCore, is_at_rest: impl Fn(&Core) -> bool) {
    while is_at_rest(&core.borrow()) {
        glommio::timer::sleep(REST).await;
    }
}

/// Time between two looks whether a service that rests goes on.
const REST: Duration = Duration::from_millis(100);

/// Sends a gathered scrape where it goes.
pub fn bring(core: &mut Core, reply_to: ReplyTo, counts: Vec<Option<Counts>>) {
    match reply_to {
        ReplyTo::Udp(port, to, transaction) => core.answer_scrape(port, to, transaction, &counts),
        ReplyTo::Http(late) => late.bring(counts),
    }
}
