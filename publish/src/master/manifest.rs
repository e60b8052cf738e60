//! What the Master has published, on disk: one small file for each torrent, so that a step costs what it changes.
//!
//! ```text
//! DATA/items/INFOHASH.json       a torrent on its way into the feed, in it, or on its way out
//! DATA/items/INFOHASH.torrent    its .torrent file, byte for byte
//! DATA/names/NAME-HASH.json      how often a name was published, and what the operator said of it
//! DATA/generation                the number of the last list
//! DATA/folder.json               which folder it is of
//! ```
//!
//! Each file is written beside and renamed. A crash between two of them leaves a state that [`Manifest::open`] and the
//! steps of `master::steps` go on from: every step can be done twice.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ring::digest;
use serde::{Deserialize, Serialize};
use shard::InfoHash;

use crate::durable::{self, FileError, Readers};
use crate::shelf::{self, Shelf, ShelfError, hex};
use crate::torrent::Identity;
use crate::watch::{Entry, FolderIdentity, Look};

/// Where a torrent is on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// It is authored; tracker, swarm, docroot and feed are being told, in this order.
    Publishing,
    /// It is in the feed, or in the list that is being written.
    Published,
    /// It leaves feed, docroot, tracker and swarm, in this order.
    Withdrawing,
}

/// A torrent of the Master.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Item {
    /// Its infohash, 40 hex digits.
    #[serde(with = "hex")]
    pub info_hash: InfoHash,
    /// The file or folder in the watched folder.
    pub name: String,
    /// What readers of the feed see; another one for each time that the name is published anew.
    pub title: String,
    /// Bytes of its content.
    pub size: u64,
    /// Number of its files.
    pub files: u64,
    /// As what it was hashed.
    pub files_were: Files,
    /// When it was authored, in seconds since 1970.
    pub published: u64,
    /// Where its content is: the watched folder, or a folder of a Seeder that was promoted.
    pub root: PathBuf,
    /// Where it is on its way.
    pub step: Step,
}

/// The files of a name, and which they were.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Files {
    /// It is a file.
    File(Identity),
    /// It is a directory.
    Directory {
        /// The device of the directory itself.
        device: u64,
        /// Each file below it, in the order of its bytes in the torrent.
        files: Vec<(PathBuf, Identity)>,
    },
}

impl Files {
    /// The files of what settled; `None` where there is nothing that could be published.
    pub(super) fn of(look: &Look) -> Option<Self> {
        match look {
            Look::File(identity) => Some(Files::File(*identity)),
            Look::Directory { device, files, .. } => {
                let files = files.iter().map(|file| (file.path.clone(), file.identity)).collect();
                Some(Files::Directory { device: *device, files })
            }
            Look::Absent | Look::Failed(_) => None,
        }
    }

    /// The same as it is looked at.
    pub(super) fn look(&self) -> Look {
        match self {
            Files::File(identity) => Look::File(*identity),
            Files::Directory { device, files } => {
                let entry = |(path, identity): &(PathBuf, Identity)| Entry {
                    path: path.clone(),
                    identity: *identity,
                };
                Look::Directory {
                    device: *device,
                    files: files.iter().map(entry).collect(),
                    unfinished: None,
                }
            }
        }
    }

    /// True when only the number of the device is another one than in `before`.
    pub(super) fn is_moved(&self, before: &Self) -> bool {
        let (Some(from), Some(to)) =
            (before.identities().first().copied(), self.identities().first().copied())
        else {
            return false;
        };
        let moved = |identity: &Identity| Identity {
            device: if identity.device == from.device { to.device } else { identity.device },
            ..*identity
        };
        match (before, self) {
            (Files::File(before), Files::File(now)) => moved(before) == *now,
            (Files::Directory { files: before, .. }, Files::Directory { files: now, .. }) => before
                .iter()
                .map(|(path, identity)| (path, moved(identity)))
                .eq(now.iter().map(|(path, identity)| (path, *identity))),
            _ => false,
        }
    }

