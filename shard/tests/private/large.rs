//! Swarms that are kept in tables: many peers, many clients of one user, removal bit by bit.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use shard::private::{
    Announce, Counters, Cursor, Endpoints, Facts, Freeleech, Limits, PeerId, Piece, Swarms, Terms,
    TorrentId, User, UserId,
};
use shard::{Event, Families, InfoHash, Reply, Seconds};

use crate::sim::import;

const NOW: Seconds = Seconds(1_700_000_000);
const NAME: InfoHash = InfoHash([9; 20]);
const LIMITS: Limits = Limits {
    torrents_max: 10,
    peers_max: 100_000,
    clients_max: 0,
    peer_timeout: Seconds(3600),
    interval: Seconds(1800),
    interval_max: Seconds(7200),
    count_unknown: false,
    deletions_max: 10,
    facts: Facts::Changed,
};

fn announce(user: u32, client: u32) -> Announce {
    let mut peer_id = *b"-XX0001-000000000000";
    peer_id[8..12].copy_from_slice(&client.to_be_bytes());
    Announce {
        info_hash: NAME,
        user: User { id: UserId(user), can_leech: true, hidden: false, group: None },
        peer_id: PeerId(peer_id),
        key: 0,
        endpoints: Endpoints::new(Some(Ipv4Addr::from(0x2d00_0000 + client)), None, 1),
        counters: Counters { uploaded: u64::from(client), ..Counters::default() },
        left: u64::from(client % 3),
        event: Event::None,
        numwant: 50,
        families: Families { v4: true, v6: true },
        assumed: Families::default(),
        interval: Seconds(1800),
        downloads_full: false,
    }
}

fn swarms(clients: u32, user: impl Fn(u32) -> u32) -> Swarms {
    let mut swarms = Swarms::new(3, LIMITS);
    let terms = Terms { id: TorrentId(1), freeleech: Freeleech::None, upload_percent: 100 };
    swarms.register(NAME, terms).unwrap();
    let (mut random, mut reply) = (fastrand::Rng::with_seed(5), Reply::default());
    for client in 0..clients {
        let announce = announce(user(client), client);
        swarms.announce(&announce, NOW, &mut random, &mut reply).unwrap();
    }
    swarms
}

#[test]
fn one_user_may_have_very_many_clients() {
    let mut swarms = swarms(2000, |_| 7);
    let counts = swarms.scrape(&NAME).unwrap();
    assert_eq!(counts.seeders + counts.leechers, 2000);
    let (mut random, mut reply) = (fastrand::Rng::with_seed(5), Reply::default());
    swarms.announce(&announce(7, 5), NOW, &mut random, &mut reply).unwrap();
    assert_eq!(reply.peers_v4, [], "they are all his own");
    swarms.set_limits(Limits { clients_max: 2000, ..LIMITS });
    let one_more = swarms.announce(&announce(7, 9999), NOW, &mut random, &mut reply);
    assert_eq!(one_more.unwrap_err(), shard::private::Refusal::ClientsMax);
    swarms.set_limits(Limits { clients_max: 2001, ..LIMITS });
    swarms.announce(&announce(7, 9999), NOW, &mut random, &mut reply).unwrap();
}

#[test]
fn a_large_torrent_is_taken_down_bit_by_bit() {
    let mut swarms = swarms(20_000, |client| client);
    (0..1000).for_each(|user| _ = swarms.set_token(UserId(user), &NAME, None));
    let mut gone = Vec::new();
    assert!(swarms.unregister(&NAME, "", NOW, &mut gone).is_some());
    assert_eq!((swarms.totals().torrents, swarms.totals().peers), (0, 0));
    while gone.len() < 20_000 {
        let before = gone.len();
        swarms.expire(NOW, 500, &mut gone);
        assert!((1..1000).contains(&(gone.len() - before)), "{}", gone.len() - before);
    }
    let users: BTreeSet<UserId> = gone.iter().map(|gone| gone.user).collect();
    assert_eq!(users.len(), 20_000, "everybody once");
    (0..40).for_each(|_| _ = swarms.expire(NOW, 500, &mut gone));
    assert_eq!((gone.len(), swarms.totals().tokens), (20_000, 0));
}

#[test]
fn nobody_who_stays_is_missing_in_a_snapshot_while_others_leave() {
    // Others leave so fast that tables shrink under the export.
    for seed in 0..20 {
        let mut swarms = swarms(6000, |client| client);
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut cursor, mut pieces, mut finished) = (Cursor::default(), Vec::new(), false);
        let (mut leaving, mut reply) = ((0..6000).collect::<Vec<u32>>(), Reply::default());
        random.shuffle(&mut leaving);
        while !finished {
            let mut piece = Piece::default();
            finished = swarms.export(&mut cursor, 1 + random.usize(..300), &mut piece);
            pieces.push(piece);
            for _ in 0..random.usize(..500) {
                if leaving.len() > 20 {
                    let client = leaving.pop().unwrap();
                    let stops = Announce { event: Event::Stopped, ..announce(client, client) };
                    swarms.announce(&stops, NOW, &mut random, &mut reply).unwrap();
                }
            }
        }
        let mut restarted = Swarms::new(9, LIMITS);
        pieces.iter().for_each(|piece| import(&mut restarted, piece));
        let (_, found) = restarted.swarm(&NAME, usize::MAX).unwrap();
        let found: BTreeSet<u32> = found.iter().map(|peer| peer.user.0).collect();
        assert!(leaving.iter().all(|client| found.contains(client)), "seed {seed}");
    }
}

#[test]
fn who_is_refused_leaves_as_who_falls_silent() {
    for clients in [90, 6000] {
        let mut swarms = swarms(clients, |client| client);
        let is_refused = |address: std::net::IpAddr| match address {
            std::net::IpAddr::V4(address) => u32::from(address).is_multiple_of(3),
            std::net::IpAddr::V6(_) => false,
        };
        let mut gone = Vec::new();
        swarms.expire(NOW, 50, &mut gone);
        assert!(gone.is_empty());
        swarms.sweep_anew();
        for _ in 0..2 {
            while !swarms.expire_refusing(NOW, 100, Some(&is_refused), &mut gone).finished {}
        }
        let refused = (0..clients).filter(|client| (0x2d00_0000 + client) % 3 == 0).count();
        assert_eq!(gone.len(), refused);
        assert_eq!(swarms.totals().peers, clients as usize - refused);
        // Each is a record, by which a crash does not bring it back.
        assert!(gone.iter().all(|gone| gone.swarm.is_some() && gone.at == NOW));
    }
}
