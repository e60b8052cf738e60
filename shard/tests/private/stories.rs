//! Short stories, told through the simulator: one rule each.

use std::net::SocketAddr;

use shard::private::{
    Announce, Bookmark, Counters, Facts, Freeleech, Limits, Outcome, PeerId, Refusal, Terms,
    TorrentId, User, UserId,
};
use shard::{Event, Families, InfoHash, PeerState, Seconds};

use crate::check::told;
use crate::sim::Sim;

const TIMEOUT: Seconds = Seconds(3600);
const LIMITS: Limits = Limits {
    torrents_max: 10,
    peers_max: 10_000,
    clients_max: 0,
    peer_timeout: TIMEOUT,
    interval: Seconds(1800),
    interval_max: Seconds(7200),
    count_unknown: false,
    deletions_max: 10,
    facts: Facts::Changed,
};

/// Users, clients and torrents by name; what they do, in words.
pub(crate) struct Story {
    pub(crate) sim: Sim,
}

impl Story {
    pub(crate) fn new() -> Self {
        Self::with(LIMITS)
    }

    /// With one torrent, `film`, on which everything counts.
    fn with(limits: Limits) -> Self {
        let mut story = Self { sim: Sim::new(7, limits) };
        story.register("film", Freeleech::None, 100);
        story
    }

    /// Which facts are wanted from now on.
    pub(crate) fn set_facts(&mut self, facts: Facts) {
        let limits = Limits { facts, ..LIMITS };
        self.sim.engine.set_limits(limits);
        self.sim.model.limits = limits;
    }

    pub(crate) fn register(&mut self, torrent: &str, freeleech: Freeleech, upload_percent: u16) {
        let terms = Terms { id: TorrentId(1), freeleech, upload_percent };
        self.sim.register(info_hash(torrent), terms);
    }

    fn try_announce(&mut self, who: &str, words: &str) -> Result<Outcome, Refusal> {
        self.sim.announce(&parse(who, words)).0
    }

    pub(crate) fn announce(&mut self, who: &str, words: &str) -> Outcome {
        self.try_announce(who, words).unwrap()
    }

    /// Is told to come back after `interval`.
    fn announce_with(&mut self, who: &str, interval: Seconds) {
        self.sim.announce(&Announce { interval, ..parse(who, "started") }).0.unwrap();
    }

    pub(crate) fn told(&mut self, who: &str, words: &str) -> Vec<SocketAddr> {
        let (done, reply) = self.sim.announce(&parse(who, words));
        done.unwrap();
        told(reply)
    }

    /// What an announce credits: upload, download, and download that a token took over.
    fn check_credit(&mut self, who: &str, words: &str, expected: (u64, u64, u64)) {
        let fact = self.announce(who, words).fact;
        let credit = fact.map(|fact| (fact.credited_up, fact.credited_down, fact.token_down));
        assert_eq!(credit, Some(expected), "{who}: {words}");
    }

    pub(crate) fn check_counts(&self, seeders: u32, leechers: u32, snatches: u32) {
        let counts = self.sim.engine.scrape(&info_hash("film")).unwrap();
        let found = (counts.seeders, counts.leechers, counts.snatches);
        assert_eq!(found, (seeders, leechers, snatches));
    }

    pub(crate) fn advance(&mut self, span: Seconds) {
        self.sim.now = self.sim.now + span;
    }
}

