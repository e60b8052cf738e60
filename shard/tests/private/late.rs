//! Announces that come late, twice, from elsewhere, or with amounts that cannot be: stories told through the
//! simulator, one rule each.

use shard::private::{Facts, Freeleech};
use shard::{PeerState, Seconds};

use crate::stories::Story;

impl Story {
    /// What an announce credits; nothing where it makes no fact.
    fn credit(&mut self, who: &str, words: &str) -> (u64, u64) {
        let fact = self.announce(who, words).fact;
        fact.map_or((0, 0), |fact| (fact.credited_up, fact.credited_down))
    }

    /// What a client is credited for all of this; `+30` advances the clock.
    fn total(&mut self, who: &str, said: &[&str]) -> (u64, u64) {
        let mut total = (0, 0);
        for words in said {
            if let Some(seconds) = words.strip_prefix('+') {
                self.advance(Seconds(seconds.parse().unwrap()));
                continue;
            }
            let (up, down) = self.credit(who, words);
            total = (total.0 + up, total.1 + down);
        }
        total
    }
}

fn check(said: &[&str], up: u64) {
    let mut story = Story::new();
    assert_eq!(story.total("ann", said).0, up, "{said:?}");
}

#[test]
fn d5_a_late_announce_credits_nothing_twice() {
    check(&["started up=0", "+1800", "up=200", "up=150", "up=300"], 300);
    check(&["started up=0", "+1800", "up=200", "+30", "up=150", "+1", "up=300"], 300);
    check(
        &["started up=0", "+1", "up=200", "+1", "up=350", "+5", "up=100", "up=210", "up=400"],
        400,
    );
    check(&["started up=0", "+1800", "up=200", "up=0", "up=300"], 300);
    check(&["started up=100", "+1800", "up=200", "up=150", "up=150", "up=200", "up=300"], 200);
}

#[test]
fn d5_counters_that_went_down_for_longer_are_a_new_session() {
    check(&["started up=0", "+1800", "up=200", "+31", "up=150", "up=300"], 200 + 150);
    check(&["started up=100", "+1800", "up=200", "up=99", "up=300"], 100 + 201);
    check(&["started up=0 down=50", "+1800", "up=200 down=60", "up=150 down=10"], 200);
}

#[test]
fn d6_a_late_announce_changes_nothing_in_the_swarm() {
    let mut story = Story::new();
    story.announce("bob", "started left=100");
    story.announce("ann", "started left=100");
    story.advance(Seconds(1800));
    assert!(story.announce("ann", "completed down=100 left=0").snatched);
    let outcome = story.announce("ann", "down=60 left=40");
    assert!(outcome.late && outcome.fact.is_none() && !outcome.once);
    assert_eq!((outcome.was, outcome.is), (Some(PeerState::Seeder), Some(PeerState::Seeder)));
    story.check_counts(1, 1, 1);
    story.set_facts(Facts::All);
    let fact = story.announce("ann", "down=60 left=40").fact.unwrap();
    let said = fact.said.map(|said| said.downloaded);
    assert_eq!((fact.reported.downloaded, said), (100, Some(60)));
    story.set_facts(Facts::Changed);
    let outcome = story.announce("ann", "down=60 left=40 noleech full");
    assert_eq!(outcome.refusal(), None, "it is a seeder, whatever it said before");
    story.check_counts(1, 1, 1);
    let told = story.told("ann", "down=60 left=40");
    assert_eq!(told.len(), 1, "it is told whom a seeder is told");
    // It is there, and its silence counts from here.
    story.advance(Seconds(20));
    story.announce("ann", "down=60 left=40");
    story.advance(Seconds(3590));
    story.sim.expire(10);
    story.check_counts(1, 0, 1);
}

#[test]
fn d6_a_late_completed_is_counted_once() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    story.advance(Seconds(1800));
    story.announce("ann", "up=10 down=100 left=100");
    let outcome = story.announce("ann", "completed up=5 down=100 left=0");
    assert!(outcome.late && outcome.snatched && outcome.once);
    assert_eq!(outcome.is, Some(PeerState::Seeder), "it has everything, and that stays true");
    assert!(!story.announce("ann", "completed up=5 down=100 left=0").snatched);
    story.check_counts(1, 0, 1);
    assert_eq!(story.credit("ann", "up=30 down=100 left=0"), (20, 0));
}

#[test]
fn d5_a_datagram_that_comes_twice_counts_once() {
    check(
        &[
            "started up=0",
            "started up=0",
            "+1800",
            "up=9",
            "up=9",
            "stopped up=12",
            "stopped up=12",
        ],
        12,
    );
    let mut story = Story::new();
    story.announce("ann", "started up=0");
    story.advance(Seconds(60));
    story.announce("ann", "stopped up=5");
    let again = story.announce("ann", "stopped up=5");
    assert!(again.late && again.fact.is_none() && !again.once);
    // More was moved until it had said so over its other address.
    assert_eq!(story.credit("ann", "stopped up=8 at=[2a00::1]:9"), (3, 0));
    assert_eq!(story.credit("ann", "stopped up=8"), (0, 0));
    story.check_counts(0, 0, 0);
}

