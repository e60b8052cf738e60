//! Who may use the API: tokens, and the file that has their hashes.
//!
//! A token is 256 random bits, so its plain SHA-256 is all that has to be kept: nobody can guess what was
//! hashed, and a slow hash, which makes guessing dear where people choose passwords, would only make
//! every request dear.
//!
//! The file is changed by `margay api-token` and read by the tracker, each at any time. Beside it the
//! tracker leaves a token of its own, made anew at each start, for operators on the same machine.

mod gate;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::{fmt, process};

use ring::digest;
use shard::Seconds;
use subtle::ConstantTimeEq;

pub use gate::Gate;

/// The file with the hashes of tokens, in the data folder.
pub const FILE: &str = "api-tokens";

/// The file with the token for operators on the same machine, in the data folder.
pub const LOCAL_FILE: &str = "api-local.token";

/// Tokens that a file may have.
pub const TOKENS_MAX: usize = 1000;

/// What else changes users and torrents is called so where it is noted who did.
const RESERVED: [&str; 4] = ["local", "ocelot", "sql", "command"];

/// How a token begins, so that it is known for what it is where it should not be.
const MARK: &str = "margay_";

/// A token; does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// What is kept of a token.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// What it is for, in the operator's word.
    pub name: Name,
    /// When it was made.
    pub created: Seconds,
    hash: [u8; 32],
}

/// What a token is called: 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name(String);

/// The tokens of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tokens(Vec<Entry>);

/// Why the file of tokens is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is not what is written here.
    #[error(
        "line {line} of {} is no token (name, time, sha256:…); remove that line",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// It cannot be read.
    #[error("cannot read {}; run this as root or as the tracker's user", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write {}; is that the data folder, and may this user write there?", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is one of that name.
    #[error("there is a token {0} already; revoke it first, or take another name")]
    Taken(Name),
    /// Others are called so in the audit.
    #[error("a token cannot be called {0}: what else changes users and torrents is called so")]
    Reserved(Name),
    /// There is none of that name.
    #[error("there is no token {0}; `margay api-token list` shows those there are")]
    Unknown(Name),
    /// There are too many.
    #[error("there are {TOKENS_MAX} tokens, which is as many as may be; revoke some")]
    Many,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a token")]
    Random(#[source] getrandom::Error),
}

impl Token {
    /// A new one.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("{MARK}{digits}")))
    }

    /// The token that somebody gives; `None` for what can be none.
    pub fn given(text: &str) -> Option<Self> {
        let text = text.trim();
        let fits =
            (1..=200).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// The secret itself; not for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> [u8; 32] {
        let hash = digest::digest(&digest::SHA256, self.0.as_bytes());
        hash.as_ref().try_into().expect("a SHA-256 has 32 bytes")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Name {
    /// The name `text`; `None` when it is none.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Entry {
    /// What is to be kept of `token`.
    pub fn of(name: Name, created: Seconds, token: &Token) -> Self {
        Self { name, created, hash: token.hash() }
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let name = Name::new(words.next()?)?;
        let created = Seconds(words.next()?.parse().ok()?);
        let digits = words.next()?.strip_prefix("sha256:")?;
        let hash = crate::core::connection_id::parse_key(digits.as_bytes())?;
        words.next().is_none().then_some(Self { name, created, hash })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} sha256:", self.name, self.created.0)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Tokens {
    /// The tokens of a file's text: a line each, lines that begin with `#` and empty ones left out.
    ///
    /// # Errors
    /// The number of the first line that is none, from 1, and the one after the last that may be.
    pub fn parse(text: &str) -> Result<Self, usize> {
        let mut tokens = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if tokens.len() == TOKENS_MAX {
                return Err(number + 1);
            }
            tokens.push(Entry::parse(line).ok_or(number + 1)?);
        }
        Ok(Self(tokens))
    }

    /// The tokens of the file in this data folder; none where there is no file.
    pub fn read(data: &Path) -> Result<Self, TokenError> {
        let path = data.join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|line| TokenError::Line { path, line }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(TokenError::Read { path, source }),
        }
    }

    /// All of them, in the order they were made in.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// The name of `token`, if it is one of them. How long that takes does not tell how near it came.
    pub fn name_of(&self, token: &Token) -> Option<&Name> {
        let hash = token.hash();
        self.0.iter().fold(None, |found, entry| {
            let is_it = bool::from(entry.hash.ct_eq(&hash));
            if is_it { Some(&entry.name) } else { found }
        })
    }

    fn write(&self, data: &Path) -> Result<(), TokenError> {
        let mut text = String::from(HEAD);
        self.0.iter().for_each(|entry| text.push_str(&format!("{entry}\n")));
        let path = data.join(FILE);
        write_secret(&path, &text).map_err(|source| TokenError::Write { path, source })
    }
}

