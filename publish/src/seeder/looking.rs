//! A look at the disk, a part of it at a time: what somebody removes or changes by hand is noticed, also when no peer asks
//! for it.
//!
//! A torrent whose files are not what they were is fetched again where it is wrong. What is known of it is written anew
//! where that is gone, as a start would remove its content. Where the folder of all content is gone, or another one is in
//! its place (its disk may be unmounted), nothing is fetched and nothing removed until it is back.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shard::InfoHash;
use tokio::task::{block_in_place, spawn_blocking};

use super::{Came, HeldState, REPORT_PART, Seeder};
use crate::torrent::{Identity, Metainfo};

/// What is said of the content's folder.
pub(super) const LOST: &str = "this folder is gone, or another one is in its place: nothing is fetched or removed until it \
                               is back; to fetch everything anew, start the Seeder again";

/// How far the look is.
#[derive(Debug)]
pub(super) struct Looking {
    /// The inode of the folder of all content. Numbers of devices change when a disk is mounted again.
    inode: u64,
    is_lost: bool,
    /// What this round has not looked at yet.
    left: Vec<InfoHash>,
    /// When the next part may be looked at; none while one is.
    next: Option<Instant>,
    /// When the next round may begin.
    round: Instant,
}

/// What a look found.
pub(super) struct Looked {
    is_lost: bool,
    changed: Vec<InfoHash>,
    /// What is known of these is not on the disk.
    unknown: Vec<InfoHash>,
    took: Duration,
}

/// A torrent that is looked at.
struct Object {
    info_hash: InfoHash,
    metainfo: Arc<Metainfo>,
    folder: PathBuf,
    identities: Vec<Identity>,
    entry: [PathBuf; 2],
}

impl Looking {
    /// The folder of all content is the one that is there now.
    pub(super) fn begin(content: &Path) -> io::Result<Self> {
        let now = Instant::now();
        let inode = fs::symlink_metadata(content)?.ino();
        Ok(Self { inode, is_lost: false, left: Vec::new(), next: Some(now), round: now + ROUND })
    }

    /// Whether the folder of all content is gone.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost
    }
}

impl Seeder {
    /// Looks at the next part, if it is time.
    pub(super) fn look_at_disk(&mut self) {
        let from = Instant::now();
        if self.looking.next.is_none_or(|next| from < next) {
            return;
        }
        if self.looking.left.is_empty() && from >= self.looking.round {
            self.looking.round = from + ROUND;
            self.looking.left = self.shelf.iter().map(|(info_hash, _)| *info_hash).collect();
        }
        let (mut objects, mut files) = (Vec::new(), 0);
        while files < FILES && !self.looking.is_lost {
            let Some(info_hash) = self.looking.left.pop() else { break };
            let Some(held) = self.shelf.get(&info_hash) else { continue };
            let identities = match &held.state {
                HeldState::Complete(identities) => identities.clone(),
                // Of these only what is known of them.
                HeldState::Fetching => Vec::new(),
                HeldState::Removing => continue,
            };
            let Some(metainfo) = self.metainfos.get(&info_hash) else { continue };
            files += identities.len() + 1;
            objects.push(Object {
                info_hash,
                metainfo: metainfo.clone(),
                folder: self.folder(&info_hash),
                identities,
                entry: self.shelf.paths(&info_hash),
            });
        }
        self.looking.next = None;
        let (content, inode, came) = (self.content.clone(), self.looking.inode, self.came.clone());
        spawn_blocking(move || {
            let _ = came.send(Came::Looked(look(&content, inode, &objects)));
        });
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        self.looking.next = Some(Instant::now() + (looked.took * REPORT_PART).min(PAUSE_MAX));
        if looked.is_lost != self.looking.is_lost {
            self.looking.is_lost = looked.is_lost;
            return match looked.is_lost {
                true => self.loses_folder(),
                false => self.has_folder(),
            };
        }
        for info_hash in looked.changed {
            let is_complete = |state: &HeldState| matches!(state, HeldState::Complete(_));
            let Some(held) = self.shelf.get(&info_hash).filter(|held| is_complete(&held.state))
            else {
                continue;
            };
            tracing::warn!(name = held.name, torrent = %info_hash, "its files are not what they were; it is checked, and fetched where it is wrong");
            self.fetch_again(info_hash);
        }
        let mut written = 0;
        for info_hash in &looked.unknown {
            let Some(metainfo) = self.metainfos.get(info_hash) else { continue };
            match block_in_place(|| self.shelf.restore(info_hash, &metainfo.bytes)) {
                Ok(()) => written += 1,
                Err(error) => {
                    tracing::warn!(
                        why = crate::chain(&error),
                        "what is known of a torrent is gone, and cannot be written anew"
                    );
                    break;
                }
            }
        }
        if written > 0 {
            tracing::warn!(
                torrents = written,
                "what is known of them was gone from the data folder; it is written anew"
            );
        }
    }

    fn loses_folder(&mut self) {
        tracing::error!(folder = %self.content.display(), "{LOST}");
        let held: Vec<InfoHash> = self.shelf.iter().map(|(info_hash, _)| *info_hash).collect();
        for info_hash in held {
            self.stop_fetching(info_hash);
            self.node.leave(&info_hash);
        }
    }

    fn has_folder(&mut self) {
        tracing::info!(folder = %self.content.display(), "this folder is back");
        let held: Vec<_> = self.shelf.iter().map(|(_, held)| held.clone()).collect();
        for held in held {
            if let HeldState::Complete(identities) = &held.state {
                self.seed(&held, identities.clone());
            }
        }
        // Each is looked at now.
        self.looking.round = Instant::now();
        self.looking.left.clear();
        self.choose_soon();
    }
}

fn look(content: &Path, inode: u64, objects: &[Object]) -> Looked {
    let from = Instant::now();
    let is_there = || {
        let found = fs::symlink_metadata(content);
        found.is_ok_and(|found| found.is_dir() && found.ino() == inode)
    };
    let is_gone = |path: &PathBuf| {
        fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let of = |found: &dyn Fn(&Object) -> bool| {
        objects.iter().filter(|object| found(object)).map(|object| object.info_hash).collect()
    };
    let changed = of(&|object| !is_same(&object.metainfo, &object.folder, &object.identities));
    let unknown = of(&|object| object.entry.iter().any(is_gone));
    // After the rest: what was seen of another folder is not of this one.
    let is_lost = !is_there();
    Looked { is_lost, changed, unknown, took: from.elapsed() }
}

/// Whether all files of a torrent are below its folder as they were.
pub(super) fn is_same(metainfo: &Metainfo, folder: &Path, identities: &[Identity]) -> bool {
    let mut files = metainfo.files.iter().zip(identities);
    identities.len() == metainfo.files.len()
        && files.all(|(file, was)| {
            let now = fs::symlink_metadata(folder.join(&file.path));
            // Numbers of devices change with a start of the machine.
            now.is_ok_and(|now| {
                now.is_file() && Identity { device: was.device, ..Identity::of(&now) } == *was
            })
        })
}

/// The longest time between two looks: on a busy machine one may take long, and on a slow disk.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Files that are looked at before others have their turn.
const FILES: usize = 1000;

/// The least time from one round to the next.
const ROUND: Duration = Duration::from_secs(10);
