//! A disk without room: what the site is answered, what is said about it, and how much may wait for it.

use std::time::{Duration, Instant};

use super::{SITE, Site, announce, credited, passkey};
use crate::tracker::http::{Page, answer, counts, escape, fetch};
use crate::tracker::udp::{Announce, STARTED, Udp};
use crate::tracker::{HOMES, hash, patiently};

/// The site says something.
fn say(site: &Site, update: &str) -> Page {
    fetch(site.tracker().http(HOMES[0]), format!("/{SITE}/update?action={update}"))
}

fn check_not_on_disk(page: &Page) {
    let text = page.body.escape_ascii().to_string();
    assert_eq!(page.status, 503, "{text}");
    assert!(text.contains("in force, but not on the disk yet"), "{text}");
}

#[test]
fn an_update_that_is_not_on_the_disk_is_no_success() {
    for cores in [1, 2] {
        let options = format!("--cores {cores}");
        let Some(mut site) = Site::open(&format!("not_on_disk_{cores}"), &options) else { return };
        site.add_user(1);
        // Some of them belong to each core.
        let names: Vec<String> = (0..6).map(|number| format!("disk {number}")).collect();
        for (id, name) in (10..).zip(&names) {
            site.add_torrent(id, name);
        }
        let add = format!("add_user&passkey={}&id=2&visible=1", passkey(2));
        let hashes: String = names.iter().map(|name| escape(&hash(name))).collect();
        let free = format!("update_torrents&info_hashes={hashes}&freetorrent=1");

        site.tracker().fill_disk(true);
        check_not_on_disk(&say(&site, &add));
        check_not_on_disk(&say(&site, &free));
        // It is in force, as it says.
        let more = "uploaded=0&downloaded=0&left=0";
        answer(site.tracker().http(HOMES[0]), announce(2, "disk 1", 7002, more));

        site.tracker().fill_disk(false);
        for update in [&add, &free] {
            patiently("the site to be told of success", || {
                let page = say(&site, update);
                (page.status == 200 && page.body == b"success").then_some(())
            });
        }
        // So a crash takes nothing back.
        site.kill();
        site.start();
        answer(site.tracker().http(HOMES[0]), announce(2, "disk 1", 7002, more));
        patiently("what the site said in the database", || {
            let query = "SELECT count(*) FROM torrents WHERE freeleech = 'free'";
            let row = site.database.query_one(query, &[]).unwrap();
            (row.get::<_, i64>(0) == 6).then_some(())
        });
    }
}

#[test]
fn a_torrent_that_does_not_fit_is_no_success() {
    let Some(site) = Site::open("no_room", "--torrents-max 1") else { return };
    site.add_torrent(10, "disk");
    let info_hash = escape(&hash("tape"));
    let page = say(&site, &format!("add_torrent&info_hash={info_hash}&id=11&freetorrent=0"));
    assert_eq!(page.status, 503, "{page:?}");
    // One that is there can be changed.
    site.add_torrent(10, "disk");
}

#[test]
fn a_full_disk_is_said_once() {
    let Some(mut site) = Site::open("said_once", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    site.tracker().fill_disk(true);
    credited(&site, 700, "");
    patiently("the journal to refuse", || {
        (site.tracker().metric("margay_journal_accepting", &[]) == 0.0).then_some(())
    });
    let (before, began) = (site.tracker().lines_logged(), Instant::now());
    while began.elapsed() < Duration::from_secs(4) {
        credited(&site, 800, "&event=started");
    }
    let more = site.tracker().lines_logged() - before;
    assert!(more <= 4, "{more} lines in some seconds");
    site.tracker().fill_disk(false);
    site.tracker().logged("the journal is written again");
    credited(&site, 900, "");
    site.check_credit(1, [900, 0]);
}

/// As many records as a core lets wait: see the table of bounds in ARCHITECTURE.md.
const RECORDS_MAX: f64 = 393_216.0;

#[test]
fn what_waits_for_a_full_disk_is_bounded_and_nothing_of_it_is_lost() {
    let Some(site) = Site::open("bounded", "--journal-sync 300ms") else { return };
    site.add_user(1);
    site.add_user(2);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    site.tracker().fill_disk(true);

    // One client that begins again and again: nobody will say that again.
    let mut udp = Udp::connect(site.tracker().udp(HOMES[0]));
    let url = format!("/{}/announce", passkey(2));
    let mut options = vec![2, url.len() as u8];
    options.extend_from_slice(url.as_bytes());
    let begins = Announce { event: STARTED, options, ..Announce::new(hash("disk"), 7002) };
    let waiting = || site.tracker().metric("margay_records_waiting", &[]);
    let (mut most, mut stood_still) = (0.0, 0);
    while stood_still < 3 {
        udp.connect_again_past_replies();
        let datagram = udp.announce_request(&begins);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            (0..100).for_each(|_| udp.send(&datagram));
        }
        let now = waiting();
        assert!(now <= RECORDS_MAX, "{now} records wait");
        stood_still = if now > most { 0 } else { stood_still + 1 };
        most = now;
    }
    assert_eq!(most, RECORDS_MAX);

    // Who comes waits, who is there is served, and the site is heard.
    let http = site.tracker().http(HOMES[0]);
    let more = "uploaded=0&downloaded=0&left=5";
    let waits = std::thread::spawn(move || answer(http, announce(1, "disk", 7009, more)));
    let refused = || site.tracker().metric("margay_refusals_total", &["http", "overload"]);
    patiently("one to wait", || (refused() >= 1.0).then_some(()));
    let told = answer(http, announce(1, "disk", 7001, "uploaded=300&downloaded=0&left=0"));
    assert_eq!(counts(&told)[0], 1);
    check_not_on_disk(&say(&site, &format!("add_user&passkey={}&id=3&visible=1", passkey(3))));

    site.tracker().fill_disk(false);
    patiently("all that waited to be taken", || (waiting() == 0.0).then_some(()));
    assert_eq!(counts(&waits.join().unwrap())[1], 2);
    answer(http, announce(1, "disk", 7001, "uploaded=500&downloaded=0&left=0"));
    // In the journal, which has it for the database.
    let lines = site.tracker().lines_logged();
    assert!(lines < 40, "{lines} lines of log");
}
