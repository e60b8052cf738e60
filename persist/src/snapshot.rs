//! Snapshots: all swarms of a tracker in one file, from which it starts again.
//!
//! Writing: every core exports its shard in pieces, one thread appends them to a
//! [`SnapshotWriter`]. Starting: [`Snapshot::open_newest`] finds the newest file that is whole,
//! then every core's thread calls [`Snapshot::restore`] for the swarms it owns. A file does not
//! know how many cores wrote it.
//!
//! A private tracker's has its users, client rules, registered torrents, tokens and baselines as well,
//! and says up to where of the journal it goes: what came after is replayed ([`Snapshot::covered`]).

mod columns;
mod deletions;
mod encoder;
mod files;
mod format;
mod formers;
mod frames;
mod grace;
mod groups;
mod hybrids;
mod private;
mod rules;
#[cfg(test)]
mod tests;
mod torrents;
mod users;
mod writer;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use shard::private::TorrentRecord;
use shard::{InfoHash, PeerRecord, PeerState, Refusal, Seconds, Shard};

pub use files::KEPT;
pub use format::{Covered, FORMAT, FORMAT_OLDEST, Meta, Mode, Totals};
pub use frames::Damage;
pub use grace::{DOWNTIME_MAX, Grace};
pub use writer::{SnapshotWriter, Written};

use crate::data_dir::DataDir;
use columns::{Part, View};
use files::Files;
use frames::{Content, Fault, Frames};

/// A whole snapshot file, verified from its first to its last byte.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    /// Kept open: what is restored is what was verified, whatever happens to the name.
    file: File,
    bytes: u64,
    meta: Meta,
    format: u32,
    version: String,
    totals: Totals,
}

/// What went wrong with a snapshot. Whoever reports it prints the source too.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file or the directory cannot be read; it may be fine.
    #[error(
        "cannot read snapshot {path}; mend that, move the file away to use the one before it, or \
         pass --fresh to start with empty swarms"
    )]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is of a format this program does not know.
    #[error(
        "snapshot {path} has format {found}, and this margay reads {FORMAT_OLDEST} to {FORMAT}; start margay \
         {version}, which wrote it, move the file away to use the one before it, or pass --fresh \
         to start with empty swarms"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The program version that wrote it.
        version: String,
    },
    /// A file is of a tracker of the other kind.
    #[error(
        "snapshot {path} is of a tracker that is {found}, and this one is {this}; give each a data directory \
         of its own, or pass --fresh to leave aside what is in this one"
    )]
    Mode {
        /// The file.
        path: PathBuf,
        /// What wrote it: `open` or `private`.
        found: &'static str,
        /// What reads it.
        this: &'static str,
    },
    /// The journal in the data directory is not the one that the snapshot goes on in.
    #[error(
        "snapshot {path} goes on in journal {found:016x}, and the journal here is {journal:016x}; put \
         the other one back, or pass --fresh: then the first announce of every client is not credited"
    )]
    Journal {
        /// The file.
        path: PathBuf,
        /// The id of its journal.
        found: u64,
        /// The id of the journal that is there.
        journal: u64,
    },
    /// A file is not, or no longer, a whole snapshot.
    #[error("snapshot {path} is damaged: {damage}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        damage: Damage,
    },
    /// A new snapshot cannot be written; older ones are as they were.
    #[error("cannot write snapshot {path}; the snapshots before it stay as they are")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a shard got from a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Swarms the shard has gained.
    pub swarms: usize,
    /// IPv4 endpoints it has gained; in the private mode, clients without an IPv6 address.
    pub peers_v4: usize,
    /// IPv6 endpoints it has gained; in the private mode, clients with an IPv6 address.
    pub peers_v6: usize,
    /// Endpoints that had timed out; all of them after [`DOWNTIME_MAX`].
    pub timed_out: usize,
    /// Entries of swarms that did not fit into the shard's limits, at least in part.
    pub refused: usize,
    /// Tokens it has gained, in the private mode.
    pub tokens: usize,
    /// Removed torrents it has gained, in the private mode.
    pub deletions: usize,
}

