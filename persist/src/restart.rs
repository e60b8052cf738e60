//! How the swarms of a private tracker come back: the newest snapshot, and after it what the journal
//! says has happened since.
//!
//! 1. [`Snapshot::restore_private`](crate::Snapshot::restore_private) on every core, for the torrents
//!    it owns;
//! 2. [`replay_tail`] on every core, from [`Snapshot::replay_from`](crate::Snapshot::replay_from) on;
//! 3. [`settle`] on every core, when the users are known.
//!
//! Facts set baselines and figures to what they were after each announce, and changes say what is true
//! from then on. So it does no harm that a snapshot holds some of what is replayed already.

use std::collections::HashMap;
use std::path::PathBuf;

use shard::private::{Change, Cursor, Fact, Gone, Piece, Refusal, Swarms, User, UserId};
use shard::{InfoHash, PeerState, Seconds, lasting_key};

use crate::journal::{JournalError, Reader, Record, Said};

/// The counts of a replay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Replayed {
    /// Records there were, those of other cores included.
    pub records: u64,
    /// Facts of torrents that this core owns.
    pub facts: u64,
    /// Peers of them that left without saying so.
    pub gone: u64,
    /// Changes to its torrents and tokens, and to all users and client rules.
    pub changes: u64,
    /// Torrents that did not fit into the limits.
    pub refused: u64,
    /// Records that the journal has lost, of all cores. What clients had reported before is then perhaps not
    /// what is known of them here: the ledger has to measure them ([`crate::Ledger::measure_from`]).
    pub lost: u64,
}

/// Replays the records from sequence number `from` to `to` (exclusive) of the journal in `dir`
/// (`DATA/journal`) into the swarms of one core: facts and changes of torrents for which `owns` is true,
/// and the rights of users. `site` is shown every change of a user or a client rule, in order; where
/// several cores replay the same journal, one of them has to put them into the accounts.
///
/// At the end nobody's silence counts from before `now`, and nothing of the torrents that were removed
/// is left. Memory: a few megabytes, however long the tail.
pub fn replay_tail(
    dir: impl Into<PathBuf>,
    (from, to): (u64, u64),
    owns: impl Fn(&InfoHash) -> bool,
    swarms: &mut Swarms,
    mut site: impl FnMut(&Change),
    now: Seconds,
) -> Result<Replayed, JournalError> {
    let mut replayed = Replayed::default();
    let mut replay = Replay { swarms, gone: Vec::new(), removed: false };
    if from < to {
        let (mut reader, lost) = Reader::open_behind(dir, from)?;
        replayed.lost = lost;
        let mut records = Vec::new();
        while reader.position() < to {
            records.clear();
            let left = usize::try_from(to - reader.position()).unwrap_or(usize::MAX);
            let lost = reader.read_on(left.min(RECORDS_AT_A_TIME), &mut records)?;
            replayed.lost += lost;
            if records.is_empty() && lost == 0 {
                return Err(JournalError::Ahead { from: to, end: reader.position() });
            }
            replayed.records += records.len() as u64;
            for record in &records {
                match record {
                    Record::Fact(fact) if owns(&fact.info_hash) => {
                        replay_fact(replay.swarms, fact);
                        replayed.facts += 1;
                    }
                    Record::Gone(gone) if owns(&gone.info_hash) => {
                        replay_gone(replay.swarms, gone);
                        replayed.gone += 1;
                    }
                    Record::Fact(_) | Record::Gone(_) => {}
                    Record::Tick(_) => {}
                    Record::Said(Said { change, .. }) => match change.info_hash() {
                        Some(info_hash) if owns(info_hash) => {
                            replayed.changes += 1;
                            replayed.refused += u64::from(replay.put(change).is_err());
                        }
                        Some(_) => {}
                        None => {
                            replayed.changes += 1;
                            replay.put(change).expect("only torrents can be too many");
                            site(change);
                        }
                    },
                }
            }
        }
    }
    replay.swarms.believe_from(now);
    replay.bury(now);
    Ok(replayed)
}

