//! Which way from leecher to seeder is a download.
//!
//! The event does not say it (measured, 2026-11-28): WebTorrent 3.0.21 says `completed` at each start of a seeder,
//! librqbit 9.1.0 in every announce over UDP and in none over HTTP, rTorrent 0.9.8 with its next regular announce or
//! not at all. So a download is what a client known as a leecher has done when it is first heard of with nothing
//! left; and with a magnet link, when one that said nothing is left and it had downloaded nothing has downloaded
//! something (librqbit and WebTorrent over UDP say nothing else before they have the file). Two ways lead there
//! without one: data that was missed only because it was checked again, and a second word of the same download over
//! the other family. Neither downloads anything, so what the client had downloaded before is remembered of the few
//! that come by them.

use std::collections::{HashMap, VecDeque};

use crate::Event;

/// What clients had downloaded that a way to seeder without a download may be open to.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    /// By client and torrent: what it had downloaded, and which entry of `order` is its own.
    had: HashMap<u64, (u64, u64)>,
    order: VecDeque<u64>,
    /// How many have left `order` at its beginning.
    forgotten: u64,
}

/// Clients remembered by a core, the newest; half a megabyte. One more is counted as if it had downloaded nothing before.
const REMEMBERED_MAX: usize = 1 << 14;

/// A client that was known as a leecher has nothing left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    /// The event that it says with it.
    pub(crate) event: Event,
    /// Bytes that it says it has downloaded in this session.
    pub(crate) downloaded: u64,
    /// It was known by another peer id or key: the session in which it was a leecher is over.
    pub(crate) is_another_session: bool,
}

impl Downloads {
    /// Remembers what a client has downloaded that is a leecher again, or has a download that may be said twice.
    #[cold]
    pub(crate) fn note(&mut self, client: u64, downloaded: u64) {
        let number = self.forgotten + self.order.len() as u64;
        self.had.insert(client, (downloaded, number));
        self.order.push_back(client);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            if self.had.get(&oldest).is_some_and(|(_, number)| *number == self.forgotten) {
                self.had.remove(&oldest);
            }
            self.forgotten += 1;
        }
    }

    /// Nothing is remembered of anybody.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.had.is_empty()
    }

    /// Forgets what was remembered of a client.
    pub(crate) fn forget(&mut self, client: u64) {
        self.had.remove(&client);
    }

    /// Whether that is a download.
    ///
    /// Other than it had downloaded before is needed, where that is known. Else the client says that it has downloaded
    /// something, or that it has completed; or its session was another one, of which nobody has heard the end. One that
    /// says nothing of this has checked data that was there (ctorrent announces before it has).
    #[cold]
    pub(crate) fn is_one(&self, client: u64, completion: &Completion) -> bool {
        match self.had.get(&client) {
            Some((before, _)) => has_downloaded(completion.downloaded, *before),
            None => {
                completion.event == Event::Completed
                    || completion.downloaded > 0
                    || completion.is_another_session
            }
        }
    }
}

/// Whether a client that says this has downloaded something since it said that; one that says less counts anew.
pub(crate) fn has_downloaded(downloaded: u64, before: u64) -> bool {
    downloaded > 0 && downloaded != before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(event: Event, downloaded: u64) -> Completion {
        Completion { event, downloaded, is_another_session: false }
    }

    #[test]
    fn a18_what_was_downloaded_counts_and_what_was_only_checked_does_not() {
        let mut downloads = Downloads::default();
        downloads.note(1, 7);
        downloads.forget(1);
        assert!(downloads.is_one(1, &completion(Event::None, 7)));
        assert!(downloads.is_one(1, &completion(Event::Completed, 0)));
        assert!(!downloads.is_one(1, &completion(Event::Started, 0)));
        let heir = Completion { is_another_session: true, ..completion(Event::Started, 0) };
        assert!(downloads.is_one(1, &heir));
        for (event, downloaded, is_one) in [
            (Event::Completed, 7, false),
            (Event::None, 7, false),
            (Event::None, 8, true),
            (Event::Stopped, 8, true),
            (Event::Completed, 6, true),
            (Event::Completed, 0, false),
        ] {
            downloads.note(1, 7);
            downloads.note(1, 7);
            assert_eq!(downloads.is_one(1, &completion(event, downloaded)), is_one);
        }
    }

    #[test]
    fn the_newest_are_remembered() {
        let mut downloads = Downloads::default();
        for client in 0..REMEMBERED_MAX as u64 + 10 {
            downloads.note(client, 5);
        }
        downloads.note(10, 5);
        downloads.note(REMEMBERED_MAX as u64 + 10, 5);
        let unknown = completion(Event::None, 5);
        assert!(downloads.is_one(9, &unknown) && downloads.is_one(11, &unknown));
        assert!(!downloads.is_one(10, &unknown) && !downloads.is_one(12, &unknown));
        assert!(downloads.had.len() <= REMEMBERED_MAX && downloads.order.len() <= REMEMBERED_MAX);
    }
}
