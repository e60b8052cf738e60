//! Signals: none ends a Master or a Seeder without a word, and a stop in the middle of work is no trouble.

use std::fs;

use rustix::process::Signal;

use crate::site::{Program, Site, bytes, until};

#[test]
fn a_hangup_says_what_has_changed_and_ends_nothing() {
    let mut site = Site::start(1);
    let config = site.home.path().join("seed.toml");
    fs::write(&config, "fetches-max = 4\n").unwrap();
    site.seeders[0].stop();
    site.seeders[0].with(&["--config", config.to_str().unwrap()]);
    site.seeders[0].start_again();
    site.seeders[0].is_ready();

    let says = |program: &Program, signal, what: &str| {
        program.signal(signal);
        until(what, || program.log().contains(what));
    };
    for program in [&site.master, &site.seeders[0]] {
        says(
            program,
            Signal::HUP,
            "nothing is done at this signal, as the configuration is what it was",
        );
        says(program, Signal::USR1, "nothing is done at this signal; SIGTERM stops");
        program.signal(Signal::XFSZ);
    }
    fs::write(&config, "fetches-max = 5\n").unwrap();
    says(&site.seeders[0], Signal::HUP, "they count from the next start options=\"fetches-max\"");
    fs::write(&config, "fetches-max = [\n").unwrap();
    says(&site.seeders[0], Signal::HUP, "would not start with it");
    // Both are at work.
    site.put("a", &bytes(1, 10_000));
    site.settles();
    site.master.stop();
    site.seeders[0].stop();
}

#[test]
fn a_stop_that_is_said_twice_at_once_is_one() {
    let mut site = Site::start(0);
    // As timeout(1) sends it: to its child, and to the group that its child is in.
    site.master.signal(Signal::TERM);
    until("it stops", || site.master.log().contains("stopping"));
    site.master.stop();
    assert!(!site.master.log().contains("ended at once"));
}
