//! Floods: when a socket gets a filter, what it lets through, and when it is taken off again.
//!
//! What can only be dropped costs a core as much as a request does until it is parsed and checked, and takes the places of
//! requests in the queue. So when much of it comes, the kernel drops it ([`filter`]): datagrams that are no request, and
//! requests whose connection id has not even the tag. Connects cannot be told apart; when they come faster than the core
//! answers them, a share is let through, by chance, and the share is fitted to what the core can do. Without a flood there
//! is no filter: then each datagram is seen, counted by what is wrong with it, and costs no look more.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ops::counters::{self, Protocol, Reason};
use persist::Trouble;
use shard::Seconds;

use crate::front::udp::port::Port;
use crate::front::{Core, Reading};
use crate::net::batch::BATCH_MAX;
use crate::net::filter::{self, ALL_CONNECTS, Queue, Sieve};
use crate::net::stream;

/// What is decided, is decided after so long, or so many datagrams, or so many looks that found as much as they can and no
/// other.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOW_DATAGRAMS: u64 = 2048;
const WINDOW_FULL_LOOKS: u64 = 8;

/// So many datagrams to be dropped in a window are a flood: 5,000 a second; and so is a quarter of all where the core is
/// behind.
const JUNK_MAX: u64 = 512;

/// A queue with so little room left, of a whole, is one that fills: 150 connects wait in it.
const QUEUE_MAX: f64 = 1.0 / 16.0;

/// Connects a second that a core answers in any case, however busy it is.
const CONNECTS_MIN: f64 = 10_000.0;

/// The least share of connects that is let through, of [`ALL_CONNECTS`].
const SHARE_MIN: f64 = 128.0;

/// What the share of connects gains in a second for as long as the core has time; and what is left of it after a window in
/// which it had none: at first, and when it has been found.
const SHARE_GAIN: f64 = 2.0;
const SHARE_KEPT: [f64; 2] = [0.5, 0.8];

/// A filter that lets through so much more or less than what is decided may stay.
const SHARE_PLAY: f64 = 0.06;

/// The flood is over when less than so much was dropped in each second for so long.
const CALM: Duration = Duration::from_secs(10);
const CALM_DROPS: u32 = 1000;

/// The longest time between two looks at a socket in a flood: in the queue is little but requests, which the kernel took
/// longer for than it does otherwise.
const PAUSE_MAX: Duration = Duration::from_micros(500);

/// How long a kernel that refuses a filter is not asked again.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Sockets of all cores that have a filter, and what those dropped since the first of them got it.
static FILTERS: AtomicUsize = AtomicUsize::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Those that let only a share of connects through.
static SPARING: AtomicUsize = AtomicUsize::new(0);

/// The kernel refuses.
static REFUSED: Trouble = Trouble::new();

/// Watches over a socket.
#[derive(Default)]
pub struct Guard {
    window: Window,
    shedding: Option<Shedding>,
    /// The kernel refused a filter then.
    refused: Option<Instant>,
}

/// What came in by the socket since a moment.
#[derive(Clone, Copy, Default, Debug)]
struct Window {
    began: Option<Instant>,
    seen: Seen,
    looks: u64,
    /// Looks that found as much as they can.
    full_looks: u64,
}

/// What was among datagrams.
#[derive(Clone, Copy, Default, Debug)]
pub struct Seen {
    datagrams: u64,
    connects: u64,
    /// What can only be dropped.
    junk: u64,
}

/// While the socket has a filter.
struct Shedding {
    began: Instant,
    sieve: Sieve,
    share: Share,
    /// The kernel's counter when it was read last.
    drops: u32,
    /// Until when much was dropped.
    busy: Instant,
    /// Until when connects were.
    sparing: Option<Instant>,
}

/// The share of connects that is to be let through.
#[derive(Clone, Copy)]
struct Share {
    /// Of [`ALL_CONNECTS`].
    of_all: f64,
    /// Whether the core could answer it once.
    is_found: bool,
}

