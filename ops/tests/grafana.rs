//! The dashboards and alert rules: whole, accepted by Prometheus' own checker, and speaking only of
//! metrics and labels that exist.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ops::metrics::{ALL, Metric};
use serde_json::Value;

fn grafana() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grafana")
}

/// Files of a folder below `grafana` that end in `suffix`; there is at least one.
fn files(folder: &str, suffix: &str) -> Vec<PathBuf> {
    let files: Vec<PathBuf> = fs::read_dir(grafana().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(suffix))
        .collect();
    assert!(!files.is_empty(), "no *{suffix} in grafana/{folder}");
    files
}

fn dashboard(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All values of `expr` anywhere below `value`.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if key == "expr" => found.push(text.clone()),
                    _ => expressions(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, found)),
        _ => {}
    }
}

/// Names beginning with `margay_` in `text`.
fn names(text: &str) -> BTreeSet<&str> {
    text.match_indices("margay_")
        .filter(|(at, _)| !text[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        .map(|(at, _)| {
            let end = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            &text[at..end.map_or(text.len(), |end| at + end)]
        })
        .collect()
}

fn declared(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

/// Runs promtool in `folder`; it says nothing but success.
fn promtool(folder: &Path, arguments: &[&str]) {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("promtool is needed: install the Debian package prometheus");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && !said.contains("FAILED"), "{said}");
}

#[test]
fn every_metric_that_is_shown_or_alerted_on_is_declared() {
    let shown = [files("dashboards", ".json"), files("alerts", ".yaml")].concat();
    // The publisher holds this page against its own table, which this package does not know.
    let page = include_str!("../../docs/publish-metrics.md");
    let of_publisher: BTreeSet<&str> = names(page);
    assert!(of_publisher.len() > 10, "only {of_publisher:?}");
    let mut used = BTreeSet::new();
    for path in shown {
        let text = fs::read_to_string(&path).unwrap();
        for name in names(&text) {
            assert!(
                declared(name).is_some() || of_publisher.contains(name),
                "{}: {name} is not declared",
                path.display()
            );
            used.insert(name.to_owned());
        }
    }
    assert!(used.len() > 30, "only {used:?}");
}

#[test]
fn the_dashboard_only_uses_labels_that_its_metrics_have() {
    for path in files("dashboards", ".json") {
        let mut found = Vec::new();
        expressions(&dashboard(&path), &mut found);
        for expression in found {
            for group in expression.split("by (").skip(1) {
                let labels = group.split(')').next().unwrap();
                let name = *names(group).first().unwrap();
                for label in labels.split(',').map(str::trim) {
                    let metric = declared(name).unwrap();
                    assert!(metric.labels.contains(&label), "{label} in {expression}");
                }
            }
        }
    }
}

#[test]
fn every_panel_has_a_title_a_description_and_its_own_place() {
    for path in files("dashboards", ".json") {
        let dashboard = dashboard(&path);
        let mut taken = BTreeSet::new();
        let mut numbers = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let title = panel["title"].as_str().unwrap();
            assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{title}: the id is taken");
            if panel["type"] != "row" {
                assert!(panel["description"].is_string(), "{title} has no description");
                assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
            }
            let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            for x in side("x")..side("x") + side("w") {
                assert!(x < 24, "{title} stands out");
                for y in side("y")..side("y") + side("h") {
                    assert!(taken.insert((x, y)), "{title} lies over another panel");
                }
            }
        }
    }
}

#[test]
fn promtool_accepts_the_alert_rules_and_their_tests_pass() {
    let folder = grafana().join("alerts");
    for rules in files("alerts", ".rules.yaml") {
        let name = rules.file_name().unwrap().to_str().unwrap();
        promtool(&folder, &["check", "rules", name]);
        promtool(&folder, &["test", "rules", &name.replace(".rules.", ".test.")]);
    }
}

/// A dashboard's expressions, with its variables filled in, are made into recording rules.
#[test]
fn promtool_accepts_every_expression_of_the_dashboards() {
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    let mut count = 0;
    for path in files("dashboards", ".json") {
        let mut found = Vec::new();
        expressions(&dashboard(&path), &mut found);
        for expression in found {
            let filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
            assert!(!filled.contains('$'), "an unknown variable in {expression}");
            count += 1;
            rules += &format!("      - record: panel:{count}\n        expr: '{filled}'\n");
        }
    }
    assert!(count > 30);
    let folder = std::env::temp_dir().join(format!("margay-grafana-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("panels.yaml"), rules).unwrap();
    promtool(&folder, &["check", "rules", "panels.yaml"]);
    fs::remove_dir_all(folder).unwrap();
}
