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
use crate::feed::{self, Document, Signed};

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

    /// The lists in `folder`, by the names of their files. What is no list is none of ours.
    pub(super) fn lists(folder: &Path) -> Result<Vec<(String, Signed)>, FileError> {
        let mut lists = Vec::new();
        for (name, path) in durable::files(folder)? {
            if name.ends_with(LIST)
                && let Some(bytes) = small_file(&path)
                && let Ok(signed) = feed::read_of_anyone(&bytes)
            {
                lists.push((name, signed));
            }
        }
        lists.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(lists)
    }

    /// Removes our feeds of other names than that of `own`, the file of the list: they would be served for ever as they
    /// were last. Returns the names of their lists.
    pub(super) fn remove_renamed(&self, own: &str) -> Result<Vec<String>, FileError> {
        let mut lists: Vec<String> =
            Self::lists(&self.folder)?.into_iter().map(|(name, _)| name).collect();
        lists.retain(|name| name != own);
        for list in &lists {
            // The feed for readers is beside it, under a name that ends otherwise, and names it.
            let stem = list.strip_suffix(LIST).unwrap_or(list);
            let is_of = |text: &[u8]| {
                let text = String::from_utf8_lossy(text);
                text.contains(feed::NAMESPACE) && text.contains(&format!("/{list}<"))
            };
            for (name, path) in durable::files(&self.folder)? {
                let is_beside = name.rsplit_once('.').map_or(&*name, |(stem, _)| stem) == stem;
                if is_beside && name != *own && small_file(&path).is_some_and(|text| is_of(&text)) {
                    durable::remove(&self.folder.join(format!("{name}.gz")))?;
                    durable::remove(&path)?;
                }
            }
            durable::remove(&self.folder.join(format!("{list}.gz")))?;
            durable::remove(&self.folder.join(list))?;
        }
        Ok(lists)
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

/// What the names of lists end in.
pub(super) const LIST: &str = ".list";

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
