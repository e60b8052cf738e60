//! What a core does for known users.

use std::sync::Arc;

use ops::counters::{Family, Protocol, Reason};
use persist::journal::Answer;
use shard::private::{
    Announce, Change, Facts, Gone, Limits, Outcome, Passkey, Refusal, Swarms, Terms, User, UserId,
};
use shard::{PeerState, Reply, Seconds};

use super::Core;
use super::message::Command;
use super::outgoing::Outgoing;
use super::traces::{Announced, Traces};
use crate::private::accounts::Accounts;
use crate::private::site::Site;
use crate::route;
use crate::wire::private::{self, ClientRules};

/// The private side of a core.
pub struct Private {
    /// The registered torrents that this core owns, and who is on them.
    pub swarms: Swarms,
    /// All users; every core reads them.
    pub accounts: Arc<Accounts>,
    /// Which clients are allowed.
    pub rules: Arc<ClientRules>,
    /// What goes to the journal.
    pub outgoing: Outgoing,
    /// Which announces are noted while the journal takes them.
    pub facts: Facts,
    /// What every core knows of the site.
    pub site: Arc<Site>,
    /// Who wants to see what users announce.
    pub traces: Traces,
    /// Filled by every sweep; its buffer is used again.
    pub gone: Vec<Gone>,
}

/// What became of an announce.
pub enum Booked {
    /// It is answered with the swarm and its peers. `first` of this client: the answer waits until the
    /// journal has it, or a crash would forget where the client's counters began.
    Told {
        /// See above.
        first: bool,
    },
    /// It is answered with a refusal.
    Refused(Refusal),
    /// The tracker is stopping.
    Unavailable,
}

impl Core {
    /// Applies an announce of a torrent that this core owns, and leaves the answer in `self.reply`.
    pub fn book(
        &mut self,
        announce: &Announce,
        protocol: Protocol,
        family: Family,
        now: Seconds,
    ) -> Booked {
        let Self { private, random, reply, counters, draining, .. } = self;
        let private = private.as_mut().expect("announces of users come to a private tracker");
        let snatches = &mut counters.snatches;
        let front = &mut counters.fronts[protocol as usize][family as usize];
        private.postpone();
        if *draining {
            front.refuse(Reason::Overload);
            return Booked::Unavailable;
        }
        let outcome = private.swarms.announce(announce, now, random, reply);
        if private.traces.want(announce.user.id) {
            private.traces.begin(protocol, traced(announce, outcome.as_ref(), reply));
        }
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                front.refuse(reason(&refusal));
                return Booked::Refused(refusal);
            }
        };
        let refusal = outcome.refusal();
        let first = outcome.joined() && outcome.fact.is_some();
        private.count(announce.user.id, outcome.was, outcome.is);
        *snatches += u64::from(outcome.snatched);
        if let Some(fact) = outcome.fact {
            private.outgoing.push(fact);
        }
        match refusal {
            Some(refusal) => {
                front.refuse(reason(&refusal));
                Booked::Refused(refusal)
            }
            None => {
                front.announces += 1;
                front.peers_sent += (reply.peers_v4.len() / 6 + reply.peers_v6.len() / 18) as u64;
                Booked::Told { first }
            }
        }
    }

    /// Takes in what became of records that went to the journal, and lets those go on who waited.
    pub fn journaled(&mut self, answer: Answer) {
        let Some(private) = &mut self.private else { return };
        if let Answer::Refused { why, records } = &answer {
            tracing::error!(
                ?why,
                records = records.len(),
                "the journal takes nothing; credit waits"
            );
        }
        let on_disk = !matches!(answer, Answer::Refused { .. });
        let waited = private.outgoing.answered(answer);
        self.release(waited, on_disk);
    }

    /// Sends on to the journal what somebody waits for.
    pub fn hurry(&mut self) {
        if let Some(private) = &mut self.private {
            private.outgoing.hurry();
        }
    }

    /// Does what every core does when the site has said something.
    pub fn obey_command(&mut self, command: Command) {
        let (cores, now) = (self.mesh.len(), self.clock.now());
        let Some(private) = &mut self.private else { return };
        match command {
            Command::Seen(change) => {
                if change.info_hash().is_some_and(|hash| route::owner(hash, cores) == self.number) {
                    private.put(&change, now);
                }
            }
            Command::Rights(user) => private.swarms.set_user_rights(user),
            Command::UserGone(user) => private.swarms.remove_user(user),
            Command::ClientRules(rules) => private.rules = rules,
            Command::Trace(tracer) => private.traces.add(tracer),
            Command::TraceIntoLog(user, on) => private.traces.log(user, on),
            _ => unreachable!("the others are for every tracker"),
        }
    }

    /// Looks at the next peers of the sweep and drops who has been silent for too long; how many.
    pub fn sweep_private(&mut self, now: Seconds, budget: usize) -> usize {
        let Some(private) = &mut self.private else { return 0 };
        private.gone.clear();
        let swept = private.swarms.expire(now, budget, &mut private.gone);
        private.count_gone();
        swept.peers
    }
}