/// `who` is `user` or `user/client`. Words: an event, `up=`, `down=`, `corrupt=`, `left=`, `numwant=`,
/// `torrent=`, `at=` an endpoint (else an IPv4 one made of the name), `v4` or `v6` for the families
/// wanted (else both), `hidden`, `noleech`, `full` when the group allows no further download.
fn parse(who: &str, words: &str) -> Announce {
    let (user, _) = who.split_once('/').unwrap_or((who, ""));
    let number = user.bytes().fold(0, |number, byte| number * 31 + u32::from(byte));
    let mut announce = Announce {
        info_hash: info_hash("film"),
        user: User { id: UserId(number), can_leech: true, hidden: false, group: None },
        peer_id: PeerId(name(who)),
        key: 1,
        endpoints: endpoint(who).into(),
        counters: Counters::default(),
        left: 100,
        event: Event::None,
        numwant: 50,
        families: Families { v4: true, v6: true },
        assumed: Families::default(),
        interval: Seconds(1800),
        downloads_full: false,
    };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("up", bytes)) => announce.counters.uploaded = bytes.parse().unwrap(),
            Some(("down", bytes)) => announce.counters.downloaded = bytes.parse().unwrap(),
            Some(("corrupt", bytes)) => announce.counters.corrupt = bytes.parse().unwrap(),
            Some(("left", bytes)) => announce.left = bytes.parse().unwrap(),
            Some(("numwant", numwant)) => announce.numwant = numwant.parse().unwrap(),
            Some(("torrent", torrent)) => announce.info_hash = info_hash(torrent),
            Some(("key", key)) => announce.key = key.parse().unwrap(),
            Some(("at", at)) => announce.endpoints = at.parse::<SocketAddr>().unwrap().into(),
            Some((key, _)) => panic!("no such word: {key}"),
            None => match word {
                "started" => announce.event = Event::Started,
                "completed" => announce.event = Event::Completed,
                "stopped" => announce.event = Event::Stopped,
                "paused" => announce.event = Event::Paused,
                "v4" => announce.families.v6 = false,
                "v6" => announce.families.v4 = false,
                "hidden" => announce.user.hidden = true,
                "noleech" => announce.user.can_leech = false,
                "full" => announce.downloads_full = true,
                _ => panic!("no such word: {word}"),
            },
        }
    }
    announce
}

fn name(text: &str) -> [u8; 20] {
    let mut bytes = [0; 20];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn info_hash(torrent: &str) -> InfoHash {
    InfoHash(name(torrent))
}

fn endpoint(who: &str) -> SocketAddr {
    let [a, b, c, d, e, ..] = name(who);
    SocketAddr::from(([45, a, b.wrapping_add(d), c.wrapping_add(e)], 6881))
}

#[test]
fn a_first_announce_is_a_baseline_and_the_next_ones_are_credited() {
    let mut story = Story::new();
    story.check_credit("ann", "started up=500 down=300 left=100", (0, 0, 0));
    story.advance(Seconds(1800));
    story.check_credit("ann", "up=700 down=340 left=60", (200, 40, 0));
    story.check_credit("ann", "completed up=700 down=400 left=0", (0, 60, 0));
    story.check_credit("ann", "stopped up=1700 down=400 left=0", (1000, 0, 0));
    story.check_counts(0, 0, 1);
}

#[test]
fn started_with_lower_counters_sets_the_baseline_anew() {
    let mut story = Story::new();
    story.announce("ann", "started up=0 down=0");
    story.advance(Seconds(1800));
    story.check_credit("ann", "up=900 down=900", (900, 900, 0));
    story.advance(Seconds(1800));
    story.check_credit("ann", "started up=10 down=20", (0, 0, 0));
    story.check_credit("ann", "up=1000 down=901", (990, 881, 0));
    story.check_credit("ann", "started up=2000 down=901", (1000, 0, 0));
    story.check_credit("ann", "up=2003 down=902", (3, 1, 0));
}

#[test]
fn counters_that_go_down_credit_nothing_and_are_the_baseline_from_there() {
    let mut story = Story::new();
    story.announce("ann", "started up=500 down=500");
    story.check_credit("ann", "up=400 down=900", (0, 0, 0));
    story.check_credit("ann", "up=450 down=900", (50, 0, 0));
    story.check_credit("ann", "up=900 down=10", (0, 0, 0));
    story.check_credit("ann", "up=901 down=11", (1, 1, 0));
}

#[test]
fn a_torrent_s_rules_say_what_counts() {
    let mut story = Story::new();
    story.announce("ann", "started");
    story.check_credit("ann", "up=100 down=10", (100, 10, 0));
    story.register("film", Freeleech::Free, 100);
    story.check_credit("ann", "up=200 down=20", (100, 0, 0));
    story.register("film", Freeleech::Neutral, 100);
    story.check_credit("ann", "up=300 down=30", (0, 0, 0));
    story.register("film", Freeleech::None, 250);
    story.check_credit("ann", "up=303 down=40", (7, 10, 0));
    let torrent = &story.sim.model.torrents[&info_hash("film")];
    assert_eq!(torrent.balance, 303 - 40, "the balance is of what was moved");
}

#[test]
fn a_token_takes_over_the_download_until_it_is_complete() {
    let mut story = Story::new();
    let ann = parse("ann", "").user.id;
    story.sim.set_token(ann, &info_hash("film"), None);
    story.announce("ann", "started left=100");
    story.check_credit("ann", "up=5 down=40 left=60", (5, 0, 40));
    let fact = story.announce("ann", "completed up=5 down=100 left=0").fact.unwrap();
    assert_eq!((fact.token_down, fact.token_spent, fact.snatched), (60, true, true));
    story.check_credit("ann", "up=5 down=110 left=0", (0, 10, 0));
}

#[test]
fn a_token_ends_with_its_time() {
    let mut story = Story::new();
    let (ann, until) = (parse("ann", "").user.id, story.sim.now + Seconds(100));
    story.sim.set_token(ann, &info_hash("film"), Some(until));
    story.announce("ann", "started left=100");
    story.advance(Seconds(99));
    story.check_credit("ann", "down=40 left=60", (0, 0, 40));
    story.advance(Seconds(1));
    story.check_credit("ann", "down=50 left=50", (0, 10, 0));
}

#[test]
fn a_neutral_torrent_leaves_a_token_alone() {
    let mut story = Story::new();
    story.register("film", Freeleech::Neutral, 100);
    let ann = parse("ann", "").user.id;
    story.sim.set_token(ann, &info_hash("film"), None);
    story.announce("ann", "started left=100");
    let fact = story.announce("ann", "completed down=100 left=0").fact.unwrap();
    assert_eq!((fact.token_down, fact.token_spent), (0, false));
    assert!(story.sim.engine.has_token(ann, &info_hash("film"), story.sim.now));
}

#[test]
fn a_download_completes_once() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    assert!(story.announce("ann", "completed left=0").snatched);
    assert!(!story.announce("ann", "completed left=0").snatched);
    assert!(!story.announce("bob", "started left=0").snatched);
    assert!(!story.announce("bob", "completed left=0").snatched);
    assert!(!story.announce("cid", "completed left=0").snatched, "heard of for the first time");
    assert!(!story.announce("dan", "completed left=3").snatched, "it is not complete");
    story.check_counts(3, 1, 1);
    let mut story = Story::with(Limits { count_unknown: true, ..LIMITS });
    assert!(story.announce("cid", "completed left=0").snatched, "heard of for the first time");
    assert!(!story.announce("cid", "completed left=0").snatched);
}

