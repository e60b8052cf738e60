//! Which torrents are served: an allow-list and a deny-list of infohashes.
//!
//! The lists are read from files, at start and again on SIGHUP, by a thread beside the cores; a core
//! gets them behind an `Arc` and only asks [`TorrentLists::verdict`], with what the API has said of the torrents
//! that it owns ([`Standings`]).

mod standings;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use hashbrown::HashTable;
use shard::{InfoHash, Seconds};

pub use standings::{Standing, Standings, Verdict, Withdrawal};

/// An allow-list, if there is one, and a deny-list, which goes before it. The default permits all.
#[derive(Clone, Debug, Default)]
pub struct TorrentLists {
    allow: Option<InfoHashes>,
    deny: InfoHashes,
}

/// Why a list was refused.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The file cannot be read.
    #[error("cannot read the list of torrents in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line holds something else than an infohash.
    #[error(
        "{}:{line}: not an infohash; each line holds 40 hex digits and maybe a remark after a space, \
         `#` starts a comment",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// More infohashes than a list may hold.
    #[error("{} lists more than {INFO_HASHES_MAX} torrents", path.display())]
    TooMany {
        /// The file.
        path: PathBuf,
    },
}

impl TorrentLists {
    /// Reads the files that there are. An allow-list that is empty permits nothing.
    ///
    /// A million infohashes take about 0.5 s (`benches/lists.rs`) and 22 to 44 MB.
    pub fn load(allow: Option<&Path>, deny: Option<&Path>) -> Result<Self, ListError> {
        Ok(Self {
            allow: allow.map(InfoHashes::load).transpose()?,
            deny: deny.map(InfoHashes::load).transpose()?.unwrap_or_default(),
        })
    }

    /// The same, serving only what is named: without an allow-list by the API alone.
    #[must_use]
    pub fn listed(mut self) -> Self {
        self.allow.get_or_insert_default();
        self
    }

    /// What becomes of who asks for a torrent: the deny-list goes before what the API has withdrawn, and that before
    /// what the allow-list and the API serve. `now` is asked for withdrawn torrents alone.
    #[inline]
    pub fn verdict<'s>(
        &self,
        said: &'s Standings,
        info_hash: &InfoHash,
        now: impl FnOnce() -> Seconds,
    ) -> Verdict<'s> {
        if !self.deny.table.is_empty() && self.deny.contains(info_hash) {
            return Verdict::Denied;
        }
        if let Some(withdrawal) = said.withdrawn(info_hash, now) {
            return Verdict::Withdrawn(withdrawal);
        }
        match &self.allow {
            Some(allow) if !allow.contains(info_hash) && !said.serves(info_hash) => {
                Verdict::Unlisted
            }
            _ => Verdict::Served,
        }
    }

    /// True when the lists alone have the torrent served.
    fn permits(&self, info_hash: &InfoHash) -> bool {
        self.verdict(&Standings::default(), info_hash, || Seconds(0)) == Verdict::Served
    }

    /// How many torrents the allow-list names, if there is one, and how many the deny-list.
    pub fn sizes(&self) -> (Option<usize>, usize) {
        (self.allow.as_ref().map(|allow| allow.table.len()), self.deny.table.len())
    }

    /// The torrents that `before` permitted by name or did not know, and that these lists refuse.
    ///
    /// A first allow-list refuses torrents that no list has ever named; they are not found here and
    /// leave as their peers time out. What the API serves is found here all the same.
    pub fn refused_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a InfoHash> {
        let denied = self.deny.table.iter();
        let dropped = before.allow.iter().flat_map(|allow| allow.table.iter());
        let dropped = dropped.filter(|info_hash| !self.deny.contains(info_hash));
        denied
            .chain(dropped)
            .filter(|info_hash| before.permits(info_hash) && !self.permits(info_hash))
    }
}

