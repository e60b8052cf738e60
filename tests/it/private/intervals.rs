//! The announce interval that a site sets at run time.

use super::{REPORT, Site, announce};
use crate::tracker::HOMES;
use crate::tracker::http::{answer, fetch};

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
