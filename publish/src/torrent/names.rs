//! Names of files: which clients can take, and which are no content.
//!
//! Measured with libtorrent 2.0.8 and 2.1.1, aria2 1.36.0 and Transmission 3.00. Each takes spaces, emoji, a leading
//! dash, quotes, `con` and 255 bytes, and writes some of them otherwise: libtorrent leaves out `\` and marks of the
//! direction, makes `_` of control characters and cuts behind 240 bytes; aria2 makes `%01` of control characters;
//! Transmission makes `_` of `<>:"\|?*`, `con_` of `con`, and takes away spaces in front and spaces and dots at the end.
//! librqbit 9.1, by which Seeders fetch, refuses a torrent with a `\` in a name.

/// Why clients cannot take a file or folder of this name, of which `None` is that they can.
pub(super) fn refused(name: &str) -> Option<&'static str> {
    if name.chars().any(|char| char.is_ascii_control()) {
        return Some("has a control character, which aria2 refuses");
    }
    if name.contains('\\') {
        return Some("has a backslash, which Seeders refuse (librqbit)");
    }
    if name.bytes().all(|byte| matches!(byte, b'.' | b' ')) {
        return Some("is made of dots and spaces, which Transmission refuses");
    }
    None
}

/// What Transmission 3.00 makes of a name. It writes two files that it calls the same over each other; the other
/// clients call one of them otherwise.
pub(super) fn as_transmission(name: &str) -> String {
    const RESERVED: [&str; 4] = ["con", "prn", "aux", "nul"];
    let trimmed = name.trim_start_matches(' ').trim_end_matches(['.', ' ']);
    let replaced = trimmed.replace(['<', '>', ':', '"', '\\', '|', '?', '*'], "_");
    let (stem, rest) = replaced.split_at(replaced.find('.').unwrap_or(replaced.len()));
    let lower = stem.to_ascii_lowercase();
    let is_port = lower.len() == 4
        && (lower.starts_with("com") || lower.starts_with("lpt"))
        && lower.ends_with(|digit: char| ('1'..='9').contains(&digit));
    if is_port || RESERVED.contains(&lower.as_str()) { format!("{stem}_{rest}") } else { replaced }
}

/// Why a file or folder in a folder is no part of its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Aside {
    /// Its name begins with a dot.
    Hidden,
    /// An editor made it: its name begins with `#` or ends with `~`.
    Editor,
    /// It is a symbolic link. None is followed, wherever it leads.
    Symlink,
    /// It is a pipe, a socket or a device.
    Special,
}

/// What a name says by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// It is content.
    Content,
    /// It is none.
    Aside(Aside),
    /// A tool is still at it, or has left it behind when it died: the rest is not whole.
    Uploading,
}

/// The ends of names that tools write to until an upload is whole.
pub(crate) const PARTIAL_ENDS: [&[u8]; 5] =
    [b".part", b".filepart", b".tmp", b".crdownload", b".!qB"];

/// What the name of an entry of a folder says.
///
/// Of rsync: `.NAME.` and six letters or digits, not all of them small letters (one in 200 is, and is taken for hidden;
/// `.NAME.backup` is no upload), and its folders `.~tmp~` and `.rsync-partial`. Of WinSCP: `*.filepart`. Of others:
/// files `*.part` and `*.tmp`, of browsers `*.crdownload`, of qBittorrent `*.!qB`; of NFS `.nfs` and digits, a file that is
/// removed and still open.
pub(super) fn said(name: &[u8], is_folder: bool) -> Said {
    let is_random = |end: &[u8]| {
        end.iter().all(u8::is_ascii_alphanumeric) && !end.iter().all(u8::is_ascii_lowercase)
    };
    if name == b".~tmp~" || name == b".rsync-partial" || name.starts_with(b".nfs") {
        return Said::Uploading;
    }
    if name.starts_with(b".") {
        return match name.len().checked_sub(7).filter(|dot| *dot >= 2 && name[*dot] == b'.') {
            Some(dot) if !is_folder && is_random(&name[dot + 1..]) => Said::Uploading,
            _ => Said::Aside(Aside::Hidden),
        };
    }
    if name.starts_with(b"#") || name.ends_with(b"~") {
        return Said::Aside(Aside::Editor);
    }
    let is_partial = PARTIAL_ENDS.iter().any(|end| name.ends_with(end));
    if is_partial && !is_folder { Said::Uploading } else { Said::Content }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_uploaded_and_what_is_no_content() {
        for name in
            [".iso.Ab3dEf", ".a.b.iso.xYzabc", "a.part", "a.iso.filepart", "b.tmp", ".~tmp~"]
        {
            assert_eq!(said(name.as_bytes(), false), Said::Uploading, "{name}");
        }
        for name in [".x", ".iso.backup", ".DS_Store", ".a.Ab3dE", "..Ab3dEf", ".hidden.tmp"] {
            assert_eq!(said(name.as_bytes(), false), Said::Aside(Aside::Hidden), "{name}");
        }
        for name in ["#x#", "x~", "~", "#"] {
            assert_eq!(said(name.as_bytes(), false), Said::Aside(Aside::Editor), "{name}");
        }
        for name in ["a.nfo", "part", "tmp", "~a", "a#", "a.part1", "Thumbs.db"] {
            assert_eq!(said(name.as_bytes(), false), Said::Content, "{name}");
        }
        assert_eq!(said(b"a.part", true), Said::Content);
        assert_eq!(said(b".rsync-partial", true), Said::Uploading);
    }

    #[test]
    fn names_become_those_of_transmission() {
        for (name, expected) in [
            ("a", "a"),
            (" a. .", "a"),
            ("a:b\\c", "a_b_c"),
            ("CON", "CON_"),
            ("con.tar.gz", "con_.tar.gz"),
            ("com1", "com1_"),
            ("com0", "com0"),
            ("console", "console"),
            (".hidden", ".hidden"),
        ] {
            assert_eq!(as_transmission(name), expected);
        }
    }
}
