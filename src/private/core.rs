//! What a core does for known users.

pub mod ask;
pub mod early;
mod follow;
pub mod obey;
pub mod outgoing;
pub mod site_changes;
pub mod traces;

use std::rc::Rc;
use std::sync::Arc;

use ops::counters::{self, Family, Protocol, Reason};
use ops::screening::Gate;
use persist::Trouble;
use persist::journal::{self, Answer, Columns};
use shard::private::{
    Announce, Change, Facts, Gone, Limits, Outcome, Passkey, Refusal, Swarms, User, UserId,
};
use shard::{Event, InfoHash, PeerState, Reply, Seconds};

use super::core::early::Early;
use super::core::outgoing::{Client, Outgoing, Waited, Waiter};
use super::core::traces::Traces;
use crate::api::trace::Announced;
use crate::core::mesh::late::Late;
use crate::core::mesh::message::{Command, Differing, SeenRow};
use crate::core::route::{self, SITE_CORE};
use crate::private::site::Site;
use crate::private::users::accounts::Accounts;
use crate::private::users::unwritten::{Unwritten, Written};
use crate::process::clock::Clock;
use crate::wire::private::{self, ClientRules};

/// The private side of a core.
pub struct Private {
    /// Which core this is, from 0.
    pub number: usize,
    /// How many there are.
    pub cores: usize,
    /// What follows for every core from what was changed here.
    pub to_tell: Vec<Command>,
    /// The registered torrents that this core owns, and who is on them.
    pub swarms: Swarms,
    /// All users; every core reads them.
    pub accounts: Arc<Accounts>,
    /// Which clients are allowed.
    pub rules: Arc<ClientRules>,
    /// What goes to the journal.
    pub outgoing: Outgoing,
    /// What was said of torrents of this core, and may not be in the database yet.
    pub unwritten_torrents: Unwritten<InfoHash>,
    /// The same of tokens.
    pub unwritten_tokens: Unwritten<(UserId, InfoHash)>,
    /// Which records the database has.
    pub written: Written,
    /// Which announces are noted while the journal takes them.
    pub facts: Facts,
    /// What every core knows of the site.
    pub site: Arc<Site>,
    /// Who is told no peers because he comes too soon.
    pub early: Early,
    /// Who wants to see what users announce.
    pub traces: Traces,
    /// Filled by every sweep; its buffer is used again.
    pub gone: Vec<Gone>,
    /// The core ends: nothing more is booked, or those who leave could keep it for as long as they come.
    pub is_closed: bool,
}

/// What became of an announce.
pub enum Booked {
    /// It is answered with the swarm and its peers. What is said `once` waits until the journal has it: a
    /// crash would forget it, and the client would not say it again (see [`Outcome::once`]).
    Told {
        /// When the client is to come back.
        interval: Seconds,
        /// See above.
        once: bool,
    },
    /// It is answered with a refusal, and may have been booked all the same.
    Refused {
        /// What the client is told.
        refusal: Refusal,
        /// As above.
        once: bool,
    },
    /// The tracker is stopping, or the journal takes nothing and there is no room for what the announce adds or for its
    /// answer to wait. Nothing was changed.
    Unable,
}

/// What a core lends to its private side for an announce.
pub struct Lent<'a> {
    /// The source of all chance.
    pub random: &'a mut fastrand::Rng,
    /// Filled with the answer.
    pub reply: &'a mut Reply,
    /// What happened.
    pub counters: &'a mut counters::Core,
    /// The tracker stops.
    pub draining: bool,
    /// How long this client is told to wait.
    pub interval: Seconds,
    /// The client was turned away before, and waits: that is counted, and said, once.
    pub waits: bool,
    /// The time, by a clock that does not jump.
    pub steady: Seconds,
}

