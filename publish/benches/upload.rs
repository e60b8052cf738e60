//! Uploading over loopback, beside copies of the same file over bare TCP in the same run; and what 2,000 torrents take.
//!
//! `cargo bench -p margay-publish --bench upload [-- MIB]`: a file of 1 GiB, in memory after it is written. Readers: a bare
//! one that asks for 250 blocks at a time and drops them, libtorrent (Debian's `python3-libtorrent`, which hashes and writes),
//! and librqbit (which hashes and writes). Each figure is the best of three, in MiB/s. What would change a decision: a ratio
//! below 0.5 to the copy for the bare reader.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use publish::engine::rqbit::{Options, Rqbit};
use publish::engine::upload::{Limits, Uploads};
use publish::engine::wire::{Block, HANDSHAKE_BYTES, Handshake, Message, message};
use publish::engine::{Engine, Fetch, finished};
use publish::torrent::{Identity, Metainfo};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const PIECE_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 16 << 10;
const DEPTH: usize = 250;
const RUNS: usize = 3;

#[tokio::main]
async fn main() {
    let mebibytes =
        std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1024);
    two_thousand_torrents();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let torrent = Arc::new(make(folder.path(), "file", mebibytes << 20));
    let identity = Identity::of(&fs::metadata(folder.path().join("file")).expect("the file"));
    let (uploads, _events) =
        Uploads::listen(&[([127, 0, 0, 1], 0).into()], Limits::default(), *b"-mg0200-abcdefghijkl")
            .expect("loopback");
    uploads.add(torrent.clone(), folder.path().into(), vec![identity]).expect("it fits");
    let address = uploads.addresses()[0];
    println!("{mebibytes} MiB, MiB/s, best of {RUNS}");
    let copy = best(mebibytes, || copied(&folder.path().join("file")));
    println!("{:<44}{copy:>8.0}", "bare TCP: read, write, 128 KiB at a time");
    let mut results = Vec::new();
    results.push((
        "bare reader",
        best(mebibytes, || tokio::task::block_in_place(|| read(address, &torrent))),
    ));
    results.push((
        "libtorrent",
        best(mebibytes, || tokio::task::block_in_place(|| libtorrent(address, &torrent))),
    ));
    let mut rqbit = 0_f64;
    for run in 0..RUNS {
        rqbit = rqbit.max(mebibytes as f64 / fetched(address, &torrent, run as u8).await);
    }
    results.push(("librqbit", rqbit));
    for (name, rate) in results {
        println!("{name:<44}{rate:>8.0}  {:.2} of the copy", rate / copy);
    }
    uploads.stop().await;
}

fn best(mebibytes: usize, run: impl Fn() -> f64) -> f64 {
    (0..RUNS).map(|_| mebibytes as f64 / run()).fold(0.0, f64::max)
}

/// The seconds that a copy takes: one thread reads and writes, another reads and drops.
fn copied(path: &Path) -> f64 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it listens");
    let path = path.to_path_buf();
    let begun = Instant::now();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("it connects");
        let file = fs::File::open(path).expect("the file");
        let mut buffer = vec![0; 128 << 10];
        let mut at = 0;
        loop {
            let bytes = file.read_at(&mut buffer, at).expect("it is read");
            if bytes == 0 {
                break;
            }
            stream.write_all(&buffer[..bytes]).expect("it is written");
            at += bytes as u64;
        }
    });
    let mut stream = std::net::TcpStream::connect(address).expect("it connects");
    let mut buffer = vec![0; 256 << 10];
    while stream.read(&mut buffer).expect("it is read") > 0 {}
    sender.join().expect("it ends");
    begun.elapsed().as_secs_f64()
}

/// The seconds that a bare reader takes.
fn read(address: SocketAddr, torrent: &Metainfo) -> f64 {
    let begun = Instant::now();
    let mut stream = std::net::TcpStream::connect(address).expect("it connects");
    stream.set_nodelay(true).expect("a TCP stream");
    let peer_id = *b"-XX0000-readerreader";
    let handshake =
        Handshake { info_hash: torrent.info_hash, peer_id, fast: true, extended: false };
    let mut out = handshake.write().to_vec();
    Message::Interested.write(&mut out);
    stream.write_all(&out).expect("it is written");
    stream.read_exact(&mut [0; HANDSHAKE_BYTES]).expect("it is answered");
    let total = torrent.total() as usize;
    let mut buffer = vec![0; 512 << 10];
    let (mut filled, mut asked, mut got, mut unchoked) = (0, 0, 0, false);
    while got < total {
        // Half of the queue at a time, as clients do.
        if unchoked && asked < total && asked - got <= DEPTH / 2 * BLOCK_BYTES {
            out.clear();
            while asked < total && asked - got < DEPTH * BLOCK_BYTES {
                let length = BLOCK_BYTES.min(total - asked) as u32;
                let (piece, begin) = ((asked / PIECE_BYTES) as u32, (asked % PIECE_BYTES) as u32);
                Message::Request(Block { piece, begin, length }).write(&mut out);
                asked += length as usize;
            }
            stream.write_all(&out).expect("it is written");
        }
        let bytes = stream.read(&mut buffer[filled..]).expect("it is read");
        assert!(bytes > 0, "it was closed");
        filled += bytes;
        let mut at = 0;
        while let Some((said, length)) =
            message(&buffer[at..filled], 1 << 20).expect("it is understood")
        {
            match said {
                Message::Unchoke => unchoked = true,
                Message::Piece { block, .. } => got += block.len(),
                _ => {}
            }
            at += length;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
    }
    begun.elapsed().as_secs_f64()
}

/// The seconds from when libtorrent is told of the peer until it has all.
fn libtorrent(address: SocketAddr, torrent: &Metainfo) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("it.torrent");
    fs::write(&file, &torrent.bytes).expect("it is written");
    let output = Command::new("/usr/bin/python3")
        .args(["-c", LIBTORRENT])
        .arg(file)
        .arg(folder.path())
        .arg(address.port().to_string())
        .output()
        .expect("Python");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim()
        .parse()
        .unwrap_or_else(|_| panic!("libtorrent: {}", String::from_utf8_lossy(&output.stderr)))
}

