//! Short stories, told through the simulator.

use shard::{Announce, ClientTag, Event, Families, InfoHash, Limits, Seconds};
use std::net::{IpAddr, SocketAddr};

use crate::check::told;
use crate::sim::Sim;

const PEER_TIMEOUT: Seconds = Seconds(1800);
/// Time is kept in steps of 4 seconds, and two of them may be lost.
const LATE: Seconds = Seconds(8);
const LIMITS: Limits = Limits {
    swarms_max: 100,
    peers_max: 10_000,
    peer_timeout: PEER_TIMEOUT,
    swarm_retention: Seconds(86_400),
    count_unknown: false,
};

/// Clients and torrents by name; what they do, in words.
struct Story {
    sim: Sim,
}

impl Story {
    fn new(limits: Limits) -> Self {
        Self { sim: Sim::new(7, 1, limits) }
    }

    /// `who` announces: an event, `left=`, `downloaded=`, `numwant=`, `at=` an endpoint (else one made of the
    /// name); an endpoint of IPv6 where `v6` is said. Returns who was told, by name where it has one.
    fn announce(&mut self, who: &str, torrent: &str, words: &str) -> Vec<SocketAddr> {
        let announce = parse(who, torrent, words);
        let (done, reply) = self.sim.announce(&announce);
        done.unwrap();
        told(reply)
    }

    fn refused(&mut self, who: &str, torrent: &str, words: &str) -> String {
        let (done, _) = self.sim.announce(&parse(who, torrent, words));
        done.unwrap_err().to_string()
    }

    fn advance(&mut self, span: Seconds) {
        self.sim.now = self.sim.now + span;
        self.sim.expire(10);
    }

    fn check_scrape(&self, torrent: &str, expected: &str) {
        let counts = self.sim.shards[0].0.scrape(&info_hash(torrent));
        let text = counts.map_or("nothing".to_owned(), |counts| {
            let mut text = format!(
                "seeders={} leechers={} snatches={}",
                counts.seeders, counts.leechers, counts.snatches
            );
            if counts.partial_seeds > 0 {
                text += &format!(" partial={}", counts.partial_seeds);
            }
            text
        });
        assert_eq!(text, expected, "scrape of {torrent}");
    }
}

fn parse(who: &str, torrent: &str, words: &str) -> Announce {
    let mut announce = Announce {
        info_hash: info_hash(torrent),
        address: endpoint(who).ip(),
        port: endpoint(who).port(),
        client: ClientTag::new(&name(who), b""),
        left: 100,
        downloaded: 0,
        event: Event::None,
        numwant: 50,
        families: Families { v4: true, v6: true },
    };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            Some(("left", left)) => announce.left = left.parse().unwrap(),
            Some(("downloaded", bytes)) => announce.downloaded = bytes.parse().unwrap(),
            Some(("numwant", numwant)) => announce.numwant = numwant.parse().unwrap(),
            Some(("at", at)) => {
                let at: SocketAddr = at.parse().unwrap();
                (announce.address, announce.port) = (at.ip(), at.port());
            }
            Some((key, _)) => panic!("no such word: {key}"),
            None => match word {
                "started" => announce.event = Event::Started,
                "completed" => announce.event = Event::Completed,
                "stopped" => announce.event = Event::Stopped,
                "paused" => announce.event = Event::Paused,
                "v6" => announce.address = IpAddr::from(endpoint_v6(who)),
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
    let [a, b, c, ..] = name(who);
    SocketAddr::from(([45, a, b, c], 6881))
}

fn endpoint_v6(who: &str) -> [u16; 8] {
    let [a, b, c, ..] = name(who).map(u16::from);
    [0x2a00, 0, 0, 0, 0, a, b, c]
}

#[test]
fn a_silent_leecher_leaves_the_swarm() {
    let mut story = Story::new(LIMITS);
    story.announce("sid", "ubuntu", "started left=0");
    story.announce("ann", "ubuntu", "started left=100");
    story.advance(PEER_TIMEOUT);
    story.check_scrape("ubuntu", "seeders=1 leechers=1 snatches=0");
    story.announce("sid", "ubuntu", "left=0");
    story.advance(LATE);
    story.check_scrape("ubuntu", "seeders=1 leechers=0 snatches=0");
}

#[test]
fn an_empty_swarm_keeps_its_snatches_for_a_while() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "started");
    story.announce("ann", "ubuntu", "stopped left=0 downloaded=100");
    story.check_scrape("ubuntu", "seeders=0 leechers=0 snatches=1");
    story.advance(LIMITS.swarm_retention);
    story.check_scrape("ubuntu", "seeders=0 leechers=0 snatches=1");
    story.advance(Seconds(1));
    story.check_scrape("ubuntu", "nothing");
}

#[test]
fn a_swarm_nobody_completed_goes_with_its_last_peer() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "started");
    story.announce("ann", "ubuntu", "stopped");
    story.check_scrape("ubuntu", "nothing");
}