const HEAD: &str = "# Tokens of the API, changed by `margay api-token`: name, made at, hash.\n";

/// Makes a token and keeps its hash in the data folder.
pub fn create(data: &Path, name: Name, now: Seconds) -> Result<Token, TokenError> {
    let _lock = lock(data)?;
    let Tokens(mut entries) = Tokens::read(data)?;
    if RESERVED.contains(&name.0.as_str()) {
        return Err(TokenError::Reserved(name));
    }
    if entries.iter().any(|entry| entry.name == name) {
        return Err(TokenError::Taken(name));
    }
    if entries.len() >= TOKENS_MAX {
        return Err(TokenError::Many);
    }
    let token = Token::random()?;
    entries.push(Entry::of(name, now, &token));
    Tokens(entries).write(data)?;
    Ok(token)
}

/// Removes a token from the data folder: it is good no longer.
pub fn revoke(data: &Path, name: &Name) -> Result<(), TokenError> {
    let _lock = lock(data)?;
    let Tokens(mut entries) = Tokens::read(data)?;
    let before = entries.len();
    entries.retain(|entry| entry.name != *name);
    if entries.len() == before {
        return Err(TokenError::Unknown(name.clone()));
    }
    Tokens(entries).write(data)
}

/// Leaves a new token for operators on the same machine in the data folder.
pub fn leave_local(data: &Path) -> Result<Token, TokenError> {
    let token = Token::random()?;
    let path = data.join(LOCAL_FILE);
    let line = format!("{}\n", token.reveal());
    write_secret(&path, &line).map_err(|source| TokenError::Write { path, source })?;
    Ok(token)
}

/// Two that change the file at the same time wait for each other.
fn lock(data: &Path) -> Result<File, TokenError> {
    let lock = File::open(data).and_then(|folder| folder.lock().map(|()| folder));
    lock.map_err(|source| TokenError::Write { path: data.to_owned(), source })
}

/// Writes a file that its owner alone may read (mode 0600) beside and renames it, so that a crash leaves
/// the old one or the new one. It belongs to whom its folder belongs to, so that a tracker can read what
/// root has written.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", process::id()));
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = (|| {
        let (owner, own) = (fs::metadata(folder)?, file.metadata()?);
        if (owner.uid(), owner.gid()) != (own.uid(), own.gid()) {
            // Only root can; for anybody else the file stays his own.
            let _ = fchown(&file, Some(owner.uid()), Some(owner.gid()));
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    #[test]
    fn a_token_is_good_until_it_is_revoked_and_kept_as_a_hash() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Tokens::read(data.path()).unwrap(), Tokens::default());
        let site = create(data.path(), name("site"), Seconds(1000)).unwrap();
        let script = create(data.path(), name("script"), Seconds(2000)).unwrap();
        let tokens = Tokens::read(data.path()).unwrap();
        assert!(tokens.name_of(&site).is_some() && tokens.name_of(&script).is_some());
        assert_eq!(tokens.name_of(&Token::random().unwrap()), None);
        assert_eq!(
            (tokens.0[1].name.clone(), tokens.0[1].created),
            (name("script"), Seconds(2000))
        );

        let text = fs::read_to_string(data.path().join(FILE)).unwrap();
        assert!(!text.contains(&site.reveal()[MARK.len()..]), "the token itself is not kept");
        let mode = fs::metadata(data.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        assert!(matches!(create(data.path(), name("site"), Seconds(1)), Err(TokenError::Taken(_))));
        revoke(data.path(), &name("site")).unwrap();
        assert!(matches!(revoke(data.path(), &name("site")), Err(TokenError::Unknown(_))));
        let tokens = Tokens::read(data.path()).unwrap();
        assert!(tokens.name_of(&site).is_none() && tokens.name_of(&script).is_some());
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_local_token_is_for_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let token = leave_local(data.path()).unwrap();
        let path = data.path().join(LOCAL_FILE);
        assert_eq!(Token::given(&fs::read_to_string(&path).unwrap()), Some(token.clone()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(leave_local(data.path()).unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.reveal()[MARK.len()..]));
    }

    #[test]
    fn a_line_that_is_no_token_is_named() {
        let good = Entry::of(name("a"), Seconds(7), &Token::given("x").unwrap()).to_string();
        assert_eq!(Tokens::parse(&format!("# head\n\n{good}\n")).unwrap().0.len(), 1);
        for wrong in ["a", "a 7", "a 7 sha256:12", "a b c", &format!("{good} more"), "é 7 x"] {
            assert_eq!(Tokens::parse(&format!("{good}\n{wrong}\n")), Err(2), "{wrong}");
        }
        assert!(Name::new("").is_none() && Name::new("a b").is_none());
        assert!(Token::given("").is_none() && Token::given("a b").is_none());
    }
}
