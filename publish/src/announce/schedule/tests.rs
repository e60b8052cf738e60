//! What is said to whom and when, with a clock of the test's own.

use std::time::Duration;

use super::super::outages;
use super::*;

const A: &str = "http://a.example/announce";
const B: &str = "http://b.example/announce";

/// A schedule with a clock of its own, and a word for each thing that happens.
struct Desk {
    schedule: Schedule,
    now: Instant,
    begun: Instant,
}

impl Desk {
    fn new() -> Self {
        let options = Options { port: 6881, ..Options::new(6881).unwrap() };
        let now = Instant::now();
        Self { schedule: Schedule::new(options, fastrand::Rng::with_seed(1)), now, begun: now }
    }

    fn add(&mut self, number: u8, tiers: &[&[&str]], left: u64) -> Arc<Transfer> {
        let transfer = Arc::new(Transfer::default());
        transfer.left.store(left, Ordering::Relaxed);
        let wrong = self.schedule.add(torrent(number, tiers), Arc::clone(&transfer), self.now);
        assert!(wrong.is_empty(), "{wrong:?}");
        transfer
    }

    /// The next announce, as of now: none where the schedule waits.
    fn ask(&mut self) -> Option<Ask> {
        match self.schedule.next(self.now) {
            Next::Ask(ask) => Some(*ask),
            Next::Wait(_) => None,
        }
    }

    /// Waits for the next announce.
    fn await_ask(&mut self) -> Ask {
        loop {
            match self.schedule.next(self.now) {
                Next::Ask(ask) => return *ask,
                Next::Wait(until) => self.now = until.expect("something is due"),
            }
        }
    }

    /// The same, and checks what is said to whom, and how many seconds after the beginning.
    #[track_caller]
    fn await_said(
        &mut self,
        host: &str,
        event: Event,
        seconds: std::ops::RangeInclusive<u64>,
    ) -> Ask {
        let ask = self.await_ask();
        assert_eq!((&*ask.address.host, ask.announce.event), (host, event));
        let at = (self.now - self.begun).as_secs();
        assert!(seconds.contains(&at), "at {at}, not within {seconds:?}");
        ask
    }

    fn answer(&mut self, ask: &Ask, interval: u64) {
        let answer = Answer { interval: Some(Duration::from_secs(interval)), ..Answer::default() };
        self.schedule.finished(ask.ticket, Outcome::Answered(answer), self.now);
    }

    fn fail(&mut self, ask: &Ask) {
        let refusal = Refusal { reason: "down".into(), wait: None };
        self.schedule.finished(ask.ticket, Outcome::Unreachable(refusal), self.now);
    }

    fn refuse(&mut self, ask: &Ask) {
        let refusal = Refusal { reason: "no".into(), wait: None };
        self.schedule.finished(ask.ticket, Outcome::Refused(refusal), self.now);
    }

    fn status(&self, number: u8) -> Vec<TrackerState> {
        let status = self.schedule.status(&InfoHash([number; 20]), self.now).unwrap();
        status.trackers.iter().map(|tracker| tracker.state).collect()
    }
}

fn torrent(number: u8, tiers: &[&[&str]]) -> Torrent {
    Torrent {
        info_hash: InfoHash([number; 20]),
        tiers: tiers
            .iter()
            .map(|tier| tier.iter().map(|url| (*url).to_owned()).collect())
            .collect(),
        private: false,
        total: 100,
        every_tier: false,
    }
}

