//! Refusals one by one, in the log of who asks for them.

use crate::private::{Site, announce};
use crate::tracker::udp::Udp;
use crate::tracker::{HOMES, Tracker, http};

const ASKED: &str = "--log info,margay::front=debug";

#[test]
fn refusals_can_be_looked_into() {
    let tracker = Tracker::start(ASKED);
    http::fetch(tracker.http(HOMES[0]), "/announce?info_hash=short&port=1&left=0");
    let line = tracker.logged("refused");
    assert_eq!((&line["protocol"], &line["address"]), (&"http".into(), &"127.0.0.1".into()));
    assert!(line["why"].as_str().unwrap().contains("info_hash"), "{line}");
    Udp::connect(tracker.udp(HOMES[0])).send(&[0; 7]);
    tracker.await_logged("refused", 2);

    let quiet = Tracker::start("");
    http::fetch(quiet.http(HOMES[0]), "/announce?info_hash=short&port=1&left=0");
    quiet.await_metric("margay_refusals_total", &["http", "malformed"], 1.0);
    assert_eq!(quiet.times_logged("refused"), 0);
}

#[test]
fn a_wrong_passkey_is_told_by_its_beginning() {
    let Some(site) = Site::open("refusals", ASKED) else { return };
    let http = site.tracker().http(HOMES[0]);
    http::fetch(http, announce(7, "disk", 7001, "uploaded=0&downloaded=0&left=9"));
    let line = site.tracker().logged("nobody has this passkey");
    assert_eq!(line["begins"], crate::private::passkey(7)[..6]);
    assert_eq!(site.tracker().logged("refused")["why"], "Passkey not found");
}