#[test]
fn d7_started_said_again_credits_nothing_twice() {
    check(&["started up=0", "+5", "up=500", "+2", "started up=0", "+1800", "up=600"], 600);
    check(
        &[
            "started up=0",
            "+5",
            "started up=40",
            "+5",
            "up=500",
            "started up=0",
            "started up=40",
            "+1800",
            "up=600",
        ],
        600,
    );
    // Said until it is answered, and over each family when that gets through.
    check(&["started up=0", "started up=500", "up=800"], 800);
    check(&["started up=0", "+5", "started up=500", "+5", "up=800"], 800);
    check(&["started up=0", "+9", "started up=500 at=[2a00::1]:9", "+1800", "up=800"], 800);
    check(&["started up=0", "+1800", "up=500", "+1800", "started up=600", "up=800"], 800);
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    story.announce("ann", "completed down=100 left=0");
    let outcome = story.announce("ann", "started left=100");
    assert_eq!(outcome.is, Some(PeerState::Seeder), "an older word does not make it a leecher");
    assert!(outcome.once, "it is answered when it is on the disk, like the first");
    story.check_counts(1, 0, 1);
}

#[test]
fn d7_who_goes_on_from_a_started_has_begun_anew() {
    // Within moments after it began: nobody can know, until it says more.
    check(
        &["started up=0", "+5", "up=500", "+2", "started up=0", "+60", "up=300", "+60", "up=700"],
        500 + 700,
    );
    // Long after: at once.
    check(&["started up=0", "+1800", "up=500", "+16", "started up=0", "up=700"], 500 + 700);
    // After it stopped: at once, or when it moves on.
    check(
        &["started up=0", "+60", "stopped up=500", "+11", "started up=0", "+60", "up=700"],
        500 + 700,
    );
    check(
        &["started up=0", "+6", "stopped up=500", "+5", "started up=0", "+60", "up=700"],
        500 + 700,
    );
}

#[test]
fn d6_who_has_left_is_not_brought_back_by_what_he_said_before() {
    let mut story = Story::new();
    let said = [
        "started up=0",
        "+1800",
        "up=100",
        "+3",
        "stopped up=138",
        "up=120",
        "up=138",
        "completed up=100 left=0",
    ];
    assert_eq!(story.total("ann", &said), (138, 0));
    story.check_counts(0, 0, 0);
    assert_eq!(story.told("bob", "left=100"), []);
    assert_eq!(story.total("ann", &["+1", "stopped up=138", "up=130"]), (0, 0));
    story.check_counts(0, 1, 0);
    // Who begins again is there, also within moments.
    assert_eq!(story.total("ann", &["started up=0", "+60", "up=50"]), (50, 0));
    story.check_counts(0, 2, 0);
    // A copy of the first `stopped` does not take it out.
    let mut story = Story::new();
    let said =
        ["started up=0", "+60", "stopped up=500", "+12", "started up=0", "+1", "stopped up=500"];
    assert_eq!(story.total("ann", &said), (500, 0));
    story.check_counts(0, 1, 0);
    assert_eq!(story.total("ann", &["+1800", "up=700"]), (700, 0));
}

#[test]
fn d6_a_late_stopped_does_not_take_out_who_goes_on() {
    let mut story = Story::new();
    assert_eq!(story.total("ann", &["started up=0", "+1800", "up=200"]), (200, 0));
    let outcome = story.announce("ann", "stopped up=150");
    assert!(outcome.late && outcome.is.is_some() && outcome.fact.is_none());
    assert_eq!(story.told("ann", "stopped up=160"), [], "who says that it leaves is told nobody");
    assert_eq!(story.credit("ann", "up=300"), (100, 0));
    story.check_counts(0, 1, 0);
    // Some clients say zeros when they leave.
    assert_eq!(story.credit("ann", "stopped up=0"), (0, 0));
    story.check_counts(0, 0, 0);
    assert_eq!(story.credit("ann", "up=300"), (0, 0));
    story.check_counts(0, 0, 0);
    check(&["started up=0", "+1800", "up=200", "+1800", "stopped up=0", "+5", "up=200"], 200);
}