#[test]
fn a_life() {
    let mut desk = Desk::new();
    let transfer = desk.add(1, &[&[A]], 100);
    assert_eq!(desk.status(1), [TrackerState::Asking]);
    let ask = desk.await_said("a.example", Event::Started, 0..=0);
    assert_eq!((ask.announce.left, ask.announce.numwant), (100, 100));
    desk.answer(&ask, 1_800);
    assert_eq!(desk.status(1), [TrackerState::Working]);
    let ask = desk.await_said("a.example", Event::None, 1_800..=1_800);
    desk.answer(&ask, 1_800);

    transfer.left.store(0, Ordering::Relaxed);
    transfer.downloaded.store(100, Ordering::Relaxed);
    desk.now += Duration::from_secs(10);
    desk.schedule.completed(&InfoHash([1; 20]), desk.now);
    let ask = desk.await_said("a.example", Event::Completed, 1_810..=1_810);
    assert_eq!((ask.announce.left, ask.announce.downloaded, ask.announce.numwant), (0, 100, 0));
    desk.answer(&ask, 60);
    let ask = desk.await_said("a.example", Event::None, 1_870..=1_870);
    desk.answer(&ask, 1_800);

    desk.schedule.remove(&InfoHash([1; 20]), desk.now);
    let ask = desk.await_said("a.example", Event::Stopped, 1_870..=1_870);
    desk.answer(&ask, 1_800);
    assert!(desk.schedule.is_done());
    assert!(matches!(desk.schedule.next(desk.now), Next::Wait(None)));
}

#[test]
fn counters_begin_when_the_torrent_is_added() {
    let mut desk = Desk::new();
    let transfer = Arc::new(Transfer::default());
    transfer.uploaded.store(1_000, Ordering::Relaxed);
    desk.schedule.add(torrent(1, &[&[A]]), Arc::clone(&transfer), desk.now);
    transfer.uploaded.store(1_007, Ordering::Relaxed);
    assert_eq!(desk.await_ask().announce.uploaded, 7);
}

#[test]
fn completed_is_said_to_who_knew_it_missing_and_to_nobody_else() {
    let mut desk = Desk::new();
    // A seeder from the start.
    desk.add(1, &[&[A]], 0);
    let ask = desk.await_said("a.example", Event::Started, 0..=0);
    desk.answer(&ask, 1_800);
    desk.schedule.completed(&InfoHash([1; 20]), desk.now);
    let ask = desk.await_said("a.example", Event::None, 1_800..=1_800);
    desk.answer(&ask, 3_600);

    // One that completes while `started` is under way says it right after.
    let transfer = desk.add(2, &[&[B]], 5);
    let ask = desk.await_said("b.example", Event::Started, 1_800..=1_800);
    transfer.left.store(0, Ordering::Relaxed);
    desk.schedule.completed(&InfoHash([2; 20]), desk.now);
    desk.answer(&ask, 1_800);
    let ask = desk.await_said("b.example", Event::Completed, 1_800..=1_800);
    // It is said again when it was not answered, and then no more.
    desk.fail(&ask);
    let ask = desk.await_said("b.example", Event::Completed, 1_830..=1_838);
    desk.answer(&ask, 600);
    desk.await_said("b.example", Event::None, 2_430..=2_438);
}

#[test]
fn completed_is_said_after_a_regular_announce_that_came_first() {
    let mut desk = Desk::new();
    let transfer = desk.add(1, &[&[A]], 5);
    let ask = desk.await_said("a.example", Event::Started, 0..=0);
    desk.answer(&ask, 60);
    transfer.left.store(0, Ordering::Relaxed);
    let ask = desk.await_said("a.example", Event::None, 60..=60);
    desk.schedule.completed(&InfoHash([1; 20]), desk.now);
    desk.answer(&ask, 60);
    let ask = desk.await_said("a.example", Event::Completed, 60..=60);
    desk.answer(&ask, 60);
    desk.await_said("a.example", Event::None, 120..=120);
}

#[test]
fn who_was_never_announced_leaves_without_a_word() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A]], 5);
    desk.schedule.remove(&InfoHash([1; 20]), desk.now);
    assert!(desk.ask().is_none() && desk.schedule.is_done());
    // And one that was refused, too.
    desk.add(2, &[&[A]], 5);
    let ask = desk.await_ask();
    desk.refuse(&ask);
    assert_eq!(desk.status(2), [TrackerState::Refusing]);
    desk.schedule.remove(&InfoHash([2; 20]), desk.now);
    assert!(desk.ask().is_none() && desk.schedule.is_done());
}

