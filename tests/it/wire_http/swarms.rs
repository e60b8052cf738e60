//! What becomes of the swarm: who is counted, how often, and who is told about whom.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::on_both_families;
use crate::tracker::http::{announce, answer, counts, peers, scraped};
use crate::tracker::udp::{self, Udp};
use crate::tracker::{HOMES, Tracker, at, hash};

#[test]
fn a15_stopping_twice_or_without_having_been_there_succeeds() {
    on_both_families(|scene| {
        let told = scene.announce(1, "&left=5&event=stopped");
        assert_eq!((counts(&told), peers(&told).len()), ([0, 0, 0], 0));
        scene.announce(2, "&left=5");
        scene.announce(1, "&left=0&event=stopped");
        for remaining in [0, 0] {
            let told = scene.announce(2, "&left=5&event=stopped");
            assert_eq!(counts(&told), [0, remaining, 0]);
        }
    });
}

#[test]
fn a16_stopping_without_a_port_succeeds() {
    on_both_families(|scene| {
        let start = "info_hash={torrent}&peer_id={peer_id}&left=5&event=stopped";
        for port in ["", "&port=0", "&port=", "&port=x", "&port=70000"] {
            let told = scene.ask(&format!("{start}{port}"));
            assert_eq!(counts(&told), [0, 0, 0], "{port}");
        }
    });
}

#[test]
fn a17_a_peer_without_a_port_counts_and_is_not_handed_out() {
    on_both_families(|scene| {
        scene.announce(0, "&left=0");
        let told = scene.announce(1, "&left=5");
        assert_eq!((counts(&told), peers(&told).len()), ([1, 1, 0], 0));
        let without = "info_hash={torrent}&peer_id={peer_id}&left=0";
        assert_eq!(peers(&scene.ask(without)), at(scene.home, [1]));
        assert_eq!(peers(&scene.announce(1, "&left=5")).len(), 0);
    });
}

#[test]
fn a18_a_download_is_counted_once() {
    on_both_families(|scene| {
        let story = [
            (1, "&left=0&event=started", [1, 0, 0]),
            (2, "&left=5&event=completed", [1, 1, 0]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (2, "&left=0", [2, 0, 1]),
            (2, "&left=0&event=completed", [2, 0, 1]),
            (1, "&left=0&event=completed", [2, 0, 1]),
            // Nobody has seen this one before: some clients say so at each start.
            (3, "&left=0&event=completed", [3, 0, 1]),
            (4, "&left=5&event=started", [3, 1, 1]),
            (4, "&left=0&downloaded=9", [4, 0, 2]),
            (5, "&left=5&event=started", [4, 1, 2]),
            (5, "&left=0&downloaded=9&event=stopped", [4, 0, 3]),
        ];
        for (step, (port, more, expected)) in story.into_iter().enumerate() {
            assert_eq!(counts(&scene.announce(port, more)), expected, "step {step}");
        }
    });
}

#[test]
fn a19_the_first_announce_need_not_be_started() {
    on_both_families(|scene| {
        assert_eq!(counts(&scene.announce(1, "&left=0")), [1, 0, 0]);
        assert_eq!(peers(&scene.announce(2, "&left=5&event=")), at(scene.home, [1]));
    });
}

#[test]
fn a24_a_client_with_both_families_counts_once() {
    let tracker = Tracker::start("");
    let torrent = hash("both");
    let both =
        |port, more| HOMES.map(|home| answer(tracker.http(home), announce(torrent, port, more)));
    both(1, "&left=5&event=started&key=0000000A");
    assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [0, 1, 0]);
    both(1, "&left=0&event=completed&key=0000000A");
    assert_eq!(scraped(tracker.http(HOMES[0]), torrent), [1, 0, 1], "completed once, not twice");

    // Whoever asks gets both of its endpoints, whatever family it asks over.
    let endpoints: BTreeSet<SocketAddr> = HOMES.map(|home| SocketAddr::new(home, 1)).into();
    for told in both(2, "&left=5&key=0000000B") {
        assert_eq!((peers(&told), told.integer("complete")), (endpoints.clone(), 1));
    }
    // The same client over UDP, where the key is four bytes: still one.
    for home in HOMES {
        let seeder = udp::Announce::seeder(torrent, 1).event(udp::NONE);
        let seeder = udp::Announce { key: [0, 0, 0, 0x0A], ..seeder };
        assert_eq!(Udp::connect(tracker.udp(home)).announce(&seeder).seeders, 1);
    }
    // One address goes: the client stays. The other goes: it is gone.
    let stop = announce(torrent, 1, "&left=0&event=stopped&key=0000000A");
    answer(tracker.http(HOMES[0]), &stop);
    assert_eq!(scraped(tracker.http(HOMES[1]), torrent), [1, 1, 1]);
    answer(tracker.http(HOMES[1]), &stop);
    assert_eq!(scraped(tracker.http(HOMES[1]), torrent), [0, 1, 1]);
}

#[test]
fn a33_nobody_gets_itself_and_seeders_get_no_seeders() {
    on_both_families(|scene| {
        for port in 1..=3 {
            scene.announce(port, "&left=0");
        }
        // One that is new may have nothing yet, whatever it says.
        assert_eq!(peers(&scene.announce(7, "&left=0")), at(scene.home, 1..=3));
        assert_eq!(peers(&scene.announce(7, "&left=0")).len(), 0);
        scene.announce(7, "&left=0&event=stopped");
        for port in 4..=6 {
            scene.announce(port, "&left=5");
        }
        assert_eq!(peers(&scene.announce(1, "&left=0")), at(scene.home, 4..=6));
        assert_eq!(peers(&scene.announce(4, "&left=5")), at(scene.home, [1, 2, 3, 5, 6]));
        // Not even at another port, as long as it is the same client.
        let moved = announce(scene.torrent, 4, "&left=5").replace("port=4", "port=44");
        assert_eq!(peers(&answer(scene.tracker, moved)), at(scene.home, [1, 2, 3, 5, 6]));
    });
}

#[test]
fn a34_both_hashes_of_a_hybrid_torrent_are_torrents_of_their_own() {
    on_both_families(|scene| {
        let v2 = hash(&format!("the truncated SHA-256 of {}", scene.home));
        scene.announce(1, "&left=0");
        answer(scene.tracker, announce(v2, 1, "&left=5"));
        scene.check_counts([1, 0, 0]);
        assert_eq!(scraped(scene.tracker, v2), [0, 1, 0]);
    });
}
