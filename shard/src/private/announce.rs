//! An announce of a known user: what it changes, what it is worth, whom it is told.

use super::account::Figures;
use super::choose::{Ask, choose, state};
use super::credit::{Credit, balance, credit};
use super::face::{Face, Name};
use super::heard::Judged;
use super::hybrid::Names;
use super::members::Spot;
use super::rights::Rights;
use super::torrent::Role;
use super::wait::Wait;
use super::{
    AHEAD_MAX, Announce, Counters, Fact, Facts, Freeleech, Outcome, Refusal, Stamp, Swarm, Swarms,
    fold,
};
use crate::downloads::Completion;
use crate::{Counts, Event, PeerState, Reply, Seconds};

/// A peer as it was before an announce.
#[derive(Clone, Copy)]
pub(crate) struct Known {
    spot: Spot,
    pub(crate) face: Face,
    pub(crate) state: PeerState,
    pub(crate) figures: Figures,
    /// More is remembered of it than its figures.
    pub(crate) is_odd: bool,
}

/// By which name of a hybrid torrent an announce came.
#[derive(Clone, Copy)]
pub(crate) struct Over {
    /// The slot of the swarm that it is told of.
    pub(crate) told: u32,
    /// By which names the client is there from now on.
    pub(crate) names: Names,
    /// That changes something.
    pub(crate) changed: bool,
    /// It says `stopped`, and is there by another name.
    pub(crate) stays: bool,
}

/// The effect of an announce on its peer and torrent.
struct Step {
    state: PeerState,
    /// The peer's figures from now on.
    figures: Figures,
    /// Since the announce before it.
    elapsed: u32,
    credit: Credit,
    snatched: bool,
    token_spent: bool,
    /// Its counters are left for a later announce.
    postponed: bool,
    /// It counts from here on.
    anew: bool,
    /// It would begin a download that its user's group does not allow.
    held_back: bool,
}

impl Swarms {
    /// Applies one announce and fills `reply` with the torrent's counts and at most
    /// `announce.numwant` peers, each with one endpoint or both.
    ///
    /// A peer is a client of a user: by user, peer id and key. Its first announce sets its baseline and
    /// credits nothing; so do counters that went down, unless they are those of an older announce that comes
    /// late, or of a `started` said again: [`super::fold`] has the rules. Those change nothing. `stopped`
    /// takes it out, yields no peers, and is no mistake when it is unknown. A snatch is the first announce with nothing
    /// left, `stopped` included, of a client that is known as a leecher and has
    /// downloaded something since ([`crate::downloads`]). A client that is new and has nothing left may have nothing
    /// at all, with a magnet link: it is told some seeders, where its user may download. A user who may not leech is credited like others;
    /// his leechers are counted, told nobody, and told to nobody. A user with as many downloads as his
    /// group allows begins no further one: a peer that would is credited and a partial seed, and is told
    /// nobody, and to nobody. A client that comes to an endpoint of another client of the same user is its
    /// successor: that one leaves, see [`Swarms::succeeded`].
    ///
    /// One index lookup, a scan of at most 128 peers or of a few buckets, then a number of candidates
    /// that follows `numwant`.
    pub fn announce(
        &mut self,
        announce: &Announce,
        now: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        reply.clear();
        let Some(slot) = self.find_swarm(&announce.info_hash) else {
            return Err(self.unknown(&announce.info_hash, now));
        };
        if self.torrents.get(slot).role != Role::Sole {
            return self.announce_hybrid(slot, announce, now, random, reply);
        }
        let known = self.known(slot, announce);
        if self.is_plain(announce, known.as_ref()) {
            return self.take_in(slot, announce, known, None, None, now, random, reply);
        }
        self.announce_judged(slot, announce, known, None, now, random, reply)
    }

    /// Takes an announce that does not simply go on, or may not, or is of a hybrid torrent.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one announce, split for speed")]
    pub(super) fn announce_judged(
        &mut self,
        slot: u32,
        announce: &Announce,
        known: Option<Known>,
        over: Option<&Over>,
        now: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        let announce = Announce { counters: fold::bounded(&announce.counters), ..*announce };
        let stays = over.is_some_and(|over| over.stays);
        let judged = match self.is_plain(&announce, known.as_ref()) && !stays {
            true => None,
            false => self.judge(&announce, known.as_ref(), over, now),
        };
        let mut counted = judged.as_ref().map_or(announce, |judged| judged.announce);
        let begins = known.is_none() && judged.is_none();
        if known.is_none()
            && counted.event != Event::Stopped
            && self.limits.facts != Facts::Refused
            && self.succeed(slot, counted.user.id, &counted.endpoints, None, now)
        {
            // It goes on with a download of the one before it.
            counted.downloads_full = false;
        }
        let judged = judged.as_ref();
        let done = self.take_in(slot, &counted, known, judged, over, now, random, reply)?;
        if begins && done.is.is_some() {
            self.forget_left(&announce);
        }
        Ok(done)
    }

