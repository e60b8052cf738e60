//! The announcer before real trackers, and before one that does what trackers do at their worst.

mod tracker;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use publish::announce::{Announcer, Options, Torrent, TrackerState, Transfer};
use shard::InfoHash;

use self::tracker::{Fake, Reply, Tracker, fake_udp, free_port, patiently};

const GOOD: &[u8] = b"d8:completei1e10:incompletei0e8:intervali1800e5:peers0:e";

#[tokio::test(flavor = "multi_thread")]
async fn margay_counts_a_life_over_both_protocols_and_families() {
    let tracker = Tracker::margay();
    let urls = tracker.http.iter().map(|at| format!("http://{at}/announce"));
    let urls: Vec<String> =
        urls.chain(tracker.udp.iter().map(|at| format!("udp://{at}/announce"))).collect();
    assert_eq!(urls.len(), 4);
    for (number, url) in (1..).zip(urls) {
        check_life(&tracker, InfoHash([number; 20]), &url).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opentracker_counts_a_life_over_both_protocols() {
    let info_hash = InfoHash([0xab; 20]);
    let Some(tracker) = Tracker::opentracker(&info_hash) else {
        eprintln!("passed over: opentracker is not installed (Debian package opentracker)");
        return;
    };
    check_life(&tracker, info_hash, &format!("http://{}/announce", tracker.http[0])).await;
    let Some(tracker) = Tracker::opentracker(&info_hash) else { panic!("it was there") };
    check_life(&tracker, info_hash, &format!("udp://{}/announce", tracker.udp[0])).await;
}

/// A seeder and a leecher who finds it, downloads, and leaves, as the tracker counts them.
async fn check_life(tracker: &Tracker, info_hash: InfoHash, url: &str) {
    println!("{url}");
    let seeder = Announcer::start(Options::new(7_001).unwrap()).await.unwrap();
    seeder.add(torrent(info_hash, &[&[url]]), transfer(0));
    tracker.await_scrape(&info_hash, 1, 0, 0);

    let leecher = Announcer::start(Options::new(7_002).unwrap()).await.unwrap();
    let mut found = leecher.found();
    let state = transfer(100);
    leecher.add(torrent(info_hash, &[&[url]]), Arc::clone(&state));
    tracker.await_scrape(&info_hash, 1, 0, 1);
    let found = tokio::time::timeout(tracker::PATIENCE, found.recv()).await.unwrap().unwrap();
    assert_eq!((found.info_hash, found.peers.len(), found.peers[0].port()), (info_hash, 1, 7_001));
    assert_eq!(leecher.peers(&info_hash), *found.peers);
    let status = await_state(&leecher, &info_hash, 0, TrackerState::Working);
    assert_eq!((status.seeders, status.text), (Some(1), None));
    assert!(status.next_in.unwrap() > Duration::from_secs(60));

    state.left.store(0, Ordering::Relaxed);
    state.downloaded.store(100, Ordering::Relaxed);
    leecher.completed(&info_hash);
    tracker.await_scrape(&info_hash, 2, 1, 0);
    assert!(leecher.peers(&info_hash).is_empty());

    seeder.remove(&info_hash);
    tracker.await_scrape(&info_hash, 1, 1, 0);
    assert_eq!(seeder.status(&info_hash), None);
    assert_eq!(leecher.stop(Duration::from_secs(30)).await, []);
    tracker.await_scrape(&info_hash, 0, 1, 0);
    assert_eq!(seeder.stop(Duration::from_secs(30)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_torrents_come_at_a_pace_and_leave_in_time() {
    let fake = Fake::start(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Reply::Body(GOOD.into())
    });
    let options =
        Options { per_second_max: NonZeroU32::new(400).unwrap(), ..Options::new(7_003).unwrap() };
    let most = options.in_flight_max;
    let announcer = Announcer::start(options).await.unwrap();
    for number in 0..2_000u32 {
        announcer.add(torrent(numbered(number), &[&[&fake.url()]]), transfer(0));
    }
    let begun = std::time::Instant::now();
    fake.await_seen("event=started", 2_000);
    println!("started: {:?}, at most {} in a second", begun.elapsed(), fake.seen.busiest_second());
    // What waits in sockets may come together: a fifth of a second beyond the rate may be saved up.
    assert!(fake.seen.busiest_second() <= 400 * 6 / 5 + 1 + most);
    assert!(fake.seen.under_way_max.load(Ordering::SeqCst) <= most);
    assert!(fake.seen.connections.load(Ordering::SeqCst) <= 2 * most, "connections are kept");

    let begun = std::time::Instant::now();
    assert_eq!(announcer.stop(Duration::from_secs(60)).await, []);
    let under_way = fake.seen.under_way_max.load(Ordering::SeqCst);
    println!("stopped: {:?}; at most {under_way} under way", begun.elapsed());
    assert_eq!(fake.seen.times("event=stopped"), 2_000);
    assert_eq!(fake.seen.times(""), 4_000);
    assert!(fake.seen.under_way_max.load(Ordering::SeqCst) <= most);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tracker_at_its_worst_leads_to_the_next_tier_and_says_why() {
    let good = Fake::start(|_| Reply::Body(GOOD.into()));
    let fakes = [
        (Fake::start(|_| Reply::Silence), "no answer in 30 s"),
        (Fake::start(|_| Reply::Body(b"<html>no</html>".into())), "not that of a tracker"),
        (Fake::start(|_| Reply::Body(b"d5:peers999999:".into())), "not that of a tracker"),
        (Fake::start(|_| Reply::Flood(10_000_000)), "larger than 1 MiB"),
        (
            Fake::start(|_| Reply::Raw(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n".into())),
            "503",
        ),
        (
            Fake::start(|_| Reply::Raw(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n".into())),
            "404",
        ),
        (Fake::start(|_| Reply::Raw(vec![])), ""),
        (Fake::start(|_| Reply::Raw(b"garbage\r\n\r\n".into())), ""),
        (Fake::start(|_| Reply::Raw(redirect("https://127.0.0.1:1/announce"))), "another scheme"),
        (
            Fake::start(|_| Reply::Body(b"d14:failure reason25:no key 0123456789abcdef !e".into())),
            "no key … !",
        ),
    ];
    let mut bad: Vec<(String, &str)> = (fakes.iter())
        .map(|(fake, text)| (format!("http://{}/0123456789abcdef/announce", fake.at), *text))
        .collect();
    bad.push((format!("http://{}/announce", free_port()), "refused"));
    bad.push((format!("udp://{}/announce", fake_udp(|_| None)), "no answer"));
    bad.push((format!("udp://{}/announce", fake_udp(|_| Some(vec![0; 7]))), "no answer"));
    let error = |sent: &[u8]| Some([&[0, 0, 0, 3], &sent[12..16], b"not here"].concat());
    bad.push((format!("udp://{}/announce", fake_udp(error)), "not here"));
    bad.push(("http://nowhere.invalid/announce".into(), "nowhere.invalid"));

    let announcer = Announcer::start(Options::new(7_004).unwrap()).await.unwrap();
    for (number, (url, _)) in bad.iter().enumerate() {
        announcer.add(torrent(numbered(number as u32), &[&[url], &[&good.url()]]), transfer(1));
    }
    good.await_seen("event=started", bad.len());
    for (number, (url, text)) in bad.iter().enumerate() {
        let info_hash = numbered(number as u32);
        await_state(&announcer, &info_hash, 1, TrackerState::Working);
        let status = announcer.status(&info_hash).unwrap();
        let why = status.trackers[0].text.clone().unwrap_or_default();
        println!("{url}: {why}");
        assert!(why.contains(text), "{url}: {why}, not {text}");
        assert!(matches!(
            status.trackers[0].state,
            TrackerState::Unreachable | TrackerState::Refusing
        ));
        assert!(!format!("{status:?}").contains("0123456789abcdef"));
    }
    assert_eq!(announcer.stop(Duration::from_secs(30)).await, []);
    assert_eq!(good.seen.times("event=stopped"), bad.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_tier_is_taken_again_when_it_is_back() {
    let at = free_port();
    let second = Fake::start(|_| Reply::Body(GOOD.into()));
    let announcer = Announcer::start(Options::new(7_005).unwrap()).await.unwrap();
    let first = format!("http://{at}/announce");
    announcer.add(torrent(numbered(1), &[&[&first], &[&second.url()]]), transfer(1));
    second.await_seen("event=started", 1);
    await_state(&announcer, &numbered(1), 1, TrackerState::Working);
    assert_eq!(
        announcer.status(&numbered(1)).unwrap().trackers[0].state,
        TrackerState::Unreachable
    );
    let first = Fake::start_at(at, |_| Reply::Body(GOOD.into()));
    first.await_seen("event=started", 1);
    await_state(&announcer, &numbered(1), 0, TrackerState::Working);
    assert_eq!(second.seen.times(""), 1);
    // Both know it.
    assert_eq!(announcer.stop(Duration::from_secs(30)).await, []);
    assert_eq!((first.seen.times("event=stopped"), second.seen.times("event=stopped")), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_one_connection_id_serves_all_and_a_path_is_sent_whole() {
    let connects = Arc::new(AtomicUsize::new(0));
    let paths = Arc::new(Mutex::new(Vec::new()));
    let forgot = Arc::new(AtomicBool::new(false));
    let (counted, kept, forgets) = (Arc::clone(&connects), Arc::clone(&paths), Arc::clone(&forgot));
    let at = fake_udp(move |sent| {
        if sent.len() == 16 {
            counted.fetch_add(1, Ordering::SeqCst);
            return Some([&[0, 0, 0, 0], &sent[12..16], &[7; 8]].concat());
        }
        assert_eq!(sent[..8], [7; 8]);
        // As after a restart of opentracker.
        if forgets.swap(false, Ordering::SeqCst) {
            return Some([&[0, 0, 0, 3], &sent[12..16], b"Connection ID missmatch.\0"].concat());
        }
        let (mut path, mut options) = (Vec::new(), &sent[98..]);
        while let [2, length, rest @ ..] = options {
            let (part, rest) = rest.split_at(usize::from(*length));
            path.extend_from_slice(part);
            options = rest;
        }
        kept.lock().unwrap().push(String::from_utf8(path).unwrap());
        Some([&[0, 0, 0, 1], &sent[12..16], &1_800u32.to_be_bytes(), &[0; 8]].concat())
    });
    let announcer = Announcer::start(Options::new(7_006).unwrap()).await.unwrap();
    let path = format!("/{}/announce?x={}", "k".repeat(300), "y".repeat(300));
    for number in 0..50 {
        announcer.add(torrent(numbered(number), &[&[&format!("udp://{at}{path}")]]), transfer(0));
    }
    patiently("all are announced", || (paths.lock().unwrap().len() == 50).then_some(()));
    assert!(paths.lock().unwrap().iter().all(|sent| *sent == path));
    assert_eq!(connects.load(Ordering::SeqCst), 1);
    // The id that it has forgotten is asked for again, at once.
    forgot.store(true, Ordering::SeqCst);
    announcer.add(torrent(numbered(50), &[&[&format!("udp://{at}{path}")]]), transfer(0));
    await_state(&announcer, &numbered(50), 0, TrackerState::Working);
    assert_eq!(connects.load(Ordering::SeqCst), 2);
    assert_eq!(announcer.stop(Duration::from_secs(30)).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_udp_what_is_lost_is_said_again() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&events);
    let (mut connects, mut stops) = (0, 0);
    let at = fake_udp(move |sent| {
        if sent.len() == 16 {
            connects += 1;
            return (connects > 1).then(|| [&[0, 0, 0, 0], &sent[12..16], &[7; 8]].concat());
        }
        kept.lock().unwrap().push(sent[83]);
        stops += usize::from(sent[83] == 3);
        (stops != 1)
            .then(|| [&[0, 0, 0, 1], &sent[12..16], &1_800u32.to_be_bytes(), &[0; 8]].concat())
    });
    let announcer = Announcer::start(Options::new(7_009).unwrap()).await.unwrap();
    announcer.add(torrent(numbered(1), &[&[&format!("udp://{at}/announce")]]), transfer(0));
    await_state(&announcer, &numbered(1), 0, TrackerState::Working);
    assert_eq!(*events.lock().unwrap(), [2]);
    assert_eq!(announcer.stop(Duration::from_secs(60)).await, []);
    assert_eq!(*events.lock().unwrap(), [2, 3, 3]);
}

/// Certificates are those of the system: here of a file that a variable names, and so in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn over_https_a_known_authority_is_trusted_and_no_other() {
    let Some(tracker) = tracker::Https::start() else {
        eprintln!("passed over: openssl or python3 is not installed");
        return;
    };
    for (authority, state) in tracker.authorities().into_iter().zip(["Working", "Unreachable"]) {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "announce::announces_over_https", "--ignored", "--nocapture"])
            .env("SSL_CERT_FILE", authority)
            .env_remove("SSL_CERT_DIR")
            .env("TEST_TRACKER", tracker.url())
            .env("TEST_STATE", state)
            .output()
            .unwrap();
        assert!(child.status.success(), "{state}: {}", String::from_utf8_lossy(&child.stdout));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a part of over_https_a_known_authority_is_trusted_and_no_other"]
async fn announces_over_https() {
    let (url, state) =
        (std::env::var("TEST_TRACKER").unwrap(), std::env::var("TEST_STATE").unwrap());
    let state = if state == "Working" { TrackerState::Working } else { TrackerState::Unreachable };
    let announcer = Announcer::start(Options::new(7_010).unwrap()).await.unwrap();
    announcer.add(torrent(numbered(1), &[&[&url]]), transfer(0));
    println!("{:?}", await_state(&announcer, &numbered(1), 0, state));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_told_at_the_end_is_named_within_the_time() {
    let fake = Fake::start(|target| match target.contains("stopped") {
        true => Reply::Silence,
        false => Reply::Body(GOOD.into()),
    });
    let announcer = Announcer::start(Options::new(7_007).unwrap()).await.unwrap();
    for number in 0..20 {
        announcer.add(torrent(numbered(number), &[&[&fake.url()]]), transfer(0));
    }
    for number in 0..20 {
        await_state(&announcer, &numbered(number), 0, TrackerState::Working);
    }
    let unsaid = announcer.stop(Duration::from_secs(1)).await;
    assert_eq!(unsaid.len(), 20);
    assert_eq!(unsaid[0].tracker, fake.url());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_shown_and_a_success_with_nobody_is_one() {
    let fake = Fake::start(|_| {
        Reply::Body(b"d8:intervali5400e5:peers0:15:warning message9:not for ue".into())
    });
    let announcer = Announcer::start(Options::new(7_008).unwrap()).await.unwrap();
    announcer.add(torrent(numbered(1), &[&[&fake.url()]]), transfer(1));
    let status = await_state(&announcer, &numbered(1), 0, TrackerState::Working);
    assert_eq!(status.text.as_deref(), Some("not for u"));
    assert!(status.next_in.unwrap() > Duration::from_secs(5_000));
    assert_eq!(announcer.snapshot().len(), 1);
}

fn await_state(
    announcer: &Announcer,
    info_hash: &InfoHash,
    number: usize,
    state: TrackerState,
) -> publish::announce::TrackerStatus {
    patiently(&format!("{state:?}"), || {
        let status = announcer.status(info_hash).unwrap().trackers.swap_remove(number);
        (status.state == state).then_some(status)
    })
}

fn numbered(number: u32) -> InfoHash {
    let mut info_hash = [0; 20];
    info_hash[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash(info_hash)
}

fn torrent(info_hash: InfoHash, tiers: &[&[&str]]) -> Torrent {
    let tiers =
        tiers.iter().map(|tier| tier.iter().map(|url| (*url).to_owned()).collect()).collect();
    Torrent { info_hash, tiers, private: false, total: 100, every_tier: false }
}

fn transfer(left: u64) -> Arc<Transfer> {
    let transfer = Transfer::default();
    transfer.left.store(left, Ordering::Relaxed);
    Arc::new(transfer)
}

fn redirect(to: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
}
