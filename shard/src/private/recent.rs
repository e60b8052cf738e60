//! Memory of what clients said within the last moments: enough to tell an older announce that comes late from a
//! client that begins anew.
//!
//! A peer keeps only what it has come to. How it came there matters for [`WINDOW`], and is kept here for all
//! peers of a core together, in the order in which it was heard.

use super::Counters;
use super::fold::{Addresses, Line, RAISES_MAX, Raise, Said, Stamp, WINDOW};
use crate::Seconds;

/// Steps that a core remembers, 40 bytes each: those of 30 seconds at 8,700 changed announces a second. When
/// there are more the oldest go, and what is older than they is taken for a client that begins anew.
const STEPS_MAX: usize = 1 << 18;

/// Chains into which steps are sorted by whose they are.
const CHAINS: usize = 1 << 16;

/// Steps of a chain that are looked at, others' in the same chain included.
const LOOKS_MAX: usize = 64;

/// Steps of a line that are of interest: how it began, said `started`, and moved on.
const STEPS_OF_A_LINE: usize = 2 + RAISES_MAX;

/// The client whose steps they are: a peer that is there, by its account, or one that has left, by its name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Whose(u64);

impl Whose {
    const LEFT: u64 = 1 << 63;

    #[inline]
    pub(crate) fn account(number: u32) -> Self {
        Self(u64::from(number))
    }

    #[inline]
    pub(crate) fn name(hash: u64) -> Self {
        Self(hash | Self::LEFT)
    }

    #[inline]
    fn chain(self) -> usize {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % CHAINS
    }
}

/// The kind of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A line begins. What is older is another's, or of no interest.
    Begin,
    /// It said `started`, with these counters.
    Started,
    /// It has moved on from these counters.
    Raise,
    /// It has left with these.
    Stopped,
}

/// A thing that a client said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) kind: Kind,
    pub(crate) at: Seconds,
    uploaded: u64,
    downloaded: u64,
}

impl Step {
    #[inline]
    pub(crate) fn new(kind: Kind, counters: &Counters, at: Seconds) -> Self {
        let Counters { uploaded, downloaded, .. } = *counters;
        Self { kind, at, uploaded, downloaded }
    }

    fn counters(&self) -> Counters {
        Counters { uploaded: self.uploaded, downloaded: self.downloaded, corrupt: 0 }
    }

    /// At most [`WINDOW`] ago. Where the clock was put back nobody knows, and it is not.
    fn is_recent(&self, now: Seconds) -> bool {
        u64::from(now.0.abs_diff(self.at.0)) * 1000 <= WINDOW
    }
}

#[derive(Clone, Copy, Debug)]
struct Link {
    whose: Whose,
    step: Step,
    /// The number of the step before it in its chain.
    before: u32,
}

const _: () = assert!(size_of::<Link>() == 40, "memory of a core, see STEPS_MAX");