/// Replays a fact of a torrent that is in these swarms, see [`Swarms::replay`]: what the peer was, and is.
pub fn replay_fact(swarms: &mut Swarms, fact: &Fact) -> (Option<PeerState>, Option<PeerState>) {
    // Older journals have keys that do not last.
    let key = lasting_key(&fact.peer_id.0, fact.key);
    swarms.replay(&Fact { key, ..*fact })
}

/// The same of a peer that left without saying so: what it was, where it was there.
pub fn replay_gone(swarms: &mut Swarms, gone: &Gone) -> Option<PeerState> {
    let key = lasting_key(&gone.peer_id.0, gone.key);
    swarms.replay_gone(&Gone { key, ..*gone })
}

/// The outcome for the peers when [`settle`] had looked at them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Settled {
    /// Peers of users who are known.
    pub peers: u64,
    /// Peers of others; they are told to nobody, and the sweep drops them.
    pub strangers: u64,
    /// Users whose peers had other rights than they have.
    pub corrected: u64,
}

/// Holds the peers of one core against the users there are now: `find` is asked once for each user.
/// Peers of nobody known are told to nobody from then on, and the sweep drops them; those with other rights than
/// their user get his; a snapshot may have been made before the sweep came to them. `count` is told what each user
/// does: how many peers of his are in each state ([`PeerState`] as the place).
pub fn settle(
    swarms: &mut Swarms,
    mut find: impl FnMut(UserId) -> Option<User>,
    mut count: impl FnMut(UserId, [usize; 3]),
) -> Settled {
    let mut users: HashMap<UserId, Doing> = HashMap::new();
    let (mut cursor, mut piece) = (Cursor::default(), Piece::default());
    let mut settled = Settled::default();
    loop {
        piece.clear();
        let finished = swarms.export(&mut cursor, RECORDS_AT_A_TIME, &mut piece);
        for peer in &piece.peers {
            let doing = users.entry(peer.user).or_insert_with(|| Doing::new(find(peer.user)));
            let seeds = peer.state == PeerState::Seeder;
            match doing.user {
                Some(user) => {
                    settled.peers += 1;
                    doing.peers[peer.state as usize] += 1;
                    doing.differs |=
                        peer.hidden != user.hidden || peer.visible != (seeds || user.can_leech);
                }
                None => settled.strangers += 1,
            }
        }
        if finished {
            break;
        }
    }
    for (id, doing) in users {
        match doing.user {
            Some(user) => {
                count(id, doing.peers);
                if doing.differs {
                    settled.corrected += 1;
                    swarms.set_user_rights(user);
                }
            }
            None => swarms.remove_user(id),
        }
    }
    settled
}

/// A user, and what he does.
struct Doing {
    user: Option<User>,
    /// By [`PeerState`].
    peers: [usize; 3],
    /// One of his peers has other rights than he.
    differs: bool,
}

impl Doing {
    fn new(user: Option<User>) -> Self {
        Self { user, peers: [0; 3], differs: false }
    }
}

/// Records that are read, and peers that are looked at, in one step.
const RECORDS_AT_A_TIME: usize = 4096;

struct Replay<'a> {
    swarms: &'a mut Swarms,
    gone: Vec<Gone>,
    /// A torrent was removed: its peers leave with the next sweep.
    removed: bool,
}

impl Replay<'_> {
    /// Does what a change says.
    fn put(&mut self, change: &Change) -> Result<(), Refusal> {
        self.removed |= matches!(change, Change::TorrentRemoved { .. });
        self.gone.clear();
        self.swarms.apply(change, &mut self.gone)
    }

    /// Drops the peers of torrents that were removed.
    fn bury(&mut self, now: Seconds) {
        while self.removed {
            self.removed = !self.swarms.expire(now, RECORDS_AT_A_TIME, &mut self.gone).finished;
            self.gone.clear();
        }
    }
}

#[cfg(test)]
mod tests;