#[test]
fn a18_a_download_is_what_became_complete() {
    // Each line is a client's life, and how many downloads it is.
    for (life, downloads) in [
        (&["started", "left=0 down=100"][..], 1),
        (&["started", "left=50 down=50", "completed left=0 down=100"], 1),
        (&["started", "stopped left=0 down=100"], 1),
        (&["completed", "completed left=0", "completed left=0", "stopped left=0"], 1),
        (&["completed left=0 down=100", "started left=0 down=100", "stopped left=16384"], 0),
        (&["completed left=0 down=100", "completed left=0 down=100"], 0),
        // A magnet link: nothing is left while it has nothing.
        (&["started left=0", "started", "completed left=0 down=100"], 1),
        (&["left=0", "left=0", "left=100", "left=0 down=100", "left=0 down=100"], 1),
        (&["left=0", "left=0 down=100", "left=0 down=100", "left=0 down=110"], 1),
        (&["left=0", "stopped left=0 down=100"], 1),
        (&["started left=9223372036854775807", "left=100", "left=0 down=100"], 1),
        // Data that was there is checked, at the start or once more.
        (&["started", "started left=0"], 0),
        (&["started", "left=0 down=100", "left=100 down=100", "left=0 down=100"], 1),
        (&["started left=0", "left=100", "completed left=0"], 0),
        // Data that is gone is downloaded again.
        (&["started", "left=0 down=9", "left=100 down=9", "left=0 down=109"], 2),
        // Over both families it is one client, which says it twice.
        (
            &["started", "started at=[2a00::1]:1", "left=0 down=9 at=[2a00::1]:1", "left=0 down=9"],
            1,
        ),
    ] {
        let mut story = Story::new();
        let snatched = |words: &&str| story.announce("ann", words).snatched;
        let found = life.iter().map(snatched).filter(|snatched| *snatched).count();
        assert_eq!(found, downloads, "{life:?}");
    }
}

#[test]
fn a33_who_may_have_nothing_is_told_seeders_where_he_may_download() {
    let mut story = Story::new();
    for n in 1..=20 {
        story.announce(&format!("s{n}"), &format!("left=0 at=45.0.0.{n}:6881"));
    }
    assert_eq!(story.told("s1", "left=0 at=45.0.0.1:6881"), [], "it is not new");
    assert_eq!(story.told("mag", "started left=0").len(), 8);
    assert_eq!(story.told("mag", "started left=0"), []);
    assert_eq!(story.told("nil", "left=0 noleech"), [], "he may not download");
    assert_eq!(story.told("ful", "left=0 full"), [], "nor he, now");
    story.announce("lee", "started");
    assert_eq!(story.told("net", "left=0 numwant=5").len(), 5);
}

