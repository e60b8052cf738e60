//! A head is the same whether it comes whole or in pieces, takes no more than is there, and nothing
//! after it changes it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::http::{
    Failure, HEAD_BYTES_MAX, Malformed, Parsed, Persistence, parse_head, write_failure,
    write_not_found,
};

fuzz_target!(|input: &[u8]| {
    let [step, bytes @ ..] = input else { return };
    let whole = parse_head(bytes, 0);

    let mut seen = 0;
    let mut pieces = Ok(Parsed::Partial);
    for length in (0..bytes.len()).step_by(usize::from(*step) + 1).chain([bytes.len()]) {
        pieces = parse_head(&bytes[..length], seen);
        if pieces != Ok(Parsed::Partial) {
            break;
        }
        seen = length;
    }
    assert_eq!(pieces, whole);

    let mut out = Vec::new();
    match whole {
        Ok(Parsed::Complete { head, consumed }) => {
            assert!(consumed <= bytes.len() && consumed <= HEAD_BYTES_MAX);
            assert_eq!(bytes[consumed - 1], b'\n');
            assert_eq!(parse_head(&bytes[..consumed], 0), whole);
            assert_eq!(parse_head(&bytes[..consumed - 1], 0), Ok(Parsed::Partial));
            assert!(head.path.is_empty() || head.path[0] == b'/');
            assert!(!head.path.contains(&b'?') && !head.path.contains(&b'\n'));
            assert!(!head.query.contains(&b'\n'));
            for (name, value) in head.headers() {
                assert!(!name.contains(&b':') && !value.contains(&b'\n'));
                if let Ok(name) = str::from_utf8(name) {
                    assert!(head.header(name).is_some() && head.last_header(name).is_some());
                }
            }
            let says_close = head.header("connection").is_some_and(|value| value == b"close");
            assert!(
                !says_close
                    || matches!(head.persistence, Persistence::Close | Persistence::CloseLate)
            );
            head.target();
            write_not_found(&mut out, head.framing(), head.query);
            assert!(out.starts_with(b"HTTP/1.1 "));
        }
        Ok(Parsed::Partial) => assert!(bytes.len() < HEAD_BYTES_MAX),
        Err(why) => {
            assert!(why != Malformed::TooLarge || bytes.len() >= HEAD_BYTES_MAX);
            let failure = Failure { reason: &why, intervals: None, retry: None };
            write_failure(&mut out, margay::wire::http::Framing::CLOSE, &failure);
            assert!(out.ends_with(b"e"));
        }
    }
});
