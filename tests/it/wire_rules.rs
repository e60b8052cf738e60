//! Tests are named after rules of `docs/wire.md`: every name leads to one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rules that a test's name begins with: `A6` and `C9` of `a6_c9_a_mapped_address…`.
fn rules_of(name: &str) -> impl Iterator<Item = String> {
    let is_rule = |part: &&str| {
        let number = part.strip_prefix(['a', 'b', 'c', 'd', 'e', 'f']);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|digit| digit.is_ascii_digit()))
    };
    name.split('_').take_while(is_rule).map(str::to_uppercase).collect::<Vec<_>>().into_iter()
}

fn add_rules(folder: &Path, rules: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_rules(&path, rules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| line.trim_start().strip_prefix("fn "));
            rules.extend(names.flat_map(rules_of));
        }
    }
}

#[test]
fn every_rule_that_a_test_names_is_on_the_page() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = BTreeSet::new();
    add_rules(&project.join("src"), &mut named);
    add_rules(&project.join("tests/it"), &mut named);
    add_rules(&project.join("shard/tests"), &mut named);
    assert!(named.len() > 50, "{named:?}");
    let page = fs::read_to_string(project.join("docs/wire.md")).unwrap();
    let written: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(rule, _)| rule.to_owned())
        .collect();
    let missing: Vec<&String> = named.difference(&written).collect();
    assert!(missing.is_empty(), "docs/wire.md does not say what {missing:?} are");
}
