//! The rules as stories, and against a model that keeps everything and looks back.

use std::collections::BTreeSet;

use super::super::item::Item;
use super::*;

/// A torrent is a letter, its name, and which of its contents it is: "a" is "a0".
fn torrent(text: &str) -> (InfoHash, String) {
    let mut hash = [0; 20];
    let (name, content) = text.split_at(1);
    hash[0] = name.as_bytes()[0];
    hash[1] = content.parse().unwrap_or(0);
    (InfoHash(hash), name.to_owned())
}

fn item(text: &str) -> Item {
    let (info_hash, name) = torrent(text);
    Item {
        info_hash,
        title: name.clone(),
        name,
        size: 1,
        files: 1,
        published: 0,
        torrent_url: String::new(),
        torrent_length: 1,
        torrent_sha256: [0; 32],
    }
}

/// A Seeder that holds what is written, and a clock.
struct Story {
    removals: Removals,
    now: u64,
    generation: u64,
    held: Vec<String>,
}

impl Story {
    fn of(held: &str) -> Self {
        let removals = Removals::new(Rules::default());
        Self {
            removals,
            now: 1000,
            generation: 1,
            held: held.split(' ').map(str::to_owned).collect(),
        }
    }

    /// A minute later a list comes with what is written, "!" for the flag. What is removed is held no more; "a1~" is held
    /// in part.
    fn poll(&mut self, listed: &str) -> String {
        self.now += 60;
        let list = List {
            generation: self.generation,
            withdraw: listed.contains('!'),
            items: listed.split(' ').filter(|word| !["", "!"].contains(word)).map(item).collect(),
            ..List::default()
        };
        self.look(Ok(&list))
    }

    fn look(&mut self, list: Result<&List, &FeedError>) -> String {
        let names: Vec<(InfoHash, String, bool)> = self
            .held
            .iter()
            .map(|text| {
                let (hash, name) = torrent(text.trim_end_matches('~'));
                (hash, name, !text.ends_with('~'))
            })
            .collect();
        let held: Vec<Held<'_>> = names
            .iter()
            .map(|(info_hash, name, complete)| Held {
                info_hash: *info_hash,
                name,
                complete: *complete,
            })
            .collect();
        let removed = self.removals.look(list, &held, self.now);
        let (gone, kept): (Vec<_>, Vec<_>) = self
            .held
            .drain(..)
            .partition(|text| removed.contains(&torrent(text.trim_end_matches('~')).0));
        self.held = kept;
        gone.join(" ")
    }

    /// The same list, until something is removed or an hour is over: "a at 5".
    fn polls(&mut self, listed: &str) -> String {
        for poll in 0..60 {
            let gone = self.poll(listed);
            if !gone.is_empty() {
                return format!("{gone} at {poll}");
            }
        }
        "nothing".to_owned()
    }
}

#[test]
fn one_that_vanished_goes_after_five_minutes() {
    let mut story = Story::of("a b");
    assert_eq!(story.polls("a"), "b at 5");
    assert_eq!(story.polls("a"), "nothing");
    assert_eq!(story.removals.state(), State::Nothing);
}

#[test]
fn two_polls_are_needed_however_far_apart() {
    let mut story = Story::of("a b");
    assert_eq!(story.poll("a"), "");
    story.now += 86_400;
    assert_eq!(story.poll("a"), "b");
    let mut story = Story::of("a b");
    story.now += 86_400;
    assert_eq!(story.poll("a"), "", "time alone is not enough");
}

#[test]
fn one_that_returns_is_kept_and_its_time_begins_anew() {
    let mut story = Story::of("a b");
    for _ in 0..5 {
        assert_eq!(story.poll("a"), "");
    }
    assert_eq!(story.poll("a b"), "");
    assert_eq!(story.polls("a"), "b at 5");
}

#[test]
fn what_was_refused_removes_nothing() {
    let mut story = Story::of("a b");
    assert_eq!(story.poll("a"), "");
    for _ in 0..60 {
        story.now += 60;
        assert_eq!(story.look(Err(&FeedError::Signature)), "");
    }
    assert_eq!(story.removals.state(), State::Waiting { missing: 1, replaced: 0 });
    assert_eq!(story.poll("a"), "b");
}

