//! Answers of the API about the tracker itself, for people.

use std::fmt::Write;

use serde_json::Value;

use crate::api::text::moment;

/// A service.
pub(super) fn service(value: &Value) -> String {
    let name = value["service"].as_str().unwrap_or_default();
    let is = if value["on"] == true { "on" } else { "off" };
    let mut text = format!("{name:<7} {is}");
    let shed = value["shed"].as_u64().unwrap_or_default();
    let sheds = if value["shedding"] == true { "sheds load now, " } else { "" };
    if shed > 0 {
        let _ = write!(text, "  {sheds}{shed} requests shed since the start");
    }
    text.push('\n');
    text
}

/// Services, one a line.
pub(super) fn services(value: &Value) -> String {
    value["services"].as_array().into_iter().flatten().map(service).collect()
}

/// Bans, one a line.
pub(super) fn bans(value: &Value) -> String {
    let mut text = String::new();
    for ban in value["bans"].as_array().into_iter().flatten() {
        let until = ban["until"]
            .as_u64()
            .map_or("for ever".to_owned(), |until| format!("until {}", moment(until)));
        let network = ban["network"].as_str().unwrap_or_default();
        let reason = ban["reason"].as_str().unwrap_or_default();
        let line = format!("{network:<18} {until}  {reason}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What has become of bans that were to end.
pub(super) fn unbanned(value: &Value) -> String {
    let mut text = String::new();
    for one in value["unbanned"].as_array().into_iter().flatten() {
        let network = one["network"].as_str().unwrap_or_default();
        let was = if one["removed"] == true { "banned no longer" } else { "was not banned" };
        let _ = match one["still_banned_by"].as_str() {
            None => writeln!(text, "{network}: {was}"),
            Some(wider) => writeln!(text, "{network}: {was}, but {wider} is, which it is in"),
        };
    }
    text
}