#[test]
fn a_client_that_says_completed_every_time_is_one_snatch() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "started left=100");
    story.announce("ann", "ubuntu", "completed left=5");
    story.check_scrape("ubuntu", "seeders=0 leechers=1 snatches=0");
    for _ in 0..3 {
        story.announce("ann", "ubuntu", "completed left=0");
        story.check_scrape("ubuntu", "seeders=1 leechers=0 snatches=1");
    }
}

#[test]
fn a_client_with_two_families_is_one_client() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "started");
    let told = story.announce("ann", "ubuntu", "started v6");
    assert_eq!(told, [], "nobody is told of itself");
    story.check_scrape("ubuntu", "seeders=0 leechers=1 snatches=0");
    let told = story.announce("bob", "ubuntu", "started");
    assert_eq!(told.len(), 2, "both of ann's endpoints are of use: {told:?}");
    story.announce("ann", "ubuntu", "completed left=0");
    story.announce("ann", "ubuntu", "completed left=0 v6");
    story.check_scrape("ubuntu", "seeders=1 leechers=1 snatches=1");
    story.announce("ann", "ubuntu", "stopped left=0");
    story.check_scrape("ubuntu", "seeders=1 leechers=1 snatches=1");
    story.announce("ann", "ubuntu", "stopped left=0 v6");
    story.check_scrape("ubuntu", "seeders=0 leechers=1 snatches=1");
}

#[test]
fn a18_a_download_is_what_became_complete() {
    // Each line is a client's life, and how many downloads it is.
    for (life, downloads) in [
        // Whatever it says, or not at all, or at the end.
        (&["started", "left=0 downloaded=100"][..], 1),
        (&["started", "left=50 downloaded=50", "completed left=0 downloaded=100"], 1),
        (&["started", "stopped left=0 downloaded=100"], 1),
        (&["started", "stopped left=0 downloaded=100", "stopped left=0 downloaded=100"], 1),
        (&["completed", "completed left=0", "completed left=0", "stopped left=0"], 1),
        // A seeder that says so at each start.
        (
            &[
                "completed left=0 downloaded=100",
                "started left=0 downloaded=100",
                "stopped left=16384",
            ],
            0,
        ),
        (&["completed left=0 downloaded=100", "completed left=0 downloaded=100"], 0),
        // A magnet link: nothing is left while it has nothing.
        (&["started left=0", "started", "completed left=0 downloaded=100"], 1),
        (&["left=0", "left=0", "left=100", "left=0 downloaded=100", "left=0"], 1),
        (&["left=0", "left=0 downloaded=100", "left=0 downloaded=100", "left=0 downloaded=110"], 1),
        (
            &[
                "completed left=0",
                "completed left=0 downloaded=100",
                "stopped left=0 downloaded=100",
            ],
            1,
        ),
        (&["left=0", "stopped left=0 downloaded=100"], 1),
        (&["left=0", "left=0 v6", "left=0 downloaded=100", "left=0 downloaded=100 v6"], 1),
        (&["started left=16384", "left=100", "left=0 downloaded=100"], 1),
        // Data that was there is checked, at the start or once more.
        (&["started", "started left=0"], 0),
        (
            &[
                "started",
                "left=0 downloaded=100",
                "left=100 downloaded=100",
                "left=0 downloaded=100",
            ],
            1,
        ),
        (&["started left=0", "left=100", "completed left=0"], 0),
        // Data that is gone is downloaded again.
        (&["started", "left=0 downloaded=9", "left=100 downloaded=9", "left=0 downloaded=109"], 2),
        // Over both families, in either order, and one of them says it late.
        (&["started", "started v6", "left=0 downloaded=9", "left=0 downloaded=9 v6"], 1),
        (&["started", "left=0 downloaded=9 v6", "left=0 downloaded=9"], 1),
        (
            &[
                "started",
                "started v6",
                "stopped left=0 downloaded=9",
                "stopped left=0 downloaded=9 v6",
            ],
            1,
        ),
        // Some pieces were not wanted.
        (&["started", "paused left=9 downloaded=91", "left=0 downloaded=100"], 1),
    ] {
        let mut story = Story::new(LIMITS);
        story.announce("bob", "ubuntu", "started");
        for words in life {
            story.announce("ann", "ubuntu", words);
        }
        let counts = story.sim.shards[0].0.scrape(&info_hash("ubuntu")).unwrap();
        assert_eq!(counts.snatches, downloads, "{life:?}");
    }
}

#[test]
fn a18_completed_of_who_is_not_known_counts_where_it_is_wanted() {
    let mut story = Story::new(Limits { count_unknown: true, ..LIMITS });
    story.announce("ann", "ubuntu", "completed left=0");
    story.announce("ann", "ubuntu", "completed left=0 v6");
    story.announce("bob", "ubuntu", "left=0 downloaded=100");
    story.check_scrape("ubuntu", "seeders=2 leechers=0 snatches=1");
}

