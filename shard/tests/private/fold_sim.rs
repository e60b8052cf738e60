//! Clients as they are, one to three trackers that hear them, and a judge who listens to clients alone: what
//! the fold credits is what was moved, to the hundredth of a byte.
//!
//! One run is one client's row. The clients keep to what is taken for granted of them: an announce is at most
//! 20 seconds late, clocks are within three seconds, who begins anew under its old name does so a minute and
//! a half after it began and some seconds after its last word, and says nothing more for some seconds.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use shard::private::fold::{Credit, Factors, History, KEPT_MAX, Lines, Report, Stamp, fold};
use shard::private::{
    Announce, Counters, Facts, Freeleech, Limits, PeerId, Swarms, Terms, TorrentId, User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

use crate::each_seed;

/// All in milliseconds.
const LATE_MAX: u64 = 20_000;
const CLOCK_ERROR: u64 = 3_000;
const BUS_DELAY: u64 = 1_000;
/// How far ahead of its clock a tracker follows the stamps of others.
const FOLLOWED_MAX: u64 = 8_000;
const FACTORS: Factors = Factors { upload_percent: 133, download_percent: 100, token: false };

const FIRST: Ipv4Addr = Ipv4Addr::new(45, 0, 0, 1);
const COPY: Ipv4Addr = Ipv4Addr::new(45, 0, 0, 2);

/// One announce on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    arrives: u64,
    node: usize,
    session: usize,
    address: IpAddr,
    event: Event,
    counters: Counters,
}

/// What one session has been heard to say: its first word, and the most.
#[derive(Clone, Copy, Default, Debug)]
struct Session {
    first: Option<Counters>,
    most: Counters,
}

/// A program with a session file; another one may have a copy of it.
struct Program {
    v4: Ipv4Addr,
    v6: Option<Ipv6Addr>,
    counters: Counters,
    now: u64,
}

