//! A file of countries that were looked up is read without a panic, and what is understood is written and read back the
//! same. The checksum is mended first, so that what is behind it is reached.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ops::screening::lookups::{Unusable, parse, written};

fuzz_target!(|bytes: &[u8]| {
    _ = parse(bytes, "a.test - txt 3");
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Some(end) = text.rfind("\nend ") else { return };
    let before = &text[..=end];
    let lines = before.split('\n').count().saturating_sub(3);
    let mended = format!("{before}end {lines} {:08x}\n", crc32fast::hash(before.as_bytes()));
    match parse(mended.as_bytes(), "a.test - txt 3") {
        Ok(kept) => {
            let again = written("a.test - txt 3", kept.iter().copied());
            assert_eq!(parse(again.as_bytes(), "a.test - txt 3"), Ok(kept));
        }
        Err(Unusable::Other(other)) => assert!(parse(mended.as_bytes(), &other).is_ok()),
        Err(Unusable::Malformed(line, _)) => assert!((1..=lines + 4).contains(&line)),
    }
});
