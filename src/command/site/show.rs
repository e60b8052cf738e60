//! Answers of the API for people.

use std::fmt::Write;

use serde_json::Value;

use crate::api::text::moment;

/// A user, with his clients where they are known.
pub(super) fn user_asked(value: &Value) -> String {
    let unknown = "credited    unknown: the database does not answer, or has no row of the user\n";
    user(value) + if value["credited"].is_object() { "" } else { unknown }
}

/// The same where what he was credited was not asked.
pub(super) fn user(value: &Value) -> String {
    let mut text = String::new();
    line(&mut text, "user", &value["id"]);
    line(&mut text, "passkey", &value["passkey"]);
    if let Some(until) = value["former_until"].as_u64() {
        let _ = writeln!(text, "old passkey  good until {}", moment(until));
    }
    line(&mut text, "announces", &yes(&value["enabled"], "may", "may not"));
    line(&mut text, "downloads", &yes(&value["can_leech"], "may", "may not"));
    line(&mut text, "addresses", &yes(&value["hidden"], "hidden", "shown"));
    if !value["group"].is_null() {
        line(&mut text, "group", &value["group"]);
    }
    line(&mut text, "seeding", &value["seeding"]);
    line(&mut text, "leeching", &value["leeching"]);
    if value["credited"].is_object() {
        line(&mut text, "uploaded", &value["credited"]["uploaded"]);
        line(&mut text, "downloaded", &value["credited"]["downloaded"]);
    }
    if let Some(clients) = value["clients"].as_array() {
        text.push('\n');
        if clients.is_empty() && value["enabled"] == false {
            text.push_str(
                "clients of a user who may not announce are not looked for: nobody is told of them, and they go with \
                 the peer timeout
",
            );
        }
        for client in clients {
            let _ = write!(text, "{}  ", word(&client["info_hash"]));
            peer(&mut text, client);
        }
    }
    text
}

/// Users, one a line.
pub(super) fn users(value: &Value) -> String {
    let mut text = String::new();
    for user in value.as_array().into_iter().flatten() {
        let marks = [
            ("enabled", false, "disabled"),
            ("can_leech", false, "no downloads"),
            ("hidden", true, "hidden"),
        ];
        let marks = marks.iter().filter(|(field, is, _)| user[*field].as_bool() == Some(*is));
        let marks: Vec<&str> = marks.map(|(_, _, mark)| *mark).collect();
        let _ = writeln!(
            text,
            "{:<10}  {}  {} seeding, {} leeching  up {} down {}  {}",
            word(&user["id"]),
            word(&user["passkey"]),
            user["seeding"],
            user["leeching"],
            word(&user["credited"]["uploaded"]),
            word(&user["credited"]["downloaded"]),
            marks.join(", ")
        );
    }
    or_none(text, "there are no users\n")
}

/// A group of users.
pub(super) fn group(value: &Value) -> String {
    let most = match value["downloads_max"].as_u64() {
        Some(1) => "1 download at once".to_owned(),
        Some(most) => format!("{most} downloads at once"),
        None => "any number of downloads".to_owned(),
    };
    format!("{:<10}  {}  {most}\n", word(&value["id"]), word(&value["name"]))
}

/// All groups.
pub(super) fn groups(value: &Value) -> String {
    let text: String = value["groups"].as_array().into_iter().flatten().map(group).collect();
    or_none(text, "there are no groups\n")
}

/// Torrents, one a line.
pub(super) fn torrents(value: &Value) -> String {
    let mut text = String::new();
    for torrent in value.as_array().into_iter().flatten() {
        if torrent["id"].is_null() {
            let _ = writeln!(
                text,
                "{}  {:<9}  {} seeders, {} leechers, {} snatches  {}{}",
                word(&torrent["info_hash"]),
                word(&torrent["state"]),
                torrent["seeders"],
                torrent["leechers"],
                torrent["snatches"],
                torrent["name"].as_str().map(|_| word(&torrent["name"])).unwrap_or_default(),
                reason(torrent).map(|reason| format!("  ({reason})")).unwrap_or_default(),
            );
            continue;
        }
        let _ = writeln!(
            text,
            "{:<10}  {}  {} seeders, {} leechers, {} snatches  {} {}%",
            word(&torrent["id"]),
            word(&torrent["info_hash"]),
            torrent["seeders"],
            torrent["leechers"],
            torrent["snatches"],
            word(&torrent["freeleech"]),
            torrent["upload_percent"]
        );
    }
    or_none(text, "there are no torrents\n")
}

