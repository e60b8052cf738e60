//! A torrent goes: it is said on the shelf, then its files go, then its entry. What a crash leaves of that goes on.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use shard::InfoHash;
use tokio::task::block_in_place;

use super::failures::Say;
use super::{Came, Held, HeldState, Seeder};

impl Seeder {
    /// By the list of a feed that holds.
    pub(super) fn remove_what_vanished(&mut self, at: usize) {
        self.adopt();
        if self.looking.is_lost() {
            return;
        }
        for info_hash in self.following.look(at, &self.shelf, &self.metainfos) {
            let Some(held) = self.shelf.get(&info_hash).cloned() else { continue };
            if let Some((_, feed)) = self.following.item(&info_hash) {
                // Another Master has it as well.
                let feed = feed.to_owned();
                self.keep(Held { feed, ..held });
                continue;
            }
            tracing::info!(name = held.name, torrent = %info_hash, "withdrawn by the Master; it is being removed");
            self.let_go(info_hash);
        }
    }

    /// A torrent goes: it is said first, so that a crash goes on with it.
    pub(super) fn let_go(&mut self, info_hash: InfoHash) {
        let Some(held) = self.shelf.get(&info_hash).cloned() else { return };
        if held.state == HeldState::Removing || self.looking.is_lost() {
            return;
        }
        self.keep(Held { state: HeldState::Removing, ..held });
        self.failures.ends(&info_hash);
        self.remove(info_hash);
    }

    pub(super) fn remove_what_is_due(&mut self) {
        let now = Instant::now();
        let stays = self.failures.iter().map(|(info_hash, _)| info_hash);
        let due: Vec<InfoHash> = stays
            .filter(|info_hash| self.failures.is_due(info_hash, now))
            .filter(|info_hash| {
                self.shelf.get(info_hash).is_some_and(|held| held.state == HeldState::Removing)
            })
            .copied()
            .collect();
        for info_hash in due {
            self.failures.tries(&info_hash);
            self.remove(info_hash);
        }
    }

    pub(super) fn remove(&mut self, info_hash: InfoHash) {
        self.node.leave(&info_hash);
        self.bridge.withdraw(&info_hash);
        self.metainfos.remove(&info_hash);
        let is_fetching = self.fetching.remove(&info_hash).is_some();
        let (engine, came, folder) =
            (self.engine.clone(), self.came.clone(), self.folder(&info_hash));
        tokio::spawn(async move {
            if is_fetching {
                // It may not have taken it.
                let _ = engine.remove(info_hash, false).await;
            }
            let removed = tokio::task::spawn_blocking(move || remove_folder(&folder)).await;
            let removed = removed.unwrap_or(Ok(())).map_err(|error| error.to_string());
            let _ = came.send(Came::Removed(info_hash, removed));
        });
    }

    /// Its files are gone, or could not be removed.
    pub(super) fn removed(&mut self, info_hash: InfoHash, removed: Result<(), String>) {
        let gone = removed.and_then(|()| {
            block_in_place(|| self.shelf.remove(&info_hash)).map_err(|error| crate::chain(&error))
        });
        match gone {
            Ok(Some(held)) => tracing::info!(name = held.name, torrent = %info_hash, "removed"),
            Ok(None) => {}
            Err(why) => return self.stays(info_hash, why),
        }
        // There is room for another, or for it again.
        self.choose_soon();
    }

    fn stays(&mut self, info_hash: InfoHash, why: String) {
        let name = self.name(&info_hash);
        match self.has_failed(info_hash, &name, why.clone()) {
            Say::First => {
                tracing::error!(name, torrent = %info_hash, why, "it cannot be removed; it is tried again");
            }
            Say::Still(torrents) => {
                tracing::error!(torrents, name, why, "these still fail; they are tried again");
            }
            Say::Nothing => {}
        }
    }
}

/// Removes a torrent's folder with all that is in it. Symbolic links in it are removed and not followed.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
