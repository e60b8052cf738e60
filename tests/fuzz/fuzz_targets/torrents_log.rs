//! A line of the file of an open tracker's torrents is read without a panic, and what is understood is written and read
//! back the same. What is put behind a checksum that is right is read as well.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist::register::{parse, write};

fuzz_target!(|bytes: &[u8]| {
    let sealed = [format!("{:08x} ", crc32fast::hash(bytes)).as_bytes(), bytes].concat();
    for text in [bytes, &sealed] {
        let Ok(line) = parse(text) else { continue };
        let mut written = Vec::new();
        write(&mut written, &line);
        let written = written.strip_suffix(b"\n").expect("a line has an end");
        assert!(!written.contains(&b'\n'));
        assert_eq!(parse(written), Ok(line));
    }
});
