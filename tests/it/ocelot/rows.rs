//! What the database has of it.

use crate::ocelot::{both, named, open};
use crate::private::{Site, announce, passkey};
use crate::tracker::http::answer;
use crate::tracker::{HOMES, patiently};

/// Waits until a query, whose column is an array of texts, has these rows.
#[track_caller]
fn check(site: &mut Site, query: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let query =
        format!("SELECT array_to_string(r, ' ', '-') FROM ({query}) AS rows (r) ORDER BY 1");
    let deadline = std::time::Instant::now() + crate::tracker::PATIENCE;
    while std::time::Instant::now() < deadline {
        let rows = site.database.query(&query, &[]).unwrap();
        last = rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>();
        if last == expected {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(last, expected, "{query}");
}

both! {
    fn ocelot_12_23_the_database_has_the_rows(flavour: &str) {
        let Some(mut site) = open("23", flavour, "") else { return };
        for user in [1, 2] {
            site.add_user(user);
        }
        site.says(&format!("add_user&passkey={}&id=3&visible=0", passkey(3)));
        site.add_torrent(10, "disk");
        site.says(&format!("add_torrent&{}&id=11&freetorrent=1", named("tape")));
        site.says(&format!("add_token&{}&userid=2", named("disk")));
        site.says("add_whitelist&peer_id=-MG");
        let http = site.tracker().http(HOMES[0]);
        let says = |user, torrent, port, more: &str| {
            answer(http, announce(user, torrent, port, more));
        };
        says(1, "disk", 7001, "uploaded=100&downloaded=0&left=0&event=started");
        says(1, "disk", 7001, "uploaded=180&downloaded=0&left=0&corrupt=0");
        says(2, "disk", 7002, "uploaded=0&downloaded=0&left=50&event=started");
        says(2, "disk", 7002, "uploaded=3&downloaded=55&left=0&corrupt=5&event=completed");
        says(3, "tape", 7003, "uploaded=0&downloaded=0&left=9&event=started");
        says(3, "tape", 7003, "uploaded=1&downloaded=2&left=7&event=stopped");

        check(&mut site,
            "SELECT ARRAY[id::text, uploaded::text, downloaded::text, can_leech::text, hidden::text, \
             enabled::text] FROM users",
            &["1 80 0 true false true", "2 3 0 true false true", "3 1 0 true true true"]);
        check(&mut site,
            "SELECT ARRAY[id::text, freeleech, seeders::text, leechers::text, snatches::text, balance::text, \
             (last_active_at IS NOT NULL)::text] FROM torrents",
            &["10 none 2 0 1 23 true", "11 free 0 0 0 -1 false"]);
        check(&mut site,
            "SELECT ARRAY[user_id::text, torrent_id::text, downloaded::text, (spent_at IS NOT NULL)::text] \
             FROM tokens",
            &["2 10 55 true"]);
        check(&mut site,
            "SELECT ARRAY[user_id::text, torrent_id::text, host(address)] FROM snatches",
            &["2 10 127.0.0.1"]);
        check(&mut site,
            "SELECT ARRAY[user_id::text, torrent_id::text, encode(peer_id, 'escape'), \
             coalesce(host(address_v4), 'hidden'), coalesce(port::text, '-'), uploaded::text, \
             downloaded::text, remaining::text, corrupt::text, announces::text, active::text] FROM peers",
            &["1 10 -MG0001-000000007001 127.0.0.1 7001 180 0 0 0 2 true",
              "2 10 -MG0001-000000007002 127.0.0.1 7002 3 55 0 5 2 true",
              "3 11 -MG0001-000000007003 hidden - 1 2 7 0 2 false"]);
        check(&mut site, "SELECT ARRAY[encode(prefix, 'escape'), allow::text] FROM client_rules", &["-MG true"]);

        // What goes, and what it leaves.
        site.says(&format!("delete_torrent&{}&id=10&reason=1", named("disk")));
        site.says("remove_whitelist&peer_id=-MG");
        site.says(&format!("remove_user&passkey={}", passkey(1)));
        site.says(&format!("update_user&passkey={}&can_leech=0&visible=0", passkey(2)));
        check(&mut site, "SELECT ARRAY[id::text] FROM torrents", &["11"]);
        check(&mut site, "SELECT ARRAY[torrent_id::text, reason] FROM deletion_reasons", &["10 Trump"]);
        check(&mut site, "SELECT ARRAY[user_id::text] FROM tokens", &[]);
        check(&mut site, "SELECT ARRAY[user_id::text, torrent_id::text] FROM peers", &["3 11"]);
        check(&mut site, "SELECT ARRAY[user_id::text] FROM snatches", &["2"]);
        check(&mut site, "SELECT ARRAY[allow::text] FROM client_rules", &[]);
        check(&mut site,
            "SELECT ARRAY[id::text, uploaded::text, can_leech::text, hidden::text, enabled::text] FROM users",
            &["1 80 true false false", "2 3 false true true", "3 1 true true true"]);
        check(&mut site, "SELECT ARRAY[part, error] FROM rejected", &[]);
        patiently("the ledger", || {
            (site.tracker().metric("margay_ledger_records_behind", &[]) == 0.0).then_some(())
        });
    }
}
