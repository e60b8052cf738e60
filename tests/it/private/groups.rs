//! Groups of users, and the downloads that they may have at once.

use super::{Site, announce, passkey};
use crate::tracker::http::{answer, counts, fetch};
use crate::tracker::udp::{Announce, STARTED, Udp};
use crate::tracker::{HOMES, hash, patiently};

const FULL: &str = "Too many downloads at once for your user group: finish or stop one first";

/// Why the client of a user on a torrent is refused, if it is.
fn refused(site: &Site, user: u32, torrent: &str, left: u32, event: &str) -> Option<String> {
    let port = 7000 + user as u16;
    let more = format!("uploaded=0&downloaded=0&left={left}{event}");
    let page = fetch(site.tracker().http(HOMES[0]), announce(user, torrent, port, &more));
    let dictionary = page.dictionary();
    dictionary.find("failure reason")?;
    Some(page.failure())
}

fn open(test: &str) -> Option<Site> {
    // Downloads are counted over all cores.
    let mut site = Site::open(test, "--cores 2")?;
    for user in [1, 2] {
        site.add_user(user);
    }
    for (id, torrent) in [(10, "disk"), (11, "tape"), (12, "book"), (13, "card")] {
        site.add_torrent(id, torrent);
    }
    site.bound_downloads(1, 2);
    Some(site)
}

#[test]
fn a_group_bounds_the_downloads_of_its_users() {
    let Some(mut site) = open("groups") else { return };
    let no: Option<String> = None;
    assert_eq!(refused(&site, 1, "disk", 5, "&event=started"), no);
    assert_eq!(refused(&site, 1, "tape", 5, "&event=started"), no);
    patiently("the bound of the group", || {
        let refused = refused(&site, 1, "book", 5, "&event=started");
        // Until it is known the download is let in, and goes.
        let stopped = self::refused(&site, 1, "book", 5, "&event=stopped");
        assert_eq!(stopped, None);
        (refused.as_deref() == Some(FULL)).then_some(())
    });
    // What is under way goes on, and who seeds is no download; others have no bound.
    assert_eq!(refused(&site, 1, "disk", 4, ""), no);
    assert_eq!(refused(&site, 1, "book", 0, "&event=started"), no);
    for torrent in ["disk", "tape", "book", "card"] {
        assert_eq!(refused(&site, 2, torrent, 5, "&event=started"), no);
    }
    // Over UDP as well.
    let udp = Udp::connect(site.tracker().udp(HOMES[0]));
    let url = format!("/{}/announce", passkey(1));
    let announce = Announce { event: STARTED, ..Announce::new(hash("card"), 7001) };
    let mut datagram = udp.announce_request(&announce);
    datagram.extend([2, url.len() as u8]);
    datagram.extend_from_slice(url.as_bytes());
    let reply = udp.ask(datagram);
    assert!(reply.ends_with(FULL.as_bytes()), "{}", reply.escape_ascii());
    site.tracker().await_metric("margay_refusals_total", &["reason=\"downloads\"", "udp"], 1.0);

    // It is remembered, as are the downloads under way.
    site.stop();
    site.start();
    assert_eq!(refused(&site, 1, "card", 5, "&event=started").as_deref(), Some(FULL));
    // One that completes makes room for another.
    assert_eq!(refused(&site, 1, "disk", 0, "&event=completed"), no);
    assert_eq!(refused(&site, 1, "card", 5, "&event=started"), no);
    assert_eq!(refused(&site, 1, "disk", 0, ""), no);
    // What the site says counts at once.
    site.database.batch_execute("UPDATE user_groups SET downloads_max = NULL").unwrap();
    assert_eq!(refused(&site, 1, "book", 0, "&event=stopped"), no);
    patiently("the end of the bound", || {
        refused(&site, 1, "book", 5, "&event=started").is_none().then_some(())
    });
}

#[test]
fn a_seeder_that_has_to_download_again_is_credited_and_waits() {
    let Some(mut site) = open("groups_again") else { return };
    for torrent in ["disk", "tape"] {
        assert_eq!(refused(&site, 1, torrent, 5, "&event=started"), None);
    }
    patiently("the bound of the group", || {
        let refused = refused(&site, 1, "card", 5, "&event=started");
        assert_eq!(self::refused(&site, 1, "card", 5, "&event=stopped"), None);
        refused.map(drop)
    });
    let http = site.tracker().http(HOMES[0]);
    let says = |more: &str| fetch(http, announce(1, "book", 7001, more));
    says("uploaded=0&downloaded=0&left=0&event=started");
    assert_eq!(says("uploaded=70&downloaded=0&left=8").failure(), FULL);
    assert_eq!(says("uploaded=75&downloaded=1&left=7").failure(), FULL);
    site.check_credit(1, [75, 1]);
    let counted = answer(http, announce(2, "book", 7002, "uploaded=0&downloaded=0&left=0"));
    assert_eq!(counts(&counted), [1, 1, 0]);
    assert_eq!(refused(&site, 1, "tape", 5, "&event=stopped"), None);
    let more = "uploaded=75&downloaded=1&left=7";
    assert_eq!(says(more).dictionary().find("failure reason"), None);
}
