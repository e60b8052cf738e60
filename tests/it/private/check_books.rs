//! `margay check-books` beside a tracker: it says what does not hold, and nothing of what does.

use super::{Site, announce, hash};
use crate::tracker::http::{answer, escape};
use crate::tracker::{HOMES, patiently};

/// What the command says, and its status.
fn check(site: &Site) -> (String, Option<i32>) {
    let (data, url, schema) = (site.data().to_str().unwrap(), site.url(), site.schema());
    site.command(&["check-books", "--data", data, "--database", &url, "--database-schema", &schema])
}

fn seed(site: &Site, torrent: &str, uploaded: u64) {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0");
    answer(site.tracker().http(HOMES[0]), announce(1, torrent, 7001, &more));
}

fn rows(site: &mut Site) -> i64 {
    site.database.query_one("SELECT count(*) FROM peers", &[]).unwrap().get(0)
}

#[test]
fn clients_of_a_torrent_that_was_removed_are_not_missed() {
    let Some(mut site) = Site::open("check_removed", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    site.add_torrent(11, "film");
    for torrent in ["disk", "film"] {
        seed(&site, torrent, 0);
        seed(&site, torrent, 500);
    }
    site.check_credit(1, [1000, 0]);
    let (text, code) = check(&site);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("clients     2 compared, 0 differ"), "{text}");

    let removes = format!("delete_torrent&info_hash={}&reason=0", escape(&hash("film")));
    site.says(&removes);
    patiently("its rows to be gone", || (rows(&mut site) == 1).then_some(()));
    for _ in 0..2 {
        let (text, code) = check(&site);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("clients     1 compared, 0 differ"), "{text}");
        site.stop();
        site.start();
    }
    // Registered again, it begins anew.
    site.add_torrent(11, "film");
    seed(&site, "film", 0);
    seed(&site, "film", 70);
    site.check_credit(1, [1070, 0]);
    let (text, code) = check(&site);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("clients     2 compared, 0 differ"), "{text}");
}

#[test]
fn clients_that_differ_are_named() {
    let Some(mut site) = Site::open("check_named", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    seed(&site, "disk", 0);
    seed(&site, "disk", 500);
    site.check_credit(1, [500, 0]);
    for (statement, found) in [
        ("UPDATE peers SET uploaded = 400", "400 up, 0 down, reported 500 and 0"),
        ("DELETE FROM peers", "no row, reported 500 and 0"),
    ] {
        site.database.batch_execute(statement).unwrap();
        let (text, code) = check(&site);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("clients     1 compared, 1 differ"), "{text}");
        let client = text.lines().find(|line| line.starts_with("  user 1, torrent 10, ")).unwrap();
        assert!(client.ends_with(found), "{text}");
    }
}