#[test]
fn removed_while_under_way_it_leaves_after_the_answer() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A]], 5);
    let ask = desk.await_ask();
    desk.schedule.remove(&InfoHash([1; 20]), desk.now);
    assert!(desk.ask().is_none());
    // Who comes back meanwhile waits until the former has left.
    desk.add(1, &[&[A]], 5);
    assert!(desk.ask().is_none());
    desk.answer(&ask, 1_800);
    let stopped = desk.await_said("a.example", Event::Stopped, 0..=0);
    assert!(desk.ask().is_none());
    desk.answer(&stopped, 1_800);
    desk.await_said("a.example", Event::Started, 0..=0);
}

#[test]
fn the_next_tier_is_asked_when_all_of_one_fail_and_the_first_when_it_is_back() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A], &[B]], 5);
    let ask = desk.await_said("a.example", Event::Started, 0..=0);
    assert_eq!(desk.status(1), [TrackerState::Asking, TrackerState::NotAsked]);
    desk.fail(&ask);
    let ask = desk.await_said("b.example", Event::Started, 0..=0);
    desk.answer(&ask, 1_800);
    assert_eq!(desk.status(1), [TrackerState::Unreachable, TrackerState::Working]);
    // The first one is tried later and later, and the second one is not asked more often for that.
    let ask = desk.await_said("a.example", Event::Started, 30..=38);
    desk.fail(&ask);
    let ask = desk.await_said("a.example", Event::Started, 90..=115);
    desk.answer(&ask, 1_000);
    let ask = desk.await_said("a.example", Event::None, 1_090..=1_115);
    desk.answer(&ask, 1_000);
    // Both know it, and both are told.
    desk.schedule.remove(&InfoHash([1; 20]), desk.now);
    let both = [desk.await_ask(), desk.await_ask()];
    for ask in &both {
        assert_eq!(ask.announce.event, Event::Stopped);
        desk.answer(ask, 1_000);
    }
    assert_ne!(both[0].address.host, both[1].address.host);
    assert!(desk.schedule.is_done());
}

#[test]
fn of_a_tier_the_first_that_answers_stays_first() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A, B]], 5);
    let first = desk.await_ask();
    desk.fail(&first);
    let second = desk.await_ask();
    assert_ne!(first.address.host, second.address.host);
    desk.answer(&second, 600);
    // The one that failed stands behind it now and is not tried.
    let next = desk.await_ask();
    assert_eq!(
        (&next.address.host, (desk.now - desk.begun).as_secs()),
        (&second.address.host, 600)
    );
}

#[test]
fn every_tier_is_asked_for_itself_if_wanted() {
    let mut desk = Desk::new();
    let torrent = Torrent { every_tier: true, ..torrent(1, &[&[A], &[B]]) };
    desk.schedule.add(torrent, Arc::default(), desk.now);
    let both = [desk.await_ask(), desk.await_ask()];
    assert_ne!(both[0].address.host, both[1].address.host);
    desk.answer(&both[0], 600);
    desk.fail(&both[1]);
    let again = desk.await_ask();
    assert_eq!(again.address.host, both[1].address.host);
}

#[test]
fn a_tracker_that_is_down_is_probed_by_one_for_all() {
    let mut desk = Desk::new();
    for number in 0..50 {
        desk.add(number, &[&[A]], 5);
    }
    // Few ask a tracker that is new.
    let first: Vec<Ask> = std::iter::from_fn(|| desk.ask()).collect();
    assert_eq!(first.len(), 4);
    for ask in &first {
        desk.fail(ask);
    }
    assert!(desk.ask().is_none());
    for least in [30, 60, 120] {
        let before = desk.now;
        let ask = desk.await_ask();
        assert!((desk.now - before).as_secs() >= least);
        assert!(desk.ask().is_none());
        desk.fail(&ask);
    }
    let ask = desk.await_ask();
    desk.answer(&ask, 1_800);
    // Now that it is back all come, at its pace.
    let most = desk.schedule.options.in_flight_max;
    let begun = desk.now;
    let mut said = 0;
    while said < 49 {
        let batch: Vec<Ask> = std::iter::from_fn(|| desk.ask()).collect();
        assert!(batch.len() <= most);
        if batch.is_empty() {
            let Next::Wait(Some(until)) = desk.schedule.next(desk.now) else { panic!() };
            desk.now = until;
        }
        for ask in batch {
            desk.answer(&ask, 1_800);
            said += 1;
        }
    }
    assert!((desk.now - begun).as_secs_f64() >= 0.7);
}

