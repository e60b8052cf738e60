//! The work of a core by the clock: sweep the swarms, and once a second look at itself.

use std::sync::Arc;
use std::time::Duration;

use glommio::timer::sleep;
use ops::lists::Verdict;
use ops::slot::Slot;
use shard::InfoHash;

use crate::core::load::Meter;
use crate::front::SharedCore;

/// Peers and swarms one step of the sweep looks at; about 50 µs of work.
const SWEEP_BUDGET: usize = 1024;

/// How long a sweep over the whole shard takes, so that a peer leaves at most this late.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// The same when rules about addresses have changed, so that whom they refuse is gone within a minute.
const HURRIED_SWEEP_PERIOD: Duration = Duration::from_secs(15);

/// The shortest and the longest time between two steps of the sweep.
const SWEEP_STEP: (Duration, Duration) = (Duration::from_millis(2), Duration::from_secs(1));

/// Torrents looked up in one step when a list has changed.
const FORGET_STEP: usize = 256;

/// How often counters are handed to the control side and the interval is reconsidered.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

/// Drops what has timed out, a bounded step at a time, for as long as the core lives.
pub(super) async fn sweep(core: SharedCore) {
    loop {
        let pause = {
            let engine = &mut core.borrow_mut().engine;
            engine.sweep(SWEEP_BUDGET);
            let steps = engine.walked() / SWEEP_BUDGET + 1;
            let period = match engine.hurried_rounds {
                0 => SWEEP_PERIOD,
                _ => HURRIED_SWEEP_PERIOD,
            };
            (period / steps as u32).clamp(SWEEP_STEP.0, SWEEP_STEP.1)
        };
        sleep(pause).await;
    }
}

/// Drops the swarms of those of these torrents that are no longer served, a bounded step at a time.
pub(super) async fn forget(core: SharedCore, torrents: Arc<Vec<InfoHash>>) {
    for some in torrents.chunks(FORGET_STEP) {
        {
            let engine = &mut core.borrow_mut().engine;
            for info_hash in some {
                let is_own = engine.elsewhere(info_hash).is_none();
                if is_own && engine.verdict(info_hash) != Verdict::Served {
                    engine.shard.remove(info_hash);
                }
            }
        }
        sleep(SWEEP_STEP.0).await;
    }
}

/// Hands what happened to the journal, for as long as the core lives.
pub(super) async fn dispatch(core: SharedCore) {
    loop {
        let period = core.borrow().engine.private.as_ref().map(|private| private.outgoing.period());
        let Some(pause) = period else { return };
        sleep(pause).await;
        let core = &mut *core.borrow_mut();
        core.journaled();
        if let Some(private) = &mut core.engine.private {
            private.outgoing.tick();
        }
        if !core.engine.unheard.is_empty() {
            core.engine.tell_unheard();
        }
    }
}

/// Measures the core, reconsiders the interval and hands a copy of the counters to `slot`.
pub(super) async fn report(core: SharedCore, slot: Arc<Slot>) {
    let mut meter = Meter::begin();
    loop {
        sleep(REPORT_PERIOD).await;
        let core = &mut *core.borrow_mut();
        core.engine.follow_clock();
        core.look_after_filters();
        core.engine.counters.connections_open = core.desk.seats.borrow().taken() as u64;
        core.engine.measure(&mut meter);
        core.engine.counters.crowd = core.engine.crowd.look(core.engine.clock.steady());
        core.end_what_is_late();
        slot.store(&core.engine.counters);
    }
}
