//! How a node is doing, as values: the page, the JSON and the metrics are made of them.

use serde::{Deserialize, Serialize};

use crate::announce::{TorrentStatus, TrackerState};

/// A Master or Seeder at one moment.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Version of the program.
    pub version: String,
    /// Since when it runs, in seconds since 1970.
    pub started: u64,
    /// The folder that is watched, or where content is kept.
    pub folder: String,
    /// Addresses of the feeds: the Master's own with its key, or those that are followed.
    pub feeds: Vec<Feed>,
    /// Files and folders, by name.
    pub files: Vec<File>,
    /// Seeders that have asked for the feed lately, as they say of themselves.
    pub seeders: Vec<Seeder>,
    /// What is wrong now, each with what to do; empty when all is well.
    pub troubles: Vec<String>,
    /// Bytes uploaded since the start.
    pub uploaded: u64,
    /// Bytes uploaded in the last second.
    pub upload_rate: u64,
    /// Peers that are connected.
    pub peers: usize,
    /// Connections that were refused, or not made, since the start for an address.
    #[serde(default)]
    pub screened: u64,
    /// Countries that were looked up by DNS.
    #[serde(default)]
    pub lookups: Lookups,
    /// Bytes that are hashed or fetched now, and of how many.
    pub progress: Option<(u64, u64)>,
}

/// What came of look-ups of countries by DNS since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Lookups {
    /// A country was said.
    pub country: u64,
    /// It was said that there is none.
    pub none: u64,
    /// No name server gave an answer.
    pub failed: u64,
    /// The answer could not be understood.
    pub unreadable: u64,
}

impl From<ops::counters::Lookups> for Lookups {
    fn from(figures: ops::counters::Lookups) -> Self {
        let ops::counters::Lookups { found, nowhere, failed, unreadable, .. } = figures;
        Self { country: found, none: nowhere, failed, unreadable }
    }
}

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It publishes.
    #[default]
    Master,
    /// It would publish if the Master were gone.
    Standby,
    /// It follows a feed.
    Seeder,
}

impl Role {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Role::Master => "Master",
            Role::Standby => "standby Master",
            Role::Seeder => "Seeder",
        }
    }
}

/// A feed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Feed {
    /// Its address, with the key that signs it.
    pub address: String,
    /// Epoch of the Master that made the last list; of a Seeder the last good one, also from before its start.
    pub epoch: u64,
    /// Number of that list.
    pub generation: u64,
    /// Torrents in it.
    pub items: usize,
    /// When its Master wrote it last, or a Seeder read it last and found it good or unchanged; in seconds since 1970, 0 for
    /// never.
    pub at: u64,
    /// What is wrong with it.
    pub trouble: Option<String>,
}

/// A file or folder.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Where it is on its way.
    pub state: FileState,
    /// The reason, where it has failed or is held.
    pub reason: Option<String>,
    /// The torrent, where there is one.
    pub info_hash: Option<String>,
    /// Its size in bytes, as far as it is known.
    pub size: u64,
    /// Bytes that are hashed or fetched.
    pub done: u64,
    /// Peers that are connected.
    pub peers: usize,
    /// Seeders and leechers that a tracker tells of.
    pub swarm: Option<(u32, u32)>,
    /// Bytes uploaded since the start.
    pub uploaded: u64,
    /// What trackers said last, where it was no success.
    pub tracker: Option<String>,
}

/// Where a file is on its way.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// It is being written.
    #[default]
    Uploading,
    /// It is as it was, and not for long enough.
    Settling,
    /// It waits: empty, or without the mark that it is done, or for room on the disk.
    Waiting,
    /// It is being hashed.
    Hashing,
    /// It is being told of.
    Publishing,
    /// It is being fetched.
    Fetching,
    /// It is seeded.
    Seeding,
    /// It is being taken out.
    Withdrawing,
    /// The operator has withdrawn it.
    Withdrawn,
    /// It could not be published or fetched.
    Failed,
}

impl FileState {
    /// All of them, in the order of a file's life.
    pub const ALL: [FileState; 10] = [
        FileState::Uploading,
        FileState::Settling,
        FileState::Waiting,
        FileState::Hashing,
        FileState::Publishing,
        FileState::Fetching,
        FileState::Seeding,
        FileState::Withdrawing,
        FileState::Withdrawn,
        FileState::Failed,
    ];

    /// Its word, in JSON, metrics and pages.
    pub fn word(self) -> &'static str {
        match self {
            FileState::Uploading => "uploading",
            FileState::Settling => "settling",
            FileState::Waiting => "waiting",
            FileState::Hashing => "hashing",
            FileState::Publishing => "publishing",
            FileState::Fetching => "fetching",
            FileState::Seeding => "seeding",
            FileState::Withdrawing => "withdrawing",
            FileState::Withdrawn => "withdrawn",
            FileState::Failed => "failed",
        }
    }
}

/// A Seeder, as it says of itself when it asks for the feed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Seeder {
    /// Its name.
    pub name: String,
    /// From where it asked.
    pub address: String,
    /// Torrents that it seeds.
    pub holds: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The list that it had then.
    pub generation: u64,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// Seeders and leechers that a tracker tells of, and what one says that is no success.
pub(crate) fn told_by(status: &TorrentStatus) -> (Option<(u32, u32)>, Option<String>) {
    let swarm = status
        .trackers
        .iter()
        .find_map(|tracker| Some((tracker.seeders?, tracker.leechers.unwrap_or(0))));
    let trouble = status.trackers.iter().find(|tracker| {
        matches!(tracker.state, TrackerState::Refusing | TrackerState::Unreachable)
            || tracker.text.is_some()
    });
    let said = trouble.map(|tracker| {
        format!("{}: {}", tracker.url, tracker.text.as_deref().unwrap_or("does not answer"))
    });
    (swarm, said)
}
