//! What a Seeder says of itself.

use super::looking::LOST;
use super::unfollowed::UNFOLLOWED;
use super::{HeldState, Seeder};
use crate::engine::State;
use crate::web::status::{File, FileState, Status, told_by};

impl Seeder {
    /// How everything is now.
    pub(super) fn report(&self) -> Status {
        let activity = self.node.activity();
        let mut files: Vec<File> = self
            .shelf
            .iter()
            .map(|(info_hash, held)| {
                let progress =
                    self.fetching.get(info_hash).and_then(|fetching| fetching.progress.as_ref());
                let failed = self.failures.get(info_hash).map(|failed| failed.why.clone());
                let state = match (&held.state, &failed) {
                    (HeldState::Removing, _) => FileState::Withdrawing,
                    (_, Some(_)) => FileState::Failed,
                    (HeldState::Complete(_), None) if self.looking.is_lost() => FileState::Waiting,
                    (HeldState::Complete(_), None) => FileState::Seeding,
                    (HeldState::Fetching, None) => match progress.map(|progress| &progress.state) {
                        Some(State::Checking) => FileState::Hashing,
                        Some(_) => FileState::Fetching,
                        None if self.fetching.contains_key(info_hash) => FileState::Fetching,
                        None => FileState::Waiting,
                    },
                };
                let is_unfollowed =
                    held.state != HeldState::Removing && !self.following.follows(&held.feed);
                let reason = failed.or_else(|| is_unfollowed.then(|| UNFOLLOWED.to_owned()));
                let stats = activity.torrents.get(info_hash);
                let (swarm, tracker) =
                    activity.announced.get(info_hash).map(told_by).unwrap_or_default();
                File {
                    name: held.name.clone(),
                    state,
                    reason,
                    info_hash: Some(info_hash.to_string()),
                    size: held.size,
                    done: match &held.state {
                        HeldState::Complete(_) => held.size,
                        _ => progress.map_or(0, |progress| progress.bytes),
                    },
                    peers: stats.map_or(0, |stats| stats.peers.len())
                        + progress.map_or(0, |progress| progress.peers),
                    swarm,
                    uploaded: stats.map_or(0, |stats| stats.uploaded),
                    tracker,
                }
            })
            .collect();
        // Those whose `.torrent` file is not here.
        let bare =
            self.failures.iter().filter(|(info_hash, _)| self.shelf.get(info_hash).is_none());
        files.extend(bare.map(|(info_hash, failed)| File {
            name: failed.name.clone(),
            state: FileState::Failed,
            reason: Some(failed.why.clone()),
            info_hash: Some(info_hash.to_string()),
            size: self.following.item(info_hash).map_or(0, |(item, _)| item.size),
            ..File::default()
        }));
        files.extend(self.waiting.iter().map(|(name, size)| File {
            name: name.clone(),
            state: FileState::Waiting,
            reason: Some("there is no room for it within disk-max".to_owned()),
            size: *size,
            ..File::default()
        }));
        files.extend(self.own.iter().map(|(info_hash, (name, size))| File {
            name: name.clone(),
            state: FileState::Seeding,
            info_hash: Some(info_hash.to_string()),
            size: *size,
            done: *size,
            uploaded: activity.torrents.get(info_hash).map_or(0, |stats| stats.uploaded),
            ..File::default()
        }));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let fetched = self.fetching.values().filter_map(|fetching| fetching.progress.as_ref());
        let (done, all) = fetched
            .fold((0, 0), |(done, all), progress| (done + progress.bytes, all + progress.total));
        Status {
            role: self.role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            folder: self.content.display().to_string(),
            feeds: self.following.report(),
            troubles: self.troubles(&files).into_iter().chain(activity.troubles).collect(),
            files,
            seeders: Vec::new(),
            uploaded: activity.uploaded,
            upload_rate: activity.upload_rate,
            peers: activity.peers,
            screened: self.screening.refused(),
            lookups: self.screening.lookups().into(),
            progress: (all > 0).then_some((done, all)),
        }
    }

    fn troubles(&self, files: &[File]) -> Vec<String> {
        let held = self.shelf.iter().filter(|(_, held)| held.state != HeldState::Removing);
        let mut troubles = self.following.troubles(held.count());
        troubles.extend(self.screening.troubles());
        troubles.extend(self.unfollowed_in_words());
        if self.looking.is_lost() {
            troubles.push(format!("{}: {LOST}", self.content.display()));
        }
        if let Some(why) = &self.trouble {
            troubles
                .push(format!("what the feed says cannot be kept, and it is not followed: {why}"));
        }
        for (state, what) in [
            (FileState::Failed, "have failed and are tried again"),
            (FileState::Withdrawing, "cannot be removed, which is tried again"),
        ] {
            let mut such = files
                .iter()
                .filter(|file| file.state == state)
                .filter_map(|file| file.reason.as_ref());
            if let Some(why) = such.next() {
                troubles.push(format!("{} torrents {what}: {why}", 1 + such.count()));
            }
        }
        troubles
    }
}
