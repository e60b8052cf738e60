//! `margay snapshot inspect FILE` and `margay snapshot verify FILE`.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use persist::snapshot::SwarmFigures;
use persist::{Covered, Snapshot, SnapshotError};
use shard::{InfoHash, Seconds};

/// How many of the largest swarms are shown.
const LARGEST_MAX: usize = 10;

/// Why a command did not do what it was asked for; the process ends with status 1.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotCommandError {
    /// There is no such file, or it cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no whole snapshot in the folder.
    #[error("there is no whole snapshot in {}", .0.display())]
    None(PathBuf),
    /// The file is damaged, at a byte that is named, or of another format.
    #[error(transparent)]
    Snapshot(SnapshotError),
    /// The answer could not be written.
    #[error("cannot write the answer")]
    Answer(#[from] io::Error),
}

/// A snapshot, or the newest whole one of a data directory.
fn open(path: &Path) -> Result<Snapshot, SnapshotCommandError> {
    match path.is_dir() {
        false => Ok(Snapshot::open(path)?),
        true => {
            let newest = Snapshot::newest_in(path)?;
            newest.ok_or_else(|| SnapshotCommandError::None(path.to_owned()))
        }
    }
}

/// Verifies all of a file and says in one line that it is whole; what is wrong is the error.
pub fn verify(path: &Path, out: &mut impl Write) -> Result<(), SnapshotCommandError> {
    let snapshot = open(path)?;
    let totals = snapshot.totals();
    let users = match snapshot.covered() {
        Some(_) => format!("{} users, ", totals.users),
        None => String::new(),
    };
    writeln!(
        out,
        "{} is whole: {users}{} swarms, {} peers, {} bytes in {} frames",
        snapshot.path().display(),
        totals.swarms,
        totals.peers(),
        snapshot.bytes(),
        totals.frames,
    )?;
    Ok(())
}

/// Verifies a file and describes it: when and by whom it was written, what it holds, how old its
/// peers were, its largest swarms. `now` tells how long ago that was.
///
/// Reads the file three times; the memory is for the swarms that go over several frames.
pub fn inspect(
    path: &Path,
    now: Seconds,
    out: &mut impl Write,
) -> Result<(), SnapshotCommandError> {
    let snapshot = open(path)?;
    let survey = Survey::of(&snapshot)?;
    let (meta, totals, peers) = (snapshot.meta(), snapshot.totals(), snapshot.totals().peers());
    let covered = snapshot.covered();

    writeln!(out, "file        {}", snapshot.path().display())?;
    writeln!(out, "format      {}, written by margay {}", snapshot.format(), snapshot.version())?;
    if let Some(Covered { journal, position }) = covered {
        writeln!(
            out,
            "tracker     private; it goes on with record {position} of journal {journal:016x}"
        )?;
        writeln!(out, "users       {}", totals.users)?;
        writeln!(out, "clients     {} rules", totals.client_rules)?;
        writeln!(out, "tokens      {}", totals.tokens)?;
        writeln!(out, "removed     {} torrents", totals.deletions)?;
    }
    let when = match meta.written_at {
        past if past <= now => format!("{} ago", span(now - past)),
        future => format!("{} in the future", span(future - now)),
    };
    writeln!(out, "written     {} ({when})", date(meta.written_at))?;
    writeln!(out, "interval    {}", span(meta.interval))?;
    writeln!(out, "timeout     {}", span(meta.peer_timeout))?;
    write!(out, "size        {} bytes in {} frames", snapshot.bytes(), totals.frames)?;
    match peers {
        0 => writeln!(out)?,
        peers => writeln!(out, ", {:.1} bytes a peer", snapshot.bytes() as f64 / peers as f64)?,
    }
    writeln!(out, "swarms      {} ({} without peers)", totals.swarms, survey.empty)?;
    let (v4, v6) = (totals.peers_v4, totals.peers_v6);
    match covered {
        None => writeln!(out, "peers       {peers} ({v4} over IPv4, {v6} over IPv6)")?,
        Some(_) => writeln!(out, "peers       {peers} ({v6} of them with IPv6)")?,
    }
    let leechers = peers - survey.seeders - survey.partial_seeds;
    writeln!(out, "  seeders        {}", survey.seeders)?;
    writeln!(out, "  partial seeds  {}", survey.partial_seeds)?;
    writeln!(out, "  leechers       {leechers}")?;
    writeln!(out, "snatches    {}", totals.snatches)?;
    if let (Some(newest), Some(oldest)) = (survey.newest, survey.oldest) {
        let before = |seen| span(meta.written_at - seen);
        writeln!(out, "last seen   {} to {} before", before(newest), before(oldest))?;
    }
    if !survey.largest.is_empty() {
        let peers = if covered.is_some() { "peers" } else { "endpoints" };
        writeln!(out, "largest swarms, in {peers}")?;
        for (peers, info_hash) in &survey.largest {
            writeln!(out, "  {peers:>10}  {info_hash}")?;
        }
    }
    Ok(())
}

