//! A list of a million items is refused, or read within a bound of memory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::write::GzEncoder;
use publish::feed::{
    BYTES_MAX, ITEMS_MAX, Item, KeyPair, List, TrustedKeys, read, sign, title, unpack, write,
};
use shard::InfoHash;

/// What reading any list takes at most beside the bytes that came, in MiB: the items and their text, and for a packed one
/// what it was unpacked to.
const MEMORY_MAX: u64 = 192;
/// Where the process that reads finds the file.
const FILE: &str = "MARGAY_TEST_LIST";

#[test]
fn a_million_items_are_refused() {
    let million = 1_000_000;
    let item = serde_json::to_string(&item(1, 40)).unwrap();
    let head = |items: usize| {
        let list = List { epoch: 1, generation: 1, ..List::default() };
        let head = write(&list, &key()).unwrap().bytes;
        let head = str::from_utf8(&head).unwrap().lines().nth(1).unwrap();
        format!("{}\n", head.replace("\"items\":0", &format!("\"items\":{items}")))
    };
    let long = sign(
        format!("{}{}", head(million), format!("{item}\n").repeat(million)).as_bytes(),
        &key(),
    );
    assert!(long.len() > BYTES_MAX);
    check("whole", &long, "TooLarge");
    let mut packed = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&long).unwrap();
    check("packed", &packed.finish().unwrap(), "TooLarge");
    drop(long);

    let short = "{}\n".repeat(million);
    check("said", &sign(format!("{}{short}", head(million)).as_bytes(), &key()), "TooMany");
    check("not said", &sign(format!("{}{short}", head(0)).as_bytes(), &key()), "Count");
    check("not items", &sign(format!("{}{short}", head(ITEMS_MAX)).as_bytes(), &key()), "Item");
}

#[test]
fn the_longest_list_is_read() {
    let text = 290;
    let items = (0..ITEMS_MAX as u32).map(|number| self::item(number, text)).collect();
    let list = List { epoch: 1, generation: 1, items, ..List::default() };
    let document = write(&list, &key()).unwrap();
    drop(list);
    assert!(document.bytes.len() > BYTES_MAX * 9 / 10, "{}", document.bytes.len());
    check("longest", &document.bytes, "100000 items");
    check("longest packed", &document.gzip, "100000 items");
}

fn key() -> KeyPair {
    KeyPair::from_seed(&[1; 32])
}

/// An item whose URL has so many bytes more.
fn item(number: u32, more: usize) -> Item {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&number.to_be_bytes());
    let info_hash = InfoHash(hash);
    let name = format!("a file of some length {number}.iso");
    Item {
        info_hash,
        title: title(&name, 2),
        name,
        size: 1 << 30,
        files: 1,
        published: 1_760_000_000,
        torrent_url: format!("https://example.org/{}/{info_hash}.torrent", "x".repeat(more)),
        torrent_length: 20_000,
        torrent_sha256: [7; 32],
    }
}

/// Reads in a process of its own, whose memory is that of nothing else.
fn check(what: &str, bytes: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.list");
    fs::write(&file, bytes).unwrap();
    let reader = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "feed::too_long::reads_one",
            "--ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(FILE, &file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&reader.stdout);
    let line = said
        .lines()
        .find_map(|line| line.split_once("read: "))
        .unwrap_or_else(|| panic!("{what}: {said}"))
        .1;
    let (mebibytes, result) = line.split_once(' ').unwrap();
    println!("{what}: {} bytes, {mebibytes} MiB, {result:.60}", bytes.len());
    assert!(result.starts_with(expected), "{what}: {line}");
    assert!(mebibytes.parse::<u64>().unwrap() <= MEMORY_MAX, "{what}: {line}");
}

#[test]
#[ignore = "a part of other tests"]
fn reads_one() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else { return };
    // As who fetches it: no more than may be.
    let mut bytes = Vec::new();
    File::open(&file).unwrap().take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).unwrap();
    let before = memory_mebibytes(Path::new("/proc/self/status"));
    let unpacked = if bytes.starts_with(b"\x1f\x8b") { unpack(&bytes) } else { Ok(bytes.clone()) };
    // The copy is the caller's here.
    let result = unpacked.and_then(|bytes| read(&bytes, &TrustedKeys::new(key().public())));
    let said = match &result {
        Ok(signed) => format!("{} items", signed.list.items.len()),
        Err(error) => format!("{error:?}"),
    };
    println!("read: {} {said}", memory_mebibytes(Path::new("/proc/self/status")) - before);
}

/// The most that this process had in memory.
fn memory_mebibytes(status: &Path) -> u64 {
    let status = fs::read_to_string(status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
