//! A client with an IPv4 and an IPv6 address is one peer with two endpoints and one account, however it
//! announces; and who has only one of the families is told an address that it can use.

use std::net::{IpAddr, SocketAddr};

use super::{Site, announce, passkey};
use crate::tracker::http::{answer, counts, escape, peers};
use crate::tracker::udp::{Announce, STARTED, STOPPED, Udp};
use crate::tracker::{HOMES, at, hash, patiently, peer_id};

/// The port of the client with both families, which is user 1's, and its key: as text over HTTP, as bytes
/// over UDP.
const PORT: u16 = 7001;
const KEY: &str = "key=0badcafe";
const KEY_BYTES: [u8; 4] = [0x0b, 0xad, 0xca, 0xfe];

/// A site with three users and a torrent.
fn open(test: &str, options: &str) -> Option<Site> {
    let site = Site::open(test, options)?;
    (1..=3).for_each(|user| site.add_user(user));
    site.add_torrent(10, "disk");
    Some(site)
}

/// The client of user 1, which has everything, has uploaded so much.
fn seeds_over_http(site: &Site, home: IpAddr, uploaded: u64, more: &str) -> [i64; 3] {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0&{KEY}{more}");
    counts(&answer(site.tracker().http(home), announce(1, "disk", PORT, &more)))
}

/// The same over UDP; seeders and leechers.
fn seeds_over_udp(site: &Site, home: IpAddr, uploaded: u64, event: u32) -> [u32; 2] {
    let udp = Udp::connect(site.tracker().udp(home));
    let announced = udp.announce(&Announce {
        uploaded,
        event,
        key: KEY_BYTES,
        options: url_data(1),
        ..Announce::seeder(hash("disk"), PORT)
    });
    [announced.seeders, announced.leechers]
}

/// The path of a user's announce URL (BEP 41).
fn url_data(user: u32) -> Vec<u8> {
    let path = format!("/{}/announce", passkey(user));
    [&[2, path.len() as u8], path.as_bytes()].concat()
}

/// A leecher of its own, with one family only, is told these peers over HTTP, and those of them that are
/// of its family over UDP.
#[track_caller]
fn check_told(site: &Site, user: u32, home: IpAddr, usable: SocketAddr) {
    let more = "uploaded=0&downloaded=0&left=100&event=started";
    let port = 7100 + user as u16;
    let told = peers(&answer(site.tracker().http(home), announce(user, "disk", port, more)));
    assert!(told.contains(&usable), "{home} is told {told:?} over HTTP");
    let gone = announce(user, "disk", port, "uploaded=0&downloaded=0&left=100&event=stopped");
    answer(site.tracker().http(home), gone);

    let udp = Udp::connect(site.tracker().udp(home));
    let leecher = Announce { options: url_data(user), ..Announce::new(hash("disk"), port) };
    let told = udp.announce(&leecher).peers;
    assert_eq!(told, [usable].into(), "{home} over UDP");
    udp.announce(&leecher.event(STOPPED));
}

/// The table `peers` has one row, with both addresses.
#[track_caller]
fn check_row(site: &mut Site, v4: &str, v6: &str) {
    let query = "SELECT host(address_v4), host(address_v6) FROM peers WHERE user_id = 1";
    patiently("both addresses in one row", || {
        let rows = site.database.query(query, &[]).unwrap();
        let addresses = |row: &postgres::Row| -> [Option<String>; 2] { [row.get(0), row.get(1)] };
        assert!(rows.len() <= 1, "{} rows", rows.len());
        let row = addresses(rows.first()?);
        (row == [Some(v4.to_owned()), Some(v6.to_owned())]).then_some(())
    });
}

#[test]
fn d2_over_http_a_client_of_both_families_is_one_peer_and_one_account() {
    let Some(mut site) = open("dual_http", "") else { return };
    for home in HOMES {
        assert_eq!(seeds_over_http(&site, home, 0, "&event=started"), [1, 0, 0], "{home}");
    }
    for home in HOMES {
        assert_eq!(seeds_over_http(&site, home, 5000, ""), [1, 0, 0], "{home}");
    }
    for (user, home) in [2, 3].into_iter().zip(HOMES) {
        check_told(&site, user, home, SocketAddr::new(home, PORT));
    }
    // Another peer id is another client, though all else is the same.
    let more = "uploaded=0&downloaded=0&left=0&key=00000001&event=";
    let http = site.tracker().http(HOMES[0]);
    let other = |event: &str| {
        // It has a port of its own: who is at the same endpoint is the same client.
        let other = announce(1, "disk", PORT, &format!("{more}{event}"));
        let other = other.replace(&format!("port={PORT}&"), "port=7999&");
        other.replace(&escape(&peer_id(PORT)), &escape(&peer_id(7999)))
    };
    assert_eq!(counts(&answer(http, other("started")))[0], 2);
    answer(http, other("stopped"));
    site.check_credit(1, [5000, 0]);
    // It is there until it has left over both.
    for (home, seeders) in HOMES.into_iter().zip([1, 0]) {
        let counts = seeds_over_http(&site, home, 6000, "&event=stopped");
        assert_eq!(counts, [seeders, 0, 0], "{home}");
    }
    // Whichever family says it last, it is credited once.
    site.check_credit(1, [6000, 0]);
}