/// The figures that the totals of a snapshot do not give.
#[derive(Default, Debug)]
struct Survey {
    empty: u64,
    seeders: u64,
    partial_seeds: u64,
    newest: Option<Seconds>,
    oldest: Option<Seconds>,
    /// Largest first.
    largest: Vec<(u64, InfoHash)>,
}

impl Survey {
    fn of(snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        // A first pass finds the few swarms that come in parts, so that the second can add them up
        // without remembering all the others.
        let mut in_parts: HashMap<InfoHash, u64> = HashMap::new();
        snapshot.for_each_swarm(|part| {
            if part.continued {
                in_parts.insert(part.info_hash, 0);
            }
        })?;
        let mut survey = Self::default();
        snapshot.for_each_swarm(|part| {
            survey.add(&part);
            let peers = (part.peers_v4 + part.peers_v6) as u64;
            match in_parts.get_mut(&part.info_hash) {
                Some(sum) => *sum += peers,
                None => survey.rank(peers, part.info_hash),
            }
        })?;
        in_parts.into_iter().for_each(|(info_hash, peers)| survey.rank(peers, info_hash));
        Ok(survey)
    }

    fn add(&mut self, part: &SwarmFigures) {
        self.seeders += part.seeders as u64;
        self.partial_seeds += part.partial_seeds as u64;
        self.newest = self.newest.max(part.newest);
        self.oldest = match (self.oldest, part.oldest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// Counts a whole swarm and keeps it when it is among the largest.
    fn rank(&mut self, peers: u64, info_hash: InfoHash) {
        if peers == 0 {
            self.empty += 1;
            return;
        }
        let at = self.largest.partition_point(|(other, _)| *other >= peers);
        if at < LARGEST_MAX {
            self.largest.insert(at, (peers, info_hash));
            self.largest.truncate(LARGEST_MAX);
        }
    }
}

impl From<SnapshotError> for SnapshotCommandError {
    fn from(error: SnapshotError) -> Self {
        match error {
            // The remedies of the start are none here.
            SnapshotError::Read { path, source } => Self::Read { path, source },
            error => Self::Snapshot(error),
        }
    }
}

/// A span in its two largest units, as `5 min 20 s`.
pub(crate) fn span(span: Seconds) -> String {
    match span.0 {
        s @ ..60 => format!("{s} s"),
        s @ ..3600 if s % 60 == 0 => format!("{} min", s / 60),
        s @ ..3600 => format!("{} min {} s", s / 60, s % 60),
        s @ ..86_400 if s % 3600 < 60 => format!("{} h", s / 3600),
        s @ ..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        s => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// A moment as date and time in UTC: the Gregorian calendar, counted in eras of 400 years that
/// begin on 1 March, so that the leap day comes last.
pub(crate) fn date(moment: Seconds) -> String {
    const DAYS_FROM_ERA_TO_1970: u32 = 719_468;
    let (days, second) = (moment.0 / 86_400 + DAYS_FROM_ERA_TO_1970, moment.0 % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year + u32::from(month <= 2);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use persist::snapshot::FORMAT;
    use std::fs;
    use std::net::{Ipv4Addr, Ipv6Addr};

    use persist::{DataDir, Meta, Mode, SnapshotWriter};
    use shard::private::{
        self, ClientPrefix, Freeleech, Passkey, Terms, TokenRecord, TorrentId, TorrentRecord, User,
        UserId,
    };
    use shard::{ClientTag, PeerRecord, PeerState, Piece, SwarmRecord};

    use super::*;

    const WRITTEN_AT: Seconds = Seconds(1_800_000_000);

    /// Three swarms: 20,000 IPv4 seeders (more than a frame holds), one IPv6 leecher, nobody.
    fn sample(dir: &Path) -> PathBuf {
        fn peer<A>(address: A, port: u16, state: PeerState) -> PeerRecord<A> {
            let last_seen = WRITTEN_AT - Seconds(u32::from(port) % 100 * 4);
            PeerRecord { address, port, client: ClientTag::default(), state, last_seen }
        }
        let swarm = |first, snatches, peers_v4, peers_v6| SwarmRecord {
            info_hash: InfoHash([first; 20]),
            snatches,
            peers_v4,
            peers_v6,
        };
        let piece = Piece {
            swarms: vec![swarm(0xaa, 7, 20_000, 0), swarm(0xbb, 0, 0, 1), swarm(0xcc, 3, 0, 0)],
            peers_v4: (0..20_000)
                .map(|port| peer(Ipv4Addr::LOCALHOST, port, PeerState::Seeder))
                .collect(),
            peers_v6: vec![peer(Ipv6Addr::LOCALHOST, 1, PeerState::Leecher)],
        };
        let data = DataDir::open(dir).unwrap();
        let meta = Meta {
            written_at: WRITTEN_AT,
            interval: Seconds(1800),
            peer_timeout: Seconds(4000),
            mode: Mode::Open,
        };
        let mut writer = SnapshotWriter::create(&data, meta).unwrap();
        writer.append(&piece).unwrap();
        writer.finish().unwrap().path
    }

    /// Runs `test` with a directory of its own.
    fn with_dir(name: &str, test: impl FnOnce(&Path)) {
        let dir = std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        test(&dir);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn inspect_describes_a_file() {
        with_dir("inspect", |dir| {
            let file = sample(dir);
            let mut out = Vec::new();
            inspect(&file, WRITTEN_AT + Seconds(320), &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            let bytes = fs::metadata(&file).unwrap().len();
            let version = env!("CARGO_PKG_VERSION");
            let expected = format!(
                "file        {}
format      {FORMAT}, written by margay {version}
written     2027-01-15 08:00:00 UTC (5 min 20 s ago)
interval    30 min
timeout     1 h 6 min
size        {bytes} bytes in 2 frames, {:.1} bytes a peer
swarms      3 (1 without peers)
peers       20001 (20000 over IPv4, 1 over IPv6)
  seeders        20000
  partial seeds  0
  leechers       1
snatches    10
last seen   0 s to 6 min 36 s before
largest swarms, in endpoints
       20000  {}
           1  {}
",
                file.display(),
                bytes as f64 / 20_001.0,
                "aa".repeat(20),
                "bb".repeat(20),
            );
            assert_eq!(out, expected);
        });
    }

    #[test]
    fn inspect_describes_a_private_tracker_without_its_secrets() {
        with_dir("inspect-private", |dir| {
            let passkey = "0123456789abcdefghijABCDEFGHIJxy";
            let data = DataDir::open(dir).unwrap();
            let meta = Meta {
                written_at: WRITTEN_AT,
                interval: Seconds(1800),
                peer_timeout: Seconds(4000),
                mode: Mode::Private(Covered { journal: 0xabc, position: 123 }),
            };
            let mut writer = SnapshotWriter::create(&data, meta).unwrap();
            let user = User { id: UserId(5), can_leech: true, hidden: true, group: None };
            writer.append_user(&Passkey::new(passkey.as_bytes()).unwrap(), user, true).unwrap();
            writer.append_rule(&ClientPrefix::new(b"-XX").unwrap(), false).unwrap();
            let terms = Terms { id: TorrentId(9), freeleech: Freeleech::Free, upload_percent: 100 };
            let info_hash = InfoHash([0xaa; 20]);
            writer
                .append_private(&private::Piece {
                    torrents: vec![TorrentRecord {
                        info_hash,
                        terms,
                        balance: -5,
                        snatches: 4,
                        peers: 0,
                        tokens: 1,
                    }],
                    tokens: vec![TokenRecord { user: UserId(5), expires_at: None }],
                    ..private::Piece::default()
                })
                .unwrap();
            let file = writer.finish().unwrap().path;
            let mut out = Vec::new();
            inspect(&file, WRITTEN_AT, &mut out).unwrap();
            verify(&file, &mut out).unwrap();
            let out = String::from_utf8(out).unwrap();
            for line in [
                "tracker     private; it goes on with record 123 of journal 0000000000000abc\n",
                "users       1\n",
                "clients     1 rules\n",
                "tokens      1\n",
                "removed     0 torrents\n",
                "swarms      1 (1 without peers)\n",
                "peers       0 (0 of them with IPv6)\n",
                "is whole: 1 users, 1 swarms, 0 peers, ",
            ] {
                assert!(out.contains(line), "{line}{out}");
            }
            assert!(!out.contains(&passkey[..8]), "{out}");
        });
    }

    #[test]
    fn verify_says_that_a_file_is_whole_or_what_is_wrong_where() {
        with_dir("verify", |dir| {
            let file = sample(dir);
            let mut out = Vec::new();
            verify(&file, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains("is whole: 3 swarms, 20001 peers"), "{text}");

            let mut bytes = fs::read(&file).unwrap();
            bytes[100] ^= 4;
            fs::write(&file, &bytes).unwrap();
            let error = verify(&file, &mut Vec::new()).unwrap_err().to_string();
            assert!(
                error.ends_with("damaged: the checksum of the frame at byte 64 is wrong"),
                "{error}"
            );

            let missing = dir.join("missing");
            let error = verify(&missing, &mut Vec::new()).unwrap_err();
            assert!(matches!(error, SnapshotCommandError::Read { .. }), "{error:?}");
            assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
        });
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (68_169_599, "1972-02-28 23:59:59 UTC"),
            (68_169_600, "1972-02-29 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (u32::MAX, "2106-02-07 06:28:15 UTC"),
        ] {
            assert_eq!(date(Seconds(seconds)), text);
        }
    }

    #[test]
    fn spans_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "1 min 1 s"),
            (3600, "1 h"),
            (5400, "1 h 30 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(Seconds(seconds)), text);
        }
    }
}
