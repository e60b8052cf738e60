//! Who is told of whom, how many there are, and when to come back.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::ocelot::{ask, both, open, raw};
use crate::private::{Site, announce, passkey};
use crate::tracker::http::{answer, counts, escape, peers};
use crate::tracker::{HOMES, at, hash, patiently};

const SEEDS: &str = "uploaded=0&downloaded=0&left=0";
const LEECHES: &str = "uploaded=0&downloaded=0&left=5";

/// Whom a user's client is told of.
#[track_caller]
fn told(site: &Site, user: u32, port: u16, more: &str) -> BTreeSet<SocketAddr> {
    peers(&answer(site.tracker().http(HOMES[0]), announce(user, "disk", port, more)))
}

/// Users 1 to 3 seed at ports 7001 to 7003, 4 to 6 leech at 7004 to 7006; 7 has done nothing yet.
fn crowd(site: &Site) {
    site.add_torrent(10, "disk");
    for user in 1..=7 {
        site.add_user(user);
    }
    for user in 1..=6 {
        told(site, user, 7000 + user as u16, if user <= 3 { SEEDS } else { LEECHES });
    }
}

both! {
    fn ocelot_12_05_a_seeder_is_told_leechers_only(flavour: &str) {
        let Some(site) = open("05", flavour, "") else { return };
        crowd(&site);
        // One that is new may have nothing yet.
        assert_eq!(told(&site, 7, 7007, SEEDS), at(HOMES[0], 7001..=7006));
        assert_eq!(told(&site, 7, 7007, SEEDS), at(HOMES[0], 7004..=7006));
        assert_eq!(told(&site, 1, 7001, SEEDS), at(HOMES[0], 7004..=7006));
        assert_eq!(told(&site, 1, 7001, &format!("{SEEDS}&numwant=0")), at(HOMES[0], []));
    }

    fn ocelot_12_06_a_leecher_is_told_seeders_first_then_leechers(flavour: &str) {
        let Some(site) = open("06", flavour, "") else { return };
        crowd(&site);
        let asks = |numwant: &str| told(&site, 7, 7007, &format!("{LEECHES}&numwant={numwant}"));
        let seeders = at(HOMES[0], 7001..=7003);
        for numwant in 1..=3 {
            for _ in 0..5 {
                let some = asks(&numwant.to_string());
                assert_eq!(some.len(), numwant);
                assert!(some.is_subset(&seeders), "{some:?}");
            }
        }
        let five = asks("5");
        assert!(five.len() == 5 && seeders.is_subset(&five), "{five:?}");
        // All but itself; what is negative, or more than there is, is no trouble.
        for numwant in ["6", "1000", "-1", "99999999999999999999", "x"] {
            assert_eq!(asks(numwant), at(HOMES[0], 7001..=7006), "{numwant}");
        }
        // Nobody is favoured: who is told at all, is told in turn.
        let mut seen = BTreeSet::new();
        patiently("every seeder to be told", || {
            seen.extend(asks("1"));
            (seen == seeders).then_some(())
        });
    }

    fn ocelot_12_07_a_user_is_not_told_of_his_own_clients(flavour: &str) {
        let Some(site) = open("07", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        told(&site, 1, 7001, SEEDS);
        told(&site, 1, 7002, LEECHES);
        told(&site, 2, 7003, LEECHES);
        assert_eq!(told(&site, 1, 7002, LEECHES), at(HOMES[0], [7003]));
        assert_eq!(told(&site, 1, 7001, SEEDS), at(HOMES[0], [7003]));
        assert_eq!(told(&site, 2, 7003, LEECHES), at(HOMES[0], [7001, 7002]));
    }

    fn ocelot_12_08_who_may_not_leech_is_refused_and_credited_and_hidden(flavour: &str) {
        let Some(mut site) = open("08", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        site.says(&format!("update_user&passkey={}&can_leech=0", passkey(1)));
        for more in ["uploaded=0&downloaded=0&left=9&event=started", "uploaded=70&downloaded=4&left=5"] {
            let refused = ask(&site, announce(1, "disk", 7001, more));
            assert_eq!(refused.failure(), "Access denied, leeching forbidden");
        }
        let other = answer(site.tracker().http(HOMES[0]), announce(2, "disk", 7002, LEECHES));
        assert_eq!(counts(&other), [0, 2, 0], "it is counted");
        assert_eq!(peers(&other), at(HOMES[0], []), "and told to nobody");
        site.check_credit(1, [70, 4]);
        // What he has, he may share.
        assert_eq!(told(&site, 1, 7003, SEEDS), at(HOMES[0], [7002]));
        assert_eq!(told(&site, 2, 7002, LEECHES), at(HOMES[0], [7003]));
        // As soon as he may, both ways.
        site.says(&format!("update_user&passkey={}&can_leech=1", passkey(1)));
        assert_eq!(told(&site, 2, 7002, LEECHES), at(HOMES[0], [7001, 7003]));
        assert_eq!(told(&site, 1, 7001, "uploaded=70&downloaded=4&left=5"), at(HOMES[0], [7002]));
    }

    fn ocelot_12_13_a_stranger_may_stop(flavour: &str) {
        let Some(mut site) = open("13", flavour, "") else { return };
        crowd(&site);
        let http = site.tracker().http(HOMES[0]);
        for more in [SEEDS, LEECHES, "uploaded=9&downloaded=9&left=1"] {
            let gone = answer(http, announce(7, "disk", 7007, &format!("{more}&event=stopped")));
            assert_eq!(counts(&gone), [3, 3, 0], "those that are here");
            assert_eq!(peers(&gone), at(HOMES[0], []));
        }
        let left = answer(http, announce(1, "disk", 7001, &format!("{SEEDS}&event=stopped")));
        assert_eq!((counts(&left), peers(&left)), ([2, 3, 0], at(HOMES[0], [])));
        assert_eq!(told(&site, 7, 7007, LEECHES), at(HOMES[0], 7002..=7006));
        site.check_credit(7, [0, 0]);
    }

    /// Ocelot adds seeders or chance to its interval; margay spreads around it by `interval-jitter`, and
    /// `min interval` says how soon a client may come. Both follow the site.
    fn ocelot_12_19_the_interval_is_the_one_that_is_set_with_its_jitter(flavour: &str) {
        let Some(site) = open("19", flavour, "--interval 20m --interval-min 10m") else { return };
        site.add_user(1);
        site.add_torrent(10, "disk");
        let http = site.tracker().http(HOMES[0]);
        let check = |base: i64, jitter: i64| {
            for _ in 0..8 {
                let told = answer(http, announce(1, "disk", 7001, SEEDS));
                let interval = told.integer("interval");
                assert!((interval - base).abs() <= jitter, "{interval} is not {base} ± {jitter}");
                assert_eq!(told.integer("min interval"), 600);
            }
        };
        check(1200, 120);
        site.says("update_announce_interval&new_announce_interval=1500");
        check(1500, 150);
        site.says("update_announce_jitter&new_announce_jitter=15");
        check(1500, 15);
    }

    fn ocelot_12_20_a_silent_peer_leaves_after_its_time(flavour: &str) {
        let options = "TEST_SHORT_INTERVALS=1 --interval 1s --interval-min 1s --interval-max 1s --peer-timeout 2s";
        let Some(mut site) = open("20", flavour, options) else { return };
        crowd(&site);
        // One goes on announcing, and sees the others leave.
        patiently("the others to leave", || {
            let told = answer(site.tracker().http(HOMES[0]), announce(7, "disk", 7007, LEECHES));
            (counts(&told) == [0, 1, 0] && peers(&told).is_empty()).then_some(())
        });
        let report = crate::ocelot::report(&site, &format!("user&key={}", passkey(1)));
        let gone = if flavour == "whatcd" { "0 leeching\n0 seeding\n" } else { "\"leeching\":0,\"seeding\":0," };
        assert!(report.contains(gone), "{report}");
        patiently("the count of those who left", || {
            (site.tracker().metric("margay_expired_peers_total", &[]) >= 6.0).then_some(())
        });
        // One that comes back is new: what it has moved meanwhile is its baseline.
        told(&site, 1, 7001, "uploaded=5000&downloaded=0&left=0");
        let uploaded = "SELECT uploaded FROM peers WHERE user_id = 1";
        patiently("its row", || {
            let row = site.database.query_opt(uploaded, &[]).unwrap()?;
            (row.get::<_, i64>(0) == 5000).then_some(())
        });
        site.check_credit(1, [0, 0]);
    }

    fn ocelot_12_21_a_scrape_leaves_out_what_is_unknown(flavour: &str) {
        let Some(site) = open("21", flavour, "") else { return };
        crowd(&site);
        site.add_torrent(11, "tape");
        let scrape = |user: u32, names: &[&str]| {
            let hashes: Vec<String> =
                names.iter().map(|name| format!("info_hash={}", escape(&hash(name)))).collect();
            format!("/{}/scrape?{}", passkey(user), hashes.join("&"))
        };
        let page = answer(site.tracker().http(HOMES[0]), scrape(1, &["nowhere", "disk", "tape", "disk"]));
        let files = page.get("files");
        assert_eq!(files.entries().len(), 2);
        assert_eq!(counts(files.get(hash("disk"))), [3, 3, 0]);
        assert_eq!(counts(files.get(hash("tape"))), [0, 0, 0]);
        let keys: Vec<_> = files.get(hash("disk")).entries().keys().cloned().collect();
        assert_eq!(keys, [b"complete".to_vec(), b"downloaded".to_vec(), b"incomplete".to_vec()]);
        assert_eq!(ask(&site, scrape(1, &["nowhere"])).body, b"d5:filesdee");
        assert_eq!(ask(&site, scrape(99, &["disk"])).failure(), "Passkey not found");
        let page = raw(&site, format!("GET /{}/scrape HTTP/1.1\r\n\r\n", passkey(1)));
        assert!(String::from_utf8(page.body).unwrap().contains("Nothing to see here"));
    }
}