    /// Which files they were, in the order of the torrent.
    pub(super) fn identities(&self) -> Vec<Identity> {
        match self {
            Files::File(identity) => vec![*identity],
            Files::Directory { files, .. } => files.iter().map(|(_, identity)| *identity).collect(),
        }
    }

    /// The same with their paths below the folder that `name` is in.
    pub(super) fn paths(&self, name: &str) -> Vec<(PathBuf, Identity)> {
        match self {
            Files::File(identity) => vec![(name.into(), *identity)],
            Files::Directory { files, .. } => {
                let below = |(path, identity): &(PathBuf, Identity)| {
                    (Path::new(name).join(path), *identity)
                };
                files.iter().map(below).collect()
            }
        }
    }
}

/// What is known of a name for longer than its file is there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// The name, whose file is named by its hash.
    pub name: String,
    /// How many torrents it has had.
    pub times: u32,
    /// What its content was when the operator withdrew it: it stays out until it changes.
    pub withdrawn: Option<Files>,
}

/// All of it, in memory and on disk.
#[derive(Debug)]
pub(super) struct Manifest {
    folder: PathBuf,
    items: Shelf<Item>,
    names: HashMap<String, Known>,
    generation: u64,
    of: Option<FolderIdentity>,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// What is on disk cannot be read or changed.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// The number of the last list is not readable.
    #[error(
        "{} does not hold a number; Seeders refuse lists with a lower one than they have seen: write a larger one there",
        path.display()
    )]
    Generation {
        /// The file.
        path: PathBuf,
    },
}

impl From<FileError> for ManifestError {
    fn from(error: FileError) -> Self {
        Self::Shelf(error.into())
    }
}