#[test]
fn the_most_urgent_are_first() {
    let mut desk = Desk::new();
    for number in [1, 2] {
        desk.add(number, &[&[A]], 5);
        let ask = desk.await_ask();
        desk.answer(&ask, 1_800);
    }
    desk.add(3, &[&[A]], 0);
    desk.add(4, &[&[A]], 5);
    desk.schedule.completed(&InfoHash([1; 20]), desk.now);
    desk.schedule.torrents[0].as_ref().unwrap().transfer.left.store(0, Ordering::Relaxed);
    desk.schedule.completed(&InfoHash([1; 20]), desk.now);
    desk.schedule.remove(&InfoHash([2; 20]), desk.now);
    let order: Vec<(Event, u64)> = (0..4)
        .map(|_| {
            let ask = desk.await_ask();
            (ask.announce.event, ask.announce.left)
        })
        .collect();
    let expected =
        [(Event::Stopped, 5), (Event::Completed, 0), (Event::Started, 5), (Event::Started, 0)];
    assert_eq!(order, expected);
}

#[test]
fn refusals_are_a_matter_of_one_torrent() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A]], 5);
    desk.add(2, &[&[A]], 5);
    let ask = desk.await_ask();
    desk.refuse(&ask);
    let other = desk.await_said("a.example", Event::Started, 0..=0);
    desk.answer(&other, 1_800);
    let ask = desk.await_said("a.example", Event::Started, 30..=38);
    let refusal = Refusal { reason: "later".into(), wait: Some(Duration::from_secs(900)) };
    desk.schedule.finished(ask.ticket, Outcome::Refused(refusal), desk.now);
    let status = desk.schedule.status(&ask.announce.info_hash, desk.now).unwrap();
    assert_eq!(status.trackers[0].text.as_deref(), Some("later"));
    desk.await_said("a.example", Event::Started, 930..=938);
}

#[test]
fn a_hurry_waits_for_the_min_interval() {
    let mut desk = Desk::new();
    desk.add(1, &[&[A]], 5);
    let ask = desk.await_ask();
    let answer = Answer {
        interval: Some(Duration::from_secs(1_800)),
        min_interval: Some(Duration::from_secs(300)),
        ..Answer::default()
    };
    desk.schedule.finished(ask.ticket, Outcome::Answered(answer), desk.now);
    desk.schedule.hurry(&InfoHash([1; 20]), desk.now);
    let ask = desk.await_said("a.example", Event::None, 300..=300);
    desk.answer(&ask, 1_800);
    desk.await_said("a.example", Event::None, 2_100..=2_100);
}

#[test]
fn at_the_end_all_are_told_and_who_cannot_be_is_named() {
    let mut desk = Desk::new();
    for number in 0..100 {
        desk.add(number, &[&[if number == 7 { B } else { A }]], 0);
    }
    for _ in 0..100 {
        let ask = desk.await_ask();
        desk.answer(&ask, 1_800);
    }
    desk.schedule.stop(desk.now);
    assert_eq!(desk.schedule.unsaid().len(), 100);
    let begun = desk.now;
    while let Some(ask) = desk.ask() {
        assert_eq!(ask.announce.event, Event::Stopped);
        if &*ask.address.host == "b.example" { desk.fail(&ask) } else { desk.answer(&ask, 1_800) }
    }
    assert_eq!(desk.now, begun);
    assert!(desk.schedule.is_done());
    let unsaid = Unsaid { info_hash: InfoHash([7; 20]), tracker: B.into() };
    assert_eq!(desk.schedule.unsaid(), [unsaid]);
    desk.schedule.add(torrent(1, &[&[A]]), Arc::default(), desk.now);
    assert!(desk.ask().is_none());
}

