//! Announces that do not simply go on from what is known: what they are by the rules of [`super::fold`], and
//! what they count as in the swarm.

use super::account::Figures;
use super::announce::{Known, Over};
use super::fold::{self, Addresses, Factors, Line, Lines, Report, Verdict};
use super::recent::{self, Kind, Step, Whose};
use super::{Announce, Counters, Endpoints, PeerId, Stamp, Swarms, UserId};
use crate::{Event, InfoHash, PeerState, Seconds};

/// An announce that was looked at closely.
pub(crate) struct Judged {
    /// The announce as it counts: an older one says no more than is known already.
    pub(crate) announce: Announce,
    /// The counters in it.
    pub(crate) said: Counters,
    /// It says `stopped`, and nobody may say what it says once more.
    pub(crate) stops: bool,
    /// It says so over one family, and is still there over the other.
    pub(crate) parts: bool,
    /// It says so by one name of its torrent, and is still there by the other.
    pub(crate) stays: bool,
    /// The bytes it adds.
    pub(crate) moved: Counters,
    pub(crate) verdict: Verdict,
    /// Its line after it.
    pub(crate) line: Line,
    /// The counters that the newest line has come to.
    pub(crate) last: Counters,
    /// Whether somebody goes on elsewhere under the same name.
    pub(crate) is_elsewhere: bool,
    /// All that is to be remembered of the client, unless that is one line which goes on.
    pub(crate) lines: Option<Lines>,
}

impl Judged {
    /// It is an older announce, or a copy.
    pub(crate) fn is_late(&self) -> bool {
        self.verdict == Verdict::Late
    }

    /// With what it counts as, of a peer of which this is known.
    pub(crate) fn counted(
        self,
        announce: &Announce,
        figures: &Figures,
        state: PeerState,
        known: &Endpoints,
        over: Option<&Over>,
    ) -> Self {
        let mut counts = counts_as(announce, figures, state, &self);
        // Who has left over one family, or by one name, leaves over the other, whichever said so first.
        let Addresses { v4, v6 } = self.line.addresses;
        let was_both = v4.is_some() && v6.is_some() && known.v4.is_some() != known.v6.is_some();
        let was_twice = was_both || over.is_some();
        let has_parted = was_twice && self.line.stopped.is_some() && !self.is_elsewhere;
        if announce.event == Event::Stopped && self.is_late() && has_parted {
            counts.event = Event::Stopped;
        }
        let stopped = counts.event == Event::Stopped;
        let by_name = stopped && over.is_some_and(|over| over.stays);
        let parts = stopped && !by_name && stays(&announce.endpoints, known);
        if parts || by_name {
            counts.event = match state {
                PeerState::PartialSeed if counts.left > 0 => Event::Paused,
                _ => Event::None,
            };
            counts.numwant = 0;
        }
        Self { announce: counts, parts, stays: by_name, ..self }
    }

    /// The client counts anew from here on.
    pub(crate) fn begins(&self) -> bool {
        matches!(self.verdict, Verdict::Begins | Verdict::Impossible)
    }
}

impl Swarms {
    /// Whether an announce goes on from what is known: then there is nothing to judge.
    #[inline(always)]
    pub(super) fn is_plain(&self, announce: &Announce, known: Option<&Known>) -> bool {
        if fold::is_beyond(&announce.counters) {
            return false;
        }
        let Some(known) = known else { return false };
        let (before, after) = (&known.figures.reported, &announce.counters);
        // Who leaves with an address of each family may leave over one of them.
        let may_part = announce.event == Event::Stopped && known.face.mark.is_wide();
        fold::goes_on(before, after)
            && !may_part
            && !known.is_odd
            && !fold::is_much(&fold::moved(before, after))
    }

    /// Looks at an announce that is not plain; nothing where it turns out to be a first one.
    pub(super) fn judge(
        &self,
        announce: &Announce,
        known: Option<&Known>,
        over: Option<&Over>,
        now: Seconds,
    ) -> Option<Judged> {
        let Some(known) = known else {
            return self.judge_unknown(announce, now);
        };
        Some(self.judge_known(announce, known, over, now))
    }

    /// Of a client that is not there: one that has just left, or whose endpoint was taken over.
    fn judge_unknown(&self, announce: &Announce, now: Seconds) -> Option<Judged> {
        let (name, silent_max) = (self.name(announce), self.limits.peer_timeout);
        let (steps, addresses) = (self.recent.of(name), addresses(&announce.endpoints));
        if let Some(line) = recent::line_left(steps.clone(), addresses, now) {
            return Some(judge_returning(announce, line, now, silent_max));
        }
        let last = self.succeeded.get(name).filter(|last| last.counts(now, silent_max))?;
        let line = recent::line(steps, addresses, last.reported, last.seen, now);
        Some(judge_succeeded(announce, line, now, silent_max))
    }

