//! What an operator orders by the control listener.

use std::time::{Duration, Instant};

use shard::InfoHash;
use tokio::task::block_in_place;

use super::Master;
use super::manifest::{Item, Step};
use crate::web::Command;

impl Master {
    /// Does what is ordered, and says what comes of it.
    pub(super) fn order(&mut self, command: Command) -> Result<String, String> {
        let (name, acts, done) = match command {
            Command::Withdraw { name } => {
                let acts = self.names.withdraw(&name)?;
                (name, acts, "is being withdrawn; it stays out until its content changes")
            }
            Command::Republish { name } => {
                if let Some((info_hash, item)) = self.refused_of(&name) {
                    let bytes = block_in_place(|| self.manifest.torrent(&info_hash))
                        .map_err(|error| crate::chain(&error))?;
                    self.delayed.remove(&info_hash);
                    self.steps.offer(info_hash, item.name.clone(), bytes);
                }
                let acts = self.names.republish(&name)?;
                (name, acts, "is being published")
            }
            Command::Confirm => {
                if self.lost.is_some() {
                    self.watcher.accept_folder();
                }
                self.confirmed_until = Some(Instant::now() + CONFIRMED);
                self.feed.is_dirty = true;
                return Ok("Seeders are told that what has vanished is meant to be gone, for the next hour".to_owned());
            }
            Command::Promote => return Err("this is the Master already".to_owned()),
            Command::Drop { .. } => return Err("this is the Master and no Seeder".to_owned()),
        };
        self.act(acts);
        Ok(format!("{name:?} {done}"))
    }

    /// The torrent of a name whose steps were refused.
    fn refused_of(&self, name: &str) -> Option<(InfoHash, Item)> {
        let mut items = self.manifest.items();
        let item = items.find(|item| item.name == name && item.step == Step::Publishing)?;
        self.delayed.contains_key(&item.info_hash).then(|| (item.info_hash, item.clone()))
    }
}

/// How long the word holds that what vanished is meant to be gone. Seeders poll more often.
const CONFIRMED: Duration = Duration::from_secs(3600);
