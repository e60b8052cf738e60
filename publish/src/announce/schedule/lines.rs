//! Where each line stands: due at a time, in the queue of the server that it asks, or under way.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use super::state::{At, Entry, Line, Phase, Place, Walk};
use super::{Announce, Ask, Event, Schedule, Ticket};

impl Schedule {
    /// Goes on with a torrent that leaves: who has to be told is, and then it is gone.
    pub(super) fn leave(&mut self, slot: u32, now: Instant) {
        let entry = self.entry(slot);
        if entry.in_flight > 0 && entry.phase == Phase::Leaving {
            return;
        }
        if entry.phase == Phase::Leaving {
            entry.phase = Phase::Left;
            let standings =
                std::mem::take(&mut entry.lines).into_iter().flat_map(|line| line.tiers).flatten();
            let known = standings.filter(|standing| standing.known).map(|mut standing| {
                standing.failures = 0;
                standing.next = None;
                Line { tiers: vec![vec![standing]], at: At::Nowhere }
            });
            entry.lines = known.collect();
        }
        if entry.in_flight == 0
            && entry.lines.iter().flat_map(Line::standings).all(|standing| !standing.known)
        {
            let info_hash = entry.info_hash;
            for line in 0..entry.lines.len() {
                self.unplace((slot, line as u16));
            }
            self.leaving.remove(&info_hash);
            self.free(slot);
            // Its successor comes now.
            if let Some(&slot) = self.by_hash.get(&info_hash) {
                self.entry(slot).phase = Phase::Here;
                self.place_all(slot, now);
            }
            return;
        }
        self.place_all(slot, now);
    }

    pub(super) fn place_all(&mut self, slot: u32, now: Instant) {
        for line in 0..self.entry(slot).lines.len() {
            self.place((slot, line as u16), now);
        }
    }

    /// Puts a line where it belongs now; one that is under way stays so.
    pub(super) fn place(&mut self, place: Place, now: Instant) {
        if !self.unplace(place) {
            return;
        }
        let (slot, number) = place;
        let entry = self.torrents[slot as usize].as_ref().expect("slots that are named are in use");
        let line = &entry.lines[usize::from(number)];
        let at = match self.walk(entry, line, now) {
            Walk::Ask(_, host, urgency) => At::Queue(host, urgency, now),
            Walk::Wait(until) => At::Timer(until),
            Walk::Nothing => At::Nowhere,
        };
        match at {
            At::Queue(host, urgency, since) => {
                self.hosts[host as usize].queue.insert((urgency, since, place));
                self.waiting.insert(host);
            }
            At::Timer(due) => {
                self.timer.insert((due, place));
            }
            At::Nowhere | At::UnderWay => {}
        }
        self.entry(slot).lines[usize::from(number)].at = at;
    }

    /// Takes a line from where it stands. False when it is under way.
    pub(super) fn unplace(&mut self, place: Place) -> bool {
        let (slot, number) = place;
        let line = &mut self.entry(slot).lines[usize::from(number)];
        let at = line.at;
        if at == At::UnderWay {
            return false;
        }
        line.at = At::Nowhere;
        match at {
            At::Timer(due) => {
                self.timer.remove(&(due, place));
            }
            At::Queue(host, urgency, since) => {
                let queue = &mut self.hosts[host as usize].queue;
                queue.remove(&(urgency, since, place));
                if queue.is_empty() {
                    self.waiting.remove(&host);
                }
            }
            At::Nowhere | At::UnderWay => {}
        }
        true
    }

    /// All that wait for a server find another place.
    pub(super) fn requeue(&mut self, host: u32, now: Instant) {
        let queued: Vec<Place> =
            self.hosts[host as usize].queue.iter().map(|(_, _, place)| *place).collect();
        for place in queued {
            self.place(place, now);
        }
    }

    /// Whom a line asks: the first in order that may be asked now, unless one before it works.
    pub(super) fn walk(&self, entry: &Entry, line: &Line, now: Instant) -> Walk {
        if matches!(entry.phase, Phase::Held | Phase::Leaving) {
            return Walk::Nothing;
        }
        let mut wait: Option<Instant> = None;
        for standing in line.standings() {
            if entry.phase == Phase::Left && !standing.known {
                continue;
            }
            let host = &self.hosts[standing.tracker.host as usize];
            let down = host.down_until.filter(|until| *until > now);
            let event = entry.event(standing);
            let until = match event {
                // It may be back, and there is no later.
                Event::Stopped if self.stopping => None,
                Event::Stopped => standing.next.max(down),
                Event::Completed if standing.good => down,
                _ if entry.hurried => standing.least.max(down),
                _ => standing.next.max(down),
            };
            let until = until.filter(|until| *until > now);
            let Some(until) = until else {
                return Walk::Ask(standing.number, standing.tracker.host, entry.urgency(event));
            };
            wait = Some(wait.map_or(until, |wait| wait.min(until)));
            if standing.good && down.is_none() {
                break;
            }
        }
        wait.map_or(Walk::Nothing, Walk::Wait)
    }

    /// Makes the announce of a line that stands nowhere, if it still asks that server.
    pub(super) fn ask(&mut self, place: Place, host: u32, now: Instant) -> Option<Ask> {
        let (slot, number) = place;
        let entry = self.torrents[slot as usize].as_ref()?;
        let line = &entry.lines[usize::from(number)];
        let Walk::Ask(tracker, asked, _) = self.walk(entry, line, now) else { return None };
        if asked != host {
            return None;
        }
        let standing = line.standings().find(|standing| standing.number == tracker)?;
        let event = entry.event(standing);
        let left = entry.transfer.left.load(Ordering::Relaxed);
        let numwant = match event {
            Event::Stopped => 0,
            _ if left > 0 => self.options.numwant_fetching,
            _ => self.options.numwant_seeding,
        };
        let since = |now: u64, before: u64| now.saturating_sub(before);
        let ask = Ask {
            ticket: Ticket { place, host, tracker, event, left, begun: now },
            address: Arc::clone(&standing.tracker.address),
            announce: Announce {
                info_hash: entry.info_hash,
                peer_id: self.options.peer_id,
                port: self.options.port,
                key: self.options.key,
                event,
                left,
                uploaded: since(
                    entry.transfer.uploaded.load(Ordering::Relaxed),
                    entry.uploaded_before,
                ),
                downloaded: since(
                    entry.transfer.downloaded.load(Ordering::Relaxed),
                    entry.downloaded_before,
                ),
                numwant,
                tracker_id: standing.tracker_id.clone(),
            },
        };
        self.in_flight += 1;
        let host = &mut self.hosts[host as usize];
        host.in_flight += 1;
        host.tokens -= 1.0;
        let entry = self.entry(slot);
        entry.in_flight += 1;
        entry.lines[usize::from(number)].at = At::UnderWay;
        Some(ask)
    }
}
