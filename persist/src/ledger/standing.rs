//! Where a journal and the database's row of it stand to each other: one pure function over facts.
//!
//! Numbers alone do not tell: either side may have been restored from a backup. So the row remembers in
//! which life of the journal the last record was written that the database has.

use crate::journal::Life;

/// The journal, as far as it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    /// The oldest record kept.
    pub(super) begin: u64,
    /// Records before this one are on the disk; `None` where the journal does not say.
    pub(super) end: Option<u64>,
    /// Oldest first; the last one is that of this process. None where the journal has none.
    pub(super) lives: &'a [Life],
}

/// The part of it that the database has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Written {
    /// All records before this one.
    pub(super) next: u64,
    /// The life of the last of them; `None` where nobody noted it.
    pub(super) life: Option<u64>,
    /// When the newest of them was made, in milliseconds since 1970.
    pub(super) until: Option<u64>,
}

/// The standing of journal and database to each other, and so what is to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// The database does not know this journal: all that is kept.
    New { next: u64 },
    /// It has what was before, and lacks what comes.
    GoesOn { next: u64 },
    /// It lacks records that are not kept any more: it was restored to an older state than the journal
    /// reaches back. What is kept.
    Gone { next: u64, begin: u64 },
    /// It has records that this journal does not have: this is an older copy, or lost its end. What is here
    /// from `from` on is news, though the database has records with such numbers.
    OlderCopy { next: u64, from: u64 },
}

