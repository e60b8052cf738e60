//! What clients are told in words.

use crate::ocelot::{ask, both, named, open, raw};
use crate::private::{Site, announce, passkey};
use crate::tracker::HOMES;
use crate::tracker::bencode::Value;
use crate::tracker::http::{answer, escape, fetch, peers};
use crate::tracker::{at, hash};

/// A failure in sorted bencoding, with status 200 and these intervals.
#[track_caller]
fn check(page: &crate::tracker::http::Page, text: &str, interval: i64) {
    assert_eq!(page.failure(), text);
    let failure = page.dictionary();
    let keys: Vec<_> = failure.entries().keys().map(|key| key.escape_ascii().to_string()).collect();
    assert_eq!(keys, ["failure reason", "interval", "min interval"], "{text}");
    let found = ["interval", "min interval"].map(|key| failure.integer(key));
    assert_eq!(found, [interval; 2], "{text}");
}

fn leech(user: u32, torrent: &str) -> String {
    announce(user, torrent, 7001, "uploaded=0&downloaded=0&left=5")
}

both! {
    /// "The tracker is temporarily unavailable." is said while it stops, which no test can catch for sure;
    /// `Your client does not support compact announces` is said to nobody: the list form is spoken.
    fn ocelot_12_01_every_text(flavour: &str) {
        let Some(site) = open("01", flavour, "") else { return };
        site.add_user(1);
        site.add_torrent(10, "disk");
        let key = passkey(1);
        let long = "x".repeat(60);
        for (request, text) in [
            ("GET /short?x HTTP/1.1\r\n\r\n".to_owned(), "GET string too short"),
            (format!("GET /{key}/announce?{} HTTP/1.1\r\n\r\n", "x".repeat(9000)), "GET string too long"),
            (format!("GET /?{long} HTTP/1.1\r\n\r\n"), "Malformed announce"),
            (format!("GET /{key}?{long} HTTP/1.1\r\n\r\n"), "Malformed announce"),
            (format!("GET /{key}/announce?{long} GOPHER/1\r\n\r\n"), "Malformed HTTP request"),
            (format!("GET /{key}/guess?{long} HTTP/1.1\r\n\r\n"), "Invalid action"),
            (format!("GET /{key}/update?action=add_user HTTP/1.1\r\n\r\n"), "Authentication failure"),
            (format!("GET /{key}/report?get=stats&{long} HTTP/1.1\r\n\r\n"), "Authentication failure"),
        ] {
            check(&raw(&site, &request), text, 5400);
        }
        check(&ask(&site, leech(2, "disk")), "Passkey not found", 60);
        check(&ask(&site, leech(1, "tape")), "Unregistered torrent", 60);
        // In the order of the checks: passkey, torrent, peer id, client, rights.
        let start = format!("/{key}/announce?info_hash={}&port=1", escape(&hash("disk")));
        check(&ask(&site, &start), "No peer ID", 5400);
        check(&ask(&site, format!("{start}&peer_id=short")), "Invalid peer ID", 5400);
        site.says("add_whitelist&peer_id=-ZZ");
        check(&ask(&site, leech(1, "disk")), "Your client is not on the whitelist", 5400);
        check(&ask(&site, leech(1, "tape")), "Unregistered torrent", 60);
        site.says("remove_whitelist&peer_id=-ZZ");
        site.says(&format!("update_user&passkey={key}&can_leech=0"));
        check(&ask(&site, leech(1, "disk")), "Access denied, leeching forbidden", 5400);
        site.says(&format!("update_user&passkey={key}&can_leech=1"));

        let reasons = [
            "Dupe", "Trump", "Bad File Names", "Bad Folder Names", "Bad Tags", "Disallowed Format",
            "Discs Missing", "Discography", "Edited Log", "Inaccurate Bitrate", "Low Bitrate",
            "Mutt Rip", "Disallowed Source", "Encode Errors", "Specifically Banned", "Tracks Missing",
            "Transcode", "Unapproved Cassette", "Unsplit Album", "User Compilation", "Wrong Format",
            "Wrong Media", "Audience Recording",
        ];
        for (code, reason) in reasons.into_iter().enumerate() {
            deleted(&site, &format!("&reason={code}"), &format!("Unregistered torrent: {reason}"));
        }
        deleted(&site, "&reason=23", "Unregistered torrent: ");
        deleted(&site, "&reason=-1", "Unregistered torrent");
        deleted(&site, "", "Unregistered torrent");

        site.add_torrent(10, "disk");
        let list = ask(&site, leech(1, "disk").replace("compact=1", "compact=0")).dictionary();
        assert_eq!(*list.get("peers"), Value::List(Vec::new()), "the list form, of nobody yet");
        for target in [format!("/{key}/announce"), "/".to_owned(), format!("/{key}/scrape")] {
            let page = ask(&site, target);
            assert_eq!((page.status, page.header("content-type")), (200, Some("text/html")));
            let text = String::from_utf8(page.body).unwrap();
            assert!(text.contains("Nothing to see here") && text.contains("noindex"), "{text}");
        }
    }

    /// Believed from trusted networks only; elsewhere what a client says of its address is not looked at.
    fn ocelot_12_18_an_address_that_is_none_is_warned_of(flavour: &str) {
        let warning = "Illegal character found in IP address. IPv6 is not supported";
        let Some(site) = open("18", flavour, "--trusted-network 127.0.0.0/8") else { return };
        site.add_user(1);
        site.add_user(2);
        site.add_torrent(10, "disk");
        let http = site.tracker().http(HOMES[0]);
        let more = "uploaded=0&downloaded=0&left=0&ip=1.2.x.4";
        let warned = answer(http, announce(1, "disk", 7001, more));
        assert_eq!(warned.text("warning message"), warning.as_bytes());
        assert_eq!(warned.integer("complete"), 1, "the announce counts");
        let told = answer(http, announce(2, "disk", 7002, "uploaded=0&downloaded=0&left=5"));
        assert_eq!(told.find("warning message"), None);
        assert_eq!(peers(&told), at(HOMES[0], []), "nobody is told of it");
        // Over an address that nobody trusts, its own address is what is known of it.
        let http = site.tracker().http(HOMES[1]);
        let target = announce(1, "disk", 7003, "uploaded=0&downloaded=0&left=0&ip=1.2.x.4");
        assert_eq!(fetch(http, target).dictionary().find("warning message"), None);
        let told = answer(http, announce(2, "disk", 7002, "uploaded=0&downloaded=0&left=5"));
        assert_eq!(peers(&told), at(HOMES[1], [7003]));
    }
}

/// A torrent that was deleted with this reason is refused with this text.
#[track_caller]
fn deleted(site: &Site, reason: &str, text: &str) {
    site.add_torrent(11, "dead");
    site.says(&format!("delete_torrent&{}&id=11{reason}", named("dead")));
    check(&ask(site, leech(1, "dead")), text, 5400);
}