impl Private {
    /// Applies an announce of a torrent that this core owns, and leaves the answer in the lent reply.
    pub fn book(
        &mut self,
        announce: &Announce,
        protocol: Protocol,
        family: Family,
        now: Seconds,
        mut lent: Lent<'_>,
    ) -> Booked {
        self.postpone();
        let booked = self.book_if_it_can(announce, protocol, now, &mut lent);
        let front = &mut lent.counters.fronts[protocol as usize][family as usize];
        match &booked {
            Booked::Told { .. } => {
                let Reply { peers_v4, peers_v6, .. } = &lent.reply;
                front.announces += 1;
                front.peers_sent += (peers_v4.len() / 6 + peers_v6.len() / 18) as u64;
            }
            Booked::Refused { .. } | Booked::Unable if lent.waits => {}
            Booked::Refused { refusal, .. } => front.refuse(reason(refusal)),
            Booked::Unable => front.refuse(Reason::Overload),
        }
        booked
    }

    #[inline(always)]
    fn book_if_it_can(
        &mut self,
        announce: &Announce,
        protocol: Protocol,
        now: Seconds,
        lent: &mut Lent<'_>,
    ) -> Booked {
        // What who leaves has moved since it announced last is said once, and is noted while that can be.
        if self.is_closed || lent.draining && announce.event != Event::Stopped {
            return Booked::Unable;
        }
        let downloads_full = self.accounts.downloads_full(&announce.user);
        let announce = &Announce { downloads_full, interval: lent.interval, ..*announce };
        let first = self.site.hybrids().first_of(&announce.info_hash);
        let client = (announce.user.id, first, announce.peer_id, announce.key);
        if self.outgoing.has_no_seat() && self.outgoing.is_unkept(&client) {
            return Booked::Unable;
        }
        let outcome = self.swarms.announce(announce, now, lent.random, lent.reply);
        if !self.swarms.succeeded().is_empty() {
            self.note_succeeded();
        }
        if self.traces.want(announce.user.id) {
            self.traces.begin(protocol, traced(announce, outcome.as_ref(), lent.reply));
        }
        match outcome {
            Ok(outcome) => self.take_in(announce, client, outcome, lent),
            Err(Refusal::NoRoom) => Booked::Unable,
            Err(refusal) => Booked::Refused { refusal, once: false },
        }
    }

    /// Counts what an announce did, and puts down what the journal is to have of it.
    #[inline(always)]
    fn take_in(
        &mut self,
        announce: &Announce,
        client: Client,
        outcome: Outcome,
        lent: &mut Lent<'_>,
    ) -> Booked {
        let refusal = outcome.refusal();
        if outcome.once {
            self.outgoing.keep(client);
        }
        let once = self.outgoing.is_unkept(&client);
        self.count(announce.user.id, outcome.was, outcome.is);
        lent.counters.snatches += u64::from(outcome.snatched);
        lent.counters.late_announces += u64::from(outcome.late);
        lent.counters.impossible_announces += u64::from(outcome.impossible);
        if let Some(fact) = outcome.fact {
            self.outgoing.push(fact);
        }
        if let Some(refusal) = refusal {
            return Booked::Refused { refusal, once };
        }
        if self.early.is(client, announce.event, &outcome, lent.steady) {
            lent.reply.peers_v4.clear();
            lent.reply.peers_v6.clear();
            lent.counters.early_announces += 1;
        }
        Booked::Told { interval: lent.interval, once }
    }

    /// Takes in what became of records that went to the journal, where that is known by now; who waited for it.
    pub fn next_answer(&mut self) -> Option<Waited> {
        let answer = self.outgoing.take_answer()?;
        if let Answer::Refused { why, .. } = &answer
            && *why != journal::Refusal::TooLarge
            && let Some(times) = JOURNAL.again("")
        {
            let records = self.outgoing.len();
            tracing::error!(?why, times, records, "the journal takes nothing; credit waits");
        }
        let durable = match answer {
            Answer::Durable { first, records } => Some(first + records as u64),
            Answer::Refused { .. } => None,
        };
        let waited = self.outgoing.answered(answer);
        if let Some(behind) = durable {
            let all = self.outgoing.is_empty();
            self.placed(behind, all, self.number == SITE_CORE);
        }
        Some(waited)
    }

    /// Comes when everything booked so far is on the disk.
    pub fn hold(&mut self) -> Rc<Late<bool>> {
        let late = Rc::new(Late::new());
        self.outgoing.wait(Waiter::Http(late.clone()));
        self.outgoing.hurry();
        late
    }

