//! `margay deny` and `margay allow`: a list of torrents is changed in its file, and the tracker reads it again.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ops::lists::{ListError, TorrentLists};
use shard::InfoHash;

use super::site::{self, ClientError, Named, SiteError};
use crate::api::text;
use crate::config::Config;

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// Torrents that are served; all where there is no list.
    Allow,
    /// Torrents that are refused.
    Deny,
}

/// A change of a list, or a look at it.
#[derive(Debug)]
pub enum ListCommand {
    /// A torrent is on it, with this remark.
    Add(Named, String),
    /// A torrent is not on it.
    Remove(Named),
    /// Its lines are shown.
    Show,
}

/// Why a list was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ListCommandError {
    /// The tracker has no such list.
    #[error(
        "no file is named for this list: give {option} FILE to the tracker, start it again, and give the same here \
         or --config with its file"
    )]
    NoList {
        /// The option that names it.
        option: &'static str,
    },
    /// The file is no list as it is.
    #[error("nothing was changed, as the tracker cannot read the list")]
    List(#[from] ListError),
    /// The torrent is neither a file nor an infohash.
    #[error(transparent)]
    Torrent(#[from] SiteError),
    /// The file cannot be read or written.
    #[error("cannot change {}; run this as root, or as who may write to it and to its folder", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The tracker has other lists.
    #[error(
        "{} is changed, but it is none of the tracker that answers there:\n{}", path.display(), lists.trim_end()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Those that it has.
        lists: String,
    },
    /// The tracker has not read it.
    #[error("the file is changed, but the tracker has not read it: {message}")]
    NotRead {
        /// What the tracker says.
        message: String,
    },
    /// A remark of several lines.
    #[error("a remark is one line of at most {REMARK_BYTES_MAX} bytes")]
    Remark,
    /// The answer cannot be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Options of the tracker that these commands look at.
pub const OPTIONS: &[&str] = &["config", "control", "allow-list", "deny-list"];

/// How long others may keep the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a remark; a line of a list has room for them.
const REMARK_BYTES_MAX: usize = 200;

/// Carries a command out, and has a running tracker read its lists again.
pub fn run(
    which: Which,
    command: &ListCommand,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), ListCommandError> {
    let (path, option) = match which {
        Which::Allow => (&config.allow_list, "--allow-list"),
        Which::Deny => (&config.deny_list, "--deny-list"),
    };
    let path = path.as_deref().ok_or(ListCommandError::NoList { option })?;
    // What a link leads to is changed, and the link stays.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let failed = |source| ListCommandError::Write { path: path.clone(), source };
    let _lock = lock(path).map_err(failed)?;
    let before = read(path).map_err(failed)?;
    if before.is_some() {
        TorrentLists::load(Some(path), None)?;
    }
    let before = before.unwrap_or_default();
    let (after, said) = match command {
        ListCommand::Show => return out.write_all(&before).map_err(ListCommandError::Output),
        ListCommand::Add(torrent, remark) => {
            if remark.len() > REMARK_BYTES_MAX || remark.contains(char::is_control) {
                return Err(ListCommandError::Remark);
            }
            let names = names(torrent)?;
            let is_there =
                |name: &InfoHash| before.split(|byte| *byte == b'\n').any(|line| is_of(line, name));
            let mut after = before.clone();
            if !after.is_empty() && !after.ends_with(b"\n") {
                after.push(b'\n');
            }
            for name in names.iter().filter(|name| !is_there(name)) {
                after.extend(format!("{} {remark}", text::hex(name)).trim_end().bytes());
                after.push(b'\n');
            }
            (after, "on the list")
        }
        ListCommand::Remove(torrent) => {
            let names = names(torrent)?;
            let stays = |line: &&[u8]| !names.iter().any(|name| is_of(line, name));
            let lines = before.split_inclusive(|byte| *byte == b'\n').filter(stays);
            (lines.collect::<Vec<_>>().concat(), "off the list")
        }
    };
    let is_new = before.trim_ascii_end() != after.trim_ascii_end();
    if is_new {
        replace(path, &after).map_err(failed)?;
    }
    let was = if is_new { "" } else { " already" };
    writeln!(out, "{said}{was}: {}", path.display()).map_err(ListCommandError::Output)?;
    let named = format!("{} {}:", &option[2..], path.display());
    match site::command(config, "lists") {
        Ok(lists) if lists.lines().any(|line| line.starts_with(&named)) => {
            write!(out, "the tracker has read it:\n{lists}").map_err(ListCommandError::Output)
        }
        Ok(lists) => Err(ListCommandError::Other { path: path.clone(), lists }),
        Err(SiteError::Client(ClientError::NoTracker { address, .. })) => writeln!(
            out,
            "no tracker answers at {address}; one that runs elsewhere reads it at SIGHUP, or when it starts"
        )
        .map_err(ListCommandError::Output),
        Err(SiteError::Client(ClientError::Refused { message, .. })) => {
            Err(ListCommandError::NotRead { message: message.trim_end().to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The bytes of a list; `None` where there is no file yet.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => {
                Err(io::Error::new(io::ErrorKind::NotFound, "it is a link that leads nowhere"))
            }
            Err(_) => Ok(None),
        },
        Err(error) => Err(error),
        Ok(found) if !found.is_file() => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"))
        }
        Ok(_) => fs::read(path).map(Some),
    }
}

/// Both infohashes, where it is the file of a hybrid.
fn names(torrent: &Named) -> Result<Vec<InfoHash>, SiteError> {
    let site::Names { first, second, .. } = site::names(torrent)?;
    Ok([Some(first), second].into_iter().flatten().collect())
}

/// Whether a line of a list names this torrent.
fn is_of(line: &[u8], name: &InfoHash) -> bool {
    let digits = line.trim_ascii().get(..40);
    digits.is_some_and(|digits| digits.eq_ignore_ascii_case(text::hex(name).as_bytes()))
}

/// Two that change a list at the same time wait for each other.
fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(folder(path))?;
    let began = Instant::now();
    loop {
        match folder.try_lock() {
            Ok(()) => return Ok(folder),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if began.elapsed() > LOCK_PATIENCE => {
                let why = "somebody else holds its folder; try again";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
            }
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Whoever reads the file meanwhile, or after a crash, finds the old one or the new one, with the old one's owner
/// and rights.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
        if let Ok(old) = fs::metadata(path) {
            file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777))?;
            let own = file.metadata()?;
            if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder(path))?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