#[test]
fn peers_are_bounded_new_ones_told_and_none_kept_by_seeders() {
    let mut desk = Desk::new();
    let transfer = desk.add(1, &[&[A]], 5);
    let ask = desk.await_ask();
    let peers = |range: std::ops::Range<u16>| -> Vec<SocketAddr> {
        range.map(|port| SocketAddr::new([192, 0, 2, 1].into(), port)).collect()
    };
    let (_, new) = desk.schedule.found_early(&ask.ticket, peers(1..11)).unwrap();
    assert_eq!(new, peers(1..11));
    let (_, new) = desk.schedule.found_early(&ask.ticket, peers(5..300)).unwrap();
    assert_eq!(new, peers(11..300));
    assert_eq!(desk.schedule.peers(&InfoHash([1; 20])), peers(100..300));
    assert!(desk.schedule.found_early(&ask.ticket, peers(150..160)).is_none());
    transfer.left.store(0, Ordering::Relaxed);
    assert!(desk.schedule.found_early(&ask.ticket, peers(400..410)).is_none());
    // Nobody is told itself.
    transfer.left.store(5, Ordering::Relaxed);
    let answer = Answer {
        external_ip: Some([192, 0, 2, 1].into()),
        peers: peers(6_881..6_882),
        ..Answer::default()
    };
    assert!(desk.schedule.finished(ask.ticket, Outcome::Answered(answer), desk.now).is_none());
}

#[test]
fn addresses_that_cannot_be_asked_are_left_out() {
    let mut desk = Desk::new();
    let wrong = desk.schedule.add(
        torrent(1, &[&["wss://x/", A, A], &["udp://x/"]]),
        Arc::default(),
        desk.now,
    );
    assert_eq!(wrong.len(), 2);
    assert_eq!(desk.status(1), [TrackerState::Asking]);
}

/// Run alone: `cargo test -p margay-publish --lib ten_thousand -- --ignored --nocapture`.
#[test]
#[ignore = "measures the memory of the process"]
fn ten_thousand_torrents_take_little() {
    let resident = || -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let mut kept = Vec::new();
    for (what, tiers) in [("one tracker", &[&[A][..]][..]), ("two tiers", &[&[A], &[B]])] {
        let before = resident();
        let mut desk = Desk::new();
        for number in 0..10_000u32 {
            let mut info_hash = [0; 20];
            info_hash[..4].copy_from_slice(&number.to_be_bytes());
            let torrent = Torrent { info_hash: InfoHash(info_hash), ..torrent(1, tiers) };
            desk.schedule.add(torrent, Arc::default(), desk.now);
        }
        for _ in 0..10_000 {
            let ask = desk.await_ask();
            desk.answer(&ask, 86_400);
        }
        let bytes = (resident() - before) * 1024 / 10_000;
        println!("{what}: {bytes} bytes a torrent");
        assert!(bytes <= 1_500);
        kept.push(desk);
    }
}

#[test]
fn a_tracker_is_as_it_is_to_all_its_torrents() {
    let mut desk = Desk::new();
    let failing = |desk: &Desk| {
        let mut trackers = desk.schedule.trackers();
        trackers.sort_by(|a, b| a.url.cmp(&b.url));
        let said = |tracker: &outages::Tracker| (tracker.failing, tracker.torrents);
        trackers.iter().map(said).collect::<Vec<_>>()
    };
    desk.add(1, &[&[A]], 0);
    let ask = desk.await_ask();
    desk.answer(&ask, 1_800);
    desk.add(2, &[&[A], &[B]], 0);
    assert_eq!(failing(&desk), [(0, 2), (0, 1)]);
    let ask = desk.await_ask();
    desk.refuse(&ask);
    assert_eq!(failing(&desk), [(1, 2), (0, 1)], "it is refused alone");
    let ask = desk.await_said("b.example", Event::Started, 0..=60);
    desk.fail(&ask);
    assert_eq!(failing(&desk), [(1, 2), (1, 1)]);
    loop {
        let ask = desk.await_ask();
        if &*ask.address.host == "a.example" {
            desk.answer(&ask, 1_800);
            break;
        }
        desk.fail(&ask);
    }
    assert_eq!(failing(&desk), [(0, 2), (1, 1)]);
    desk.schedule.remove(&InfoHash([2; 20]), desk.now);
    assert_eq!(failing(&desk), [(0, 1)]);
}
