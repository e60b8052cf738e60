//! The docroot: what a web server hands out. Torrents first, the feed last; on the way out the other way round.
//!
//! ```text
//! DOCROOT/torrents/INFOHASH.torrent
//! DOCROOT/feed.xml   feed.xml.gz      for readers
//! DOCROOT/feed.list  feed.list.gz     for Seeders, signed
//! ```
//! Nothing else in it is touched.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shard::InfoHash;

use crate::durable::{self, FileError, Readers};
use crate::feed::{self, Document};

/// The folder of a web server.
#[derive(Clone, Debug)]
pub(super) struct Docroot {
    folder: PathBuf,
}

impl Docroot {
    /// Uses `folder`, which is made where it is not there.
    pub(super) fn open(folder: &Path) -> Result<Self, FileError> {
        durable::folder(&folder.join(TORRENTS))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a torrent below the docroot, as it stands in its URL.
    pub(super) fn torrent_path(info_hash: &InfoHash) -> String {
        format!("{TORRENTS}/{info_hash}.torrent")
    }

    /// Puts a `.torrent` file there, unless it is.
    pub(super) fn put_torrent(
        &self,
        info_hash: &InfoHash,
        torrent: &[u8],
    ) -> Result<(), FileError> {
        let path = self.folder.join(Self::torrent_path(info_hash));
        match fs::read(&path) {
            Ok(there) if there == torrent => Ok(()),
            _ => self.write(&path, torrent),
        }
    }

    /// Takes one away.
    pub(super) fn remove_torrent(&self, info_hash: &InfoHash) -> Result<(), FileError> {
        durable::remove(&self.folder.join(Self::torrent_path(info_hash)))
    }

    /// Puts a document of the feed there, with the packed form beside it. The packed one goes first: a web server that
    /// hands it out for the other is never older than it.
    pub(super) fn put_document(
        &self,
        name: &str,
        text: &[u8],
        packed: &[u8],
    ) -> Result<(), FileError> {
        self.write(&self.folder.join(format!("{name}.gz")), packed)?;
        self.write(&self.folder.join(name), text)
    }

    /// Those of these torrents whose files are not there.
    pub(super) fn missing(&self, mut torrents: HashSet<InfoHash>) -> Vec<InfoHash> {
        for entry in fs::read_dir(self.folder.join(TORRENTS)).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let digits = name.to_str().and_then(|name| name.strip_suffix(".torrent"));
            if let Some(info_hash) = digits.and_then(|digits| digits.parse().ok()) {
                torrents.remove(&info_hash);
            }
        }
        torrents.into_iter().collect()
    }

    /// Whether these documents are there as they were put there.
    pub(super) fn has_documents(&self, documents: &[(String, Document)]) -> bool {
        let is = |name: &str, bytes: &[u8]| {
            small_file(&self.folder.join(name)).is_some_and(|there| there == bytes)
        };
        documents.iter().all(|(name, document)| {
            is(name, &document.bytes) && is(&format!("{name}.gz"), &document.gzip)
        })
    }

    /// Writes a file. Somebody may have removed the folders.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        match durable::write(path, bytes, Readers::All) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => {
                durable::folder(&self.folder.join(TORRENTS))?;
                durable::write(path, bytes, Readers::All)
            }
            written => written,
        }
    }

    /// Removes torrents that `wanted` does not hold, and what a crash left beside. Returns how many were too many.
    pub(super) fn tidy(&self, wanted: &HashSet<InfoHash>) -> Result<usize, FileError> {
        let mut removed = 0;
        durable::files(&self.folder)?;
        for (name, path) in durable::files(&self.folder.join(TORRENTS))? {
            let info_hash = name.strip_suffix(".torrent").and_then(|digits| digits.parse().ok());
            if info_hash.is_some_and(|info_hash| !wanted.contains(&info_hash)) {
                durable::remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// A file that is no larger than a list may be.
fn small_file(path: &Path) -> Option<Vec<u8>> {
    let metadata = fs::symlink_metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= feed::BYTES_MAX as u64).then(|| fs::read(path).ok())?
}

const TORRENTS: &str = "torrents";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_torrents_of_ours_are_tidied_away() {
        let folder = tempfile::tempdir().unwrap();
        let docroot = Docroot::open(folder.path()).unwrap();
        let (kept, gone) = (InfoHash([1; 20]), InfoHash([2; 20]));
        docroot.put_torrent(&kept, b"kept").unwrap();
        docroot.put_torrent(&gone, b"gone").unwrap();
        docroot.put_document("feed.xml", b"<rss/>", b"packed").unwrap();
        for name in ["index.html", "torrents/readme.txt", "torrents/my.torrent"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::write(folder.path().join("torrents/.x.torrent.being-written"), "half").unwrap();
        assert_eq!(docroot.tidy(&HashSet::from([kept])).unwrap(), 1);
        let mut names: Vec<_> = fs::read_dir(folder.path().join("torrents"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [format!("{kept}.torrent"), "my.torrent".to_owned(), "readme.txt".to_owned()]
        );
        assert!(folder.path().join("index.html").exists());
        assert!(folder.path().join("feed.xml.gz").exists());
    }
}
