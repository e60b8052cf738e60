//! A folder with one small JSON file for each torrent and the `.torrent` file beside it, so that a change costs what it
//! changes.
//!
//! Each file is written beside and renamed; the `.torrent` file goes first in and last out.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shard::InfoHash;

use crate::durable::{self, FileError, Readers};

/// What a node knows of each of its torrents, in memory and on disk.
#[derive(Debug)]
pub struct Shelf<T> {
    folder: PathBuf,
    items: HashMap<InfoHash, T>,
}

/// Why what is on disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// A file cannot be written, read or removed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what was written.
    #[error("{} is damaged: move it away, and what it was about begins anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl<T: Serialize + for<'a> Deserialize<'a>> Shelf<T> {
    /// Reads what is in `folder`, which is made where it is not there, and removes what a crash left beside.
    pub fn open(folder: &Path) -> Result<Self, ShelfError> {
        durable::folder(folder)?;
        let mut items = HashMap::new();
        for (name, path) in durable::files(folder)? {
            let info_hash = name.strip_suffix(".json").and_then(|digits| digits.parse().ok());
            if let Some(info_hash) = info_hash {
                items.insert(info_hash, read_json(&path)?);
            }
        }
        let shelf = Self { folder: folder.to_owned(), items };
        for (name, path) in durable::files(folder)? {
            let info_hash = name.strip_suffix(".torrent").and_then(|digits| digits.parse().ok());
            if info_hash.is_some_and(|info_hash| !shelf.items.contains_key(&info_hash)) {
                durable::remove(&path)?;
            }
        }
        Ok(shelf)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&InfoHash, &T)> {
        self.items.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One of them.
    pub fn get(&self, info_hash: &InfoHash) -> Option<&T> {
        self.items.get(info_hash)
    }

    /// A torrent is new.
    pub fn begin(
        &mut self,
        info_hash: InfoHash,
        item: T,
        torrent: &[u8],
    ) -> Result<(), ShelfError> {
        durable::write(&self.path(&info_hash, "torrent"), torrent, Readers::All)?;
        self.put(info_hash, item)
    }

    /// One that is there is like this from now on.
    pub fn put(&mut self, info_hash: InfoHash, item: T) -> Result<(), ShelfError> {
        let text = serde_json::to_vec(&item).expect("what a node knows is JSON");
        durable::write(&self.path(&info_hash, "json"), &text, Readers::All)?;
        self.items.insert(info_hash, item);
        Ok(())
    }

    /// Torrents are new, with their `.torrent` files. They are all there, or none of them is.
    pub fn begin_all(&mut self, new: Vec<(InfoHash, T, Bytes)>) -> Result<(), ShelfError> {
        let torrents: Vec<_> = new
            .iter()
            .map(|(info_hash, _, torrent)| (self.path(info_hash, "torrent"), torrent.to_vec()))
            .collect();
        let items: Vec<(InfoHash, T)> =
            new.into_iter().map(|(info_hash, item, _)| (info_hash, item)).collect();
        let written = durable::write_all(&torrents, Readers::All)
            .and_then(|()| durable::write_all(&self.texts(&items), Readers::All));
        if let Err(error) = written {
            for (info_hash, _) in items {
                // What stays is removed by the next start, or goes on then.
                let _ = durable::remove(&self.path(&info_hash, "json"));
                let _ = durable::remove(&self.path(&info_hash, "torrent"));
            }
            return Err(error.into());
        }
        self.items.extend(items);
        Ok(())
    }

    /// Some that are there are like this from now on. After an error they are what they were, until the next start.
    pub fn put_all(&mut self, items: Vec<(InfoHash, T)>) -> Result<(), ShelfError> {
        durable::write_all(&self.texts(&items), Readers::All)?;
        self.items.extend(items);
        Ok(())
    }

    /// The files of items, with what is in them.
    fn texts(&self, items: &[(InfoHash, T)]) -> Vec<(PathBuf, Vec<u8>)> {
        let text = |(info_hash, item): &(InfoHash, T)| {
            let text = serde_json::to_vec(item).expect("what a node knows is JSON");
            (self.path(info_hash, "json"), text)
        };
        items.iter().map(text).collect()
    }

    /// One that is there is like this from now on, until the next start.
    pub fn remember(&mut self, info_hash: InfoHash, item: T) {
        self.items.insert(info_hash, item);
    }

    /// Writes one that is there once more, as its files are gone from the folder, or the folder is.
    pub fn restore(&self, info_hash: &InfoHash, torrent: &[u8]) -> Result<(), ShelfError> {
        let Some(item) = self.items.get(info_hash) else { return Ok(()) };
        durable::folder(&self.folder)?;
        let text = serde_json::to_vec(item).expect("what a node knows is JSON");
        durable::write(&self.path(info_hash, "torrent"), torrent, Readers::All)?;
        Ok(durable::write(&self.path(info_hash, "json"), &text, Readers::All)?)
    }

    /// The files of one: what is known of it, and its `.torrent` file.
    pub fn paths(&self, info_hash: &InfoHash) -> [PathBuf; 2] {
        [self.path(info_hash, "json"), self.path(info_hash, "torrent")]
    }

    /// One is gone.
    pub fn remove(&mut self, info_hash: &InfoHash) -> Result<Option<T>, ShelfError> {
        durable::remove(&self.path(info_hash, "json"))?;
        durable::remove(&self.path(info_hash, "torrent"))?;
        Ok(self.items.remove(info_hash))
    }

    /// The `.torrent` file of one.
    pub fn torrent(&self, info_hash: &InfoHash) -> Result<Bytes, ShelfError> {
        let path = self.path(info_hash, "torrent");
        Ok(fs::read(&path).map(Bytes::from).map_err(FileError::of("read", &path))?)
    }

    fn path(&self, info_hash: &InfoHash, extension: &str) -> PathBuf {
        self.folder.join(format!("{info_hash}.{extension}"))
    }
}