/// Tokens, one a line.
pub(super) fn tokens(value: &Value) -> String {
    let text: String = value.as_array().into_iter().flatten().map(token).collect();
    or_none(text, "there are no tokens\n")
}

fn or_none(text: String, none: &str) -> String {
    if text.is_empty() { none.to_owned() } else { text }
}

/// Why a torrent of an open tracker was withdrawn, where it was.
fn reason(torrent: &Value) -> Option<String> {
    torrent["reason"].as_str().filter(|reason| !reason.is_empty())?;
    Some(word(&torrent["reason"]))
}

/// A torrent, with its peers where they are known.
pub(super) fn torrent(value: &Value) -> String {
    let mut text = String::new();
    if value["id"].is_null() {
        line(&mut text, "infohash", &value["info_hash"]);
        if !value["name"].is_null() {
            line(&mut text, "name", &value["name"]);
        }
        line(&mut text, "state", &value["state"]);
        if let Some(until) = value["withdrawn_until"].as_u64() {
            let _ = writeln!(text, "until       {}", moment(until));
        }
        if let Some(reason) = reason(value) {
            line(&mut text, "reason", &reason.into());
        }
        line(&mut text, "seeders", &value["seeders"]);
        line(&mut text, "leechers", &value["leechers"]);
        line(&mut text, "snatches", &value["snatches"]);
        return text;
    }
    line(&mut text, "torrent", &value["id"]);
    line(&mut text, "infohash", &value["info_hash"]);
    if !value["info_hash_v2"].is_null() {
        line(&mut text, "version 2", &value["info_hash_v2"]);
    }
    line(&mut text, "freeleech", &value["freeleech"]);
    line(&mut text, "uploads", &format!("{}%", value["upload_percent"]).into());
    line(&mut text, "seeders", &value["seeders"]);
    line(&mut text, "leechers", &value["leechers"]);
    line(&mut text, "snatches", &value["snatches"]);
    line(&mut text, "balance", &value["balance"]);
    if let Some(peers) = value["peers"].as_array() {
        text.push('\n');
        for other in peers {
            let _ = write!(text, "user {:<10}  ", word(&other["user"]));
            peer(&mut text, other);
        }
    }
    text
}

/// A token.
pub(super) fn token(value: &Value) -> String {
    let end = match value["expires_at"].as_u64() {
        Some(at) => format!(", until {}", moment(at)),
        None => String::new(),
    };
    format!(
        "user {} downloads torrent {} free{end}\n",
        word(&value["user"]),
        word(&value["torrent"])
    )
}

/// What is gone.
pub(super) fn removed(value: &Value) -> String {
    if let Some(until) = value["withdrawn_until"].as_u64() {
        let before = yes(&value["removed"], "withdrawn", "withdrawn; it was not served before");
        return format!("{}, and refused until {}\n", word(&before), moment(until));
    }
    match value["removed"].as_bool() {
        Some(true) => "removed\n".to_owned(),
        _ => "it was not there\n".to_owned(),
    }
}

/// One client rule.
pub(super) fn client_rule(value: &Value) -> String {
    let allow = yes(&value["allow"], "allowed", "refused");
    format!("{:<20}  {}\n", word(&value["prefix"]), word(&allow))
}

/// All client rules.
pub(super) fn client_rules(value: &Value) -> String {
    match value["client_rules"].as_array() {
        Some(rules) if !rules.is_empty() => rules.iter().map(client_rule).collect(),
        _ => "there are no rules: all clients are allowed\n".to_owned(),
    }
}

/// Something that a traced user's client did. Nothing for a sign of life.
pub(super) fn trace_line(value: &Value) -> String {
    let at = value["at"].as_u64().map(|at| moment(at)[11..].to_owned()).unwrap_or_default();
    let mut text = format!("{at}  {:<4}  ", word(&value["protocol"]));
    match value["type"].as_str() {
        Some("dropped") => return format!("{} did not fit and are missing here\n", value["count"]),
        Some("scrape") => {
            let torrents = value["info_hashes"].as_array().map_or(0, Vec::len);
            let _ = write!(text, "scrape of {torrents} torrents");
        }
        Some("announce") => announce(&mut text, value),
        _ => return String::new(),
    }
    text.push('\n');
    text
}