/// One swarm of a snapshot in figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SwarmFigures {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Completed downloads.
    pub snatches: u32,
    /// This is a further part of a swarm that came before; `snatches` is the same again.
    pub continued: bool,
    /// IPv4 endpoints of this part; in the private mode, clients without an IPv6 address.
    pub peers_v4: usize,
    /// IPv6 endpoints of this part; in the private mode, clients with an IPv6 address.
    pub peers_v6: usize,
    /// Endpoints that have everything.
    pub seeders: usize,
    /// Endpoints that want nothing more.
    pub partial_seeds: usize,
    /// The latest announce; `None` without peers.
    pub newest: Option<Seconds>,
    /// The earliest of the last announces; `None` without peers.
    pub oldest: Option<Seconds>,
}

impl Snapshot {
    /// Opens the newest whole snapshot of a data directory; `None` when there is none.
    ///
    /// A damaged file is logged, renamed to `….damaged` and passed over; the two newest damaged
    /// files are kept. A file that cannot be read, or is of an unknown format, is an error: going
    /// on would throw away swarms that may be fine.
    pub fn open_newest(dir: &DataDir) -> Result<Option<Self>, SnapshotError> {
        let path = dir.path();
        let files = Files::list(path)
            .map_err(|source| SnapshotError::Read { path: path.to_owned(), source })?;
        for (at, name) in files.whole.iter().enumerate() {
            let damage = match Self::open(name.path(path)) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(SnapshotError::Damaged { damage, .. }) => damage,
                Err(error) => return Err(error),
            };
            let aside = name
                .put_aside(path, &files.whole[..at])
                .and_then(|aside| dir.sync().map(|()| aside));
            let next = match files.whole.get(at + 1) {
                Some(next) => format!("trying the one before it, {next}"),
                None => "there is no other, so the tracker starts with empty swarms".to_owned(),
            };
            match aside {
                Ok(aside) => tracing::error!(
                    "snapshot {name} is damaged: {damage}; kept as {}; {next}",
                    aside.display()
                ),
                Err(error) => tracing::error!(
                    "snapshot {name} is damaged: {damage}; it cannot be put aside: {error}; {next}"
                ),
            }
        }
        Ok(None)
    }

    /// Opens the newest whole snapshot in a folder, of which another part of the process, or another process,
    /// may be the owner: nothing is put aside. `None` when there is none.
    pub fn newest_in(dir: &Path) -> Result<Option<Self>, SnapshotError> {
        let read = |source| SnapshotError::Read { path: dir.to_owned(), source };
        for name in Files::list(dir).map_err(read)?.whole {
            match Self::open(name.path(dir)) {
                Err(SnapshotError::Damaged { .. }) => {}
                result => return result.map(Some),
            }
        }
        Ok(None)
    }

    /// Opens one file and verifies all of it: checksums, archives, totals. Reads the file once; the
    /// memory is a buffer of at most half a megabyte.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, SnapshotError> {
        let path = path.into();
        let file = File::open(&path)
            .map_err(|source| SnapshotError::Read { path: path.clone(), source })?;
        let verify = || {
            let mut frames = Frames::new(Cursor::start(&file))?;
            while frames.next_content()?.is_some() {}
            Ok(frames.summary())
        };
        let (header, totals, bytes) = verify().map_err(|fault| fault_of(&path, fault))?;
        let (meta, format, version) = (header.meta, header.format, header.version());
        Ok(Self { path, file, bytes, meta, format, version, totals })
    }

    /// Where the file was when it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the tracker said about itself when it wrote the file.
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// The format of the file.
    pub fn format(&self) -> u32 {
        self.format
    }

    /// The program version that wrote the file.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What the file holds.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The rule by which peers come over when this process takes over from another one at `now`.
    pub fn grace_of_hand_over(&self, now: Seconds) -> Grace {
        Grace::handed_over(self.meta, now)
    }

    /// The rule by which peers come back when the tracker starts at `now`; all cores use the same
    /// one. Logs when the snapshot is too old for its peers, or younger than the clock says.
    pub fn grace(&self, now: Seconds) -> Grace {
        let grace = Grace::new(self.meta, now);
        let path = self.path.display();
        if grace.is_over() {
            tracing::warn!(
                "snapshot {path} is {} hours old: after {} hours peers are not restored, only the \
                 swarms' snatch counts",
                grace.downtime().0 / 3600,
                DOWNTIME_MAX.0 / 3600,
            );
        } else if now < self.meta.written_at {
            tracing::warn!(
                "snapshot {path} was written {} s in the future: the clock has been set back; \
                 peers are restored as if no time had passed",
                (self.meta.written_at - now).0,
            );
        }
        grace
    }

    /// Imports the swarms for which `owns` is true, with the peers that `grace` lets through.
    ///
    /// Reads and checks the file once more, with a buffer of at most half a megabyte, so that many
    /// threads can restore their own shards from one snapshot at the same time. A swarm without
    /// peers and snatches is left out. What does not fit into the shard's limits is counted.
    ///
    /// After an error (the file changed under our feet, or the disk fails) the shard has a part of
    /// its swarms and must not be used.
    pub fn restore(
        &self,
        grace: &Grace,
        owns: impl Fn(&InfoHash) -> bool,
        shard: &mut Shard,
    ) -> Result<Restored, SnapshotError> {
        self.expect_private(false)?;
        let before = shard.totals();
        let mut restored = Restored::default();
        self.read(|content| {
            if let Content::Swarms(view) = content {
                for part in view.parts().filter(|part| owns(&part.info_hash)) {
                    import(view, part, grace, shard, &mut restored);
                }
            }
            true
        })?;
        let after = shard.totals();
        restored.swarms = after.swarms.saturating_sub(before.swarms);
        restored.peers_v4 = after.peers_v4.saturating_sub(before.peers_v4);
        restored.peers_v6 = after.peers_v6.saturating_sub(before.peers_v6);
        Ok(restored)
    }

    /// Shows every swarm in the order of the file; a large one in several parts.
    pub fn for_each_swarm(&self, mut visit: impl FnMut(SwarmFigures)) -> Result<(), SnapshotError> {
        self.read(|content| {
            content.figures(&mut visit);
            true
        })
    }
}

