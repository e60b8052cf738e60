//! Who is screened at a private tracker: by the addresses that a trusted proxy names, and nothing is lost of what was credited.

use std::net::SocketAddr;

use rustix::process::Signal;

use super::{Site, announce};
use crate::screening::Rules;
use crate::tracker::bencode::Value;
use crate::tracker::http::{Http, peers};
use crate::tracker::{HOMES, patiently};

/// What a user's announce is answered that a proxy brings from this address; nothing where it is closed.
fn ask(site: &Site, from: &str, user: u32, torrent: &str, more: &str) -> Option<Value> {
    let target = announce(user, torrent, 7000 + user as u16, more);
    let mut client = Http::connect(site.tracker().http(HOMES[0]));
    client.try_send(format!("GET {target} HTTP/1.1\r\nX-Forwarded-For: {from}\r\n\r\n")).ok()?;
    Some(client.try_page(true)?.dictionary())
}

#[test]
fn users_are_screened_by_the_addresses_that_a_proxy_names() {
    let rules = Rules::new();
    let database = rules.database(&[("5.0.0.0/8", "CU"), ("1.0.0.0/8", "US"), ("2a00::/16", "US")]);
    let deny = rules.list("deny", "192.0.2.0/24");
    let options = format!(
        "--trusted-proxy 127.0.0.1/32 --screen-deny-country CU --screen-unknown defer --screen-database {database} \
         --screen-deny-list {deny}"
    );
    let Some(mut site) = Site::open("screened", &options) else { return };
    (1..=6).for_each(|user| site.add_user(user));
    site.add_torrent(10, "disk");
    let torrent = "disk";
    let seeds = "uploaded=0&downloaded=0&left=0&event=started";
    let leeches = "uploaded=0&downloaded=0&left=9&event=started";
    for refused in ["5.1.1.1", "192.0.2.7", "2002:501:101::1", "::ffff:5.1.1.1"] {
        assert!(ask(&site, refused, 1, torrent, seeds).is_none(), "{refused}");
    }
    // Who is deferred is told nobody, and nothing is booked.
    assert!(ask(&site, "1.1.1.3", 3, torrent, seeds).is_some());
    let deferred = ask(&site, "77.1.1.1", 4, torrent, leeches).unwrap();
    assert!(deferred.find("failure reason").is_none());
    assert!(peers(&deferred).is_empty());
    assert!((60..=120).contains(&deferred.integer("interval")), "{deferred:?}");
    let told = ask(&site, "1.1.1.5", 5, torrent, leeches).unwrap();
    let expected: SocketAddr = "1.1.1.3:7003".parse().unwrap();
    assert_eq!(peers(&told), [expected].into());
    // The proxy itself is none of the rules' business, but it may ask for itself.
    assert!(ask(&site, "127.0.0.1", 6, torrent, leeches).is_some());

    // What a user has is kept when a new rule refuses him, and nobody is told of him from then on.
    let more = "uploaded=1000&downloaded=0&left=0";
    assert!(ask(&site, "1.1.1.3", 3, torrent, more).is_some());
    rules.list("deny", "192.0.2.0/24 1.1.1.3");
    site.tracker().signal(Signal::HUP);
    site.tracker().logged("rules about addresses read again");
    patiently("he is refused", || ask(&site, "1.1.1.3", 3, torrent, more).is_none().then_some(()));
    for _ in 0..20 {
        let told = ask(&site, "1.1.1.5", 5, torrent, "uploaded=0&downloaded=0&left=9").unwrap();
        assert!(!peers(&told).contains(&expected), "{told:?}");
    }
    site.check_credit(3, [1000, 0]);
    let rows = |site: &mut Site, user: i64| {
        let query = "SELECT count(*) FROM peers WHERE user_id = $1 AND active";
        site.database.query_one(query, &[&user]).unwrap().get::<_, i64>(0)
    };
    patiently("he has left", || (rows(&mut site, 3) == 0).then_some(()));
    for user in [1, 2, 4] {
        assert_eq!(rows(&mut site, user), 0, "{user}");
    }
    site.check_credit(3, [1000, 0]);
    // When the rule goes, he begins anew: what he moves from then on is credited.
    rules.list("deny", "192.0.2.0/24");
    patiently("he is served", || {
        let more = "uploaded=1500&downloaded=0&left=0";
        ask(&site, "1.1.1.3", 3, torrent, more)
    });
    assert!(ask(&site, "1.1.1.3", 3, torrent, "uploaded=1700&downloaded=0&left=0").is_some());
    site.check_credit(3, [1200, 0]);
}
