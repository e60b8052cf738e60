//! Clients that cannot be served for the moment, as there is no room for them or the tracker stops.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use rustix::process::Signal;

use super::{Site, announce, passkey};
use crate::tracker::http::{Http, answer, bare, counts, peers};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, at, get, hash, patiently};

const SEEDS: &str = "uploaded=0&downloaded=0&left=0";

/// A site with users 1 to 4 and a torrent, where users 1 and 2 are all that fit.
fn full_site(test: &str, options: &str) -> Option<Site> {
    let site = Site::open(test, &format!("--peers-max 2 {options}"))?;
    (1..=4).for_each(|id| site.add_user(id));
    site.add_torrent(10, "disk");
    for (user, port) in [(1, 7001), (2, 7002)] {
        answer(site.tracker().http(HOMES[0]), announce(user, "disk", port, SEEDS));
    }
    Some(site)
}

fn refused(site: &Site, protocol: &str) -> f64 {
    let tracker = site.tracker();
    tracker.metric("margay_refusals_total", &[protocol, "\"ipv4\"", "\"full\""])
}

#[test]
fn d15_who_does_not_fit_waits_over_http_and_is_closed_and_counts_as_one() {
    let options = "--http-header-timeout 3s --http-request-timeout 3s";
    let Some(site) = full_site("waits_closed", options) else { return };
    let tracker = site.tracker();
    let mut waits = Http::connect(tracker.http(HOMES[0]));
    waits.send(bare(&announce(3, "disk", 7003, SEEDS)));

    let udp = Udp::connect(tracker.udp(HOMES[0]));
    let url = format!("/{}/announce", passkey(3));
    let options = [&[2, url.len() as u8], url.as_bytes()].concat();
    udp.check_silence(
        udp.announce_request(&Announce { options, ..Announce::seeder(hash("disk"), 7003) }),
    );
    // Who is there is served, and who was never there may leave.
    let told = answer(tracker.http(HOMES[0]), announce(1, "disk", 7001, SEEDS));
    assert_eq!(counts(&told)[0], 2);
    let leaves = format!("{SEEDS}&event=stopped");
    answer(tracker.http(HOMES[0]), announce(4, "disk", 7004, &leaves));

    waits.check_end();
    patiently("no more connections", || {
        (tracker.metric("margay_http_connections_open", &[]) == 0.0).then_some(())
    });
    // It has asked again and again for room meanwhile.
    patiently("one refusal each", || {
        ([refused(&site, "http"), refused(&site, "udp")] == [1.0, 1.0]).then_some(())
    });
}

#[test]
fn d15_who_waits_on_a_kept_connection_has_the_time_of_a_request() {
    let options = "--http-header-timeout 1s --http-idle-timeout 1s --http-request-timeout 50s";
    let Some(site) = full_site("waits_kept", options) else { return };
    let http = site.tracker().http(HOMES[0]);
    let mut waits = Http::connect(http);
    assert_eq!(counts(&waits.get(&announce(1, "disk", 7001, SEEDS)).dictionary())[0], 2);
    let next = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", announce(3, "disk", 7003, SEEDS));
    waits.send(&next);
    // What would be left of the time for the request to come is over.
    sleep(Duration::from_secs(4));
    answer(http, announce(2, "disk", 7002, &format!("{SEEDS}&event=stopped")));
    assert_eq!(counts(&waits.page().dictionary())[0], 2);
    assert_eq!(counts(&waits.get(&announce(1, "disk", 7001, SEEDS)).dictionary())[0], 2);
}

#[test]
fn a_user_who_waits_may_what_he_may_when_there_is_room() {
    let Some(site) = full_site("waits_rights", "") else { return };
    let http = site.tracker().http(HOMES[0]);
    let wait = |user, port| {
        let mut waits = Http::connect(http);
        waits.send(bare(&announce(user, "disk", port, "uploaded=0&downloaded=0&left=5")));
        waits
    };
    let (mut loser, mut gone) = (wait(3, 7003), wait(4, 7004));
    patiently("both to wait", || (refused(&site, "http") == 2.0).then_some(()));
    site.says(&format!("update_user&passkey={}&can_leech=0&visible=1", passkey(3)));
    site.says(&format!("remove_user&passkey={}", passkey(4)));
    for (user, port) in [(1, 7001), (2, 7002)] {
        answer(http, announce(user, "disk", port, &format!("{SEEDS}&event=stopped")));
    }
    gone.check_end();
    assert_eq!(loser.page().failure(), "Access denied, leeching forbidden");
    let told = answer(http, announce(1, "disk", 7001, SEEDS));
    assert!(peers(&told).is_empty(), "{told:?}");
}