#[test]
fn a_peer_may_be_silent_for_as_long_as_it_was_told_to_wait() {
    let mut story = Story::new();
    for (who, interval) in [("ann", 1800), ("bob", 900), ("cid", 3600)] {
        story.announce_with(who, Seconds(interval));
    }
    let timeout = LIMITS.peer_timeout.0;
    for (after, there) in [(timeout - 901, 3), (600, 2), (302, 1), (1800 + 480, 0)] {
        story.advance(Seconds(after));
        story.sim.expire(10);
        story.check_counts(0, there, 0);
    }
}

#[test]
fn announces_that_change_nothing_make_no_fact() {
    let mut story = Story::new();
    assert!(story.announce("ann", "started up=1").fact.is_some());
    assert!(story.announce("ann", "up=1").fact.is_none());
    assert!(story.announce("ann", "up=1 at=45.9.9.9:1").fact.is_some(), "it has moved");
    assert!(story.announce("ann", "up=1 at=45.9.9.9:1 noleech").fact.is_some(), "other rights");
    assert!(story.announce("zoe", "stopped up=1").fact.is_none(), "who leaves was never here");
    let mut story = Story::with(Limits { facts: Facts::All, ..LIMITS });
    story.announce("ann", "started up=1");
    story.advance(Seconds(1000));
    let fact = story.announce("ann", "up=1").fact.unwrap();
    assert_eq!((fact.announces, fact.elapsed, fact.moved), (2, 1000, Counters::default()));
}

#[test]
fn a_client_with_two_families_is_one_peer_with_one_account() {
    let mut story = Story::new();
    story.announce("ann", "started up=0 left=0 at=45.1.1.1:9");
    story.check_credit("ann", "up=10 left=0 at=[2a00::1]:9", (10, 0, 0));
    story.check_credit("ann", "up=30 left=0 at=45.1.1.1:9", (20, 0, 0));
    story.check_counts(1, 0, 0);
    let v4: SocketAddr = "45.1.1.1:9".parse().unwrap();
    let v6: SocketAddr = "[2a00::1]:9".parse().unwrap();
    assert_eq!(story.told("bob", "v4"), [v4]);
    assert_eq!(story.told("bob", "v6"), [v6]);
    assert_eq!(story.told("bob", "numwant=1"), [v4, v6], "both are one peer");
    story.announce("ann", "up=30 left=0 at=[2a00::2]:10");
    let moved: SocketAddr = "[2a00::2]:10".parse().unwrap();
    assert_eq!(story.told("bob", "v6"), [moved]);
}

#[test]
fn a_user_s_clients_are_not_told_of_each_other() {
    let mut story = Story::new();
    story.announce("ann/home", "started left=0");
    assert_eq!(story.told("ann/office", "started left=100"), []);
    assert_eq!(story.told("bob", "started left=100").len(), 2);
    story.check_counts(1, 2, 0);
    // The same client with another key is another one.
    story.announce("ann/home", "left=0 key=2 at=45.3.3.3:1");
    story.check_counts(2, 2, 0);
}

#[test]
fn who_may_not_leech_is_credited_and_counted_and_not_told() {
    let mut story = Story::new();
    story.announce("sid", "started left=0");
    let outcome = story.announce("ann", "started left=100 noleech");
    assert_eq!(outcome.refusal(), Some(Refusal::LeechingForbidden));
    assert!(outcome.fact.is_some_and(|fact| !fact.visible && fact.active));
    story.check_credit("ann", "up=50 down=7 left=93 noleech", (50, 7, 0));
    story.check_counts(1, 1, 0);
    assert_eq!(story.told("sid", "left=0"), [], "nobody is told of ann");
    assert_eq!(story.told("ann", "left=0 noleech"), [], "a seeder may be told, of leechers");
    assert_eq!(story.told("bob", "left=100").len(), 2, "who seeds is told");
}

#[test]
fn a_user_s_rights_work_before_his_next_announce() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    assert_eq!(story.told("sid", "left=0").len(), 1);
    let ann = parse("ann", "").user;
    story.sim.set_user_rights(User { can_leech: false, ..ann });
    assert_eq!(story.told("sid", "left=0"), []);
    story.sim.expire(1);
    assert_eq!(story.told("sid", "left=0"), []);
    story.sim.set_user_rights(ann);
    assert_eq!(story.told("sid", "left=0").len(), 1);
    (0..4).for_each(|_| story.sim.expire(1));
    assert_eq!(story.told("sid", "left=0").len(), 1);
}

