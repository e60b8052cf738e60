//! What the objects of the API are made of.

use ops::service::Service;
use serde_json::{Value, json};
use shard::private::GroupId;

use super::reference;

/// The infohash of examples.
pub(super) const HASH: &str = "0123456789abcdef0123456789abcdef01234567";

/// The passkey of examples.
pub(super) const PASSKEY: &str = "0123456789abcdefghijABCDEFGHIJxy";

/// An object with these fields, all of them there.
fn object(fields: Value) -> Value {
    let names: Vec<&String> =
        fields.as_object().into_iter().flat_map(|fields| fields.keys()).collect();
    json!({"type": "object", "required": names, "properties": fields})
}

/// An object that a client sends: nothing else in it, and only these fields must be.
fn sent(required: &[&str], fields: Value) -> Value {
    json!({
        "type": "object", "required": required, "properties": fields, "additionalProperties": false,
    })
}

fn number() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn yes_or_no(text: &str) -> Value {
    json!({"type": "boolean", "description": text})
}

fn id() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
}

fn group() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": GroupId::MAX.0})
}

fn membership() -> Value {
    json!({
        "type": ["integer", "null"], "minimum": 0, "maximum": GroupId::MAX.0,
        "description": "The number of the group, which has to be known, or null for none. Not said, it stays.",
    })
}

fn downloads_max() -> Value {
    json!({
        "type": ["integer", "null"], "minimum": 0, "maximum": i32::MAX,
        "description": "Downloads that each of its users may have at once, over all torrents; null for any number.",
    })
}

fn hash() -> Value {
    json!({"type": "string", "pattern": "^[0-9A-Fa-f]{40}$"})
}

fn maybe(kind: &str, text: &str) -> Value {
    json!({"type": [kind, "null"], "description": text})
}

fn passkey() -> Value {
    json!({
        "type": "string", "pattern": "^[0-9A-Za-z]{32}$",
        "description": "The secret of the announce URL. No two users have the same one.",
    })
}

fn freeleech() -> Value {
    json!({
        "enum": ["none", "free", "neutral"],
        "description": "Which transfers count: `none` uploads and downloads do, `free` uploads only, `neutral` neither.",
    })
}

fn upload_percent() -> Value {
    json!({
        "type": "integer", "minimum": 0, "maximum": u16::MAX,
        "description": "What uploads count for: 100 as they are, 200 double.",
    })
}

fn prefix() -> Value {
    json!({
        "type": "string",
        "description": "The first 1 to 20 bytes of peer ids; what is not printable ASCII, and `%`, as `%XX`.",
    })
}

fn former_until() -> Value {
    maybe(
        "integer",
        "Until when the passkey that the user has now stays good: later than now, at most 30 days ahead, and with \
         another passkey only. Not said, that is good no longer.",
    )
}

fn expires_at() -> Value {
    maybe("integer", "When it ends by itself; never when null.")
}

/// One operation of each kind.
pub(super) fn bulk_example() -> Value {
    json!({"operations": [
        {"op": "put_user", "id": 7, "passkey": PASSKEY},
        {"op": "patch_user", "id": 7, "can_leech": false},
        {"op": "disable_user", "id": 7},
        {"op": "put_torrent", "info_hash": HASH, "id": 10, "name": "A name", "freeleech": "none"},
        {"op": "put_token", "user": 7, "info_hash": HASH, "expires_at": 2_000_000_000},
        {"op": "remove_token", "user": 7, "info_hash": HASH},
        {"op": "remove_torrent", "info_hash": HASH, "reason": "Dupe"},
        {"op": "put_client_rule", "prefix": "-qB4", "allow": true},
        {"op": "remove_client_rule", "prefix": "-qB4"},
    ]})
}

fn peer_fields() -> Value {
    json!({
        "user": id(),
        "peer_id": {"type": "string", "description": "20 bytes; what is not printable ASCII, and `%`, as `%XX`."},
        "client": {"type": "string", "description": "The program and its version, as the peer id tells them."},
        "state": {"enum": ["seeder", "partial_seed", "leecher"]},
        "address_v4": maybe("string", "Where it can be reached; null for hidden users."),
        "address_v6": maybe("string", "The same over IPv6."),
        "port": maybe("integer", "Its port over IPv4; without an IPv4 address, over IPv6."),
        "port_v6": maybe("integer", "Its port over IPv6."),
        "uploaded": number(),
        "downloaded": number(),
        "corrupt": number(),
        "left": maybe("integer", "Bytes left to download; null when the client did not say."),
        "visible": yes_or_no("Others are told of it."),
        "announces": number(),
        "first_seen": number(),
        "last_seen": number(),
    })
}

/// All of them, by name.
pub(super) fn all() -> Value {
    let mut all = of_all();
    for more in [of_open(), of_operator()] {
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
    }
    all
}