/// A set of infohashes: a hash table whose hash nobody outside can aim at, as it is keyed anew for
/// each list.
#[derive(Clone, Debug)]
struct InfoHashes {
    table: HashTable<InfoHash>,
    key: [u64; 2],
}

impl Default for InfoHashes {
    fn default() -> Self {
        Self::new()
    }
}

impl InfoHashes {
    fn new() -> Self {
        Self { table: HashTable::new(), key: random_key() }
    }

    fn insert(&mut self, info_hash: InfoHash) {
        let key = self.key;
        let hash = |info_hash: &InfoHash| hash(&key, info_hash);
        self.table.entry(hash(&info_hash), |other| *other == info_hash, hash).or_insert(info_hash);
    }

    fn remove(&mut self, info_hash: &InfoHash) {
        let found = self.table.find_entry(hash(&self.key, info_hash), |other| other == info_hash);
        if let Ok(entry) = found {
            entry.remove();
        }
    }

    #[inline]
    fn contains(&self, info_hash: &InfoHash) -> bool {
        self.table.find(hash(&self.key, info_hash), |other| other == info_hash).is_some()
    }

    fn load(path: &Path) -> Result<Self, ListError> {
        let read = |source| ListError::Read { path: path.into(), source };
        let mut file = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(read)?);
        let mut info_hashes = Self::new();
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            // Bounded, as the file may be something else than a list and have no line ends.
            file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(read)?;
            if text.is_empty() {
                break;
            }
            match parse(&text) {
                Ok(Some(_)) if info_hashes.table.len() == INFO_HASHES_MAX => {
                    return Err(ListError::TooMany { path: path.into() });
                }
                Ok(Some(info_hash)) => info_hashes.insert(info_hash),
                Ok(None) => {}
                Err(Malformed) => return Err(ListError::Malformed { path: path.into(), line }),
            }
        }
        Ok(info_hashes)
    }
}

fn random_key() -> [u64; 2] {
    std::array::from_fn(|_| RandomState::new().hash_one(0))
}

/// A keyed hash of all 20 bytes; two multiplications, as infohashes are well mixed already and the key
/// is there only against somebody who mixes them ill on purpose.
#[inline]
fn hash(key: &[u64; 2], info_hash: &InfoHash) -> u64 {
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let bytes = &info_hash.0;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    fold(fold(word(0) ^ key[0], word(8) ^ key[1]) ^ word(12), ODD)
}

#[derive(PartialEq, Eq, Debug)]
struct Malformed;

/// Reads a line, its end included: an infohash, or nothing where there is only a comment.
fn parse(line: &[u8]) -> Result<Option<InfoHash>, Malformed> {
    let whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
    let line = line.trim_ascii();
    if !whole {
        return Err(Malformed);
    }
    if line.is_empty() || line.starts_with(b"#") {
        return Ok(None);
    }
    let (digits, rest) = line.split_first_chunk::<40>().ok_or(Malformed)?;
    if !rest.first().is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'#') {
        return Err(Malformed);
    }
    let mut info_hash = [0; 20];
    for (byte, [high, low]) in info_hash.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = digit(*high).ok_or(Malformed)? << 4 | digit(*low).ok_or(Malformed)?;
    }
    Ok(Some(InfoHash(info_hash)))
}

fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

/// Most infohashes of one list, some 6 GB of memory.
const INFO_HASHES_MAX: usize = 200_000_000;

/// Most bytes of one line; a remark has room.
const LINE_BYTES_MAX: u64 = 4096;

const READ_BYTES: usize = 256 << 10;

