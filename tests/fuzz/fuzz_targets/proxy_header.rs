//! What a proxy says in front of a connection or a datagram is read the same wherever it is split, whatever follows, and a
//! simple header comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::proxy::{self, BYTES_MAX, NoHeader, Parsed, SIMPLE_BYTES, Said, Stamp};

fuzz_target!(|bytes: &[u8]| {
    match proxy::parse(bytes) {
        Ok(Parsed::Complete { said, consumed }) => {
            assert!((1..=bytes.len().min(BYTES_MAX)).contains(&consumed));
            let whole = Ok(Parsed::Complete { said, consumed });
            assert_eq!(proxy::parse(&bytes[..consumed]), whole);
            assert_eq!(proxy::parse(&[&bytes[..consumed], b"GET / HTTP/1.1"].concat()), whole);
            for end in 0..consumed {
                assert_eq!(proxy::parse(&bytes[..end]), Ok(Parsed::Partial), "{end}");
            }
        }
        Ok(Parsed::Partial) => {
            assert!(bytes.len() < BYTES_MAX);
            for end in 0..bytes.len() {
                assert_eq!(proxy::parse(&bytes[..end]), Ok(Parsed::Partial), "{end}");
            }
        }
        // Once it is none it stays so.
        Err(NoHeader) => {
            assert_eq!(proxy::parse(&[bytes, b"\r\n"].concat()), Err(NoHeader));
        }
    }
    let Ok(Stamp { said, echo, consumed }) = proxy::parse_datagram(bytes) else { return };
    assert!((1..=bytes.len()).contains(&consumed));
    let stamp = Ok(Stamp { said, echo, consumed });
    assert_eq!(proxy::parse_datagram(&bytes[..consumed]), stamp);
    assert_eq!(proxy::parse_datagram(&bytes[..consumed - 1]), Err(NoHeader));
    match (said, echo) {
        (Said::Client(client), Some(echo)) => {
            assert_eq!(consumed, SIMPLE_BYTES);
            let mut again = Vec::new();
            proxy::write_simple(&mut again, client, echo);
            assert_eq!(again, bytes[..SIMPLE_BYTES]);
        }
        (_, echo) => {
            assert_eq!(echo, None);
            assert_eq!(proxy::parse(bytes), Ok(Parsed::Complete { said, consumed }));
        }
    }
});