#[test]
fn an_older_list_is_none() {
    let mut story = Story::of("a b");
    story.generation = 9;
    assert_eq!(story.poll("a b"), "");
    story.generation = 8;
    assert_eq!(story.polls("a"), "nothing");
    story.generation = 10;
    assert_eq!(story.polls("a"), "b at 5");
}

#[test]
fn much_that_vanishes_at_once_is_held_back() {
    let mut story = Story::of("a b c d e f g h i j");
    assert_eq!(story.polls("a b c d e f"), "nothing");
    assert_eq!(
        story.removals.state().to_string().split(',').next(),
        Some("held back: 4 of 10 items vanished")
    );
    assert_eq!(story.poll("a b c d e f !"), "g h i j", "it was meant");
    let mut story = Story::of("a b c d e f g h i j");
    assert_eq!(story.polls("a b c d e f g"), "h i j at 5", "few, and 30 %");
    let mut story = Story::of("a b c d");
    assert_eq!(story.polls("a"), "b c d at 5", "few of few");
}

#[test]
fn enough_that_returns_ends_the_holding_back() {
    let mut story = Story::of("a b c d e f g h i j");
    assert_eq!(story.polls("a b c d e f"), "nothing");
    assert_eq!(story.poll("a b c d e f g"), "h i j");
    let mut story = Story::of("a b c d e f g h i j");
    assert_eq!(story.polls("a b c"), "nothing");
    assert_eq!(story.polls("a b c d e f g h i j"), "nothing");
    assert_eq!(story.removals.state(), State::Nothing);
}

#[test]
fn an_empty_list_needs_the_flag_however_little_is_held() {
    let mut story = Story::of("a");
    assert_eq!(story.polls(""), "nothing");
    assert_eq!(story.removals.state(), State::HeldBack { vanished: 1, held: 1 });
    assert_eq!(story.poll("!"), "a");
    let mut story = Story::of("a b c d e f");
    assert_eq!(story.polls("!"), "a b c d e f at 5");
}

#[test]
fn the_flag_holds_for_what_was_missing_with_it() {
    let mut story = Story::of("a b c d e f g h");
    assert_eq!(story.poll("a !"), "");
    assert_eq!(story.polls("a"), "b c d e f g h at 4", "the next list needs no flag");
    let mut story = Story::of("a b c d e f g h");
    assert_eq!(story.poll("a b c d e f g !"), "");
    assert_eq!(story.polls("a b"), "nothing", "and for nothing else");
}

#[test]
fn what_is_published_anew_replaces_when_it_is_complete() {
    let mut story = Story::of("a b a1~");
    assert_eq!(story.polls("a1 b"), "nothing");
    assert_eq!(story.removals.state(), State::Waiting { missing: 1, replaced: 1 });
    story.held = ["a", "b", "a1"].map(str::to_owned).to_vec();
    assert_eq!(story.poll("a1 b"), "a");
    // All at once, and no flag: nothing vanished.
    let mut story = Story::of("a b c d e a1 b1 c1 d1 e1");
    assert_eq!(story.polls("a1 b1 c1 d1 e1"), "a b c d e at 5");
    // What replaced it vanished as well.
    let mut story = Story::of("a b a1~");
    assert_eq!(story.polls("b"), "a a1~ at 5");
}

/// Every good list and what was held then; judges by looking back over all of it.
#[derive(Default)]
struct Model {
    polls: Vec<(u64, List, BTreeSet<InfoHash>)>,
}