#[test]
fn d2_over_udp_a_client_of_both_families_is_one_peer_and_one_account() {
    let Some(mut site) = open("dual_udp", "") else { return };
    for home in HOMES {
        assert_eq!(seeds_over_udp(&site, home, 0, STARTED), [1, 0], "{home}");
    }
    for uploaded in [5000, 9000] {
        for home in HOMES {
            assert_eq!(seeds_over_udp(&site, home, uploaded, 0), [1, 0], "{home}");
        }
    }
    for (user, home) in [2, 3].into_iter().zip(HOMES) {
        check_told(&site, user, home, SocketAddr::new(home, PORT));
    }
    check_row(&mut site, "127.0.0.1", "::1");
    site.check_credit(1, [9000, 0]);
    for (home, seeders) in HOMES.into_iter().zip([1, 0]) {
        assert_eq!(seeds_over_udp(&site, home, 9000, STOPPED), [seeders, 0], "{home}");
    }
    site.check_credit(1, [9000, 0]);
}

#[test]
fn d2_one_family_over_http_and_the_other_over_udp_are_one_peer() {
    let Some(mut site) = open("dual_both", "--cores 2") else { return };
    assert_eq!(seeds_over_http(&site, HOMES[0], 0, "&event=started"), [1, 0, 0]);
    assert_eq!(seeds_over_udp(&site, HOMES[1], 0, STARTED), [1, 0]);
    assert_eq!(seeds_over_http(&site, HOMES[0], 3000, ""), [1, 0, 0]);
    assert_eq!(seeds_over_udp(&site, HOMES[1], 4000, 0), [1, 0]);
    for (user, home) in [2, 3].into_iter().zip(HOMES) {
        check_told(&site, user, home, SocketAddr::new(home, PORT));
    }
    site.check_credit(1, [4000, 0]);
}

#[test]
fn d3_from_a_trusted_network_one_announce_names_both_addresses() {
    let Some(mut site) = open("dual_claims", "--trusted-network 127.0.0.0/8,::1/128") else {
        return;
    };
    let (v4, v6): (IpAddr, IpAddr) = ("8.8.4.4".parse().unwrap(), "2a00:1450::7".parse().unwrap());
    for home in HOMES {
        let claims = format!("&ipv4={v4}&ipv6={v6}");
        assert_eq!(seeds_over_http(&site, home, 0, &format!("{claims}&event=started")), [1, 0, 0]);
        assert_eq!(seeds_over_http(&site, home, 700, &claims), [1, 0, 0], "{home}");
        // The other way round, and with ports as BEP 7 allows.
        let claims = format!("&ipv6=[{v6}]:{PORT}&ipv4={v4}:{PORT}");
        assert_eq!(seeds_over_http(&site, home, 700, &claims), [1, 0, 0], "{home}");
    }
    for (user, (home, public)) in [2, 3].into_iter().zip(HOMES.into_iter().zip([v4, v6])) {
        check_told(&site, user, home, SocketAddr::new(public, PORT));
    }
    check_row(&mut site, "8.8.4.4", "2a00:1450::7");
    // One session: within moments, the second `started` is the first one said again (D7).
    site.check_credit(1, [700, 0]);
}

#[test]
fn d3_from_elsewhere_nobody_names_addresses() {
    let Some(mut site) = open("dual_untrusted", "") else { return };
    let claims = "&ipv4=8.8.4.4&ipv6=2a00:1450::7&ip=8.8.8.8&event=started";
    assert_eq!(seeds_over_http(&site, HOMES[0], 0, claims), [1, 0, 0]);
    let leecher = announce(2, "disk", 7102, "uploaded=0&downloaded=0&left=100&event=started");
    for home in HOMES {
        let told = peers(&answer(site.tracker().http(home), &leecher));
        assert_eq!(told, at(HOMES[0], [PORT]), "{home}");
    }
    let query = "SELECT host(address_v4) FROM peers WHERE user_id = 1 AND address_v6 IS NULL";
    let found = patiently("the row of the seeder", || {
        Some(site.database.query_opt(query, &[]).unwrap()?.get::<_, String>(0))
    });
    assert_eq!(found, "127.0.0.1");
}