    /// Does what an announce counts as. In line, so that the usual case is compiled for itself.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "one announce, split for speed")]
    fn take_in(
        &mut self,
        slot: u32,
        announce: &Announce,
        known: Option<Known>,
        judged: Option<&Judged>,
        over: Option<&Over>,
        now: Seconds,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) -> Result<Outcome, Refusal> {
        let step = self.step(slot, announce, known.as_ref(), judged, now);
        let stopped = announce.event == Event::Stopped;
        let is_noted = !step.postponed && (known.is_some() || !stopped);
        if self.limits.facts == Facts::Refused && is_noted {
            return Err(Refusal::NoRoom);
        }
        let forbidden = announce.left > 0 && !announce.user.can_leech;

        let (was, is) = (known.map(|known| known.state), (!stopped).then_some(step.state));
        let held_back = step.held_back;
        let since_last = known.map(|known| now.since(known.figures.seen));
        let told = known.map_or(Seconds(0), |known| known.figures.wait.least(&self.limits));
        let (face, met) = match known {
            Some(known) => self.meet_known(slot, announce, &known, &step, judged)?,
            None => self.meet_new(slot, announce, &step, judged)?,
        };
        let met = met || !stopped && over.is_some_and(|over| over.changed);
        if met && known.is_some() && !stopped {
            self.succeed_known(slot, announce, &face, now);
        }
        if !step.postponed {
            self.remember(announce, known.as_ref(), face.account, judged, now);
        }
        self.count(was, is);
        if was != is && (was == Some(PeerState::Seeder) || !self.downloads.is_empty()) {
            self.note_progress(slot, announce, known.as_ref(), judged, step.state);
        }
        self.book(slot, announce, &step);
        reply.counts = self.members.counts(self.torrents.get(slot));

        let changed = was != is || met || is_news(announce, known.as_ref(), judged, &step);
        let makes_fact = changed && !step.postponed || self.limits.facts == Facts::All;
        // Not by a closure, which would not be compiled in line.
        let fact = match makes_fact {
            true => Some(self.fact(slot, announce, &face, &step, judged, reply.counts)),
            false => None,
        };
        let names = over.filter(|_| !stopped).map_or(Names::FIRST, |over| over.names);
        let fact = fact.map(|fact| Fact { names, ..fact });
        if stopped {
            // A stranger's face was never anybody's.
            match known {
                Some(_) => self.members.forget(&face),
                None => face.forget(&mut self.members.wides),
            }
        } else if !forbidden && !held_back {
            // At its first announce, and at the first over its other family (BEP 7).
            let is_new =
                known.is_none_or(|known| !known.face.mark.has_both() && face.mark.has_both());
            self.tell(slot, announce, (is_new, face.mark.is_wide()), over, random, reply);
        }
        let stops = stopped || judged.is_some_and(|judged| judged.stops);
        let once = fact.is_some() && (stops || step.anew || step.snatched);
        Ok(Outcome {
            fact,
            was,
            is,
            since_last,
            told,
            snatched: step.snatched,
            once,
            forbidden,
            held_back,
            late: judged.is_some_and(Judged::is_late),
            impossible: judged.is_some_and(|judged| judged.verdict == fold::Verdict::Impossible),
        })
    }

    /// Tells the client of others, which `is_new` or has a new family, and has addresses of both families where it `is_wide`.
    #[inline(always)]
    fn tell(
        &self,
        slot: u32,
        announce: &Announce,
        (is_new, is_wide): (bool, bool),
        over: Option<&Over>,
        random: &mut fastrand::Rng,
        reply: &mut Reply,
    ) {
        let told = self.torrents.get(over.map_or(slot, |over| over.told));
        let mut ask = Ask::of(announce, is_wide);
        if is_new && announce.left == 0 {
            // Whoever may not download gets nothing by saying that he has it.
            ask.may_have_nothing(announce.user.can_leech && !announce.downloads_full);
        }
        if over.is_some() {
            ask.look_beyond(self.apart(slot));
        }
        choose(told, &self.members, &self.rights, &ask, random, reply);
    }

