//! Records as JSON, for the table of what was rejected: complete, and for people to read.

use serde_json::{Value, json};
use shard::PeerState;
use shard::private::{Change, Counters, Fact, Freeleech, Gone, Swarm};

use super::Record;

/// A record in whole, passkeys included. Bytes are in hexadecimal, moments in seconds since 1970.
pub(super) fn json(record: &Record) -> Value {
    match record {
        Record::Fact(fact) => fact_json(fact),
        Record::Said(said) => change_json(&said.change),
        Record::Tick(at) => json!({ "tick": { "millis": at.millis, "node": at.node } }),
        Record::Gone(gone) => gone_json(gone),
    }
}

fn fact_json(fact: &Fact) -> Value {
    json!({ "fact": {
        "at": fact.at.0,
        "stamp": { "millis": fact.stamp.millis, "node": fact.stamp.node },
        "over_v6": fact.over_v6,
        "after": fact.after.map(|after| json!({ "millis": after.millis, "node": after.node })),
        "user_id": fact.user.0,
        "torrent_id": fact.torrent.0,
        "info_hash": fact.info_hash.to_string(),
        "peer_id": hex(&fact.peer_id.0),
        "key": fact.key,
        "address_v4": fact.endpoints.address_v4().filter(|_| !fact.hidden),
        "address_v6": fact.endpoints.address_v6().filter(|_| !fact.hidden),
        "port": fact.endpoints.port().filter(|_| !fact.hidden),
        "port_v6": fact.endpoints.port_v6().filter(|_| !fact.hidden),
        "hidden": fact.hidden,
        "visible": fact.visible,
        "reported": counters(fact.reported),
        "said": fact.said.map(counters),
        "left": fact.left,
        "partial": fact.partial,
        "active": fact.active,
        "since": fact.since.0,
        "elapsed": fact.elapsed,
        "announces": fact.announces,
        "moved": counters(fact.moved),
        "upload_percent": fact.upload_percent,
        "download_percent": fact.download_percent,
        "token": fact.token,
        "credited_up": fact.credited_up,
        "credited_down": fact.credited_down,
        "token_down": fact.token_down,
        "token_spent": fact.token_spent,
        "snatched": fact.snatched,
        "swarm": swarm_json(fact.swarm),
    }})
}

fn gone_json(gone: &Gone) -> Value {
    json!({ "gone": {
        "at": gone.at.0,
        "user_id": gone.user.0,
        "torrent_id": gone.torrent.0,
        "info_hash": gone.info_hash.to_string(),
        "peer_id": hex(&gone.peer_id.0),
        "key": gone.key,
        "state": match gone.state {
            PeerState::Seeder => "seeder",
            PeerState::PartialSeed => "partial seed",
            PeerState::Leecher => "leecher",
        },
        "swarm": gone.swarm.map(swarm_json),
    }})
}

fn swarm_json(swarm: Swarm) -> Value {
    json!({
        "seeders": swarm.seeders,
        "leechers": swarm.leechers,
        "snatches": swarm.snatches,
        "balance": swarm.balance,
    })
}

/// The site's change, in whole.
pub(super) fn change_json(change: &Change) -> Value {
    match change {
        Change::User { id, passkey, can_leech, hidden, enabled, group } => json!({ "user": {
            "id": id.0,
            "passkey": passkey.reveal(),
            "can_leech": can_leech,
            "hidden": hidden,
            "enabled": enabled,
            "group_id": group.map(|group| group.0),
        }}),
        Change::Former { user, passkey, good_until } => json!({ "former_passkey": {
            "user_id": user.0,
            "passkey": passkey.reveal(),
            "good_until": good_until.0,
        }}),
        Change::FormerRemoved { user } => json!({ "former_passkey_removed": {
            "user_id": user.0,
        }}),
        Change::Group { id, name, downloads_max } => json!({ "group": {
            "id": id.0,
            // As with reasons, see below.
            "name": name.replace('\0', "\u{fffd}"),
            "downloads_max": downloads_max,
        }}),
        Change::GroupRemoved { id } => json!({ "group_removed": {
            "id": id.0,
        }}),
        Change::Torrent { id, info_hash, info_hash_v2, freeleech, upload_percent } => {
            json!({ "torrent": {
                "id": id.0,
                "info_hash": info_hash.to_string(),
                "info_hash_v2": info_hash_v2.map(|second| second.to_string()),
                "freeleech": freeleech_text(*freeleech),
                "upload_percent": upload_percent,
            }})
        }
        Change::TorrentRemoved { id, info_hash, reason, at } => json!({ "torrent_removed": {
            "id": id.0,
            "info_hash": info_hash.to_string(),
            // The database has no text with a NUL in it, in no way of writing it.
            "reason": reason.replace('\0', "\u{fffd}"),
            "at": at.0,
        }}),
        Change::Token { user, torrent, info_hash, expires_at } => json!({ "token": {
            "user_id": user.0,
            "torrent_id": torrent.0,
            "info_hash": info_hash.to_string(),
            "expires_at": expires_at.map(|at| at.0),
        }}),
        Change::TokenRemoved { user, torrent, info_hash } => json!({ "token_removed": {
            "user_id": user.0,
            "torrent_id": torrent.0,
            "info_hash": info_hash.to_string(),
        }}),
        Change::ClientRule { prefix, allow } => json!({ "client_rule": {
            "prefix": hex(prefix.bytes()),
            "allow": allow,
        }}),
        Change::ClientRuleRemoved { prefix } => json!({ "client_rule_removed": {
            "prefix": hex(prefix.bytes()),
        }}),
    }
}

/// As it stands in the tables.
pub(crate) fn freeleech_text(freeleech: Freeleech) -> &'static str {
    match freeleech {
        Freeleech::None => "none",
        Freeleech::Free => "free",
        Freeleech::Neutral => "neutral",
    }
}

fn counters(counters: Counters) -> Value {
    json!({
        "uploaded": counters.uploaded,
        "downloaded": counters.downloaded,
        "corrupt": counters.corrupt,
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
