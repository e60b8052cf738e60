//! The population: clients that come, download, seed, restart and go, second by second.

use std::net::Ipv4Addr;

use shard::{Event, Seconds};

use crate::clients::{Kind, Mix, Trouble};
use crate::peer::{Download, End, Peer, Stage};
use crate::report::Figures;
use crate::tracker::{Answer, Answers, REFUSED_INTERVAL, Site, Tracker};

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub site: Site,
    pub answers: Answers,
    pub mix: Mix,
    pub clients: u32,
    pub torrents: u32,
    /// Hours that are counted, after the warm-up.
    pub hours: u32,
    /// For how long the tracker is away before they begin, in seconds.
    pub away: u32,
    /// Of the clients: never served.
    pub refused: f64,
    /// Of the downloads: begun with a magnet link.
    pub magnets: f64,
    pub seed: u64,
}

/// What is due for a client.
#[derive(Clone, Copy, Debug)]
enum Due {
    Announce { turn: u32 },
    Metadata { session: u32 },
    Complete { session: u32 },
    Checked { session: u32 },
    End { session: u32, end: End },
    Start,
}

struct Run<'a> {
    world: &'a World,
    tracker: Tracker,
    peers: Vec<Peer>,
    /// By second.
    due: Vec<Vec<(u32, Due)>>,
    figures: Figures,
    random: fastrand::Rng,
    users: u32,
    now: u32,
}

impl World {
    /// Plays the run.
    pub(crate) fn run(&self) -> Figures {
        let until = WARM_UP + self.hours * 3600;
        let mut run = Run {
            world: self,
            tracker: Tracker::new(
                self.site,
                self.answers,
                self.torrents,
                f64::from(self.clients) / 1800.0 * ROOM,
                EPOCH,
            ),
            peers: Vec::new(),
            due: vec![Vec::new(); until as usize],
            figures: Figures::new(&self.mix, WARM_UP, until),
            random: fastrand::Rng::with_seed(self.seed),
            users: 0,
            now: 0,
        };
        run.settle();
        for second in 0..until {
            run.now = second;
            run.tracker.away = second + self.away >= WARM_UP && second < WARM_UP;
            let mut next = 0;
            // What is due at once is put behind the others.
            while let Some((peer, due)) = run.due[second as usize].get(next).copied() {
                next += 1;
                run.happens(peer as usize, due);
            }
            run.due[second as usize] = Vec::new();
            run.tracker.tick(EPOCH + Seconds(second));
        }
        run.end()
    }
}