/// How they stand.
pub(super) fn standing(kept: Kept<'_>, written: Option<Written>) -> Standing {
    let Kept { begin, end, lives } = kept;
    let Some(Written { next, life, until }) = written else { return Standing::New { next: begin } };
    if next < begin {
        return Standing::Gone { next, begin };
    }
    let Some(own) = lives.last() else {
        return match end {
            Some(end) if end < next => Standing::OlderCopy { next, from: end },
            _ => Standing::GoesOn { next },
        };
    };
    // Programs that had no lives wrote 0.
    let life = life.unwrap_or(0);
    if let Some(at) = lives.iter().position(|known| known.id == life) {
        let ended = lives.get(at + 1).map(|later| later.first).or(end).unwrap_or(u64::MAX);
        return match ended < next {
            true => Standing::OlderCopy { next, from: ended },
            false => Standing::GoesOn { next },
        };
    }
    if next == begin {
        // Nothing is kept of that life, because all of it is written.
        return Standing::GoesOn { next };
    }
    // It was written while this copy lay aside. What has been begun here since then is news.
    let since = lives.iter().find(|known| until.is_some_and(|until| known.begun_at > until));
    Standing::OlderCopy { next, from: since.unwrap_or(own).first }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(id: u64, first: u64, begun_at: u64) -> Life {
        Life { id, first, begun_at }
    }

    /// Lives 1 to 4 begin at records 100, 200, 300 and 400, at those moments; the last one is ours.
    fn lives() -> Vec<Life> {
        (1..=4).map(|id| life(id, id * 100, id * 100)).collect()
    }

    #[track_caller]
    fn check(end: u64, written: impl Into<Option<(u64, Option<u64>, Option<u64>)>>, so: Standing) {
        let lives = lives();
        let kept = Kept { begin: lives[0].first, end: Some(end), lives: &lives };
        let written = written.into().map(|(next, life, until)| Written { next, life, until });
        assert_eq!(standing(kept, written), so);
    }

    #[test]
    fn a_table_of_what_can_be() {
        use Standing::{GoesOn, Gone, New, OlderCopy};
        check(450, None, New { next: 100 });
        // All is as it should be: at the end, behind, at the border of two lives.
        check(450, (450, Some(4), Some(450)), GoesOn { next: 450 });
        check(450, (420, Some(4), Some(420)), GoesOn { next: 420 });
        check(400, (400, Some(3), Some(399)), GoesOn { next: 400 });
        check(450, (300, Some(2), Some(299)), GoesOn { next: 300 });
        // The database went back, within what is kept and beyond it.
        check(450, (150, Some(1), Some(149)), GoesOn { next: 150 });
        check(450, (100, Some(9), Some(99)), GoesOn { next: 100 });
        check(450, (100, None, None), GoesOn { next: 100 });
        check(450, (99, Some(9), Some(98)), Gone { next: 99, begin: 100 });
        check(450, (0, None, None), Gone { next: 0, begin: 100 });
        // The journal lost its end, or is a copy made while a life went on: what came then is news.
        check(400, (460, Some(4), Some(460)), OlderCopy { next: 460, from: 400 });
        check(400, (350, Some(2), Some(350)), OlderCopy { next: 350, from: 300 });
        check(450, (420, Some(3), Some(420)), OlderCopy { next: 420, from: 400 });
        check(450, (1000, Some(3), Some(1000)), OlderCopy { next: 1000, from: 400 });
        // The database knows a life that came after the copy: what was begun here after it is news.
        check(450, (260, Some(9), Some(250)), OlderCopy { next: 260, from: 300 });
        check(450, (1000, Some(9), Some(350)), OlderCopy { next: 1000, from: 400 });
        // With a clock that was put back, or unknown, this process at least.
        check(450, (420, Some(9), Some(9000)), OlderCopy { next: 420, from: 400 });
        check(450, (420, Some(9), None), OlderCopy { next: 420, from: 400 });
        // A program without lives wrote more than this copy has.
        check(450, (420, None, None), OlderCopy { next: 420, from: 400 });
    }

    #[test]
    fn what_programs_without_lives_wrote_is_one_life() {
        let lives = [life(0, 0, 1), life(7, 300, 300)];
        let kept = |end| Kept { begin: 0, end: Some(end), lives: &lives };
        let row = |next, life| Some(Written { next, life, until: None });
        assert_eq!(standing(kept(400), row(120, None)), Standing::GoesOn { next: 120 });
        assert_eq!(standing(kept(400), row(300, None)), Standing::GoesOn { next: 300 });
        assert_eq!(standing(kept(400), row(310, Some(7))), Standing::GoesOn { next: 310 });
        let older = Standing::OlderCopy { next: 310, from: 300 };
        assert_eq!(standing(kept(400), row(310, None)), older);
        // A journal that says nothing of lives: by numbers alone.
        let plain = |end| Kept { begin: 10, end, lives: &[] };
        assert_eq!(standing(plain(None), row(90, None)), Standing::GoesOn { next: 90 });
        let older = Standing::OlderCopy { next: 90, from: 80 };
        assert_eq!(standing(plain(Some(80)), row(90, None)), older);
        assert_eq!(standing(plain(None), row(9, None)), Standing::Gone { next: 9, begin: 10 });
    }

    /// Whatever was written and lost on whichever side: nothing that the database lacks is passed over, and
    /// nothing that it has is written as if it lacked it.
    #[test]
    fn restores_of_either_side_at_random() {
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            // What each record is, by number, and the lives; the same of each copy.
            let (mut journal, mut lives): (Vec<u64>, Vec<Life>) = (Vec::new(), Vec::new());
            let mut database: (Vec<u64>, Option<Written>) = (Vec::new(), None);
            let (mut folders, mut dumps) = (Vec::new(), vec![database.clone()]);
            let (mut now, mut content, mut begun) = (1000, 0, false);
            let mut older_copies = 0;
            for _ in 0..rng.usize(1..40) {
                now += rng.u64(1..50);
                match rng.u8(..12) {
                    0 => folders.push((journal.clone(), lives.clone())),
                    1 => dumps.push(database.clone()),
                    2 if !folders.is_empty() && older_copies == 0 => {
                        older_copies += 1;
                        (journal, lives) = folders[rng.usize(..folders.len())].clone();
                        begun = false;
                    }
                    3 => database = dumps[rng.usize(..dumps.len())].clone(),
                    4 => begun = false,
                    5..9 => {
                        if !begun {
                            lives.retain(|life| life.first < journal.len() as u64);
                            lives.push(life(rng.u64(1..), journal.len() as u64, now));
                            begun = true;
                        }
                        for _ in 0..rng.usize(1..5) {
                            content += 1;
                            journal.push(content);
                        }
                    }
                    _ if !begun => {}
                    _ => {
                        let end = journal.len() as u64;
                        let kept = Kept { begin: 0, end: Some(end), lives: &lives };
                        let from = match standing(kept, database.1) {
                            Standing::New { next } | Standing::GoesOn { next } => next,
                            Standing::OlderCopy { from, .. } => from,
                            Standing::Gone { .. } => unreachable!("all is kept"),
                        };
                        let (known, news) = journal.split_at(from as usize);
                        assert!(known.iter().all(|record| database.0.contains(record)));
                        assert!(news.iter().all(|record| !database.0.contains(record)));
                        let some = rng.usize(..=news.len());
                        database.0.extend(&news[..some]);
                        let next = from + some as u64;
                        let before = next.checked_sub(1);
                        let life = before.and_then(|last| Life::of(&lives, last));
                        database.1 = Some(Written { next, life, until: Some(now) });
                    }
                }
            }
        }
    }
}