/// The golden ratio's fraction, an odd number with no pattern.
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(name: &str) -> String {
        InfoHash(info_hash(name)).to_string()
    }

    /// A made-up infohash that starts with `name`, so that names order and cluster them.
    fn info_hash(name: &str) -> [u8; 20] {
        let mut bytes = [b'.'; 20];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes
    }

    fn file(content: impl AsRef<[u8]>) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    /// Loads lists with these lines.
    fn lists(allow: Option<&str>, deny: Option<&str>) -> Result<TorrentLists, ListError> {
        let (allow, deny) = (allow.map(file), deny.map(file));
        TorrentLists::load(allow.as_ref().map(|f| f.path()), deny.as_ref().map(|f| f.path()))
    }

    fn permits(lists: &TorrentLists, name: &str) -> bool {
        lists.permits(&InfoHash(info_hash(name)))
    }

    #[test]
    fn without_lists_everything_is_served() {
        assert!(permits(&TorrentLists::default(), "a"));
        assert_eq!(lists(None, None).unwrap().sizes(), (None, 0));
    }

    #[test]
    fn an_allow_list_serves_what_it_names() {
        let text = format!(
            "# two torrents\n\n{}\r\n  {}  Some name # 7\n{}#x",
            hex("a"),
            hex("b").to_uppercase(),
            hex("a")
        );
        let lists = lists(Some(&text), None).unwrap();
        assert!(permits(&lists, "a") && permits(&lists, "b") && !permits(&lists, "c"));
        assert_eq!(lists.sizes(), (Some(2), 0));
    }

    #[test]
    fn an_empty_allow_list_serves_nothing() {
        assert!(!permits(&lists(Some(""), None).unwrap(), "a"));
    }

    #[test]
    fn a_deny_list_goes_before_the_allow_list() {
        let lists = lists(Some(&(hex("a") + "\n" + &hex("b"))), Some(&hex("b"))).unwrap();
        assert!(permits(&lists, "a") && !permits(&lists, "b"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let good = hex("a");
        for bad in [
            &good[..39],
            &format!("{good}0"),
            &good.replace('6', "g"),
            "magnet:?xt=urn:btih:",
            &format!("{good} {}", "x".repeat(5000)),
        ] {
            let error = lists(Some(&format!("{good}\n#\n{bad}\n{good}\n")), None).unwrap_err();
            assert!(matches!(error, ListError::Malformed { line: 3, .. }), "{bad}: {error}");
            assert!(error.to_string().contains(":3: not an infohash"), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_list_is_refused_without_reading_it_whole() {
        let error = TorrentLists::load(Some(Path::new("/dev/zero")), None).unwrap_err();
        assert!(matches!(error, ListError::Malformed { line: 1, .. }), "{error}");
        let error = TorrentLists::load(None, Some(Path::new("/no/such/list"))).unwrap_err();
        assert!(matches!(error, ListError::Read { .. }), "{error}");
    }

    #[test]
    fn a_set_answers_like_a_naive_one() {
        let mut random = fastrand::Rng::with_seed(7);
        for round in 0..200 {
            let len = random.usize(0..200);
            // Infohashes that differ in one byte only, each byte in turn.
            let mut draw = || {
                let mut bytes = [0; 20];
                bytes[round % 20] = random.u8(..);
                InfoHash(bytes)
            };
            let members: Vec<InfoHash> = (0..len).map(|_| draw()).collect();
            let mut set = InfoHashes::new();
            members.iter().for_each(|member| set.insert(*member));
            for _ in 0..200 {
                let asked = draw();
                assert_eq!(set.contains(&asked), members.contains(&asked), "{asked}");
            }
            assert!(members.iter().all(|member| set.contains(member)));
        }
    }

    #[test]
    fn a_new_list_tells_whom_it_refuses() {
        let before = lists(Some(&[hex("a"), hex("b")].join("\n")), Some(&hex("d"))).unwrap();
        let after = lists(Some(&[hex("b"), hex("c")].join("\n")), Some(&hex("b"))).unwrap();
        let refused: Vec<InfoHash> = after.refused_since(&before).copied().collect();
        assert_eq!(refused, [InfoHash(info_hash("b")), InfoHash(info_hash("a"))]);
        let open = TorrentLists::default();
        assert_eq!(after.refused_since(&open).collect::<Vec<_>>(), [&InfoHash(info_hash("b"))]);
    }
}
