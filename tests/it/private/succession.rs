//! A client that comes back under a new name at the same address and port is the old one's successor.

use std::net::IpAddr;

use super::{Site, passkey};
use crate::tracker::http::{answer, counts, escape, fetch, peers};
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, at, hash, patiently, peer_id};

/// Where the client of user 1 listens.
const PORT: u16 = 7001;

/// What the client of a user that calls itself `name` announces, from the port of this user.
fn as_name(user: u32, name: u16, torrent: &str, more: &str) -> String {
    format!(
        "/{}/announce?info_hash={}&peer_id={}&port={}&compact=1&{more}",
        passkey(user),
        escape(&hash(torrent)),
        escape(&peer_id(name)),
        PORT + user as u16 - 1,
    )
}

/// The same over UDP; seeders and leechers.
fn over_udp(site: &Site, home: IpAddr, user: u32, name: u16, left: u64) -> [u32; 2] {
    let path = format!("/{}/announce", passkey(user));
    let announced = Udp::connect(site.tracker().udp(home)).announce(&Announce {
        peer_id: peer_id(name),
        left,
        options: [&[2, path.len() as u8], path.as_bytes()].concat(),
        ..Announce::new(hash("disk"), PORT + user as u16 - 1)
    });
    [announced.seeders, announced.leechers]
}

fn open(test: &str, options: &str) -> Option<Site> {
    let site = Site::open(test, options)?;
    (1..=3).for_each(|user| site.add_user(user));
    for (id, name) in [(10, "disk"), (11, "tape"), (12, "book")] {
        site.add_torrent(id, name);
    }
    Some(site)
}

/// Clients that are active in the database.
#[track_caller]
fn check_active(site: &mut Site, user: i64, names: &[u16]) {
    let expected: Vec<Vec<u8>> = names.iter().map(|name| peer_id(*name).to_vec()).collect();
    let query = "SELECT peer_id FROM peers WHERE user_id = $1 AND active ORDER BY peer_id";
    patiently(&format!("active clients of user {user}"), || {
        let rows = site.database.query(query, &[&user]).unwrap();
        let found: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
        (found == expected).then_some(())
    });
}

#[test]
fn d11_who_comes_back_under_a_new_name_is_one_client() {
    let options = "--cores 2 --clients-per-torrent-max 1";
    let Some(mut site) = open("succession", options) else { return };
    let left = |left: u32, event: &str| format!("uploaded=0&downloaded=0&left={left}{event}");
    for (home, names) in HOMES.into_iter().zip([0, 10]) {
        let http = site.tracker().http(home);
        let told = || peers(&answer(http, as_name(2, 200 + names, "disk", &left(100, ""))));
        // Crashed again and again, with an event and without, and completed meanwhile.
        for (name, is_left, event) in
            [(1, 100, "&event=started"), (2, 100, "&event=started"), (3, 100, ""), (4, 0, "")]
        {
            let is = counts(&answer(http, as_name(1, names + name, "disk", &left(is_left, event))));
            let others = i64::from(name > 1);
            let expected = if is_left == 0 { [1, others, 0] } else { [0, 1 + others, 0] };
            assert_eq!(is, expected, "{home} {name}");
            assert_eq!(told(), at(home, [PORT]), "{home} {name}");
        }
        assert_eq!(over_udp(&site, home, 1, names + 5, 0), [1, 1]);
        assert_eq!(told(), at(home, [PORT]), "{home}");
        // Another port is another client, and one too many.
        let other = as_name(1, names + 6, "disk", &left(0, "")).replace("port=7001", "port=7009");
        assert_eq!(fetch(http, other).failure(), "Too many clients of yours on this torrent");
        // A user of his own at the same endpoint is somebody else.
        let third = as_name(3, names + 7, "disk", &left(0, "")).replace("port=7003", "port=7001");
        assert_eq!(counts(&answer(http, &third))[0], 2, "{home}");
        answer(http, third + "&event=stopped");
        answer(http, as_name(2, 200 + names, "disk", &left(100, "&event=stopped")));
        if home == HOMES[0] {
            answer(http, as_name(1, names + 5, "disk", &left(0, "&event=stopped")));
        }
    }
    check_active(&mut site, 1, &[15]);
    // The journal says so too, and the snapshot.
    let http = |site: &Site| site.tracker().http(HOMES[1]);
    for round in 0..2_u16 {
        let name = 300 + round;
        match round {
            0 => site.kill(),
            _ => site.stop(),
        }
        site.start();
        let found = counts(&answer(http(&site), as_name(2, name, "disk", &left(100, ""))));
        assert_eq!(found, [1, 1, 0], "{round}");
        answer(http(&site), as_name(2, name, "disk", &left(100, "&event=stopped")));
    }
}

