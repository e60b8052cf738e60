//! What is in a folder or file that is to become a torrent.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use super::names::{Said, as_transmission, refused, said};
use super::{Aside, FILES_MAX, Identity, PATH_BYTES_MAX};

/// What a file or a folder holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Where it is: the file, or the folder.
    pub root: PathBuf,
    /// Its name in the torrent: the last part of `root`.
    pub name: String,
    /// It is one file, and not a folder.
    pub is_single: bool,
    /// Its files in the order of their bytes in the torrent: that of their paths, compared part by part as bytes.
    pub files: Vec<Found>,
    /// What is in the folder and not in the torrent, the first [`SKIPPED_MAX`] of it.
    pub skipped: Vec<Skipped>,
}

/// A file of a content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Its path below the folder; empty where the content is this file.
    pub path: PathBuf,
    /// Which file it was.
    pub identity: Identity,
}

/// What was left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// Its path below the folder.
    pub path: PathBuf,
    /// Why it was.
    pub why: Aside,
}

/// How much of what was left out is listed.
pub const SKIPPED_MAX: usize = 1000;

/// Folders in each other below what was named, at most: libtorrent 2.1.1 refuses torrents with more than 100 parts in a
/// path (measured; 2.0.8 takes them).
pub const FOLDERS_MAX: usize = 99;

/// Why nothing can be made of a file or folder, as it is now.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// There is not one byte in it.
    #[error("{path:?} holds not one byte yet")]
    NothingYet {
        /// The file or folder.
        path: PathBuf,
    },
    /// A tool is still writing, or died while it was.
    #[error("{path:?} is being uploaded; wait, or remove it if nobody uploads it any more")]
    Uploading {
        /// The temporary file of that tool.
        path: PathBuf,
    },
    /// Something went away while it was looked at, or is not there.
    #[error("{path:?} is not there, or went away just now")]
    Gone {
        /// What it was.
        path: PathBuf,
    },
    /// What was named is no file and no folder.
    #[error("{path:?} is {what}; name a file or a folder")]
    Kind {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A name is not UTF-8, as a torrent wants it (BEP 3).
    #[error("the name of {path:?} is not UTF-8; rename it, as with `convmv -t utf8`")]
    NotUtf8 {
        /// Whose it is.
        path: PathBuf,
    },
    /// A name that clients do not take.
    #[error("the name of {path:?} {why}; rename it")]
    Name {
        /// Whose it is.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two names are the same for a client, so that one file would be written over the other.
    #[error("{path:?} and {other:?} beside it are the same name for Transmission; rename one")]
    Clash {
        /// One.
        path: PathBuf,
        /// The name of the other.
        other: String,
    },
    /// A path is too long to be written everywhere.
    #[error("the path {path:?} is longer than {PATH_BYTES_MAX} bytes; rename folders of it")]
    Long {
        /// The path, below what was named.
        path: PathBuf,
    },
    /// A file is in too many folders.
    #[error(
        "{path:?} is in more than {FOLDERS_MAX} folders, which libtorrent refuses; move it up, or pack it"
    )]
    Deep {
        /// The path, below what was named.
        path: PathBuf,
    },
    /// There are too many files.
    #[error("{path:?} holds more than {FILES_MAX} files; make more than one torrent of it")]
    Files {
        /// The folder.
        path: PathBuf,
    },
    /// Something could not be looked at.
    #[error("cannot read {path:?}; may this user read it?")]
    Read {
        /// What it was.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Content {
    /// What a file or a folder holds now.
    ///
    /// Symbolic links are not followed: one that is named is refused, one in a folder is left out, as are hidden
    /// files, what editors leave, pipes, sockets, devices and empty folders. A temporary file of an upload in it
    /// means that the folder is not whole yet. A file that is named is taken whatever its name says of that.
    pub fn walk(path: &Path) -> Result<Self, WalkError> {
        let metadata =
            fs::symlink_metadata(path).map_err(|source| unreadable(path.to_owned(), source))?;
        let Some(name) = path.file_name() else {
            return Err(WalkError::Kind { path: path.to_owned(), what: "no name" });
        };
        let name = name.to_str().ok_or_else(|| WalkError::NotUtf8 { path: path.to_owned() })?;
        if let Some(why) = refused(name) {
            return Err(WalkError::Name { path: path.to_owned(), why });
        }
        let is_single = metadata.is_file();
        let (files, skipped) = if is_single {
            (vec![Found { path: PathBuf::new(), identity: Identity::of(&metadata) }], Vec::new())
        } else if metadata.is_dir() {
            let mut walker = Walker {
                root: path,
                room: PATH_BYTES_MAX - name.len(),
                files: Vec::new(),
                skipped: Vec::new(),
            };
            walker.all()?;
            (walker.files, walker.skipped)
        } else {
            let what = if metadata.is_symlink() { "a symbolic link" } else { "a special file" };
            return Err(WalkError::Kind { path: path.to_owned(), what });
        };
        let content =
            Self { root: path.to_owned(), name: name.to_owned(), is_single, files, skipped };
        if content.total() == 0 {
            return Err(WalkError::NothingYet { path: path.to_owned() });
        }
        Ok(content)
    }

    /// Its size in bytes.
    pub fn total(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| file.identity.size.saturating_add(sum))
    }

    /// Where a file of it is.
    pub(super) fn at(&self, file: &Found) -> PathBuf {
        if self.is_single { self.root.clone() } else { self.root.join(&file.path) }
    }
}

