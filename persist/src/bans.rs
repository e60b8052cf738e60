//! Networks that an operator has banned: the file `bans.txt` in the data folder, which is replaced as a whole.
//!
//! Its first line says what it is, its last how many bans there are, and each in between is a ban: the network, until when
//! (seconds since 1970, or `-`), since when, and why. A file that is not so is left as it is, and nothing is taken from it:
//! a ban that is forgotten without a word would be worse than a start that fails.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use shard::Seconds;

use crate::data_dir::sync_dir;

/// A banned network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    /// Who is banned.
    pub network: IpNet,
    /// Until when; `None` for ever.
    pub until: Option<Seconds>,
    /// Since when.
    pub since: Seconds,
    /// Why, in a line that may be empty.
    pub reason: Box<str>,
}

/// All bans of a data folder, as they are on the disk.
#[derive(Debug)]
pub struct Bans {
    folder: PathBuf,
    bans: BTreeMap<IpNet, Ban>,
}

/// Why bans cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum BansError {
    /// The file cannot be read.
    #[error("cannot read the bans in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "{}:{line}: {why}. The file is left as it is; mend that line, or move the file away to begin without bans",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There are as many as there may be.
    #[error("there are {BANS_MAX} bans, and no more may be; use a screen-deny-list for so many")]
    TooMany,
    /// The file cannot be written.
    #[error("cannot write the bans to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// The name of the file, and of one that is being written.
const FILE: (&str, &str) = ("bans.txt", "bans.txt.unfinished");

/// The first line.
const HEADER: &str = "margay bans 1";

/// Most bans.
pub const BANS_MAX: usize = 65_536;

/// Most bytes of a reason.
pub const REASON_BYTES_MAX: usize = 200;

/// Most bytes of the file: more than all bans can take.
const FILE_BYTES_MAX: u64 = 32 << 20;

impl Bans {
    /// Reads the bans of a data folder; those that are over by now are not among them.
    ///
    /// # Errors
    /// When there is a file that cannot be read or is not what was written.
    pub fn open(folder: &Path, now: Seconds) -> Result<Self, BansError> {
        let path = folder.join(FILE.0);
        let mut bytes = Vec::new();
        match fs::File::open(&path) {
            Ok(file) => {
                let read = file.take(FILE_BYTES_MAX).read_to_end(&mut bytes);
                read.map_err(|source| BansError::Read { path: path.clone(), source })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { folder: folder.to_owned(), bans: BTreeMap::new() });
            }
            Err(source) => return Err(BansError::Read { path, source }),
        }
        let read = parse(&bytes).map_err(|(line, why)| BansError::Malformed { path, line, why })?;
        let in_force = read.into_iter().filter(|ban| !ban.is_over(now));
        let bans = in_force.map(|ban| (ban.network, ban)).collect();
        Ok(Self { folder: folder.to_owned(), bans })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.bans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bans.is_empty()
    }

    /// All of them behind one, by network.
    pub fn after(&self, after: Option<IpNet>) -> impl Iterator<Item = &Ban> {
        let begin = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.bans.range((begin, std::ops::Bound::Unbounded)).map(|(_, ban)| ban)
    }

    /// The narrowest ban that a network lies in, which may be its own.
    pub fn around(&self, network: &IpNet) -> Option<&Ban> {
        let around = self.bans.values().filter(|ban| ban.network.contains(network));
        around.max_by_key(|ban| ban.network.prefix_len())
    }

    /// Bans networks; one that is banned already is banned anew. On the disk when this returns.
    ///
    /// # Errors
    /// When there would be too many, or the disk takes nothing: then nothing has changed.
    pub fn put(&mut self, bans: impl IntoIterator<Item = Ban>) -> Result<(), BansError> {
        let mut all = self.bans.clone();
        all.extend(bans.into_iter().map(|ban| (ban.network, ban)));
        if all.len() > BANS_MAX {
            return Err(BansError::TooMany);
        }
        self.keep(all)
    }

    /// Ends the ban of a network; whether there was one. On the disk when this returns.
    ///
    /// # Errors
    /// When the disk takes nothing: then nothing has changed.
    pub fn remove(&mut self, network: &IpNet) -> Result<bool, BansError> {
        let mut all = self.bans.clone();
        match all.remove(network) {
            None => Ok(false),
            Some(_) => self.keep(all).map(|()| true),
        }
    }

    /// Takes those out that are over. They are over whether the disk has it or not, as each says until when it is.
    pub fn expire(&mut self, now: Seconds) -> Vec<Ban> {
        let over: Vec<Ban> = self.bans.values().filter(|ban| ban.is_over(now)).cloned().collect();
        if !over.is_empty() {
            self.bans.retain(|_, ban| !ban.is_over(now));
            if let Err(error) = self.write(&self.bans) {
                tracing::warn!(%error, "bans that are over stay in the file until it is written again");
            }
        }
        over
    }

    fn keep(&mut self, all: BTreeMap<IpNet, Ban>) -> Result<(), BansError> {
        let failed = |source| BansError::Write { path: self.folder.join(FILE.0), source };
        self.write(&all).map_err(failed)?;
        self.bans = all;
        Ok(())
    }

    fn write(&self, all: &BTreeMap<IpNet, Ban>) -> io::Result<()> {
        let (path, part) = (self.folder.join(FILE.0), self.folder.join(FILE.1));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o640).open(&part)?;
        file.write_all(written(all.values()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        sync_dir(&self.folder)
    }
}