/// Verifies a snapshot from any stream, and says what it holds: what [`Snapshot::open`] does with a
/// file. For fuzzing and for tests.
pub fn verify(stream: impl Read) -> Result<(Meta, Totals), SnapshotError> {
    let verify = || {
        let mut frames = Frames::new(stream)?;
        while let Some(content) = frames.next_content()? {
            content.figures(&mut |_| {});
            content.look();
        }
        let (header, totals, _) = frames.summary();
        Ok((header.meta, totals))
    };
    verify().map_err(|fault| fault_of(Path::new("(stream)"), fault))
}

fn import(view: View<'_>, part: Part, grace: &Grace, shard: &mut Shard, restored: &mut Restored) {
    let timed_out = Cell::new(0);
    let v4 = believed(view.peers_v4(part.v4.clone()), grace, &timed_out);
    let v6 = believed(view.peers_v6(part.v6.clone()), grace, &timed_out);
    let (mut v4, mut v6) = (v4.peekable(), v6.peekable());
    // Both are looked at, so that the peers that timed out are counted in both.
    let peers = v4.peek().is_some() | v6.peek().is_some();
    if peers || part.snatches > 0 {
        let imported =
            shard.import(part.info_hash, part.snatches, v4.by_ref(), v6.by_ref(), grace.now());
        match imported {
            Ok(()) => {}
            Err(Refusal::SwarmsMax | Refusal::PeersMax) => restored.refused += 1,
        }
    }
    restored.timed_out += timed_out.get();
}