impl Model {
    fn look(
        &mut self,
        list: &List,
        held: &[Held<'_>],
        now: u64,
        rules: Rules,
    ) -> (Vec<InfoHash>, bool) {
        self.polls.push((now, list.clone(), held.iter().map(|held| held.info_hash).collect()));
        let lists = |list: &List, hash| list.items.iter().any(|item| item.info_hash == hash);
        let absence = |hash: InfoHash| -> Vec<&(u64, List, BTreeSet<InfoHash>)> {
            self.polls
                .iter()
                .rev()
                .take_while(|(_, list, held)| held.contains(&hash) && !lists(list, hash))
                .collect()
        };
        let heir = |held: &Held<'_>| {
            list.items.iter().find(|item| item.name == held.name).map(|item| item.info_hash)
        };
        let vanished = held
            .iter()
            .filter(|held| !lists(list, held.info_hash) && heir(held).is_none())
            .filter(|held| !absence(held.info_hash).iter().any(|(_, list, _)| list.withdraw))
            .count();
        let share = 100.0 * vanished as f64 / held.len() as f64;
        let back = vanished > 0
            && (list.items.is_empty() || vanished > rules.few && share > rules.percent as f64);
        let due = held.iter().filter(|held| {
            let absent = absence(held.info_hash);
            !back
                && absent.len() >= rules.polls as usize
                && absent.last().is_some_and(|(since, ..)| now - since >= rules.seconds)
        });
        let removed = due
            .filter(|old| {
                heir(old)
                    .is_none_or(|heir| held.iter().any(|new| new.info_hash == heir && new.complete))
            })
            .map(|held| held.info_hash)
            .collect();
        (removed, back)
    }
}

#[test]
fn what_is_removed_is_what_the_model_removes() {
    let (mut removals_made, mut held_back) = (0, 0);
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let rules = Rules {
            polls: random.u32(1..4),
            seconds: random.u64(0..300),
            percent: random.u64(0..101),
            few: random.usize(0..4),
        };
        let (mut removals, mut model) = (Removals::new(rules), Model::default());
        let names = random.usize(1..13);
        // What is held, and what of it is complete; what the Master publishes.
        let mut held: Vec<(String, bool)> = Vec::new();
        let mut published: Vec<String> = Vec::new();
        let (mut now, mut generation) = (0, 10);
        for step in 0..60 {
            now += random.u64(1..120);
            // The Master: mostly nothing, sometimes one file, seldom everything.
            for name in 0..names {
                let name = char::from(b'a' + name as u8).to_string();
                if random.u8(0..100) < 8 {
                    published.retain(|text| !text.starts_with(&name));
                    if random.u8(0..100) < 60 {
                        published.push(format!("{name}{}", random.u8(0..3)));
                    }
                    generation += 1;
                }
            }
            if random.u8(0..100) < 3 {
                published.clear();
                generation += 1;
            }
            let list = List {
                generation,
                withdraw: random.u8(0..100) < 10,
                items: published.iter().map(|text| item(text)).collect(),
                ..List::default()
            };
            // The Seeder: fetches, completes, loses.
            for text in &published {
                if random.bool() && !held.iter().any(|(held, _)| held == text) {
                    held.push((text.clone(), false));
                }
            }
            held.iter_mut().for_each(|(_, complete)| *complete |= random.u8(0..100) < 40);
            held.retain(|_| random.u8(0..100) != 0);

            let names: Vec<_> =
                held.iter().map(|(text, complete)| (torrent(text), *complete)).collect();
            let given: Vec<Held<'_>> = names
                .iter()
                .map(|((info_hash, name), complete)| Held {
                    info_hash: *info_hash,
                    name,
                    complete: *complete,
                })
                .collect();
            let replay = format!("seed {seed}, step {step}");
            match random.u8(0..100) {
                0..10 => {
                    assert_eq!(removals.look(Err(&FeedError::Empty), &given, now), [], "{replay}");
                    continue;
                }
                10..20 if removals.last.1 > 0 => {
                    let old = List { generation: removals.last.1 - 1, ..List::default() };
                    assert_eq!(removals.look(Ok(&old), &given, now), [], "{replay}");
                    continue;
                }
                _ => {}
            }
            let removed = removals.look(Ok(&list), &given, now);
            let (expected, back) = model.look(&list, &given, now, rules);
            assert_eq!(removed, expected, "{replay}");
            assert_eq!(matches!(removals.state(), State::HeldBack { .. }), back, "{replay}");
            assert!(
                removed.iter().all(|hash| !list.items.iter().any(|item| item.info_hash == *hash)),
                "{replay}"
            );
            removals_made += removed.len();
            held_back += usize::from(back);
            // Sometimes it cannot be removed yet.
            if random.u8(0..100) < 80 {
                held.retain(|(text, _)| !removed.contains(&torrent(text).0));
            }
        }
    }
    assert!(removals_made > 10_000 && held_back > 1_000, "{removals_made} {held_back}");
}