    /// A client that is there may have come to the endpoint of another one.
    #[cold]
    fn succeed_known(&mut self, slot: u32, announce: &Announce, face: &Face, now: Seconds) {
        let endpoints = face.endpoints(&self.members.wides);
        self.succeed(slot, announce.user.id, &endpoints, Some(face.account), now);
    }

    #[inline(always)]
    pub(super) fn known(&self, slot: u32, announce: &Announce) -> Option<Known> {
        let torrent = self.torrents.get(slot);
        let spot = self.spot(torrent, announce)?;
        let (face, state) = self.members.face(torrent, spot);
        let (accounts, is_large) = (&self.members.accounts, face.mark.is_large());
        let figures = accounts.figures(face.account, is_large);
        let is_odd = is_large && accounts.lines(face.account, true).is_some();
        Some(Known { spot, face, state, figures, is_odd })
    }

    /// Works out what follows from what is known and what is said; changes nothing.
    #[inline(always)]
    fn step(
        &self,
        slot: u32,
        announce: &Announce,
        known: Option<&Known>,
        judged: Option<&Judged>,
        now: Seconds,
    ) -> Step {
        let torrent = self.torrents.get(slot);
        let was = known.map(|known| known.state);
        let held_back = held_back(announce, was);
        let state = match (announce.event, was) {
            // Who leaves is what it was, unless it completed meanwhile.
            (Event::Stopped, Some(PeerState::PartialSeed)) if announce.left > 0 => {
                PeerState::PartialSeed
            }
            _ if held_back => PeerState::PartialSeed,
            _ => state(announce),
        };
        let (since, last, announces) = known.map_or((now, now, 0), |known| {
            (known.figures.since, known.figures.seen, known.figures.announces)
        });
        let seen = now.not_before(last, AHEAD_MAX);
        let mut figures = Figures {
            reported: announce.counters,
            left: announce.left,
            since: since.min(seen),
            seen,
            announces: announces.saturating_add(1),
            wait: Wait::new(announce.interval, &self.limits),
        };
        let anew = known.is_none()
            || announce.event == Event::Started
            || judged.is_some_and(Judged::begins);
        let snatched = announce.left == 0
            && match known {
                // It had a magnet link, and now it has what that is of; unless it is a copy, which goes on from less.
                Some(known) if known.state == PeerState::Seeder => {
                    !known.is_odd
                        && !judged.is_some_and(|judged| judged.is_elsewhere)
                        && known.figures.reported.downloaded == 0
                        && announce.counters.downloaded > 0
                }
                _ => self.completes(slot, announce, was.is_some()),
            };
        let postponed = matches!(self.limits.facts, Facts::Postponed | Facts::Refused)
            && announce.event != Event::Stopped
            && !judged.is_some_and(|judged| judged.stops)
            && !(anew || snatched)
            && known.is_some_and(|known| {
                known.state == state
                    && (known.face.mark.is_wide() || announce.endpoints.v6.is_none())
                    && (known.face.mark.has_v4() || announce.endpoints.v4.is_none())
            });
        if let (true, Some(known)) = (postponed, known) {
            figures.reported = known.figures.reported;
        }
        let moved = match (judged, known) {
            (Some(judged), _) if !postponed => judged.moved,
            (None, Some(known)) => fold::moved(&known.figures.reported, &figures.reported),
            _ => Counters::default(),
        };
        let token = torrent.has_tokens && self.tokens.has(slot, announce.user.id, now);
        Step {
            state,
            figures,
            elapsed: now.since(last).0,
            credit: credit(moved, &torrent.terms, token),
            snatched,
            token_spent: snatched && token && torrent.terms.freeleech != Freeleech::Neutral,
            postponed,
            anew,
            held_back,
        }
    }

    /// Whether an announce with nothing left, of a leecher or of a client that is not known, completes a download. It is
    /// not asked who was at its endpoint before: what is said of clients under other names is not theirs, and after a
    /// restore of the data folder a download could count twice.
    #[cold]
    fn completes(&self, slot: u32, announce: &Announce, is_known: bool) -> bool {
        if !is_known {
            return self.limits.count_unknown && announce.event == Event::Completed;
        }
        let completion = Completion {
            event: announce.event,
            downloaded: announce.counters.downloaded,
            is_another_session: false,
        };
        self.downloads.is_one(self.download_of(slot, announce), &completion)
    }

