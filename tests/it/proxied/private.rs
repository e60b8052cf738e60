//! The same of a private tracker.

use std::net::SocketAddr;

use super::{OPTIONS, PROXIED, PROXY, STRANGER, bytes, line};
use crate::private::{Site, announce};
use crate::tracker::HOMES;
use crate::tracker::http::{Http, peers};

#[test]
fn users_of_a_private_tracker_have_their_own_addresses_behind_proxies() {
    let Some(site) = Site::open("proxied", OPTIONS) else { return };
    (1..=5).for_each(|user| site.add_user(user));
    site.add_torrent(10, "disk");
    let (plain, proxied) = (site.tracker().http(HOMES[0]), site.tracker().http_at(PROXIED));
    let says = |client: &mut Http, user: u32, headers: &str, left: u32| {
        let more = format!("uploaded=0&downloaded=0&left={left}&event=started");
        let target = announce(user, "disk", 7000 + user as u16, &more);
        client.send(format!("GET {target} HTTP/1.1\r\n{headers}\r\n"));
        peers(&client.page().dictionary())
    };
    let mut kept = Http::connect_from(PROXY, plain);
    says(&mut kept, 1, "X-Forwarded-For: 8.8.8.8, 9.9.1.1\r\n", 0);
    let mut by_line = Http::connect_from(PROXY, proxied);
    by_line.send(line("9.9.1.2:5"));
    says(&mut by_line, 2, "X-Forwarded-For: 8.8.8.8\r\n", 0);
    let mut by_bytes = Http::connect_from(PROXY, proxied);
    by_bytes.send(bytes("[2a00::3]:5", 1));
    says(&mut by_bytes, 3, "", 0);
    let mut forger = Http::connect_from(STRANGER, plain);
    says(&mut forger, 4, "X-Forwarded-For: 8.8.8.8\r\n", 0);
    let told = says(&mut kept, 5, "X-Forwarded-For: 9.9.1.5\r\n", 9);
    let expected = ["9.9.1.1:7001", "9.9.1.2:7002", "[2a00::3]:7003"];
    let expected = expected.map(|peer| peer.parse::<SocketAddr>().unwrap());
    assert_eq!(told, expected.into(), "and nobody who is on this machine");
}