const LIBTORRENT: &str = r#"
import sys, time
import libtorrent as lt
what, folder, port = sys.argv[1:]
session = lt.session({
    "listen_interfaces": "127.0.0.1:0", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_outgoing_utp": False, "enable_incoming_utp": False,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(what)
params.save_path = folder
handle = session.add_torrent(params)
handle.resume()
while handle.status().state != lt.torrent_status.downloading:
    time.sleep(0.01)
begun = time.time()
handle.connect_peer(("127.0.0.1", int(port)))
while not handle.status().is_seeding:
    time.sleep(0.01)
print(time.time() - begun)
"#;

/// The seconds that librqbit takes, until all is on the disk and synced.
async fn fetched(address: SocketAddr, torrent: &Arc<Metainfo>, number: u8) -> f64 {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut peer_id = *b"-mg0200-fetcher00000";
    peer_id[19] = number;
    let options = Options {
        peer_id,
        announce_port: 1,
        download_rate: None,
        upload_rate: None,
        peers_max: 32,
        descriptors_max: 16,
    };
    let engine = Rqbit::start(options).await.expect("it starts");
    let begun = Instant::now();
    let fetch = Fetch {
        metainfo: torrent.clone(),
        folder: folder.path().into(),
        peers: vec![address],
        tracker: None,
    };
    engine.fetch(fetch).await.expect("it is taken");
    finished(&engine, torrent.info_hash).await.expect("it is there").expect("it is complete");
    let took = begun.elapsed().as_secs_f64();
    engine.stop().await;
    took
}

/// What 2,000 torrents of 1,000 pieces each take, a block of each uploaded.
fn two_thousand_torrents() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let before = (memory(), descriptors());
    let (uploads, _events) =
        Uploads::listen(&[([127, 0, 0, 1], 0).into()], Limits::default(), *b"-mg0200-manymanymany")
            .expect("loopback");
    let mut torrents = Vec::new();
    for number in 0..2_000 {
        let name = number.to_string();
        let file = folder.path().join(&name);
        fs::write(&file, vec![number as u8; 16_000]).expect("it is written");
        // The pieces are not right, and nobody looks: it is the size that counts.
        let torrent = Arc::new(torrent(&name, 16_000, 16, &vec![7; 20_000]));
        let identity = Identity::of(&fs::metadata(file).expect("the file"));
        uploads.add(torrent.clone(), folder.path().into(), vec![identity]).expect("it fits");
        torrents.push(torrent.info_hash);
    }
    let added = (memory(), descriptors());
    let address = uploads.addresses()[0];
    for info_hash in &torrents {
        tokio::task::block_in_place(|| block(address, *info_hash));
    }
    let after = (memory(), descriptors());
    println!(
        "2,000 torrents of 1,000 pieces: MiB and descriptors {before:?} before, {added:?} added, {after:?} uploaded"
    );
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(uploads.stop()));
}

fn block(address: SocketAddr, info_hash: shard::InfoHash) {
    let mut stream = std::net::TcpStream::connect(address).expect("it connects");
    let peer_id = *b"-XX0000-readerreader";
    let handshake = Handshake { info_hash, peer_id, fast: true, extended: false };
    let mut out = handshake.write().to_vec();
    Message::Interested.write(&mut out);
    stream.write_all(&out).expect("it is written");
    // The answer, "everything", "unchoke".
    stream.read_exact(&mut [0; HANDSHAKE_BYTES + 5 + 5]).expect("it is answered");
    out.clear();
    Message::Request(Block { piece: 0, begin: 0, length: 16 }).write(&mut out);
    stream.write_all(&out).expect("it is written");
    stream.read_exact(&mut [0; 13 + 16]).expect("it is answered");
}

fn make(folder: &Path, name: &str, bytes: usize) -> Metainfo {
    let mut file = fs::File::create(folder.join(name)).expect("a file");
    let mut random = fastrand::Rng::with_seed(7);
    let mut piece = vec![0; PIECE_BYTES];
    let mut pieces = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let piece = &mut piece[..PIECE_BYTES.min(left)];
        random.fill(piece);
        file.write_all(piece).expect("it is written");
        pieces.extend_from_slice(digest(&SHA1_FOR_LEGACY_USE_ONLY, piece).as_ref());
        left -= piece.len();
    }
    file.sync_all().expect("it is synced");
    torrent(name, bytes, PIECE_BYTES, &pieces)
}

fn torrent(name: &str, bytes: usize, piece_bytes: usize, pieces: &[u8]) -> Metainfo {
    let mut torrent = format!(
        "d4:infod6:lengthi{bytes}e4:name{}:{name}12:piece lengthi{piece_bytes}e6:pieces{}:",
        name.len(),
        pieces.len()
    )
    .into_bytes();
    torrent.extend_from_slice(pieces);
    torrent.extend_from_slice(b"ee");
    Metainfo::parse(Bytes::from(torrent)).expect("it is a torrent")
}

/// The memory of this process in MiB (proc(5), VmRSS).
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") / 1024
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc").count()
}
