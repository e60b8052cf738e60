//! What the site changed while nobody heard it: no notice came, and the comparison with the database finds
//! it.

use super::{Site, announce, credited, passkey};
use crate::tracker::http::{answer, counts, fetch};
use crate::tracker::{HOMES, hash, patiently};

/// A site whose changes nobody is told of: its session has no triggers. The tracker compares each second.
fn silent_site(name: &str) -> Option<Site> {
    let mut site = Site::open(name, "--database-reconcile 1s")?;
    site.add_user(1);
    site.add_torrent(10, "disk");
    site.database.batch_execute("SET session_replication_role TO replica").unwrap();
    Some(site)
}

/// Announces until the answer is, or is not, a refusal.
fn await_taken(site: &Site, user: u32, torrent: &str, taken: bool) {
    let http = site.tracker().http(HOMES[0]);
    let target = announce(user, torrent, 7002, "uploaded=0&downloaded=0&left=0");
    patiently("what the site has changed", || {
        let refused = fetch(http, &target).dictionary().find("failure reason").is_some();
        (refused != taken).then_some(())
    });
}

#[test]
fn users_and_torrents_are_taken_over() {
    let Some(mut site) = silent_site("unheard") else { return };
    credited(&site, 0, "&event=started");
    let info_hash = hash("film");
    site.database
        .execute("INSERT INTO users (id, passkey) VALUES (5, $1)", &[&passkey(5)])
        .unwrap();
    site.database
        .execute("INSERT INTO torrents (id, info_hash) VALUES (9, $1)", &[&&info_hash[..]])
        .unwrap();
    await_taken(&site, 5, "film", true);
    site.database.execute("UPDATE users SET enabled = false WHERE id = 5", &[]).unwrap();
    await_taken(&site, 5, "film", false);
    site.database.execute("DELETE FROM torrents WHERE id = 9", &[]).unwrap();
    await_taken(&site, 1, "film", false);
    // What was there all the time is as it was.
    credited(&site, 500, "");
    site.check_credit(1, [500, 0]);
    site.tracker().await_logged("took over from the database", 3);
    assert_eq!(site.tracker().times_logged("may have been missed"), 0);
}

#[test]
fn tokens_are_taken_over() {
    let Some(mut site) = silent_site("unheard_tokens") else { return };
    let downloads = |site: &Site, downloaded: u64, event: &str| {
        let more = format!("uploaded=0&downloaded={downloaded}&left=9000{event}");
        answer(site.tracker().http(HOMES[0]), announce(1, "disk", 7001, &more));
    };
    downloads(&site, 0, "&event=started");
    downloads(&site, 100, "");
    site.check_credit(1, [0, 100]);
    site.database.batch_execute("INSERT INTO tokens (user_id, torrent_id) VALUES (1, 10)").unwrap();
    site.tracker().await_metric("margay_tokens", &[], 1.0);
    downloads(&site, 1100, "");
    site.database.batch_execute("DELETE FROM tokens").unwrap();
    site.tracker().await_metric("margay_tokens", &[], 0.0);
    downloads(&site, 1130, "");
    site.check_credit(1, [0, 130]);
}

/// Rows that the site wrote after it had dropped constraints, and a token that never ends: the comparison goes
/// on, and who is there but cannot be read is not gone.
#[test]
fn what_cannot_be_read_is_left_alone() {
    let Some(mut site) = silent_site("unreadable") else { return };
    credited(&site, 0, "&event=started");
    site.database
        .batch_execute(
            "ALTER TABLE users DROP CONSTRAINT users_passkey_check; \
             ALTER TABLE torrents DROP CONSTRAINT torrents_freeleech_check; \
             INSERT INTO tokens (user_id, torrent_id, expires_at) VALUES (77, 10, 'infinity')",
        )
        .unwrap();
    for sql in ["UPDATE users SET passkey = 'x'", "UPDATE torrents SET freeleech = 'x'"] {
        patiently("the row", || (site.database.execute(sql, &[]).unwrap() == 1).then_some(()));
    }
    site.database
        .execute("INSERT INTO users (id, passkey) VALUES (5, $1)", &[&passkey(5)])
        .unwrap();
    await_taken(&site, 5, "disk", true);
    site.tracker().await_metric("margay_tokens", &[], 1.0);
    credited(&site, 500, "");
    site.check_credit(1, [500, 0]);
    site.tracker().await_logged("cannot be read and is set aside", 2);
    // A ban counts, whatever else is wrong with the row.
    site.database.batch_execute("UPDATE users SET enabled = false WHERE id = 1").unwrap();
    await_taken(&site, 1, "disk", false);
    // A start takes all the others.
    site.database
        .batch_execute("UPDATE users SET enabled = true; UPDATE torrents SET freeleech = 'none'")
        .unwrap();
    site.stop();
    site.start();
    await_taken(&site, 5, "disk", true);
    await_taken(&site, 1, "disk", false);
}

