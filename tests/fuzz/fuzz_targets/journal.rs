//! Journal segments: the bytes as they are, and once more with the checksums made right, so that the
//! frames and records behind them are reached. What is a record is one again when it is written.
#![no_main]

use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use persist::DataDir;
use persist::journal::{Journal, Options, Record, SegmentFile, segments, survey};

const HEADER_BYTES: usize = 64;
const HEAD_BYTES: usize = 24;

fuzz_target!(|bytes: &[u8]| {
    let dir = PathBuf::from(format!("/dev/shm/margay-fuzz-journal-{}", std::process::id()));
    let file = dir.join("segment");
    fs::create_dir_all(&dir).expect("a place in memory");
    for bytes in [bytes.to_vec(), sealed(bytes.to_vec())] {
        fs::write(&file, bytes).expect("room in memory");
        let mut records: Vec<Record> = Vec::new();
        let only = SegmentFile { path: file.clone(), below: u64::MAX };
        let _ = survey(&only, |_, record| records.push(record.clone()));
        if !records.is_empty() {
            write_again(&dir, &records);
        }
    }
    let _ = fs::remove_dir_all(&dir);
});

fn write_again(dir: &std::path::Path, records: &[Record]) {
    let data = DataDir::open(dir.join("data")).expect("a place in memory");
    let mut journal = Journal::open(&data, Options::default()).expect("there is none yet");
    journal.append(records).expect("room in memory");
    journal.sync().expect("memory");
    let mut again = Vec::new();
    for file in segments(data.path()).expect("just written") {
        survey(&file, |_, record| again.push(record.clone())).expect("just written");
    }
    assert_eq!(again, records);
    drop((journal, data));
    fs::remove_dir_all(dir.join("data")).expect("just written");
}

/// The same segment with good checksums, as far as its lengths make sense.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let Some((header, mut frames)) = bytes.split_at_mut_checked(HEADER_BYTES) else {
        return bytes;
    };
    let seed = crc32fast::hash(&header[..60]).to_le_bytes();
    header[60..].copy_from_slice(&seed);
    let mut offset = HEADER_BYTES as u64;
    while let Some((head, rest)) = frames.split_at_mut_checked(HEAD_BYTES) {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((payload, rest)) = rest.split_at_mut_checked(length) else { break };
        let mut hasher = crc32fast::Hasher::new();
        for part in [&seed[..], &offset.to_le_bytes(), &head[..20], payload] {
            hasher.update(part);
        }
        head[20..].copy_from_slice(&hasher.finalize().to_le_bytes());
        offset += (HEAD_BYTES + length) as u64;
        frames = rest;
    }
    bytes
}
