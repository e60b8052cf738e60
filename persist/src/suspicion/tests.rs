use std::net::{Ipv4Addr, Ipv6Addr};

use shard::InfoHash;
use shard::private::{Counters, Endpoints, Names, Stamp, Swarm};

use super::*;

/// A client's announce at minute `at`, half an hour after the one before it.
pub(crate) fn fact(user: u32, torrent: u32, at: u32) -> Fact {
    Fact {
        at: Seconds(60 * at),
        stamp: Stamp::at(Seconds(60 * at)),
        over_v6: false,
        after: None,
        user: UserId(user),
        torrent: TorrentId(torrent),
        info_hash: InfoHash([torrent as u8; 20]),
        peer_id: PeerId(*b"-qB4520-000000000000"),
        key: 1,
        endpoints: Endpoints::new(Some(Ipv4Addr::new(198, 51, 100, 7)), None, 6881),
        hidden: false,
        visible: true,
        reported: Counters::default(),
        said: None,
        left: 0,
        partial: false,
        active: true,
        names: Names::FIRST,
        since: Seconds(0),
        elapsed: 1800,
        announces: 2,
        moved: Counters::default(),
        upload_percent: 100,
        download_percent: 100,
        token: false,
        credited_up: 0,
        credited_down: 0,
        token_down: 0,
        token_spent: false,
        snatched: false,
        swarm: Swarm { seeders: 1, leechers: 0, snatches: 0, balance: 0 },
    }
}

fn uploaded(moved: u64, fact: Fact) -> Fact {
    let counters = Counters { uploaded: moved, ..Counters::default() };
    Fact { moved: counters, reported: counters, ..fact }
}

fn leechers(leechers: u32, fact: Fact) -> Fact {
    Fact { swarm: Swarm { leechers, ..fact.swarm }, ..fact }
}

#[track_caller]
fn check(thresholds: Thresholds, facts: &[Fact], expected: &[(Kind, u64)]) {
    let mut judge = Judge::new(thresholds);
    assert_eq!(judge.is_on(), thresholds != Thresholds::default());
    let mut found = Vec::new();
    for fact in facts {
        judge.hear(fact, |suspicion| found.push((suspicion.kind, suspicion.figure)));
    }
    assert_eq!(found, expected);
}

#[test]
fn without_thresholds_nothing_is_odd() {
    let wild = uploaded(u64::MAX, fact(1, 1, 100));
    check(Thresholds::default(), &[wild, wild], &[]);
}

#[test]
fn a_rate_counts_by_the_second_and_in_both_directions() {
    let on = Thresholds { rate: Some(1_000_000), ..Thresholds::default() };
    let slow = uploaded(1_800_000_000, fact(1, 1, 100));
    let fast = uploaded(1_800_000_000 + 1800, fact(1, 1, 130));
    let down = Counters { downloaded: 3_600_000_000, ..Counters::default() };
    let down = Fact { moved: down, ..fact(1, 1, 160) };
    let at_once = Fact { elapsed: 0, ..uploaded(5_000_000, fact(1, 1, 160)) };
    let found = [(Kind::Rate, 1_000_001), (Kind::Rate, 2_000_000), (Kind::Rate, 5_000_000)];
    check(on, &[slow, fast, down, at_once], &found);
}

const ALONE: Thresholds =
    Thresholds { rate: None, upload_alone: Some(1_000_000), same_counters: None, networks: None };

#[test]
fn an_upload_needs_somebody_to_take_it() {
    let quiet = fact(1, 1, 100);
    let upload = uploaded(5_000_000, fact(1, 1, 130));
    check(ALONE, &[quiet, upload], &[(Kind::UploadAlone, 5_000_000)]);
    check(ALONE, &[quiet, uploaded(999_999, fact(1, 1, 130))], &[]);
    // Who came meanwhile, is there still, or was there and is gone took it.
    let other = |at| leechers(1, Fact { left: 9, elapsed: 0, ..fact(2, 1, at) });
    check(ALONE, &[quiet, other(110), leechers(1, upload)], &[]);
    check(ALONE, &[leechers(1, quiet), upload], &[]);
    let gone = Fact { active: false, left: 9, ..fact(2, 1, 120) };
    check(ALONE, &[quiet, gone, upload], &[]);
    let done = Fact { snatched: true, ..fact(2, 1, 120) };
    check(ALONE, &[quiet, done, upload], &[]);
}

