//! An hour of a mixed population: clients of several kinds, each with the habits that were measured of
//! it, announce to the real engine with the real intervals, in simulated time.
//!
//! `cargo run --release --example population` prints the figures of `docs/population.md`.

#[path = "../clients.rs"]
mod clients;
mod peer;
mod report;
mod tracker;
mod world;

use std::process::ExitCode;

use clients::{KINDS, Mix, UDP};
use tracker::{Answers, Site};
use world::World;

fn main() -> ExitCode {
    match worlds(std::env::args().skip(1)) {
        Ok(worlds) => {
            for world in worlds {
                let World { site, answers, clients, torrents, away, .. } = &world;
                println!(
                    "## {site:?}, answers {answers:?}: {clients} clients, {torrents} torrents, \
                     the tracker away for {away} s before\n"
                );
                println!("{}", world.run().tables());
            }
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// What to play, as the command line says: by itself the open tracker with both kinds of answers.
fn worlds(mut words: impl Iterator<Item = String>) -> Result<Vec<World>, String> {
    let (mut kinds, mut udp) = (String::from(KINDS), None);
    let (mut site, mut answers) = (Site::Open, vec![Answers::Before, Answers::After]);
    let (mut clients, mut torrents, mut hours, mut away) = (100_000, 10_000, 1, 0);
    let (mut refused, mut magnets, mut seed) = (5, 30, 1);
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("`{flag}` needs a value"))?;
        let number = || value.parse::<u32>().map_err(|_| format!("`{value}` is no number"));
        match flag.as_str() {
            "--mix" => kinds = value,
            "--udp" => udp = Some(f64::from(number()?) / 100.0),
            "--clients" => clients = number()?.max(1),
            "--torrents" => torrents = number()?.max(1),
            "--hours" => hours = number()?.max(1),
            "--away" => away = number()?.min(world::WARM_UP),
            "--refused" => refused = number()?,
            "--magnets" => magnets = number()?,
            "--seed" => seed = u64::from(number()?),
            "--site" => {
                site = match value.as_str() {
                    "open" => Site::Open,
                    "private" => Site::Private,
                    _ => return Err(format!("a site is open or private, not `{value}`")),
                }
            }
            "--answers" => {
                answers = match value.as_str() {
                    "before" => vec![Answers::Before],
                    "after" => vec![Answers::After],
                    _ => return Err(format!("answers are before or after, not `{value}`")),
                }
            }
            _ => return Err(format!("there is no `{flag}`")),
        }
    }
    // Over UDP only one kind of client can say a passkey.
    let usual = if site == Site::Private { 0.0 } else { UDP };
    let mix = Mix::parse(&kinds, udp.unwrap_or(usual))?;
    let world = |answers| World {
        site,
        answers,
        mix: mix.clone(),
        clients,
        torrents,
        hours,
        away,
        refused: f64::from(refused) / 100.0,
        magnets: f64::from(magnets) / 100.0,
        seed,
    };
    Ok(answers.into_iter().map(world).collect())
}

const USAGE: &str =
    "population [--answers before|after] [--site open|private] [--mix CLIENT=PARTS,...]
    [--udp PERCENT] [--clients N] [--torrents N] [--hours N] [--away SECONDS] [--refused PERCENT]
    [--magnets PERCENT] [--seed N]";

#[cfg(test)]
mod tests {
    use clients::{Kind, Protocol};
    use report::OfClass;

    use super::*;

    /// As many of each kind, and as many over HTTP as over UDP, so that few clients are enough.
    fn world(answers: Answers) -> World {
        World {
            site: Site::Open,
            answers,
            mix: Mix::parse(EACH, 0.5).expect("it is a mix"),
            clients: 6000,
            torrents: 600,
            hours: 1,
            away: 0,
            refused: 0.1,
            magnets: 0.3,
            seed: 1,
        }
    }

    const EACH: &str =
        "libtorrent=1,transmission=1,rtorrent=1,aria2=1,webtorrent=1,librqbit=1,ctorrent=1";

    /// The same for both kinds of trackers; a passkey is said over HTTP.
    fn sites() -> [World; 2] {
        let mix = Mix::parse(EACH, 0.0).expect("it is a mix");
        let private = World { site: Site::Private, mix, ..world(Answers::After) };
        [world(Answers::After), private]
    }

    fn goes_by_min_interval(of: &OfClass) -> bool {
        of.class.protocol == Protocol::Http
            && matches!(of.class.kind, Kind::Rtorrent | Kind::Aria2 | Kind::Librqbit)
    }

    #[test]
    fn who_goes_by_min_interval_asks_half_as_often() {
        let [before, after] = [Answers::Before, Answers::After].map(|answers| world(answers).run());
        for (before, after) in before.classes.iter().zip(&after.classes) {
            let ratio = after.regular.an_hour() / before.regular.an_hour();
            let expected = if goes_by_min_interval(before) { 0.4..0.6 } else { 0.85..1.15 };
            assert!(expected.contains(&ratio), "{:?} {ratio}", before.class);
        }
        assert!(after.requests() * 10 < before.requests() * 9);
    }

    #[test]
    fn a_quiet_refusal_costs_two_requests_an_hour_of_who_obeys() {
        let figures = world(Answers::After).run();
        for of in &figures.classes {
            let [seeding, leeching] = of.refused_most;
            match (of.class.kind, of.class.protocol) {
                // It goes by ten minutes of its own where there is no `min interval`.
                (Kind::Rtorrent, Protocol::Udp) => {
                    assert!((5..=7).contains(&seeding) && (5..=7).contains(&leeching), "{of:?}");
                }
                // It asks every two minutes as long as it has no connection.
                (Kind::Aria2, _) => {
                    assert!(seeding <= 2 && (25..=31).contains(&leeching), "{of:?}");
                }
                _ => assert!(seeding <= 2 && leeching <= 2, "{of:?}"),
            }
            assert!(seeding > 0 && leeching > 0, "{of:?}");
        }
    }

    #[test]
    fn a_failure_is_obeyed_by_one_client_of_seven() {
        let figures = world(Answers::Before).run();
        for of in &figures.classes {
            let most = of.refused_most[0].max(of.refused_most[1]);
            let enough = match (of.class.kind, of.class.protocol) {
                // The first two go by half an hour, and by the interval of the failure.
                (Kind::Webtorrent, _) | (Kind::Libtorrent, Protocol::Http) => 1..=2,
                // These have given up by and by; their first hour has had more.
                (Kind::Libtorrent, Protocol::Udp) | (Kind::Transmission, _) => 1..=4,
                (Kind::Librqbit, Protocol::Http) => 3..=5,
                (Kind::Rtorrent, _) => 11..=13,
                (Kind::Aria2, _) => 24..=31,
                (Kind::Librqbit, Protocol::Udp) => 50..=61,
                (Kind::Ctorrent, _) => 220..=241,
            };
            assert!(enough.contains(&most), "{of:?}");
        }
    }

    #[test]
    fn an_hour_is_even_and_so_is_the_second_one_after_an_outage() {
        let over_http = Mix::parse(KINDS, 0.0).expect("it is a mix");
        let quiet = World { clients: 20_000, mix: over_http, ..world(Answers::After) };
        let figures = quiet.run();
        assert!(figures.peak_over_mean(0) < 1.5, "{}", figures.peak_over_mean(0));
        let outage = World { away: 600, hours: 2, ..quiet };
        let figures = outage.run();
        assert!(figures.peak_over_mean(0) > 2.5, "{}", figures.peak_over_mean(0));
        assert!(figures.peak_over_mean(1) < 1.5, "{}", figures.peak_over_mean(1));
        let figures = World { answers: Answers::Before, ..outage }.run();
        assert!(figures.peak_over_mean(1) > 1.5, "{}", figures.peak_over_mean(1));
    }

    #[test]
    fn every_download_counts_once_of_which_a_client_has_said_that_nothing_is_left() {
        for world in sites() {
            let figures = world.run();
            for of in &figures.classes {
                let downloads = of.downloads;
                assert!(downloads.made > 0, "{of:?}");
                assert_eq!(downloads.said_once, downloads.said, "{:?} {of:?}", world.site);
                assert_eq!(
                    (downloads.twice, downloads.invented),
                    (0, 0),
                    "{:?} {of:?}",
                    world.site
                );
            }
        }
    }

    #[test]
    fn a_magnet_link_is_told_of_somebody_with_its_first_answer() {
        for world in sites() {
            let figures = world.run();
            for of in &figures.classes {
                // The only other one may be what is left of its own session before.
                let (told, begun) = (of.magnets.told, of.magnets.begun);
                assert!(told * 100 >= begun * 97, "{:?} {of:?}", world.site);
            }
        }
    }

    #[test]
    fn the_figures_are_the_same_for_the_same_seed() {
        let world = World { clients: 300, ..world(Answers::After) };
        assert_eq!(world.run().tables(), world.run().tables());
    }
}