#[test]
fn who_has_gone_while_it_waited_takes_nobodys_room() {
    for cores in [1, 2] {
        let options = format!("--cores {cores} --peers-max {}", 2 * cores);
        let Some(site) = Site::open(&format!("waits_gone_{cores}"), &options) else { return };
        (1..=4).for_each(|id| site.add_user(id));
        site.add_torrent(10, "disk");
        let tracker = site.tracker();
        let (http, open) = (tracker.http(HOMES[0]), "margay_http_connections_open");
        for (user, port) in [(1, 7001), (2, 7002)] {
            answer(http, announce(user, "disk", port, SEEDS));
        }
        let mut waits = Http::connect(http);
        // Another request is on its way behind it.
        waits.send(bare(&announce(3, "disk", 7003, SEEDS)).repeat(2));
        patiently("it to wait", || (refused(&site, "http") == 1.0).then_some(()));
        drop(waits);
        patiently("an end of the wait", || (tracker.metric(open, &[]) == 0.0).then_some(()));
        let leaves = format!("{SEEDS}&event=stopped");
        answer(http, announce(2, "disk", 7002, &leaves));
        let told = answer(http, announce(4, "disk", 7004, SEEDS));
        assert_eq!(counts(&told)[0], 2);
        let told = answer(http, announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=5"));
        assert_eq!(peers(&told), at(HOMES[0], [7004]));
    }
}

/// Clients of one user that leave while the tracker stops.
const LEAVE: u16 = 400;

/// Who waits for an answer to `stopped` has it when it is booked, and what is booked is credited: also what comes until
/// the tracker's end, for which it does not wait.
#[test]
fn a38_whoever_leaves_while_the_tracker_stops_is_credited_when_answered() {
    let Some(mut site) = Site::open("leave_at_stop", "--cores 2") else { return };
    site.add_user(1);
    let torrents = ["disk", "tape", "book", "card", "film", "song", "game", "font"];
    for (id, torrent) in (10..).zip(torrents) {
        site.add_torrent(id, torrent);
    }
    let torrent = |port: u16| torrents[usize::from(port) % torrents.len()];
    let mut credit = 0;
    // Until somebody was answered who came while it stopped; mostly the first time.
    for _ in 0..3 {
        let mut connections = HOMES.map(|home| Http::connect(site.tracker().http(home)));
        for port in 7000..7000 + LEAVE {
            let target =
                announce(1, torrent(port), port, &format!("{SEEDS}&event=started&numwant=0"));
            connections[usize::from(port) % 2].get(&target);
        }
        drop(connections);
        let stops = AtomicBool::new(false);
        let homes = HOMES.map(|home| site.tracker().http(home));
        let leave = |port: u16| {
            let more = "uploaded=1000&downloaded=0&left=0&event=stopped";
            let after = stops.load(Ordering::Relaxed);
            let told =
                get(homes[usize::from(port / 2) % 2], &announce(1, torrent(port), port, more));
            (told.is_some_and(|told| told.contains("interval")), after)
        };
        let answered: Vec<(bool, bool)> = scope(|scope| {
            let leavers: Vec<_> = (0..4u16)
                .map(|first| {
                    let leave = &leave;
                    scope.spawn(move || {
                        (7000 + first..7000 + LEAVE)
                            .step_by(4)
                            .map(|port| {
                                sleep(Duration::from_millis(2));
                                leave(port)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            sleep(Duration::from_millis(40));
            site.tracker().signal(Signal::TERM);
            site.tracker().logged("stopping: writing a snapshot");
            stops.store(true, Ordering::Relaxed);
            leavers.into_iter().flat_map(|leaver| leaver.join().unwrap()).collect()
        });
        let late = answered.iter().filter(|(answered, after)| *answered && *after).count();
        credit += 1000 * answered.iter().filter(|(answered, _)| *answered).count() as i64;
        site.ended();
        site.start();
        site.check_credit(1, [credit, 0]);
        // Those who were not answered are there still.
        for port in 7000..7000 + LEAVE {
            let more = "uploaded=0&downloaded=0&left=0&event=stopped";
            answer(site.tracker().http(HOMES[0]), announce(1, torrent(port), port, more));
        }
        if late > 0 {
            break;
        }
    }
    site.check_credit(1, [credit, 0]);
}