struct World {
    random: fastrand::Rng,
    nodes: usize,
    sent: Vec<Sent>,
    sessions: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = random.usize(1..4);
        Self { random, nodes, sent: Vec::new(), sessions: 0 }
    }

    /// A program lives its life, from `from` on, in some sessions.
    fn live(&mut self, from: u64, v4: Ipv4Addr) {
        let v6 = self.random.bool().then(|| Ipv6Addr::new(0x2a00, 0, 0, 0, 0, 0, 0, 1));
        let v6 = v6.filter(|_| v4 == FIRST);
        let mut program = Program { v4, v6, counters: Counters::default(), now: from };
        for _ in 0..1 + self.random.u64(..4) {
            self.session(&mut program);
        }
    }

    fn session(&mut self, program: &mut Program) {
        self.sessions += 1;
        let began = program.now;
        program.counters = Counters::default();
        // `started` until somebody answers; all addresses have been heard before it goes on.
        let mut heard = false;
        while self.random.u8(..4) == 0 {
            let lost = self.random.bool();
            self.say(program, Event::Started, lost);
            program.now += self.random.u64(2_000..6_000);
            heard |= !lost;
            if heard && self.random.bool() {
                self.transfer(program);
            }
        }
        let mut last = self.say(program, Event::Started, false);
        program.now = last + self.random.u64(3_000..9_000) + BUS_DELAY;
        for _ in 0..self.random.u64(..12) {
            self.transfer(program);
            let event = if self.random.u8(..8) == 0 { Event::Completed } else { Event::None };
            let lost = self.random.u8(..6) == 0;
            last = last.max(self.say(program, event, lost));
            program.now += match self.random.u8(..3) {
                0 => self.random.u64(200..5_000),
                1 => self.random.u64(5_000..60_000),
                _ => self.random.u64(600_000..1_800_000),
            };
        }
        self.transfer(program);
        if self.random.bool() {
            last = last.max(self.say(program, Event::Stopped, false));
        }
        let quiet = self.random.u64(16_000..400_000);
        program.now = (program.now.max(last) + quiet).max(began + 90_000);
    }

    fn transfer(&mut self, program: &mut Program) {
        let mut bytes = || match self.random.u8(..4) {
            0 => 0,
            1 => self.random.u64(..20),
            _ => self.random.u64(..1 << 32),
        };
        program.counters.uploaded += bytes();
        program.counters.downloaded += bytes();
    }

    /// The program announces over its addresses, one after the other; when the last copy arrives.
    fn say(&mut self, program: &mut Program, event: Event, lost: bool) -> u64 {
        let mut last = program.now;
        let mut addresses = vec![IpAddr::V4(program.v4)];
        addresses.extend(program.v6.map(IpAddr::V6));
        self.random.shuffle(&mut addresses);
        for (number, address) in addresses.into_iter().enumerate() {
            if number > 0 && event == Event::None {
                program.now += self.random.u64(..300);
                if self.random.bool() {
                    self.transfer(program);
                }
            }
            let copies = if lost { 0 } else { 1 + usize::from(self.random.u8(..10) == 0) };
            for copy in 0..copies {
                let late = match self.random.u8(..12) {
                    0 => self.random.u64(..LATE_MAX),
                    _ => self.random.u64(10..400),
                };
                // The answer to `started` is waited for; a copy of it may come late.
                let late =
                    if event == Event::Started && copy == 0 { late.min(1_000) } else { late };
                let (arrives, session) = (program.now + late, self.sessions - 1);
                let node = self.random.usize(..self.nodes);
                let counters = program.counters;
                self.sent.push(Sent { arrives, node, session, address, event, counters });
                last = last.max(arrives);
            }
        }
        last
    }

    /// What the trackers write down, and what every session was worth.
    fn hear(&mut self) -> (Vec<Report>, Vec<Session>) {
        self.sent.sort_by_key(|sent| sent.arrives);
        let error = |random: &mut fastrand::Rng| random.u64(..=2 * CLOCK_ERROR);
        let errors: Vec<u64> = (0..self.nodes).map(|_| error(&mut self.random)).collect();
        let mut sessions = vec![Session::default(); self.sessions];
        // What each tracker knows: its own, and what it was told; when each was told.
        let mut told: Vec<Vec<(u64, Report)>> = vec![Vec::new(); self.nodes];
        let mut last = vec![Stamp::default(); self.nodes];
        let mut reports = Vec::new();
        for sent in &self.sent {
            let known: Vec<Report> = told[sent.node]
                .iter()
                .filter(|(at, _)| *at <= sent.arrives)
                .map(|it| it.1)
                .collect();
            let clock = 1_000_000 + sent.arrives + errors[sent.node] - CLOCK_ERROR;
            let newest = known.iter().map(|report| report.stamp.millis).max().unwrap_or(0);
            let follows = if newest <= clock + FOLLOWED_MAX { newest + 1 } else { 0 };
            let millis = clock.max(last[sent.node].millis + 1).max(follows);
            let stamp = Stamp { millis, node: sent.node as u16 };
            last[sent.node] = stamp;
            let mut known = known;
            known.sort_by_key(|report| report.stamp);
            let lines = fold(&Lines::default(), &known).0;
            let after = lines.all().iter().map(|line| line.begin).max();
            let report = Report {
                stamp,
                address: sent.address,
                event: sent.event,
                left: 1,
                counters: sent.counters,
                factors: FACTORS,
                after,
            };
            reports.push(report);
            for (node, told) in told.iter_mut().enumerate() {
                let delay = if node == sent.node { 0 } else { self.random.u64(..BUS_DELAY) };
                told.push((sent.arrives + delay, report));
            }
            let session = &mut sessions[sent.session];
            session.first.get_or_insert(sent.counters);
            session.most.uploaded = session.most.uploaded.max(sent.counters.uploaded);
            session.most.downloaded = session.most.downloaded.max(sent.counters.downloaded);
        }
        (reports, sessions)
    }
}

/// By what sessions have said of themselves.
fn judge(sessions: &[Session]) -> (i128, i128) {
    let worth = sessions.iter().filter_map(|session| {
        let first = session.first?;
        let moved = |most: u64, first: u64| i128::from(most) - i128::from(first);
        let up = moved(session.most.uploaded, first.uploaded);
        Some((up, moved(session.most.downloaded, first.downloaded)))
    });
    worth.fold((0, 0), |sum, worth| (sum.0 + worth.0, sum.1 + worth.1))
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    world.live(0, FIRST);
    if world.random.u8(..4) == 0 {
        // It begins while the first goes on, which has said more than it.
        let goes_on = |from: &Sent| {
            let of_it = world.sent.iter().filter(|sent| sent.session == from.session);
            of_it.map(|sent| sent.arrives).max() > Some(from.arrives + 60_000)
        };
        let first = world
            .sent
            .iter()
            .find(|sent| sent.counters.uploaded.min(sent.counters.downloaded) > 0 && goes_on(sent));
        if let Some(from) = first.map(|sent| sent.arrives + 1_000) {
            world.live(from, COPY);
        }
    }
    let (reports, sessions) = world.hear();
    let expected = judge(&sessions);
    let mut ordered = reports.clone();
    ordered.sort_by_key(|report| report.stamp);
    let credit = fold(&Lines::default(), &ordered).1;
    let show = || {
        for (sent, report) in world.sent.iter().zip(&reports) {
            let Counters { uploaded, downloaded, .. } = sent.counters;
            eprintln!(
                "{:>9} {:>9}/{} session {} {} {:?} {uploaded} {downloaded}",
                sent.arrives,
                report.stamp.millis.wrapping_sub(1_000_000) as i64,
                sent.node,
                sent.session,
                sent.address,
                sent.event
            );
        }
    };
    if (credit.uploaded, credit.downloaded) != expected {
        show();
    }
    assert_eq!((credit.uploaded, credit.downloaded), expected, "{} trackers", world.nodes);
    assert_eq!((credit.up, credit.down), (expected.0 * 133, expected.1 * 100));
    written_in_any_order(&mut world.random, world.nodes, &ordered, credit);
    if world.nodes == 1
        && let Some(credited) = by_the_engine(&world.sent)
    {
        assert_eq!(credited, expected, "by the engine");
    }
}