impl Private {
    /// Whose passkey this is.
    pub fn find(&self, passkey: Passkey) -> Result<User, private::Refusal<'static>> {
        self.accounts.find(&passkey).ok_or(private::Refusal::PasskeyNotFound)
    }

    /// Does what a change of a torrent or a token says. It is known to the journal or the database
    /// already.
    pub fn put(&mut self, change: &Change, now: Seconds) {
        match change {
            Change::Torrent { id, info_hash, freeleech, upload_percent } => {
                let terms =
                    Terms { id: *id, freeleech: *freeleech, upload_percent: *upload_percent };
                if let Err(refusal) = self.swarms.register(*info_hash, terms) {
                    tracing::error!(%info_hash, %refusal, "a torrent does not fit; raise torrents-max");
                }
            }
            Change::TorrentRemoved { info_hash, reason, .. } => {
                let mut gone = std::mem::take(&mut self.gone);
                gone.clear();
                self.swarms.unregister(info_hash, reason, now, &mut gone);
                self.gone = gone;
                self.count_gone();
            }
            Change::Token { user, info_hash, expires_at, .. } => {
                self.swarms.set_token(*user, info_hash, *expires_at);
            }
            Change::TokenRemoved { user, info_hash, .. } => {
                self.swarms.remove_token(*user, info_hash);
            }
            Change::User { .. } | Change::ClientRule { .. } | Change::ClientRuleRemoved { .. } => {}
        }
    }

    /// While the journal takes nothing and what waits for it is at its bound, credit is postponed: peers
    /// keep their baselines, and only what will not be said again is still noted.
    fn postpone(&mut self) {
        let facts = if self.outgoing.is_full() { Facts::Postponed } else { self.facts };
        if self.swarms.limits().facts != facts {
            match facts {
                Facts::Postponed => {
                    tracing::error!("credit is postponed until the journal takes more")
                }
                _ => tracing::info!(
                    "the journal takes what happens again; credit is no longer postponed"
                ),
            }
            let limits = self.swarms.limits();
            self.swarms.set_limits(Limits { facts, ..limits });
        }
    }

    /// A client of a user changed from one state to another; `None` is not there.
    pub fn count(&self, user: UserId, was: Option<PeerState>, is: Option<PeerState>) {
        if was.map(is_seeding) == is.map(is_seeding) {
            return;
        }
        self.accounts.count(user, |active| {
            match was.map(is_seeding) {
                Some(true) => active.seeding = active.seeding.saturating_sub(1),
                Some(false) => active.leeching = active.leeching.saturating_sub(1),
                None => {}
            }
            match is.map(is_seeding) {
                Some(true) => active.seeding += 1,
                Some(false) => active.leeching += 1,
                None => {}
            }
        });
    }

    /// Counts who has gone without a word.
    pub fn count_gone(&mut self) {
        for gone in std::mem::take(&mut self.gone) {
            self.count(gone.user, Some(gone.state), None);
        }
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

fn is_seeding(state: PeerState) -> bool {
    state == PeerState::Seeder
}

/// What the metrics call it.
fn reason(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::Unregistered | Refusal::Deleted { .. } => Reason::Torrent,
        Refusal::LeechingForbidden => Reason::Rights,
        Refusal::ClientsMax => Reason::Clients,
        Refusal::PeersMax | Refusal::TorrentsMax => Reason::Full,
    }
}
