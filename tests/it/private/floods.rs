//! Floods at a private tracker: who asks too often has to wait, and nothing is lost of what users have moved.

use std::io::{Read, Write};
use std::net::IpAddr;

use super::{REPORT, Site, announce, passkey};
use crate::floods::{host, udp_from};
use crate::private::api::margay;
use crate::tracker::http::{Http, stream_from};
use crate::tracker::udp::{Announce, STOPPED, Udp};
use crate::tracker::{HOMES, hash, patiently};

/// Announces a seeder over a connection of its own; whether that was answered, and so booked, and not closed.
fn says(site: &Site, from: IpAddr, user: u32, uploaded: u64, event: &str) -> bool {
    let more = format!("uploaded={uploaded}&downloaded=0&left=0&event={event}");
    let target = announce(user, "disk", 7000 + user as u16, &more);
    let mut stream = stream_from(from, site.tracker().http(HOMES[0]));
    Http::prepare(&stream);
    let (request, mut answer) =
        (format!("GET {target} HTTP/1.1\r\nConnection: close\r\n\r\n"), Vec::new());
    // Who is refused may be cut off while he asks.
    let _ = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("failure reason"), "{answer}");
    answer.starts_with("HTTP/1.1 200 ")
}

/// The same announce over UDP (BEP 41).
fn datagram(client: &Udp, user: u32, uploaded: u64, event: u32) -> Vec<u8> {
    let (left, port) = (0, 7000 + user as u16);
    let announce = Announce { uploaded, left, event, ..Announce::new(hash("disk"), port) };
    let url = format!("/{}/announce", passkey(user));
    let mut datagram = client.announce_request(&announce);
    datagram.extend([2, url.len() as u8]);
    datagram.extend(url.as_bytes());
    datagram
}

/// A torrent, and so many users.
fn open(test: &str, users: u32, options: &str) -> Option<Site> {
    let site = Site::open(test, options)?;
    (1..=users).for_each(|user| site.add_user(user));
    site.add_torrent(10, "disk");
    Some(site)
}

fn command(site: &Site, args: &str) -> String {
    let (control, data) = (site.tracker().control(), site.data().display());
    let said = margay(&[], &format!("{args} --control {control} --data {data}"));
    assert_eq!(said.code, 0, "{args}: {}", said.err);
    said.out
}

#[test]
fn f8_who_asks_too_often_waits_and_nothing_that_was_moved_is_lost() {
    let options = "--cores 1 --rate-requests 1/h:4 --rate-exempt 127.0.0.9/32";
    // What the site says is never too much, though it has said more than that by now.
    let Some(mut site) = open("floods_rate", 9, options) else { return };
    let to = site.tracker().http(HOMES[0]);
    let report = |password: &str| {
        let mut client = Http::connect(to);
        client.send(format!("GET /{password}/report?get=stats HTTP/1.1\r\n\r\n"));
        client.try_page(true).is_some()
    };
    assert!(report(REPORT) && !report("another"));

    let (from, exempt) = (host(2), host(9));
    for uploaded in [0, 100, 200, 300] {
        assert!(says(&site, from, 1, uploaded, if uploaded == 0 { "started" } else { "" }));
    }
    site.check_credit(1, [300, 0]);
    // What is turned away is not booked, and what is heard next says all of it.
    assert!(!says(&site, from, 1, 400, "") && !says(&site, from, 1, 400, "completed"));
    let client = udp_from(site.tracker(), from);
    client.check_silence(datagram(&client, 1, 500, 0));
    site.check_credit(1, [300, 0]);
    assert!(says(&site, exempt, 1, 600, ""));
    site.check_credit(1, [600, 0]);

    // `stopped` is not said again. So there is room for it, as much as for all else, but for who has no passkey.
    assert!(!says(&site, from, 77, 1, "stopped"));
    assert!(says(&site, from, 1, 700, "stopped"));
    for user in 2..=9 {
        assert!(says(&site, exempt, user, 0, "started"));
    }
    assert_eq!(client.ask(datagram(&client, 2, 50, STOPPED))[..4], [0, 0, 0, 1]);
    assert!(says(&site, from, 3, 60, "stopped") && says(&site, from, 4, 70, "stopped"));
    for (user, uploaded) in [(1, 700), (2, 50), (3, 60), (4, 70)] {
        site.check_credit(user, [uploaded, 0]);
    }
    assert!((5..=9).all(|user| !says(&site, from, user, 80, "stopped")));
    client.check_silence(datagram(&client, 5, 80, STOPPED));
    assert!(says(&site, exempt, 5, 90, "stopped"));
    site.check_credit(5, [90, 0]);
    site.check_credit(6, [0, 0]);
    let udp = ["reason=\"rate\"", "protocol=\"udp\""];
    site.tracker().await_metric("margay_refusals_total", &udp, 2.0);
}