#[test]
fn a_removed_user_is_hidden_at_once_and_dropped_by_the_sweep() {
    let mut story = Story::new();
    story.announce("ann/1", "started left=0");
    story.announce("ann/2", "started left=100");
    assert_eq!(story.told("bob", "left=100").len(), 2);
    story.sim.remove_user(parse("ann", "").user.id);
    assert_eq!(story.told("bob", "left=100"), []);
    story.check_counts(1, 2, 0);
    story.sim.expire(1);
    story.check_counts(0, 1, 0);
}

#[test]
fn a_silent_peer_leaves() {
    let mut story = Story::new();
    story.announce("sid", "started left=0");
    story.announce("ann", "started left=100");
    story.advance(TIMEOUT);
    story.sim.expire(10);
    story.check_counts(1, 1, 0);
    story.announce("sid", "left=0");
    story.advance(Seconds(1));
    story.sim.expire(10);
    story.check_counts(1, 0, 0);
    story.check_credit("ann", "up=100 left=100", (0, 0, 0));
}

#[test]
fn nobody_is_silent_for_longer_than_the_tracker_is_there() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    story.advance(TIMEOUT + TIMEOUT);
    story.sim.engine.believe_from(story.sim.now);
    let mut gone = Vec::new();
    assert!(story.sim.engine.expire(story.sim.now, 100, &mut gone).finished);
    assert_eq!(gone, []);
    let later = story.sim.now + TIMEOUT + Seconds(1);
    assert!(story.sim.engine.expire(later, 100, &mut gone).finished);
    assert_eq!(gone.len(), 1);
}

#[test]
fn clients_are_told_for_a_day_why_a_torrent_is_gone() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    let text = |refused: Result<Outcome, Refusal>| refused.unwrap_err().to_string();
    assert_eq!(text(story.try_announce("ann", "torrent=other")), "Unregistered torrent");
    story.sim.unregister(&info_hash("film"), "Trump");
    assert_eq!(text(story.try_announce("ann", "")), "Unregistered torrent: Trump");
    story.advance(Seconds(86_400));
    assert_eq!(text(story.try_announce("ann", "")), "Unregistered torrent: Trump");
    story.advance(Seconds(1));
    assert_eq!(text(story.try_announce("ann", "")), "Unregistered torrent");
    story.register("film", Freeleech::None, 100);
    story.check_credit("ann", "up=10 left=100", (0, 0, 0));
    story.sim.unregister(&info_hash("film"), "");
    assert_eq!(text(story.try_announce("ann", "")), "Unregistered torrent");
}

#[test]
fn a_user_has_so_many_clients_on_a_torrent() {
    let mut story = Story::with(Limits { clients_max: 2, ..LIMITS });
    story.announce("ann/1", "started");
    story.announce("ann/2", "started");
    assert_eq!(story.try_announce("ann/3", "started"), Err(Refusal::ClientsMax));
    assert_eq!(story.announce("ann/3", "stopped").is, None, "who leaves is never refused");
    story.announce("bob/3", "started");
    story.announce("ann/1", "stopped");
    assert_eq!(story.announce("ann/3", "started").is, Some(PeerState::Leecher));
}

#[test]
fn a_user_s_group_bounds_his_downloads_and_never_his_credit() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    story.announce("bob", "started up=5 left=0");
    story.check_credit("ann", "up=10 left=90 full", (10, 0, 0));
    assert_eq!(story.told("ann", "up=10 left=90 full").len(), 1, "what is under way goes on");
    // Who begins one too many is told nobody and to nobody, and counts.
    let refused = story.announce("zoe", "started up=7 left=100 full");
    assert_eq!(refused.refusal(), Some(Refusal::DownloadsMax));
    assert_eq!((refused.is, refused.once), (Some(PeerState::PartialSeed), true));
    story.check_counts(1, 2, 0);
    assert_eq!(story.told("zoe", "up=7 left=100 full").len(), 0);
    assert_eq!(story.told("ann", "up=10 left=90").len(), 1, "bob alone");
    story.check_credit("zoe", "up=17 down=60 left=40 full", (10, 60, 0));
    // Pausing is no way round: what it moved meanwhile counts, and so does what it completes.
    story.check_credit("zoe", "paused up=17 down=70 left=30 full", (0, 10, 0));
    assert!(story.announce("zoe", "completed up=20 down=100 left=0 full").snatched);
    story.check_counts(2, 1, 1);
    assert!(story.announce("zoe", "stopped up=20 down=100 left=0 full").refusal().is_none());
    assert!(story.announce("sid", "started left=0 full").refusal().is_none(), "he uploads");
    let forbidden = story.announce("eve", "started left=100 noleech full");
    assert_eq!(forbidden.refusal(), Some(Refusal::LeechingForbidden), "and is counted");

    // A seeder that finds holes in its files: what it uploaded counts, and it stays to upload.
    let outcome = story.announce("bob", "up=25 left=40 full");
    assert_eq!(outcome.refusal(), Some(Refusal::DownloadsMax));
    assert_eq!(outcome.is, Some(PeerState::PartialSeed));
    assert_eq!(outcome.fact.map(|fact| (fact.credited_up, fact.partial)), Some((20, true)));
    story.check_counts(1, 3, 1);
    assert_eq!(story.told("bob", "up=25 left=40").len(), 2, "as soon as there is room");
    assert!(story.announce("bob", "up=25 left=40 full").refusal().is_none());
}