/// Those that an open tracker has beside.
fn of_open() -> Value {
    json!({
        "OpenTorrent": object(json!({
            "info_hash": hash(),
            "name": maybe("string", "What it is called, where that was said here."),
            "state": {
                "enum": ["served", "withdrawn", "denied", "unlisted"],
                "description": "`withdrawn` by the API, `denied` by the deny-list, `unlisted` where only named torrents are served and nobody names it.",
            },
            "reason": maybe("string", "What clients of one that was withdrawn are told; may be empty."),
            "withdrawn_until": maybe("integer", "Until when it is known that it was withdrawn."),
            "seeders": number(),
            "leechers": number(),
            "partial_seeds": {"type": "integer", "description": "Those of `leechers` that want nothing more."},
            "snatches": number(),
        })),
        "AnyTorrent": {
            "description": "Of a private tracker, or of an open one.",
            "oneOf": [reference("Torrent"), reference("OpenTorrent")],
        },
        "Withdrawn": object(json!({
            "removed": yes_or_no("Whether it was served until now, but for the deny-list."),
            "withdrawn_until": {"type": "integer", "description": "Until when it is known that it was withdrawn."},
        })),
        "AnyRemoved": {
            "description": "Of a private tracker, or of an open one.",
            "anyOf": [reference("Removed"), reference("Withdrawn")],
        },
    })
}

/// Those about the tracker itself.
fn of_operator() -> Value {
    json!({
        "Ban": object(json!({
            "network": {"type": "string", "description": "A network, or an address alone."},
            "until": maybe("integer", "Until when; null for ever."),
            "since": number(),
            "reason": {"type": "string"},
        })),
        "Bans": object(json!({
            "bans": {"type": "array", "items": reference("Ban")},
            "next": maybe("string", "Where the next page begins; null at the end."),
        })),
        "BansMade": object(json!({"bans": {"type": "array", "items": reference("Ban")}})),
        "BansPut": sent(&["networks"], json!({
            "networks": {
                "type": "array", "minItems": 1, "maxItems": 1000, "items": {"type": "string"},
                "description": "Addresses, and networks of /8 (IPv4), /16 (IPv6) or longer.",
            },
            "seconds": {"type": ["integer", "null"], "minimum": 1, "maximum": 316_224_000, "description": "For how long; for ever unless said."},
            "reason": {"type": ["string", "null"], "maxLength": 200, "description": "A line."},
        })),
        "BanRemoved": object(json!({
            "removed": yes_or_no("Whether it was banned."),
            "still_banned_by": maybe("string", "The network of another ban that it lies in."),
        })),
        "Service": object(json!({
            "service": {"type": "string", "enum": Service::ALL.map(Service::label)},
            "on": yes_or_no("Whether it is served."),
            "shedding": yes_or_no("Whether more comes than `shed-above` allows, or did within the last seconds."),
            "shed": {"type": "integer", "minimum": 0, "description": "Requests that were shed since the start."},
        })),
        "Services": object(json!({
            "services": {"type": "array", "items": reference("Service")},
        })),
        "ServicePut": sent(&["on"], json!({"on": {"type": "boolean"}})),
    })
}