#[test]
fn d6_who_leaves_over_one_family_is_there_over_the_other() {
    let mut story = Story::new();
    story.announce("bob", "started left=100");
    story.announce("ann", "started left=100");
    story.announce("ann", "started left=100 at=[2a00::1]:9");
    story.advance(Seconds(1800));
    let outcome = story.announce("ann", "stopped up=7 left=100");
    assert_eq!((outcome.is, outcome.once), (Some(PeerState::Leecher), true));
    let fact = outcome.fact.unwrap();
    assert!(fact.active && fact.endpoints.v4.is_none() && fact.endpoints.v6.is_some());
    assert_eq!(fact.credited_up, 7);
    story.check_counts(0, 2, 0);
    // What it goes on to move counts, and the last one takes it out.
    assert_eq!(story.credit("ann", "up=10 left=100 at=[2a00::1]:9"), (3, 0));
    assert_eq!(story.credit("ann", "stopped up=12 left=100 at=[2a00::1]:9"), (2, 0));
    story.check_counts(0, 1, 0);
}

#[test]
fn d8_two_families_with_counters_of_their_own_count_once() {
    let (v4, v6) = ("at=45.1.1.1:9", "at=[2a00::1]:9");
    let mut story = Story::new();
    let said = [
        "started up=0 4",
        "started up=0 6",
        "+1800",
        "up=100 4",
        "up=98 6",
        "+1800",
        "up=240 6",
        "up=241 4",
        "+1800",
        "up=300 4",
        "up=300 6",
        "+5",
        "stopped up=310 6",
        "stopped up=309 4",
    ];
    let said: Vec<String> = said
        .map(|words| words.replace(" 4", &format!(" {v4}")).replace(" 6", &format!(" {v6}")))
        .into();
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    assert_eq!(story.total("ann", &said), (310, 0));
    story.check_counts(0, 0, 0);
}

#[test]
fn d8_a_copied_session_is_credited_beside_the_first() {
    let mut story = Story::new();
    let said = [
        "started up=0",
        "+1800",
        "up=1000000000",
        "+60",
        "started up=0 at=45.9.9.9:1",
        "+60",
        "up=1000000005",
        "+60",
        "up=7 at=45.9.9.9:1",
        "+60",
        "up=1000000006",
        "+60",
        "up=9 at=45.9.9.9:1",
    ];
    assert_eq!(story.total("ann", &said), (1_000_000_006 + 9, 0));
    story.check_counts(0, 1, 0);
    story.sim.expire(10);
}

#[test]
fn d6_what_was_said_before_leaving_is_over_when_the_clock_is_put_back() {
    let mut story = Story::new();
    assert_eq!(
        story.total("ann", &["started up=0", "+1800", "up=100", "stopped up=100"]),
        (100, 0)
    );
    // Back after the window, with other counters; then gone in silence.
    let left = story.sim.now;
    assert_eq!(story.total("ann", &["+60", "up=5000"]), (0, 0));
    story.advance(Seconds(20_000));
    story.sim.expire(10);
    // The moment at which he had left is near again: he is new all the same.
    story.sim.now = Seconds(left.0 + 10);
    assert_eq!(story.credit("ann", "up=6000"), (0, 0));
    assert_eq!(story.credit("ann", "up=6001"), (1, 0));
}

#[test]
fn d9_amounts_that_cannot_be_are_credited_to_nobody() {
    let mut story = Story::new();
    story.register("film", Freeleech::None, u16::MAX);
    story.announce("ann", "started up=0");
    story.advance(Seconds(1800));
    let outcome = story.announce("ann", "up=9223372036854775807");
    assert!(outcome.impossible && outcome.once);
    assert_eq!(outcome.fact.map(|fact| (fact.credited_up, fact.moved.uploaded)), Some((0, 0)));
    // It counts from there; and from what it says when it has come to its senses.
    assert_eq!(story.credit("ann", "up=9223372036854775807"), (0, 0));
    assert_eq!(story.credit("ann", "up=18446744073709551615"), (0, 0), "as much as can be counted");
    assert_eq!(story.total("ann", &["+60", "up=100", "up=200"]), (100 * 65_535 / 100, 0));
    assert_eq!(story.credit("ann", "up=200 down=9000000000000000000"), (0, 0));
    assert_eq!(story.sim.model.torrents.values().next().unwrap().balance, 100);
    // As much as a line can carry in an hour and the time between is credited.
    story.announce("bob", "started up=0 down=0");
    story.advance(Seconds(1000));
    let most = 12_500_000_000 * 4600_u64;
    story.register("film", Freeleech::None, 100);
    assert_eq!(story.credit("bob", &format!("up={most} down={most}")), (most, most));
    assert!(story.announce("bob", &format!("up={} down={most}", 2 * most)).impossible);
}

#[test]
fn d5_the_baseline_after_a_crash_is_that_of_the_newer_announce() {
    let mut story = Story::new();
    assert_eq!(story.total("ann", &["started up=0", "+1800", "up=200", "up=150"]), (200, 0));
    story.sim.restart();
    assert_eq!(story.credit("ann", "up=300"), (100, 0), "the baseline is that of the newer one");
}