#[test]
fn a_partial_seed_is_a_leecher_that_wants_nothing() {
    let mut story = Story::new();
    story.announce("ann", "paused left=100");
    story.announce("bob", "started left=100");
    story.announce("sid", "started left=0");
    story.check_counts(1, 2, 0);
    assert_eq!(story.told("ann", "paused left=100"), [endpoint("bob")]);
    assert_eq!(story.told("bob", "numwant=2"), [endpoint("sid"), endpoint("ann")]);
    assert_eq!(story.told("sid", "left=0"), [endpoint("bob")]);
    let fact = story.announce("ann", "stopped left=100").fact.unwrap();
    assert!(fact.partial && !fact.active);
}

#[test]
fn addresses_of_one_network_stay_there() {
    let mut story = Story::new();
    story.announce("ann", "at=10.0.0.1:1");
    story.announce("bob", "at=45.0.0.1:0");
    assert_eq!(story.told("cid", ""), []);
    assert_eq!(story.told("dan", "at=192.168.1.1:5").len(), 2, "ann and cid");
}

#[test]
fn a_balance_and_snatches_can_be_brought_along() {
    let mut story = Story::new();
    assert!(story.sim.engine.set_figures(&info_hash("film"), 40, -7));
    assert!(!story.sim.engine.set_figures(&info_hash("other"), 40, -7));
    let torrent = story.sim.model.torrents.get_mut(&info_hash("film")).unwrap();
    (torrent.snatches, torrent.balance) = (40, -7);
    story.announce("ann", "started");
    let swarm = story.announce("ann", "completed up=10 down=100 left=0").fact.unwrap().swarm;
    assert_eq!((swarm.seeders, swarm.snatches, swarm.balance), (1, 41, -97));
}

#[test]
fn what_finds_no_place_in_the_journal_is_credited_later() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    story.announce("bob", "started left=100");
    story.set_facts(Facts::Postponed);
    assert_eq!(story.announce("ann", "up=10 down=20 left=80").fact, None);
    assert_eq!(story.announce("ann", "up=20 down=30 left=70 at=45.9.9.9:1").fact, None);
    assert_eq!(story.announce("bob", "up=20 down=30 left=70").fact, None);
    assert!(story.announce("cid", "started").fact.is_some());
    story.check_credit("bob", "completed up=20 down=100 left=0", (20, 100, 0));
    story.check_credit("bob", "stopped up=21 down=100 left=0", (1, 0, 0));
    story.set_facts(Facts::Changed);
    story.check_credit("ann", "up=25 down=30 left=70 at=45.9.9.9:1", (25, 30, 0));
    // A copy of a session leaves. The client is still there, and nobody says again what the copy said.
    story.announce("dan", "started left=100");
    for words in ["up=1000", "started at=45.9.9.9:1", "up=7 at=45.9.9.9:1"] {
        story.advance(Seconds(60));
        story.announce("dan", words);
    }
    story.set_facts(Facts::Postponed);
    story.advance(Seconds(60));
    story.check_credit("dan", "stopped up=9 at=45.9.9.9:1", (2, 0, 0));
}

/// Runs whole sweeps; how many peers are left on the torrent.
fn left_after_a_sweep(story: &mut Story) -> usize {
    let mut gone = Vec::new();
    while !story.sim.engine.expire(story.sim.now, 1000, &mut gone).finished {}
    let mut peers = Vec::new();
    story.sim.engine.page(&info_hash("film"), Bookmark::default(), 10, &mut peers);
    peers.len()
}