impl Ban {
    /// Whether it is over.
    pub fn is_over(&self, now: Seconds) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// Whether a text can be the reason of a ban: a line that is not too long.
pub fn is_reason(text: &str) -> bool {
    text.len() <= REASON_BYTES_MAX && !text.chars().any(char::is_control)
}

/// The text of a file with these bans.
pub fn written<'b>(bans: impl IntoIterator<Item = &'b Ban>) -> String {
    let mut text = format!("{HEADER}\n");
    let mut count = 0;
    for Ban { network, until, since, reason } in bans {
        let until = until.map_or("-".to_owned(), |until| until.0.to_string());
        text.push_str(&format!("{network} {until} {} {reason}\n", since.0));
        count += 1;
    }
    text.push_str(&format!("end {count}\n"));
    text
}

/// Reads a file: its bans, or the line that is wrong and why.
///
/// # Errors
/// When it is not what [`written`] makes.
pub fn parse(bytes: &[u8]) -> Result<Vec<Ban>, (usize, &'static str)> {
    let text = std::str::from_utf8(bytes).map_err(|_| (1, "this is no text"))?;
    let mut lines = text.split('\n').zip(1..);
    if lines.next().is_none_or(|(line, _)| line != HEADER) {
        return Err((1, "this is no file of bans of this version: it begins with `margay bans 1`"));
    }
    let mut bans = Vec::new();
    for (line, number) in lines.by_ref() {
        if let Some(count) = line.strip_prefix("end ") {
            if count.parse() != Ok(bans.len()) {
                return Err((number, "the file has another number of bans than it says"));
            }
            return match (lines.next(), lines.next()) {
                (Some(("", _)), None) => Ok(bans),
                _ => Err((number, "something follows the last line")),
            };
        }
        if bans.len() == BANS_MAX {
            return Err((number, "there are more bans than there may be"));
        }
        bans.push(ban(line).map_err(|why| (number, why))?);
    }
    Err((text.split('\n').count(), "the end of the file is missing"))
}