struct Walker<'r> {
    root: &'r Path,
    /// Bytes that a path below the root may have, with the `/` before it.
    room: usize,
    files: Vec<Found>,
    skipped: Vec<Skipped>,
}

impl Walker<'_> {
    /// Goes through the folder and those in it, in the order of their names.
    fn all(&mut self) -> Result<(), WalkError> {
        // What is still to be looked at, the next one last: folders are as deep as somebody made them.
        let mut next = self.entries(Path::new(""))?;
        while let Some((path, metadata)) = next.pop() {
            if metadata.is_dir() {
                next.append(&mut self.entries(&path)?);
                continue;
            }
            if self.files.len() == FILES_MAX {
                return Err(WalkError::Files { path: self.root.to_owned() });
            }
            self.files.push(Found { path, identity: Identity::of(&metadata) });
        }
        Ok(())
    }

    /// The files and folders in a folder, the last name first.
    fn entries(&mut self, below: &Path) -> Result<Vec<(PathBuf, Metadata)>, WalkError> {
        let folder = self.root.join(below);
        let cannot = |source| unreadable(folder.clone(), source);
        let mut entries = Vec::new();
        let mut shown: Vec<String> = Vec::new();
        let mut is_shown_otherwise = false;
        for entry in fs::read_dir(&folder).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            let path = below.join(&name);
            let whole = || folder.join(&name);
            let metadata = entry.metadata().map_err(|source| unreadable(whole(), source))?;
            match said(name.as_encoded_bytes(), metadata.is_dir()) {
                Said::Uploading => return Err(WalkError::Uploading { path: whole() }),
                Said::Aside(why) => {
                    self.skip(path, why);
                    continue;
                }
                Said::Content if metadata.is_symlink() => {
                    self.skip(path, Aside::Symlink);
                    continue;
                }
                Said::Content if !metadata.is_dir() && !metadata.is_file() => {
                    self.skip(path, Aside::Special);
                    continue;
                }
                Said::Content => {}
            }
            let text = name.to_str().ok_or_else(|| WalkError::NotUtf8 { path: whole() })?;
            if let Some(why) = refused(text) {
                return Err(WalkError::Name { path: whole(), why });
            }
            if path.as_os_str().len() >= self.room {
                return Err(WalkError::Long { path });
            }
            if below.iter().count() > FOLDERS_MAX {
                return Err(WalkError::Deep { path });
            }
            if entries.len() == FILES_MAX {
                return Err(WalkError::Files { path: self.root.to_owned() });
            }
            let other = as_transmission(text);
            is_shown_otherwise |= other != text;
            shown.push(other);
            entries.push((path, metadata));
        }
        if is_shown_otherwise {
            clash(&folder, &entries, &shown)?;
        }
        entries.sort_unstable_by(|one, other| other.0.file_name().cmp(&one.0.file_name()));
        Ok(entries)
    }

    fn skip(&mut self, path: PathBuf, why: Aside) {
        if self.skipped.len() < SKIPPED_MAX {
            self.skipped.push(Skipped { path, why });
        }
    }
}

/// Refuses two names in one folder that a client makes one of.
fn clash(
    folder: &Path,
    entries: &[(PathBuf, Metadata)],
    shown: &[String],
) -> Result<(), WalkError> {
    let mut first: HashMap<&str, &Path> = HashMap::new();
    for ((path, _), shown) in entries.iter().zip(shown) {
        if let Some(other) = first.insert(shown, path) {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
            let other = name(other).to_string_lossy().into_owned();
            return Err(WalkError::Clash { path: folder.join(name(path)), other });
        }
    }
    Ok(())
}