/// What a window shows.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Finding {
    Quiet,
    Junk,
    /// More connects than the core can answer.
    Connects,
}

impl Seen {
    /// All that a core has seen over UDP.
    pub fn of(counters: &counters::Core) -> Self {
        let mut seen = Self { datagrams: counters.udp_datagrams, ..Self::default() };
        for front in &counters.fronts[Protocol::Udp as usize] {
            seen.connects += front.connects;
            for reason in [Reason::Malformed, Reason::ConnectionId, Reason::Source] {
                seen.junk += front.refusals[reason as usize];
            }
        }
        seen
    }

    /// What came since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            datagrams: self.datagrams - before.datagrams,
            connects: self.connects - before.connects,
            junk: self.junk - before.junk,
        }
    }
}

impl Window {
    fn add(&mut self, seen: Seen) {
        self.seen.datagrams += seen.datagrams;
        self.seen.connects += seen.connects;
        self.seen.junk += seen.junk;
        self.looks += 1;
        self.full_looks += u64::from(seen.datagrams >= BATCH_MAX as u64);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.seen.datagrams >= WINDOW_DATAGRAMS
            || self.seen.junk >= JUNK_MAX
            || self.full_looks >= WINDOW_FULL_LOOKS && self.full_looks == self.looks
            || self.began.is_none_or(|began| now - began >= WINDOW)
    }

    /// Whether the core has not come to the end of what waits.
    fn is_behind(&self) -> bool {
        self.full_looks * 2 > self.looks
    }

    /// Whether the core nearly always has. One that could answer a little more has a queue after each pause that it makes.
    fn has_time(&self) -> bool {
        self.full_looks * 8 <= self.looks
    }

    fn finding(&self, elapsed: Duration, queue: Queue) -> Finding {
        let Seen { datagrams, connects, junk } = self.seen;
        if junk >= JUNK_MAX || self.is_behind() && junk * 4 >= datagrams {
            return Finding::Junk;
        }
        let is_filling = f64::from(queue.taken) > f64::from(queue.room) * QUEUE_MAX;
        let are_most = connects * 3 > datagrams * 2;
        let are_many = connects as f64 > CONNECTS_MIN * elapsed.as_secs_f64();
        match self.is_behind() && is_filling && are_most && are_many {
            true => Finding::Connects,
            false => Finding::Quiet,
        }
    }
}

impl Guard {
    /// Takes note of what a look has found; whether it is time to decide by it.
    #[inline]
    fn note(&mut self, seen: Seen, now: Instant) -> bool {
        self.window.add(seen);
        self.window.is_over(now)
    }

    /// The longest time between two looks at the socket.
    pub fn pause_max(&self) -> Duration {
        if self.is_shedding() { PAUSE_MAX } else { Duration::MAX }
    }

    /// Whether the socket has a filter.
    fn is_shedding(&self) -> bool {
        self.shedding.is_some()
    }

    /// The share of connects that is not let through, of [`ALL_CONNECTS`].
    fn connects_shed(&self) -> u64 {
        let through = self.shedding.as_ref().map(|shedding| shedding.sieve.connects);
        ALL_CONNECTS.saturating_sub(through.unwrap_or(ALL_CONNECTS)).into()
    }

    /// Ends the window; what it shows, and how long it was.
    fn close(&mut self, queue: Queue, now: Instant) -> (Window, Finding, Duration) {
        let window =
            mem::replace(&mut self.window, Window { began: Some(now), ..Window::default() });
        let elapsed = window.began.map_or(WINDOW, |began| now - began);
        (window, window.finding(elapsed, queue), elapsed)
    }
}

impl Share {
    fn follow(&mut self, window: &Window, finding: Finding, elapsed: Duration) {
        if finding == Finding::Connects {
            let kept = SHARE_KEPT[usize::from(self.is_found)];
            self.of_all = (self.of_all * kept).max(SHARE_MIN);
        } else if window.has_time() {
            self.is_found = true;
            let gained = self.of_all * SHARE_GAIN * elapsed.min(WINDOW).as_secs_f64();
            self.of_all = (self.of_all + gained).min(ALL_CONNECTS.into());
        }
    }

