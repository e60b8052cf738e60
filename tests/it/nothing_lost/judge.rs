//! What everybody is owed: the rules of accounting, said once more from the clients' side.
//!
//! A session is a run of reports that do not go down, from the one with which the tracker met the client.
//! It is worth its end less its beginning, whatever happened to the tracker in between. That is all the
//! judge knows: nothing of journals, snapshots, baselines or databases. A copy of a session that goes on
//! elsewhere is a session beside it, until the tracker is started anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::nothing_lost::client::{ABSURD, Event, LATE, Name, Report};
use crate::nothing_lost::site::{Free, Site};

/// A client as the tracker tells it from others: its user, its torrent, and its name. One that died
/// without a word and came back under another name may be in the swarm still.
pub(crate) type Who = (usize, usize, Name);

#[derive(Default)]
pub(crate) struct Judge {
    sessions: BTreeMap<Who, Session>,
    /// Of clients whose sessions go on elsewhere, too.
    copies: BTreeMap<Who, Copied>,
    pub(crate) users: BTreeMap<usize, (u64, u64)>,
    pub(crate) torrents: BTreeMap<usize, Figures>,
    /// Bytes that a token was used for.
    pub(crate) tokens: BTreeMap<(usize, usize), u64>,
    /// What each client has said last, whether or not it has left since: the database has it.
    rows: BTreeMap<Who, Row>,
    /// Who is measured from there when it speaks next.
    measured: BTreeSet<Who>,
    /// Who has ever said that nothing is left.
    complete: BTreeSet<Who>,
    /// What a client had downloaded when it became a leecher again, as the tracker remembers it.
    had: BTreeMap<Who, u64>,
}

/// A client's last word: its counters, and whether nothing was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    last: (u64, u64),
    complete: bool,
}

/// Where a session began, after what has been booked of it, and how far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Session {
    first: (u64, u64),
    last: (u64, u64),
    seeds: bool,
}

/// A copy of a session, and when it and its original spoke last.
struct Copied {
    session: Session,
    at: u32,
    original_at: u32,
}

/// Of a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) snatches: u64,
    pub(crate) balance: i64,
}

impl Judge {
    /// Whether the tracker knows a client.
    pub(crate) fn knows(&self, who: Who) -> bool {
        self.sessions.contains_key(&who)
    }

    /// The tracker has answered a report. Whether it has said with it that it will not forget: the client
    /// is new, has left, counts from here on or has completed its download.
    pub(crate) fn hear(&mut self, site: &mut Site, who: Who, said: &Report) -> bool {
        let (user, torrent, _) = who;
        let reported = (said.up, said.down);
        // Who is measured completes nothing where the database says that he had everything.
        let seeded = self.seeds(who);
        let before = self.sessions.get(&who).copied();
        let going_on = before.filter(|session| goes_on(session.last, said));
        if before.is_some() && going_on.is_none() {
            self.book(site, who);
        }
        let row = self.asked(who);
        let measured = row.map(|row| row.last).filter(|last| goes_on(*last, said));
        if said.event == Event::Stopped && before.is_none() && measured.is_none() {
            return false; // Nobody knew it.
        }
        self.note(who, said);
        self.measured.remove(&who);
        if said.left == 0 {
            self.complete.insert(who);
        }
        let first = going_on.map_or(measured.unwrap_or(reported), |session| session.first);
        let session = Session { first, last: reported, seeds: said.left == 0 };
        self.sessions.insert(who, session);
        let leeched = before.is_some_and(|session| !session.seeds);
        let completes = match (row, self.had.get(&who)) {
            // Of who is measured the database knows what it had, and not what it says of it.
            (Some(row), _) => !row.complete && said.down > 0,
            (None, Some(had)) => leeched && said.down > 0 && said.down != *had,
            (None, None) => leeched && (said.event == Event::Completed || said.down > 0),
        };
        let snatched = said.left == 0 && !seeded && completes;
        if said.left == 0 {
            self.had.remove(&who);
        } else if before.is_some_and(|session| session.seeds) && said.event != Event::Stopped {
            let had = going_on.map_or(0, |session| session.last.1);
            self.had.insert(who, said.down.max(had));
        }
        if snatched {
            self.torrents.entry(torrent).or_default().snatches += 1;
            if site.torrents[torrent].free != Free::Neutral {
                self.book_token(site, user, torrent);
                site.tokens.remove(&(user, torrent));
            }
        }
        if said.event == Event::Stopped {
            self.forget(site, who);
        }
        going_on.is_none() || snatched || said.event == Event::Stopped
    }

    /// The tracker has answered a copy of a client's session. It is worth what it says of itself.
    pub(crate) fn hear_copy(&mut self, site: &Site, who: Who, said: &Report, now: u32) {
        let reported = (said.up, said.down);
        let copied = self.copies.entry(who).or_insert_with(|| {
            let session = Session { first: reported, last: reported, seeds: said.left == 0 };
            Copied { session, at: now, original_at: now }
        });
        assert!(goes_on(copied.session.last, said), "a copy only grows");
        (copied.session.last, copied.at) = (reported, now);
        if said.event == Event::Stopped {
            self.forget_copy(site, who);
        }
    }

    /// A client speaks: its copy is not remembered when nobody has heard of it for so long.
    pub(crate) fn forget_silent_copy(&mut self, site: &Site, who: Who, now: u32, silent_max: u32) {
        let Some(copied) = self.copies.get_mut(&who) else { return };
        if copied.at.max(copied.original_at).saturating_sub(now) > LATE {
            copied.at = copied.at.min(now); // The clock was put back.
        }
        copied.original_at = now;
        if now.saturating_sub(copied.at) > silent_max {
            self.forget_copy(site, who);
        }
    }

