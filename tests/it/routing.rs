//! Whatever the number of cores and whoever brings requests to their owners, the answers are the same.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::tracker::http::{self, Http};
use crate::tracker::udp::{Announce, COMPLETED, NONE, PAUSED, STARTED, STOPPED, Udp};
use crate::tracker::{HOMES, Tracker, at, hash};

/// How a tracker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Udp,
    /// On one connection for everything.
    Kept,
    /// On a connection of its own.
    Once,
}

/// A step of a script: one request, or several that are sent before the first answer is read.
#[derive(Clone, Debug)]
enum Step {
    Announce(Way, usize, Announce),
    Scrape(Way, usize, Vec<[u8; 20]>),
    /// Announces of several torrents on one connection, at once, with a scrape of them all behind.
    Pipeline(usize, Vec<Announce>),
}

/// What is the same whoever answers: intervals and the order of peers are left to chance.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Seeders, leechers, and all peers.
    Announced(i64, i64, BTreeSet<SocketAddr>),
    /// Seeders, leechers and downloads of each torrent.
    Scraped(Vec<[i64; 3]>),
}

/// More than any swarm of the script has, so that the peers are a set without chance.
const NUMWANT: i32 = 50;

/// The same steps for the same seed.
fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut random = fastrand::Rng::with_seed(seed);
    // The first four bytes decide who owns a torrent; these have all owners of one to three cores.
    let torrents: Vec<[u8; 20]> = (0..12).map(|number| hash(&format!("{seed} {number}"))).collect();
    let announce = |random: &mut fastrand::Rng| {
        let torrent = torrents[random.usize(..torrents.len())];
        let event = [NONE, NONE, STARTED, COMPLETED, STOPPED, PAUSED][random.usize(..6)];
        let left = [0, 1000][random.usize(..2)];
        let port = random.u16(1..20);
        Announce { left, numwant: NUMWANT, ..Announce::new(torrent, port).event(event) }
    };
    let mut way_and_home = {
        let mut random = random.fork();
        move || ([Way::Udp, Way::Kept, Way::Once][random.usize(..3)], random.usize(..2))
    };
    let mut steps: Vec<Step> = (0..steps)
        .map(|_| {
            let (way, home) = way_and_home();
            match random.u8(..10) {
                0..7 => Step::Announce(way, home, announce(&mut random)),
                7 | 8 => {
                    let many = random.usize(1..20);
                    let some = |_| torrents[random.usize(..torrents.len())];
                    Step::Scrape(way, home, (0..many).map(some).collect())
                }
                _ => Step::Pipeline(home, (0..20).map(|_| announce(&mut random)).collect()),
            }
        })
        .collect();
    steps.push(Step::Scrape(Way::Udp, 0, torrents.clone()));
    steps.push(Step::Scrape(Way::Kept, 1, torrents));
    steps
}

/// What a tracker that is started with `args` answers to a script, and the tracker.
fn play(steps: &[Step], args: &str) -> (Vec<Answer>, Tracker) {
    let tracker = Tracker::start(args);
    let udp = HOMES.map(|home| Udp::connect(tracker.udp(home)));
    let mut kept = HOMES.map(|home| Http::connect(tracker.http(home)));
    let mut answers = Vec::new();
    for step in steps {
        match step {
            Step::Announce(Way::Udp, home, announce) => {
                let told = udp[*home].announce(announce);
                let (seeders, leechers) = (told.seeders.into(), told.leechers.into());
                let told = Answer::Announced(seeders, leechers, told.peers);
                answers.push(told.of(announce));
            }
            Step::Announce(way, home, announce) => {
                let page = ask(&tracker, &mut kept, *way, *home, &target(announce));
                answers.push(announced(&page).of(announce));
            }
            Step::Scrape(Way::Udp, home, torrents) => {
                let told = udp[*home].scrape(torrents);
                let counts = |[seeders, snatches, leechers]: [u32; 3]| {
                    [seeders, leechers, snatches].map(i64::from)
                };
                answers.push(Answer::Scraped(told.into_iter().map(counts).collect()));
            }
            Step::Scrape(way, home, torrents) => {
                let page = ask(&tracker, &mut kept, *way, *home, &http::scrape(torrents));
                answers.push(scraped(&page, torrents));
            }
            Step::Pipeline(home, announces) => {
                let torrents: Vec<[u8; 20]> = announces.iter().map(|one| one.info_hash).collect();
                let targets = announces.iter().map(target).chain([http::scrape(&torrents)]);
                let requests = targets.map(|target| format!("GET {target} HTTP/1.1\r\n\r\n"));
                let client = &mut kept[*home];
                client.send(requests.collect::<String>());
                for announce in announces {
                    answers.push(announced(&client.page()).of(announce));
                }
                answers.push(scraped(&client.page(), &torrents));
            }
        }
    }
    (answers, tracker)
}

fn ask(tracker: &Tracker, kept: &mut [Http; 2], way: Way, home: usize, target: &str) -> http::Page {
    match way {
        Way::Kept => kept[home].get(target),
        _ => http::fetch(tracker.http(HOMES[home]), target),
    }
}

