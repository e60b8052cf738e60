//! What is credited.

use crate::ocelot::{both, named, open};
use crate::private::{Site, announce};
use crate::tracker::http::{answer, counts};
use crate::tracker::{HOMES, patiently};

/// A user's only client on a torrent announces; what it says of its totals is `up` and `down`.
#[track_caller]
fn report(
    site: &Site,
    user: u32,
    torrent: &str,
    [up, down, left]: [u64; 3],
    event: &str,
) -> [i64; 3] {
    let more = format!("uploaded={up}&downloaded={down}&left={left}{event}");
    let port = 7000 + user as u16;
    counts(&answer(site.tracker().http(HOMES[0]), announce(user, torrent, port, &more)))
}

const STARTED: &str = "&event=started";
const COMPLETED: &str = "&event=completed";

both! {
    fn ocelot_12_09_a_first_announce_credits_nothing(flavour: &str) {
        let Some(mut site) = open("09", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        // With and without an event; the next one is worth what came since.
        report(&site, 1, "disk", [1_000_000, 5000, 7], STARTED);
        report(&site, 1, "disk", [1_000_010, 5003, 4], "");
        report(&site, 2, "disk", [999, 888, 7], "");
        report(&site, 2, "disk", [1000, 890, 5], "");
        site.check_credit(1, [10, 3]);
        site.check_credit(2, [1, 2]);
        // Clients say `started` until they are answered: one whose counters go on has gone on. Here Ocelot would
        // credit nothing.
        report(&site, 1, "disk", [1_000_110, 5103, 4], STARTED);
        report(&site, 1, "disk", [1_000_111, 5104, 3], "");
        site.check_credit(1, [111, 104]);
        // With lower ones it begins anew.
        report(&site, 1, "disk", [0, 0, 7], STARTED);
        report(&site, 1, "disk", [2, 1, 3], "");
        site.check_credit(1, [113, 105]);
    }

    fn ocelot_12_10_counters_that_go_down_credit_nothing(flavour: &str) {
        let Some(mut site) = open("10", flavour, "") else { return };
        site.add_user(1);
        site.add_torrent(10, "disk");
        report(&site, 1, "disk", [1000, 100, 9], STARTED);
        // One of them goes down: neither is credited, and both begin there.
        report(&site, 1, "disk", [900, 200, 8], "");
        report(&site, 1, "disk", [901, 202, 7], "");
        report(&site, 1, "disk", [2000, 50, 7], "");
        report(&site, 1, "disk", [2004, 58, 6], "");
        site.check_credit(1, [5, 10]);
    }

    fn ocelot_12_11_rules_and_tokens_say_what_counts(flavour: &str) {
        let Some(mut site) = open("11", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        for (id, torrent, free) in [(10, "disk", 0), (11, "tape", 1), (12, "book", 2)] {
            let name = named(torrent);
            site.says(&format!("add_torrent&{name}&id={id}&freetorrent={free}"));
            site.says(&format!("add_token&{name}&userid=2"));
            for user in [1, 2] {
                report(&site, user, torrent, [0, 0, 100], STARTED);
                report(&site, user, torrent, [1000, 60, 40], "");
            }
        }
        // Counted, uploads only, neither; with a token no download counts where one would.
        site.check_credit(1, [2000, 60]);
        site.check_credit(2, [2000, 0]);
        check_tokens(&mut site, [("60", false), ("60", false), ("0", false)]);
        // Other rules, from the next announce on.
        site.says(&format!("update_torrent&{}&freetorrent=0", named("book")));
        site.says(&format!("remove_token&{}&userid=2", named("disk")));
        for (user, torrent) in [(1, "book"), (2, "disk")] {
            report(&site, user, torrent, [1500, 70, 30], "");
        }
        site.check_credit(1, [2500, 70]);
        site.check_credit(2, [2500, 10]);
        site.says(&format!("update_torrent&{}&freetorrent=2", named("book")));
        site.says(&format!("add_token&{}&userid=2", named("disk")));
        // The download completes: that uses a token up, unless nothing counts anyway.
        for torrent in ["disk", "tape", "book"] {
            report(&site, 2, torrent, [1500, 100, 0], COMPLETED);
        }
        site.check_credit(2, [3000, 10]);
        check_tokens(&mut site, [("30", true), ("100", true), ("0", false)]);
        // What is downloaded after that counts.
        report(&site, 2, "disk", [1500, 101, 0], "");
        site.check_credit(2, [3000, 11]);
    }

    fn ocelot_12_12_a_download_completes_once(flavour: &str) {
        let Some(mut site) = open("12", flavour, "") else { return };
        for user in [1, 2, 3] {
            site.add_user(user);
        }
        site.add_torrent(10, "disk");
        report(&site, 1, "disk", [0, 0, 100], STARTED);
        assert_eq!(report(&site, 1, "disk", [0, 100, 0], COMPLETED), [1, 0, 1]);
        assert_eq!(report(&site, 1, "disk", [0, 100, 0], COMPLETED), [1, 0, 1]);
        assert_eq!(report(&site, 1, "disk", [0, 100, 0], ""), [1, 0, 1]);
        // Of somebody who was not here it is none, as some clients say so at each start, nor of somebody who has
        // something left; a leecher that has it all and has downloaded nothing had it before.
        assert_eq!(report(&site, 2, "disk", [0, 0, 0], COMPLETED), [2, 0, 1]);
        assert_eq!(report(&site, 3, "disk", [0, 0, 5], COMPLETED), [2, 1, 1]);
        assert_eq!(report(&site, 3, "disk", [0, 0, 0], ""), [3, 0, 1]);
        // It need not say so.
        assert_eq!(report(&site, 3, "disk", [0, 0, 5], ""), [2, 1, 1]);
        assert_eq!(report(&site, 3, "disk", [0, 5, 0], ""), [3, 0, 2]);
        let query = "SELECT user_id, torrent_id FROM snatches ORDER BY id";
        let rows = patiently("two snatches", || {
            let rows = site.database.query(query, &[]).unwrap();
            (rows.len() == 2).then_some(rows)
        });
        let rows: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(rows, [(1, 10), (3, 10)]);
    }
}

/// What the tokens of user 2 were used for, by torrent, and whether they are used up.
#[track_caller]
fn check_tokens(site: &mut Site, expected: [(&str, bool); 3]) {
    let query = "SELECT downloaded::text, spent_at IS NOT NULL FROM tokens WHERE user_id = 2 ORDER BY torrent_id";
    patiently(&format!("tokens {expected:?}"), || {
        let rows = site.database.query(query, &[]).unwrap();
        let found: Vec<(String, bool)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let found: Vec<(&str, bool)> =
            found.iter().map(|(down, spent)| (down.as_str(), *spent)).collect();
        (found == expected).then_some(())
    });
}