#[test]
fn f8_what_is_shed_is_booked_later_and_the_last_of_a_client_at_once() {
    let options = "--cores 1 --shed-above http4=2 --shed-above udp4=2";
    let Some(mut site) = open("floods_shed", 2, options) else { return };
    patiently("it is served", || says(&site, HOMES[0], 1, 0, "started").then_some(()));
    let mut uploaded = 0;
    patiently("one is shed", || {
        uploaded += 100;
        (!says(&site, HOMES[0], 1, uploaded, "")).then_some(())
    });
    assert!(says(&site, HOMES[0], 1, uploaded + 10, "stopped"));
    site.check_credit(1, [uploaded as i64 + 10, 0]);
    // Over UDP one of many at once is dropped, and the last one is not.
    let client = udp_from(site.tracker(), HOMES[0]);
    let shed =
        || site.tracker().metric("margay_refusals_total", &["reason=\"shed\"", "protocol=\"udp\""]);
    let mut moved = 0;
    patiently("one is shed", || {
        (0..10).for_each(|_| {
            moved += 100;
            client.send(&datagram(&client, 2, moved, 0));
        });
        (shed() > 0.0).then_some(())
    });
    client.send(&datagram(&client, 2, moved + 10, STOPPED));
    // The first one that was heard is what the others are measured by.
    let query = "SELECT uploaded::bigint FROM users WHERE id = 2";
    patiently("it is credited", || {
        let credited: i64 = site.database.query_one(query, &[]).unwrap().get(0);
        (credited % 100 == 10).then_some(())
    });
}

#[test]
fn f8_bans_and_switches_shut_users_out_and_take_nothing_from_them() {
    let Some(mut site) = open("floods_bans", 2, "--cores 2") else { return };
    let from = host(2);
    for uploaded in [0, 100] {
        assert!(says(&site, from, 1, uploaded, "") && says(&site, HOMES[0], 2, uploaded, ""));
    }
    let client = udp_from(site.tracker(), HOMES[0]);
    // Services that are off book nothing, and what is heard when they are on again says all of it.
    command(&site, "service udp4 off");
    client.send(&datagram(&client, 2, 200, 0));
    assert!(says(&site, HOMES[0], 2, 300, ""));
    site.check_credit(2, [300, 0]);
    command(&site, "service http4 off");
    command(&site, "service udp4 on");
    let client = udp_from(site.tracker(), HOMES[0]);
    assert_eq!(client.ask(datagram(&client, 2, 400, 0))[..4], [0, 0, 0, 1]);
    command(&site, "service http4 on");
    assert!(says(&site, HOMES[0], 2, 500, ""));
    site.check_credit(2, [500, 0]);

    command(&site, "ban 127.0.0.2 --reason a-flood");
    for event in ["", "stopped"] {
        assert!(!says(&site, from, 1, 200, event), "{event}");
    }
    assert!(says(&site, HOMES[0], 2, 600, ""));
    let rows = "SELECT count(*) FROM peers WHERE user_id = 1 AND active";
    patiently("he has left", || {
        (site.database.query_one(rows, &[]).unwrap().get::<_, i64>(0) == 0).then_some(())
    });
    site.check_credit(1, [100, 0]);
    command(&site, "unban 127.0.0.2");
    assert!(says(&site, from, 1, 1000, "") && says(&site, from, 1, 1050, ""));
    site.check_credit(1, [150, 0]);
    site.check_credit(2, [600, 0]);
}
