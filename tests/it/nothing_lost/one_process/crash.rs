//! What a crash of the machine leaves of a data folder: everything that was synced, and of the rest
//! whatever the disk had got to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

/// Copies a data folder as a crash at this moment leaves it. `synced`: how much of each segment of the
/// journal is on the disk for good.
pub(super) fn leave(from: &Path, synced: &BTreeMap<PathBuf, u64>, to: &Path, rng: &mut Rng) {
    fs::create_dir(to.join("journal")).unwrap();
    for entry in fs::read_dir(from.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let safe = synced.get(&path).map_or(0, |bytes| *bytes as usize);
        tear(&mut bytes, safe, rng);
        fs::write(to.join("journal").join(path.file_name().unwrap()), bytes).unwrap();
    }
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("snapshot-") {
            let mut bytes = fs::read(&path).unwrap();
            if name.ends_with(".part") {
                tear(&mut bytes, 0, rng);
            }
            fs::write(to.join(name), bytes).unwrap();
        }
    }
}

/// Behind the safe bytes the file ends anywhere, and a part of it may never have been written.
fn tear(bytes: &mut Vec<u8>, safe: usize, rng: &mut Rng) {
    let end = match rng.u8(..3) {
        0 => safe,
        1 => bytes.len(),
        _ => rng.usize(safe..=bytes.len()),
    };
    bytes.truncate(end);
    if end > safe && rng.u8(..3) == 0 {
        let hole = rng.usize(safe..end);
        let behind = rng.usize(hole..=end);
        bytes[hole..behind].fill(0);
    }
}