    fn is_all(self) -> bool {
        self.of_all >= ALL_CONNECTS.into()
    }
}

impl Shedding {
    /// Whether the filter that is there lets through what is decided, nearly.
    fn fits(&self) -> bool {
        let attached = f64::from(self.sieve.connects);
        match self.share.is_all() {
            true => self.sieve.connects >= ALL_CONNECTS,
            false => (self.share.of_all - attached).abs() <= attached * SHARE_PLAY,
        }
    }
}

impl Core {
    /// Takes note of what a look at `port` has found, and gives it a filter where that is a flood.
    #[inline]
    pub fn watch_for_flood(&mut self, port: usize, seen: Seen) {
        let now = Instant::now();
        if self.desk.ports[port].guard.note(seen, now) {
            self.fit_filter(port, now);
        }
    }

    /// Fits the filter of `port` to what came in of late.
    #[cold]
    #[inline(never)]
    fn fit_filter(&mut self, port: usize, now: Instant) {
        let Port { guard, socket, .. } = &mut self.desk.ports[port];
        let queue = filter::queue(stream::borrow(&**socket)).unwrap_or_default();
        let (window, finding, elapsed) = guard.close(queue, now);
        match &mut self.desk.ports[port].guard.shedding {
            None if finding == Finding::Quiet => {}
            None => self.begin_to_shed(port, finding, queue.drops, now),
            Some(shedding) => {
                shedding.share.follow(&window, finding, elapsed);
                // As much junk comes through no filter of ours: another process may have taken it off.
                if !shedding.fits() || finding == Finding::Junk {
                    shedding.sieve.connects = shedding.share.of_all as u32;
                    self.put_filter(port, now);
                }
            }
        }
    }

    /// Looks after filters by the clock: counts what they dropped, gives them the keys of the time, and takes them off.
    pub fn look_after_filters(&mut self) {
        // The sockets may be another process's.
        if self.desk.reading != Reading::On {
            return;
        }
        let now = Instant::now();
        for port in 0..self.desk.ports.len() {
            let Some(busy) = self.count_drops(port, now) else { continue };
            let slots = self.tag_slots();
            if now - busy >= CALM {
                self.end_shedding(port, now);
            } else if let Some(shedding) = &mut self.desk.ports[port].guard.shedding
                && shedding.sieve.slots != slots
            {
                shedding.sieve.slots = slots;
                self.put_filter(port, now);
            }
            if self.desk.ports[port].guard.window.is_over(now) {
                self.fit_filter(port, now);
            }
        }
        let guards = || self.desk.ports.iter().map(|port| &port.guard);
        self.engine.counters.udp_filters =
            guards().filter(|guard| guard.is_shedding()).count() as u64;
        self.engine.counters.udp_connects_shed =
            guards().map(Guard::connects_shed).max().unwrap_or(0);
    }

    fn begin_to_shed(&mut self, port: usize, finding: Finding, drops: u32, now: Instant) {
        let Port { guard, is_proxied, family, .. } = &self.desk.ports[port];
        // Behind a header of any length a filter finds nothing.
        if *is_proxied || guard.refused.is_some_and(|refused| now - refused < REFUSED_PAUSE) {
            return;
        }
        let mut share = Share { of_all: ALL_CONNECTS.into(), is_found: false };
        if finding == Finding::Connects {
            share.of_all *= SHARE_KEPT[0];
        }
        let is_v6 = *family == counters::Family::V6;
        let (slots, connects) = (self.tag_slots(), share.of_all as u32);
        let sieve = Sieve { is_v6, slots, connects };
        self.desk.ports[port].guard.shedding =
            Some(Shedding { began: now, sieve, share, drops, busy: now, sparing: None });
        if FILTERS.fetch_add(1, Ordering::Relaxed) == 0 {
            DROPPED.store(0, Ordering::Relaxed);
            tracing::warn!(
                "a flood over UDP: what can only be dropped is dropped by the kernel from now on, and not counted by what is wrong with it"
            );
        }
        self.put_filter(port, now);
    }