#[test]
fn a33_who_may_have_nothing_is_told_seeders() {
    let mut story = Story::new(LIMITS);
    for n in 1..=20 {
        story.announce("sid", "ubuntu", &format!("left=0 at=45.0.0.{n}:6881"));
    }
    let all_are_seeders = "left=0 at=45.0.0.1:6881";
    assert_eq!(story.announce("sid", "ubuntu", all_are_seeders), [], "it is not new");
    assert_eq!(story.announce("mag", "ubuntu", "left=0").len(), 8);
    assert_eq!(story.announce("mag", "ubuntu", "started left=0"), []);
    assert_eq!(story.announce("pat", "ubuntu", "paused left=9"), []);
    story.announce("lee", "ubuntu", "started");
    let told = story.announce("net", "ubuntu", "left=0 numwant=5");
    assert_eq!(told.len(), 5);
    assert!(told.contains(&endpoint("lee")));
}

#[test]
fn stopping_twice_or_as_a_stranger_is_no_mistake() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "stopped");
    story.check_scrape("ubuntu", "nothing");
    story.announce("bob", "ubuntu", "started");
    story.announce("ann", "ubuntu", "stopped");
    story.check_scrape("ubuntu", "seeders=0 leechers=1 snatches=0");
}

#[test]
fn a_partial_seed_is_a_source_that_wants_nothing() {
    let mut story = Story::new(LIMITS);
    story.announce("sid", "ubuntu", "started left=0");
    story.announce("pat", "ubuntu", "paused left=9");
    story.check_scrape("ubuntu", "seeders=1 leechers=1 snatches=0 partial=1");
    assert_eq!(story.announce("ann", "ubuntu", "started numwant=2").len(), 2);
    assert_eq!(story.announce("sid", "ubuntu", "left=0"), [endpoint("ann")]);
    assert_eq!(story.announce("pat", "ubuntu", "paused left=9"), [endpoint("ann")]);
    story.announce("pat", "ubuntu", "paused left=0");
    story.check_scrape("ubuntu", "seeders=2 leechers=1 snatches=0");
}

#[test]
fn an_unknown_rest_is_a_leecher() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "started left=18446744073709551615");
    story.check_scrape("ubuntu", "seeders=0 leechers=1 snatches=0");
}

#[test]
fn a_peer_of_one_network_is_told_only_there() {
    let mut story = Story::new(LIMITS);
    story.announce("ann", "ubuntu", "at=192.168.1.2:6881");
    story.announce("nil", "ubuntu", "at=45.1.1.1:0");
    story.announce("all", "ubuntu", "at=255.255.255.255:6881");
    assert_eq!(story.announce("bob", "ubuntu", ""), []);
    let told = story.announce("cat", "ubuntu", "at=192.168.1.3:6881");
    assert_eq!(told.len(), 2, "ann and bob: {told:?}");
    story.check_scrape("ubuntu", "seeders=0 leechers=5 snatches=0");
}

#[test]
fn a_full_shard_refuses_newcomers_and_keeps_who_is_there() {
    let mut story = Story::new(Limits { swarms_max: 2, peers_max: 3, ..LIMITS });
    story.announce("ann", "ubuntu", "started");
    story.announce("ann", "debian", "started");
    let refusal = story.refused("ann", "fedora", "started");
    assert_eq!(refusal, "Tracker is full: no more torrents are accepted");
    story.announce("bob", "ubuntu", "started");
    let refusal = story.refused("cat", "ubuntu", "started");
    assert_eq!(refusal, "Tracker is full: no more peers are accepted");
    story.announce("bob", "ubuntu", "completed left=0");
    story.announce("bob", "ubuntu", "stopped");
    story.announce("cat", "ubuntu", "started");
}

#[test]
fn a_crowd_comes_and_goes() {
    let mut story = Story::new(LIMITS);
    let at = |n: u32| format!("at=45.0.{}.{}:6881", n / 256, n % 256);
    for n in 0..3000 {
        let left = if n % 3 == 0 { "left=0" } else { "left=100" };
        story.announce(&format!("p{n}"), "ubuntu", &format!("started {left} {}", at(n)));
    }
    story.check_scrape("ubuntu", "seeders=1000 leechers=2000 snatches=0");
    for n in 0..3000 {
        let words = format!("left={} at=[2a00::{n:x}]:6881", n % 3);
        story.announce(&format!("p{n}"), "ubuntu", &words);
    }
    story.check_scrape("ubuntu", "seeders=1000 leechers=2000 snatches=0");
    for n in 0..1500 {
        story.announce(&format!("p{n}"), "ubuntu", &format!("stopped {}", at(n)));
        story.announce("new", "ubuntu", &format!("at=[2a01::{n:x}]:6881"));
    }
    // Those who stopped are still here over IPv6; the new ones are as many as their endpoints.
    story.check_scrape("ubuntu", "seeders=1000 leechers=3500 snatches=0");
    story.advance(PEER_TIMEOUT + LATE);
    story.check_scrape("ubuntu", "nothing");
}