/// The client of user 1 says that this is its port over `home`, by HTTP, or by UDP.
fn says_port(site: &Site, home: IpAddr, port: u16, over_udp: bool) {
    if over_udp {
        let says = Announce {
            port,
            key: KEY_BYTES,
            options: url_data(1),
            ..Announce::seeder(hash("disk"), PORT)
        };
        Udp::connect(site.tracker().udp(home)).announce(&says);
    } else {
        let name = announce(1, "disk", PORT, &format!("uploaded=0&downloaded=0&left=0&{KEY}"));
        let name = name.replace(&format!("port={PORT}&"), &format!("port={port}&"));
        assert_eq!(counts(&answer(site.tracker().http(home), name)), [1, 0, 0]);
    }
}

/// Leechers of each family are told the client of user 1 with these ports, and not at all where that is 0.
#[track_caller]
fn check_ports(site: &Site, ports: [u16; 2]) {
    for (home, port) in HOMES.into_iter().zip(ports) {
        let more = "uploaded=0&downloaded=0&left=100&event=";
        let ask = |event: &str| announce(2, "disk", 7102, &format!("{more}{event}"));
        let told = peers(&answer(site.tracker().http(home), ask("started")));
        answer(site.tracker().http(home), ask("stopped"));
        let told: Vec<_> = told.into_iter().filter(|at| at.ip() == home).collect();
        let expected: Vec<_> = [SocketAddr::new(home, port)].into_iter().collect();
        assert_eq!(told, if port == 0 { Vec::new() } else { expected }, "{home}");
    }
}

#[test]
fn d10_each_family_keeps_its_own_port() {
    let Some(mut site) = open("dual_ports", "--cores 2 --snapshot-interval 1s") else { return };
    let [v4, v6] = HOMES;
    for over_udp in [false, true] {
        says_port(&site, v4, 1111, over_udp);
        says_port(&site, v6, 2222, over_udp);
        check_ports(&site, [1111, 2222]);
        says_port(&site, v4, 1111, over_udp);
        check_ports(&site, [1111, 2222]);
        // Who cannot be reached over one family says so of that family.
        says_port(&site, v6, 0, over_udp);
        check_ports(&site, [1111, 0]);
        says_port(&site, v4, 0, !over_udp);
        says_port(&site, v6, 3333, over_udp);
        check_ports(&site, [0, 3333]);
    }
    says_port(&site, v4, 1111, false);
    let query = "SELECT port, port_v6 FROM peers WHERE user_id = 1";
    let in_row = |site: &mut Site, expected: [Option<i32>; 2]| {
        patiently("a port for each address", || {
            let row = site.database.query_opt(query, &[]).unwrap()?;
            ([row.get::<_, Option<i32>>(0), row.get(1)] == expected).then_some(())
        });
    };
    in_row(&mut site, [Some(1111), Some(3333)]);
    // From the journal, and from a snapshot.
    site.kill();
    site.start();
    check_ports(&site, [1111, 3333]);
    site.stop();
    site.start();
    check_ports(&site, [1111, 3333]);
    let api = super::api::Api::of(&site);
    let page = api.done("GET", &format!("torrents/{}/peers", super::api::hex("disk")), ().into());
    let peer = &page["peers"][0];
    assert_eq!((&peer["port"], &peer["port_v6"]), (&1111.into(), &3333.into()), "{page}");
    // Who leaves over one family is there with the port of the other.
    assert_eq!(seeds_over_http(&site, v4, 0, "&event=stopped"), [1, 0, 0]);
    check_ports(&site, [0, 3333]);
    in_row(&mut site, [Some(3333), Some(3333)]);
}

#[test]
fn d10_a_claim_without_a_port_leaves_the_port_that_the_family_has_said() {
    let options = "--trusted-network 127.0.0.0/8";
    let Some(site) = open("dual_assumed", options) else { return };
    let public: IpAddr = "2a00:1450::7".parse().unwrap();
    let claims = |claim: &str| {
        assert_eq!(seeds_over_http(&site, HOMES[0], 0, claim), [1, 0, 0]);
    };
    let told = || {
        let more = "uploaded=0&downloaded=0&left=100&event=";
        let ask = |event: &str| announce(2, "disk", 7102, &format!("{more}{event}"));
        let told = peers(&answer(site.tracker().http(HOMES[1]), ask("started")));
        answer(site.tracker().http(HOMES[1]), ask("stopped"));
        told.into_iter().find(|at| at.ip() == public).map(|at| at.port())
    };
    claims(&format!("&ipv6={public}"));
    assert_eq!(told(), Some(PORT));
    claims(&format!("&ipv6=[{public}]:2222"));
    assert_eq!(told(), Some(2222));
    claims(&format!("&ipv6={public}"));
    assert_eq!(told(), Some(2222));
}
