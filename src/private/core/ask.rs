//! What the API asks of a core: to change something, or to look.
//!
//! A change is applied at once and answered when the journal has it on the disk. A look is answered at
//! once, but for a user's clients, which are found in steps between announces.

use std::time::{Duration, Instant};

use shard::InfoHash;
use shard::private::{Bookmark, PeerRecord, Presence, Terms, TorrentRecord, UserId};
use tokio::sync::oneshot;

use super::outgoing::Waiter;
use super::site_changes::Unregistered;
use crate::api::{Done, Failure, Operation, TorrentState};
use crate::core::{Core, SharedCore};
use crate::private::users::accounts::{Says, Unsaid};

/// What has become of each of some operations, in their order.
pub type Results = Vec<Result<Done, Failure>>;

/// Something that is asked, and who gets the answer.
#[derive(Debug)]
pub enum Ask {
    /// To do these, in this order. Without any, to answer when the other cores have heard what was done before.
    Do(Vec<Operation>, oneshot::Sender<Results>),
    /// About a torrent; `None` when it is not registered.
    Torrent(InfoHash, oneshot::Sender<Option<TorrentState>>),
    /// Who is on a torrent, at most so many; `None` when it is not registered.
    Peers(InfoHash, Bookmark, usize, oneshot::Sender<Option<Page>>),
    /// Where a user's clients are, from a place on, at most so many and some.
    Find(UserId, u32, usize, oneshot::Sender<Found>),
}

/// Some of a torrent's peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The torrent's rules.
    pub terms: Terms,
    /// The peers.
    pub peers: Vec<PeerRecord>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Bookmark>,
}

/// Some of a user's clients.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// Where they are.
    pub presences: Vec<Presence>,
    /// Where to go on; `None` at the end.
    pub next: Option<u32>,
}

/// Torrents looked at in one step when a user is looked for; some 100 µs.
const FIND_STEP: u32 = 1024;

/// Time between two steps.
const FIND_PAUSE: Duration = Duration::from_millis(1);

/// How long a user is looked for at a time.
const FIND_TIME: Duration = Duration::from_secs(3);

/// Time between two looks whether other cores have room for what this one says.
const SETTLE_PAUSE: Duration = Duration::from_millis(5);

/// Does what is asked.
pub fn hear(core: &SharedCore, ask: Ask) {
    // Who asked may have given up; then nobody gets the answer.
    match ask {
        Ask::Do(operations, reply) if operations.is_empty() => {
            glommio::spawn_local(settle(core.clone(), reply)).detach();
        }
        Ask::Do(operations, reply) => core.borrow_mut().do_all(operations, reply),
        Ask::Torrent(info_hash, reply) => {
            _ = reply.send(core.borrow().torrent_state(&info_hash));
        }
        Ask::Peers(info_hash, from, max, reply) => {
            _ = reply.send(core.borrow().page_of(&info_hash, from, max));
        }
        Ask::Find(user, from, max, reply) => {
            glommio::spawn_local(find(core.clone(), user, from, max, reply)).detach();
        }
    }
}

/// Answers when the inboxes of the other cores have all that this one has to say to them.
async fn settle(core: SharedCore, reply: oneshot::Sender<Results>) {
    while !core.borrow().unheard.is_empty() && !reply.is_closed() {
        glommio::timer::sleep(SETTLE_PAUSE).await;
    }
    let _ = reply.send(Results::new());
}

async fn find(
    core: SharedCore,
    user: UserId,
    from: u32,
    max: usize,
    reply: oneshot::Sender<Found>,
) {
    let began = Instant::now();
    let mut found = Found { presences: Vec::new(), next: Some(from) };
    while let Some(next) = found.next
        && found.presences.len() < max
        && began.elapsed() < FIND_TIME
        && !reply.is_closed()
    {
        if next != from {
            glommio::timer::sleep(FIND_PAUSE).await;
        }
        let core = core.borrow();
        let Some(private) = &core.private else { break };
        let presences = &mut found.presences;
        found.next = private.swarms.find_user(user, next, FIND_STEP, max, presences);
    }
    let _ = reply.send(found);
}