    /// Does what every core does when the site has said something.
    pub fn obey_command(&mut self, command: Command) {
        let (number, cores) = (self.number, self.cores);
        match command {
            Command::Seen(row) => {
                let owner = row.change.info_hash().map(|hash| route::owner(hash, cores));
                if owner == Some(self.number) {
                    self.hear(&row);
                }
            }
            Command::WatchChanges(on) => self.swarms.watch_changes(on),
            Command::Differing(all) => {
                let owner = |change: &Change| {
                    change.info_hash().map(|info_hash| route::owner(info_hash, cores))
                };
                let ours = all.iter().filter(|one| owner(&one.change) == Some(number));
                ours.for_each(|one| self.put_unless_changed(one));
            }
            // Whoever tells of him told it in no certain order; what is known of him is true.
            Command::Rights(User { id, .. }) | Command::UserGone(id) => {
                match self.accounts.of(id) {
                    Some(user) => self.swarms.set_user_rights(user),
                    None => self.swarms.remove_user(id),
                }
            }
            Command::ClientRules(rules) => self.rules = rules,
            Command::Trace(tracer) => self.traces.add(tracer),
            Command::TraceIntoLog(user, on) => self.traces.log(user, on),
            _ => unreachable!("the others are for every tracker"),
        }
    }

    /// Looks at the next peers of the sweep and drops who has been silent for too long, and whose address the rules
    /// refuse; how many, and whether that was the last of a round.
    pub fn sweep(&mut self, now: Seconds, budget: usize, rules: &Gate) -> (usize, bool) {
        if self.outgoing.is_crowded() {
            // Who leaves while the journal takes nothing would be back after a crash.
            return (0, false);
        }
        self.gone.clear();
        let swept = match rules.has_rules() {
            false => self.swarms.expire(now, budget, &mut self.gone),
            true => {
                let is_refused = |address| rules.refuses(address);
                self.swarms.expire_refusing(now, budget, Some(&is_refused), &mut self.gone)
            }
        };
        for gone in self.gone.iter().filter(|gone| gone.swarm.is_some()) {
            self.outgoing.push(*gone);
        }
        self.count_gone();
        (swept.peers, swept.finished)
    }

    /// Whose passkey this is, or was and is good still. The time is asked for where it matters.
    pub fn find(&self, passkey: Passkey, clock: &Clock) -> Result<User, private::Refusal<'static>> {
        match self.accounts.find(&passkey) {
            Some(user) => Ok(user),
            None => self.find_former(&passkey, clock),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_former(
        &self,
        passkey: &Passkey,
        clock: &Clock,
    ) -> Result<User, private::Refusal<'static>> {
        let user = self.accounts.find_former(passkey, clock.now());
        user.ok_or(private::Refusal::PasskeyNotFound)
    }

    /// The journal has all records before `behind`, of which some are of this core; see
    /// [`Unwritten::journaled`].
    fn placed(&mut self, behind: u64, all: bool, is_of_site: bool) {
        self.unwritten_torrents.journaled(behind, all);
        self.unwritten_tokens.journaled(behind, all);
        if is_of_site {
            self.accounts.journaled(behind, all);
            self.accounts.groups().unwritten().journaled(behind, all);
            self.site.unwritten_rules().journaled(behind, all);
        }
        if let Some(position) = self.written.of_a_while_ago() {
            self.unwritten_torrents.written(position);
            self.unwritten_tokens.written(position);
            if is_of_site {
                self.accounts.written(position);
                self.accounts.groups().unwritten().written(position);
                self.site.unwritten_rules().written(position);
            }
        }
    }

