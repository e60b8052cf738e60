//! The front ends: requests in, replies out, on the thread of the core they reached.

pub mod connection;
pub mod conversation;
pub mod full_scrape;
pub mod http;
pub mod kept;
pub mod moderation;
mod ocelot;
pub mod private;
pub mod requests;
pub mod udp;
pub mod watch;

use shard::Counts;

use crate::core::Core;
use crate::core::message::ReplyTo;

/// Sends a gathered scrape where it goes.
pub fn bring(core: &mut Core, reply_to: ReplyTo, counts: Vec<Option<Counts>>) {
    match reply_to {
        ReplyTo::Udp(port, to, transaction) => core.answer_scrape(port, to, transaction, &counts),
        ReplyTo::Http(late) => late.bring(counts),
    }
}
