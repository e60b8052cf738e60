//! The description of the API for machines: OpenAPI 3.1, made from the routes.

mod schemas;

use ops::service::Service;
use serde_json::{Map, Value, json};
use shard::private::GroupId;

use super::route::{BASE, Call, ROUTES, Route};

/// What is said of one call.
struct Said {
    summary: &'static str,
    text: &'static str,
    /// Parameters of the query: name, what it is, an example.
    query: &'static [(&'static str, &'static str, &'static str)],
    /// The schema of the body, and an example.
    body: Option<(&'static str, Value)>,
    /// The schema of the answer.
    answer: &'static str,
    /// Failures that are its own.
    failures: &'static [u16],
}

/// The whole description.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in &ROUTES {
        let path = paths.entry(format!("{BASE}{}", route.path)).or_insert_with(|| json!({}));
        path[route.method.to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "margay",
            "summary": "Users, torrents, tokens and client rules of a private BitTorrent tracker",
            "description": PREFACE,
            "version": "1",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:6980", "description": "The control listener"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {
                "type": "http",
                "scheme": "bearer",
                "description": "Made by `margay api-token create NAME`.",
            }},
            "schemas": schemas::all(),
        },
    })
}

/// The document as its file has it.
pub fn text() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a value is JSON");
    text.push('\n');
    text
}

const PREFACE: &str = "\
Every change is applied at once and answered when it is on the disk; the database gets it a moment later, or \
when it is back. Every change says what is to be true, so that asking twice is asking once. An open tracker knows \
torrents alone: whether they are served, and what they are called. Times are seconds \
since 1970-01-01 UTC, sizes are bytes.";

fn operation(route: &Route) -> Value {
    let said = said(route.call);
    let mut parameters: Vec<Value> = Vec::new();
    for part in route.path.split('/').filter_map(|part| part.strip_prefix('{')) {
        parameters.push(path_parameter(part.trim_end_matches('}')));
    }
    for (name, description, example) in said.query {
        parameters.push(json!({
            "name": name, "in": "query", "required": false, "description": description,
            "schema": {"type": "string"}, "example": example,
        }));
    }
    let kind = if route.call == Call::TraceUser { LINES } else { JSON };
    let mut answers = json!({
        "200": {"description": said.summary, "content": {kind: {"schema": reference(said.answer)}}},
    });
    let common: &[u16] = if route.call == Call::Describe { &[] } else { &[400, 401, 404, 503] };
    for status in common.iter().chain(said.failures) {
        answers[status.to_string()] = json!({
            "description": meaning(*status),
            "content": {JSON: {"schema": reference("Error")}},
        });
    }
    let mut operation = json!({
        "operationId": format!("{:?}", route.call),
        "summary": said.summary,
        "responses": answers,
    });
    if !said.text.is_empty() {
        operation["description"] = said.text.into();
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some((schema, example)) = said.body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {JSON: {"schema": reference(schema), "example": example}},
        });
    }
    if route.call == Call::Describe {
        operation["security"] = json!([]);
    }
    operation
}

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn path_parameter(name: &str) -> Value {
    let (schema, description, example) = match name {
        "id" | "user" => (
            json!({"type": "integer", "minimum": 0, "maximum": u32::MAX}),
            "The user's number at the site.",
            json!(7),
        ),
        "info_hash" => (
            json!({"type": "string", "pattern": "^[0-9A-Fa-f]{40}$"}),
            "The infohash, 40 hex digits: SHA-1 of the info dictionary, or the first 20 bytes of its SHA-256.",
            json!(schemas::HASH),
        ),
        "group" => (
            json!({"type": "integer", "minimum": 0, "maximum": GroupId::MAX.0}),
            "The group's number at the site.",
            json!(1),
        ),
        "network" => (
            json!({"type": "string"}),
            "A network or an address, percent-encoded.",
            json!("192.0.2.0%2F24"),
        ),
        "service" => (
            json!({"type": "string", "enum": Service::ALL.map(Service::label)}),
            "A protocol over a family.",
            json!("udp6"),
        ),
        _ => (
            json!({"type": "string", "minLength": 1}),
            "The first bytes of peer ids, percent-encoded.",
            json!("-qB4"),
        ),
    };
    json!({
        "name": name, "in": "path", "required": true,
        "description": description, "schema": schema, "example": example,
    })
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "What was sent is not what it should be.",
        401 => "There is no good token in the request.",
        404 => "It is not known, or is of a private tracker and this one is open.",
        409 => "It would contradict what is known.",
        413 => "The body is too long.",
        507 => "The tracker holds as many torrents as it may.",
        _ => "Not now; ask again. With `not_on_disk` it was done, and is not on the disk yet.",
    }
}

const LIMIT: (&str, &str, &str) = ("limit", "How many at most: 1 to 1000, 100 unless said.", "100");
const AFTER: (&str, &str, &str) =
    ("after", "`next` of the page before; what it looks like may change.", "");

