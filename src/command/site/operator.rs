//! Answers of the API about the tracker itself, for people.

use std::fmt::Write;

use serde_json::Value;

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
