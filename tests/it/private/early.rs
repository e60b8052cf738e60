//! Clients that do not wait for as long as they are asked.

use std::thread::sleep;
use std::time::Duration;

use super::{Site, announce};
use crate::tracker::http::{answer, counts, peers};
use crate::tracker::{HOMES, at, patiently};

#[test]
fn a_client_that_hurries_is_credited_and_told_no_peers() {
    let Some(mut site) = Site::open("early", "--interval-enforce 50%") else { return };
    site.add_user(1);
    site.add_user(2);
    site.add_torrent(10, "disk");
    let http = site.tracker().http(HOMES[0]);
    let ask = |uploaded: u64, left: u64, event: &str| {
        let more = format!("uploaded={uploaded}&downloaded=0&left={left}{event}");
        answer(http, announce(1, "disk", 7001, &more))
    };
    answer(http, announce(2, "disk", 7002, "uploaded=0&downloaded=0&left=5&event=started"));
    let others = at(HOMES[0], [7002]);
    assert_eq!(peers(&ask(0, 5, "&event=started")), others);
    // Over the other family, or to another URL, at the same time: that is no hurry.
    assert_eq!(peers(&ask(1, 5, "")), others);
    let mut uploaded = 1;
    let told = patiently("an answer without peers", || {
        // Hundreds of announces would be sent to other moments, further from the interval than the jitter.
        sleep(Duration::from_millis(450));
        uploaded += 1;
        let told = ask(uploaded, 5, "");
        peers(&told).is_empty().then_some(told)
    });
    assert_eq!(counts(&told), [0, 2, 0]);
    let interval = told.integer("interval");
    assert!((1620..=1980).contains(&interval), "{interval}");
    assert_eq!(told.integer("min interval"), 900);
    site.tracker().await_metric("margay_early_announces_total", &[], 1.0);
    assert_eq!(peers(&ask(uploaded, 0, "&event=completed")), others, "that had to be said");
    site.check_credit(1, [uploaded as i64, 0]);
    assert_eq!(site.tracker().metric("margay_refusals_total", &[]), 0.0);
}