    fn put_filter(&mut self, port: usize, now: Instant) {
        let Port { guard, socket, .. } = &mut self.desk.ports[port];
        let Some(shedding) = &mut guard.shedding else { return };
        if let Err(error) = filter::attach(stream::borrow(&**socket), &shedding.sieve) {
            guard.refused = Some(now);
            if let Some(times) = REFUSED.again("") {
                tracing::warn!(%error, times, "the kernel refuses a filter against a flood over UDP; cores drop what comes themselves");
            }
            return self.end_shedding(port, now);
        }
        if shedding.sieve.connects < ALL_CONNECTS {
            if shedding.sparing.is_none() && SPARING.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!(
                    "connects over UDP come faster than they can be answered; a share of them is, and who has a connection id is not concerned"
                );
            }
            shedding.sparing = Some(now);
        }
    }

    /// Counts what the filter of `port` has dropped since this was asked the last time. `None` when there is no filter,
    /// otherwise until when it had much to do.
    fn count_drops(&mut self, port: usize, now: Instant) -> Option<Instant> {
        let Port { guard, socket, .. } = &mut self.desk.ports[port];
        let shedding = guard.shedding.as_mut()?;
        let queue = filter::queue(stream::borrow(&**socket));
        let drops = queue.map_or(shedding.drops, |queue| queue.drops);
        let dropped = drops.wrapping_sub(shedding.drops);
        shedding.drops = drops;
        DROPPED.fetch_add(dropped.into(), Ordering::Relaxed);
        self.engine.counters.udp_filter_drops += u64::from(dropped);
        if dropped >= CALM_DROPS {
            shedding.busy = now;
        }
        if shedding.sieve.connects < ALL_CONNECTS {
            shedding.sparing = Some(now);
        } else if shedding.sparing.is_some_and(|until| now - until >= CALM) {
            shedding.sparing = None;
            no_longer_sparing();
        }
        Some(shedding.busy)
    }

    fn end_shedding(&mut self, port: usize, now: Instant) {
        self.count_drops(port, now);
        let Port { guard, socket, .. } = &mut self.desk.ports[port];
        let Some(shedding) = guard.shedding.take() else { return };
        // What is refused here was never there.
        let _ = filter::detach(stream::borrow(&**socket));
        if shedding.sparing.is_some() {
            no_longer_sparing();
        }
        if FILTERS.fetch_sub(1, Ordering::Relaxed) == 1 {
            let (dropped, lasted) = (DROPPED.load(Ordering::Relaxed), now - shedding.began);
            tracing::info!(dropped, ?lasted, "the flood over UDP is over");
        }
    }

    /// The keys by which ids are told that may be good.
    fn tag_slots(&self) -> Vec<(u8, Option<filter::TagKey>)> {
        let now: Seconds = self.engine.clock.now();
        let times = std::iter::once(now).chain(self.engine.clock.others(now));
        self.engine.connection_ids.tag_slots(times)
    }
}

