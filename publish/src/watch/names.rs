//! Names that are no content: what uploading tools write to before they rename.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::torrent::PARTIAL_ENDS;

/// A top-level name that is never published: hidden names, temporary names of uploading tools, `lost+found`.
pub fn is_ignored(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") || name == "lost+found" || is_unfinished(name)
}

/// A name that an uploading tool writes to until its upload is whole.
///
/// rsync writes `.name.XXXXXX`, or into `.rsync-partial` and `.~tmp~`; browsers and clients `*.part`, `*.filepart`
/// (WinSCP), `*.crdownload`, `*.!qB`, `*.tmp`; an unlinked file shows up as `#inode` (`O_TMPFILE`), or as `.nfs…`.
pub fn is_unfinished(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let mut ends = PARTIAL_ENDS.iter().copied().chain([&b"~"[..]]);
    name.starts_with(b"#")
        || name.starts_with(b".nfs")
        || [&b".~tmp~"[..], b".rsync-partial"].contains(&name)
        || ends.any(|end| name.len() > end.len() && name.ends_with(end))
        || is_rsync_temporary(name)
}

/// `.name.XXXXXX`, six of `[A-Za-z0-9]` (rsync's `get_tmpname`, mkstemp(3)).
fn is_rsync_temporary(name: &[u8]) -> bool {
    let Some((rest, random)) = name.split_last_chunk::<6>() else { return false };
    rest.len() >= 3
        && rest.starts_with(b".")
        && rest.ends_with(b".")
        && random.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_uploading_tools_are_no_content() {
        for name in [
            ".a.bin.k3XyZ9",
            "a.part",
            "a.iso.filepart",
            "b.tmp",
            "c~",
            "d.crdownload",
            "e.!qB",
            "#1234",
            ".~tmp~",
        ] {
            assert!(is_unfinished(OsStr::new(name)), "{name}");
            assert!(is_ignored(OsStr::new(name)), "{name}");
        }
        for name in [".hidden", "lost+found", ".git"] {
            assert!(is_ignored(OsStr::new(name)), "{name}");
            assert!(!is_unfinished(OsStr::new(name)), "{name}");
        }
        for name in ["a.bin", "a.partial", "part", "a.tmp.gz", "a#1", "a.b.abcdef", "lost"] {
            assert!(!is_ignored(OsStr::new(name)), "{name}");
        }
    }
}
