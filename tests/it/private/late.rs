//! Announces that come late or twice, and amounts that cannot be: what the books say of them.

use std::net::IpAddr;

use super::{Site, announce};
use crate::tracker::http::{answer, counts};
use crate::tracker::{HOMES, patiently};

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

#[test]
fn d9_a_counter_at_the_end_of_its_type_stops_nothing_else() {
    let Some(mut site) = Site::open("saturate", "") else { return };
    (1..=2).for_each(|user| site.add_user(user));
    site.add_torrent(10, "disk");
    // One begins there, and one whom the site has given all that a column holds.
    let all = i64::MAX;
    patiently("the row of user 2", || {
        let gives = "UPDATE users SET uploaded = 9223372036854775807 WHERE id = 2";
        (site.database.execute(gives, &[]).unwrap() == 1).then_some(())
    });
    for (user, up) in [(1, "9223372036854775807"), (2, "5")] {
        let says = |down: u64, up: &str| {
            let words = format!("uploaded={up}&downloaded={down}&left=9");
            says(&site, HOMES[0], user, &words);
        };
        says(0, if user == 1 { up } else { "0" });
        (1..=5).for_each(|round| says(round * 100, up));
        // It is told to be more than it can be.
        says(600, "18446744073709551615");
        says(700, "18446744073709551615");
    }
    site.check_credit(1, [0, 700]);
    // What user 2 said at 600 cannot be, and counts from there on.
    site.check_credit(2, [all, 600]);
    let rejected = site.database.query_one("SELECT count(*) FROM rejected", &[]).unwrap();
    assert_eq!(rejected.get::<_, i64>(0), 0);
}

#[test]
fn d8_two_hosts_with_one_session_are_counted_beside_each_other() {
    let Some(mut site) = Site::open("copied", "--trusted-network 127.0.0.0/8") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let says = |host: &str, up: u64, event: &str| {
        says(&site, HOMES[0], 1, &format!("uploaded={up}&downloaded=0&left=0&ip={host}{event}"));
    };
    let [here, there] = ["8.8.8.8", "8.8.4.4"];
    says(here, 0, "&event=started");
    says(here, 1_000_000_000, "");
    // A copy of the session's folder is started on another machine.
    says(there, 0, "&event=started");
    for moved in 1..=4 {
        says(here, 1_000_000_000 + moved * 10, "");
        says(there, moved * 7, "");
    }
    says(there, 28, "&event=stopped");
    says(here, 1_000_000_050, "");
    site.check_credit(1, [1_000_000_050 + 28, 0]);
}
