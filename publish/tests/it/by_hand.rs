//! What somebody does by hand to a Seeder that runs: it is noticed without a peer that asks, and mended or said.

use std::fs;
use std::path::Path;

use publish::web::status::FileState;

use crate::site::{Site, bytes, publisher, tree, until};

#[test]
fn what_is_removed_from_a_seeder_by_hand_comes_back() {
    let mut site = Site::start(1);
    site.put("a", &bytes(1, 100_000));
    site.put("b", &bytes(2, 100_000));
    site.settles();
    let data = site.seeders[0].data(site.home.path());
    let says = |site: &Site, what: &str| until(what, || site.seeders[0].log().contains(what));
    let fetches = |site: &Site| site.seeders[0].log().matches("fetching name").count();

    let hash = site.published("a").unwrap();
    // At once: it is written anew while it is removed, else.
    fs::rename(site.content(0, &hash), site.outside("content")).unwrap();
    says(&site, "its files are not what they were");
    site.settles();
    assert_eq!(fetches(&site), 3);

    // Without what is known of it, a start would throw the content away.
    let known = tree(&data.join("items"));
    fs::rename(data.join("items"), site.outside("items")).unwrap();
    until("it is written anew", || tree(&data.join("items")) == known);
    site.seeders[0].stop();
    site.seeders[0].start_again();
    site.seeders[0].is_ready();
    site.settles();
    assert_eq!(fetches(&site), 3);

    // As when its disk is unmounted.
    let (content, aside) = (data.join("content"), data.join("aside"));
    fs::rename(&content, &aside).unwrap();
    let is_lost = |site: &Site, empty: &Path| {
        site.seeders[0].says("this folder is gone, or another one is in its place");
        assert_eq!(site.seeders[0].state("a"), Some(FileState::Waiting));
        site.tracker.has_seeders(&hash, 1);
        assert!(tree(empty).is_empty());
    };
    is_lost(&site, &content);
    fs::create_dir(&content).unwrap();
    fs::remove_file(site.watched("b")).unwrap();
    site.put("c", &bytes(3, 100_000));
    until("the Seeder has read it", || {
        let status = site.seeders[0].status().unwrap();
        status.feeds[0].generation >= site.list().unwrap().generation
    });
    is_lost(&site, &content);
    fs::remove_dir(&content).unwrap();
    fs::rename(&aside, &content).unwrap();
    site.settles();
    site.tracker.has_seeders(&hash, 2);
    site.seeders[0].says("no trouble");
    assert_eq!(fetches(&site), 4, "only the new one is fetched");
}

#[test]
fn a_seeder_that_is_started_again_is_the_same_to_its_master() {
    let mut site = Site::start(1);
    let seen = |site: &Site| site.master.status().unwrap().seeders;
    until("it is seen", || !seen(&site).is_empty());
    site.seeders[0].stop();
    let before = seen(&site);
    site.seeders[0].start_again();
    site.seeders[0].is_ready();
    until("it is seen again", || seen(&site).iter().any(|seeder| seeder.at > before[0].at + 1));
    let now = seen(&site);
    assert!(now.len() == 1 && now[0].name == before[0].name, "{before:?} {now:?}");
}

#[test]
fn a_port_that_is_taken_is_named_with_its_option() {
    let site = Site::start(1);
    let other = site.home.path().join("other").display().to_string();
    let control = site.seeders[0].control.to_string();
    let refused = |options: &[&str]| {
        let args = ["seed", "run", "--feed", &site.address, "--data", &other].into_iter();
        let said = publisher(&args.chain(options.iter().copied()).collect::<Vec<_>>());
        assert_eq!(said.status.code(), Some(1));
        String::from_utf8(said.stderr).unwrap()
    };
    let said = refused(&["--control", &control, "--listen", "127.0.0.1:0"]);
    assert!(
        said.contains(&format!("cannot listen on {control} (option control); it runs already")),
        "{said}"
    );
    let said = refused(&["--control", "none", "--listen", &control]);
    assert!(
        said.contains(&format!("cannot listen for peers on {control} (option listen); it runs")),
        "{said}"
    );
}
