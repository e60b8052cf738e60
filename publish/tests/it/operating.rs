//! What an operator of a Master meets: names that are held back, folders that are shared or vanish, keys.

use std::fs;

use crate::site::{Site, get, until};

/// What `/files/` answers.
fn served(site: &Site, path: &str) -> u16 {
    get(site.served, &format!("/files/{path}"), "").unwrap().status
}

#[test]
fn unchanged_files_of_a_folder_that_is_published_anew_are_served() {
    let site = Site::start(0);
    fs::create_dir(site.outside("show")).unwrap();
    fs::write(site.outside("show/a"), b"one").unwrap();
    fs::rename(site.outside("show"), site.watched("show")).unwrap();
    site.settles();
    assert_eq!(served(&site, "show/a"), 200);
    let first = site.published("show").unwrap();
    fs::write(site.watched("show/b"), b"two").unwrap();
    until("it is another torrent", || site.published("show").is_some_and(|hash| hash != first));
    site.settles();
    assert_eq!((served(&site, "show/a"), served(&site, "show/b")), (200, 200));
    fs::remove_dir_all(site.watched("show")).unwrap();
    until("it is withdrawn", || site.published("show").is_none());
    until("it is not known any more", || served(&site, "show/a") == 404);
}