impl Manifest {
    /// Reads what is in the data folder `data`.
    pub(super) fn open(data: &Path) -> Result<Self, ManifestError> {
        let items = Shelf::open(&data.join(ITEMS))?;
        let mut names = HashMap::new();
        durable::folder(&data.join(NAMES))?;
        for (_, path) in durable::files(&data.join(NAMES))? {
            let known: Known = shelf::read_json(&path)?;
            names.insert(known.name.clone(), known);
        }
        let path = data.join(GENERATION);
        let generation = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| ManifestError::Generation { path })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(FileError::of("read", &path)(error).into()),
        };
        let of = data.join(FOLDER);
        let of = if of.exists() { Some(shelf::read_json(&of)?) } else { None };
        durable::files(data)?;
        Ok(Self { folder: data.to_owned(), items, names, generation, of })
    }

    /// All torrents, in no order.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter().map(|(_, item)| item)
    }

    /// One of them.
    pub(super) fn item(&self, info_hash: &InfoHash) -> Option<&Item> {
        self.items.get(info_hash)
    }

    /// What is known of a name.
    pub(super) fn known(&self, name: &str) -> Option<&Known> {
        self.names.get(name)
    }

    /// Whether the operator wants an item out: a crash may have come between his word and its first step.
    pub(super) fn is_kept_out(&self, item: &Item) -> bool {
        let withdrawn = self.names.get(&item.name).and_then(|known| known.withdrawn.as_ref());
        withdrawn == Some(&item.files_were)
    }

    /// What is known of all names, in no order.
    pub(super) fn names(&self) -> impl Iterator<Item = &Known> {
        self.names.values()
    }

    /// The title under which `name` is published next: the name, and from the second time on its number.
    pub(super) fn next_title(&self, name: &str) -> String {
        match self.names.get(name).map_or(0, |known| known.times) {
            0 => name.to_owned(),
            times => format!("{name} ({})", times + 1),
        }
    }

    /// Torrents are new: what is known of their names first, then `.torrent` files, then items, so that an item always
    /// has one. After an error none of them is there, and another try is not another time of a name.
    pub(super) fn begin_all(&mut self, new: &[(Item, Bytes)]) -> Result<(), ManifestError> {
        let mut names = BTreeMap::new();
        for (item, _) in new {
            let known = names
                .entry(item.name.as_str())
                .or_insert_with(|| self.names.get(&item.name).cloned().unwrap_or_default());
            known.name = item.name.clone();
            known.times += 1;
            known.withdrawn = None;
        }
        let files: Vec<_> =
            names.values().map(|known| (self.name_file(&known.name), text(known))).collect();
        let items =
            new.iter().map(|(item, torrent)| (item.info_hash, item.clone(), torrent.clone()));
        let begun = durable::write_all(&files, Readers::All)
            .map_err(ShelfError::from)
            .and_then(|()| self.items.begin_all(items.collect()));
        if let Err(error) = begun {
            for name in names.into_keys() {
                let file = self.name_file(name);
                // Where this fails as well, a title has a higher number than it needs.
                let _ = match self.names.get(name) {
                    Some(before) => durable::write(&file, &text(before), Readers::All),
                    None => durable::remove(&file),
                };
            }
            return Err(error.into());
        }
        self.names.extend(names.into_values().map(|known| (known.name.clone(), known)));
        Ok(())
    }

    /// The folder that the torrents are of.
    pub(super) fn folder(&self) -> Option<FolderIdentity> {
        self.of
    }

    /// They are of this folder from now on.
    pub(super) fn know_folder(&mut self, of: FolderIdentity) -> Result<(), ManifestError> {
        let text = serde_json::to_vec(&of).expect("two numbers are JSON");
        durable::write(&self.folder.join(FOLDER), &text, Readers::All)?;
        self.of = Some(of);
        Ok(())
    }

    /// Items are like this from now on.
    pub(super) fn put_all(&mut self, items: Vec<Item>) -> Result<(), ManifestError> {
        let items = items.into_iter().map(|item| (item.info_hash, item));
        Ok(self.items.put_all(items.collect())?)
    }

    /// An item is like this from now on, until the next start.
    pub(super) fn remember(&mut self, item: Item) {
        self.items.remember(item.info_hash, item);
    }

    /// An item has left everywhere.
    pub(super) fn forget(&mut self, info_hash: &InfoHash) -> Result<(), ManifestError> {
        self.items.remove(info_hash)?;
        Ok(())
    }

    /// This is known of a name from now on.
    pub(super) fn know(&mut self, known: Known) -> Result<(), ManifestError> {
        durable::write(&self.name_file(&known.name), &text(&known), Readers::All)?;
        self.names.insert(known.name.clone(), known);
        Ok(())
    }

    /// Where it is kept what is known of a name.
    fn name_file(&self, name: &str) -> PathBuf {
        let hash = digest::digest(&digest::SHA256, name.as_bytes());
        let file: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(NAMES).join(file + ".json")
    }

    /// The `.torrent` file of an item.
    pub(super) fn torrent(&self, info_hash: &InfoHash) -> Result<Bytes, ManifestError> {
        Ok(self.items.torrent(info_hash)?)
    }

    /// The next list has a higher number than this.
    pub(super) fn is_behind(&mut self, generation: u64) -> Result<(), ManifestError> {
        if self.generation < generation {
            self.generation = generation;
            self.next_generation()?;
        }
        Ok(())
    }

    /// The number of the next list, which no list after a crash has again.
    pub(super) fn next_generation(&mut self) -> Result<u64, ManifestError> {
        let next = self.generation + 1;
        durable::write(&self.folder.join(GENERATION), next.to_string().as_bytes(), Readers::All)?;
        self.generation = next;
        Ok(next)
    }
}

fn text(known: &Known) -> Vec<u8> {
    serde_json::to_vec(known).expect("what is known is JSON")
}

