//! The part of a core in a take-over.

use std::time::Duration;

use glommio::spawn_local;
use glommio::timer::sleep;

use crate::core::changes::Changes;
use crate::core::mesh::succession::{Promises, Standing, Step};
use crate::front::{Core, Reading, SharedCore};

/// How long what was noted waits at most.
const HAND_ON_PERIOD: Duration = Duration::from_millis(20);

/// Does a step.
pub(super) fn take(core: &SharedCore, step: Step) {
    match step {
        Step::Note(out) => {
            let is_new = out.is_some();
            core.borrow_mut().engine.changes = out.map(|out| Box::new(Changes::new(out)));
            if is_new {
                spawn_local(hand_on(core.clone())).detach();
            }
        }
        Step::Read(reads) => {
            core.borrow_mut().desk.reading = if reads { Reading::On } else { Reading::Paused };
        }
        Step::Stand(reply) => {
            let standing = stand(&mut core.borrow_mut());
            // Whoever asked may have given up.
            let _ = reply.try_send(standing);
        }
        Step::Succeeded(leaving) => {
            let core = &mut *core.borrow_mut();
            core.desk.reading = Reading::Over;
            core.desk.leaving = Some(leaving);
        }
        Step::Follow(changes, is_late) => core.borrow_mut().engine.follow(&changes, is_late),
        Step::Replay(records) => {
            if let Some(private) = &mut core.borrow_mut().engine.private {
                private.follow(&records);
            }
        }
        Step::Replayed => {
            let engine = &mut core.borrow_mut().engine;
            let now = engine.clock.now();
            if let Some(private) = &mut engine.private {
                private.swarms.believe_from(now);
            }
        }
        Step::Keep(promises) => keep(&mut core.borrow_mut(), &promises),
        Step::Open(_) | Step::Serve(_) => {
            unreachable!("the sockets are where the inbox is attended")
        }
    }
}

/// Hands on what is noted, for as long as anything is to be.
async fn hand_on(core: SharedCore) {
    loop {
        sleep(HAND_ON_PERIOD).await;
        match &mut core.borrow_mut().engine.changes {
            Some(changes) => changes.hand_on(),
            None => return,
        }
    }
}

fn stand(core: &mut Core) -> Standing {
    let engine = &mut core.engine;
    if let Some(changes) = &mut engine.changes {
        changes.hand_on();
    }
    let Promises { interval, due } = engine.interval.promises();
    let due = due.into_iter().map(|(due, clients)| (engine.clock.wall_at(due), clients)).collect();
    Standing {
        core: engine.number,
        promises: Promises { interval, due },
        connections: core.desk.seats.borrow().taken(),
    }
}

/// Keeps what the cores of the process before have promised: as many cores each their own, others an equal part of all.
fn keep(core: &mut Core, all: &[Promises]) {
    let engine = &mut core.engine;
    let (now, cores) = (engine.clock.now(), engine.mesh.len());
    let (part, promised) = match all.len() == cores {
        true => ((0, 1), &all[engine.number..=engine.number]),
        false => ((engine.number as u32, cores as u32), all),
    };
    for Promises { interval, due } in promised {
        let due = due.iter().map(|(due, clients)| (engine.clock.steady_at(*due), *clients));
        let promises = Promises { interval: *interval, due: due.collect() };
        engine.interval.go_on(&promises, part, engine.clock.steady_at(now));
    }
}
