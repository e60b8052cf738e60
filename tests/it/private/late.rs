//! Announces that come late or twice, and amounts that cannot be: what the books say of them.

use std::net::IpAddr;

use super::{Site, announce};
use crate::tracker::HOMES;
use crate::tracker::http::{answer, counts};

/// A client of a user says what it has moved; seeders, leechers and downloads afterwards.
fn says(site: &Site, home: IpAddr, user: u32, words: &str) -> [i64; 3] {
    let more = format!("{words}&key=0badcafe");
    counts(&answer(site.tracker().http(home), announce(user, "disk", 7000 + user as u16, &more)))
}

#[test]
fn d5_d6_a_late_announce_is_credited_once_and_changes_nothing() {
    let Some(mut site) = Site::open("late", "") else { return };
    site.add_torrent(10, "disk");
    for (user, home) in [1, 2].into_iter().zip(HOMES) {
        site.add_user(user);
        let leeches = [i64::from(user) - 1, 1, i64::from(user) - 1];
        let seeds = [i64::from(user), 0, i64::from(user)];
        let said = [
            ("uploaded=0&downloaded=0&left=70&event=started", leeches),
            ("uploaded=200&downloaded=40&left=30", leeches),
            ("uploaded=150&downloaded=35&left=35", leeches),
            ("uploaded=300&downloaded=70&left=0&event=completed", seeds),
            ("uploaded=210&downloaded=60&left=10", seeds),
            ("uploaded=0&downloaded=0&left=70&event=started", seeds),
            ("uploaded=250&downloaded=65&left=5&event=stopped", seeds),
            ("uploaded=310&downloaded=70&left=0", seeds),
        ];
        for (words, expected) in said {
            assert_eq!(says(&site, home, user, words), expected, "{home}: {words}");
        }
        site.check_credit(i64::from(user), [310, 70]);
    }
    // Who has left stays away, whatever of it comes late.
    for words in
        ["uploaded=320&downloaded=70&left=0&event=stopped", "uploaded=315&downloaded=70&left=0"]
    {
        assert_eq!(says(&site, HOMES[0], 1, words), [1, 0, 2], "{words}");
    }
    site.check_credit(1, [320, 70]);
    site.tracker().await_metric("margay_late_announces_total", &[], 7.0);
}

#[test]
fn d9_an_amount_that_cannot_be_stops_nobody_s_credit() {
    let Some(mut site) = Site::open("impossible", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    for up in ["0", "9223372036854775807", "99999999999999999999", "100", "250"] {
        says(&site, HOMES[0], 1, &format!("uploaded={up}&downloaded=0&left=0"));
    }
    site.check_credit(1, [150, 0]);
    says(&site, HOMES[0], 1, "uploaded=250&downloaded=9000000000000000000&left=0");
    says(&site, HOMES[0], 1, "uploaded=260&downloaded=9000000000000000005&left=0");
    site.check_credit(1, [160, 5]);
    site.tracker().await_metric("margay_impossible_announces_total", &[], 2.0);
}