    /// Takes in a row of a torrent or a token: what was said through the tracker and is not in it stays.
    fn hear(&mut self, row: &SeenRow) {
        self.unwritten_torrents.written(row.position);
        self.unwritten_tokens.written(row.position);
        match row.change {
            Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
                let Some(here) = self.swarms.terms(&info_hash) else {
                    // One that was removed here, and is on its way out of the database.
                    if !self.unwritten_torrents.has(&info_hash) {
                        self.put(&row.change);
                        if let Some((snatches, balance)) = row.figures {
                            self.swarms.set_figures(&info_hash, snatches, balance);
                        }
                    }
                    return;
                };
                let kept = self.unwritten_torrents.kept(&info_hash, &row.said_at);
                let keeps = |column| kept.has(column);
                let freeleech = if keeps(Columns::FREELEECH) { here.freeleech } else { freeleech };
                let upload_percent = match keeps(Columns::UPLOAD_PERCENT) {
                    true => here.upload_percent,
                    false => upload_percent,
                };
                let info_hash_v2 = match keeps(Columns::INFO_HASH_V2) {
                    true => self.swarms.second(&info_hash),
                    false => info_hash_v2,
                };
                let change =
                    Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent };
                self.put(&change);
            }
            Change::TorrentRemoved { info_hash, .. }
                if self.unwritten_torrents.is_made(&info_hash) => {}
            Change::Token { user, info_hash, .. }
            | Change::TokenRemoved { user, info_hash, .. }
                if self.unwritten_tokens.has(&(user, info_hash)) => {}
            _ => self.put(&row.change),
        }
    }

    /// Does what a change of a torrent or a token says. It is known to the journal or the database
    /// already.
    pub fn put(&mut self, change: &Change) {
        let mut gone = std::mem::take(&mut self.gone);
        gone.clear();
        self.renumber(change);
        if let Err(refusal) = self.swarms.apply(change, &mut gone) {
            self.unname(change);
            say_unfit(change, &refusal);
        }
        self.gone = gone;
        self.count_gone();
    }

    /// Says who has which number, and which second name, when this is done.
    fn renumber(&self, change: &Change) {
        let (Change::Torrent { info_hash, .. } | Change::TorrentRemoved { info_hash, .. }) = change
        else {
            return;
        };
        let numbers = self.site.numbers();
        if let Some(here) = self.swarms.terms(info_hash) {
            numbers.release(here.id, info_hash);
        }
        if let Change::Torrent { id, .. } = change {
            numbers.set(*id, info_hash);
        }
        let (hybrids, before) = (self.site.hybrids(), self.swarms.second(info_hash));
        match (change, before) {
            (Change::Torrent { info_hash_v2, .. }, before) => {
                if let Err(other) = hybrids.change(info_hash, before, *info_hash_v2) {
                    say_named_twice(&info_hash_v2.unwrap_or(*info_hash), &other);
                }
            }
            (_, Some(before)) => hybrids.release(info_hash, &before, true),
            (_, None) => {}
        }
    }

    /// The second name that a change gives is not taken.
    fn unname(&self, change: &Change) {
        if let Change::Torrent { info_hash, info_hash_v2: Some(second), .. } = change
            && self.swarms.second(info_hash) != Some(*second)
        {
            self.site.hybrids().release(info_hash, second, false);
        }
    }

    /// Does what the database says of a torrent or a token, unless what is here is newer.
    fn put_unless_changed(&mut self, differing: &Differing) {
        let Differing { change, figures } = differing;
        let mut gone = std::mem::take(&mut self.gone);
        gone.clear();
        if self.swarms.is_unchanged(change) {
            self.renumber(change);
        }
        match (self.swarms.apply_unless_changed(change, &mut gone), change, figures) {
            (Ok(true), Change::Torrent { info_hash, .. }, Some((snatches, balance))) => {
                self.swarms.set_figures(info_hash, *snatches, *balance);
            }
            (Ok(_), ..) => {}
            (Err(refusal), ..) => {
                self.unname(change);
                say_unfit(change, &refusal);
            }
        }
        self.gone = gone;
        self.count_gone();
    }

    /// While the journal takes nothing and much waits for it, credit is postponed: peers keep their baselines,
    /// and only what will not be said again is still noted. At the bound that is refused, too.
    #[inline]
    fn postpone(&mut self) {
        let facts = if self.outgoing.is_full() {
            Facts::Refused
        } else if self.outgoing.is_crowded() {
            Facts::Postponed
        } else {
            self.facts
        };
        if self.swarms.limits().facts != facts {
            self.change_facts(facts);
        }
    }

    #[cold]
    fn change_facts(&mut self, facts: Facts) {
        match facts {
            Facts::Postponed => {
                if let Some(times) = POSTPONED.again("postponed") {
                    tracing::error!(times, "credit is postponed until the journal takes more");
                }
            }
            Facts::Refused => {
                if let Some(times) = POSTPONED.again("refused") {
                    tracing::error!(
                        times,
                        "too much waits for the journal: whoever comes, leaves or completes a download is told \
                         to try again until it takes more"
                    );
                }
            }
            Facts::Changed | Facts::All => {
                if let Some(time) = POSTPONED.over() {
                    tracing::info!(
                        seconds = time.as_secs(),
                        "the journal takes what happens again; credit is no longer postponed"
                    );
                }
            }
        }
        let limits = self.swarms.limits();
        self.swarms.set_limits(Limits { facts, ..limits });
    }

    /// A client of a user changed from one state to another; `None` is not there.
    pub fn count(&self, user: UserId, was: Option<PeerState>, is: Option<PeerState>) {
        if was == is {
            return;
        }
        self.accounts.count(user, |active| {
            if let Some(was) = was {
                let count = active.of(was);
                *count = count.saturating_sub(1);
            }
            if let Some(is) = is {
                *active.of(is) += 1;
            }
        });
    }

    /// Those whose endpoint an announce has taken over have left, before what it does.
    #[cold]
    fn note_succeeded(&mut self) {
        self.gone.append(self.swarms.succeeded());
        self.gone.iter().for_each(|gone| self.outgoing.push(*gone));
        self.count_gone();
    }

    /// Counts who has gone without a word.
    pub fn count_gone(&mut self) {
        for gone in &self.gone {
            self.count(gone.user, Some(gone.state), None);
        }
        self.gone.clear();
    }
}

