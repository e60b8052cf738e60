//! A .torrent file is read without a panic, and its infohashes are those of a part of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::torrent_file::TorrentFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(torrent) = TorrentFile::parse(bytes) else { return };
    assert!(torrent.v1.is_some() || torrent.v2.is_some());
    let info_hash = torrent.info_hash();
    assert!(torrent.v1 == Some(info_hash) || torrent.v2 == Some(info_hash));
    // What comes behind the file changes nothing, and half of it is none.
    let longer = [bytes, b"i1e"].concat();
    assert_eq!(TorrentFile::parse(&longer).as_ref(), Ok(&torrent));
    assert!(torrent.name.is_none_or(|name| !name.is_empty() && !name.contains(char::is_control)));
    let within = bytes.windows(6).any(|window| window == b"4:info");
    assert!(within);
});
