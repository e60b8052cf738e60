//! A run of reports that go on from each other.

use std::net::IpAddr;

use super::{Addresses, Report, SKEW, Stamp, WINDOW, goes_on};
use crate::Event;
use crate::private::Counters;

/// Raises of a line that are remembered. A client that moves on more often than this within [`WINDOW`] is
/// taken to begin anew where it says something older than these.
pub const RAISES_MAX: usize = 16;

/// Reports of one client that go on from each other, from a first one whose counters are the baseline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Where its reports came from.
    pub addresses: Addresses,
    /// Lines that follow each other at the same addresses have the same host.
    pub host: u32,
    /// The stamp of its first report.
    pub begin: Stamp,
    /// Its first report had nothing left to download.
    pub seeded: bool,
    /// The counters it has come to.
    pub last: Counters,
    /// The newest stamp of a report that went on.
    pub heard: Stamp,
    /// How it came there: steps within [`WINDOW`], the oldest first, at most [`RAISES_MAX`].
    pub raises: Vec<Raise>,
    /// Its last `started`.
    pub started: Option<Said>,
    /// When it said `stopped`, unless it went on after it.
    pub stopped: Option<Stamp>,
    /// A `started` of which it is not known yet whether it was said again or begins anew.
    pub doubtful: Option<Said>,
    /// Another line has taken its place.
    pub ended: bool,
}

/// A step of a line: its counters before it, and when it was heard of. It leads to the next step, or to what the line
/// has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raise {
    /// When the report was heard that took the line beyond `before`.
    pub stamp: Stamp,
    /// Where the line was until then.
    pub before: Counters,
}

/// A `started`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Said {
    /// When it was heard.
    pub stamp: Stamp,
    /// With which counters.
    pub counters: Counters,
}

impl Line {
    /// A line that begins with a report, at these counters.
    pub(super) fn new(report: &Report, host: u32, begin: Said) -> Self {
        let mut addresses = Addresses::default();
        addresses.meet(report.address);
        Self {
            addresses,
            host,
            begin: begin.stamp,
            seeded: report.left == 0,
            last: begin.counters,
            heard: begin.stamp,
            raises: Vec::new(),
            started: (report.event == Event::Started || begin.stamp != report.stamp)
                .then_some(begin),
            stopped: None,
            doubtful: None,
            ended: false,
        }
    }

    /// The line of a peer that said this last, and before that only what was heard long ago.
    pub(crate) fn of_peer(addresses: Addresses, last: Counters, heard: Stamp) -> Self {
        Self {
            addresses,
            host: 0,
            begin: Stamp::default(),
            seeded: false,
            last,
            heard,
            raises: Vec::new(),
            started: None,
            stopped: None,
            doubtful: None,
            ended: false,
        }
    }

    /// It is as if it had come long ago to where it is, and had been heard of now.
    pub(super) fn forget_moments(&mut self, now: Stamp) {
        self.begin = Stamp::default();
        self.heard = self.heard.min(now);
        self.raises.clear();
        (self.started, self.doubtful) = (None, None);
        self.stopped = self.stopped.map(|_| Stamp::default());
    }

    /// Whether a report goes on from it.
    #[inline]
    pub(super) fn is_before(&self, report: &Report) -> bool {
        goes_on(&self.last, &report.counters)
    }

    /// Whether a report is an older one that comes late: the line passed its counters at most [`WINDOW`]
    /// ago, and was below both of them before and above both after.
    ///
    /// A `started` that says the same as a report of the line is a copy of that one, and as old.
    pub(super) fn is_late(&self, report: &Report) -> bool {
        let after = self.raises.iter().skip(1).map(|raise| &raise.before).chain([&self.last]);
        self.raises.iter().zip(after).any(|(raise, after)| {
            let lies_between =
                goes_on(&raise.before, &report.counters) && goes_on(&report.counters, after);
            let as_old = report.event == Event::Started && same(&raise.before, &report.counters);
            report.stamp.since(raise.stamp) <= WINDOW && lies_between && !as_old
        })
    }

    /// Whether a report is a copy of the last one, and not long after it.
    pub(super) fn is_said_last(&self, report: &Report) -> bool {
        let heard = self.stopped.map_or(self.heard, |stopped| stopped.max(self.heard));
        let can_be = report.event != Event::Stopped || self.stopped.is_some();
        can_be && same(&self.last, &report.counters) && report.stamp.since(heard) <= WINDOW
    }

    /// Whether a `started` with lower counters is one said again: late, or soon after the line began or said
    /// so, and before it stopped or hardly later.
    pub(super) fn is_said_again(&self, report: &Report) -> bool {
        let started = self.started.map_or(self.begin, |started| started.stamp.max(self.begin));
        let soon = report.stamp.since(started) <= WINDOW;
        let has_stopped = self.stopped.is_some_and(|stopped| report.stamp.since(stopped) > SKEW);
        report.event == Event::Started && (soon || self.is_late(report)) && !has_stopped
    }

    /// Whether a report can be one of this line.
    pub(super) fn fits(&self, report: &Report) -> bool {
        self.is_before(report) || self.is_late(report) || self.is_said_again(report)
    }

    /// Takes the line to where a report that goes on says it is.
    pub(super) fn go_on(&mut self, report: &Report) {
        if !same(&self.last, &report.counters) {
            self.raises.retain(|raise| report.stamp.since(raise.stamp) <= WINDOW);
            if self.raises.len() == RAISES_MAX {
                self.raises.remove(0);
            }
            self.raises.push(Raise { stamp: report.stamp, before: self.last });
        }
        self.last = report.counters;
        self.heard = self.heard.max(report.stamp);
        self.addresses.meet(report.address);
    }

    pub(super) fn knows(&self, address: IpAddr) -> bool {
        self.addresses.have(address)
    }
}

/// Whether both say the same; corrupt data does not matter.
#[inline]
pub(crate) fn same(one: &Counters, other: &Counters) -> bool {
    (one.uploaded, one.downloaded) == (other.uploaded, other.downloaded)
}