fn ban(line: &str) -> Result<Ban, &'static str> {
    let mut parts = line.splitn(4, ' ');
    let mut next = || parts.next().ok_or("a ban is a network, until when, since when and why");
    let network: IpNet = next()?.parse().map_err(|_| "this is no network")?;
    if network != network.trunc() {
        return Err("the network has bits behind its prefix");
    }
    let moment = |text: &str| text.parse().map(Seconds).map_err(|_| "this is no moment");
    let until = match next()? {
        "-" => None,
        until => Some(moment(until)?),
    };
    let (since, reason) = (moment(next()?)?, next()?);
    match is_reason(reason) {
        true => Ok(Ban { network, until, since, reason: reason.into() }),
        false => Err("the reason is too long, or no line of text"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const NOW: Seconds = Seconds(1_000_000);

    fn of(network: &str, until: Option<u32>, reason: &str) -> Ban {
        let (network, until) = (network.parse().unwrap(), until.map(Seconds));
        Ban { network, until, since: NOW, reason: reason.into() }
    }

    fn shown(bans: &Bans) -> Vec<Ban> {
        bans.after(None).cloned().collect()
    }

    #[test]
    fn bans_are_kept_until_they_are_over() {
        let folder = Scratch::new();
        let mut bans = Bans::open(folder.path(), NOW).unwrap();
        let all = [
            of("192.0.2.0/24", Some(NOW.0 + 10), "a flood, é"),
            of("2001:db8::/64", None, ""),
            of("2001:db9::1/128", Some(NOW.0 + 20), "x"),
        ];
        bans.put(all.clone()).unwrap();
        assert_eq!(shown(&bans), all);
        assert_eq!(shown(&Bans::open(folder.path(), NOW).unwrap()), all);
        // Said again, the later one counts.
        bans.put([of("192.0.2.0/24", Some(NOW.0 + 5), "again")]).unwrap();
        assert_eq!(bans.len(), 3);
        assert_eq!(shown(&Bans::open(folder.path(), NOW + Seconds(5)).unwrap()), all[1..]);
        assert!(bans.expire(NOW + Seconds(4)).is_empty());
        assert_eq!(bans.expire(NOW + Seconds(5)).len(), 1);
        assert!(bans.remove(&all[1].network).unwrap() && !bans.remove(&all[1].network).unwrap());
        assert_eq!(shown(&Bans::open(folder.path(), NOW).unwrap()), all[2..]);
        let around = |network: &str| bans.around(&network.parse().unwrap()).map(|ban| ban.network);
        assert_eq!(
            (around("2001:db9::1/128"), around("2001:db9::2/128")),
            (Some(all[2].network), None)
        );
    }

    #[test]
    fn garbage_is_told_with_its_line_and_nothing_is_lost() {
        let folder = Scratch::new();
        let path = folder.path().join(FILE.0);
        let good = written(&[of("192.0.2.0/24", None, "a"), of("192.0.3.0/24", Some(7), "b c")]);
        assert_eq!(parse(good.as_bytes()).unwrap().len(), 2);
        for (from, to, line) in [
            ("margay bans 1", "margay bans 2", 1),
            ("192.0.2.0/24", "192.0.2.1/24", 2),
            ("192.0.2.0/24 ", "", 2),
            ("192.0.3.0/24 7", "192.0.3.0/24 x", 3),
            ("b c\n", "", 4),
            ("end 2", "end 3", 4),
            ("end 2\n", "", 4),
            ("end 2\n", "end 2\nmore\n", 4),
            ("b c", "b\tc", 3),
        ] {
            let bad = good.replacen(from, to, 1);
            fs::write(&path, &bad).unwrap();
            let error = Bans::open(folder.path(), NOW).unwrap_err().to_string();
            assert!(error.contains(&format!("{FILE}:{line}: ", FILE = FILE.0)), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
        // Cut anywhere, and with any bit flipped, it is told or says something that may be said.
        for len in 0..good.len() {
            assert!(parse(&good.as_bytes()[..len]).is_err(), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(bans) = parse(&bytes) {
                assert_eq!(parse(written(&bans).as_bytes()), Ok(bans));
            }
        }
    }

    #[test]
    fn what_the_disk_does_not_take_changes_nothing() {
        let folder = Scratch::new();
        let mut bans = Bans::open(folder.path(), NOW).unwrap();
        bans.put([of("192.0.2.0/24", None, "")]).unwrap();
        // Nothing can be written where a folder is.
        fs::create_dir(folder.path().join(FILE.1)).unwrap();
        assert!(bans.put([of("192.0.3.0/24", None, "")]).is_err());
        assert!(bans.remove(&"192.0.2.0/24".parse().unwrap()).is_err());
        assert_eq!(bans.len(), 1);
        fs::remove_dir(folder.path().join(FILE.1)).unwrap();
        let many = (0..BANS_MAX as u32).map(|at| {
            let address: std::net::Ipv4Addr = (0x0a00_0000 + at).into();
            Ban { network: IpNet::from(std::net::IpAddr::from(address)), ..of("::/128", None, "") }
        });
        assert!(matches!(bans.put(many), Err(BansError::TooMany)));
        assert_eq!(Bans::open(folder.path(), NOW).unwrap().len(), 1);
    }
}
