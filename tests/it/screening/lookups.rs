//! Countries by DNS, with a name server of the test's own: what clients get while a country is looked up, what they get
//! then, and what happens where name servers do not answer as they should.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use super::{Rules, said, told};
use crate::names::{How, Names};
use crate::program::margay;
use crate::tracker::http::announce;
use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, Tracker, get, hash, patiently};

/// Options of a tracker that has proxies on loopback and asks there.
fn options(names: &Names) -> String {
    format!(
        "{} --trusted-proxy 127.0.0.1/32 --http 127.0.0.1:0 --http [::1]:0 --http 127.0.0.2:0 --udp 127.0.0.1:0 \
         --udp [::1]:0 --udp 127.0.0.2:0 --proxy-protocol 127.0.0.2:0",
        names.options()
    )
}

/// What an announce is answered that a proxy brings from this address; nothing where it is refused.
fn ask(tracker: &Tracker, from: &str, target: &str) -> String {
    let lines = format!("Host: a\r\nX-Forwarded-For: {from}\r\nConnection: close\r\n\r\n");
    let bytes = format!("GET {target} HTTP/1.1\r\n{lines}");
    let answer = said(tracker.http(HOMES[0]), HOMES[0], bytes);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Whether an answer says to come back in one to two minutes, and nothing else.
fn is_deferred(answer: &str) -> bool {
    let Some((_, rest)) = answer.split_once("8:intervali") else { return false };
    let interval: u32 = rest.split('e').next().unwrap().parse().unwrap();
    interval <= 120 && answer.contains("5:peers0:")
}

#[test]
fn e7_who_is_unknown_is_deferred_until_the_country_is_known() {
    let names = Names::start();
    let tracker = Tracker::start(&format!("--cores 2 {} --screen-unknown defer", options(&names)));
    let torrent = hash("a");
    names.be(How::Silent);
    let target = announce(torrent, 1, "&left=1");
    for _ in 0..5 {
        for from in ["5.1.1.1", "5.1.1.2", "1.1.1.1", "2a00:1::1"] {
            assert!(is_deferred(&ask(&tracker, from, &target)), "{from}");
        }
    }
    names.be(How::Well);
    // What nobody answered is asked again; here of others in the same zones.
    let await_verdict = |from: &str, is_served: bool| {
        patiently(from, || {
            let answer = ask(&tracker, from, &target);
            (!is_deferred(&answer))
                .then(|| assert_eq!(!answer.is_empty(), is_served, "{from}: {answer}"))
        });
    };
    for (from, is_served) in
        [("5.2.1.1", false), ("1.2.1.1", true), ("2a00:1:7::1", false), ("2002:503:101::1", false)]
    {
        await_verdict(from, is_served);
    }
    // Of a network that an answer named nobody is asked for again, on either core.
    for from in ["5.2.9.9", "1.2.200.1", "2a00:1:9::1"] {
        await_verdict(from, from.starts_with('1'));
        for _ in 0..8 {
            assert_eq!(ask(&tracker, from, &target).is_empty(), !from.starts_with('1'));
        }
    }
    for network in ["5.2.", "1.2."] {
        let asked = names.asked();
        let asked: Vec<_> = asked.iter().filter(|name| name.starts_with(network)).collect();
        assert_eq!(asked.len(), 1, "{asked:?}");
    }
    // Nobody knows: that is known as well, and asked once.
    let unknown = || names.asked().iter().filter(|name| name.starts_with("77.1.1.")).count();
    patiently("it is asked for", || {
        assert!(is_deferred(&ask(&tracker, "77.1.1.1", &target)));
        (unknown() > 0).then_some(())
    });
    tracker.await_metric("margay_screening_lookups_total", &["result=\"none\""], 1.0);
    for _ in 0..20 {
        assert!(is_deferred(&ask(&tracker, "77.1.1.9", &target)));
    }
    assert_eq!(unknown(), 1);
    // Private addresses and those of databases are not asked for.
    assert!(!is_deferred(&ask(&tracker, "10.0.0.1", &target)));
    assert!(!names.asked().iter().any(|name| name.starts_with("10.")));
    assert!(tracker.metric("margay_screening_lookups_total", &["result=\"country\""]) >= 4.0);
    let denied =
        || tracker.metric("margay_screened_total", &["rule=\"country\"", "country=\"CU\""]);
    patiently("those are counted", || (denied() > 1.0).then_some(()));
}

#[test]
fn e7_over_udp_only_who_has_shown_its_address_is_asked_for() {
    let names = Names::start();
    let tracker = Tracker::start(&format!("{} --screen-unknown defer", options(&names)));
    let mut proxy = Udp::at(tracker.udp_at(super::host(2)), HOMES[0]);
    let header = |number: u8| {
        let address = Ipv4Addr::new(5, 5, 5, number).to_ipv6_mapped().octets();
        [&[0x56, 0xEC][..], &address, &[0; 16], &[1, 1, 2, 2]].concat()
    };
    let ask = |proxy: &Udp, datagram: Vec<u8>| {
        proxy.send(&[header(1), datagram].concat());
        proxy.receive().split_off(header(1).len())
    };
    for _ in 0..20 {
        let reply = ask(&proxy, proxy.connect_request());
        proxy.id = u64::from_be_bytes(reply[8..].try_into().unwrap());
    }
    // What was not handed out.
    let request = proxy.announce_request(&Announce::new(hash("a"), 7001));
    proxy.send(&[&header(2), &request[..]].concat());
    proxy.send(&[&header(1)[..], &proxy.scrape_request(&[hash("a")])].concat());
    let reply = ask(&proxy, proxy.connect_request());
    assert_eq!((reply.len(), names.asked().len()), (16, 0));
    let reply = ask(&proxy, request.clone());
    assert_eq!((&reply[..4], reply.len()), (&[0, 0, 0, 1][..], 20));
    patiently("it is refused", || {
        proxy.send(&[&header(1), &request[..]].concat());
        thread::sleep(Duration::from_millis(20));
        (tracker.metric("margay_screened_total", &["rule=\"country\"", "country=\"CU\""]) > 0.0)
            .then_some(())
    });
    assert_eq!(names.asked(), ["5.5.5.1 v4.test"]);
}

#[test]
fn e7_who_was_served_meanwhile_is_told_to_nobody_when_the_country_is_known() {
    let names = Names::start();
    // An address whose last two bytes are the number of the country, of one family.
    let options =
        self::options(&names).replace("--screen-dns-zone-v6 v6.test", "--screen-dns-record a");
    let tracker = Tracker::start(&options.replace("v4.test", "num.test"));
    let torrent = hash("a");
    names.be(How::Silent);
    let seed = |from: &str| ask(&tracker, from, &announce(torrent, 1, "&left=0"));
    assert!(
        ["5.1.1.1", "5.1.2.1", "1.1.1.1", "2a00:1::1"].iter().all(|from| !seed(from).is_empty())
    );
    assert_eq!(told(&tracker, torrent).len(), 3);
    names.be(How::Well);
    patiently("what was not answered is asked again, and then it is refused", || {
        (seed("5.1.1.1").is_empty() && seed("5.1.2.1").is_empty()).then_some(())
    });
    assert_eq!(told(&tracker, torrent), ["1.1.1.1:1".parse().unwrap()].into());
    patiently("it is gone", || {
        (tracker.metric("margay_peers", &["family=\"ipv4\""]) <= 2.0).then_some(())
    });
    // The zone knows no IPv6.
    assert!(!seed("2a00:1::1").is_empty());
    assert!(names.asked().iter().all(|name| !name.starts_with("2.a")));
}

#[test]
fn e7_name_servers_that_fail_are_told_of_and_what_is_known_stays() {
    let names = Names::start();
    let mut tracker = Tracker::start(&format!("{} --screen-unknown deny", options(&names)));
    let target = announce(hash("a"), 1, "&left=0");
    let await_served = |from: &str| {
        patiently(from, || (!ask(&tracker, from, &target).is_empty()).then_some(()));
    };
    await_served("1.1.1.1");
    let health = || get(tracker.control(), "/health").unwrap();
    assert!(!health().contains("looked up"));
    let mut network = 10;
    for how in [How::Failing, How::Lying, How::Garbage, How::Silent] {
        names.be(how);
        for _ in 0..8 {
            network += 1;
            assert_eq!(ask(&tracker, &format!("1.{network}.1.1"), &target), "", "{how:?}");
        }
        patiently("health says so", || {
            health().contains("countries cannot be looked up").then_some(())
        });
        // What is known stays, and what is of another network is not taken.
        assert!(!ask(&tracker, "1.1.1.1", &target).is_empty(), "{how:?}");
        assert_eq!(ask(&tracker, &format!("1.{network}.1.1"), &target), "");
        names.be(How::Well);
        network += 1;
        await_served(&format!("1.{network}.1.1"));
        patiently("health says no more", || (!health().contains("looked up")).then_some(()));
    }
    tracker.logged("countries cannot be looked up");
    tracker.logged("countries are looked up again");
    assert!(tracker.metric("margay_screening_lookups_total", &["result=\"unreadable\""]) >= 8.0);
    assert!(tracker.metric("margay_screening_lookups_total", &["result=\"failed\""]) >= 15.0);
    tracker.check_alive();
}

#[test]
fn options_of_look_ups_fit_each_other() {
    let rules = Rules::new();
    let deny = rules.list("deny", "192.0.2.0/24");
    let run = |options: &str, addresses: &str| {
        let mut command = margay();
        command.arg("screen").args(options.split_whitespace()).args(addresses.split_whitespace());
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let options = format!("--screen-deny-country CU --screen-dns cymru --screen-deny-list {deny}");
    let (code, out, err) = run(&options, "5.1.2.3 2002:501:203::1 192.0.2.1");
    let looked_up = "served: no database names its country, the tracker looks 3.2.1.5.origin.asn.cymru.com. up\n";
    let expected = format!(
        "5.1.2.3: {looked_up}2002:501:203::1 (stands for 5.1.2.3): {looked_up}\
         192.0.2.1: denied: network 192.0.2.0/24, {deny} line 1\n"
    );
    assert_eq!((code, out, err.contains("1 of 3")), (Some(1), expected, true));
    let (_, out, _) = run("--screen-deny-country CU --screen-dns nerd.dk", "2a00::1");
    assert_eq!(out, "2a00::1: served: no database names its country\n");
    for options in [
        "--screen-dns team",
        "--screen-dns-zone a..b",
        "--screen-dns-record mx",
        "--screen-dns-field 0",
    ] {
        assert_eq!(
            run(&format!("--screen-deny-country CU {options}"), "5.1.2.3").0,
            Some(2),
            "{options}"
        );
    }
}

/// That who is known is judged as before, though nobody can be asked; `strange` is in no network that was asked for.
fn check_known(tracker: &Tracker, names: &Names, strange: &str) {
    names.be(How::Silent);
    let target = announce(hash("a"), 1, "&left=0");
    // Nobody has come from the last ones before; an answer was about their networks.
    for from in ["1.1.1.1", "1.1.1.1", "1.1.77.7"] {
        assert!(!ask(tracker, from, &target).is_empty(), "{from}");
    }
    let denied = |rule: &str| tracker.metric("margay_screened_total", &[rule]);
    let before = denied("rule=\"country\"");
    for from in ["5.1.1.1", "5.1.77.7", "2a00:1:9::1", "77.1.1.1", strange] {
        assert_eq!(ask(tracker, from, &target), "", "{from}");
    }
    patiently("they are counted", || {
        (denied("rule=\"country\"") >= before + 3.0 && denied("rule=\"unknown\"") >= 2.0)
            .then_some(())
    });
}

#[test]
fn e7_countries_are_known_over_a_restart_though_nobody_can_be_asked() {
    let names = Names::start();
    let home = tempfile::tempdir().unwrap();
    let options = format!("--cores 2 {} --screen-unknown deny", options(&names));
    let start_with = |options: &str| Tracker::start_on(home.path(), options);
    let start = |more: &str| start_with(&format!("{options} {more}"));
    let target = announce(hash("a"), 1, "&left=0");
    let tracker = start("");
    let served = |tracker: &Tracker, from: &str| !ask(tracker, from, &target).is_empty();
    patiently("it is served", || served(&tracker, "1.1.1.1").then_some(()));
    patiently("others are refused for their country", || {
        let is_served = served(&tracker, "5.1.1.1") || served(&tracker, "2a00:1::1");
        let denied = tracker.metric("margay_screened_total", &["rule=\"country\""]);
        (!is_served && denied >= 4.0).then_some(())
    });
    tracker.stop();
    let tracker = start("");
    // A peer of before stays.
    assert!(told(&tracker, hash("a")).contains(&"1.1.1.1:1".parse().unwrap()));
    check_known(&tracker, &names, "1.201.1.1");
    names.be(How::Well);
    patiently("one more is known", || served(&tracker, "1.3.1.1").then_some(()));
    let kept = home.path().join("countries.txt");
    let text = || std::fs::read_to_string(&kept).unwrap();
    patiently("it is kept", || text().contains("\n1.3.0.0/16 US ").then_some(()));
    tracker.kill();
    let tracker = start("");
    check_known(&tracker, &names, "1.202.1.1");
    assert!(served(&tracker, "1.3.77.1"));
    names.be(How::Well);
    patiently("one more is known", || served(&tracker, "1.4.1.1").then_some(()));
    let next = start("--take-over");
    tracker.await_exit();
    check_known(&next, &names, "1.203.1.1");
    assert!(served(&next, "1.4.77.1"));
    next.stop();
    // What is damaged or was said by others is left out, and that is said.
    let text = text();
    std::fs::write(&kept, text.replacen(" CU ", " US ", 1)).unwrap();
    let tracker = start("");
    assert!(!served(&tracker, "1.1.1.1"));
    let why = tracker.logged("cannot be used, and are looked up again")["why"].to_string();
    assert!(why.contains("the checksum is another one"), "{why}");
    tracker.stop();
    std::fs::write(&kept, &text).unwrap();
    let tracker = start_with(&options.replace("v4.test", "other.test"));
    assert!(!served(&tracker, "1.1.1.1"));
    let why = tracker.logged("cannot be used, and are looked up again")["why"].to_string();
    assert!(why.contains("answers of v4.test v6.test txt 3"), "{why}");
    tracker.stop();
    // Nothing was learned from them, so the file is as it was.
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), text);
}
