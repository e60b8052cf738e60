//! The announce interval that a site sets at run time, and when those are asked back who are refused.

use std::ops::RangeInclusive;

use super::{REPORT, Site, announce, passkey};
use crate::clock::WrongClock;
use crate::tracker::http::{answer, escape, fetch};
use crate::tracker::{HOMES, hash, patiently};

const TORRENTS: [&str; 8] = ["disk", "tape", "book", "card", "film", "song", "game", "font"];

/// All answers, on whichever core, have this interval, more or less.
#[track_caller]
fn check(site: &Site, interval: i64, jitter: i64) {
    for torrent in TORRENTS {
        let target = announce(1, torrent, 7001, "uploaded=0&downloaded=0&left=0");
        let told = answer(site.tracker().http(HOMES[0]), target);
        let found = told.integer("interval");
        assert!((found - interval).abs() <= jitter, "{found} is not {interval} ± {jitter}");
        assert_eq!(told.integer("min interval"), 600);
    }
    let page = fetch(site.tracker().http(HOMES[0]), format!("/{REPORT}/report?get=stats"));
    let stats: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(stats["announce interval"]["value"], interval);
    assert_eq!(stats["announce jitter"]["value"], jitter);
}

#[test]
fn the_site_sets_the_interval_within_the_bounds_of_the_operator() {
    let options =
        "--cores 2 --interval 20m --interval-min 10m --interval-max 1h --interval-jitter 5%";
    let Some(mut site) = Site::open("intervals", options) else { return };
    site.add_user(1);
    for (id, torrent) in (10..).zip(TORRENTS) {
        site.add_torrent(id, torrent);
    }
    check(&site, 1200, 60);
    let says = |site: &Site, what: &str, seconds: u32| {
        site.says(&format!("update_announce_{what}&new_announce_{what}={seconds}"));
    };
    says(&site, "interval", 2400);
    check(&site, 2400, 120);
    let line = site.tracker().logged("the site has set the announce interval");
    let of = |line: &serde_json::Value, name: &str| line[name].as_u64();
    assert_eq!((of(&line, "interval"), of(&line, "jitter")), (Some(2400), Some(120)));
    says(&site, "jitter", 24);
    check(&site, 2400, 24);
    assert_eq!(site.tracker().times_logged("the site wants an announce interval beyond"), 0);
    for (wanted, granted) in [(60, 600), (100_000, 3600)] {
        says(&site, "interval", wanted);
        check(&site, granted, granted / 100);
    }
    site.tracker().await_logged("the site wants an announce interval beyond", 2);
    says(&site, "jitter", 3600);
    site.tracker().await_logged("the site wants an announce interval beyond", 3);
    // The operator's own are in force again after a restart, as the sites' tracker had it.
    site.stop();
    site.start();
    check(&site, 1200, 60);
}

/// Who asks for a torrent that is not registered is asked back in so many seconds.
fn asked_back(site: &Site, torrent: &str) -> (String, i64) {
    let target = announce(1, torrent, 7001, "uploaded=0&downloaded=0&left=0&event=started");
    let page = fetch(site.tracker().http(HOMES[0]), target);
    (page.failure(), page.dictionary().integer("interval"))
}

#[test]
fn a_name_that_is_asked_for_in_vain_is_asked_for_less_and_less_often() {
    let Some(clock) = WrongClock::by("+0") else { return };
    let options = format!("{} --cores 2 --unregistered-interval 90s", clock.environment());
    let Some(site) = Site::open("in_vain", &options) else { return };
    site.add_user(1);
    let unregistered = "Unregistered torrent".to_owned();
    // The clock of a core is not read at each announce.
    let later = |site: &Site, torrent: &str, seconds: RangeInclusive<i64>| {
        patiently(&format!("{torrent} to be asked for in {seconds:?}"), || {
            let (why, interval) = asked_back(site, torrent);
            assert_eq!(why, "Unregistered torrent");
            seconds.contains(&interval).then_some(())
        });
    };
    // About to be registered, as far as anybody knows.
    assert_eq!(asked_back(&site, "early"), (unregistered.clone(), 90));
    assert_eq!(asked_back(&site, "dead"), (unregistered.clone(), 90));
    clock.set("+7200s");
    later(&site, "dead", 1795..=1830);
    // Another one is new, and one that is registered is no stranger.
    assert_eq!(asked_back(&site, "new"), (unregistered.clone(), 90));
    site.add_torrent(10, "early");
    let target = announce(1, "early", 7001, "uploaded=0&downloaded=0&left=0&event=started");
    assert!(answer(site.tracker().http(HOMES[0]), target).integer("interval") > 90);
    site.says(&format!("delete_torrent&info_hash={}&reason=0", escape(&hash("early"))));
    let (why, first_day) = asked_back(&site, "early");
    assert_eq!((why.starts_with("Unregistered torrent: "), first_day), (true, 5400));
    // When nobody is told any more why it is gone, it is gone all the same.
    for (to, days) in [("+3d", 3), ("+5d", 5)] {
        clock.set(to);
        patiently("the reason to be told no more", || {
            (asked_back(&site, "early") == (unregistered.clone(), 5400)).then_some(())
        });
        later(&site, "dead", 5400..=5400);
        assert_eq!(asked_back(&site, "early"), (unregistered.clone(), 5400), "{days} days");
    }
    // It may come back.
    site.add_torrent(11, "early");
    let target = announce(1, "early", 7001, "uploaded=0&downloaded=0&left=0&event=started");
    assert!(answer(site.tracker().http(HOMES[0]), target).integer("interval") > 90);
}

/// Who announces with a passkey of nobody is asked back in so many seconds.
fn asked_back_with(site: &Site, user: u32) -> i64 {
    let target = announce(user, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    let page = fetch(site.tracker().http(HOMES[0]), target);
    assert_eq!(page.failure(), "Passkey not found");
    page.dictionary().integer("interval")
}

#[test]
fn d17_a_passkey_of_nobody_is_asked_for_later_and_later() {
    let Some(clock) = WrongClock::by("+0") else { return };
    let Some(site) = Site::open("passkey_in_vain", &clock.environment()) else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let target = announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    assert!(answer(site.tracker().http(HOMES[0]), &target).integer("interval") > 60);
    assert_eq!(asked_back_with(&site, 2), 60);
    // Nobody is about to make a user of who was one.
    site.says(&format!("remove_user&passkey={}", passkey(1)));
    assert_eq!(asked_back_with(&site, 1), 5400);
    clock.set("+7200s");
    patiently("the passkey to be asked for after half an hour", || {
        (1795..=1830).contains(&asked_back_with(&site, 2)).then_some(())
    });
    assert_eq!(asked_back_with(&site, 3), 60);
    site.add_user(2);
    let target = announce(2, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    answer(site.tracker().http(HOMES[0]), target);
    site.add_user(1);
    let target = announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    answer(site.tracker().http(HOMES[0]), target);
}
