//! Sends a shard to the snapshot, piece by piece, between answers.

use crossbeam_channel::{Sender, TrySendError};
use glommio::timer::sleep;
use shard::{Cursor, Piece};
use std::time::Duration;

use super::SharedCore;

/// What goes to the writer of a snapshot.
pub enum Exported {
    /// A part of a shard.
    Piece(Piece),
    /// All of a shard has been sent. Without it the export was broken off.
    End,
}

/// Peers and swarms in a piece; exporting one takes about 50 µs.
const PIECE_PEERS: usize = 2048;

/// Time between two pieces while the core serves; 5 million peers on one core take 6 seconds.
const PIECE_PAUSE: Duration = Duration::from_millis(2);

/// Exports the whole shard. When the writer cannot follow, it waits with the piece in hand; when the
/// writer is gone, so is the reason to go on.
pub async fn export(core: SharedCore, pieces: Sender<Exported>) {
    let mut cursor = Cursor::default();
    loop {
        let mut piece = Piece::default();
        let (finished, draining) = {
            let core = core.borrow();
            (core.shard.export(&mut cursor, PIECE_PEERS, &mut piece), core.draining)
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

/// Sends without blocking the core, however long the writer takes; false when it is gone.
async fn send(pieces: &Sender<Exported>, mut exported: Exported) -> bool {
    loop {
        match pieces.try_send(exported) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) => exported = back,
            Err(TrySendError::Disconnected(_)) => return false,
        }
        sleep(PIECE_PAUSE).await;
    }
}
