//! The worth of one client's reports, whoever heard them and in whatever order they arrive.
//!
//! A client (user, torrent, peer id, key) says over and over how much it has moved. [`fold`] puts what it
//! said into *lines*, runs of reports that go on from each other, and credits what lies between two reports
//! of a line, each byte once. It is a pure function: the credit follows from the set of reports and their
//! stamps, whoever wrote them down first. A ledger that several trackers write keeps a [`History`] in a
//! client's row; the engine of one tracker asks the same [`Lines`] about every announce that does not simply
//! go on. The rules are written down in `docs/wire.md`, D5 to D9.

mod line;
mod lines;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::{AddAssign, Sub};

pub use super::Stamp;
use super::{Counters, Endpoints, Freeleech, Terms};
use crate::Event;

pub(crate) use line::same;
pub use line::{Line, RAISES_MAX, Raise, Said};
pub use lines::{Heard, LINES_MAX, Lines, Verdict};

/// How late an announce may come, in milliseconds: what a network holds back, and the clocks of trackers
/// that are not quite right.
pub const WINDOW: u64 = 30_000;

/// How wrong the stamps of two trackers may be that did not hear each other, in milliseconds.
pub const SKEW: u64 = 10_000;

/// The most that one client can move in a second: 100 Gbit/s, the fastest link that a machine of one user
/// has in 2026.
pub const LINE_RATE: u64 = 12_500_000_000;

/// Milliseconds that are taken for elapsed beside those that are: an hour, about twice as long as clients
/// wait. A clock that was put back, or a journal that took nothing for a while, hides as much.
pub const GRACE: u64 = 3_600_000;

/// The largest counter: what the database and most clients can count to. One above it is this.
pub const COUNTER_MAX: u64 = i64::MAX as u64;

/// Reports kept in a [`History`] above the horizon. With more the oldest is settled before its time.
pub const KEPT_MAX: usize = 64;

/// The factors by which moved bytes count, as the tracker knew them that heard of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Factors {
    /// The factor of uploads, in percent.
    pub upload_percent: u16,
    /// The factor of downloads, in percent.
    pub download_percent: u16,
    /// A token takes the download over.
    pub token: bool,
}

impl Factors {
    /// The factors on a torrent with these terms, for a user with or without a token for it.
    #[inline]
    pub fn of(terms: &Terms, token: bool) -> Self {
        match terms.freeleech {
            Freeleech::Neutral => Self { upload_percent: 0, download_percent: 0, token: false },
            Freeleech::Free => {
                Self { upload_percent: terms.upload_percent, download_percent: 0, token }
            }
            Freeleech::None => {
                Self { upload_percent: terms.upload_percent, download_percent: 100, token }
            }
        }
    }

    /// The share of a download that counts, and the share that a token takes over, in percent.
    #[inline]
    pub(crate) fn of_download(self) -> (u16, u16) {
        if self.token { (0, 100) } else { (self.download_percent, 0) }
    }
}

/// An announce of a client, as far as it is about credit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// When it was heard, and by whom.
    pub stamp: Stamp,
    /// Where it came from.
    pub address: IpAddr,
    /// The event.
    pub event: Event,
    /// Bytes left to download; 0 is a seeder.
    pub left: u64,
    /// The counters that the client says it has moved; at most [`COUNTER_MAX`] each.
    pub counters: Counters,
    /// The factors by which they count.
    pub factors: Factors,
    /// Where the newest line of the client begins that the tracker knew of, its own and what others told it.
    pub after: Option<Stamp>,
}

/// A sum of credit, or the difference of two. Parts of a byte are kept, so that sums do not depend on where
/// a client happened to announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Credit {
    /// Bytes uploaded, before any factor.
    pub uploaded: i128,
    /// Bytes downloaded, before any factor.
    pub downloaded: i128,
    /// Bytes received and thrown away.
    pub corrupt: i128,
    /// Hundredths of a byte for the user's upload.
    pub up: i128,
    /// Hundredths of a byte for the user's download.
    pub down: i128,
    /// Hundredths of a byte that a token took over.
    pub token_down: i128,
    /// Completed downloads; at most one in a client's life.
    pub snatches: i32,
}

impl Credit {
    /// The credit for these bytes.
    #[inline]
    pub fn of(moved: &Counters, factors: &Factors) -> Self {
        let (uploaded, downloaded) = (i128::from(moved.uploaded), i128::from(moved.downloaded));
        let (down, token_down) = factors.of_download();
        Self {
            uploaded,
            downloaded,
            corrupt: i128::from(moved.corrupt),
            up: uploaded * i128::from(factors.upload_percent),
            down: downloaded * i128::from(down),
            token_down: downloaded * i128::from(token_down),
            snatches: 0,
        }
    }

    /// The bytes of one report, before any factor.
    pub(crate) fn moved(&self) -> Counters {
        let bytes = |bytes: i128| u64::try_from(bytes).unwrap_or(0);
        Counters {
            uploaded: bytes(self.uploaded),
            downloaded: bytes(self.downloaded),
            corrupt: bytes(self.corrupt),
        }
    }
}

impl AddAssign for Credit {
    fn add_assign(&mut self, more: Self) {
        self.uploaded += more.uploaded;
        self.downloaded += more.downloaded;
        self.corrupt += more.corrupt;
        self.up += more.up;
        self.down += more.down;
        self.token_down += more.token_down;
        self.snatches += more.snatches;
    }
}

