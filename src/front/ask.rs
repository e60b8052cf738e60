//! Requests of the API to a core: to change something, or to look.
//!
//! A change is applied at once and answered when the journal has it on the disk. A look is answered at
//! once, but for a user's clients, which are found in steps between announces.

use std::time::{Duration, Instant};

use shard::private::{TorrentId, UserId};
use tokio::sync::oneshot;

use super::SharedCore;
use crate::api::TorrentState;
use crate::core::mesh::ask::{Ask, Found, Results};

/// Torrents looked at in one step when a user is looked for; some 100 µs.
const FIND_STEP: u32 = 1024;

/// The same when a number is looked for, which costs less.
const NUMBER_STEP: u32 = 16 * FIND_STEP;

/// Time between two steps.
const FIND_PAUSE: Duration = Duration::from_millis(1);

/// How long a user is looked for at a time.
const FIND_TIME: Duration = Duration::from_secs(3);

/// Time between two looks whether other cores have room for what this one says.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// Does what is asked.
pub fn hear(core: &SharedCore, ask: Ask) {
    // Who asked may have given up; then nobody gets the answer.
    match ask {
        Ask::Do(operations, reply) if operations.is_empty() => {
            glommio::spawn_local(settle(core.clone(), reply)).detach();
        }
        Ask::Do(operations, reply) => {
            let engine = &mut core.borrow_mut().engine;
            let (now, draining) = (engine.clock.now(), engine.draining);
            engine.change(|private| private.do_all(operations, reply, now, draining));
        }
        Ask::Torrent(info_hash, reply) => {
            _ = reply.send(core.borrow().engine.private().torrent_state(&info_hash));
        }
        Ask::Peers(info_hash, from, max, reply) => {
            _ = reply.send(core.borrow().engine.private().page_of(&info_hash, from, max));
        }
        Ask::Torrents(from, max, reply) => {
            _ = reply.send(core.borrow().engine.private().listed(from, max));
        }
        Ask::Tokens(after, of, max, reply) => {
            _ = reply.send(core.borrow().engine.private().held(after, of, max));
        }
        Ask::Number(id, reply) => {
            glommio::spawn_local(find_number(core.clone(), id, reply)).detach();
        }
        Ask::Stand(standings, reply) => {
            let engine = &mut core.borrow_mut().engine;
            let said = standings.into_iter();
            _ = reply.send(said.map(|(torrent, said)| engine.stand(torrent, said)).collect());
        }
        Ask::Stands(torrents, reply) => {
            let engine = &core.borrow().engine;
            _ = reply.send(torrents.iter().map(|torrent| engine.stood(torrent)).collect());
        }
        Ask::Find(user, from, max, reply) => {
            glommio::spawn_local(find(core.clone(), user, from, max, reply)).detach();
        }
    }
}

/// Answers when the inboxes of the other cores have all that this one has to say to them.
async fn settle(core: SharedCore, reply: oneshot::Sender<Results>) {
    while !core.borrow().engine.unheard.is_empty() && !reply.is_closed() {
        glommio::timer::sleep(SETTLE_PAUSE).await;
    }
    let _ = reply.send(Results::new());
}

async fn find(
    core: SharedCore,
    user: UserId,
    from: u32,
    max: usize,
    reply: oneshot::Sender<Found>,
) {
    let began = Instant::now();
    let mut found = Found { presences: Vec::new(), next: Some(from) };
    while let Some(next) = found.next
        && found.presences.len() < max
        && began.elapsed() < FIND_TIME
        && !reply.is_closed()
    {
        if next != from {
            glommio::timer::sleep(FIND_PAUSE).await;
        }
        let core = core.borrow();
        let Some(private) = &core.engine.private else { break };
        let presences = &mut found.presences;
        found.next = private.swarms.find_user(user, next, FIND_STEP, max, presences);
    }
    let _ = reply.send(found);
}

/// Looks for the torrent with a number, in steps: nothing leads from there to the torrent.
async fn find_number(
    core: SharedCore,
    id: TorrentId,
    reply: oneshot::Sender<Option<TorrentState>>,
) {
    let (mut next, mut found, mut seen) = (Some(0), None, Vec::new());
    while let Some(from) = next
        && found.is_none()
        && !reply.is_closed()
    {
        if from > 0 {
            glommio::timer::sleep(FIND_PAUSE).await;
        }
        let core = core.borrow();
        let private = core.engine.private();
        seen.clear();
        next = private.swarms.registered(from, NUMBER_STEP, usize::MAX, &mut seen);
        let named = seen.iter().find(|(_, number)| *number == id);
        found = named.and_then(|(info_hash, _)| private.torrent_state(info_hash));
    }
    let _ = reply.send(found);
}