#[test]
fn peers_of_a_clock_that_was_wrong_time_out_when_it_is_right() {
    const YEAR: u32 = 365 * 86_400;
    for right in [Seconds(10 * YEAR), Seconds(30 * YEAR)] {
        let mut story = Story::new();
        story.sim.now = Seconds(20 * YEAR);
        story.announce("ann", "started left=100");
        story.announce("bob", "started left=100");
        story.sim.now = right;
        story.sim.engine.believe_from(right);
        // Nobody leaves because of the jump, and all that was moved since is credited.
        assert_eq!(left_after_a_sweep(&mut story), 2, "{right:?}");
        story.advance(TIMEOUT);
        assert_eq!(left_after_a_sweep(&mut story), 2, "{right:?}");
        let fact = story.announce("ann", "up=10 down=20 left=80").fact.unwrap();
        assert_eq!((fact.at, fact.credited_up, fact.credited_down), (story.sim.now, 10, 20));
        assert!(fact.since <= fact.at);
        story.advance(Seconds(1));
        assert_eq!(left_after_a_sweep(&mut story), 1, "{right:?}: bob said nothing");
        story.advance(TIMEOUT + Seconds(1));
        assert_eq!(left_after_a_sweep(&mut story), 0, "{right:?}");
    }
}

#[test]
fn a_clock_that_is_put_back_a_little_takes_nobody_out() {
    let mut story = Story::new();
    story.sim.now = Seconds(1_000_000);
    story.announce("ann", "started left=100");
    story.sim.now = Seconds(1_000_000 - 59);
    assert_eq!(left_after_a_sweep(&mut story), 1);
    let fact = story.announce("ann", "up=1 left=100").fact.unwrap();
    assert_eq!(fact.at, Seconds(1_000_000), "not before the one before");
    story.advance(TIMEOUT);
    assert_eq!(left_after_a_sweep(&mut story), 1);
}

#[test]
fn what_finds_no_place_at_all_is_refused_and_changes_nothing() {
    let mut story = Story::new();
    story.announce("ann", "started up=5 left=100");
    story.announce("bob", "started left=100");
    story.set_facts(Facts::Refused);
    let peers = |story: &Story| {
        let mut peers = Vec::new();
        story.sim.engine.page(&info_hash("film"), Bookmark::default(), 10, &mut peers);
        peers
    };
    let before = peers(&story);
    for (who, what) in [
        ("ann", "started up=0 left=100"),
        ("ann", "stopped up=90 down=9 left=91"),
        ("ann", "completed up=90 down=100 left=0"),
        ("ann", "up=90 down=100 left=0"),
        ("ann", "up=3 left=100"),
        ("cid", "started left=100"),
        ("cid", "left=100"),
    ] {
        assert_eq!(story.try_announce(who, what), Err(Refusal::NoRoom), "{who} {what}");
        assert_eq!(peers(&story), before, "{who} {what}");
    }
    // Whoever has nothing to say that must be noted is served, and one who was not there may leave.
    assert_eq!(story.announce("ann", "up=10 down=20 left=80").fact, None);
    assert_eq!(story.announce("cid", "stopped").fact, None);
    story.set_facts(Facts::Changed);
    story.check_credit("ann", "stopped up=90 down=30 left=70", (85, 30, 0));
}

#[test]
fn what_a_client_says_once_is_told_from_what_it_will_say_again() {
    let mut story = Story::new();
    assert!(story.announce("ann", "started up=5 left=100").once, "it is new");
    assert!(!story.announce("ann", "up=9 left=50").once, "the next one says it again");
    assert!(!story.announce("ann", "up=9 left=50").once, "nothing is said");
    assert!(story.announce("ann", "up=3 left=50").once, "it counts from here on");
    assert!(story.announce("ann", "started up=4 left=50").once, "it counts from here on");
    assert!(story.announce("ann", "completed up=4 left=0").once, "it is counted once");
    assert!(!story.announce("ann", "completed up=7 left=0").once, "it is complete already");
    assert!(story.announce("ann", "stopped up=9 left=0").once, "it is gone");
    assert!(!story.announce("ann", "stopped up=9 left=0").once, "it was not here");
}