    /// Remembers what a seeder had downloaded that is none any more, until it is one again. Where it does not begin a
    /// session anew, it may be a copy that says so, which had less: then what the seeder had.
    #[cold]
    fn note_progress(
        &mut self,
        slot: u32,
        announce: &Announce,
        known: Option<&Known>,
        judged: Option<&Judged>,
        is: PeerState,
    ) {
        let client = self.download_of(slot, announce);
        let seeder = known.filter(|known| known.state == PeerState::Seeder);
        if let Some(seeder) = seeder
            && announce.left > 0
            && is != PeerState::Seeder
        {
            if announce.event != Event::Stopped {
                let begins = judged.is_some_and(|judged| judged.begins() && !judged.is_elsewhere);
                let had = if begins { 0 } else { seeder.figures.reported.downloaded };
                self.downloads.note(client, announce.counters.downloaded.max(had));
            }
        } else if announce.left == 0 {
            self.downloads.forget(client);
        }
    }

    /// A client and its torrent, as [`Downloads`](crate::downloads::Downloads) knows them.
    fn download_of(&self, slot: u32, announce: &Announce) -> u64 {
        let Announce { user, ref peer_id, key, .. } = *announce;
        self.client_hash(user.id, peer_id, key, &self.torrents.get(slot).info_hash)
    }

    /// Brings a peer that is there up to date, or takes its face out. Its face, and whether that has
    /// another endpoint or other rights.
    #[inline(always)]
    fn meet_known(
        &mut self,
        slot: u32,
        announce: &Announce,
        known: &Known,
        step: &Step,
        judged: Option<&Judged>,
    ) -> Result<(Face, bool), Refusal> {
        let (torrent, members) = (self.torrents.get_mut(slot), &mut self.members);
        let mut face = known.face;
        // What the site has said of the user is in the journal already, and changes nothing here.
        self.rights.write(&mut face, known.state);
        let mut met = match judged {
            Some(judged) if judged.parts => face.part(&mut members.wides, &announce.endpoints),
            Some(judged) if judged.stays => false,
            _ => face.meet(&mut members.wides, announce),
        };
        let mark = face.mark;
        mark_rights(&mut face, announce, step, &self.rights);
        met |= mark != face.mark;
        if announce.event == Event::Stopped {
            members.take(torrent, known.spot);
            return Ok((face, met));
        }
        let is_large = face.mark.is_large();
        let mut is_large = members.accounts.set(face.account, is_large, &step.figures);
        if let Some(judged) = judged.filter(|_| !step.postponed)
            && (known.is_odd || judged.lines.is_some())
        {
            let lines = judged.lines.as_ref();
            is_large = members.accounts.set_lines(face.account, is_large, lines);
        }
        face.mark.set_large(is_large);
        let same = step.state == known.state && face == known.face;
        if !same && !members.replace(torrent, known.spot, face, step.state) {
            return Err(self.stay(slot, known, face));
        }
        Ok((face, met))
    }

    /// Puts a peer that could not be moved back to what it was.
    #[cold]
    fn stay(&mut self, slot: u32, known: &Known, mut face: Face) -> Refusal {
        let members = &mut self.members;
        let is_large = face.mark.is_large();
        let is_large = members.accounts.set_lines(face.account, is_large, None);
        face.mark.set_large(members.accounts.set(face.account, is_large, &known.figures));
        let endpoints = known.face.endpoints(&members.wides);
        face.set_endpoints(&mut members.wides, &endpoints);
        members.replace(self.torrents.get_mut(slot), known.spot, face, known.state);
        Refusal::ClientsMax
    }