impl Core {
    fn do_all(&mut self, operations: Vec<Operation>, reply: oneshot::Sender<Results>) {
        let full = self.private_side().outgoing.is_full_for_site();
        let results: Results = operations
            .into_iter()
            .map(|operation| match (self.draining, full) {
                (true, _) => Err(Failure::Unavailable("stopping")),
                (_, true) => Err(Failure::JournalFull),
                _ => self.operate(operation),
            })
            .collect();
        if results.iter().all(Result::is_err) {
            let _ = reply.send(results);
            return;
        }
        let outgoing = &mut self.private_side().outgoing;
        outgoing.wait(Waiter::Site { results, reply });
        outgoing.hurry();
    }

    fn operate(&mut self, operation: Operation) -> Result<Done, Failure> {
        let now = self.clock.now();
        match operation {
            Operation::PutUser { id, passkey, can_leech, hidden, enabled } => {
                self.operate_user(Says {
                    id,
                    passkey: Some(passkey),
                    can_leech: Some(can_leech),
                    hidden: Some(hidden),
                    enabled: Some(enabled),
                    makes: true,
                })
            }
            Operation::PatchUser { id, passkey, can_leech, hidden, enabled } => {
                self.operate_user(Says { id, passkey, can_leech, hidden, enabled, makes: false })
            }
            Operation::PutTorrent { info_hash, info_hash_v2, id, freeleech, upload_percent } => {
                let swarms = &self.private_side().swarms;
                match swarms.terms(&info_hash) {
                    Some(terms) if terms.id != id => {
                        return Err(Failure::TorrentNumber(terms.id));
                    }
                    None if swarms.totals().torrents >= swarms.limits().torrents_max => {
                        return Err(Failure::Full);
                    }
                    _ => {}
                }
                let (id, percent) = (Some(id), Some(upload_percent));
                match self.put_torrent(info_hash, id, Some(info_hash_v2), freeleech, percent) {
                    Ok(_) => {}
                    Err(Unregistered::NameTaken(name, other)) => {
                        return Err(Failure::NameTaken(name, other));
                    }
                    Err(Unregistered::NumberTaken(id, other)) => {
                        return Err(Failure::NumberTaken(id, other));
                    }
                    Err(Unregistered::Unknown) => return Err(Failure::TorrentUnknown(info_hash)),
                }
                let state = self.torrent_state(&info_hash);
                state.map(Done::Torrent).ok_or(Failure::Full)
            }
            Operation::RemoveTorrent { info_hash, reason } => {
                Ok(Done::Removed(self.remove_torrent(info_hash, &reason, now)))
            }
            Operation::PutToken { user, info_hash, expires_at } => {
                let torrent = self.put_token(user, info_hash, expires_at);
                let torrent = torrent.ok_or(Failure::TorrentUnknown(info_hash))?;
                Ok(Done::Token { user, info_hash, torrent, expires_at })
            }
            Operation::RemoveToken { user, info_hash } => {
                Ok(Done::Removed(self.remove_token(user, info_hash)))
            }
            Operation::PutClientRule { prefix, allow } => {
                self.put_client_rule(prefix.clone(), allow);
                Ok(Done::ClientRule { prefix, allow })
            }
            Operation::RemoveClientRule { prefix } => {
                Ok(Done::Removed(self.remove_client_rule(&prefix)))
            }
        }
    }

    fn operate_user(&mut self, says: Says) -> Result<Done, Failure> {
        match self.say_user(says) {
            Ok(known) => Ok(Done::User(known)),
            Err(Unsaid::Unknown) => Err(Failure::UserUnknown(says.id)),
            Err(Unsaid::PasskeyTaken(holder)) => Err(Failure::PasskeyTaken(holder)),
        }
    }

    fn torrent_state(&self, info_hash: &InfoHash) -> Option<TorrentState> {
        let swarms = &self.private.as_ref()?.swarms;
        let (record, _) = swarms.swarm(info_hash, 0)?;
        let counts = swarms.counts(info_hash)?;
        let TorrentRecord { info_hash, terms, balance, .. } = record;
        let info_hash_v2 = swarms.second(&info_hash);
        Some(TorrentState { info_hash, info_hash_v2, terms, counts, balance })
    }

    fn page_of(&self, info_hash: &InfoHash, from: Bookmark, max: usize) -> Option<Page> {
        let swarms = &self.private.as_ref()?.swarms;
        let (terms, mut peers) = (swarms.terms(info_hash)?, Vec::new());
        let next = swarms.page(info_hash, from, max, &mut peers)?;
        Some(Page { terms, peers, next })
    }
}
