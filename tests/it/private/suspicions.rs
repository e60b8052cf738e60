//! Figures that nobody can have moved are credited, counted and written down.

use super::{Site, announce};
use crate::tracker::http::answer;
use crate::tracker::{HOMES, patiently};

#[test]
fn an_upload_that_nobody_could_take_is_reported() {
    let options = "--suspect-rate 1MiB --suspect-upload-alone 1KiB --suspect-networks 5";
    let Some(mut site) = Site::open("suspicions", options) else { return };
    site.add_user(1);
    site.add_torrent(1, "disk");
    let upload = |site: &Site, uploaded: u64, event: &str| {
        let more = format!("uploaded={uploaded}&downloaded=0&left=0{event}");
        answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, &more));
    };
    upload(&site, 0, "&event=started");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    upload(&site, 1 << 40, "");
    site.check_credit(1, [1 << 40, 0]);
    patiently("it is written down", || {
        let rows = "SELECT count(*) FROM suspicions WHERE user_id = 1 AND torrent_id = 1 \
            AND times = 1 AND kind IN ('rate', 'upload_alone')";
        let rows: i64 = site.database.query_one(rows, &[]).unwrap().get(0);
        (rows == 2).then_some(())
    });
    patiently("the metrics have it", || {
        let counted = ["rate", "upload_alone", "networks"].map(|kind| {
            let label = format!("kind=\"{kind}\"");
            site.tracker().metric("margay_suspicions_total", &[&label])
        });
        (counted == [1.0, 1.0, 0.0]).then_some(())
    });
}
