//! Which database a data folder belongs to, and whether it may fill that again.
//!
//! Two small files beside the snapshots: `database` has the identity of the database, as a UUID and a
//! newline; `adopt` is there when somebody has said that an empty database is to be filled from what is
//! here.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::data_dir::{UNFINISHED, sync_dir};

const DATABASE: &str = "database";
const ADOPT: &str = "adopt";

/// The identity of the database that the folder belongs to; `None` when it is not known, or the file does not
/// have a UUID in it.
pub fn remembered(data: &Path) -> Option<String> {
    let text = fs::read_to_string(data.join(DATABASE)).ok()?;
    let text = text.trim();
    let is_uuid = text.len() == 36 && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    is_uuid.then(|| text.to_owned())
}

/// From now on the folder belongs to this one.
pub fn remember(data: &Path, identity: &str) -> io::Result<()> {
    if remembered(data).as_deref() == Some(identity) {
        return Ok(());
    }
    put(data, DATABASE, identity)
}

/// An empty database is to be filled from what is here.
pub fn ask_to_adopt(data: &Path) -> io::Result<()> {
    put(data, ADOPT, "fill the database from this data folder")
}

/// Whether somebody has said so.
pub fn is_to_adopt(data: &Path) -> bool {
    data.join(ADOPT).exists()
}

/// It is filled.
pub fn adopted(data: &Path) -> io::Result<()> {
    match fs::remove_file(data.join(ADOPT)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_dir(data),
    }
}

fn put(data: &Path, name: &str, text: &str) -> io::Result<()> {
    let (path, part) = (data.join(name), data.join(format!("{name}.{UNFINISHED}")));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&part)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(part, path)?;
    sync_dir(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_folder_remembers_its_database() {
        let scratch = Scratch::new();
        let data = scratch.path();
        assert_eq!(remembered(data), None);
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        remember(data, uuid).unwrap();
        assert_eq!(remembered(data).as_deref(), Some(uuid));
        fs::write(data.join(DATABASE), "some other text").unwrap();
        assert_eq!(remembered(data), None);
        assert!(!is_to_adopt(data));
        ask_to_adopt(data).unwrap();
        assert!(is_to_adopt(data));
        adopted(data).unwrap();
        adopted(data).unwrap();
        assert!(!is_to_adopt(data));
    }
}
