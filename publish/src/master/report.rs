//! What the Master says of itself.

use shard::InfoHash;

use super::Master;
use super::manifest::Step;
use crate::engine::upload::TorrentStats;
use crate::feed::FeedAddress;
use crate::web::Certificates;
use crate::web::status::{Feed, File, FileState, Role, Status, told_by};

impl Master {
    /// How everything is now.
    pub(super) fn report(&self) -> Status {
        let activity = self.node.activity();
        let mut files = Vec::new();
        let mut unserved: Vec<(&str, &str)> = Vec::new();
        for (name, state, reason, info_hash) in self.names.states() {
            let item = info_hash.and_then(|info_hash| self.manifest.item(&info_hash));
            let mut file = File {
                name: name.to_owned(),
                state,
                reason: reason.map(str::to_owned),
                info_hash: info_hash.map(|info_hash| info_hash.to_string()),
                size: item.map_or(0, |item| item.size),
                done: self.hasher.done(name).unwrap_or_else(|| item.map_or(0, |item| item.size)),
                ..File::default()
            };
            if let (FileState::Failed | FileState::Waiting, Some(why), Some(_)) =
                (state, reason, info_hash)
            {
                unserved.push((name, why));
            }
            if let Some(info_hash) = info_hash {
                self.add_torrent(&mut file, &info_hash, activity.torrents.get(&info_hash));
                if let Some(status) = activity.announced.get(&info_hash) {
                    (file.swarm, file.tracker) = told_by(status);
                }
            }
            files.push(file);
        }
        for item in self.manifest.items().filter(|item| item.step == Step::Withdrawing) {
            files.push(File {
                name: item.name.clone(),
                state: FileState::Withdrawing,
                reason: self.delayed.get(&item.info_hash).cloned(),
                info_hash: Some(item.info_hash.to_string()),
                size: item.size,
                ..File::default()
            });
        }
        Status {
            role: Role::Master,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: self.started,
            folder: self.folder.display().to_string(),
            feeds: vec![self.feed()],
            files,
            seeders: self.served.seeders(),
            troubles: self.troubles(&unserved, activity.troubles),
            uploaded: activity.uploaded,
            upload_rate: activity.upload_rate,
            peers: activity.peers,
            screened: self.screening.refused(),
            lookups: self.screening.lookups().into(),
            progress: self.hasher.progress(),
        }
    }

    fn add_torrent(&self, file: &mut File, info_hash: &InfoHash, stats: Option<&TorrentStats>) {
        if let Some(stats) = stats {
            file.peers = stats.peers.len();
            file.uploaded = stats.uploaded;
        }
        let is_published =
            self.manifest.item(info_hash).is_some_and(|item| item.step == Step::Published);
        if file.state == FileState::Seeding && !is_published {
            file.state = FileState::Publishing;
            file.reason = self.delayed.get(info_hash).cloned();
        }
    }

    fn feed(&self) -> Feed {
        let address =
            FeedAddress { url: self.writer.page.link.clone(), key: Some(self.writer.key.public()) };
        let last = self.feed.last.as_deref();
        Feed {
            address: address.to_string(),
            epoch: self.epoch,
            generation: last.map_or(0, |list| list.generation),
            items: last.map_or(0, |list| list.items.len()),
            at: last.map_or(0, |list| list.made),
            trouble: self.feed.trouble.clone(),
        }
    }

    fn troubles(&self, unserved: &[(&str, &str)], trackers: Vec<String>) -> Vec<String> {
        let mut troubles = Vec::new();
        if let Some(why) = &self.lost {
            troubles.push(format!(
                "the watched folder is lost, and nothing is withdrawn: {why}; if it is another one on purpose, say `margay publish confirm`"
            ));
        }
        if let Some(why) = &self.data_trouble {
            troubles.push(format!(
                "the data folder cannot be written to, and nothing is published or withdrawn: {why}"
            ));
        }
        if let Some(why) = &self.feed.trouble {
            troubles.push(format!("the feed cannot be written: {why}"));
        }
        if let Some(why) = self.delayed.values().next() {
            troubles
                .push(format!("{} torrents wait for their next step: {why}", self.delayed.len()));
        }
        if let Some((name, why)) = unserved.first() {
            troubles.push(format!(
                "{} published names are not served here; {}: {why}",
                unserved.len(),
                name.escape_debug()
            ));
        }
        troubles.extend(self.certificates.as_ref().and_then(Certificates::trouble));
        troubles.extend(self.screening.troubles());
        troubles.extend(trackers);
        troubles
    }
}
