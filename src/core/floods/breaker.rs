//! The bound of a service on one core: so many requests within a second, and what comes beyond them is shed.
//!
//! Those who are shed are told to come back much later, or nothing. Both cost something; so a listener also accepts no more
//! than twice the bound within a second, and the kernel keeps the others waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ops::service::Service;
use shard::Seconds;

/// How many cores shed load of each service. What all cores know together, so that it is said once for all of them.
#[derive(Debug, Default)]
pub struct Shedding([AtomicUsize; Service::COUNT]);

/// A service on a core.
#[derive(Debug)]
pub(super) struct Breaker {
    service: Service,
    /// It has been switched off.
    pub(super) is_off: bool,
    /// Requests within a second; `None` for any number.
    bound: Option<u64>,
    /// The second that is counted now, and what has come within it.
    second: Seconds,
    requests: u64,
    lasts: u64,
    connections: u64,
    /// When it shed something last, as long as that is not long ago.
    open_since: Option<Seconds>,
    shed: u64,
    shedding: Arc<Shedding>,
}

/// So long after the last request that was shed it has come to an end.
const CLOSES_AFTER: Seconds = Seconds(10);

/// Connections that are accepted for each request of the bound.
const CONNECTIONS_OF_A_REQUEST: u64 = 2;

impl Default for Breaker {
    fn default() -> Self {
        Self::new(Service::Udp4, None, Arc::default())
    }
}

impl Breaker {
    pub(super) fn new(service: Service, bound: Option<u64>, shedding: Arc<Shedding>) -> Self {
        Self {
            service,
            is_off: false,
            bound,
            second: Seconds(0),
            requests: 0,
            lasts: 0,
            connections: 0,
            open_since: None,
            shed: 0,
            shedding,
        }
    }

    /// Whether there is anything to look at.
    pub(super) fn is_needed(&self) -> bool {
        self.is_off || self.bound.is_some()
    }

    /// Counts a request; false where it is to be shed.
    pub(super) fn take(&mut self, steady: Seconds) -> bool {
        let Some(bound) = self.bound else { return true };
        self.turn(steady);
        self.requests += 1;
        self.requests <= bound
    }

    /// Counts a request that says what is said once, and for which there is as much room beside the others; false where
    /// it is to be shed as well.
    pub(super) fn take_last(&mut self, steady: Seconds) -> bool {
        let Some(bound) = self.bound else { return true };
        self.turn(steady);
        self.lasts += 1;
        self.lasts <= bound
    }

    /// Counts a new connection.
    pub(super) fn accepted(&mut self, steady: Seconds) {
        self.turn(steady);
        self.connections += 1;
    }

    /// Whether no connection is to be accepted now.
    pub(super) fn rests(&self, steady: Seconds) -> bool {
        let is_full = |bound: u64| {
            self.second == steady && self.connections >= bound * CONNECTIONS_OF_A_REQUEST
        };
        self.is_off || self.bound.is_some_and(is_full)
    }

    /// Whether it sheds, or has done so lately; and how many it has shed.
    pub(super) fn figures(&self) -> (bool, u64) {
        (self.open_since.is_some(), self.shed)
    }

    /// Comes to an end some time after the last request that was shed.
    pub(super) fn tick(&mut self, steady: Seconds) {
        let Some(last) = self.open_since else { return };
        if steady.since(last) >= CLOSES_AFTER {
            self.close();
        }
    }

    fn close(&mut self) {
        self.open_since = None;
        let (service, shed) = (self.service.label(), self.shed);
        if self.shedding.0[self.service as usize].fetch_sub(1, Ordering::Relaxed) == 1 {
            tracing::info!(service, shed_by_this_core = shed, "load is no longer shed");
        }
    }

    fn turn(&mut self, steady: Seconds) {
        if self.second != steady {
            (self.second, self.requests, self.lasts, self.connections) = (steady, 0, 0, 0);
        }
    }

    /// A request is shed.
    pub(super) fn note_shed(&mut self, steady: Seconds) {
        self.shed += 1;
        if self.open_since.replace(steady).is_some() {
            return;
        }
        let (service, bound_of_a_core) = (self.service.label(), self.bound);
        if self.shedding.0[self.service as usize].fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                service,
                bound_of_a_core,
                "more comes than shed-above allows; the rest is shed: see docs/floods.md"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serves(breaker: &mut Breaker, second: u32) -> bool {
        let is_within = breaker.take(Seconds(second));
        if !is_within {
            breaker.note_shed(Seconds(second));
        }
        is_within
    }

    fn breaker(bound: u64) -> Breaker {
        Breaker::new(Service::Http4, Some(bound), Arc::default())
    }

    #[test]
    fn what_is_beyond_the_bound_of_a_second_is_shed() {
        let mut breaker = breaker(10);
        let mut served = |second| (0..100).filter(|_| serves(&mut breaker, second)).count();
        assert_eq!([served(5), served(5), served(6), served(7)], [10, 0, 10, 10]);
        assert_eq!(breaker.figures(), (true, 370));
        breaker.tick(Seconds(16));
        assert!(breaker.figures().0);
        breaker.tick(Seconds(17));
        assert_eq!(breaker.figures(), (false, 370));
        assert_eq!(breaker.shedding.0[2].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_said_once_has_as_much_room_beside_the_others() {
        let mut breaker = breaker(10);
        for second in 5..8 {
            assert_eq!((0..100).filter(|_| serves(&mut breaker, second)).count(), 10);
            let lasts = (0..100).filter(|_| breaker.take_last(Seconds(second)));
            assert_eq!(lasts.count(), 10);
        }
        assert!((0..9).all(|_| Breaker::default().take_last(Seconds(1))));
    }

    #[test]
    fn below_the_bound_nothing_happens() {
        let mut breaker = breaker(10);
        for second in 0..100 {
            assert!((0..10).all(|_| serves(&mut breaker, second)));
            breaker.tick(Seconds(second));
        }
        assert_eq!(breaker.figures(), (false, 0));
        let mut unbound = Breaker::default();
        assert!(!unbound.is_needed() && (0..9).all(|_| unbound.take(Seconds(1))));
    }

    #[test]
    fn a_listener_rests_for_the_second_when_it_has_had_twice_the_bound() {
        let mut breaker = breaker(3);
        for _ in 0..6 {
            assert!(!breaker.rests(Seconds(5)));
            breaker.accepted(Seconds(5));
        }
        assert!(breaker.rests(Seconds(5)) && !breaker.rests(Seconds(6)));
        breaker.is_off = true;
        assert!(breaker.rests(Seconds(6)));
    }

    #[test]
    fn it_is_open_as_long_as_some_core_sheds() {
        let shedding = Arc::new(Shedding::default());
        let mut cores = [1, 2].map(|_| Breaker::new(Service::Udp6, Some(1), shedding.clone()));
        let open = || shedding.0[Service::Udp6 as usize].load(Ordering::Relaxed);
        cores.iter_mut().for_each(|core| (0..5).for_each(|_| _ = serves(core, 3)));
        assert_eq!(open(), 2);
        cores[0].tick(Seconds(13));
        assert_eq!(open(), 1);
        cores[1].tick(Seconds(13));
        assert_eq!(open(), 0);
    }
}
