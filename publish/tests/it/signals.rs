//! Signals: none ends a Master or a Seeder without a word, and a stop in the middle of work is no trouble.

use std::fs;

use publish::web::status::FileState;
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
    let mut site = Site::start(1);
    // As timeout(1) sends it: to its child, and to the group that its child is in.
    let seeder = &mut site.seeders[0];
    seeder.signal(Signal::TERM);
    until("it stops", || seeder.log().contains("stopping"));
    seeder.stop();
    assert!(!seeder.log().contains("ended at once"));
}

#[test]
fn a_stop_while_it_fetches_is_no_error() {
    let mut site = Site::start(1);
    site.seeders[0].stop();
    for name in ["a", "b"] {
        fs::File::create(site.outside(name)).unwrap().set_len(SIZE).unwrap();
        fs::rename(site.outside(name), site.watched(name)).unwrap();
    }
    until("both are published", || site.list().is_some_and(|list| list.items.len() == 2));
    for _ in 0..4 {
        site.seeders[0].start_again();
        site.seeders[0].is_ready();
        until("it fetches", || {
            let files = site.seeders[0].status().map(|status| status.files).unwrap_or_default();
            files.iter().any(|file| file.state == FileState::Fetching && file.done > 0)
        });
        site.seeders[0].stop();
        let data = site.seeders[0].data(site.home.path());
        ["items", "content"].iter().for_each(|name| fs::remove_dir_all(data.join(name)).unwrap());
    }
    let log = site.seeders[0].log();
    for word in ["ERROR", "FATAL", "librqbit"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}

/// So large that it is stopped in the middle.
const SIZE: u64 = 150_000_000;
