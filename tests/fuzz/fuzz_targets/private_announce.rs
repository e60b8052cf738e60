//! A private announce says what the open one says, where both say something, with numbers that fit the
//! database; and a request's target and passkey are found without a panic, whatever is asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::http::Parsed;
use margay::wire::private::{
    Asked, ClientRules, Dialect, Refusal, Target, locate, parse_head, url_data_key,
};
use margay::wire::query::{Malformed, pairs, parse_announce};

fuzz_target!(|bytes: &[u8]| {
    let open = parse_announce(bytes);
    for dialect in [Dialect::Standard, Dialect::Ocelot] {
        let Ok(asked) = Asked::parse(bytes, dialect) else {
            assert_eq!(open, Err(Malformed::InfoHashTwice));
            continue;
        };
        let most = i64::MAX as u64;
        let counters = asked.counters;
        assert!(counters.uploaded.max(counters.downloaded).max(counters.corrupt) <= most);
        assert!(asked.left <= most || asked.left == u64::MAX && dialect == Dialect::Standard);
        let client = asked.client(&ClientRules::default());
        if let Ok(open) = open {
            assert_eq!(asked.info_hash, Some(open.info_hash));
            assert_eq!((asked.event, asked.numwant), (open.event, open.numwant));
            assert_eq!(asked.port, open.port.unwrap_or(0));
            assert_eq!(asked.passkey, open.passkey);
            assert_eq!(counters.uploaded, open.uploaded.min(most));
            match client {
                Ok(peer_id) => assert_eq!(peer_id.0, open.peer_id),
                Err(refusal) => assert_eq!(refusal, Refusal::NoCompact),
            }
        }
        let located = locate(&asked, [127, 0, 0, 1].into(), &["127.0.0.0/8".parse().unwrap()]);
        assert!(located.endpoints.v4.is_some());
        let _ = asked.passkey(None);
    }

    if let Some(key) = url_data_key(bytes) {
        let queried = pairs(bytes.splitn(2, |&byte| byte == b'?').nth(1).unwrap_or_default())
            .any(|(name, value)| name == b"passkey" && value == key.bytes());
        assert!(queried || bytes.windows(key.bytes().len()).any(|part| part == key.bytes()));
    }

    if let Ok(Parsed::Complete { head, consumed }) = parse_head(bytes, 0, Some(b"secret")) {
        assert!(consumed <= bytes.len());
        match Target::of(&head, consumed) {
            Target::Update(site) | Target::Report(site) => {
                assert!(!site.secret.is(b""));
                assert!(head.query.ends_with(site.query));
            }
            Target::Announce(Some(key)) | Target::Scrape(Some(key)) => {
                assert!((1..=64).contains(&key.bytes().len()));
            }
            Target::Announce(None) | Target::Scrape(None) | Target::Page | Target::Refused(_) => {}
        }
    }
});