/// The peers that `grace` lets through, with the time it gives them.
fn believed<A>(
    peers: impl Iterator<Item = PeerRecord<A>>,
    grace: &Grace,
    timed_out: &Cell<usize>,
) -> impl Iterator<Item = PeerRecord<A>> {
    peers.filter_map(|peer| match grace.last_seen(peer.last_seen) {
        Some(last_seen) => Some(PeerRecord { last_seen, ..peer }),
        None => {
            timed_out.set(timed_out.get() + 1);
            None
        }
    })
}

impl Content<'_> {
    /// Shows its swarms in figures.
    fn figures(&self, visit: &mut impl FnMut(SwarmFigures)) {
        match *self {
            Content::Swarms(view) => {
                for part in view.parts() {
                    let mut figures =
                        SwarmFigures::new(part.info_hash, part.snatches, part.continued);
                    for peer in view.peers_v4(part.v4) {
                        figures.add(false, peer.state, peer.last_seen);
                    }
                    for peer in view.peers_v6(part.v6) {
                        figures.add(true, peer.state, peer.last_seen);
                    }
                    visit(figures);
                }
            }
            Content::Torrents(view) => {
                for part in view.parts() {
                    let TorrentRecord { info_hash, snatches, .. } = part.record;
                    let mut figures = SwarmFigures::new(info_hash, snatches, part.continued);
                    for peer in view.peers(part.peers) {
                        figures.add(peer.endpoints.v6.is_some(), peer.state, peer.seen);
                    }
                    visit(figures);
                }
            }
            Content::Users(_)
            | Content::Groups(_)
            | Content::Formers(_)
            | Content::Rules(_)
            | Content::Deletions(_)
            | Content::Hybrids(_) => {}
        }
    }

    /// Reads what is not in figures.
    fn look(&self) {
        match *self {
            Content::Users(view) => _ = view.users().count(),
            Content::Groups(view) => _ = view.groups().count(),
            Content::Formers(view) => _ = view.formers().count(),
            Content::Rules(view) => _ = view.rules().count(),
            Content::Deletions(view) => _ = view.deletions().count(),
            Content::Hybrids(view) => _ = view.hybrids().count() + view.named().count(),
            Content::Torrents(view) => {
                view.parts().for_each(|part| _ = view.tokens(part.tokens).count());
            }
            Content::Swarms(_) => {}
        }
    }
}

impl SwarmFigures {
    fn new(info_hash: InfoHash, snatches: u32, continued: bool) -> Self {
        Self {
            info_hash,
            snatches,
            continued,
            peers_v4: 0,
            peers_v6: 0,
            seeders: 0,
            partial_seeds: 0,
            newest: None,
            oldest: None,
        }
    }

    fn add(&mut self, v6: bool, state: PeerState, seen: Seconds) {
        self.peers_v4 += usize::from(!v6);
        self.peers_v6 += usize::from(v6);
        self.seeders += usize::from(state == PeerState::Seeder);
        self.partial_seeds += usize::from(state == PeerState::PartialSeed);
        self.newest = self.newest.max(Some(seen));
        self.oldest = Some(self.oldest.map_or(seen, |oldest| oldest.min(seen)));
    }
}

/// A reader with a place of its own in a file that many read at once.
struct Cursor<'a> {
    file: &'a File,
    offset: u64,
}

impl<'a> Cursor<'a> {
    fn start(file: &'a File) -> Self {
        Self { file, offset: 0 }
    }
}

impl Read for Cursor<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(bytes, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

fn fault_of(path: &Path, fault: Fault) -> SnapshotError {
    let path = path.to_owned();
    match fault {
        Fault::Io(source) => SnapshotError::Read { path, source },
        Fault::Format { found, version } => SnapshotError::Format { path, found, version },
        Fault::Damage(damage) => SnapshotError::Damaged { path, damage },
    }
}
