//! What has been answered, kept in a file of the data folder over a restart: `countries.txt`, which is replaced as a whole.
//!
//! Its first line says what it is, its second whose answers these are, its last how many there are and their checksum. Each
//! in between is an answer: a network, its country (or `-`), and until when it need not be asked for again. What it says can
//! be asked for anew, so a file that is not so is left out, and the next one replaces it.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use shard::Seconds;

use super::super::Country;
use super::{Answer, Cache, Provider};

/// The name of the file, and of one that is being written.
const FILE: (&str, &str) = ("countries.txt", "countries.txt.unfinished");

/// The first line.
const HEADER: &str = "margay countries 1";

/// So long after it was to be asked for again an answer is forgotten.
const FORGOTTEN_AFTER: Seconds = Seconds(30 * 24 * 3600);

/// Most bytes of a file: more than all networks can take that may be remembered.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Most answers of a file.
const ANSWERS_MAX: usize = 10_000_000;

/// An answer, and until when it need not be asked for again.
pub type Kept = (Answer, Seconds);

/// Why a file is not used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It is not what was written.
    #[error("line {0}: {1}")]
    Malformed(usize, &'static str),
    /// Others were asked.
    #[error("these are answers of {0}, which is not asked now")]
    Other(String),
}

/// The file of a folder.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    path: PathBuf,
    part: PathBuf,
    folder: PathBuf,
    provider: String,
}

impl Shelf {
    pub(super) fn new(folder: &Path, provider: &Provider) -> Self {
        let (path, part) = (folder.join(FILE.0), folder.join(FILE.1));
        Self { path, part, folder: folder.to_owned(), provider: provider.to_string() }
    }

    /// What is kept, for about so many networks; what cannot be used is said in the log and left out.
    pub(super) fn read(&self, networks_max: usize, now: Seconds) -> Cache {
        let mut cache = Cache::new(networks_max);
        let path = self.path.display();
        let bytes = match self.bytes() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return cache,
            Err(error) => {
                tracing::warn!(%path, %error, "countries that were looked up cannot be read, and are looked up again");
                return cache;
            }
        };
        match parse(&bytes, &self.provider) {
            Ok(kept) => {
                for (answer, until) in kept {
                    if now < Seconds(until.0.saturating_add(FORGOTTEN_AFTER.0)) {
                        cache.take_in(answer, until);
                    }
                }
                tracing::info!(networks = cache.len(), "countries that were looked up are known");
            }
            Err(why) => {
                tracing::warn!(%path, %why, "countries that were looked up cannot be used, and are looked up again");
            }
        }
        cache
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces the file.
    pub(super) fn write(&self, cache: &Cache, now: Seconds) -> io::Result<()> {
        let is_kept = |(_, until): &Kept| now < Seconds(until.0.saturating_add(FORGOTTEN_AFTER.0));
        let text = written(&self.provider, cache.kept().filter(is_kept));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o640).open(&self.part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&self.part, &self.path)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// The text of a file with these answers of a provider.
pub fn written(provider: &str, kept: impl Iterator<Item = Kept>) -> String {
    let mut text = format!("{HEADER}\nfrom {provider}\n");
    let mut count = 0;
    for (Answer { country, network }, until) in kept {
        let _ = match country {
            Some(country) => writeln!(text, "{network} {country} {}", until.0),
            None => writeln!(text, "{network} - {}", until.0),
        };
        count += 1;
    }
    let checksum = crc32fast::hash(text.as_bytes());
    let _ = writeln!(text, "end {count} {checksum:08x}");
    text
}

/// Reads a file with answers of a provider.
///
/// # Errors
/// When it is not what [`written`] makes of answers of this one.
pub fn parse(bytes: &[u8], provider: &str) -> Result<Vec<Kept>, Unusable> {
    let malformed = |line, why| Unusable::Malformed(line, why);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed(1, "this is no text"))?;
    let mut lines = text.split('\n').zip(1..);
    if lines.next().is_none_or(|(line, _)| line != HEADER) {
        let why =
            "this is no file of countries of this version: it begins with `margay countries 1`";
        return Err(malformed(1, why));
    }
    let from = lines.next().and_then(|(line, _)| line.strip_prefix("from "));
    let from = from.ok_or_else(|| malformed(2, "it does not say whose answers these are"))?;
    let mut kept = Vec::new();
    for (line, number) in lines.by_ref() {
        let Some(end) = line.strip_prefix("end ") else {
            if kept.len() == ANSWERS_MAX {
                return Err(malformed(number, "there are more answers than there may be"));
            }
            kept.push(answer(line).map_err(|why| malformed(number, why))?);
            continue;
        };
        // The lines are pieces of the text.
        let before = line.as_ptr() as usize - text.as_ptr() as usize;
        let checksum = crc32fast::hash(&bytes[..before]);
        if end != format!("{} {checksum:08x}", kept.len()) {
            return Err(malformed(number, "the number of answers or the checksum is another one"));
        }
        return match (lines.next(), lines.next()) {
            (Some(("", _)), None) if from == provider => Ok(kept),
            (Some(("", _)), None) => Err(Unusable::Other(from.to_owned())),
            _ => Err(malformed(number, "something follows the last line")),
        };
    }
    Err(malformed(text.split('\n').count(), "the end of the file is missing"))
}

