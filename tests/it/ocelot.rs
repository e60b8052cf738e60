//! The interface that sites built for Ocelot rely on, point by point, in both flavours: the real program,
//! a real PostgreSQL, and a site and clients that speak as theirs do.
//!
//! Where margay answers otherwise, on purpose, the test says so: bencoding is sorted, a client without
//! `left` is a leecher, one that wants the list form of peers gets it, and intervals are decided as
//! `docs/interval.md` says.

mod accounting;
mod lasting;
mod rows;
mod swarms;
mod texts;
mod updates;

use crate::private::{REPORT, Site};
use crate::tracker::HOMES;
use crate::tracker::hash;
use crate::tracker::http::{Http, Page, escape, fetch};

/// Makes a test of each function for each flavour, whose name it is given.
macro_rules! both {
    ($($(#[$about:meta])* fn $name:ident($flavour:ident: &str) $body:block)*) => {
        $($(#[$about])* fn $name($flavour: &str) $body)*

        mod whatcd {
            $(#[test] fn $name() { super::$name("whatcd") })*
        }

        mod orpheus {
            $(#[test] fn $name() { super::$name("orpheus") })*
        }
    };
}
use both;

/// A site for one point and flavour.
fn open(point: &str, flavour: &str, options: &str) -> Option<Site> {
    Site::open(&format!("o{point}_{flavour}"), &format!("--ocelot-flavour {flavour} {options}"))
}

/// What a client at 127.0.0.1 is answered.
#[track_caller]
fn ask(site: &Site, target: impl AsRef<[u8]>) -> Page {
    fetch(site.tracker().http(HOMES[0]), target)
}

/// What these bytes are answered.
#[track_caller]
fn raw(site: &Site, bytes: impl AsRef<[u8]>) -> Page {
    let mut client = Http::connect(site.tracker().http(HOMES[0]));
    client.send(bytes);
    client.page()
}

/// The body of a report.
#[track_caller]
fn report(site: &Site, what: &str) -> String {
    let page = ask(site, format!("/{REPORT}/report?get={what}"));
    assert_eq!(page.status, 200, "{page:?}");
    String::from_utf8(page.body).unwrap()
}

/// A torrent's name as a site writes it.
fn named(torrent: &str) -> String {
    format!("info_hash={}", escape(&hash(torrent)))
}
