//! All that is known of one client, and what its next report is.

use super::line::{Line, Said, same};
use super::{Credit, Report, SKEW, Stamp, WINDOW, is_impossible, moved};
use crate::Event;

/// Lines kept of one client; the oldest goes when there is one more.
pub const LINES_MAX: usize = 6;

/// The lines of one client, the oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lines {
    /// At most [`LINES_MAX`].
    lines: Vec<Line>,
    /// The client has completed its download, on any line.
    snatched: bool,
    /// Hosts so far.
    hosts: u32,
}

/// The verdict on a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It goes on, and what lies between is credited.
    GoesOn,
    /// A line begins: with it, or with a `started` that was doubtful until now.
    Begins,
    /// An older report that comes late, or a copy. It says nothing of the client as it is now, and credits
    /// nothing but what a line that has ended had moved until then.
    Late,
    /// A `started` that may be one said again. It credits nothing until it is known.
    Doubtful,
    /// It says `stopped` with counters that fit nothing: some clients say zeros. It credits nothing.
    Stops,
    /// It goes on by more than can be moved: it credits nothing, and a line begins with it.
    Impossible,
}

/// The verdict on a report, and its effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// The verdict.
    pub verdict: Verdict,
    /// The credit it adds.
    pub credit: Credit,
    /// Its line, among [`Lines::all`].
    pub line: usize,
}

impl Lines {
    /// A client's lines where this is the only one, and goes on.
    pub(crate) fn one(line: Line) -> Self {
        Self { lines: vec![line], snatched: false, hosts: 1 }
    }

    /// The lines, the oldest first.
    pub fn all(&self) -> &[Line] {
        &self.lines
    }

    /// Whether the client has completed its download.
    pub fn snatched(&self) -> bool {
        self.snatched
    }

    /// Forgets lines that have ended and of which no word can come any more, and those that were silent for
    /// longer than a peer may be. `spoke`: a line of whoever spoke last.
    pub(crate) fn tidy(&mut self, now: Stamp, silent_max: u64, spoke: usize) {
        let host = self.lines[spoke].host;
        let recent = |line: &Line| now.since(line.begin) <= WINDOW;
        let kept: Vec<bool> = (0..self.lines.len())
            .map(|at| {
                let line = &self.lines[at];
                let next = self.lines[at + 1..].iter().find(|next| next.host == line.host);
                let goes_on = line.host == host && next.is_none();
                let over = line.ended && !next.is_some_and(recent);
                goes_on || !over && now.since(line.heard) <= silent_max
            })
            .collect();
        let mut kept = kept.into_iter();
        self.lines.retain(|_| kept.next().unwrap_or(true));
    }

    /// Where the clock was put back since they were heard of, moments do not tell any more what is late: of
    /// each line that goes on is left where it is, and what it has come to.
    pub(crate) fn put_back(&mut self, now: Stamp) {
        if self.lines.iter().any(|line| line.heard.since(now) > WINDOW) {
            self.lines.retain(|line| !line.ended);
            self.lines.iter_mut().for_each(|line| line.forget_moments(now));
        }
    }

    /// Whether somebody elsewhere goes on under the same name.
    pub(crate) fn is_elsewhere(&self, line: &Line) -> bool {
        let mut others = self.lines.iter().filter(|other| other.host != line.host);
        others.any(|other| !other.ended && other.stopped.is_none())
    }

    /// There is one line, and nothing is open about it.
    pub(crate) fn is_plain(&self) -> bool {
        let [line] = &self.lines[..] else { return false };
        line.doubtful.is_none() && line.stopped.is_none() && !line.ended
    }

    /// Takes in the next report; no older one may have been taken in after it.
    pub fn hear(&mut self, report: &Report) -> Heard {
        let mut heard = match self.place(report) {
            Some(at) => self.hear_in(at, report),
            None => self.begin(report),
        };
        let line = &self.lines[heard.line];
        let completes = report.event == Event::Completed && report.left == 0;
        if completes && !self.snatched && !line.seeded {
            (self.snatched, heard.credit.snatches) = (true, 1);
        }
        heard
    }

    /// Which line a report belongs to, if it fits one; or the one that ends with it.
    fn place(&self, report: &Report) -> Option<usize> {
        let Some(met) = self.lines.iter().rposition(|line| line.knows(report.address)) else {
            return self.place_of_stranger(report);
        };
        let host = self.lines[met].host;
        let newest = self.lines.iter().rposition(|line| line.host == host)?;
        let own = &self.lines[newest];
        let before = self.lines[..newest].iter().rposition(|line| line.host == host);
        if let Some(before) = before
            && self.was_said_before(before, own, report)
        {
            return Some(before);
        }
        // Its family is not known to the newest line: it may not have come there yet.
        if met != newest && !own.addresses.have_family_of(report.address) && !own.fits(report) {
            let old = &self.lines[met];
            if old.is_late(report) || old.is_before(report) && old.stopped.is_none() {
                return Some(met);
            }
        }
        Some(newest)
    }

    /// Whether a report that was heard just after a line began is one of the line before it.
    fn was_said_before(&self, before: usize, own: &Line, report: &Report) -> bool {
        let before = &self.lines[before];
        if report.event == Event::Started || report.stamp.since(own.begin) > SKEW {
            return false;
        }
        if report.stamp.node == own.begin.node {
            // Heard in this order, so it is a copy or late.
            let is_late = report.event != Event::Stopped && before.is_late(report);
            return before.is_said_last(report) || is_late;
        }
        let unheard = report.after.is_none_or(|after| after < own.begin);
        let beyond_stop = before.stopped.is_some() && !same(&before.last, &report.counters);
        unheard && (before.is_before(report) && !beyond_stop || before.is_late(report))
    }