#[test]
fn client_rules_are_taken_over() {
    let Some(mut site) = silent_site("unheard_rules") else { return };
    await_taken(&site, 1, "disk", true);
    site.database
        .batch_execute(r"INSERT INTO client_rules (prefix, allow) VALUES ('-XX', true)")
        .unwrap();
    await_taken(&site, 1, "disk", false);
    site.database.batch_execute("DELETE FROM client_rules").unwrap();
    await_taken(&site, 1, "disk", true);
}

#[test]
fn groups_are_taken_over() {
    let Some(mut site) = silent_site("unheard_groups") else { return };
    let is_refused = |site: &Site, torrent: &str, event: &str| {
        let more = format!("uploaded=0&downloaded=0&left=5&event={event}");
        let page = fetch(site.tracker().http(HOMES[0]), announce(1, torrent, 7001, &more));
        page.dictionary().find("failure reason").is_some()
    };
    assert!(!is_refused(&site, "disk", "started"));
    site.add_torrent(11, "film");
    site.bound_downloads(1, 1);
    let another_is_refused = |site: &Site| {
        let refused = is_refused(site, "film", "started");
        is_refused(site, "film", "stopped");
        refused
    };
    patiently("a bound of one download", || another_is_refused(&site).then_some(()));
    assert!(!is_refused(&site, "disk", ""), "the one that he has goes on");
    site.database.batch_execute("UPDATE user_groups SET downloads_max = 2").unwrap();
    patiently("a bound of two downloads", || (!another_is_refused(&site)).then_some(()));
}

/// A torrent that comes from another tracker has a past. It is gone on from, whether its row is heard of at
/// once, found by comparing, or there when the tracker starts.
#[test]
fn figures_that_a_site_writes_with_a_torrent_are_gone_on_from() {
    for (name, silent) in [("figures", false), ("figures_unheard", true)] {
        let Some(mut site) = Site::open(name, "--database-reconcile 1s") else { return };
        site.add_user(1);
        if silent {
            site.database.batch_execute("SET session_replication_role TO replica").unwrap();
        }
        let insert = "INSERT INTO torrents (id, info_hash, snatches, balance) \
                      VALUES ($1, $2, 7, -1000000)";
        let film = hash("film");
        site.database.execute(insert, &[&9_i64, &&film[..]]).unwrap();
        await_taken(&site, 1, "film", true);
        let says = |site: &Site, more: &str| {
            let http = site.tracker().http(HOMES[0]);
            counts(&answer(http, announce(1, "film", 7009, more)))[2]
        };
        assert_eq!(says(&site, "uploaded=0&downloaded=0&left=9000&event=started"), 7, "{name}");
        site.kill();
        site.start();
        assert_eq!(says(&site, "uploaded=50&downloaded=0&left=9000"), 7, "{name}");
        assert_eq!(says(&site, "uploaded=50&downloaded=9000&left=0&event=completed"), 8, "{name}");
        let row = |site: &mut Site, id: i64, expected: (i64, i64)| {
            let figures = "SELECT snatches, balance FROM torrents WHERE id = $1";
            patiently("the figures of the torrent", || {
                let row = site.database.query_one(figures, &[&id]).unwrap();
                ((row.get(0), row.get(1)) == expected).then_some(())
            });
        };
        row(&mut site, 9, (8, -1_000_000 + 50 - 9000));
        // Another one of this name has a past of its own.
        site.database.execute("DELETE FROM torrents WHERE id = 9", &[]).unwrap();
        await_taken(&site, 1, "film", false);
        site.database.execute(insert, &[&11_i64, &&film[..]]).unwrap();
        await_taken(&site, 1, "film", true);
        assert_eq!(says(&site, "uploaded=0&downloaded=0&left=0&event=started"), 7, "{name}");
        row(&mut site, 11, (7, -1_000_000));
        let again = super::api::Api::of(&site).done(
            "GET",
            &format!("torrents/{}", super::api::hex("film")),
            ().into(),
        );
        assert_eq!((&again["snatches"], &again["balance"]), (&7.into(), &(-1_000_000).into()));
    }
}
