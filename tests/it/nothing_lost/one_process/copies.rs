//! Sessions are copied to another machine, and both go on.
//!
//! Before each word of a copy and after it its original says that it is there, and all of it is on the disk:
//! of a tracker that was restarted, and knows one last word, everybody knows which that is; and an original
//! that was silent for the peer timeout is one that has left.

use std::net::Ipv4Addr;

use shard::private::{Announce, Endpoints};

use super::tracker::PEER_TIMEOUT;
use super::{World, announce, who};
use crate::nothing_lost::client::{Client, Report};

impl World<'_> {
    /// A copy begins, goes on or ends. Of an older data folder nobody knows which of them it knows.
    pub(super) fn copy_or_speak_as_copy(&mut self) {
        let copied = (0..self.clients.len()).filter(|at| self.clients[*at].copied.is_some());
        let copied: Vec<usize> = copied.collect();
        // Rather one that there is than another one.
        let at = match copied.len() {
            0 => self.rng.usize(..self.clients.len()),
            _ if self.rng.u8(..4) == 0 => self.rng.usize(..self.clients.len()),
            many => copied[self.rng.usize(..many)],
        };
        let client = &mut self.clients[at];
        let may_copy = !self.restores_folder && !self.refusing;
        if !may_copy || !client.is_there() || !self.judge.knows(who(client)) {
            return;
        }
        let Some(copied) = &mut client.copied else {
            // Nobody else is there.
            let address = Ipv4Addr::from_bits(0xc800_0000 + self.copies_made);
            client.copy(address, self.now.0);
            let made = u32::from(client.copied.is_some());
            self.copies_made += made;
            return self.done.count("copies", made.into());
        };
        if self.rng.u8(..6) == 0 {
            self.end_copy(at);
        } else if let Some(report) = copied.say(&mut self.rng, self.now.0) {
            self.speak_as_copy(at, &report);
        }
    }

    pub(super) fn end_copies(&mut self) {
        (0..self.clients.len()).for_each(|at| self.end_copy(at));
    }

    /// A copy leaves, if the tracker knows it.
    fn end_copy(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let is_known = self.judge.knows_copy(who(client));
        let copied = client.copied.as_mut().filter(|_| is_known);
        if let Some(report) = copied.and_then(|copied| copied.stop(&mut self.rng)) {
            self.speak_as_copy(at, &report);
        }
        self.clients[at].copied = None;
    }

    fn speak_as_copy(&mut self, at: usize, report: &Report) {
        self.done.count("copied announces", 1);
        self.say_still(at);
        for info_hash in self.names(at) {
            let client = &self.clients[at];
            let Client { copied: Some(copied), .. } = client else { return };
            let endpoints = Endpoints::new(Some(copied.v4), None, copied.port);
            let announce = announce(&self.site, client, report, true, false);
            let announce = Announce { info_hash, endpoints, ..announce };
            self.tracker.announce(&announce, self.now, &mut self.rng).unwrap();
        }
        self.judge.hear_copy(&self.site, who(&self.clients[at]), report, self.now.0);
        self.say_still(at);
        self.sync();
    }

    fn say_still(&mut self, at: usize) {
        let report = self.clients[at].say_still(self.now.0);
        self.speak(at, &report);
    }

    /// Somebody speaks, and his copy may have been silent for too long.
    pub(super) fn forget_silent_copy(&mut self, at: usize) {
        let who = who(&self.clients[at]);
        self.judge.forget_silent_copy(&self.site, who, self.now.0, PEER_TIMEOUT.0);
    }

    /// The tracker begins anew, and knows the last word of each client.
    pub(super) fn forget_copies(&mut self) {
        let forgotten = self.judge.forget_copies(&self.site);
        self.done.count("copies forgotten", forgotten);
    }
}