fn answer(line: &str) -> Result<Kept, &'static str> {
    let mut parts = line.splitn(3, ' ');
    let mut next = || parts.next().ok_or("an answer is a network, a country and until when");
    let network: IpNet = next()?.parse().map_err(|_| "this is no network")?;
    if network != network.trunc() {
        return Err("the network has bits behind its prefix");
    }
    if network.prefix_len() == 0 {
        return Err("no network is that wide");
    }
    let country = match next()? {
        "-" => None,
        letters => Some(Country::parse(letters).ok_or("this is no country")?),
    };
    let until = Seconds(next()?.parse().map_err(|_| "this is no moment")?);
    Ok((Answer { country, network }, until))
}

#[cfg(test)]
mod tests {
    use super::super::{RecordKind, Zone};
    use super::*;

    fn provider(zone: &str) -> Provider {
        let zone_v4 = Zone::parse(zone);
        Provider { zone_v4, zone_v6: None, record: RecordKind::Txt, field: 3 }
    }

    fn of(network: &str, country: &str, until: u32) -> Kept {
        let country = Country::parse(country);
        (Answer { country, network: network.parse().unwrap() }, Seconds(until))
    }

    #[test]
    fn answers_come_back_until_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path(), &provider("a.test"));
        let day = 24 * 3600;
        let mut cache = Cache::new(100);
        for (answer, until) in [
            of("1.2.0.0/16", "US", day),
            of("1.2.3.0/24", "CU", 40 * day),
            of("5.5.5.0/24", "-", 40 * day),
            of("2a01::/32", "DE", 40 * day),
        ] {
            cache.take_in(answer, until);
        }
        cache.note_failure("9.9.9.9".parse().unwrap(), Seconds(40 * day));
        // What was said before stays, though nobody can say it now.
        cache.note_failure("1.2.3.4".parse().unwrap(), Seconds(40 * day));
        shelf.write(&cache, Seconds(1)).unwrap();
        let read = |now: u32| shelf.read(100, Seconds(now));
        let find = |cache: &Cache, address: &str| {
            let country = cache.remembered(address.parse().unwrap())?;
            Some(country.map_or("none".to_owned(), |country| country.to_string()))
        };
        let (early, late) = (read(20 * day), read(32 * day));
        for (address, expected) in [
            ("1.2.3.4", Some("CU")),
            ("1.2.9.9", Some("US")),
            ("5.5.5.1", Some("none")),
            ("2a01:0:7::1", Some("DE")),
            ("9.9.9.9", None),
        ] {
            assert_eq!(find(&early, address).as_deref(), expected, "{address}");
            let expected = expected.filter(|country| *country != "US");
            assert_eq!(find(&late, address).as_deref(), expected, "{address}");
        }
        assert!(read(71 * day).is_empty());
        // Those of others are of no use.
        let other = Shelf::new(folder.path(), &provider("b.test"));
        assert!(other.read(100, Seconds(1)).is_empty());
        let many = Shelf::new(&folder.path().join("nothing"), &provider("a.test"));
        assert!(many.read(100, Seconds(1)).is_empty() && many.write(&cache, Seconds(1)).is_err());
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path(), &provider("a.test"));
        let mut cache = Cache::new(10_000);
        for number in 0..9_000_u32 {
            let network = super::super::network_of(std::net::Ipv4Addr::from(number << 8).into());
            cache.take_in(Answer { country: None, network }, Seconds(9));
        }
        shelf.write(&cache, Seconds(1)).unwrap();
        assert_eq!(shelf.read(10_000, Seconds(1)).len(), 9_000);
        assert!(shelf.read(1_000, Seconds(1)).len() <= 1_000);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_not_used() {
        let all = [of("1.2.3.0/24", "CU", 9), of("2a01::/32", "-", 8)];
        let good = written("a", all.into_iter());
        assert_eq!(parse(good.as_bytes(), "a").unwrap(), all);
        assert_eq!(parse(good.as_bytes(), "b"), Err(Unusable::Other("a".to_owned())));
        for len in 0..good.len() {
            assert!(parse(&good.as_bytes()[..len], "a").is_err(), "{len}");
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bytes, "a").is_err(), "{bit}");
        }
        for (line, why) in [
            ("0.0.0.0/0 CU 9", "wide"),
            ("1.2.3.4/24 CU 9", "bits"),
            ("x CU 9", "no network"),
            ("1.2.3.0/24 CUB 9", "country"),
            ("1.2.3.0/24 CU x", "moment"),
            ("1.2.3.0/24 CU", "is a network"),
        ] {
            let text = format!("{HEADER}\nfrom a\n{line}\nend 1 0\n");
            let error = parse(text.as_bytes(), "a").unwrap_err().to_string();
            assert!(error.starts_with("line 3: ") && error.contains(why), "{error}");
        }
    }
}
