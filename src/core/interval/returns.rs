//! How many clients were told to come back when: a ring of counts over the time ahead.

use shard::Seconds;

/// Promises by moment, in slots of a few seconds. A promise whose time has come is forgotten; one
/// whose client left early stays until then, so [`Returns::total`] is the number of answers that will
/// be asked for as far as anybody can know.
#[derive(Clone, Debug)]
pub(super) struct Returns {
    slots: [u32; SLOTS],
    slot_seconds: u32,
    /// The number of the slot that `now` was in at the last look, counted from the epoch.
    head: u32,
    /// When that slot ends.
    head_ends: u32,
    total: u64,
}

impl Returns {
    /// A ring that reaches at least `span` ahead of `now`.
    pub(super) fn new(span: Seconds, now: Seconds) -> Self {
        let slot_seconds = span.0 / (SLOTS as u32 - 2) + 1;
        let head = now.0 / slot_seconds;
        let head_ends = ends(head, slot_seconds);
        Self { slots: [0; SLOTS], slot_seconds, head, head_ends, total: 0 }
    }

    /// Forgets what was promised for before `now`. At most one turn of the ring.
    #[inline]
    pub(super) fn advance(&mut self, now: Seconds) {
        if now.0 >= self.head_ends {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Seconds) {
        let head = now.0 / self.slot_seconds;
        for slot in self.head..head.min(self.head.saturating_add(SLOTS as u32)) {
            self.total -= u64::from(std::mem::take(&mut self.slots[slot as usize % SLOTS]));
        }
        self.head = head;
        self.head_ends = ends(head, self.slot_seconds);
    }

    /// Counts a client that comes back at `due`; not one from the past or beyond the ring.
    pub(super) fn promise(&mut self, due: Seconds, now: Seconds) {
        let slot = due.0 / self.slot_seconds;
        if due > now && slot < self.head.saturating_add(SLOTS as u32) {
            self.slots[slot as usize % SLOTS] += 1;
            self.total += 1;
        }
    }

    /// Counts as many clients that come back at `due`.
    pub(super) fn promise_many(&mut self, due: Seconds, clients: u32, now: Seconds) {
        let slot = due.0 / self.slot_seconds;
        if due > now && slot < self.head.saturating_add(SLOTS as u32) {
            let count = &mut self.slots[slot as usize % SLOTS];
            let before = *count;
            *count = count.saturating_add(clients);
            self.total += u64::from(*count - before);
        }
    }

    /// The moments that clients come back at, and how many.
    pub(super) fn all(&self) -> impl Iterator<Item = (Seconds, u32)> {
        let slots = self.head..self.head.saturating_add(SLOTS as u32);
        let moment = |slot: u32| Seconds(ends(slot, self.slot_seconds) - 1);
        slots
            .map(move |slot| (moment(slot), self.slots[slot as usize % SLOTS]))
            .filter(|(_, clients)| *clients > 0)
    }

    /// Counts `clients` that come back one by one from `now` on, for `span`.
    pub(super) fn promise_evenly(&mut self, clients: u64, span: Seconds, now: Seconds) {
        let slots = u64::from(span.0 / self.slot_seconds).min(SLOTS as u64 - 1);
        for slot in 0..slots {
            let here = (clients * (slot + 1) / slots - clients * slot / slots) as u32;
            let slot = now.0 / self.slot_seconds + slot as u32;
            let count = &mut self.slots[slot as usize % SLOTS];
            *count = count.saturating_add(here);
            self.total += u64::from(here);
        }
    }

    /// Clients that come back in the same slot as `due`.
    pub(super) fn promised(&self, due: Seconds) -> u32 {
        self.slots[(due.0 / self.slot_seconds) as usize % SLOTS]
    }

    /// All clients expected.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many may come back in one slot: an even share when all come within `interval` seconds, a
    /// tenth more, and a few whom nobody minds.
    pub(super) fn share(&self, interval: f64) -> u32 {
        let even = self.total as f64 * f64::from(self.slot_seconds) / interval;
        (even * TOLERANCE) as u32 + self.slot_seconds * UNMINDED_PER_SECOND
    }
}

/// The second after the last one of a slot.
fn ends(slot: u32, slot_seconds: u32) -> u32 {
    (slot + 1).saturating_mul(slot_seconds)
}

/// With the usual maximum of two hours a slot is 15 seconds long; the ring is 2 KiB.
const SLOTS: usize = 512;

/// The factor up to which slots count as even. Chance alone makes slots of a large tracker differ by less.
const TOLERANCE: f64 = 1.1;

/// So many more a second are no herd on any machine; on a small tracker slots differ by chance.
const UNMINDED_PER_SECOND: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_are_counted_until_their_time() {
        let now = Seconds(1_000_000);
        let mut returns = Returns::new(Seconds(7200), now);
        returns.promise(now + Seconds(1800), now);
        returns.promise(now + Seconds(7200), now);
        returns.promise(now, now);
        returns.promise(now + Seconds(50_000), now);
        assert_eq!(returns.total(), 2);
        assert_eq!(returns.promised(now + Seconds(1800)), 1);
        returns.advance(now + Seconds(1790));
        assert_eq!(returns.total(), 2);
        returns.advance(now + Seconds(1830));
        assert_eq!(returns.total(), 1);
        returns.advance(now + Seconds(1_000_000));
        assert_eq!(returns.total(), 0);
    }

    #[test]
    fn an_even_stream_is_spread_over_its_span() {
        let now = Seconds(1_000_000);
        let mut returns = Returns::new(Seconds(7200), now);
        returns.promise_evenly(1000, Seconds(1200), now);
        assert_eq!(returns.total(), 1000);
        let counts: Vec<u32> =
            (0..1200 / 15).map(|slot| returns.promised(now + Seconds(slot * 15))).collect();
        assert!(counts.iter().all(|count| (12..=13).contains(count)), "{counts:?}");
        assert_eq!(returns.promised(now + Seconds(1300)), 0);
        returns.promise_evenly(5, Seconds(0), now);
        assert_eq!(returns.total(), 1000);
        returns.advance(now + Seconds(2000));
        assert_eq!(returns.total(), 0);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_changes_nothing() {
        let now = Seconds(5000);
        let mut returns = Returns::new(Seconds(600), now);
        returns.promise(now + Seconds(300), now);
        returns.advance(Seconds(10));
        returns.advance(now);
        assert_eq!((returns.total(), returns.promised(now + Seconds(300))), (1, 1));
    }

    #[test]
    fn every_span_fits_the_ring() {
        for span in [1, 2, 510, 511, 512, 7200, 86_400] {
            let now = Seconds(1_700_000_123);
            let mut returns = Returns::new(Seconds(span), now);
            returns.promise(now + Seconds(span), now);
            assert_eq!(returns.total(), 1, "{span}");
            // The farthest slot is not the nearest one again.
            assert!(span < 512 || returns.promised(now) == 0, "{span}");
        }
    }
}