    fn judge_known(
        &self,
        announce: &Announce,
        known: &Known,
        over: Option<&Over>,
        now: Seconds,
    ) -> Judged {
        let members = &self.members;
        let endpoints = known.face.endpoints(&members.wides);
        let account = known.face.account;
        let lines = members.accounts.lines(account, known.face.mark.is_large());
        let mut lines = match lines {
            Some(lines) => lines.clone(),
            None => Lines::one(self.line(known, &endpoints, now)),
        };
        lines.put_back(Stamp::at(now));
        let judged = hear(lines, announce, &endpoints, now, self.limits.peer_timeout);
        judged.counted(announce, &known.figures, known.state, &endpoints, over)
    }

    fn line(&self, known: &Known, endpoints: &Endpoints, now: Seconds) -> Line {
        let Figures { reported, seen, .. } = known.figures;
        let steps = self.recent.of(Whose::account(known.face.account));
        recent::line(steps, addresses(endpoints), reported, seen, now)
    }

    /// Which client: what is left of it when it has left.
    fn name(&self, announce: &Announce) -> Whose {
        let Announce { user, ref peer_id, key, ref info_hash, .. } = *announce;
        self.whose(user.id, peer_id, key, info_hash)
    }

    pub(super) fn whose(
        &self,
        user: UserId,
        peer_id: &PeerId,
        key: u32,
        info_hash: &InfoHash,
    ) -> Whose {
        Whose::name(self.client_hash(user, peer_id, key, info_hash))
    }

    /// A client of a torrent in one word.
    pub(super) fn client_hash(
        &self,
        user: UserId,
        peer_id: &PeerId,
        key: u32,
        info_hash: &InfoHash,
    ) -> u64 {
        let keys = &self.members.keys;
        let client = u64::from(user.0) << 32 | u64::from(key);
        let client = keys.word(client ^ keys.info_hash(&InfoHash(peer_id.0)));
        keys.word(client ^ keys.info_hash(info_hash))
    }

    /// Writes down what a peer that was there, or is there now, has said.
    #[inline(always)]
    pub(super) fn remember(
        &mut self,
        announce: &Announce,
        known: Option<&Known>,
        account: u32,
        judged: Option<&Judged>,
        now: Seconds,
    ) {
        let stops = announce.event == Event::Stopped;
        match (judged, known) {
            (Some(judged), _) => self.remember_judged(announce, known, account, judged, now),
            (None, Some(known)) if stops => self.remember_left(announce, known, now),
            (None, Some(known)) => {
                let whose = Whose::account(account);
                if let Some(raise) = raise(&known.figures.reported, &announce.counters, now) {
                    self.recent.note(whose, raise);
                }
                if announce.event == Event::Started {
                    self.recent.note(whose, Step::new(Kind::Started, &announce.counters, now));
                }
            }
            (None, None) if stops => {}
            (None, None) => {
                let begin = Step::new(Kind::Begin, &announce.counters, now);
                self.recent.note(Whose::account(account), begin);
            }
        }
    }

    /// A peer has left in order: what it says once more is a copy, or late.
    #[inline(never)]
    fn remember_left(&mut self, announce: &Announce, known: &Known, now: Seconds) {
        let whose = self.name(announce);
        self.recent.rename(Whose::account(known.face.account), whose, now);
        let last = raise(&known.figures.reported, &announce.counters, now);
        last.into_iter().for_each(|raise| self.recent.note(whose, raise));
        self.recent.note(whose, Step::new(Kind::Stopped, &announce.counters, now));
    }

    /// Forgets that a client that is there again had left long ago: that is not of interest any more. It would be
    /// again when the clock is put back to that moment.
    pub(super) fn forget_left(&mut self, announce: &Announce) {
        let name = self.name(announce);
        self.recent.forget(name);
        self.succeeded.forget(name);
    }

    #[cold]
    fn remember_judged(
        &mut self,
        announce: &Announce,
        known: Option<&Known>,
        account: u32,
        judged: &Judged,
        now: Seconds,
    ) {
        let stops = announce.event == Event::Stopped;
        if known.is_none() && !stops {
            self.forget_left(announce);
        }
        if judged.is_late() && !known.is_some_and(|known| known.is_odd) {
            return;
        }
        let whose = if stops { self.name(announce) } else { Whose::account(account) };
        if stops {
            self.succeeded.forget(whose);
        }
        recent::steps(&judged.line).for_each(|step| self.recent.note(whose, step));
        if stops {
            self.recent.note(whose, Step::new(Kind::Stopped, &judged.line.last, now));
        }
    }
}