/// The last steps of all clients of a core.
#[derive(Debug)]
pub(crate) struct Recent {
    /// By number, modulo [`STEPS_MAX`].
    steps: Vec<Link>,
    /// The number of the last step of each chain.
    chains: Vec<u32>,
    /// The number of the next step.
    next: u32,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { steps: Vec::new(), chains: Vec::new(), next: 0 }
    }

    #[inline]
    pub(crate) fn note(&mut self, whose: Whose, step: Step) {
        if self.chains.is_empty() {
            self.make_room();
        }
        let chain = &mut self.chains[whose.chain()];
        let link = Link { whose, step, before: *chain };
        *chain = self.next;
        match self.steps.get_mut(self.next as usize % STEPS_MAX) {
            Some(oldest) => *oldest = link,
            None => self.steps.push(link),
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Moves what is remembered of one to another name: it is found under that from here on.
    pub(crate) fn rename(&mut self, from: Whose, to: Whose, now: Seconds) {
        let begin = Step::new(Kind::Begin, &Counters::default(), Seconds(0));
        let mut steps = [begin; STEPS_OF_A_LINE];
        // As many as a line is made of: behind many raises there may be a `started`.
        let (mut raises, mut starts) = (0, 0);
        let of_interest = |step: &&Step| {
            let (count, most) = match step.kind {
                Kind::Raise => (&mut raises, RAISES_MAX),
                Kind::Started => (&mut starts, 1),
                Kind::Begin | Kind::Stopped => return true,
            };
            *count += 1;
            *count <= most
        };
        let recent = self.of(from).take_while(|step| step.is_recent(now)).filter(of_interest);
        let mut kept = 0;
        for (place, step) in steps.iter_mut().rev().zip(recent) {
            *place = *step;
            kept += 1;
            if step.kind == Kind::Begin {
                break;
            }
        }
        let kept = &steps[STEPS_OF_A_LINE - kept..];
        if kept.first().is_none_or(|first| first.kind != Kind::Begin) {
            self.note(to, begin);
        }
        kept.iter().for_each(|step| self.note(to, *step));
    }

    /// Takes address space once; memory is used as steps come.
    #[cold]
    fn make_room(&mut self) {
        self.steps.reserve_exact(STEPS_MAX);
        self.chains = vec![0; CHAINS];
    }

    /// Nothing is remembered of these any more: an account is another's from here on, or who has left is
    /// there again.
    pub(crate) fn forget(&mut self, whose: Whose) {
        if self.of(whose).next().is_some() {
            self.note(whose, Step::new(Kind::Begin, &Counters::default(), Seconds(0)));
        }
    }

    /// The steps of one client, the newest first. Ends where the oldest steps went.
    pub(crate) fn of(&self, whose: Whose) -> impl Iterator<Item = &Step> + Clone {
        let mut number = self.chains.get(whose.chain()).copied();
        let links = std::iter::from_fn(move || {
            let at = number?;
            let age = self.next.wrapping_sub(at) as usize;
            if age == 0 || age > self.steps.len() {
                return None;
            }
            let link = &self.steps[at as usize % STEPS_MAX];
            // A step before itself is none: the chain begins here.
            number = (link.before != at).then_some(link.before);
            Some(link)
        });
        let own = links.take(LOOKS_MAX).filter(move |link| link.whose == whose);
        own.map(|link| &link.step)
    }
}

/// The line of a peer that has come to `last`, and had said this before, the newest first.
pub(crate) fn line<'a>(
    steps: impl Iterator<Item = &'a Step>,
    addresses: Addresses,
    last: Counters,
    seen: Seconds,
    now: Seconds,
) -> Line {
    let mut line = Line::of_peer(addresses, last, Stamp::at(seen));
    for step in steps.take_while(|step| step.is_recent(now)) {
        let (stamp, counters) = (Stamp::at(step.at), step.counters());
        match step.kind {
            Kind::Raise if line.raises.len() == RAISES_MAX => {}
            Kind::Raise => line.raises.push(Raise { stamp, before: counters }),
            Kind::Started => _ = line.started.get_or_insert(Said { stamp, counters }),
            Kind::Stopped => {}
            Kind::Begin => {
                line.begin = stamp;
                break;
            }
        }
    }
    line.raises.reverse();
    line
}

/// The line of a client that has left at most [`WINDOW`] ago; `None` when it has not.
pub(crate) fn line_left<'a>(
    steps: impl Iterator<Item = &'a Step> + Clone,
    addresses: Addresses,
    now: Seconds,
) -> Option<Line> {
    let mut recent = steps.clone().take_while(|step| step.is_recent(now));
    let stopped = recent.find(|step| step.kind == Kind::Stopped)?;
    let mut line = line(steps, addresses, stopped.counters(), stopped.at, now);
    line.stopped = Some(Stamp::at(stopped.at));
    Some(line)
}