/// An announce as those who trace its user see it, but for the interval.
#[cold]
fn traced(announce: &Announce, outcome: Result<&Outcome, &Refusal>, reply: &Reply) -> Announced {
    let refusal = match outcome {
        Ok(outcome) => outcome.refusal(),
        Err(refusal) => Some(refusal.clone()),
    };
    Announced {
        announce: *announce,
        refusal: refusal.map(|refusal| refusal.to_string()),
        fact: outcome.ok().and_then(|outcome| outcome.fact),
        counts: reply.counts,
        peers: reply.peers_v4.len() / 6 + reply.peers_v6.len() / 18,
        interval: None,
    }
}

/// What the metrics call it.
fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Unregistered | Refusal::Deleted { .. } | Refusal::NameTaken => Reason::Torrent,
        Refusal::LeechingForbidden => Reason::Rights,
        Refusal::ClientsMax => Reason::Clients,
        Refusal::DownloadsMax => Reason::Downloads,
        Refusal::PeersMax | Refusal::TorrentsMax => Reason::Full,
        Refusal::NoRoom => Reason::Overload,
    }
}

/// What all cores say once a minute: that the journal takes nothing,
static JOURNAL: Trouble = Trouble::new();
/// what follows from that,
static POSTPONED: Trouble = Trouble::new();
/// and that a torrent does not fit.
static UNFIT: Trouble = Trouble::new();
/// Or has a name of another one.
static NAMED_TWICE: Trouble = Trouble::new();

#[cold]
pub(super) fn say_named_twice(name: &InfoHash, other: &InfoHash) {
    if let Some(times) = NAMED_TWICE.again("") {
        tracing::error!(
            %name,
            %other,
            times,
            "an infohash is given to two torrents, and stays that of the other; give each of them its own"
        );
    }
}

#[cold]
fn say_unfit(change: &Change, refusal: &Refusal) {
    if let (Refusal::NameTaken, Some(name)) = (refusal, change.info_hash()) {
        say_named_twice(name, name);
    } else if let Some(times) = UNFIT.again("") {
        tracing::error!(?change, %refusal, times, "a torrent does not fit; raise torrents-max");
    }
}
