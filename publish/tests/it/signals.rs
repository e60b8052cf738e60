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
    let mut site = Site::start(0);
    // As timeout(1) sends it: to its child, and to the group that its child is in.
    site.master.signal(Signal::TERM);
    until("it stops", || site.master.log().contains("stopping"));
    site.master.stop();
    assert!(!site.master.log().contains("ended at once"));
}

#[test]
fn a_stop_while_it_fetches_is_no_error() {
    let mut site = Site::start(1);
    site.seeders[0].stop();
    site.seeders[0].with(&["--download-rate", "2MiB"]);
    site.put("a", &bytes(1, 40_000_000));
    site.put("b", &bytes(2, 40_000_000));
    until("both are published", || site.list().is_some_and(|list| list.items.len() == 2));
    for _ in 0..3 {
        site.seeders[0].start_again();
        site.seeders[0].is_ready();
        until("it fetches", || {
            let files = site.seeders[0].status().map(|status| status.files).unwrap_or_default();
            files.iter().filter(|file| file.state == FileState::Fetching && file.peers > 0).count()
                == 2
        });
        let before = site.seeders[0].status().unwrap().progress.unwrap().0;
        until("it gets on", || {
            let progress = site.seeders[0].status().and_then(|status| status.progress);
            progress.is_some_and(|(done, _)| done > before)
        });
        site.seeders[0].stop();
    }
    let log = site.seeders[0].log();
    for word in ["ERROR", "FATAL", "librqbit"] {
        let lines: Vec<&str> = log.lines().filter(|line| line.contains(word)).collect();
        assert!(lines.is_empty(), "{lines:#?}");
    }
}