#[test]
fn who_left_before_the_announce_before_takes_nothing() {
    let other = leechers(1, Fact { left: 9, elapsed: 0, ..fact(2, 1, 90) });
    let gone = Fact { active: false, left: 9, ..fact(2, 1, 95) };
    let upload = uploaded(5_000_000, fact(1, 1, 130));
    check(ALONE, &[other, gone, fact(1, 1, 100), upload], &[(Kind::UploadAlone, 5_000_000)]);
}

#[test]
fn a_leecher_cannot_upload_to_itself() {
    let leecher = |at| leechers(1, Fact { left: 9, ..fact(1, 1, at) });
    let upload = uploaded(5_000_000, leecher(130));
    check(ALONE, &[leecher(100), upload], &[(Kind::UploadAlone, 5_000_000)]);
    check(ALONE, &[leechers(2, leecher(100)), upload], &[]);
}

#[test]
fn what_was_not_watched_is_held_against_nobody() {
    let upload = uploaded(5_000_000, fact(1, 1, 130));
    check(ALONE, &[upload], &[]);
    check(ALONE, &[fact(2, 1, 101), upload], &[]);
}

#[test]
fn the_same_counters_on_several_torrents() {
    let on = Thresholds { same_counters: Some(3), ..Thresholds::default() };
    let said = |torrent, at| uploaded(7_654_321, fact(1, torrent, at));
    let found = [(Kind::SameCounters, 3), (Kind::SameCounters, 4)];
    check(on, &[said(1, 100), said(2, 101), said(3, 102), said(4, 103)], &found);
    // Not on one torrent again and again, by two users, over hours, or in small figures.
    check(on, &[said(1, 100), said(1, 101), said(1, 102)], &[]);
    let by = |user, at| uploaded(7_654_321, fact(user, user, at));
    check(on, &[by(1, 100), by(2, 101), by(3, 102)], &[]);
    check(on, &[said(1, 100), said(2, 161), said(3, 222)], &[]);
    let small = |torrent| uploaded(16_384, fact(1, torrent, 100));
    check(on, &[small(1), small(2), small(3)], &[]);
}

#[test]
fn the_same_growth_on_several_torrents() {
    let on = Thresholds { same_counters: Some(3), ..Thresholds::default() };
    let grown = |torrent: u32| {
        let fact = uploaded(7_654_321, fact(1, torrent, 100));
        let uploaded = fact.moved.uploaded + 1_000_000_000 * u64::from(torrent);
        Fact { reported: Counters { uploaded, ..Counters::default() }, ..fact }
    };
    check(on, &[grown(1), grown(2), grown(3)], &[(Kind::SameCounters, 3)]);
}

#[test]
fn clients_in_many_networks() {
    let on = Thresholds { networks: Some(2), ..Thresholds::default() };
    let from = |network: u8, at| {
        let v4 = Some(Ipv4Addr::new(198, 51, network, at as u8));
        Fact { endpoints: Endpoints::new(v4, None, 1), ..fact(1, 1, at) }
    };
    check(on, &[from(1, 100), from(2, 101), from(1, 102), from(1, 103)], &[]);
    let found = [(Kind::Networks, 3), (Kind::Networks, 4)];
    check(on, &[from(1, 100), from(2, 101), from(3, 102), from(3, 103), from(4, 104)], &found);
    check(on, &[from(1, 100), from(2, 150), from(3, 161)], &[]);
    let v6 = |site: u16, subnet: u16, at| {
        let v6 = Some(Ipv6Addr::new(0x2001, 0xdb8, site, subnet, 0, 0, 0, 1));
        Fact { endpoints: Endpoints::new(None, v6, 1), ..fact(1, 1, at) }
    };
    check(on, &[v6(1, 1, 100), v6(1, 2, 101), v6(1, 3, 102), v6(2, 1, 103)], &[]);
    check(on, &[v6(1, 1, 100), v6(2, 1, 101), v6(3, 1, 102)], &[(Kind::Networks, 3)]);
}
