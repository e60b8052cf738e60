//! A scrape's infohashes are those of the query, distinct, in order and bounded, and the reply to
//! them is as long as it says.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use margay::wire::http::{Framing, write_scrape};
use margay::wire::query::{Malformed, SCRAPE_HASHES_MAX, pairs, parse_scrape};
use margay::wire::{Key, percent};
use shard::{Counts, InfoHash, Seconds};

fuzz_target!(|asked: &[u8]| {
    // Where there is no infohash, the first question mark is read as `&`.
    let mut query = asked.to_vec();
    if !pairs(asked).any(|(key, _)| key == b"info_hash")
        && let Some(mark) = query.iter_mut().find(|byte| **byte == b'?')
    {
        *mark = b'&';
    }
    let query = &query[..];
    let sent = pairs(query).filter(|(key, _)| *key == b"info_hash").count();
    let good = pairs(query)
        .filter(|(key, _)| *key == b"info_hash")
        .filter_map(|(_, value)| percent::decode_exact(value).map(InfoHash));
    let expected: BTreeSet<InfoHash> = good.take(SCRAPE_HASHES_MAX).collect();

    let mut hashes = vec![InfoHash([0xff; 20])];
    match parse_scrape(asked, &mut hashes) {
        Ok(scrape) => {
            assert!(hashes.iter().eq(&expected));
            assert_eq!(scrape.everything, sent == 0);
            let passkey = pairs(query).filter(|(key, _)| *key == b"passkey");
            let passkey = passkey.filter_map(|(_, value)| Key::new(value)).next();
            assert_eq!(scrape.passkey, passkey);
        }
        Err(why) => {
            assert_eq!(why, Malformed::InfoHashLength);
            assert!(sent > 0 && expected.is_empty() && hashes.is_empty());
        }
    }

    let mut files: Vec<_> = hashes
        .iter()
        .map(|hash| (*hash, (hash.0[0] % 3 > 0).then_some(Counts::default())))
        .rev()
        .collect();
    let mut out = Vec::new();
    write_scrape(&mut out, Framing::CLOSE, &mut files, Seconds(900));
    let end = out.windows(4).position(|window| window == b"\r\n\r\n").expect("an end") + 4;
    let head = str::from_utf8(&out[..end]).expect("text").trim_end();
    assert!(head.ends_with(&format!("Content-Length: {}", out.len() - end)));
});