fn unreadable(path: PathBuf, source: io::Error) -> WalkError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => WalkError::Gone { path },
        _ => WalkError::Read { path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Writes empty folders (`x/`) and files that hold their own path.
    fn folder(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let whole = folder.path().join("root").join(path);
            fs::create_dir_all(if path.ends_with('/') { &whole } else { whole.parent().unwrap() })
                .unwrap();
            if !path.ends_with('/') {
                fs::write(whole, path).unwrap();
            }
        }
        folder
    }

    /// What a walk says: the files in their order, what was skipped, or the error.
    fn check(folder: &tempfile::TempDir, expected: &str) {
        let said = match Content::walk(&folder.path().join("root")) {
            Ok(content) => {
                let files = content.files.iter().map(|file| file.path.display().to_string());
                let skipped = content
                    .skipped
                    .iter()
                    .map(|skip| format!("{:?}={}", skip.why, skip.path.display()));
                let mut skipped: Vec<_> = skipped.collect();
                skipped.sort();
                files.chain(skipped).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error.to_string().replace(folder.path().to_str().unwrap(), ""),
        };
        assert!(said.starts_with(expected), "{said}");
    }

    #[test]
    fn files_come_in_the_order_of_the_parts_of_their_paths() {
        check(
            &folder(&["a.txt", "a/b", "a/a/c", "a-b", "B", "é", "z", "a b/x"]),
            "B a/a/c a/b a b/x a-b a.txt z é",
        );
        check(&folder(&["b", "empty/", "c/empty/"]), "b");
    }

    #[test]
    fn what_is_no_content_is_left_out_and_listed() {
        let folder = folder(&["a", ".git/config", ".DS_Store", "a~", "#a#", "b/.x", "b/c"]);
        symlink("a", folder.path().join("root/link")).unwrap();
        symlink("/etc", folder.path().join("root/b/etc")).unwrap();
        let pipe = folder.path().join("root/pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let skipped = "Editor=#a# Editor=a~ Hidden=.DS_Store Hidden=.git Hidden=b/.x Special=pipe Symlink=b/etc Symlink=link";
        check(&folder, &format!("a b/c {skipped}"));
    }

    #[test]
    fn a_folder_that_is_not_whole_yet_is_none() {
        for temporary in
            ["b/.x.iso.Ab12cd", "x.part", "b/c/x.filepart", "x.tmp", ".~tmp~/x", ".rsync-partial/x"]
        {
            check(&folder(&["a", temporary]), "\"/root/");
            let error = Content::walk(&folder(&["a", temporary]).path().join("root")).unwrap_err();
            assert!(matches!(error, WalkError::Uploading { .. }), "{error}");
        }
        check(&folder(&["x/"]), "\"/root\" holds not one byte yet");
        let empty = folder(&["x/"]);
        fs::write(empty.path().join("root/file"), "").unwrap();
        check(&empty, "\"/root\" holds not one byte yet");
    }

    #[test]
    fn names_that_a_client_cannot_take_are_refused_with_the_reason() {
        check(
            &folder(&["a", "b/tab\tx"]),
            "the name of \"/root/b/tab\\tx\" has a control character, which aria2",
        );
        check(&folder(&["a", "b/x\\y"]), "the name of \"/root/b/x\\\\y\" has a backslash");
        check(&folder(&["a", ".../x"]), "a Hidden=...");
        check(&folder(&["a", " "]), "the name of \"/root/ \" is made of dots and spaces");
        check(&folder(&["a:b", "a_b"]), "\"/root/a");
        check(&folder(&["x/a ", "x/a/b"]), "\"/root/x/a");
        check(&folder(&["a:b", "a_c", "con", "\u{1f600}"]), "a:b a_c con \u{1f600}");
        let odd = folder(&["a"]);
        fs::write(odd.path().join("root").join(OsStr::from_bytes(b"\xff")), "x").unwrap();
        check(&odd, "the name of \"/root/\\xFF\" is not UTF-8");
        check(&folder(&[vec!["d"; 101].join("/").as_str()]), "\"d/d");
        check(&folder(&[vec!["d"; 100].join("/").as_str()]), "d/d");
        check(&folder(&[vec!["d".repeat(200); 16].join("/").as_str()]), "the path \"d");
    }

    #[test]
    fn what_is_named_is_a_file_or_a_folder() {
        let folder = folder(&["a", ".hidden.tmp"]);
        let root = folder.path().join("root");
        let content = Content::walk(&root.join(".hidden.tmp")).unwrap();
        assert_eq!(
            (content.name.as_str(), content.is_single, content.total()),
            (".hidden.tmp", true, 11)
        );
        symlink("a", root.join("link")).unwrap();
        assert!(matches!(Content::walk(&root.join("link")), Err(WalkError::Kind { .. })));
        assert!(matches!(Content::walk(Path::new("/")), Err(WalkError::Kind { .. })));
        assert!(matches!(Content::walk(Path::new("/dev/null")), Err(WalkError::Kind { .. })));
        assert!(matches!(Content::walk(&root.join("none")), Err(WalkError::Gone { .. })));
        assert!(matches!(Content::walk(&root.join("a/b")), Err(WalkError::Gone { .. })));
    }
}
