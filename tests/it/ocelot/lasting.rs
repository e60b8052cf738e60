//! What outlives the tracker, where Ocelot forgets.

use crate::ocelot::{both, named, open, report};
use crate::private::{Site, announce, passkey};
use crate::tracker::HOMES;
use crate::tracker::at;
use crate::tracker::http::{answer, counts, peers};

/// Ann seeds, and has uploaded so much.
#[track_caller]
fn ann(site: &Site, uploaded: u64) {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0");
    answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, &more));
}

fn credit(site: &mut Site) -> [i64; 2] {
    let row = site.database.query_one("SELECT uploaded, downloaded FROM users WHERE id = 1", &[]);
    let row = row.unwrap();
    [row.get(0), row.get(1)]
}

both! {
    /// No tick is waited for: what was answered is in the database when the process has ended.
    fn ocelot_12_24_a_stop_loses_nothing(flavour: &str) {
        let Some(mut site) = open("24", flavour, "--journal-sync 1m") else { return };
        site.add_user(1);
        site.add_torrent(10, "disk");
        ann(&site, 0);
        for round in 1..=4 {
            for step in 1..=25 {
                ann(&site, (round - 1) * 1000 + step * 40);
            }
            site.says(&format!("add_token&{}&userid={}", named("disk"), 100 + round));
            site.stop();
            assert_eq!(credit(&mut site), [round as i64 * 1000, 0]);
            let tokens: i64 = site.database.query_one("SELECT count(*) FROM tokens", &[]).unwrap().get(0);
            assert_eq!(tokens, round as i64);
            site.start();
        }
    }

    /// The peers are there at once, each with its counters, after a stop and after a kill.
    fn ocelot_12_25_a_restart_keeps_peers_and_baselines(flavour: &str) {
        let Some(mut site) = open("25", flavour, "") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        ann(&site, 5000);
        for round in 1..=4 {
            ann(&site, 5000 + round * 100);
            if round % 2 == 0 { site.stop() } else { site.kill() }
            site.start();
            let more = "uploaded=0&downloaded=0&left=5&event=started";
            let told = answer(site.tracker().http(HOMES[0]), announce(2, "disk", 7002, more));
            assert_eq!((counts(&told), peers(&told)), ([1, 1, 0], at(HOMES[0], [7001])));
            let does = report(&site, &format!("user&key={}", passkey(1)));
            assert!(does.contains("1 seeding") || does.contains("\"seeding\":1,"), "{does}");
            ann(&site, 5000 + round * 100 + 50);
        }
        site.check_credit(1, [450, 0]);
    }
}
