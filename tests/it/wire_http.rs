//! Announces over HTTP as clients send them (BEP 3, 7, 21, 23, 24, 31), over both families. A test is
//! named after the rule of `docs/wire.md` that it shows.

mod queries;
mod replies;
mod swarms;

use std::net::{IpAddr, SocketAddr};

use crate::tracker::bencode::Value;
use crate::tracker::http::{announce, answer, escape, fetch, scraped};
use crate::tracker::{HOMES, Tracker, hash, peer_id};

/// What a story is told about: a tracker, asked over one family, and a torrent nobody knows yet.
#[derive(Clone, Copy)]
struct Scene {
    tracker: SocketAddr,
    /// Where the clients are.
    home: IpAddr,
    torrent: [u8; 20],
}

impl Scene {
    /// Announces as the client that listens on `port`; `more` is further parameters.
    #[track_caller]
    fn announce(&self, port: u16, more: &str) -> Value {
        answer(self.tracker, announce(self.torrent, port, more))
    }

    /// Announces with exactly this query, in which `{torrent}` and `{peer_id}` are filled in.
    #[track_caller]
    fn ask(&self, query: &str) -> Value {
        answer(self.tracker, self.fill(query))
    }

    /// Why an announce with this query is refused.
    #[track_caller]
    fn refused(&self, query: &str) -> String {
        fetch(self.tracker, self.fill(query)).failure()
    }

    fn fill(&self, query: &str) -> String {
        let query = query.replace("{torrent}", &escape(&self.torrent));
        format!("/announce?{}", query.replace("{peer_id}", &escape(&peer_id(7))))
    }

    #[track_caller]
    fn check_counts(&self, seeders_leechers_snatches: [i64; 3]) {
        assert_eq!(scraped(self.tracker, self.torrent), seeders_leechers_snatches);
    }
}

/// Tells a story once for each family, on one tracker started with `args`.
fn on_both_families_with(args: &str, story: impl Fn(Scene)) {
    let tracker = Tracker::start(args);
    for home in HOMES {
        let torrent = hash(&format!("a torrent of {home}"));
        story(Scene { tracker: tracker.http(home), home, torrent });
    }
}

fn on_both_families(story: impl Fn(Scene)) {
    on_both_families_with("", story);
}
