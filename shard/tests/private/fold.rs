//! The rules of the fold, one story each: several trackers hear one client.

use std::net::IpAddr;

use shard::Event;
use shard::private::Counters;
use shard::private::fold::{
    Credit, Factors, History, KEPT_MAX, LINES_MAX, Lines, Report, Stamp, fold, whole_bytes,
};

use crate::each_seed;

/// `seconds/tracker words`: an event, `up=`, `down=`, `left=`, `at=` an address, `x=` percent of the upload,
/// `free`, `token`, `after=` seconds/tracker.
fn report(text: &str) -> Report {
    let stamp = |text: &str| {
        let (seconds, node) = text.split_once('/').unwrap();
        let millis = (seconds.parse::<f64>().unwrap() * 1000.0) as u64;
        Stamp { millis, node: node.parse().unwrap() }
    };
    let mut words = text.split_whitespace();
    let mut report = Report {
        stamp: stamp(words.next().unwrap()),
        address: "45.0.0.1".parse().unwrap(),
        event: Event::None,
        left: 1,
        counters: Counters::default(),
        factors: Factors { upload_percent: 100, download_percent: 100, token: false },
        after: None,
    };
    for word in words {
        match word.split_once('=') {
            Some(("up", bytes)) => report.counters.uploaded = bytes.parse().unwrap(),
            Some(("down", bytes)) => report.counters.downloaded = bytes.parse().unwrap(),
            Some(("left", bytes)) => report.left = bytes.parse().unwrap(),
            Some(("at", at)) => report.address = at.parse::<IpAddr>().unwrap(),
            Some(("x", percent)) => report.factors.upload_percent = percent.parse().unwrap(),
            Some(("after", at)) => report.after = Some(stamp(at)),
            Some((key, _)) => panic!("no such word: {key}"),
            None => match word {
                "started" => report.event = Event::Started,
                "completed" => report.event = Event::Completed,
                "stopped" => report.event = Event::Stopped,
                "free" => report.factors.download_percent = 0,
                "token" => report.factors.token = true,
                _ => panic!("no such word: {word}"),
            },
        }
    }
    report
}

/// What these are worth together, in whatever order they are written.
fn credit(said: &[&str]) -> Credit {
    let mut reports: Vec<Report> = said.iter().map(|text| report(text)).collect();
    let mut random = fastrand::Rng::with_seed(3);
    let mut ordered = reports.clone();
    ordered.sort_by_key(|report| report.stamp);
    let expected = fold(&Lines::default(), &ordered).1;
    for _ in 0..10 {
        random.shuffle(&mut reports);
        let (mut history, mut sum) = (History::default(), Credit::default());
        reports.iter().for_each(|report| sum += history.add(*report));
        assert_eq!(sum, expected, "{reports:?}");
    }
    expected
}

fn check(said: &[&str], up: i128) {
    assert_eq!(credit(said).uploaded, up, "{said:?}");
}

#[test]
fn trackers_that_hear_the_same_count_it_once() {
    check(&["0/1 started", "0.1/2 started", "60/2 up=884", "70/1 up=884"], 884);
    check(&["0/1 started", "60/1 up=1420", "60.015/2 up=1420"], 1420);
    check(&["0/1 started", "60/1 up=940", "70/1 up=1024", "50/2", "65/2 up=940"], 1024);
    check(&["0.2/2 up=0", "0/1 started", "900/2 up=515", "901/1 up=480", "1900/1 up=585"], 585);
}

#[test]
fn stamps_the_wrong_way_round_around_a_restart_do_no_harm() {
    // The first one says goodbye at a tracker whose clock is ahead of the one that hears the second.
    check(
        &[
            "0/1 started",
            "1800/1 up=2006",
            "1900/2 started",
            "1903/1 stopped up=2006",
            "1960/2 up=7",
        ],
        2013,
    );
    check(
        &["0/1 started", "1800/1 up=900", "1900/2 started", "1903/1 stopped up=940", "1960/2 up=7"],
        947,
    );
    // A tracker that knows of the new one means that.
    check(
        &["0/1 started", "1800/1 up=900", "1900/2 started", "1903/1 up=940 after=1900/2"],
        900 + 940,
    );
    // Nobody moves anything after `stopped`: a `started` came before it that was not understood.
    check(
        &["0/1 started", "1800/1 up=5", "1805/1 started", "1806/1 stopped up=5", "1900/1 up=7"],
        12,
    );
    check(
        &["0/1 started", "10/1 stopped up=50", "12/1 started", "14/1 started", "60/1 up=70"],
        120,
    );
    check(&["0/1 started", "10/1 stopped up=50", "12/1 started", "60/1 stopped up=20"], 70);
}

