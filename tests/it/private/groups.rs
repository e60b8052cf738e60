//! Groups of users, and the downloads that they may have at once.

use serde_json::json;

use super::api::{Api, margay};
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

#[test]
fn groups_are_made_and_filled_over_http_and_by_command() {
    let Some(mut site) = Site::open("groups_api", "--cores 2") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    api.put_torrent(10, "disk");
    api.put_torrent(11, "tape");
    let group = json!({"id": 3, "name": "New", "downloads_max": 1});
    let said = json!({"name": "New", "downloads_max": 1});
    assert_eq!(api.done("PUT", "groups/3", said.clone()), group);
    assert_eq!(api.done("PUT", "groups/3", said.clone()), group, "twice is once");
    assert_eq!(api.done("GET", "groups", json!(null)), json!({"groups": [group]}));
    let is = |status: u16, code: &str| (status, code.to_owned());
    assert_eq!(api.refused("PUT", "groups/4", said), is(409, "group_name_taken"));
    assert_eq!(api.refused("PUT", "groups/40000", json!({"name": "x"})), is(400, "bad_request"));
    let in_group = |group: i64| json!({"group": group});
    assert_eq!(api.refused("PATCH", "users/1", in_group(4)), is(404, "group_unknown"));
    assert_eq!(api.done("PATCH", "users/1", in_group(3))["group"], 3);
    assert_eq!(api.done("PATCH", "users/1", json!({"can_leech": true}))["group"], 3);
    assert_eq!(api.done("PUT", "users/1", json!({"passkey": passkey(1)}))["group"], 3);

    // It counts at once, and outlives a kill before the database has heard of anything.
    assert_eq!(refused(&site, 1, "disk", 5, "&event=started"), None);
    assert_eq!(refused(&site, 1, "tape", 5, "&event=started").as_deref(), Some(FULL));
    site.kill();
    site.start();
    let api = Api::of(&site);
    assert_eq!(api.done("GET", "groups", json!(null)), json!({"groups": [group]}));
    assert_eq!(api.done("GET", "users/1", json!(null))["group"], 3);
    let members = "SELECT FROM users JOIN user_groups AS g ON g.id = group_id
        WHERE users.id = 1 AND g.name = 'New' AND g.downloads_max = 1";
    patiently("the user in the group", || site.database.query_opt(members, &[]).unwrap());

    let place =
        format!("--control {} --data {}", site.tracker().control(), site.data.path().display());
    let run = |args: &str| {
        let said = margay(&[], &format!("{args} {place}"));
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args}: {}", said.out);
        said.out
    };
    assert_eq!(run("group list"), "3           New  1 download at once\n");
    assert!(run("group put 3 Old --downloads-max 2").ends_with("Old  2 downloads at once\n"));
    assert!(run("group put 5 Staff").contains("any number"));
    assert!(run("user group 1 5").contains("group       5\n"));
    assert!(!run("user group 1 none").contains("group"));
    assert!(run("user group 1 3").contains("group       3\n"));
    assert!(margay(&[], &format!("user group 1 9 {place}")).err.contains("group 9 is not known"));
    assert_eq!(run("group remove 3"), "removed\n");
    assert_eq!(run("group remove 3"), "it was not there\n");
    assert_eq!(Api::of(&site).done("GET", "users/1", json!(null))["group"], json!(null));
    let gone = "SELECT FROM users WHERE id = 1 AND group_id IS NULL
        AND NOT EXISTS (SELECT FROM user_groups WHERE id = 3)";
    patiently("the end of the group", || site.database.query_opt(gone, &[]).unwrap());
    // One that comes back under the number has nobody in it.
    run("group put 3 Again --downloads-max 0");
    assert_eq!(refused(&site, 1, "tape", 5, "&event=started"), None);
    site.database.batch_execute("SELECT FROM rejected").unwrap();
    assert!(site.database.query("SELECT FROM rejected", &[]).unwrap().is_empty());
}

#[test]
fn who_says_later_what_group_a_user_is_in_wins() {
    let Some(mut site) = Site::open("groups_later", "") else { return };
    let api = Api::of(&site);
    api.put_user(1);
    for id in [3, 4] {
        api.done("PUT", &format!("groups/{id}"), json!({"name": format!("group {id}")}));
    }
    api.done("PATCH", "users/1", json!({"group": 3}));
    let of = |site: &mut Site, group: i16| {
        let query = "SELECT FROM users WHERE id = 1 AND group_id = $1";
        patiently("the group", || site.database.query_opt(query, &[&group]).unwrap());
    };
    of(&mut site, 3);
    site.database.batch_execute("UPDATE users SET group_id = 4 WHERE id = 1").unwrap();
    patiently("what SQL says", || {
        (api.done("GET", "users/1", json!(null))["group"] == 4).then_some(())
    });
    // SQL takes away the group that the user was in before.
    api.done("PATCH", "users/1", json!({"group": 3}));
    of(&mut site, 3);
    site.database.batch_execute("DELETE FROM user_groups WHERE id = 4").unwrap();
    patiently("the end of the group", || {
        let groups = api.done("GET", "groups", json!(null));
        (groups["groups"].as_array().unwrap().len() == 1).then_some(())
    });
    of(&mut site, 3);
    assert_eq!(api.done("GET", "users/1", json!(null))["group"], 3);
}

#[test]
fn a_tracker_that_was_told_of_groups_and_rules_alone_goes_on() {
    let Some(mut site) = Site::open("groups_alone", "") else { return };
    let api = Api::of(&site);
    api.done("PUT", "groups/1", json!({"name": "A"}));
    api.done("PUT", "client-rules/-MG", json!({"allow": true}));
    let rows = "SELECT FROM user_groups, client_rules";
    patiently("the rows", || site.database.query_opt(rows, &[]).unwrap());
    site.stop();
    site.start();
    let api = Api::of(&site);
    api.put_user(7);
    let row = "SELECT FROM users WHERE id = 7";
    patiently("the user's row", || site.database.query_opt(row, &[]).unwrap());
    assert_eq!(api.done("GET", "groups", json!(null))["groups"][0]["name"], "A");
}