/// What one tracker credits as it hears it. It forgets a client that has left: where there was a copy of it,
/// it does not know any more where each of them was.
fn by_the_engine(sent: &[Sent]) -> Option<(i128, i128)> {
    let is_copied = sent.iter().any(|sent| sent.address == IpAddr::V4(COPY));
    let limits = Limits {
        torrents_max: 1,
        peers_max: 10,
        clients_max: 0,
        peer_timeout: Seconds(100_000),
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 1,
        facts: Facts::Changed,
    };
    let terms = Terms { id: TorrentId(1), freeleech: Freeleech::None, upload_percent: 100 };
    let mut engine = Swarms::new(1, limits);
    engine.register(InfoHash([1; 20]), terms).unwrap();
    let (mut random, mut reply) = (fastrand::Rng::with_seed(1), Reply::default());
    let mut sum = (0, 0);
    for sent in sent {
        let announce = Announce {
            info_hash: InfoHash([1; 20]),
            user: User { id: UserId(1), can_leech: true, hidden: false, group: None },
            peer_id: PeerId([2; 20]),
            key: 3,
            endpoints: SocketAddr::new(sent.address, 6881).into(),
            counters: sent.counters,
            left: 1,
            event: sent.event,
            numwant: 0,
            families: Families { v4: true, v6: true },
            assumed: Families::default(),
            interval: Seconds(1800),
            downloads_full: false,
        };
        let now = Seconds(1_700_000_000 + (sent.arrives / 1000) as u32);
        let outcome = engine.announce(&announce, now, &mut random, &mut reply).unwrap();
        if is_copied && outcome.is.is_none() {
            return None;
        }
        if let Some(fact) = outcome.fact {
            sum.0 += i128::from(fact.credited_up);
            sum.1 += i128::from(fact.credited_down);
        }
    }
    Some(sum)
}

/// Each tracker writes its own reports in their order, one now and one then; what none can come below any
/// more is settled.
fn written_in_any_order(
    random: &mut fastrand::Rng,
    nodes: usize,
    reports: &[Report],
    expected: Credit,
) {
    let mut waiting: Vec<Vec<Report>> = (0..nodes)
        .map(|node| {
            reports.iter().rev().filter(move |report| usize::from(report.stamp.node) == node)
        })
        .map(|own| own.copied().collect())
        .collect();
    let (mut history, mut sum) = (History::default(), Credit::default());
    while waiting.iter().any(|waiting| !waiting.is_empty()) {
        let node = random.usize(..nodes);
        // Nobody is so far behind that more are kept than there is room for.
        let horizon =
            waiting.iter().filter_map(|waiting| waiting.last()).map(|report| report.stamp).min();
        let behind = waiting.iter().position(|it| it.last().map(|report| report.stamp) == horizon);
        let full = history.reports().len() >= KEPT_MAX - 1;
        let node = if full { behind.unwrap_or(node) } else { node };
        let Some(report) = waiting[node].pop() else { continue };
        sum += history.add(report);
        assert_eq!(history.add(report), Credit::default(), "one that is there already");
        if random.u8(..4) == 0 || full {
            let next = waiting.iter().filter_map(|waiting| waiting.last());
            if let Some(horizon) = next.map(|report| report.stamp).min() {
                history.settle(horizon);
            }
        }
    }
    assert_eq!(sum, expected);
    assert_eq!(history.lines(), fold(&Lines::default(), reports).0);
}

#[test]
fn what_is_folded_is_what_was_moved() {
    each_seed("what_is_folded_is_what_was_moved", 3000, run);
}
