//! What is told of a traced user: one JSON object for each thing that a client of his did.

use std::net::IpAddr;

use ops::counters::Protocol;
use serde_json::{Value, json};
use shard::private::{Announce, Fact, PeerId, UserId};
use shard::{Counts, Event, InfoHash, Seconds};

use super::answer::left;
use super::text::{escaped, hex};

/// Something that a user's client did.
#[derive(Clone, Debug)]
pub struct Traced {
    /// When.
    pub at: Seconds,
    /// On which core.
    pub core: usize,
    /// Whose client.
    pub user: UserId,
    /// The user's addresses are told to nobody.
    pub hidden: bool,
    /// Over which protocol.
    pub protocol: Protocol,
    /// What.
    pub what: What,
}

/// What a client did.
#[derive(Clone, Debug)]
pub enum What {
    /// It announced.
    Announced(Box<Announced>),
    /// It wanted to announce, and was refused before the torrent was looked at.
    Refused {
        /// From where.
        address: IpAddr,
        /// The torrent, if it named one.
        info_hash: Option<InfoHash>,
        /// Its peer id, if it said one.
        peer_id: Option<PeerId>,
        /// What it was told.
        refusal: String,
    },
    /// It scraped.
    Scraped {
        /// From where.
        address: IpAddr,
        /// The torrents.
        info_hashes: Vec<InfoHash>,
    },
}

/// An announce, and what came of it.
#[derive(Clone, Debug)]
pub struct Announced {
    /// What was announced.
    pub announce: Announce,
    /// What it was refused with.
    pub refusal: Option<String>,
    /// What it changed.
    pub fact: Option<Fact>,
    /// The counts it was told.
    pub counts: Counts,
    /// How many peers it was told.
    pub peers: usize,
    /// When it is to come back.
    pub interval: Option<Seconds>,
}

/// Something that a client did, and what it was answered.
pub fn json(traced: &Traced) -> Value {
    let mut value = match &traced.what {
        What::Announced(announced) => announce(announced, traced.hidden),
        What::Refused { address, info_hash, peer_id, refusal } => json!({
            "type": "announce",
            "address": Some(address).filter(|_| !traced.hidden),
            "info_hash": info_hash.as_ref().map(hex),
            "peer_id": peer_id.map(|peer_id| escaped(&peer_id.0)),
            "client": peer_id.map(|peer_id| persist::ledger::client_name(&peer_id.0)),
            "refused": refusal,
        }),
        What::Scraped { address, info_hashes } => json!({
            "type": "scrape",
            "address": Some(address).filter(|_| !traced.hidden),
            "info_hashes": info_hashes.iter().map(hex).collect::<Vec<_>>(),
        }),
    };
    value["at"] = traced.at.0.into();
    value["core"] = traced.core.into();
    value["user"] = traced.user.0.into();
    value["protocol"] = traced.protocol.label().into();
    value
}

/// That so much did not fit into the queue.
pub fn dropped(count: u64) -> Value {
    json!({"type": "dropped", "count": count})
}

/// That nothing has happened for a while.
pub fn alive() -> Value {
    json!({"type": "alive"})
}

fn announce(announced: &Announced, hidden: bool) -> Value {
    let Announced { announce, refusal, fact, counts, peers, interval } = announced;
    let endpoints = Some(announce.endpoints).filter(|_| !hidden);
    let mut value = json!({
        "type": "announce",
        "address_v4": endpoints.and_then(|endpoints| endpoints.address_v4()),
        "address_v6": endpoints.and_then(|endpoints| endpoints.address_v6()),
        "port": endpoints.and_then(|endpoints| endpoints.port()),
        "port_v6": endpoints.and_then(|endpoints| endpoints.port_v6()),
        "info_hash": hex(&announce.info_hash),
        "peer_id": escaped(&announce.peer_id.0),
        "client": persist::ledger::client_name(&announce.peer_id.0),
        "event": match announce.event {
            Event::None => None,
            Event::Started => Some("started"),
            Event::Stopped => Some("stopped"),
            Event::Completed => Some("completed"),
            Event::Paused => Some("paused"),
        },
        "uploaded": announce.counters.uploaded,
        "downloaded": announce.counters.downloaded,
        "corrupt": announce.counters.corrupt,
        "left": left(announce.left),
        "numwant": announce.numwant,
        "interval": interval.map(|interval| interval.0),
        "credited": {
            "uploaded": fact.map_or(0, |fact| fact.credited_up),
            "downloaded": fact.map_or(0, |fact| fact.credited_down),
            "by_token": fact.map_or(0, |fact| fact.token_down),
        },
        "snatched": fact.is_some_and(|fact| fact.snatched),
    });
    match refusal {
        Some(refusal) => value["refused"] = refusal.as_str().into(),
        None => {
            value["told"] = json!({
                "seeders": counts.seeders,
                "leechers": counts.leechers,
                "snatches": counts.snatches,
                "peers": peers,
            });
        }
    }
    value
}