/// The steps of a line that are to be remembered, the oldest first: what is looked at ends with the first that is too
/// old.
pub(crate) fn steps(line: &Line) -> impl Iterator<Item = Step> {
    let begin = Step::new(Kind::Begin, &Counters::default(), line.begin.second());
    let said = line.started;
    let started = said.map(|said| Step::new(Kind::Started, &said.counters, said.stamp.second()));
    let is_before = move |raise: &Raise| said.is_some_and(|said| raise.stamp < said.stamp);
    let (before, after) = line.raises.split_at(line.raises.partition_point(is_before));
    let raise = |raise: &Raise| Step::new(Kind::Raise, &raise.before, raise.stamp.second());
    let (before, after) = (before.iter().map(raise), after.iter().map(raise));
    [begin].into_iter().chain(before).chain(started).chain(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raise(before: u64, at: u32) -> Step {
        let before = Counters { uploaded: before, ..Counters::default() };
        Step::new(Kind::Raise, &before, Seconds(at))
    }

    #[test]
    fn steps_are_found_by_whose_they_are_until_the_oldest_go() {
        let mut recent = Recent::new();
        assert_eq!(recent.of(Whose::account(7)).count(), 0);
        for at in 0..3 * STEPS_MAX as u32 {
            recent.note(Whose::account(at % 1000), raise(u64::from(at), at));
        }
        let last = 3 * STEPS_MAX as u32 - 1;
        let last = last - last % 1000 + 7;
        let last = if last < 3 * STEPS_MAX as u32 { last } else { last - 1000 };
        let found: Vec<Step> = recent.of(Whose::account(7)).copied().take(20).collect();
        let expected: Vec<Step> =
            (0..20).map(|n| last - n * 1000).map(|at| raise(u64::from(at), at)).collect();
        assert_eq!(found, expected);
        assert_eq!(recent.of(Whose::name(7)).count(), 0);
        assert!(recent.steps.len() <= STEPS_MAX);
        (0..2 * STEPS_MAX as u32).for_each(|at| recent.note(Whose::account(9), raise(0, at)));
        assert_eq!(recent.of(Whose::account(7)).count(), 0, "the oldest have gone");
    }

    #[test]
    fn a_started_behind_many_raises_is_found_under_another_name() {
        let mut recent = Recent::new();
        let (here, left) = (Whose::account(3), Whose::name(3));
        let started = |at| Step::new(Kind::Started, &Counters::default(), Seconds(at));
        [started(100), started(101)].into_iter().for_each(|step| recent.note(here, step));
        (0..2 * RAISES_MAX as u64).for_each(|before| recent.note(here, raise(before, 102)));
        recent.rename(here, left, Seconds(103));
        let found = |whose, last| {
            let steps = recent.of(whose);
            line(steps, Addresses::default(), last, Seconds(102), Seconds(103))
        };
        let last = Counters { uploaded: 2 * RAISES_MAX as u64, ..Counters::default() };
        assert_eq!(found(left, last), found(here, last));
        assert_eq!(found(left, last).raises.len(), RAISES_MAX);
        assert_eq!(found(left, last).started.map(|said| said.stamp), Some(Stamp::at(Seconds(101))));
    }

    #[test]
    fn a_line_is_what_it_was_after_it_was_remembered() {
        let last = Counters { uploaded: 90, ..Counters::default() };
        let mut before = Line::of_peer(Addresses::default(), last, Stamp::at(Seconds(120)));
        before.begin = Stamp::at(Seconds(95));
        before.started =
            Some(Said { stamp: Stamp::at(Seconds(99)), counters: Counters::default() });
        before.raises = [100, 110, 120]
            .map(|at| Raise {
                stamp: Stamp::at(Seconds(at)),
                before: Counters { uploaded: u64::from(at) - 100, ..Counters::default() },
            })
            .to_vec();
        let mut recent = Recent::new();
        recent.note(Whose::account(3), raise(1, 90));
        steps(&before).for_each(|step| recent.note(Whose::account(3), step));
        let found = |now| {
            let steps = recent.of(Whose::account(3));
            line(steps, Addresses::default(), last, Seconds(120), Seconds(now))
        };
        assert_eq!(found(121), before);
        assert_eq!(found(135).raises.len(), 2, "what is older than the window is passed over");
        assert_eq!(found(135).begin, Stamp::default());
        assert_eq!(found(60).raises, [], "the clock was put back");
        // Also where it said `started` between two raises, of which the first is too old.
        before.started = Some(Said { stamp: Stamp::at(Seconds(115)), ..before.started.unwrap() });
        steps(&before).for_each(|step| recent.note(Whose::account(4), step));
        let line = line(
            recent.of(Whose::account(4)),
            Addresses::default(),
            last,
            Seconds(120),
            Seconds(143),
        );
        assert_eq!((line.raises.len(), line.started), (1, before.started));
    }
}