fn of_all() -> Value {
    let mut present = peer_fields();
    present["info_hash"] = hash();
    present["torrent"] = id();
    let next = maybe("string", "Where the next page begins; null at the end.");
    json!({
        "Description": {"type": "object"},
        "Error": object(json!({"error": object(json!({
            "code": {"enum": [
                "bad_request", "unauthorized", "no_such_page", "method_not_allowed", "not_private",
                "user_unknown", "user_known", "group_unknown", "group_name_taken", "torrent_unknown", "passkey_taken", "torrent_number", "number_taken", "name_taken",
                "open_hybrid", "service_unknown", "too_large", "full", "not_written", "journal_full", "not_on_disk", "late", "busy", "unavailable",
            ]},
            "message": {"type": "string"},
        }))})),
        "User": object(json!({
            "id": id(),
            "passkey": passkey(),
            "can_leech": yes_or_no("May download. Who may not is still credited for uploads."),
            "hidden": yes_or_no("Addresses of this user are written nowhere; peers are still told them."),
            "enabled": yes_or_no("May announce."),
            "group": membership(),
            "former_until": maybe("integer", "Until when the passkey before this one is good; null when there is none."),
            "seeding": number(),
            "leeching": number(),
            "credited": {
                "type": ["object", "null"],
                "required": ["uploaded", "downloaded"],
                "properties": {"uploaded": number(), "downloaded": number()},
                "description": "Bytes that the user was credited, as far as they have come to the database; null \
                    in answers to changes, while the database does not answer, and where it has no such user.",
            },
        })),
        "Users": object(json!({
            "users": {"type": "array", "items": reference("User")}, "next": next,
        })),
        "UserPut": sent(&["passkey"], json!({
            "passkey": passkey(),
            "former_until": former_until(),
            "can_leech": {"type": "boolean", "default": true},
            "hidden": {"type": "boolean", "default": false},
            "enabled": {"type": "boolean", "default": true},
            "group": membership(),
            "new": {"type": "boolean", "default": false, "description": "Refuse it when the user is known."},
        })),
        "UserPatch": sent(&[], json!({
            "passkey": passkey(),
            "former_until": former_until(),
            "can_leech": {"type": "boolean"},
            "hidden": {"type": "boolean"},
            "enabled": {"type": "boolean"},
            "group": membership(),
        })),
        "Group": object(json!({
            "id": group(),
            "name": {"type": ["string", "null"]},
            "downloads_max": downloads_max(),
        })),
        "Groups": object(json!({"groups": {"type": "array", "items": reference("Group")}})),
        "GroupPut": sent(&["name"], json!({
            "name": {"type": "string", "minLength": 1, "maxLength": 255},
            "downloads_max": downloads_max(),
        })),
        "Torrent": object(json!({
            "info_hash": hash(),
            "info_hash_v2": {
                "type": ["string", "null"],
                "description": "The second infohash of a hybrid torrent (BEP 52), or null. Either is taken where an infohash is asked for.",
            },
            "id": id(),
            "freeleech": freeleech(),
            "upload_percent": upload_percent(),
            "seeders": number(),
            "leechers": number(),
            "partial_seeds": {"type": "integer", "description": "Those of `leechers` that want nothing more."},
            "snatches": number(),
            "balance": {"type": "integer", "description": "Bytes uploaded less bytes downloaded, as reported."},
        })),
        "Torrents": object(json!({
            "torrents": {"type": "array", "items": reference("AnyTorrent")}, "next": next,
        })),
        "TorrentPut": sent(&[], json!({
            "id": {
                "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX,
                "description": "The torrent's number at the site. Not said, a registered torrent keeps its number, and a new one gets the next: one above the highest that was ever in use.",
            },
            "name": {
                "type": ["string", "null"], "maxLength": 255,
                "description": "What it is called: one line of at most 255 bytes. An open tracker keeps it, as before where it is not said. A private tracker takes it and keeps it nowhere: names are the site's.",
            },
            "info_hash_v2": {
                "type": ["string", "null"],
                "description": "The second infohash of a hybrid torrent (BEP 52): the first 40 hex digits of the SHA-256 of its info dictionary, or all 64. None unless said.",
            },
            "freeleech": freeleech(),
            "upload_percent": upload_percent(),
        })),
        "Token": object(json!({
            "user": id(), "info_hash": hash(), "torrent": id(), "expires_at": expires_at(),
        })),
        "Tokens": object(json!({
            "tokens": {"type": "array", "items": reference("Token")}, "next": next,
        })),
        "TokenPut": sent(&[], json!({"expires_at": expires_at()})),
        "ClientRule": object(json!({"prefix": prefix(), "allow": {"type": "boolean"}})),
        "ClientRulePut": sent(&["allow"], json!({"allow": {"type": "boolean"}})),
        "ClientRules": object(json!({
            "client_rules": {"type": "array", "items": reference("ClientRule")},
        })),
        "Removed": object(json!({"removed": yes_or_no("Whether it was there.")})),
        "Peer": object(peer_fields()),
        "Peers": object(json!({
            "info_hash": hash(), "id": id(),
            "peers": {"type": "array", "items": reference("Peer")}, "next": next,
        })),
        "Presence": object(present),
        "Active": object(json!({
            "id": id(), "seeding": number(), "leeching": number(),
            "clients": {"type": "array", "items": reference("Presence")}, "next": next,
        })),
        "TraceLine": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": ["announce", "scrape", "dropped", "alive"]},
                "count": {"type": "integer", "description": "Of `dropped`: how many were."},
                "at": number(), "core": number(), "user": id(),
                "protocol": {"enum": ["http", "udp"]},
                "info_hash": hash(),
                "refused": {"type": "string", "description": "What the client was told in place of an answer."},
                "told": {"type": "object", "description": "The counts that it was told, and how many peers."},
                "interval": maybe("integer", "When it is to come back."),
                "credited": {"type": "object", "description": "`uploaded`, `downloaded`, and what went `by_token`."},
            },
        },
        "Bulk": sent(&["operations"], json!({
            "operations": {"type": "array", "maxItems": 10_000, "items": {
                "type": "object",
                "required": ["op"],
                "properties": {"op": {"enum": [
                    "put_user", "patch_user", "disable_user", "put_group", "remove_group", "put_torrent", "remove_torrent",
                    "put_token", "remove_token", "put_client_rule", "remove_client_rule",
                ]}},
                "description": "The fields of the path and of the body of the request of the same name.",
            }},
        })),
        "BulkResults": object(json!({
            "results": {"type": "array", "items": {
                "type": "object",
                "required": ["status"],
                "properties": {
                    "status": {"type": "integer", "description": "200, or the status the request alone would have had."},
                    "result": {"type": "object", "description": "What the request alone would have been answered."},
                    "error": {"type": "object", "description": "Why not."},
                },
            }},
        })),
    })
}