/// Reads a file of JSON.
pub fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, ShelfError> {
    let text = fs::read(path).map_err(FileError::of("read", path))?;
    serde_json::from_slice(&text)
        .map_err(|source| ShelfError::Damaged { path: path.to_owned(), source })
}

/// An infohash as text.
pub mod hex {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use shard::InfoHash;

    /// Writes 40 hex digits.
    pub fn serialize<S: Serializer>(info_hash: &InfoHash, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(info_hash)
    }

    /// Reads 40 hex digits.
    pub fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<InfoHash, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_there_or_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let hashes: Vec<_> = (1..=9).map(|number| InfoHash([number; 20])).collect();
        let new = |number: u32| {
            hashes.iter().map(move |hash| (*hash, number, Bytes::from_static(b"torrent"))).collect()
        };
        let mut shelf = Shelf::<u32>::open(folder.path()).unwrap();
        // Its place is taken.
        let taken = folder.path().join(format!("{}.json", hashes[4]));
        fs::create_dir(&taken).unwrap();
        shelf.begin_all(new(1)).unwrap_err();
        assert!(shelf.is_empty());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_dir(taken).unwrap();
        shelf.begin_all(new(1)).unwrap();
        shelf.put_all(vec![(hashes[0], 2), (hashes[1], 3)]).unwrap();
        assert_eq!(shelf.torrent(&hashes[8]).unwrap(), "torrent");

        let shelf = Shelf::<u32>::open(folder.path()).unwrap();
        let kept: Vec<u32> = hashes.iter().map(|hash| *shelf.get(hash).unwrap()).collect();
        assert_eq!(kept, [2, 3, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn what_was_said_is_there_again_after_a_start_and_half_of_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, gone) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let mut shelf = Shelf::<u32>::open(folder.path()).unwrap();
        shelf.begin(kept, 1, b"kept").unwrap();
        shelf.begin(gone, 2, b"gone").unwrap();
        shelf.put(kept, 7).unwrap();
        shelf.remove(&gone).unwrap();
        // A crash after the torrent and before the item.
        fs::write(folder.path().join(format!("{gone}.torrent")), "half").unwrap();
        fs::write(folder.path().join(".x.json.being-written"), "{").unwrap();

        let shelf = Shelf::<u32>::open(folder.path()).unwrap();
        assert_eq!(shelf.iter().collect::<Vec<_>>(), [(&kept, &7)]);
        assert_eq!(shelf.torrent(&kept).unwrap(), "kept");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        fs::write(folder.path().join(format!("{gone}.json")), "{").unwrap();
        let error = Shelf::<u32>::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is damaged: move it away"), "{error}");
    }
}
