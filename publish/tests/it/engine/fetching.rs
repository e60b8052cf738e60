//! Fetching by librqbit, from uploads and from others that fetch.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use publish::engine::rqbit::{Options, Rqbit};
use publish::engine::upload::{Limits, Uploads};
use publish::engine::{Engine, EngineError, Failure, Fetch, State, finished};
use tempfile::TempDir;
use url::Url;

use super::clients::{isolated, tracker};
use super::content::Made;
use super::{PEER_ID, add, listen, must};

/// A Seeder without its feed: one port, an engine, a folder.
struct Seeder {
    uploads: Uploads,
    engine: Rqbit,
    folder: TempDir,
}

impl Seeder {
    async fn start(number: u8) -> Self {
        let mut peer_id = PEER_ID;
        peer_id[19] = number;
        let (uploads, _) =
            Uploads::listen(&[([127, 0, 0, 1], 0).into()], Limits::default(), peer_id).unwrap();
        let options = Options {
            peer_id,
            announce_port: uploads.addresses()[0].port(),
            download_rate: None,
            upload_rate: None,
            peers_max: 32,
            descriptors_max: 16,
        };
        Self {
            uploads,
            engine: Rqbit::start(options).await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn fetch(&self, made: &Made, peers: &[SocketAddr]) {
        self.fetch_with(made, peers, None).await;
    }

    async fn fetch_with(&self, made: &Made, peers: &[SocketAddr], tracker: Option<Url>) {
        let fetch = Fetch {
            metainfo: made.metainfo.clone(),
            folder: self.folder.path().into(),
            peers: peers.into(),
            tracker,
        };
        self.engine.fetch(fetch).await.unwrap();
        self.uploads.relay(&made.metainfo, self.engine.address().unwrap());
    }

    /// Waits until it is complete, and uploads it from then on.
    async fn complete(&self, made: &Made) {
        let info_hash = made.metainfo.info_hash;
        let identities = must(finished(&self.engine, info_hash)).await.unwrap().unwrap();
        made.assert_same(self.folder.path());
        self.uploads
            .add(made.metainfo.clone(), self.folder.path().into(), identities.to_vec())
            .unwrap();
        self.engine.remove(info_hash, false).await.unwrap();
    }

    fn address(&self) -> SocketAddr {
        self.uploads.addresses()[0]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_and_folders_are_fetched_and_uploaded_on() {
    let master = listen(Limits::default());
    let seeders = [Seeder::start(b'1').await, Seeder::start(b'2').await];
    for made in [
        Made::single(5_000_001),
        Made::folder_with_empty_files(),
        Made::single(4 << 18),
        Made::single(1),
    ] {
        add(&master, &made);
        seeders[0].fetch(&made, &[master.addresses()[0]]).await;
        seeders[0].complete(&made).await;
        // The Master is not needed any more.
        assert!(master.remove(&made.metainfo.info_hash));
        seeders[1].fetch(&made, &[seeders[0].address()]).await;
        seeders[1].complete(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_being_fetched_is_shared() {
    let made = Made::single(32 << 20);
    let info_hash = made.metainfo.info_hash;
    let master = listen(Limits { upload_rate: Some(4 << 20), ..Limits::default() });
    add(&master, &made);
    let (first, second) = (Seeder::start(b'1').await, Seeder::start(b'2').await);
    first.fetch(&made, &[master.addresses()[0]]).await;
    second.fetch(&made, &[first.address()]).await;
    // The second knows only the first, which has not all of it.
    must(async {
        while second.engine.progress(info_hash).await.unwrap().bytes == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let progress = first.engine.progress(info_hash).await.unwrap();
    assert!(
        progress.bytes < progress.total,
        "the first was complete before the second had a piece"
    );
    second.complete(&made).await;
    first.complete(&made).await;
    assert_eq!(master.stats().uploaded, made.metainfo.total(), "the Master gave it once");
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_are_found_through_the_tracker_on_this_machine() {
    let made = Made::single(300_000);
    let master = listen(Limits::default());
    add(&master, &made);
    let seeder = Seeder::start(b'1').await;
    let tracker = tracker(master.addresses()[0]).await;
    seeder.fetch_with(&made, &[], Some(tracker.parse().unwrap())).await;
    seeder.complete(&made).await;
}

/// In a namespace of mounts: a file system of 8 MiB, and another one that is read-only.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_disk_is_told() {
    let Some(folder) = isolated("engine::fetching::a_full_or_read_only_disk_is_told", MOUNTS).await
    else {
        return;
    };
    let folder = Path::new(&folder);
    let master = listen(Limits::default());
    let mut seeder = Seeder::start(b'1').await;
    for (name, is_full) in [("small", true), ("read-only", false)] {
        let made = Made::single(16 << 20);
        add(&master, &made);
        seeder.folder = tempfile::tempdir_in(folder).unwrap();
        fs::remove_dir(seeder.folder.path()).unwrap();
        std::os::unix::fs::symlink(folder.join(name), seeder.folder.path()).unwrap();
        seeder.fetch(&made, &[master.addresses()[0]]).await;
        let failure =
            must(finished(&seeder.engine, made.metainfo.info_hash)).await.unwrap().unwrap_err();
        assert!(matches!(failure, Failure::DiskFull(_)) == is_full, "{failure}");
        assert!(matches!(failure, Failure::Permission(_)) != is_full, "{failure}");
        // Where nothing can be written, nothing can be deleted.
        seeder.engine.remove(made.metainfo.info_hash, is_full).await.unwrap();
        assert!(master.remove(&made.metainfo.info_hash));
    }
}

const MOUNTS: &str = "mkdir $1/small $1/read-only
mount -t tmpfs -o size=8m none $1/small
mount -t tmpfs -o ro none $1/read-only";

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_removed_with_its_files_and_no_others() {
    let made = Made::folder_with_empty_files();
    let master = listen(Limits::default());
    add(&master, &made);
    let seeder = Seeder::start(b'1').await;
    let info_hash = made.metainfo.info_hash;
    seeder.fetch(&made, &[master.addresses()[0]]).await;
    must(finished(&seeder.engine, info_hash)).await.unwrap().unwrap();
    let fetch = Fetch {
        metainfo: made.metainfo.clone(),
        folder: seeder.folder.path().into(),
        peers: Vec::new(),
        tracker: None,
    };
    assert!(matches!(seeder.engine.fetch(fetch).await, Err(EngineError::Twice(_))));
    fs::write(seeder.folder.path().join("folder/c/mine"), "mine").unwrap();
    seeder.engine.remove(info_hash, true).await.unwrap();
    let left: Vec<_> = walk(seeder.folder.path());
    assert_eq!(left, ["folder", "folder/c", "folder/c/mine"]);
    assert!(matches!(seeder.engine.remove(info_hash, true).await, Err(EngineError::Unknown(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_through_a_link_and_the_reason_is_told() {
    let made = Made::folder_with_empty_files();
    let master = listen(Limits::default());
    add(&master, &made);
    let seeder = Seeder::start(b'1').await;
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), seeder.folder.path().join("folder")).unwrap();
    seeder.fetch(&made, &[master.addresses()[0]]).await;
    let failure =
        must(finished(&seeder.engine, made.metainfo.info_hash)).await.unwrap().unwrap_err();
    assert!(matches!(failure, Failure::Other(_)), "{failure}");
    assert!(walk(outside.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_deleted_meanwhile_is_noticed() {
    let made = Made::single(16 << 20);
    let master = listen(Limits { upload_rate: Some(8 << 20), ..Limits::default() });
    add(&master, &made);
    let seeder = Seeder::start(b'1').await;
    let info_hash = made.metainfo.info_hash;
    seeder.fetch(&made, &[master.addresses()[0]]).await;
    must(async {
        while !matches!(seeder.engine.progress(info_hash).await.unwrap().state, State::Fetching) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    fs::remove_file(seeder.folder.path().join("file.bin")).unwrap();
    must(finished(&seeder.engine, info_hash)).await.unwrap().unwrap_err();
    // Once more, from nothing.
    seeder.engine.remove(info_hash, false).await.unwrap();
    master.set_upload_rate(None);
    seeder.fetch(&made, &[master.addresses()[0]]).await;
    seeder.complete(&made).await;
}

pub(super) fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}