fn announce(text: &mut String, value: &Value) {
    let event = value["event"].as_str().unwrap_or("announce");
    let _ = write!(text, "{event:<9}  {}", word(&value["info_hash"]));
    if !value["uploaded"].is_null() {
        let _ = write!(
            text,
            "  {}  up {} down {} left {}",
            word(&value["client"]),
            value["uploaded"],
            value["downloaded"],
            word(&value["left"]),
        );
    }
    if let Some(refused) = value["refused"].as_str() {
        if value["uploaded"].is_null() && !value["peer_id"].is_null() {
            let _ = write!(text, "  {} ({})", word(&value["client"]), word(&value["peer_id"]));
        }
        let _ = write!(text, "  REFUSED: {refused}");
    } else {
        let told = &value["told"];
        let _ = write!(
            text,
            "  told {} peers of {} seeders and {} leechers",
            told["peers"], told["seeders"], told["leechers"]
        );
    }
    let credited = &value["credited"];
    let nothing = |field: &str| credited[field].as_u64().unwrap_or(0) == 0;
    if !(nothing("uploaded") && nothing("downloaded") && nothing("by_token")) {
        let _ = write!(
            text,
            "  credited up {} down {}, {} by a token",
            credited["uploaded"], credited["downloaded"], credited["by_token"]
        );
    }
    if value["snatched"] == true {
        text.push_str("  snatched");
    }
    if let Some(interval) = value["interval"].as_u64() {
        let _ = write!(text, "  again in {interval} s");
    }
}

fn peer(text: &mut String, peer: &Value) {
    let address = [&peer["address_v4"], &peer["address_v6"]];
    let address: Vec<&str> = address.iter().filter_map(|address| address.as_str()).collect();
    let address = match address.is_empty() {
        true => "hidden".to_owned(),
        false => format!("{} port {}", address.join(" and "), peer["port"]),
    };
    let _ = writeln!(
        text,
        "{:<12}  {}  {address}  up {} down {} left {}  seen {}",
        word(&peer["state"]),
        word(&peer["client"]),
        peer["uploaded"],
        peer["downloaded"],
        word(&peer["left"]),
        moment(peer["last_seen"].as_u64().unwrap_or_default()),
    );
}

fn line(text: &mut String, name: &str, value: &Value) {
    let _ = writeln!(text, "{name:<12}{}", word(value));
}

fn yes(value: &Value, yes: &str, no: &str) -> Value {
    if value == true { yes } else { no }.into()
}

/// A value as a word: text without quotes. What a client says about itself does not move the cursor.
fn word(value: &Value) -> String {
    match value {
        Value::Null => "unknown".to_owned(),
        Value::String(text) => text.chars().filter(|character| !character.is_control()).collect(),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_a_date() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00"),
            (951_826_155, "2000-02-29 12:09:15"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (1_772_323_200, "2026-03-01 00:00:00"),
            (u64::from(u32::MAX), "2106-02-07 06:28:15"),
        ] {
            assert_eq!(moment(seconds), date);
        }
    }

    #[test]
    fn a_line_of_a_trace_is_for_people() {
        let line = trace_line(&json!({
            "type": "announce", "at": 3600, "protocol": "http", "event": "started",
            "info_hash": "ab", "client": "qBit\u{1b}[0m", "uploaded": 1, "downloaded": 2, "left": null,
            "told": {"peers": 3, "seeders": 4, "leechers": 5},
            "credited": {"uploaded": 0, "downloaded": 7, "by_token": 0}, "snatched": false,
            "interval": 1800,
        }));
        assert_eq!(
            line,
            "01:00:00  http  started    ab  qBit[0m  up 1 down 2 left unknown  told 3 peers of 4 \
             seeders and 5 leechers  credited up 0 down 7, 0 by a token  again in 1800 s\n"
        );
        assert_eq!(trace_line(&json!({"type": "alive"})), "");
        assert!(trace_line(&json!({"type": "dropped", "count": 9})).starts_with("9 did not fit"));
    }
}
