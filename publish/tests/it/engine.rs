//! What is uploaded and fetched, with real clients on loopback.

mod changes;
mod clients;
mod conforms;
pub(crate) mod content;
mod fetching;
mod floods;
mod many;
mod reader;

use std::time::Duration;

use publish::engine::upload::{Event, Limits, Uploads};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use self::clients::{CLIENTS, isolated, transmission};
use self::content::Made;
use self::reader::Reader;

const PEER_ID: [u8; 20] = *b"-mg0200-abcdefghijkl";

fn listen(limits: Limits) -> Uploads {
    listen_and_hear(limits).0
}

fn listen_and_hear(limits: Limits) -> (Uploads, UnboundedReceiver<Event>) {
    Uploads::listen(&[([127, 0, 0, 1], 0).into()], limits, PEER_ID).unwrap()
}

fn add(uploads: &Uploads, made: &Made) {
    uploads.add(made.metainfo.clone(), made.folder.path().into(), made.identities()).unwrap();
}

/// Waits for what must happen.
async fn must<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), what).await.expect("it must happen")
}

async fn until(is: impl FnMut() -> bool) {
    assert!(until_is(is).await, "it must happen");
}

/// Waits until something is, at most for a minute and a half; says whether it is.
async fn until_is(mut is: impl FnMut() -> bool) -> bool {
    let waiting = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(90), waiting).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_download_files_and_folders() {
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
        assert_eq!(stats.uploaded, CLIENTS.len() as u64 * made.metainfo.total());
    }
    assert!(uploads.stats().open_files <= 128);
    must(uploads.stop()).await;
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

/// Transmission connects neither to loopback nor to an address of its own host: it is in another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn transmission_downloads() {
    if isolated("engine::transmission_downloads", NETWORK).await.is_none() {
        return;
    }
    let (uploads, _) =
        Uploads::listen(&[([198, 51, 100, 10], 6881).into()], Limits::default(), PEER_ID).unwrap();
    let tracker = clients::tracker_on("198.51.100.10", uploads.addresses()[0]).await;
    for made in [Made::single(3_000_001), Made::folder_with_empty_files()] {
        add(&uploads, &made);
        for by_magnet in [false, true] {
            transmission(&tracker, &made, by_magnet).await;
        }
    }
}

pub(crate) const NETWORK: &str = "mount -t tmpfs none /run
ip netns add leecher
ip link add seeder type veth peer name eth0 netns leecher
ip address add 198.51.100.10/24 dev seeder
ip link set seeder up
ip -n leecher link set lo up
ip -n leecher address add 198.51.100.11/24 dev eth0
ip -n leecher link set eth0 up
ip -n leecher route add default dev eth0";

#[tokio::test(flavor = "multi_thread")]
async fn both_families_share_a_port() {
    let addresses = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let (uploads, _) = Uploads::listen(&addresses, Limits::default(), PEER_ID).unwrap();
    let made = Made::single(300_000);
    add(&uploads, &made);
    assert_eq!(uploads.addresses()[0].port(), uploads.addresses()[1].port());
    for &address in uploads.addresses() {
        let mut reader =
            must(Reader::connect(address, made.metainfo.info_hash, true)).await.unwrap();
        must(reader.until_unchoked()).await.unwrap();
        let mut read = 0;
        must(reader.fetch(300_000, made.metainfo.piece_length, 4, |_, block| read += block.len()))
            .await
            .unwrap();
        assert_eq!(read, 300_000);
    }
}
