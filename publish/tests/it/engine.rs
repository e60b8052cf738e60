//! What is uploaded and fetched, with real clients on loopback.

mod clients;
mod content;

use std::sync::Arc;
use std::time::Duration;

use publish::engine::upload::{Limits, Uploads};

use self::clients::CLIENTS;
use self::content::Made;

const PEER_ID: [u8; 20] = *b"-mg0200-abcdefghijkl";

fn listen(limits: Limits) -> Uploads {
    Uploads::listen(&[([127, 0, 0, 1], 0).into()], limits, PEER_ID).unwrap().0
}

fn add(uploads: &Uploads, made: &Made) {
    uploads
        .add(Arc::new(made.metainfo.clone()), made.folder.path().into(), made.identities())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn aria2_and_libtorrent_download_files_and_folders() {
    let uploads = listen(Limits::default());
    for made in [
        Made::single(3_000_001),
        Made::single(16 << 20),
        Made::folder_with_empty_files(),
        Made::single(1),
    ] {
        add(&uploads, &made);
        let before = made.look();
        for client in CLIENTS {
            let folder = client.download(&uploads, &made, false).await;
            made.assert_same(folder.path());
        }
        assert_eq!(made.look(), before);
        let stats = uploads.torrent(&made.metainfo.info_hash).unwrap();
        assert_eq!(stats.uploaded, 2 * made.metainfo.total());
    }
    assert!(uploads.stats().open_files <= 128);
    tokio::time::timeout(Duration::from_secs(10), uploads.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_magnet_link_is_enough() {
    let uploads = listen(Limits::default());
    let made = Made::folder_with_empty_files();
    add(&uploads, &made);
    for client in CLIENTS {
        let folder = client.download(&uploads, &made, true).await;
        made.assert_same(folder.path());
    }
}