impl Sub for Credit {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        Self {
            uploaded: self.uploaded - less.uploaded,
            downloaded: self.downloaded - less.downloaded,
            corrupt: self.corrupt - less.corrupt,
            up: self.up - less.up,
            down: self.down - less.down,
            token_down: self.token_down - less.token_down,
            snatches: self.snatches - less.snatches,
        }
    }
}

/// Adds these reports, in the order of their stamps, to a client of which `lines` is known. Returns the lines after
/// them, and the credit.
pub fn fold(lines: &Lines, reports: &[Report]) -> (Lines, Credit) {
    let (mut lines, mut credit) = (lines.clone(), Credit::default());
    for report in reports {
        credit += lines.hear(report).credit;
    }
    (lines, credit)
}

/// A client's row: its lines as of the horizon, and the reports above it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    lines: Lines,
    reports: Vec<Report>,
}

impl History {
    /// Puts a report in its place; what the client's credit changes by, which may be less than nothing. A
    /// report that is there already changes nothing.
    pub fn add(&mut self, report: Report) -> Credit {
        let Err(at) = self.reports.binary_search_by_key(&report.stamp, |known| known.stamp) else {
            return Credit::default();
        };
        let (_, before) = fold(&self.lines, &self.reports);
        self.reports.insert(at, report);
        let (_, after) = fold(&self.lines, &self.reports);
        if self.reports.len() > KEPT_MAX {
            let oldest = self.reports.remove(0);
            self.lines.hear(&oldest);
        }
        after - before
    }

    /// No report before this moment comes any more: what is below it becomes part of the lines.
    pub fn settle(&mut self, horizon: Stamp) {
        let below = self.reports.partition_point(|report| report.stamp < horizon);
        for report in self.reports.drain(..below) {
            self.lines.hear(&report);
        }
    }

    /// The lines as they are after everything that is known.
    pub fn lines(&self) -> Lines {
        fold(&self.lines, &self.reports).0
    }

    /// Reports that are not settled.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }
}

/// Hundredths of a byte as bytes, rounded down: from nothing to [`COUNTER_MAX`].
#[inline]
pub fn whole_bytes(hundredths: i128) -> u64 {
    match u64::try_from(hundredths) {
        Ok(hundredths) => hundredths / 100,
        Err(_) => (hundredths / 100).clamp(0, i128::from(COUNTER_MAX)) as u64,
    }
}

/// The share of so many bytes that counts, in whole bytes.
#[inline]
pub(crate) fn share(bytes: u64, percent: u16) -> u64 {
    match bytes.checked_mul(u64::from(percent)) {
        Some(hundredths) => hundredths / 100,
        None => whole_bytes(i128::from(bytes) * i128::from(percent)),
    }
}

/// Whether a report continues one before it: neither uploads nor downloads went down.
#[inline]
pub fn goes_on(before: &Counters, after: &Counters) -> bool {
    before.uploaded <= after.uploaded && before.downloaded <= after.downloaded
}

/// The bytes moved from one report to one that goes on from it. Corrupt data may be forgotten meanwhile.
#[inline]
pub fn moved(before: &Counters, after: &Counters) -> Counters {
    debug_assert!(goes_on(before, after));
    Counters {
        uploaded: after.uploaded.wrapping_sub(before.uploaded),
        downloaded: after.downloaded.wrapping_sub(before.downloaded),
        corrupt: after.corrupt.saturating_sub(before.corrupt),
    }
}

/// Bytes that can be moved whenever the announce before was.
const AT_ONCE: u64 = LINE_RATE / 1000 * GRACE;

/// Whether so much may be more than a client can have moved, without a look at the time.
#[inline]
pub(crate) fn is_much(moved: &Counters) -> bool {
    (moved.uploaded | moved.downloaded | moved.corrupt) > AT_ONCE
}

/// Whether no client can have moved so much in so many milliseconds, and [`GRACE`].
pub fn is_impossible(moved: &Counters, elapsed_millis: u64) -> bool {
    let most = moved.uploaded.max(moved.downloaded).max(moved.corrupt);
    most > AT_ONCE && most - AT_ONCE > (LINE_RATE / 1000).saturating_mul(elapsed_millis)
}

/// Whether a counter is above [`COUNTER_MAX`].
#[inline]
pub(crate) fn is_beyond(counters: &Counters) -> bool {
    (counters.uploaded | counters.downloaded | counters.corrupt) > COUNTER_MAX
}

/// Counters that the database can hold.
pub(crate) fn bounded(counters: &Counters) -> Counters {
    Counters {
        uploaded: counters.uploaded.min(COUNTER_MAX),
        downloaded: counters.downloaded.min(COUNTER_MAX),
        corrupt: counters.corrupt.min(COUNTER_MAX),
    }
}

/// Which of its endpoints an announce is taken to come from: one that is known if it can be.
pub(crate) fn address(endpoints: &Endpoints, known: &Addresses) -> IpAddr {
    let (v4, v6) = (endpoints.address_v4(), endpoints.address_v6());
    let own = v4.map(IpAddr::V4).into_iter().chain(v6.map(IpAddr::V6));
    let known_one = own.clone().find(|address| known.have(*address));
    known_one.or_else(|| own.clone().next()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// An address of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// The last IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// The last IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Whether it is one of them.
    #[inline]
    pub fn have(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == Some(v6),
        }
    }

    /// Whether there is one of its family.
    #[inline]
    pub fn have_family_of(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(_) => self.v4.is_some(),
            IpAddr::V6(_) => self.v6.is_some(),
        }
    }

    /// Puts it in the place of the one of its family.
    #[inline]
    pub fn meet(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => self.v4 = Some(v4),
            IpAddr::V6(v6) => self.v6 = Some(v6),
        }
    }
}
