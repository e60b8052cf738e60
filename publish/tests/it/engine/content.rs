//! Content in a temporary folder and its torrent, made by hand.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use publish::torrent::{File, Identity, Metainfo};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use shard::InfoHash;
use tempfile::TempDir;

pub(crate) struct Made {
    pub(crate) folder: TempDir,
    pub(crate) metainfo: Arc<Metainfo>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Made {
    pub(crate) fn single(bytes: usize) -> Self {
        Self::new("file.bin", &[("", bytes)], 256 << 10)
    }

    pub(crate) fn folder_with_empty_files() -> Self {
        let files = [
            ("a/empty", 0),
            ("a/one", 700_001),
            ("b", 1),
            ("c/d/e/empty", 0),
            ("c/deep", 3 << 18),
            ("é ü", 65_537),
            ("z", 0),
        ];
        Self::new("folder", &files, 256 << 10)
    }

    /// Files of bytes by chance below `name`; a single file with the path "" is `name` itself.
    pub(crate) fn new(name: &str, files: &[(&str, usize)], piece_length: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let is_single = files.len() == 1 && files[0].0.is_empty();
        let mut random =
            fastrand::Rng::with_seed(files.iter().map(|(_, bytes)| *bytes as u64).sum());
        let files: Vec<_> = files
            .iter()
            .map(|&(path, bytes)| {
                let path = if is_single { name.into() } else { Path::new(name).join(path) };
                let mut content = vec![0; bytes];
                random.fill(&mut content);
                fs::create_dir_all(folder.path().join(&path).parent().unwrap()).unwrap();
                fs::write(folder.path().join(&path), &content).unwrap();
                (path, content)
            })
            .collect();
        let all: Vec<u8> = files.iter().flat_map(|(_, content)| content).copied().collect();
        let pieces: Vec<u8> = all
            .chunks(piece_length as usize)
            .flat_map(|piece| digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref().to_vec())
            .collect();
        let mut info = b"d".to_vec();
        let text = |out: &mut Vec<u8>, text: &[u8]| {
            out.extend_from_slice(format!("{}:", text.len()).as_bytes());
            out.extend_from_slice(text);
        };
        if is_single {
            info.extend_from_slice(format!("6:lengthi{}e", all.len()).as_bytes());
        } else {
            info.extend_from_slice(b"5:filesl");
            for (path, content) in &files {
                info.extend_from_slice(format!("d6:lengthi{}e4:pathl", content.len()).as_bytes());
                path.components()
                    .skip(1)
                    .for_each(|part| text(&mut info, part.as_os_str().as_encoded_bytes()));
                info.extend_from_slice(b"ee");
            }
            info.push(b'e');
        }
        text(&mut info, b"name");
        text(&mut info, name.as_bytes());
        info.extend_from_slice(format!("12:piece lengthi{piece_length}e").as_bytes());
        text(&mut info, b"pieces");
        text(&mut info, &pieces);
        info.push(b'e');
        let bytes = [b"d4:info", &info[..], b"e"].concat();
        let metainfo = Metainfo {
            bytes: Bytes::from(bytes),
            info_hash: InfoHash(
                digest(&SHA1_FOR_LEGACY_USE_ONLY, &info).as_ref().try_into().unwrap(),
            ),
            info: Bytes::from(info),
            name: name.into(),
            piece_length,
            pieces: Bytes::from(pieces),
            files: files
                .iter()
                .map(|(path, content)| File { path: path.clone(), length: content.len() as u64 })
                .collect(),
            is_single,
            private: false,
            tiers: Vec::new(),
        };
        Self { folder, metainfo: Arc::new(metainfo), files }
    }

    pub(crate) fn identities(&self) -> Vec<Identity> {
        self.files
            .iter()
            .map(|(path, _)| {
                Identity::of(&fs::symlink_metadata(self.folder.path().join(path)).unwrap())
            })
            .collect()
    }

    /// Size, times, mode and content of each file.
    pub(crate) fn look(&self) -> Vec<(Identity, u32, Vec<u8>)> {
        self.files
            .iter()
            .map(|(path, _)| {
                let path = self.folder.path().join(path);
                let metadata = fs::metadata(&path).unwrap();
                (Identity::of(&metadata), metadata.mode(), fs::read(&path).unwrap())
            })
            .collect()
    }

    pub(crate) fn path(&self, index: usize) -> PathBuf {
        self.folder.path().join(&self.files[index].0)
    }

    /// The content of a file as it was made.
    pub(crate) fn content(&self, index: usize) -> &[u8] {
        &self.files[index].1
    }

    /// The same files are in another folder, but for empty ones, which Transmission 3.00 does not make.
    pub(crate) fn is_same_but_empty(&self, folder: &Path) -> bool {
        self.files
            .iter()
            .filter(|(_, content)| !content.is_empty())
            .all(|(path, content)| fs::read(folder.join(path)).is_ok_and(|found| found == *content))
    }

    pub(crate) fn assert_same(&self, folder: &Path) {
        for (path, content) in &self.files {
            let found = fs::read(folder.join(path))
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(found == *content, "{} is another file", path.display());
        }
    }
}