/// The step from one report to the next, if there is one.
#[inline]
pub(crate) fn raise(before: &Counters, after: &Counters, now: Seconds) -> Option<Step> {
    (!fold::same(before, after)).then(|| Step::new(Kind::Raise, before, now))
}

pub(crate) fn addresses(endpoints: &Endpoints) -> Addresses {
    Addresses { v4: endpoints.address_v4(), v6: endpoints.address_v6() }
}

/// An announce of a client that has just left.
#[cold]
pub(crate) fn judge_returning(
    announce: &Announce,
    line: Line,
    now: Seconds,
    silent_max: Seconds,
) -> Judged {
    judge_gone(announce, line, true, now, silent_max)
}

/// An announce of a client whose endpoint another one has taken over. What it has said within the last moments
/// does not bring it back; later it is there all the same.
#[cold]
pub(crate) fn judge_succeeded(
    announce: &Announce,
    line: Line,
    now: Seconds,
    silent_max: Seconds,
) -> Judged {
    let age = Stamp::at(now).millis.abs_diff(line.heard.millis);
    judge_gone(announce, line, age <= fold::WINDOW, now, silent_max)
}

fn judge_gone(
    announce: &Announce,
    line: Line,
    may_be_a_copy: bool,
    now: Seconds,
    silent_max: Seconds,
) -> Judged {
    let mut judged = hear(Lines::one(line), announce, &announce.endpoints, now, silent_max);
    let says_nothing = judged.verdict == Verdict::GoesOn
        && announce.event != Event::Started
        && judged.moved == Counters::default();
    if says_nothing && may_be_a_copy {
        judged.verdict = Verdict::Late;
    }
    if judged.is_late() {
        // It is gone all the same.
        judged.announce.event = Event::Stopped;
    }
    judged
}

/// Judges an announce of a client of which this is known; a line that was silent for longer than `silent_max` is
/// over.
pub(crate) fn hear(
    mut lines: Lines,
    announce: &Announce,
    known: &Endpoints,
    now: Seconds,
    silent_max: Seconds,
) -> Judged {
    let report = Report {
        stamp: Stamp::at(now),
        address: fold::address(&announce.endpoints, &addresses(known)),
        event: announce.event,
        left: announce.left,
        counters: announce.counters,
        // The torrent's terms are applied to what was moved.
        factors: Factors { upload_percent: 100, download_percent: 100, token: false },
        after: None,
    };
    let heard = lines.hear(&report);
    let line = lines.all()[heard.line].clone();
    lines.tidy(report.stamp, u64::from(silent_max.0) * 1000, heard.line);
    Judged {
        announce: *announce,
        said: announce.counters,
        stops: announce.event == Event::Stopped,
        parts: false,
        stays: false,
        moved: heard.credit.moved(),
        verdict: heard.verdict,
        is_elsewhere: lines.is_elsewhere(&line),
        line,
        last: lines.all().last().map_or(announce.counters, |line| line.last),
        lines: (!lines.is_plain()).then_some(lines),
    }
}

/// Whether a client that leaves over these endpoints, of which it is known to have one of each family, is there
/// over the other.
fn stays(left: &Endpoints, known: &Endpoints) -> bool {
    known.v4.is_some() && known.v6.is_some() && (left.v4.is_none() || left.v6.is_none())
}

/// The announce of a peer that is there, as it counts. What is older than the peer's last word says only that it is
/// there; that it has everything is still true. When a copy of it leaves it is there as well.
pub(crate) fn counts_as(
    announce: &Announce,
    figures: &Figures,
    state: PeerState,
    judged: &Judged,
) -> Announce {
    let mut counts = *announce;
    let says_nothing = matches!(judged.verdict, Verdict::Late | Verdict::Doubtful);
    if says_nothing || judged.verdict == Verdict::Stops {
        counts.counters = if judged.lines.is_some() { figures.reported } else { judged.last };
    }
    if !(says_nothing || judged.is_elsewhere && announce.event == Event::Stopped) {
        return counts;
    }
    if announce.left > 0 {
        counts.left = figures.left;
    }
    counts.event = match (announce.event, state) {
        (Event::Completed, _) if announce.left == 0 => Event::Completed,
        (_, PeerState::PartialSeed) if counts.left > 0 => Event::Paused,
        (Event::Started, _) => Event::Started,
        _ => Event::None,
    };
    if announce.event == Event::Stopped {
        counts.numwant = 0;
    }
    counts
}