#[test]
fn d11_who_moves_to_the_endpoint_of_another_takes_its_place() {
    let Some(mut site) = open("succession_moves", "") else { return };
    let http = site.tracker().http(HOMES[0]);
    let says = |name, port| {
        let seeds = as_name(1, name, "disk", "uploaded=0&downloaded=0&left=0");
        counts(&answer(http, seeds.replace("port=7001", &format!("port={port}"))))[0]
    };
    assert_eq!([says(1, 1111), says(2, 2222), says(2, 1111), says(2, 1111)], [1, 2, 1, 1]);
    // Nobody is reached at port 0, so that one is nobody's successor there.
    assert_eq!([says(3, 0), says(4, 0), says(2, 0)], [2, 3, 3]);
    check_active(&mut site, 1, &[2, 3, 4]);
}

#[test]
fn d11_a_ghost_takes_no_place_in_a_group() {
    let Some(mut site) = open("ghost_group", "--cores 2") else { return };
    site.bound_downloads(1, 2);
    let http = site.tracker().http(HOMES[0]);
    let starts = |name, torrent| {
        let more = "uploaded=0&downloaded=0&left=100&event=started";
        let page = fetch(http, as_name(1, name, torrent, more));
        page.dictionary().find("failure reason").map(|_| page.failure())
    };
    assert_eq!((starts(1, "disk"), starts(1, "tape")), (None, None));
    patiently("the bound of the group", || {
        let refused = starts(1, "book").is_some();
        let stopped = "uploaded=0&downloaded=0&left=100&event=stopped";
        answer(http, as_name(1, 1, "book", stopped));
        refused.then_some(())
    });
    for name in 2..5 {
        assert_eq!((starts(name, "disk"), starts(name, "tape")), (None, None), "{name}");
        assert!(starts(name, "book").is_some(), "the bound holds");
        let stopped = "uploaded=0&downloaded=0&left=100&event=stopped";
        answer(http, as_name(1, name, "book", stopped));
    }
}

#[test]
fn d11_two_clients_behind_one_endpoint_are_credited_both() {
    let Some(mut site) = open("one_endpoint", "") else { return };
    let http = site.tracker().http(HOMES[0]);
    for uploaded in [0, 1000, 3000, 3500] {
        for name in [1, 2] {
            let event = if uploaded == 0 { "&event=started" } else { "" };
            let more =
                format!("uploaded={}&downloaded=0&left=0{event}", uploaded * u32::from(name));
            assert_eq!(counts(&answer(http, as_name(1, name, "disk", &more)))[0], 1);
        }
    }
    site.check_credit(1, [3500 + 7000, 0]);
    // What one has said within moments and says again does not bring it back.
    let again = "uploaded=3500&downloaded=0&left=0";
    assert_eq!(counts(&answer(http, as_name(1, 1, "disk", again)))[0], 1);
    check_active(&mut site, 1, &[2]);
    let stopped = "uploaded=7100&downloaded=0&left=0&event=stopped";
    assert_eq!(counts(&answer(http, as_name(1, 2, "disk", stopped)))[0], 0);
    let stopped = "uploaded=3700&downloaded=0&left=0&event=stopped";
    assert_eq!(counts(&answer(http, as_name(1, 1, "disk", stopped)))[0], 0);
    site.check_credit(1, [3700 + 7100, 0]);
}