fn no_longer_sparing() {
    if SPARING.fetch_sub(1, Ordering::Relaxed) == 1 {
        tracing::info!("all connects over UDP are answered again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that answers so many datagrams a second, and connects that come at some rate: the share after a while, and
    /// how many are answered then.
    fn settle(arriving: f64, capacity: f64) -> (f64, f64) {
        let mut guard = Guard::default();
        let mut share = Share { of_all: ALL_CONNECTS.into(), is_found: false };
        let (mut now, mut queue, mut time) = (Instant::now(), 0.0_f64, 0.0_f64);
        let mut answered = 0.0;
        for step in 0..20_000 {
            let look = Duration::from_micros(500);
            now += look;
            let let_in = arriving * look.as_secs_f64() * share.of_all / f64::from(ALL_CONNECTS);
            queue = (queue + let_in).min(ROOM);
            // What it could have answered and was not there is not made up for.
            time = time.min(0.0) + capacity * look.as_secs_f64();
            while time > 0.0 && queue >= 1.0 {
                let datagrams = queue.min(BATCH_MAX as f64).floor();
                (queue, time) = (queue - datagrams, time - datagrams);
                answered += if step >= 10_000 { datagrams / 5.0 } else { 0.0 };
                let datagrams = datagrams as u64;
                if guard.note(Seen { datagrams, connects: datagrams, junk: 0 }, now) {
                    let queue = Queue { taken: queue as u32, room: ROOM as u32, drops: 0 };
                    let (window, finding, elapsed) = guard.close(queue, now);
                    share.follow(&window, finding, elapsed);
                }
            }
        }
        (share.of_all / f64::from(ALL_CONNECTS), answered)
    }

    #[test]
    fn connects_that_a_core_can_answer_are_all_answered() {
        let (share, answered) = settle(50_000.0, 300_000.0);
        assert_eq!(share, 1.0);
        assert!((49_000.0..50_500.0).contains(&answered), "{answered}");
    }

    #[test]
    fn of_more_a_share_that_it_can() {
        for arriving in [700_000.0, 2_000_000.0] {
            let (share, answered) = settle(arriving, 200_000.0);
            assert!(share < 200_000.0 / arriving * 1.2, "{share} of {arriving}/s");
            assert!(answered > 60_000.0, "{answered} of {arriving}/s");
        }
    }

    /// Connects that a queue has room for.
    const ROOM: f64 = 2700.0;

    fn queue(taken: u32) -> Queue {
        Queue { taken, room: 1000, drops: 0 }
    }

    fn window(looks: u64, seen: Seen) -> Window {
        let full_looks = if seen.datagrams >= looks * BATCH_MAX as u64 { looks } else { 0 };
        Window { began: None, seen, looks, full_looks }
    }

    #[test]
    fn a_flood_is_told_from_what_is_busy() {
        let found = |looks, datagrams, connects, junk, taken| {
            window(looks, Seen { datagrams, connects, junk }).finding(WINDOW, queue(taken))
        };
        assert_eq!(found(100, 1200, 0, 10, 0), Finding::Quiet);
        assert_eq!(found(100, 1200, 0, 600, 0), Finding::Junk);
        assert_eq!(found(8, 512, 0, 200, 0), Finding::Junk, "as the core is behind");
        assert_eq!(found(32, 2048, 700, 0, 900), Finding::Quiet, "busy with announces");
        assert_eq!(found(32, 2048, 2000, 0, 900), Finding::Connects);
        assert_eq!(found(32, 2048, 2000, 0, 10), Finding::Quiet, "after a pause of the core");
        assert_eq!(found(500, 6000, 6000, 0, 10), Finding::Quiet, "many, and all are answered");
    }

    #[test]
    fn a_window_ends_by_time_or_by_what_came() {
        let (mut guard, now) = (Guard::default(), Instant::now());
        assert!(guard.note(Seen { datagrams: 1, connects: 0, junk: 0 }, now), "the first");
        guard.close(queue(0), now);
        let few = Seen { datagrams: 3, connects: 0, junk: 3 };
        assert!(!guard.note(few, now));
        assert!(guard.note(few, now + WINDOW));
        assert!(guard.note(Seen { datagrams: 600, connects: 0, junk: 600 }, now));
        guard.close(queue(0), now);
        assert!(guard.note(Seen { datagrams: WINDOW_DATAGRAMS, connects: 0, junk: 0 }, now));
        guard.close(queue(0), now);
        let full = Seen { datagrams: BATCH_MAX as u64, connects: 0, junk: 0 };
        assert!((1..WINDOW_FULL_LOOKS).all(|_| !guard.note(full, now)));
        assert!(guard.note(full, now), "nothing but full looks");
    }
}