    /// The tracker knows the last announce of each client alone.
    pub(crate) fn forget_copies(&mut self, site: &Site) -> u64 {
        self.had.clear();
        let those: Vec<Who> = self.copies.keys().copied().collect();
        those.iter().for_each(|who| self.forget_copy(site, *who));
        those.len() as u64
    }

    /// Whether the tracker knows a copy of a client's session.
    pub(crate) fn knows_copy(&self, who: Who) -> bool {
        self.copies.contains_key(&who)
    }

    /// From its next word on it counts anew.
    fn forget_copy(&mut self, site: &Site, who: Who) {
        self.book(site, who);
        self.copies.remove(&who);
    }

    /// What a client says is written down, whatever it is worth.
    pub(crate) fn note(&mut self, who: Who, said: &Report) {
        self.rows.insert(who, Row { last: (said.up, said.down), complete: said.left == 0 });
    }

    /// Whether a client that is known says that it has moved what nobody can.
    pub(crate) fn is_absurd(&self, who: Who, said: &Report) -> bool {
        self.sessions.get(&who).is_some_and(|session| said.up >= session.last.0 + ABSURD)
    }

    /// The tracker does not know any more where its clients were: what each has moved counts from what the
    /// database knows of it, also of those who had left.
    pub(crate) fn measure(&mut self) {
        self.measured = self.rows.keys().copied().collect();
    }

    /// What the database is asked for, of a client that is measured.
    fn asked(&self, who: Who) -> Option<Row> {
        self.rows.get(&who).filter(|_| self.measured.contains(&who)).copied()
    }

    /// Whether a client has everything, as it has said, or as the database has it that is asked.
    pub(crate) fn seeds(&self, who: Who) -> bool {
        self.asked(who).is_some_and(|row| row.complete)
            || self.sessions.get(&who).is_some_and(|session| session.seeds)
    }

    /// Whether a client downloads that had everything already.
    pub(crate) fn downloads_again(&self, who: Who) -> bool {
        self.complete.contains(&who)
            && self.sessions.get(&who).is_some_and(|session| !session.seeds)
    }

    /// The tracker has forgotten a client that was silent for too long.
    pub(crate) fn forget(&mut self, site: &Site, who: Who) -> Option<Session> {
        self.forget_copy(site, who);
        self.sessions.remove(&who)
    }

    /// The tracker has forgotten that it had forgotten.
    pub(crate) fn remember(&mut self, who: Who, session: Session) {
        self.sessions.insert(who, session);
    }

    /// The rules of a torrent are about to change: what was said until now counts by the old ones.
    pub(crate) fn book_torrent(&mut self, site: &Site, torrent: usize) {
        self.book_those(site, |(_, of, _)| *of == torrent);
    }

    /// A token is about to come or go: what was said until now counts as it did.
    pub(crate) fn book_token(&mut self, site: &Site, user: usize, torrent: usize) {
        self.book_those(site, |(whose, of, _)| (*whose, *of) == (user, torrent));
    }

    /// A torrent is gone, with all who were on it and what it had.
    pub(crate) fn forget_torrent(&mut self, site: &Site, torrent: usize) {
        self.book_torrent(site, torrent);
        self.sessions.retain(|(_, of, _), _| *of != torrent);
        self.copies.retain(|(_, of, _), _| *of != torrent);
        self.rows.retain(|(_, of, _), _| *of != torrent);
        self.torrents.remove(&torrent);
        self.tokens.retain(|(_, of), _| *of != torrent);
    }

    /// The end: everything said has been heard.
    pub(crate) fn book_all(&mut self, site: &Site) {
        self.book_those(site, |_| true);
    }

    /// Clients with everything and without on a torrent.
    pub(crate) fn swarm(&self, torrent: usize) -> (u64, u64) {
        let there = self.sessions.iter().filter(|((_, of, _), _)| *of == torrent);
        let seeders = there.clone().filter(|(_, session)| session.seeds).count();
        (seeders as u64, (there.count() - seeders) as u64)
    }

    fn book_those(&mut self, site: &Site, whose: impl Fn(&Who) -> bool) {
        let all = self.sessions.keys().chain(self.copies.keys());
        let those: Vec<Who> = all.filter(|who| whose(who)).copied().collect();
        those.into_iter().for_each(|who| self.book(site, who));
    }

    /// Books what a session and its copy are worth so far.
    fn book(&mut self, site: &Site, who: Who) {
        let own = self.sessions.get_mut(&who).map(Session::book);
        let copied = self.copies.get_mut(&who).map(|copied| copied.session.book());
        for moved in own.into_iter().chain(copied) {
            self.credit(site, who, moved);
        }
    }

    fn credit(&mut self, site: &Site, (user, torrent, _): Who, moved: (u64, u64)) {
        let token = site.tokens.contains(&(user, torrent));
        let (up, down, token_down) = site.torrents[torrent].worth(moved, token);
        let credit = self.users.entry(user).or_default();
        *credit = (credit.0 + up, credit.1 + down);
        if token {
            *self.tokens.entry((user, torrent)).or_default() += token_down;
        }
        let figures = self.torrents.entry(torrent).or_default();
        figures.balance += i64::try_from(moved.0).unwrap() - i64::try_from(moved.1).unwrap();
    }
}

impl Session {
    /// What was moved in it and is not booked yet; it is from now on.
    fn book(&mut self) -> (u64, u64) {
        let Self { first, last, .. } = *self;
        self.first = last;
        (last.0 - first.0, last.1 - first.1)
    }
}

/// Whether a client may have moved what lies between what it said and what it says.
fn goes_on((up, down): (u64, u64), said: &Report) -> bool {
    up <= said.up && down <= said.down && said.up - up < ABSURD
}
