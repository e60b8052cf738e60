//! Memories of what clients have said within the last moments, and before: plain lists that nothing is dropped from.

use std::collections::BTreeMap;

use super::Client;
use crate::private::account::Figures;
use crate::private::announce::Over;
use crate::private::fold::{self, Lines};
use crate::private::heard::{self, Judged, addresses, judge_returning, judge_succeeded, raise};
use crate::private::recent::{self, Kind, Step};
use crate::private::succeeded::Last;
use crate::private::{Announce, Counters, PeerRecord, Stamp};
use crate::{Event, InfoHash, Seconds};

/// Which client, on which torrent.
type Key = (InfoHash, Client);

/// All that was said.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Memories {
    here: BTreeMap<Key, Memory>,
    /// Of clients that have left with a word.
    left: BTreeMap<Key, Vec<Step>>,
    /// Of clients whose endpoint was taken over.
    succeeded: BTreeMap<Key, Last>,
}

/// Of a peer that is there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Memory {
    steps: Vec<Step>,
    lines: Option<Lines>,
}

impl Memories {
    /// Whether more is remembered of a client that is there than what it last said.
    pub(super) fn is_odd(&self, announce: &Announce) -> bool {
        self.here.get(&key(announce)).is_some_and(|memory| memory.lines.is_some())
    }

    /// Judges an announce; `None` where it is a first one, or goes on.
    pub(super) fn judge(
        &self,
        announce: &Announce,
        known: Option<&PeerRecord>,
        over: Option<&Over>,
        now: Seconds,
        silent_max: Seconds,
    ) -> Option<Judged> {
        let key = key(announce);
        let Some(known) = known else {
            let steps = self.left.get(&key)?.iter().rev();
            let addresses = addresses(&announce.endpoints);
            if let Some(line) = recent::line_left(steps.clone(), addresses, now) {
                return Some(judge_returning(announce, line, now, silent_max));
            }
            let last = self.succeeded.get(&key).filter(|last| last.counts(now, silent_max))?;
            let line = recent::line(steps, addresses, last.reported, last.seen, now);
            return Some(judge_succeeded(announce, line, now, silent_max));
        };
        let memory = self.here.get(&key).cloned().unwrap_or_default();
        let mut lines = memory.lines.clone().unwrap_or_else(|| {
            let (at, last) = (addresses(&known.endpoints), known.reported);
            Lines::one(recent::line(memory.steps.iter().rev(), at, last, known.seen, now))
        });
        lines.put_back(Stamp::at(now));
        let judged = heard::hear(lines, announce, &known.endpoints, now, silent_max);
        let figures = Figures { reported: known.reported, left: known.left, ..Figures::default() };
        let judged = judged.counted(announce, &figures, known.state, &known.endpoints, over);
        let goes_on = memory.lines.is_none() && judged.verdict == fold::Verdict::GoesOn;
        let stays = over.is_some_and(|over| over.stays);
        (!goes_on || judged.parts || stays).then_some(judged)
    }

    /// Writes down what a peer that was there, or is there now, has said.
    pub(super) fn remember(
        &mut self,
        announce: &Announce,
        known: Option<&PeerRecord>,
        judged: Option<&Judged>,
        now: Seconds,
    ) {
        let (key, stops) = (key(announce), announce.event == Event::Stopped);
        if !stops {
            self.left.remove(&key);
        }
        if !stops || judged.is_some_and(|judged| !judged.is_late()) {
            self.succeeded.remove(&key);
        }
        let memory = self.here.remove(&key);
        let was_odd = memory.as_ref().is_some_and(|memory| memory.lines.is_some());
        let mut memory = memory.unwrap_or_default();
        match (judged, known) {
            (Some(judged), _) => {
                if !judged.is_late() || was_odd {
                    memory.steps.extend(recent::steps(&judged.line));
                }
                memory.lines.clone_from(&judged.lines);
                if stops && !judged.is_late() {
                    memory.steps.push(Step::new(Kind::Stopped, &judged.line.last, now));
                }
                if stops && judged.is_late() {
                    return;
                }
            }
            (None, Some(known)) if stops => {
                let (at, last) = (addresses(&known.endpoints), known.reported);
                let steps = memory.steps.iter().rev();
                let line = recent::line(steps, at, last, known.seen, now);
                memory.steps.extend(recent::steps(&line));
                memory.steps.extend(raise(&known.reported, &announce.counters, now));
                memory.steps.push(Step::new(Kind::Stopped, &announce.counters, now));
            }
            (None, Some(known)) => {
                memory.steps.extend(raise(&known.reported, &announce.counters, now));
                if announce.event == Event::Started {
                    memory.steps.push(Step::new(Kind::Started, &announce.counters, now));
                }
            }
            (None, None) if stops => return,
            (None, None) => {
                memory.steps.push(Step::new(Kind::Begin, &Counters::default(), now));
            }
        }
        if stops {
            self.left.insert(key, memory.steps);
        } else {
            self.here.insert(key, memory);
        }
    }

    /// Another client has taken over a peer's endpoint.
    pub(super) fn succeed(&mut self, info_hash: InfoHash, peer: &PeerRecord) {
        let key = (info_hash, (peer.user, peer.peer_id, peer.key));
        let memory = self.here.remove(&key).unwrap_or_default();
        self.left.insert(key, memory.steps);
        self.succeeded.insert(key, Last { reported: peer.reported, seen: peer.seen });
    }

    /// A peer is gone without a word.
    pub(super) fn forget(&mut self, info_hash: InfoHash, client: Client) {
        self.here.remove(&(info_hash, client));
    }

    /// A torrent is gone.
    pub(super) fn forget_torrent(&mut self, gone: &InfoHash) {
        self.here.retain(|(info_hash, _), _| info_hash != gone);
    }
}

fn key(announce: &Announce) -> Key {
    (announce.info_hash, (announce.user.id, announce.peer_id, announce.key))
}
