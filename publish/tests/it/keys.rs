//! A Master's key is lost, and Seeders are given another: nothing is lost by that, and nothing is held for ever unseen.

use std::fs;
use std::net::Ipv4Addr;

use publish::web::status::FileState;

use crate::site::{Site, bytes, publisher, seeder, until};

#[test]
fn what_a_lost_key_leaves_belongs_to_the_new_feed_or_is_shown() {
    let mut site = Site::start(1);
    ["a", "b", "c", "d"].iter().for_each(|name| site.put(name, name.repeat(50_000).as_bytes()));
    site.settles();
    let old = site.key();
    site.seeders[0].stop();
    site.master.stop();
    fs::remove_file(site.home.path().join("master/feed.key")).unwrap();
    // What the old key has signed is in the way of a new one, until the operator takes it away.
    fs::remove_file(site.home.path().join("docroot/feed.list")).unwrap();
    fs::remove_file(site.watched("d")).unwrap();
    site.master.start_again();
    site.master.is_ready();
    site.address = site.printed_address();
    let new = site.key();
    assert_ne!(new, old);
    until("the new list is without it", || site.list().is_some_and(|list| list.items.len() == 3));

    // The old address: nothing of the new key is followed, and nothing goes.
    site.seeders[0].start_again();
    site.seeders[0].says("which is not trusted here");
    site.seeders[0].stop();
    site.seeders[0] =
        seeder("seeder-1", site.home.path(), Ipv4Addr::LOCALHOST.into(), &site.address);
    let follower = &site.seeders[0];
    follower.says(&format!("trouble: 1 torrents of 48.8 KiB are held for a feed that is not followed any more, of the key {old}"));
    let held = follower.status().unwrap().files.into_iter().find(|file| file.name == "d").unwrap();
    assert_eq!(held.state, FileState::Seeding);
    assert_eq!(held.reason.as_deref(), Some("it is held for a feed that is not followed any more"));

    // What the new feed withdraws goes as ever, and nothing else does.
    fs::remove_file(site.watched("c")).unwrap();
    until("what was withdrawn goes", || follower.state("c").is_none());
    assert_eq!(follower.state("d"), Some(FileState::Seeding));

    let control = follower.control.to_string();
    let refused = publisher(&["seed", "drop", &new, "--control", &control]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("its Master decides what goes"));
    let said = follower.order(&["seed", "drop", &old]);
    assert!(said.contains("1 torrents are being removed"), "{said}");
    site.settles();
    site.seeders[0].says("no trouble");
}

#[test]
fn what_a_rotation_led_to_takes_over_all_that_is_held() {
    let mut site = Site::start(1);
    ["a", "b"].iter().for_each(|name| site.put(name, name.repeat(50_000).as_bytes()));
    site.settles();
    let (data, before) = (site.home.path().join("master").display().to_string(), site.key());
    let mut generation = site.list().unwrap().generation;
    for step in ["--next", "--switch"] {
        publisher(&["publish", "key", step, "--data", &data]);
        site.master.stop();
        site.master.start_again();
        site.master.is_ready();
        site.address = site.printed_address();
        until("the Seeder has read the next list", || {
            let feed = site.seeders[0].status().unwrap().feeds.swap_remove(0);
            feed.generation > generation && feed.trouble.is_none()
        });
        generation = site.seeders[0].status().unwrap().feeds[0].generation;
    }
    assert_ne!(site.key(), before);
    // Withdrawn while nobody of the new address was there.
    site.seeders[0].stop();
    fs::remove_file(site.watched("b")).unwrap();
    until("the list is without it", || site.list().is_some_and(|list| list.items.len() == 1));
    site.seeders[0] =
        seeder("seeder-1", site.home.path(), Ipv4Addr::LOCALHOST.into(), &site.address);
    site.settles();
    site.seeders[0].says("no trouble");
}

#[test]
fn the_last_good_list_is_known_while_the_master_is_away() {
    let mut site = Site::start(1);
    site.put("a", &bytes(1, 50_000));
    site.put("b", &bytes(2, 50_000));
    site.settles();
    let feed = |site: &Site| site.seeders[0].status().unwrap().feeds.swap_remove(0);
    let (list, said) = (site.list().unwrap(), feed(&site));
    assert_eq!((said.epoch, said.generation, said.items), (list.epoch, list.generation, 2));
    site.master.stop();
    site.seeders[0].stop();
    site.seeders[0].start_again();
    site.seeders[0].says("does not answer");
    let now = feed(&site);
    assert_eq!((now.epoch, now.generation, now.items), (said.epoch, said.generation, 2));
    let text = site.seeders[0].order(&["seed", "status"]);
    assert!(
        text.contains(&format!("epoch {}, list {}, 2 torrents", said.epoch, said.generation)),
        "{text}"
    );
}
