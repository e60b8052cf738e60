//! What the tests need of PyPI, in the versions that `publish/tests/prepare` and `tests/clients/prepare` name.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder of the programs that read feeds and make torrents; it is made once, and takes no time when it is there.
pub(crate) fn venv() -> &'static Path {
    static VENV: OnceLock<PathBuf> = OnceLock::new();
    VENV.get_or_init(|| {
        let prepare = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/prepare");
        let prepared = Command::new(prepare).output().unwrap();
        let errors = String::from_utf8_lossy(&prepared.stderr);
        assert!(prepared.status.success(), "{prepare} failed: {errors}");
        PathBuf::from(String::from_utf8(prepared.stdout).unwrap().trim())
    })
}

/// The Python of the newest libtorrent, which the tests of the tracker's clients have as well.
pub(crate) fn libtorrent() -> PathBuf {
    let target = venv().ancestors().nth(2).unwrap();
    target.join("clients/libtorrent-2.1.1/bin/python")
}
