//! A private tracker under a clock that is wrong.

use super::{Site, announce, credited};
use crate::clock::WrongClock;
use crate::tracker::http::{answer, counts};
use crate::tracker::{HOMES, patiently};

const QUICK: &str =
    "TEST_SHORT_INTERVALS=1 --interval 1s --interval-min 1s --interval-max 1s --peer-timeout 8s";

/// Seconds from now to when the database has the seeder announce last.
fn age(site: &mut Site) -> Option<i64> {
    let query =
        "SELECT extract(epoch FROM now() - updated_at)::bigint FROM peers WHERE user_id = 1";
    site.database.query_opt(query, &[]).unwrap().map(|row| row.get(0))
}

/// Seeders, as a leecher is told.
fn seeders(site: &Site) -> i64 {
    let more = "uploaded=0&downloaded=0&left=9";
    counts(&answer(site.tracker().http(HOMES[0]), announce(2, "disk", 7002, more)))[0]
}

#[test]
fn what_was_moved_under_a_wrong_clock_is_credited_and_the_database_follows_the_right_one() {
    for wrong in ["-3y", "+3y"] {
        let Some(clock) = WrongClock::by(wrong) else { return };
        let options = format!("{} {QUICK} --database-peers=true", clock.environment());
        let Some(mut site) = Site::open("clock", &options) else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        credited(&site, 0, "&event=started");
        patiently("the wrong time in the database", || {
            age(&mut site).is_some_and(|age| age.abs() > 2 * 365 * 86_400).then_some(())
        });
        clock.set("+0");
        site.tracker().logged("the system's clock has jumped");
        assert_eq!(seeders(&site), 1, "{wrong}");
        credited(&site, 700, "");
        site.check_credit(1, [700, 0]);
        patiently("the right time in the database", || {
            age(&mut site).is_some_and(|age| (-2..60).contains(&age)).then_some(())
        });
        patiently("the seeder to time out", || (seeders(&site) == 0).then_some(()));
    }
}

#[test]
fn peers_of_times_to_come_time_out_after_the_next_start() {
    let Some(clock) = WrongClock::by("+3y") else { return };
    let options = format!("{} {QUICK}", clock.environment());
    let Some(mut site) = Site::open("clock_start", &options) else { return };
    site.add_user(1);
    site.add_user(2);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    site.tracker().write_snapshot();
    credited(&site, 500, "");
    site.kill();
    clock.set("+0");
    site.start();
    assert_eq!(seeders(&site), 1, "it is believed for a while");
    patiently("the seeder to time out", || (seeders(&site) == 0).then_some(()));
}
