//! The front ends: requests in, replies out, on the thread of the core they reached.

pub mod http;
pub mod moderation;
mod ocelot;
pub mod private;
pub mod udp;

use shard::Counts;

use crate::core::Core;
use crate::core::mesh::message::ReplyTo;

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
        seeds.extend(announces.iter().map(|_| self.random.u64(..)));
        let after = self.random.clone();
        warm(self, seeds);
        for (at, (announce, seed)) in announces.iter().zip(&*seeds).enumerate() {
            self.random.seed(*seed);
            answer(self, at, announce);
        }
        self.random = after;
        seeds.clear();
    }
}

/// Sends a gathered scrape where it goes.
pub fn bring(core: &mut Core, reply_to: ReplyTo, counts: Vec<Option<Counts>>) {
    match reply_to {
        ReplyTo::Udp(port, to, transaction) => core.answer_scrape(port, to, transaction, &counts),
        ReplyTo::Http(late) => late.bring(counts),
    }
}