    /// From an address where nobody was: of the lines that have not ended, the one it goes on from by the
    /// least, first those that have no address of its family, and have not said `stopped`; or one of the first that
    /// it does not go on from.
    fn place_of_stranger(&self, report: &Report) -> Option<usize> {
        let family = |line: &Line| line.addresses.have_family_of(report.address);
        let open = || self.lines.iter().enumerate().filter(|(_, line)| !line.ended);
        let goes_on = open().filter(|(_, line)| line.is_before(report)).min_by_key(|(_, line)| {
            let by = moved(&line.last, &report.counters);
            let by = u128::from(by.uploaded) + u128::from(by.downloaded);
            (family(line), line.stopped.is_some(), by)
        });
        // What is late is late wherever it comes from; a `started` elsewhere is a copy of the session.
        let fits = |line: &Line| match report.event {
            Event::Started => !family(line) && line.fits(report),
            _ => line.is_late(report),
        };
        // Copies are elsewhere in the same family; another family is the client's own.
        let at = goes_on
            .or_else(|| open().rfind(|(_, line)| fits(line)))
            .or_else(|| open().rfind(|(_, line)| !family(line)));
        at.map(|(at, _)| at)
    }

    /// A report of a line, or one that ends it.
    fn hear_in(&mut self, at: usize, report: &Report) -> Heard {
        let line = &self.lines[at];
        let nothing = |verdict| Heard { verdict, credit: Credit::default(), line: at };
        if let Some(started) = self.started_unseen(at, report) {
            return self.begin_after(at, report, Some(started));
        }
        if line.is_before(report) {
            return self.go_on(at, report);
        }
        if line.is_said_again(report) {
            let line = &mut self.lines[at];
            let older =
                line.doubtful.filter(|said| super::goes_on(&said.counters, &report.counters));
            line.doubtful = older.or(Some(Said { stamp: report.stamp, counters: report.counters }));
            line.addresses.meet(report.address);
            return nothing(Verdict::Doubtful);
        }
        let says_zeros = same(&report.counters, &Default::default());
        if report.event != Event::Started && line.is_late(report) {
            if report.event == Event::Stopped && says_zeros {
                self.lines[at].stopped = Some(report.stamp);
                return nothing(Verdict::Stops);
            }
            if !line.addresses.have_family_of(report.address) {
                self.lines[at].addresses.meet(report.address);
            }
            return nothing(Verdict::Late);
        }
        let doubtful = line.doubtful.filter(|said| {
            super::goes_on(&said.counters, &report.counters) && report.event != Event::Started
        });
        if report.event == Event::Stopped && doubtful.is_none() {
            let line = &mut self.lines[at];
            line.stopped = Some(report.stamp);
            return nothing(Verdict::Stops);
        }
        self.begin_after(at, report, doubtful)
    }

    /// Where a client that stopped has begun anew without having been understood: nobody moves anything
    /// after `stopped`, or stops twice with less.
    fn started_unseen(&self, at: usize, report: &Report) -> Option<Said> {
        let line = &self.lines[at];
        let stopped = line.stopped?;
        let raises = line.is_before(report) && !same(&line.last, &report.counters);
        let stops_lower = report.event == Event::Stopped && !line.is_before(report);
        if report.event == Event::Started || !(raises || stops_lower) {
            return None;
        }
        let elsewhere = line.started.filter(|said| {
            said.stamp.node != stopped.node
                && said.stamp > line.begin
                && said.stamp < stopped
                && stopped.since(said.stamp) <= SKEW
        });
        let said = line.doubtful.or(elsewhere)?;
        super::goes_on(&said.counters, &report.counters).then_some(said)
    }

    fn go_on(&mut self, at: usize, report: &Report) -> Heard {
        let line = &mut self.lines[at];
        let by = moved(&line.last, &report.counters);
        if is_impossible(&by, report.stamp.since(line.heard)) {
            let begun = self.begin_after(at, report, None);
            return Heard { verdict: Verdict::Impossible, ..begun };
        }
        // Who goes on so long after a doubtful `started` has only said it again.
        let raises = !same(&line.last, &report.counters);
        line.doubtful =
            line.doubtful.filter(|said| !(raises && report.stamp.since(said.stamp) > SKEW));
        line.go_on(report);
        match report.event {
            Event::Started => {
                line.started = Some(Said { stamp: report.stamp, counters: report.counters });
                line.stopped = None;
            }
            Event::Stopped => line.stopped = Some(report.stamp),
            _ if raises => line.stopped = None,
            _ => {}
        }
        // What is said of a line that has ended says nothing of the client as it is now.
        let verdict = if line.ended { Verdict::Late } else { Verdict::GoesOn };
        Heard { verdict, credit: Credit::of(&by, &report.factors), line: at }
    }

    /// Begins a line in the place of another one.
    fn begin_after(&mut self, at: usize, report: &Report, from: Option<Said>) -> Heard {
        self.lines[at].ended = true;
        let host = self.lines[at].host;
        self.begin_at(host, report, from)
    }

    /// Begins a line where nobody was.
    fn begin(&mut self, report: &Report) -> Heard {
        let host = self.hosts;
        self.hosts += 1;
        self.begin_at(host, report, None)
    }

    fn begin_at(&mut self, host: u32, report: &Report, from: Option<Said>) -> Heard {
        let begin = from.unwrap_or(Said { stamp: report.stamp, counters: report.counters });
        if self.lines.len() == LINES_MAX {
            self.lines.remove(0);
        }
        self.lines.push(Line::new(report, host, begin));
        let at = self.lines.len() - 1;
        let mut heard = self.go_on(at, report);
        heard.verdict = Verdict::Begins;
        heard
    }
}
