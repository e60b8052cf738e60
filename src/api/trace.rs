//! What is told of a traced user: one JSON object for each thing that a client of his did.

use serde_json::{Value, json};
use shard::Event;

use super::answer::left;
use super::text::{escaped, hex};
use crate::private::core::traces::{Announced, Traced, What};

/// Something that a client did, and what it was answered.
pub fn json(traced: &Traced) -> Value {
    let mut value = match &traced.what {
        What::Announced(announced) => announce(announced, traced.hidden),
        What::Refused { address, info_hash, refusal } => json!({
            "type": "announce",
            "address": Some(address).filter(|_| !traced.hidden),
            "info_hash": info_hash.as_ref().map(hex),
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