#[test]
fn who_left_silently_stays_away_after_a_crash_whatever_the_clock_said() {
    let mut story = Story::new();
    story.announce("ann", "started up=0 left=100");
    while story.sim.export_some() {}
    // The clock is a day ahead for a while, and she times out.
    let from = story.sim.now;
    story.advance(Seconds(86_400));
    story.sim.expire(100);
    story.sim.now = from - Seconds(1000);
    story.check_credit("ann", "up=500 left=100", (0, 0, 0));
    story.check_credit("ann", "up=800 left=100", (300, 0, 0));
    story.sim.restart();
    story.check_credit("ann", "up=900 left=100", (100, 0, 0));
}

#[test]
fn a_clock_that_was_put_back_does_not_make_one_client_of_a_session_and_its_copy() {
    let mut story = Story::new();
    story.announce("ann", "started left=9 at=45.0.0.1:1");
    story.advance(Seconds(100));
    story.check_credit("ann", "up=900 left=9 at=45.0.0.1:1", (900, 0, 0));
    let from = story.sim.now;
    // Before the copy begins, and after it.
    story.sim.now = from - Seconds(5000);
    story.check_credit("ann", "started up=5 left=9 at=45.0.0.2:1", (0, 0, 0));
    story.check_credit("ann", "up=901 left=9 at=45.0.0.1:1", (1, 0, 0));
    story.check_credit("ann", "up=7 left=9 at=45.0.0.2:1", (2, 0, 0));
    story.sim.now = from - Seconds(9000);
    story.check_credit("ann", "up=903 left=9 at=45.0.0.1:1", (2, 0, 0));
    story.check_credit("ann", "up=10 left=9 at=45.0.0.2:1", (3, 0, 0));
    story.check_credit("ann", "stopped up=11 left=9 at=45.0.0.2:1", (1, 0, 0));
    story.check_credit("ann", "stopped up=907 left=9 at=45.0.0.1:1", (4, 0, 0));
    story.check_counts(0, 0, 0);
}

#[test]
fn who_moves_goes_on_from_what_he_said_and_not_from_a_copy_that_has_left() {
    let mut story = Story::new();
    story.announce("ann", "started left=9 at=45.0.0.1:1");
    story.advance(Seconds(100));
    story.check_credit("ann", "up=900 left=9 at=45.0.0.1:1", (900, 0, 0));
    story.check_credit("ann", "started up=5 left=9 at=45.0.0.2:1", (0, 0, 0));
    story.check_credit("ann", "stopped up=7 left=9 at=45.0.0.2:1", (2, 0, 0));
    story.advance(Seconds(100));
    story.check_credit("ann", "started up=0 left=9 at=45.0.0.1:1", (0, 0, 0));
    story.check_credit("ann", "up=20 left=9 at=45.0.0.3:1", (20, 0, 0));
}

#[test]
fn a_copy_that_was_silent_for_the_peer_timeout_begins_anew() {
    let mut story = Story::new();
    let timeout = story.sim.engine.limits().peer_timeout;
    story.announce("ann", "started left=9 at=45.0.0.1:1");
    story.advance(Seconds(100));
    story.check_credit("ann", "up=900 left=9 at=45.0.0.1:1", (900, 0, 0));
    story.check_credit("ann", "started up=5 left=9 at=45.0.0.2:1", (0, 0, 0));
    story.advance(timeout);
    story.check_credit("ann", "up=901 left=9 at=45.0.0.1:1", (1, 0, 0));
    story.check_credit("ann", "up=6 left=9 at=45.0.0.2:1", (1, 0, 0));
    story.advance(timeout);
    story.check_credit("ann", "up=902 left=9 at=45.0.0.1:1", (1, 0, 0));
    story.advance(Seconds(1));
    story.check_credit("ann", "up=903 left=9 at=45.0.0.1:1", (1, 0, 0));
    story.check_credit("ann", "up=50 left=9 at=45.0.0.2:1", (0, 0, 0));
    story.check_credit("ann", "up=51 left=9 at=45.0.0.2:1", (1, 0, 0));
    story.check_credit("ann", "up=904 left=9 at=45.0.0.1:1", (1, 0, 0));
}

#[test]
fn a_clock_that_was_put_back_credits_nothing_twice() {
    let mut story = Story::new();
    story.announce("ann", "started left=100");
    let from = story.sim.now;
    story.sim.now = from - Seconds(5000);
    story.check_credit("ann", "up=10 left=100", (10, 0, 0));
    story.sim.restart();
    story.sim.now = from - Seconds(4000);
    story.check_credit("ann", "up=25 left=100", (15, 0, 0));
    story.sim.restart();
    story.check_credit("ann", "up=26 left=100", (1, 0, 0));
}
