//! Files that change while they are uploaded: the torrent stops, no changed byte goes out, nothing is written.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use publish::engine::upload::{Event, Limits};

use super::content::Made;
use super::reader::Reader;
use super::{add, listen_and_hear, must};

const TOTAL: usize = 64 << 20;

/// Changes the file when a quarter of it was read; no byte that is read is another one, and the torrent is stopped.
async fn check(change: fn(&Path)) {
    // Slowly enough that the end is not in a buffer before the change.
    let limits = Limits { upload_rate: Some(200 << 20), ..Limits::default() };
    let (uploads, mut events) = listen_and_hear(limits);
    let made = Made::single(TOTAL);
    add(&uploads, &made);
    let info_hash = made.metainfo.info_hash;
    let mut reader = must(Reader::connect(uploads.addresses()[0], info_hash, true)).await.unwrap();
    must(reader.until_unchoked()).await.unwrap();
    let (mut read, mut looked) = (0, None);
    let ended = must(reader.fetch(TOTAL as u64, made.metainfo.piece_length, 64, |at, block| {
        assert!(made.content(0)[at as usize..][..block.len()] == *block, "a changed byte at {at}");
        read += block.len();
        if read >= TOTAL / 4 && looked.is_none() {
            change(&made.path(0));
            looked = Some(look(&made.path(0)));
        }
    }))
    .await;
    assert!(ended.is_err(), "all of a changed file was given");
    let event = must(events.recv()).await.unwrap();
    assert!(matches!(event, Event::Changed { info_hash: stopped, .. } if stopped == info_hash));
    assert!(uploads.torrent(&info_hash).is_none());
    assert!(
        must(Reader::connect(uploads.addresses()[0], info_hash, true)).await.is_err(),
        "it is not known any more"
    );
    assert_eq!(uploads.stats().open_files, 0);
    assert!(look(&made.path(0)) == looked.unwrap(), "the file was touched");
}

/// The bytes, mode, size and times of what is there now.
fn look(path: &Path) -> Option<(Vec<u8>, u32, std::time::SystemTime)> {
    let metadata = fs::metadata(path).ok()?;
    Some((fs::read(path).unwrap(), metadata.permissions().mode(), metadata.modified().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_written_to_in_place() {
    check(|path| {
        let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.seek(SeekFrom::Start(TOTAL as u64 / 2)).unwrap();
        file.write_all(&vec![0; TOTAL / 2]).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_truncated() {
    check(|path| {
        fs::OpenOptions::new().write(true).open(path).unwrap().set_len(TOTAL as u64 / 2).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_appended_to() {
    check(|path| {
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_by_rename() {
    check(|path| {
        let beside = path.with_extension("new");
        fs::write(&beside, vec![0; TOTAL]).unwrap();
        fs::rename(beside, path).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_removed() {
    check(|path| fs::remove_file(path).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_replaced_by_a_link_to_its_like() {
    check(|path| {
        let beside = path.with_extension("moved");
        fs::rename(path, &beside).unwrap();
        std::os::unix::fs::symlink(&beside, path).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changed_before_it_was_asked_for() {
    let (uploads, mut events) = listen_and_hear(Limits::default());
    let made = Made::folder_with_empty_files();
    add(&uploads, &made);
    fs::write(made.path(1), made.content(1)).unwrap();
    let info_hash = made.metainfo.info_hash;
    let mut reader = must(Reader::connect(uploads.addresses()[0], info_hash, false)).await.unwrap();
    must(reader.until_unchoked()).await.unwrap();
    let read = must(
        reader.fetch(1 << 18, made.metainfo.piece_length, 8, |_, _| panic!("nothing is given")),
    )
    .await;
    assert!(read.is_err());
    assert!(
        matches!(must(events.recv()).await, Some(Event::Changed { path, .. }) if path == Path::new("folder/a/one"))
    );
}
