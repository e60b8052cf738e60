//! Whether the tracker is ready to answer, and whether its cores still turn.

use std::fmt;
use std::time::{Duration, Instant};

use crate::counters::Core;

/// Where the process is between its start and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Swarms are being read from a snapshot.
    Loading {
        /// Peers loaded so far.
        done: u64,
        /// Peers in the snapshot; 0 when that is not known yet.
        total: u64,
    },
    /// Requests are answered.
    Ready,
    /// The process was asked to stop: it finishes what it has and writes its last snapshot.
    Draining,
}

impl Phase {
    /// Whether a load balancer may send requests here.
    pub fn ready(self) -> bool {
        self == Phase::Ready
    }
}

/// The word, and for loading how far it is.
impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Loading { total: 0, .. } => f.write_str("loading"),
            Phase::Loading { done, total } => write!(f, "loading: {done} of {total} peers"),
            Phase::Ready => f.write_str("ready"),
            Phase::Draining => f.write_str("draining"),
        }
    }
}

/// A core that has not handed over its counters for longer than [`STALLED_AFTER`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stalled {
    /// Which core.
    pub core: usize,
    /// For how long nothing came from it, at least.
    pub since: Duration,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "core {} has not turned for {} seconds", self.core, self.since.as_secs())
    }
}

/// Notices cores that are stuck. A core hands over its counters about once a second; when its
/// `elapsed_nanos` stays the same between two looks that are far enough apart, it no longer turns.
#[derive(Debug, Default)]
pub struct Watch {
    /// By core: the last value seen and when it was first seen.
    seen: Vec<(u64, Instant)>,
}

impl Watch {
    /// Looks at all cores; the first one that is stuck. A core that has not handed over anything yet
    /// is still starting and does not count.
    pub fn look<'a>(
        &mut self,
        cores: impl IntoIterator<Item = &'a Core>,
        now: Instant,
    ) -> Option<Stalled> {
        let mut stalled = None;
        for (core, counters) in cores.into_iter().enumerate() {
            let value = counters.elapsed_nanos;
            if core == self.seen.len() {
                self.seen.push((value, now));
            }
            let (last, at) = &mut self.seen[core];
            if *last != value {
                (*last, *at) = (value, now);
            }
            let since = now.saturating_duration_since(*at);
            if value > 0 && since > STALLED_AFTER && stalled.is_none() {
                stalled = Some(Stalled { core, since });
            }
        }
        stalled
    }
}

/// A core is given up after this long. Nothing a core does takes even a second; the rest is patience
/// with a machine that swaps or a process that was stopped and continued.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn core(elapsed_nanos: u64) -> Core {
        Core { elapsed_nanos, ..Core::default() }
    }

    #[test]
    fn only_a_ready_tracker_is_ready() {
        assert!(Phase::Ready.ready());
        assert!(!Phase::Draining.ready());
        let loading = Phase::Loading { done: 7, total: 9 };
        assert!(!loading.ready());
        assert_eq!(loading.to_string(), "loading: 7 of 9 peers");
        assert_eq!(Phase::Loading { done: 0, total: 0 }.to_string(), "loading");
    }

    #[test]
    fn a_core_that_stops_turning_is_noticed_and_forgiven() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(watch.look(&[core(1), core(1)], at(0)), None);
        assert_eq!(watch.look(&[core(2), core(1)], at(60)), None);
        let stalled = watch.look(&[core(3), core(1)], at(61)).unwrap();
        assert_eq!(stalled.to_string(), "core 1 has not turned for 61 seconds");
        assert_eq!(watch.look(&[core(4), core(2)], at(62)), None);
    }

    #[test]
    fn a_core_that_has_not_begun_is_not_stuck() {
        let mut watch = Watch::default();
        let start = Instant::now();
        assert_eq!(watch.look(&[core(0)], start), None);
        assert_eq!(watch.look(&[core(0)], start + Duration::from_secs(600)), None);
    }
}