fn said(call: Call) -> Said {
    let usual = Said { summary: "", text: "", query: &[], body: None, answer: "", failures: &[] };
    match call {
        Call::Describe => Said {
            summary: "This description",
            text: "Needs no token.",
            answer: "Description",
            ..usual
        },
        Call::Users => {
            Said { summary: "Users, by number", query: &[LIMIT, AFTER], answer: "Users", ..usual }
        }
        Call::ShowUser => Said {
            summary: "A user",
            text: "Of users who were not let in since the start, when that was without the database, nothing \
                   is known.",
            answer: "User",
            ..usual
        },
        Call::PutUser => Said {
            summary: "A user is like this",
            text: "What the user was credited stays. Clients keep their places in swarms when the passkey \
                   changes; the old passkey is good no longer, or until `former_until`. With `new`, a user who \
                   is known is refused.",
            body: Some(("UserPut", json!({"passkey": schemas::PASSKEY, "can_leech": true}))),
            answer: "User",
            failures: &[409],
            ..usual
        },
        Call::PatchUser => Said {
            summary: "A known user is like this, and otherwise as before",
            text: "With `former_until`, the passkey that the user has now stays good beside the new one, which \
                   has to be said as well. A user has one former passkey: with the next change of the passkey, the \
                   one before the last ends.",
            body: Some(("UserPatch", json!({"can_leech": false, "hidden": true}))),
            answer: "User",
            failures: &[409],
            ..usual
        },
        Call::DisableUser => Said {
            summary: "A user may not announce any more",
            text: "The same as a patch with `enabled: false`. Peers of the user are told to nobody from now on.",
            answer: "User",
            ..usual
        },
        Call::ActiveOfUser => Said {
            summary: "Where a user's clients are",
            text: "The tracker keeps no index of this and looks through all torrents, in steps: a page may \
                   have fewer than asked, even none, and a `next`.",
            query: &[LIMIT, AFTER],
            answer: "Active",
            ..usual
        },
        Call::TraceUser => Said {
            summary: "A user's announces and scrapes, as they come",
            text: "A line of JSON each, until the client leaves. Up to 1,024 wait for a slow reader on each \
                   side; what does not fit is counted, and said in a line of its own. A line comes at least \
                   each 3 seconds. A reader that takes nothing for a minute is cut off. 8 at a time.",
            answer: "TraceLine",
            ..usual
        },
        Call::Groups => Said {
            summary: "Groups of users",
            text: "All of them, by number. The name is null while a snapshot alone says of a group: at a start \
                   without the database.",
            answer: "Groups",
            ..usual
        },
        Call::PutGroup => Said {
            summary: "There is a group of users, and it is like this",
            text: "Users are in it by their `group`. Downloads under way go on when it allows fewer.",
            body: Some(("GroupPut", json!({"name": "Member", "downloads_max": 2}))),
            answer: "Group",
            failures: &[409],
            ..usual
        },
        Call::RemoveGroup => Said {
            summary: "There is no such group, and nobody is in it",
            answer: "Removed",
            ..usual
        },
        Call::Torrents => Said {
            summary: "Registered torrents, and how they are doing",
            text: "In no order. A page may have fewer than asked, even none, and a `next`. With `id`, the one \
                   torrent with that number at the site, which is looked for in steps. Of an open tracker: those that \
                   were put or withdrawn here, by infohash; those of the allow-list are not among them.",
            query: &[("id", "A torrent's number at the site.", "10"), LIMIT, AFTER],
            answer: "Torrents",
            ..usual
        },
        Call::ShowTorrent => {
            Said { summary: "A torrent, and how it is doing", answer: "AnyTorrent", ..usual }
        }
        Call::PutTorrent => Said {
            summary: "A torrent is registered, with these rules",
            text: "Its balance and snatches so far stay. An open tracker takes a name alone. There it serves what was \
                   withdrawn again, and with `listed` what nobody named before; the deny-list goes before it.",
            body: Some((
                "TorrentPut",
                json!({"id": 10, "freeleech": "free", "upload_percent": 200}),
            )),
            answer: "AnyTorrent",
            failures: &[409, 507],
            ..usual
        },
        Call::RemoveTorrent => Said {
            summary: "A torrent is not registered any more",
            text: "Of an open tracker: it is withdrawn, and refused for 30 days, whether it was put here or not. Its \
                   peers leave at once.",
            query: &[(
                "reason",
                "What its clients are told for a day, behind `Unregistered torrent: `, or by an open tracker for 30 \
                 days, behind `Torrent withdrawn: `; one line of at most 200 bytes.",
                "Dupe",
            )],
            answer: "AnyRemoved",
            ..usual
        },
        Call::PeersOfTorrent => Said {
            summary: "Who is on a torrent",
            text: "Of a swarm that changes between two pages, a peer may be on both or, where it becomes a \
                   seeder, on none.",
            query: &[LIMIT, AFTER],
            answer: "Peers",
            ..usual
        },
        Call::Tokens => Said {
            summary: "Tokens that are not used up",
            text: "In no order. A page may have fewer than asked, even none, and a `next`.",
            query: &[("user", "Those of this user alone.", "7"), LIMIT, AFTER],
            answer: "Tokens",
            ..usual
        },
        Call::PutToken => Said {
            summary: "What a user downloads of a torrent is free",
            text: "Until the download is complete, or the token ends by itself. It may come before its user.",
            body: Some(("TokenPut", json!({"expires_at": 2_000_000_000}))),
            answer: "Token",
            ..usual
        },
        Call::RemoveToken => Said {
            summary: "A user has no token for a torrent any more",
            answer: "Removed",
            ..usual
        },
        Call::ClientRules => Said {
            summary: "Which client programs may announce",
            text: "The longest prefix decides; where any is allowed, clients without a rule are refused.",
            answer: "ClientRules",
            ..usual
        },
        Call::PutClientRule => Said {
            summary: "Clients whose peer id begins like this are allowed, or refused",
            body: Some(("ClientRulePut", json!({"allow": true}))),
            answer: "ClientRule",
            ..usual
        },
        Call::RemoveClientRule => {
            Said { summary: "There is no rule for these clients", answer: "Removed", ..usual }
        }
        Call::Bulk => Said {
            summary: "Many changes, each answered",
            text: "Done in this order as far as they are about the same thing. One that fails does not keep \
                   the others from being done. Up to 10,000 in 4 MiB.",
            body: Some(("Bulk", schemas::bulk_example())),
            answer: "BulkResults",
            failures: &[413],
            ..usual
        },
        Call::Bans => {
            Said { summary: "Banned networks", query: &[LIMIT, AFTER], answer: "Bans", ..usual }
        }
        Call::PutBans => Said {
            summary: "Networks are banned, for a while or for ever",
            text: "They get nothing, whatever else is said of them, and their peers leave. A network that is banned \
                   already is banned anew. Answered when it is on the disk and all cores have been told.",
            body: Some((
                "BansPut",
                json!({"networks": ["192.0.2.7", "2001:db8::/64"], "seconds": 7200, "reason": "A flood"}),
            )),
            answer: "BansMade",
            failures: &[413],
            ..usual
        },
        Call::RemoveBan => {
            Said { summary: "A network is not banned any more", answer: "BanRemoved", ..usual }
        }
        Call::Services => Said {
            summary: "What the tracker listens for, and whether it is on",
            answer: "Services",
            ..usual
        },
        Call::PutService => Said {
            summary: "A service is on, or off",
            text: "Until the next start. Over UDP, what comes while it is off is met with silence; over HTTP no connection \
                   is accepted, and kept ones end with their next request.",
            body: Some(("ServicePut", json!({"on": false}))),
            answer: "Service",
            ..usual
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::{Operation, operator};

    #[test]
    fn the_file_is_what_the_program_says() {
        let file = include_str!("../../docs/openapi.json");
        assert!(file == text(), "cargo run -q -- api describe > docs/openapi.json");
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let document = document();
        let mut described = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((method.to_ascii_uppercase(), path.clone()));
            }
        }
        let routed: BTreeSet<_> = ROUTES
            .iter()
            .map(|route| (route.method.to_owned(), format!("{BASE}{}", route.path)))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        fn references(value: &Value, found: &mut BTreeSet<String>) {
            match value {
                Value::Object(fields) => {
                    if let Some(Value::String(to)) = fields.get("$ref") {
                        found.insert(to.clone());
                    }
                    fields.values().for_each(|value| references(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let (document, mut found) = (document(), BTreeSet::new());
        references(&document, &mut found);
        let schemas = document["components"]["schemas"].as_object().unwrap().keys();
        let there: BTreeSet<String> =
            schemas.map(|name| format!("#/components/schemas/{name}")).collect();
        assert_eq!(found, there);
    }

    #[test]
    fn every_example_is_understood() {
        let examples = |route: &Route| -> Vec<String> {
            let parts = route.path.split('/').filter_map(|part| part.strip_prefix('{'));
            let parts = parts.map(|part| path_parameter(part.trim_end_matches('}')));
            parts
                .map(|parameter| match &parameter["example"] {
                    Value::String(text) => text.clone(),
                    example => example.to_string(),
                })
                .collect()
        };
        let mut changes = 0;
        for route in &ROUTES {
            let said = said(route.call);
            let reason = said.query.iter().find(|(name, ..)| *name == "reason");
            let query =
                reason.map_or(String::new(), |(name, _, example)| format!("{name}={example}"));
            let body = said.body.map_or_else(|| json!({}), |(_, example)| example);
            if route.call == Call::PutBans {
                operator::read_bans(body.clone()).unwrap();
            }
            if route.call == Call::PutService {
                operator::read_switch(&examples(route), &body).unwrap();
            }
            if let Some(read) = Operation::of(route.call, &examples(route), &query, body) {
                read.unwrap();
                changes += 1;
            }
        }
        assert_eq!(changes, 11);
        for operation in schemas::bulk_example()["operations"].as_array().unwrap() {
            Operation::read(operation.clone()).unwrap();
        }
    }
}