impl Run<'_> {
    /// Makes everybody, each to start within an interval.
    fn settle(&mut self) {
        for (number, count) in self.world.mix.of(self.world.clients).into_iter().enumerate() {
            for _ in 0..count {
                let mut peer = self.stranger(number);
                let chance = self.random.f64();
                peer.refused = self.random.f64() < self.world.refused;
                if chance < SEEDERS_AT_FIRST {
                    (peer.stage, peer.download) = (Stage::Seeding, None);
                }
                // Those who are refused come evenly from the beginning: nothing spreads them.
                let within = if peer.refused { REFUSED_INTERVAL.0 } else { 1800 };
                let at = self.random.u32(0..within);
                let index = self.peers.len() as u32;
                self.peers.push(peer);
                self.plan(index as usize, at, Due::Start);
            }
        }
    }

    /// Somebody who begins a download.
    fn stranger(&mut self, number: usize) -> Peer {
        let class = self.world.mix.classes[number];
        let user = self.users;
        self.users += 1;
        // Many are in few swarms, and most swarms are small.
        let rank = self.random.f64().powi(3) * f64::from(self.world.torrents);
        let is_magnet = self.random.f64() < self.world.magnets;
        Peer {
            class,
            number,
            refused: false,
            torrent: rank as u32,
            user,
            address: Ipv4Addr::from(0x2d00_0000 + user),
            port: 0,
            peer_id: [0; 20],
            key: 0,
            stage: if is_magnet { Stage::Magnet } else { Stage::Leeching },
            download: Some(Download::default()),
            since: None,
            session: 0,
            turn: 0,
            event: Event::None,
            failures: 0,
            connected: false,
            unheard: true,
            checking: false,
            finished_in: 0,
        }
    }

    fn plan(&mut self, peer: usize, wait: u32, due: Due) {
        let at = self.now + wait;
        if let Some(second) = self.due.get_mut(at as usize) {
            second.push((peer as u32, due));
        }
    }

    fn happens(&mut self, index: usize, due: Due) {
        let peer = &self.peers[index];
        let is_current = match due {
            Due::Announce { turn } => peer.turn == turn,
            Due::Metadata { session }
            | Due::Complete { session }
            | Due::Checked { session }
            | Due::End { session, .. } => peer.session == session && peer.since.is_some(),
            Due::Start => true,
        };
        if !is_current {
            return;
        }
        match due {
            Due::Announce { .. } => self.announce(index),
            Due::Metadata { .. } => self.metadata(index),
            Due::Complete { .. } => self.complete(index),
            Due::Checked { .. } => {
                let peer = &mut self.peers[index];
                peer.checking = false;
                peer.event = Event::Started;
                self.announce(index);
            }
            Due::End { end, .. } => self.leave(index, end),
            Due::Start => self.start(index),
        }
    }

    fn start(&mut self, index: usize) {
        let now = self.now;
        self.peers[index].start(now, &mut self.random);
        let peer = &self.peers[index];
        let (session, refused, checking) = (peer.session, peer.refused, peer.checking);
        let seeds = peer.stage == Stage::Seeding;
        if !refused {
            let wait = self.about(SESSION_SECONDS);
            let crashes = self.random.f64() < CRASHES;
            let end = if crashes { End::Crashed } else { End::Terminated };
            self.plan(index, wait, Due::End { session, end });
            if seeds {
                let wait = self.about(SEEDING_SECONDS);
                self.plan(index, wait, Due::End { session, end: End::Removed });
            }
        }
        if checking {
            self.plan(index, 15, Due::Checked { session });
        }
        self.announce(index);
        if seeds && self.peers[index].kind() == Kind::Webtorrent {
            // Two at once: it takes the check of what it has for the end of a download.
            self.beside(index, Event::Completed);
        }
    }

    /// The regular way to announce: what comes back says when the next one is.
    fn announce(&mut self, index: usize) {
        let now = EPOCH + Seconds(self.now);
        let event = self.peers[index].event;
        let said = self.peers[index].says(event, &mut self.random);
        let answer = self.tracker.announce(&said, now);
        self.count(index, event == Event::None);
        let peer = &mut self.peers[index];
        peer.turn += 1;
        let wait = match answer {
            Answer::Nothing | Answer::Refused { .. } => {
                peer.failures += 1;
                let trouble = match answer {
                    Answer::Refused { interval } => Trouble::Refused { interval },
                    _ => Trouble::Away,
                };
                let class = peer.class;
                let failures = peer.failures.min(FAILURES_MAX - peer.failures % 2);
                class.kind.retries(class.protocol, trouble, failures, &mut self.random).0
            }
            Answer::Told { told, peers, others, snatched } => {
                peer.failures = 0;
                peer.event = Event::None;
                let news = peers > 0 && !peer.connected;
                peer.connected |= peers > 0;
                let (first, peer_) = (std::mem::take(&mut peer.unheard), &*peer);
                if peer_.stage == Stage::Magnet && !peer_.refused && first {
                    self.figures.magnet(peer_.number, self.now, others > 0, peers > 0);
                }
                let wait =
                    if peer_.is_impatient() { Seconds(120) } else { peer_.kind().waits(told) };
                self.heard(index, said.left, said.event, snatched);
                if news {
                    self.meet(index);
                }
                wait.0 + self.random.u32(0..=LATE_SECONDS)
            }
        };
        let turn = self.peers[index].turn;
        self.plan(index, wait, Due::Announce { turn });
    }

    /// An announce that changes nothing of what the client does next.
    fn beside(&mut self, index: usize, event: Event) {
        let said = self.peers[index].says(event, &mut self.random);
        let answer = self.tracker.announce(&said, EPOCH + Seconds(self.now));
        self.count(index, false);
        if let Answer::Told { snatched, .. } = answer {
            self.heard(index, said.left, said.event, snatched);
        }
    }

    /// Counts a request; one without news may be one that the interval alone has brought.
    fn count(&mut self, index: usize, without_news: bool) {
        let peer = &self.peers[index];
        let regular = without_news && peer.failures == 0 && !peer.is_impatient();
        self.figures.request(peer, index, self.now, regular);
    }

    /// Keeps what the tracker has heard and done, to compare it with what is true.
    fn heard(&mut self, index: usize, left: u64, event: Event, snatched: bool) {
        let peer = &mut self.peers[index];
        let here = (peer.session, peer.port);
        let is_first_time = |download: &Download| download.finished && download.counted == 0;
        if let Some(download) = &mut peer.download {
            if left > 0 && event != Event::Stopped && !download.finished {
                download.more = Some(here);
            }
            if left == 0 && download.finished && !peer.checking {
                match download.more {
                    Some(more) if more == here => download.said = true,
                    Some((_, port)) if port == here.1 => download.said_later = true,
                    _ => {}
                }
            }
        }
        if snatched {
            match &mut peer.download {
                // Once more is not right either, and is seen in the count.
                Some(download) if is_first_time(download) || download.counted > 0 => {
                    download.counted += 1;
                }
                _ => self.figures.invented(peer.number),
            }
        }
    }

    /// It has been told of somebody for the first time: what it waited for begins.
    fn meet(&mut self, index: usize) {
        let peer = &self.peers[index];
        let session = peer.session;
        match peer.stage {
            Stage::Magnet => self.plan(index, METADATA_SECONDS, Due::Metadata { session }),
            Stage::Leeching => {
                let wait = self.about(DOWNLOAD_SECONDS);
                self.plan(index, wait, Due::Complete { session });
            }
            Stage::Seeding => {}
        }
    }

    /// The torrent of a magnet link has come.
    fn metadata(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.stage != Stage::Magnet {
            return;
        }
        peer.stage = Stage::Leeching;
        if peer.kind() == Kind::Aria2 {
            peer.event = Event::Started;
            self.announce(index);
        }
        self.meet(index);
    }

    fn complete(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.stage != Stage::Leeching {
            return;
        }
        peer.stage = Stage::Seeding;
        if let Some(download) = &mut peer.download {
            download.finished = true;
            peer.finished_in = peer.session;
        }
        if peer.event == Event::None {
            peer.event = Event::Completed;
        }
        let (session, at_once) = (peer.session, peer.completes_at_once());
        let wait = self.about(SEEDING_SECONDS);
        self.plan(index, wait, Due::End { session, end: End::Removed });
        if at_once {
            self.announce(index);
        }
    }

    /// A session ends, and after a while the next one begins: of the same client, or where this one is done,
    /// of somebody new.
    fn leave(&mut self, index: usize, end: End) {
        if self.peers[index].says_stopped(end) {
            self.beside(index, Event::Stopped);
        }
        self.figures.left(&self.peers[index], self.now);
        let wait = self.about(PAUSE_SECONDS);
        let peer = &mut self.peers[index];
        peer.since = None;
        peer.turn += 1;
        if end == End::Removed {
            self.figures.done(peer);
            let number = peer.number;
            self.peers[index] = self.stranger(number);
        }
        self.plan(index, wait, Due::Start);
    }

    fn end(mut self) -> Figures {
        for peer in &self.peers {
            self.figures.left(peer, self.now + 1);
            self.figures.done(peer);
        }
        let there = self.peers.iter().filter(|peer| peer.since.is_some() && !peer.refused).count();
        self.figures.counted = self.tracker.peers();
        self.figures.there = there;
        self.figures
    }

    /// A time of this mean; short ones are the most.
    fn about(&mut self, mean: f64) -> u32 {
        (-mean * (1.0 - self.random.f64()).ln()) as u32 + 1
    }
}

/// The population comes to rest before anything is counted.
pub(crate) const WARM_UP: u32 = 2 * 3600;

/// What the tracker can answer, as a multiple of every client once in half an hour: so much that no load
/// stretches the interval.
const ROOM: f64 = 20.0;

const SEEDERS_AT_FIRST: f64 = 0.7;

/// A client runs, seeds and downloads for so long, in the mean; and is away for so long.
const SESSION_SECONDS: f64 = 6.0 * 3600.0;
const SEEDING_SECONDS: f64 = 4.0 * 3600.0;
const DOWNLOAD_SECONDS: f64 = 2400.0;
const PAUSE_SECONDS: f64 = 1200.0;

/// The metadata of a magnet link needs so long.
const METADATA_SECONDS: u32 = 4;

/// Of the ends that the user did not choose: without a word, whatever the client.
const CRASHES: f64 = 0.2;

/// A client comes up to so many seconds later than it was told.
const LATE_SECONDS: u32 = 2;

/// More failures than these wait the same.
const FAILURES_MAX: u32 = 18;

const EPOCH: Seconds = Seconds(1_700_000_000);