    /// Adds a peer, if there is room for it; one that comes to say it leaves gets a face only.
    fn meet_new(
        &mut self,
        slot: u32,
        announce: &Announce,
        step: &Step,
        judged: Option<&Judged>,
    ) -> Result<(Face, bool), Refusal> {
        let (torrent, members) = (self.torrents.get_mut(slot), &mut self.members);
        let stopped = announce.event == Event::Stopped;
        if !stopped {
            if members.accounts.len() >= self.limits.peers_max {
                return Err(Refusal::PeersMax);
            }
            let clients_max = usize::from(self.limits.clients_max);
            if clients_max > 0 && members.clients(torrent, announce.user.id) >= clients_max {
                return Err(Refusal::ClientsMax);
            }
        }
        let mut face = Face::new(&Name::of(&members.keys, announce), 0);
        face.set_endpoints(&mut members.wides, &announce.endpoints);
        mark_rights(&mut face, announce, step, &self.rights);
        if stopped {
            return Ok((face, false));
        }
        let account = members.accounts.insert(announce.peer_id, announce.key, &step.figures);
        face.account = account.0;
        face.mark.set_large(account.1);
        if let lines @ Some(_) = judged.and_then(|judged| judged.lines.as_ref()) {
            face.mark.set_large(members.accounts.set_lines(face.account, account.1, lines));
        }
        if !members.insert(torrent, face, step.state) {
            members.forget(&face);
            return Err(Refusal::ClientsMax);
        }
        Ok((face, true))
    }

    /// Writes down what the torrent has gained, and that a token was used up.
    #[inline(always)]
    fn book(&mut self, slot: u32, announce: &Announce, step: &Step) {
        let torrent = self.torrents.get_mut(slot);
        torrent.balance = balance(torrent.balance, &step.credit.moved);
        torrent.snatches = torrent.snatches.saturating_add(u32::from(step.snatched));
        if step.token_spent {
            if let Some(changed) = &mut self.changed {
                changed.token(announce.user.id, &announce.info_hash);
            }
            self.tokens.remove(slot, announce.user.id);
        }
    }

    #[inline(always)]
    fn fact(
        &self,
        slot: u32,
        announce: &Announce,
        face: &Face,
        step: &Step,
        judged: Option<&Judged>,
        counts: Counts,
    ) -> Fact {
        let reported = step.figures.reported;
        let said = judged.map(|judged| judged.said).filter(|said| *said != reported);
        let torrent = self.torrents.get(slot);
        Fact {
            // Not before the announce before it, where the clock was put back a little.
            at: step.figures.seen,
            stamp: Stamp::at(step.figures.seen),
            over_v6: announce.endpoints.v4.is_none(),
            after: None,
            user: announce.user.id,
            torrent: torrent.terms.id,
            info_hash: torrent.info_hash,
            peer_id: announce.peer_id,
            key: announce.key,
            endpoints: face.endpoints(&self.members.wides),
            hidden: announce.user.hidden,
            visible: face.mark.is_visible(),
            reported,
            said,
            left: announce.left,
            partial: step.state == PeerState::PartialSeed,
            active: announce.event != Event::Stopped,
            names: Names::FIRST,
            since: step.figures.since,
            elapsed: step.elapsed,
            announces: step.figures.announces,
            moved: step.credit.moved,
            upload_percent: step.credit.factors.upload_percent,
            download_percent: step.credit.factors.download_percent,
            token: step.credit.factors.token,
            credited_up: step.credit.up,
            credited_down: step.credit.down,
            token_down: step.credit.token_down,
            token_spent: step.token_spent,
            snatched: step.snatched,
            swarm: Swarm {
                seeders: counts.seeders,
                leechers: counts.leechers,
                snatches: torrent.snatches,
                balance: torrent.balance,
            },
        }
    }
}

/// Whether a peer that was this before would begin a download that its user's group does not allow.
#[inline]
fn held_back(announce: &Announce, was: Option<PeerState>) -> bool {
    announce.downloads_full
        && announce.user.can_leech
        && announce.event != Event::Stopped
        && was != Some(PeerState::Leecher)
        && state(announce) == PeerState::Leecher
}

/// Writes into a face what the user of an announce may. Who is held back does not get from others what he may not
/// download by being told to them; but what the site has just said of a user counts, as it does for all of his peers.
#[inline]
fn mark_rights(face: &mut Face, announce: &Announce, step: &Step, rights: &Rights) {
    face.mark.set_visible(announce.left == 0 || announce.user.can_leech && !step.held_back);
    face.mark.set_hidden(announce.user.hidden);
    if step.held_back {
        rights.write(face, step.state);
    }
}

/// Whether the journal is to hear of an announce that left state and endpoints of its client as they were.
#[inline(always)]
fn is_news(
    announce: &Announce,
    known: Option<&Known>,
    judged: Option<&Judged>,
    step: &Step,
) -> bool {
    announce.event == Event::Started
        || known.is_some_and(|known| {
            known.figures.reported != step.figures.reported
                || known.figures.left != step.figures.left
        })
        || judged.is_some_and(|judged| judged.moved != Counters::default())
        || step.snatched
}
