//! What somebody does by hand to a Seeder that runs: it is noticed without a peer that asks, and mended or said.

use crate::site::{Site, publisher, until};

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
