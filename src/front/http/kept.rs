//! Announces of connections that are kept alive, answered together.
//!
//! A connection that is kept asks one thing at a time, so its announces wait for memory one by one
//! where those of a datagram batch are reached for together. Here the announces of all connections
//! that are ready gather, and a task that runs after theirs answers them as a batch.

use std::mem;
use std::net::IpAddr;
use std::rc::Rc;

use shard::Announce;

use crate::core::mesh::late::Late;
use crate::core::mesh::message::HttpAnnounce;
use crate::front::{Core, SharedCore};
use crate::net::stream;
use crate::wire::http::Framing;

/// The announces that wait, and what is left of replies.
#[derive(Default)]
pub struct Kept {
    /// Counts the batches. An announce that was put down in this one has not been answered.
    round: u64,
    announces: Vec<Announce>,
    askers: Vec<Asker>,
    seeds: Vec<u64>,
    /// By seat, what the kernel did not take of a reply.
    unsent: Vec<(usize, Vec<u8>)>,
    filled: Rc<Late<()>>,
}

/// A client that announced, and in which form the answer goes back.
struct Asker {
    /// The number of its seat, which it keeps until it was answered.
    seat: usize,
    remote: IpAddr,
    compact: bool,
    comes_at_min: bool,
    framing: Framing,
}

/// The batch that an announce waits in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Round(u64);

impl Kept {
    /// The batch that fills now.
    pub fn round(&self) -> Round {
        Round(self.round)
    }

    /// Puts an announce down; from then on the connection in `seat` must not be sent anything else first.
    pub fn put(&mut self, asked: &HttpAnnounce, framing: Framing, remote: IpAddr, seat: usize) {
        if self.announces.is_empty() {
            self.filled.bring(());
        }
        let HttpAnnounce { announce, compact, comes_at_min } = *asked;
        self.announces.push(announce);
        self.askers.push(Asker { seat, remote, compact, comes_at_min, framing });
    }

    /// Takes what is left of the reply to the connection in `seat`.
    pub fn take_unsent(&mut self, seat: usize) -> Option<Vec<u8>> {
        let at = self.unsent.iter().position(|(of, _)| *of == seat)?;
        Some(self.unsent.swap_remove(at).1)
    }
}

/// Answers what gathers, for as long as the core lives.
pub async fn answer(core: SharedCore) {
    let filled = core.borrow().desk.kept.filled.clone();
    loop {
        // Woken by the first of a batch, this task runs after all that were ready then.
        filled.wait().await;
        core.borrow_mut().answer_kept();
    }
}

impl Core {
    /// Answers the announces that wait.
    pub fn answer_kept(&mut self) {
        self.desk.kept.round += 1;
        let now = self.engine.clock.now();
        let (mut announces, mut askers, mut seeds) = (
            mem::take(&mut self.desk.kept.announces),
            mem::take(&mut self.desk.kept.askers),
            mem::take(&mut self.desk.kept.seeds),
        );
        let mut out = mem::take(&mut self.desk.http_out);
        let warm = |core: &Self, seeds: &[u64]| core.engine.shard.warm(&announces, seeds);
        self.answer_together(&announces, &mut seeds, warm, |core, at, announce| {
            let asker = &askers[at];
            out.clear();
            let Asker { compact, comes_at_min, .. } = *asker;
            let asked = HttpAnnounce { announce: *announce, compact, comes_at_min };
            core.answer_http_announce(&asked, asker.framing, now, &mut out);
            core.note_reply(asker.remote);
            core.send_kept(asker, &out);
        });
        self.desk.http_out = out;
        announces.clear();
        askers.clear();
        (self.desk.kept.announces, self.desk.kept.askers, self.desk.kept.seeds) =
            (announces, askers, seeds);
    }

    /// Sends what the kernel takes; the connection's task does the rest.
    fn send_kept(&mut self, asker: &Asker, reply: &[u8]) {
        let seats = self.desk.seats.clone();
        let seats = seats.borrow();
        let Some(fd) = seats.descriptor(asker.seat) else { return };
        // Its task learns of an error, which is the client's end of it, when it reads.
        let Ok(sent) = stream::send(fd, reply) else { return };
        let sent = sent.unwrap_or(0);
        self.note_sent(asker.remote, sent);
        if sent < reply.len() {
            self.desk.kept.unsent.push((asker.seat, reply[sent..].to_vec()));
            seats.wake(asker.seat);
        }
    }
}
