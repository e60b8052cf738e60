//! Thousands of torrents in one process.

use std::fs;

use publish::engine::upload::Limits;

use super::content::Made;
use super::reader::Reader;
use super::{add, listen, must};

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_torrents_take_little() {
    let uploads = listen(Limits::default());
    let before = (memory(), descriptors());
    // 65 KB each, and 1,000 pieces in each: what a torrent of 1 GB has.
    let torrents: Vec<_> =
        (0..2_000).map(|number| Made::new(&format!("{number}"), &[("", 65_000)], 65)).collect();
    let made = (memory(), descriptors());
    torrents.iter().for_each(|made| add(&uploads, made));
    for made in &torrents {
        let mut reader =
            must(Reader::connect(uploads.addresses()[0], made.metainfo.info_hash, true))
                .await
                .unwrap();
        must(reader.until_unchoked()).await.unwrap();
        let mut read = 0;
        must(reader.fetch(65, 65, 1, |at, block| {
            assert!(made.content(0)[at as usize..][..block.len()] == *block);
            read += block.len();
        }))
        .await
        .unwrap();
        assert_eq!(read, 65);
    }
    let after = (memory(), descriptors());
    println!(
        "KiB and descriptors: {before:?}, with the torrents' values {made:?}, all uploaded from {after:?}"
    );
    assert!(uploads.stats().open_files <= 128);
}

/// The memory of this process in KiB (proc(5), VmRSS).
fn memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}
