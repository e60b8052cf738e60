//! Sends a shard to a thread outside, piece by piece, between answers: swarms with their peers for a
//! snapshot, counts alone for a full scrape, or what the site has said of torrents for a comparison.

use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use glommio::timer::sleep;
use ops::lists::Verdict;
use shard::private::{self, Rules, RulesCursor};
use shard::{Cursor, Piece};

use crate::core::Engine;
use crate::core::mesh::message::{Census, Exported, Part};
use crate::front::SharedCore;

/// Peers and swarms in a piece; exporting one takes about 50 µs.
const PIECE_PEERS: usize = 2048;

/// Swarms in a piece of a census; as many cache lines to look at.
const PIECE_SWARMS: usize = 2048;

/// Time between two pieces while the core serves; 5 million peers on one core take 6 seconds.
const PIECE_PAUSE: Duration = Duration::from_millis(2);

/// Exports the whole shard.
pub(super) async fn export(core: SharedCore, pieces: Sender<Exported<Part>>) {
    let is_private = core.borrow().engine.private.is_some();
    // The file says when it was written by the clock as it is now.
    core.borrow_mut().engine.follow_clock();
    if !is_private {
        let step = |core: &mut Engine, cursor: &mut Cursor| {
            let mut piece = Piece::default();
            let finished = core.shard.export(cursor, PIECE_PEERS, &mut piece);
            if core.clock.ahead() != 0 {
                let moments_v4 = piece.peers_v4.iter_mut().map(|peer| &mut peer.last_seen);
                let moments_v6 = piece.peers_v6.iter_mut().map(|peer| &mut peer.last_seen);
                moments_v4.chain(moments_v6).for_each(|seen| *seen = core.clock.wall_at(*seen));
            }
            (finished, Part::Open(piece))
        };
        return walk(core, pieces, step).await;
    }
    let step = |core: &mut Engine, cursor: &mut private::Cursor| {
        let mut piece = private::Piece::default();
        let swarms = core.private.as_mut().map(|private| &mut private.swarms);
        let finished = swarms.is_none_or(|swarms| swarms.export(cursor, PIECE_PEERS, &mut piece));
        (finished, Part::Private(piece))
    };
    walk(core, pieces, step).await;
}

/// Exports the counts of all swarms that the lists permit.
pub(super) async fn census(core: SharedCore, pieces: Sender<Exported<Census>>) {
    walk(core, pieces, |core, cursor: &mut Cursor| {
        let mut census = Census::default();
        let finished = core.shard.counts(cursor, PIECE_SWARMS, &mut census);
        census.retain(|(info_hash, _)| core.verdict(info_hash) == Verdict::Served);
        (finished, census)
    })
    .await;
}

/// Exports the rules of all torrents, and the tokens for them.
pub(super) async fn rules(core: SharedCore, pieces: Sender<Exported<Rules>>) {
    walk(core, pieces, |core, cursor: &mut RulesCursor| {
        let mut rules = Rules::default();
        let swarms = core.private.as_ref().map(|private| &private.swarms);
        let finished = swarms.is_none_or(|swarms| swarms.rules(cursor, PIECE_SWARMS, &mut rules));
        (finished, rules)
    })
    .await;
}

/// Goes through the shard in steps. When the other end cannot follow, it waits with the piece in hand;
/// when the other end is gone, so is the reason to go on.
async fn walk<C: Default, P>(
    core: SharedCore,
    pieces: Sender<Exported<P>>,
    step: impl Fn(&mut Engine, &mut C) -> (bool, P),
) {
    let mut cursor = C::default();
    loop {
        let ((finished, piece), draining) = {
            let core = &mut core.borrow_mut().engine;
            (step(core, &mut cursor), core.draining)
        };
        if !send(&pieces, Exported::Piece(piece)).await {
            return;
        }
        match (finished, draining) {
            (true, _) => {
                send(&pieces, Exported::End).await;
                return;
            }
            (false, true) => glommio::executor().yield_now().await,
            (false, false) => sleep(PIECE_PAUSE).await,
        }
    }
}

/// Sends without blocking the core, however long the other end takes; false when it is gone.
async fn send<P>(pieces: &Sender<Exported<P>>, mut exported: Exported<P>) -> bool {
    loop {
        match pieces.try_send(exported) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => exported = back,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        sleep(PIECE_PAUSE).await;
    }
}