pub(super) const ITEMS: &str = "items";
const NAMES: &str = "names";
pub(super) const GENERATION: &str = "generation";
const FOLDER: &str = "folder.json";

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u8, name: &str) -> Item {
        Item {
            info_hash: InfoHash([number; 20]),
            name: name.to_owned(),
            title: name.to_owned(),
            size: 5,
            files: 1,
            files_were: Files::Directory { device: 1, files: Vec::new() },
            published: 7,
            root: PathBuf::from("/srv"),
            step: Step::Publishing,
        }
    }

    #[test]
    fn what_was_said_is_there_again_after_a_start() {
        let data = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(data.path()).unwrap();
        manifest.begin_all(&[(item(1, "a"), Bytes::from_static(b"torrent"))]).unwrap();
        assert_eq!(manifest.next_title("a"), "a (2)");
        manifest.put_all(vec![Item { step: Step::Published, ..item(1, "a") }]).unwrap();
        assert!(!manifest.is_kept_out(&item(1, "a")));
        let known = manifest.known("a").unwrap().clone();
        let withdrawn = Some(item(1, "a").files_were);
        manifest.know(Known { withdrawn, ..known }).unwrap();
        assert_eq!(manifest.next_generation().unwrap(), 1);
        manifest.know_folder(FolderIdentity { device: 3, inode: 4 }).unwrap();

        let mut manifest = Manifest::open(data.path()).unwrap();
        assert_eq!(manifest.item(&InfoHash([1; 20])).unwrap().step, Step::Published);
        assert_eq!(manifest.torrent(&InfoHash([1; 20])).unwrap(), "torrent");
        assert!(manifest.is_kept_out(&item(1, "a")) && !manifest.is_kept_out(&item(1, "b")));
        assert_eq!(manifest.folder(), Some(FolderIdentity { device: 3, inode: 4 }));
        assert_eq!(manifest.next_generation().unwrap(), 2);
        manifest.forget(&InfoHash([1; 20])).unwrap();

        let manifest = Manifest::open(data.path()).unwrap();
        assert_eq!(manifest.items().count(), 0);
        assert_eq!(manifest.next_title("a"), "a (2)", "a name is remembered for longer");
    }

    #[test]
    fn what_could_not_be_written_has_not_been_there_and_is_no_time_of_its_name() {
        let data = tempfile::tempdir().unwrap();
        let mut manifest = Manifest::open(data.path()).unwrap();
        let new = |number: u8, name| (item(number, name), Bytes::from_static(b"torrent"));
        manifest.begin_all(&[new(1, "a")]).unwrap();
        // The place of one of them is taken.
        let taken = data.path().join(ITEMS).join(format!("{}.json", InfoHash([3; 20])));
        fs::create_dir(&taken).unwrap();
        let again = [new(2, "a"), new(3, "b"), new(4, "c")];
        manifest.begin_all(&again).unwrap_err();
        fs::remove_dir(&taken).unwrap();
        for mut manifest in [Manifest::open(data.path()).unwrap(), manifest] {
            assert_eq!(manifest.items().count(), 1);
            assert_eq!(["a", "b"].map(|name| manifest.next_title(name)), ["a (2)", "b"]);
            assert_eq!(manifest.names().count(), 1);
            manifest.begin_all(&again).unwrap();
            assert_eq!(manifest.items().count(), 4);
            again.iter().for_each(|(item, _)| manifest.forget(&item.info_hash).unwrap());
            for name in ["a", "b", "c"] {
                let known = manifest.known(name).unwrap().clone();
                assert_eq!(known.times, if name == "a" { 2 } else { 1 });
            }
            fs::remove_dir_all(data.path().join(NAMES)).unwrap();
            fs::create_dir(data.path().join(NAMES)).unwrap();
        }
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        let data = tempfile::tempdir().unwrap();
        drop(Manifest::open(data.path()).unwrap());
        fs::write(data.path().join("generation"), "soon").unwrap();
        let error = Manifest::open(data.path()).unwrap_err();
        assert!(error.to_string().contains("generation does not hold a number"), "{error}");
    }
}
