//! The requests that wait for their answer, found by transaction id.
//!
//! Transaction ids count up, so the waiting ones lie in a ring between the oldest and the newest;
//! asking for the oldest costs no search and nothing is ever allocated.

/// A request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// What was asked.
    pub(crate) kind: Kind,
    /// The peer that announced; unused in a scrape.
    pub(crate) peer: u32,
    /// Which of its announces this is, at a private tracker; see [`crate::users::Users::answered`].
    pub(crate) said: u32,
    /// When it was sent, or in an open loop when it should have been: nanoseconds of the run.
    pub(crate) since: u64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An announce.
    Announce,
    /// A scrape of so many hashes.
    Scrape(u8),
}

/// All requests on their way.
pub(crate) struct Flight {
    ring: Box<[Option<Request>]>,
    oldest: u32,
    next: u32,
    waiting: usize,
}

impl Flight {
    /// Room for `capacity` transaction ids from the oldest waiting to the newest: a power of two.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two(), "a ring is indexed by masking");
        Self { ring: vec![None; capacity].into(), oldest: 0, next: 0, waiting: 0 }
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Transaction ids from the oldest waiting on; never more than the capacity.
    fn span(&self) -> usize {
        self.next.wrapping_sub(self.oldest) as usize
    }

    /// Whether the next request has no place before the oldest is answered or expired.
    pub(crate) fn is_full(&self) -> bool {
        self.span() == self.ring.len()
    }

    /// Notes a request and returns its transaction id. The ring must not be full.
    pub(crate) fn start(&mut self, request: Request) -> u32 {
        assert!(!self.is_full(), "the caller expires before it sends");
        let transaction = self.next;
        let slot = self.slot(transaction);
        self.ring[slot] = Some(request);
        self.next = self.next.wrapping_add(1);
        self.waiting += 1;
        transaction
    }

    /// Takes the request that a reply answers; `None` for a reply to nothing, such as a second one.
    pub(crate) fn land(&mut self, transaction: u32) -> Option<Request> {
        if transaction.wrapping_sub(self.oldest) as usize >= self.span() {
            return None;
        }
        let slot = self.slot(transaction);
        let request = self.ring[slot].take()?;
        self.waiting -= 1;
        Some(request)
    }

    /// Gives up requests sent before `deadline`, oldest first, and, to keep room for `room` new
    /// ones, as many more as are needed.
    pub(crate) fn expire(&mut self, deadline: u64, room: usize, mut lost: impl FnMut(Request)) {
        while self.oldest != self.next {
            let slot = self.slot(self.oldest);
            if let Some(request) = self.ring[slot] {
                if request.since >= deadline && self.span() + room <= self.ring.len() {
                    return;
                }
                self.ring[slot] = None;
                self.waiting -= 1;
                lost(request);
            }
            self.oldest = self.oldest.wrapping_add(1);
        }
    }

    fn slot(&self, transaction: u32) -> usize {
        transaction as usize & (self.ring.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announce(since: u64) -> Request {
        Request { kind: Kind::Announce, peer: 1, said: 0, since }
    }

    #[test]
    fn an_answer_counts_once() {
        let mut flight = Flight::new(4);
        let transaction = flight.start(announce(10));
        assert_eq!(flight.waiting(), 1);
        assert_eq!(flight.land(transaction.wrapping_add(1)), None);
        assert_eq!(flight.land(transaction), Some(announce(10)));
        assert_eq!(flight.land(transaction), None);
        assert_eq!(flight.waiting(), 0);
    }

    #[test]
    fn what_is_not_answered_in_time_is_lost() {
        let mut flight = Flight::new(4);
        let first = flight.start(announce(10));
        flight.start(announce(20));
        flight.start(announce(30));
        flight.land(first);
        let mut lost = Vec::new();
        flight.expire(25, 1, |request| lost.push(request.since));
        assert_eq!((lost, flight.waiting()), (vec![20], 1));
    }

    #[test]
    fn room_for_new_requests_is_made_at_the_cost_of_the_oldest() {
        let mut flight = Flight::new(4);
        for since in 0..4 {
            flight.start(announce(since));
        }
        assert!(flight.is_full());
        let mut lost = Vec::new();
        flight.expire(0, 2, |request| lost.push(request.since));
        assert_eq!((lost, flight.waiting()), (vec![0, 1], 2));
    }

    #[test]
    fn transaction_ids_wrap_around() {
        let mut flight = Flight { oldest: u32::MAX, next: u32::MAX, ..Flight::new(4) };
        let last = flight.start(announce(1));
        let first = flight.start(announce(2));
        assert_eq!((last, first), (u32::MAX, 0));
        assert_eq!(flight.land(first), Some(announce(2)));
        assert_eq!(flight.land(last), Some(announce(1)));
    }
}