#[test]
fn a_copied_session_does_not_count_the_first_again() {
    let said = [
        "0/1 started",
        "900/1 up=1000000000",
        "1000/1 started at=45.0.0.2",
        "1060/2 up=1000000007",
        "1100/1 up=3 at=45.0.0.2",
        "1200/1 up=1000000009",
    ];
    check(&said, 1_000_000_009 + 3);
    // Who moves to another address is no copy.
    check(&["0/1 started", "60/1 up=50", "900/2 up=70 at=45.0.0.2", "990/2 up=90 at=45.0.0.3"], 90);
    // Neither is his other family, wherever it is heard first.
    check(
        &["0/1 started", "60/1 up=50", "900/2 started at=2a00::1", "901/2 started", "990/1 up=9"],
        59,
    );
}

#[test]
fn six_lines_are_kept_and_a_download_is_counted_once() {
    let mut said = vec!["0/1 started left=9".to_owned(), "50/1 completed left=0 down=9".to_owned()];
    for copy in 2..12 {
        said.push(format!("{}/1 started left=9 at=45.0.0.{copy}", copy * 100));
        said.push(format!("{}/1 completed left=0 down=9 at=45.0.0.{copy}", copy * 100 + 50));
    }
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let found = credit(&said);
    assert_eq!((found.downloaded, found.snatches), (11 * 9, 1));
    let reports: Vec<Report> = said.iter().map(|text| report(text)).collect();
    let lines = fold(&Lines::default(), &reports).0;
    assert_eq!((lines.all().len(), lines.snatched()), (LINES_MAX, true));
    assert_eq!(credit(&["0/1 started left=0", "5/1 completed left=0"]).snatches, 0, "it seeded");
    assert_eq!(credit(&["0/1 completed left=0", "5/1 completed left=0"]).snatches, 0);
    let late = [
        "0/1 started",
        "60/1 up=9 left=0",
        "60.5/1 completed left=0 up=7",
        "61/2 completed left=0 up=9",
    ];
    assert_eq!(credit(&late).snatches, 1);
}

#[test]
fn each_byte_counts_by_the_factors_of_the_first_report_that_covers_it() {
    let found = credit(&["0/1 started", "10/1 up=1 x=150", "20/1 up=3 x=150", "30/1 up=103 x=33"]);
    assert_eq!((found.up, whole_bytes(found.up)), (450 + 3300, 37), "hundredths are summed up");
    let found = credit(&["0/1 started", "9/1 down=7 token", "19/1 down=9 free", "29/1 down=20"]);
    assert_eq!((found.token_down, found.down), (700, 1100));
}

#[test]
fn amounts_that_cannot_be_credit_nobody_and_stop_nobody() {
    let most = i64::MAX;
    let said = [
        "0/1 started".to_owned(),
        format!("9/1 up={most} x=65535"),
        "99/1 up=5".to_owned(),
        "199/1 up=9".into(),
    ];
    check(&said.each_ref().map(String::as_str), 4);
    let said = format!("1000/1 up={} down=1", 12_500_000_000_u64 * 4600);
    check(&["0/1 started", &said], 12_500_000_000 * 4600);
}

/// Whatever is said: the sums follow from the set of reports, and settling what is below the horizon changes
/// none of them.
fn any_set(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut reports, mut at) = (Vec::new(), 0);
    for _ in 0..random.usize(1..KEPT_MAX) {
        at += random.u64(1..40_000);
        let event = [Event::None, Event::None, Event::Started, Event::Completed, Event::Stopped];
        let address = ["45.0.0.1", "45.0.0.2", "2a00::1"][random.usize(..3)];
        reports.push(Report {
            stamp: Stamp { millis: at, node: random.u16(..3) },
            event: event[random.usize(..5)],
            left: random.u64(..2),
            counters: Counters {
                uploaded: random.u64(..5),
                downloaded: random.u64(..5),
                corrupt: 0,
            },
            address: address.parse().unwrap(),
            factors: Factors {
                upload_percent: random.u16(..200),
                download_percent: random.u16(..2) * 100,
                token: random.u8(..4) == 0,
            },
            after: random.bool().then(|| Stamp { millis: random.u64(..=at), node: 0 }),
        });
    }
    let (lines, expected) = fold(&Lines::default(), &reports);
    let mut shuffled = reports.clone();
    random.shuffle(&mut shuffled);
    let (mut history, mut sum) = (History::default(), Credit::default());
    shuffled.iter().for_each(|report| sum += history.add(*report));
    assert_eq!((sum, history.lines()), (expected, lines.clone()));
    let (mut history, mut sum) = (History::default(), Credit::default());
    for report in &reports {
        sum += history.add(*report);
        if random.u8(..3) == 0 {
            history.settle(Stamp {
                millis: report.stamp.millis - random.u64(..=report.stamp.millis),
                node: 0,
            });
        }
    }
    history.settle(Stamp { millis: u64::MAX, node: 0 });
    assert!(history.reports().is_empty());
    assert_eq!((sum, history.lines()), (expected, lines));
}

#[test]
fn the_sum_follows_from_the_set_of_reports() {
    each_seed("the_sum_follows_from_the_set_of_reports", 3000, any_set);
}
