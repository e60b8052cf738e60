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
const MEMORY_MAX: u64 = 160;
/// Where the process that reads finds the file.
const FILE: &str = "MARGAY_TEST_LIST";

#[test]
fn a_million_items_are_refused() {
    let million = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let head = |items: usize| {
        let list = List { epoch: 1, generation: 1, ..List::default() };
        let head = write(&list, &key()).unwrap().bytes;
        let head = str::from_utf8(&head).unwrap().lines().nth(1).unwrap();
        format!("{}\n", head.replace("\"items\":0", &format!("\"items\":{items}")))
    };
    // Refused before anybody looks at the signature.
    let line = format!("{}\n", serde_json::to_string(&item(1, 40)).unwrap()).repeat(1000);
    let lines = |to: &mut dyn Write| {
        to.write_all(&sign(head(million).as_bytes(), &key())).unwrap();
        (0..million / 1000).for_each(|_| to.write_all(line.as_bytes()).unwrap());
    };
    let file = folder.path().join("feed.list");
    lines(&mut File::create(&file).unwrap());
    check("whole", &file, "TooLarge");
    let mut packed = GzEncoder::new(File::create(&file).unwrap(), flate2::Compression::fast());
    lines(&mut packed);
    packed.finish().unwrap();
    check("packed", &file, "TooLarge");

    let short = "{}\n".repeat(million);
    for (what, items, expected) in
        [("said", million, "TooMany"), ("not said", 0, "Count"), ("not items", ITEMS_MAX, "Item")]
    {
        fs::write(&file, sign(format!("{}{short}", head(items)).as_bytes(), &key())).unwrap();
        check(what, &file, expected);
    }
}

#[test]
fn the_longest_list_is_read() {
    let items = (0..ITEMS_MAX as u32).map(|number| item(number, 240)).collect();
    let list = List { epoch: 1, generation: 1, items, ..List::default() };
    let document = write(&list, &key()).unwrap();
    drop(list);
    assert!(document.bytes.len() > BYTES_MAX * 9 / 10, "{}", document.bytes.len());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("feed.list.gz");
    fs::write(&file, &document.gzip).unwrap();
    check("longest", &file, "100000 items");
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
fn check(what: &str, file: &Path, expected: &str) {
    let reader = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "feed::too_long::reads_one",
            "--ignored",
            "--nocapture",
            "--test-threads",
            "1",
        ])
        .env(FILE, file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&reader.stdout);
    let line = said
        .lines()
        .find_map(|line| line.split_once("read: "))
        .unwrap_or_else(|| panic!("{what}: {said}"))
        .1;
    let (mebibytes, result) = line.split_once(' ').unwrap();
    println!("{what}: {} bytes, {mebibytes} MiB, {result:.60}", fs::metadata(file).unwrap().len());
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
    let keys = TrustedKeys::new(key().public());
    let result = match bytes.starts_with(b"\x1f\x8b") {
        true => unpack(&bytes).and_then(|bytes| read(&bytes, &keys)),
        false => read(&bytes, &keys),
    };
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