fn target(announce: &Announce) -> String {
    let event = match announce.event {
        COMPLETED => "&event=completed",
        STARTED => "&event=started",
        STOPPED => "&event=stopped",
        PAUSED => "&event=paused",
        _ => "",
    };
    let Announce { info_hash, port, left, numwant, .. } = announce;
    // The key that UDP has as four zero bytes.
    let more = format!("&left={left}&numwant={numwant}&key=00000000{event}");
    http::announce(*info_hash, *port, &more)
}

/// Over HTTP the peers of both families are handed out.
fn announced(page: &http::Page) -> Answer {
    let told = page.dictionary();
    let [seeders, leechers, _] = http::counts(&told);
    let peers = http::peers(&told);
    Answer::Announced(seeders, leechers, peers)
}

fn scraped(page: &http::Page, torrents: &[[u8; 20]]) -> Answer {
    let told = page.dictionary();
    let files = told.get("files");
    let counts = torrents.iter().map(|torrent| http::counts(files.get(torrent)));
    Answer::Scraped(counts.collect())
}

impl Answer {
    /// Who says that nothing is left and is new is told some seeders, by chance: they are left out.
    fn of(self, announce: &Announce) -> Self {
        match self {
            Answer::Announced(seeders, leechers, _) if announce.left == 0 => {
                Answer::Announced(seeders, leechers, BTreeSet::new())
            }
            answer => answer,
        }
    }
}

/// Compares step by step, so that a difference is found where it begins.
#[track_caller]
fn check_same(expected: &[Answer], found: &[Answer], args: &str) {
    assert_eq!(expected.len(), found.len());
    for (step, (expected, found)) in expected.iter().zip(found).enumerate() {
        assert_eq!(expected, found, "answer {step} with {args}");
    }
}

/// How many announces of a script the tracker got over UDP and over HTTP.
fn announces(steps: &[Step]) -> (f64, f64) {
    let (mut udp, mut http) = (0.0, 0.0);
    for step in steps {
        match step {
            Step::Announce(Way::Udp, ..) => udp += 1.0,
            Step::Announce(..) => http += 1.0,
            Step::Pipeline(_, announces) => http += announces.len() as f64,
            Step::Scrape(..) => {}
        }
    }
    (udp, http)
}

#[test]
fn any_number_of_cores_gives_the_same_answers() {
    for seed in [1, 2] {
        let steps = script(seed, 400);
        let (expected, _) = play(&steps, "--cores 1");
        assert!(
            expected
                .iter()
                .any(|answer| matches!(answer, Answer::Announced(.., peers) if peers.len() > 10))
        );
        let (over_udp, over_http) = announces(&steps);
        for (args, steered) in
            [("--cores 2", true), ("--cores 2 --no-steering", false), ("--cores 3", true)]
        {
            let (found, tracker) = play(&steps, args);
            check_same(&expected, &found, args);
            tracker.await_metric("margay_announces_total", &["udp"], over_udp);
            tracker.await_metric("margay_announces_total", &["http"], over_http);
            let hops = tracker.metric("margay_hops_total", &["udp"]);
            assert_eq!(hops == 0.0, steered, "{hops} hops with {args}");
            assert!(tracker.metric("margay_hops_total", &["http"]) > 0.0, "{args}");
            assert_eq!(tracker.metric("margay_channel_drops_total", &[]), 0.0);
            // Every request has its reply, wherever it was written.
            let scrapes = tracker.metric("margay_scrapes_total", &["http"]);
            tracker.await_metric("margay_responses_total", &["http"], over_http + scrapes);
            let scrapes = tracker.metric("margay_scrapes_total", &["udp"]);
            tracker.await_metric("margay_responses_total", &["udp"], over_udp + scrapes + 2.0);
        }
    }
}

#[test]
fn one_connection_may_alternate_between_owners_for_long() {
    let tracker = Tracker::start("--cores 3");
    let mut files = None;
    for home in HOMES {
        let mut client = Http::connect(tracker.http(home));
        let torrents: Vec<[u8; 20]> =
            (0..9).map(|number| hash(&format!("{home} {number}"))).collect();
        for round in 1..=30 {
            for torrent in &torrents {
                let told = client.get(&http::announce(*torrent, round, "&left=5")).dictionary();
                assert_eq!(told.integer("incomplete"), i64::from(round));
                assert_eq!(http::peers(&told), at(home, 1..round));
            }
            let told = client.get(&http::scrape(&torrents)).dictionary();
            for torrent in &torrents {
                assert_eq!(told.get("files").get(torrent).integer("incomplete"), i64::from(round));
            }
        }
        tracker.await_metric("margay_http_connections_open", &[], 1.0);
        drop(client);
        tracker.await_metric("margay_http_connections_open", &[], 0.0);
        // However often it went from core to core, it was one file. By the second time every core has
        // opened what it needs for itself.
        files.into_iter().for_each(|files| tracker.await_files(files));
        files = Some(tracker.metric("margay_process_open_files", &[]));
    }
}
