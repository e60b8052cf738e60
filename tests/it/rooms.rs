//! The rooms of the program and of the publisher, and which of them know which: no way leads back (ARCHITECTURE, "Where
//! things are"). And that the tracker is built without the publisher.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each room with the rooms that it knows, all of which stand before it. A file is in the room with the longest name
/// that its module begins with.
type Rooms = [(&'static str, &'static [&'static str])];

/// Those of the program, in `src`.
const ROOMS: &Rooms = &[
    ("wire", &[]),
    ("config", &[]),
    ("net", &[]),
    ("private::users", &[]),
    ("private::torrents", &[]),
    ("core::route", &[]),
    ("process", &["config", "net"]),
    ("core::connection_id", &["net", "process"]),
    ("api", &["wire", "private::users", "private::torrents", "core::route", "core::connection_id"]),
    ("core::mesh", &["wire", "net", "api"]),
    ("handover", &["net", "core::mesh"]),
    ("private::site", &["wire", "config", "private::users", "private::torrents", "api"]),
    (
        "private::core",
        &[
            "wire",
            "net",
            "private::users",
            "private::torrents",
            "core::route",
            "process",
            "api",
            "core::mesh",
            "private::site",
        ],
    ),
    ("core", &["config", "process", "core::connection_id", "api", "core::mesh", "private::core"]),
    (
        "private::books",
        &[
            "wire",
            "config",
            "private::users",
            "core::route",
            "process",
            "core::mesh",
            "private::site",
            "private::core",
        ],
    ),
    (
        "front",
        &[
            "wire",
            "config",
            "net",
            "core::route",
            "api",
            "core::mesh",
            "private::site",
            "private::core",
            "core",
        ],
    ),
    (
        "control",
        &["private::users", "core::route", "process", "api", "core::mesh", "private::site"],
    ),
    (
        "server",
        &[
            "config",
            "net",
            "core::route",
            "process",
            "core::connection_id",
            "api",
            "core::mesh",
            "core",
            "private::books",
            "front",
            "control",
            "handover",
        ],
    ),
    ("command", &["wire", "config", "api", "handover"]),
];

/// Those of the publisher, in `publish/src`.
const PUBLISH_ROOMS: &Rooms = &[
    ("bencode", &[]),
    ("beneath", &[]),
    ("durable", &[]),
    ("screening", &[]),
    ("feed", &["durable"]),
    ("torrent", &["bencode", "beneath"]),
    ("announce", &["bencode", "screening"]),
    ("watch", &["torrent"]),
    ("engine", &["bencode", "beneath", "screening", "torrent"]),
    ("shelf", &["durable"]),
    ("options", &["feed", "watch"]),
    ("node", &["announce", "engine", "screening", "torrent"]),
    ("web", &["announce", "feed", "screening", "torrent"]),
    (
        "seeder",
        &[
            "announce",
            "durable",
            "engine",
            "feed",
            "node",
            "options",
            "screening",
            "shelf",
            "torrent",
            "web",
        ],
    ),
    (
        "master",
        &[
            "durable",
            "engine",
            "feed",
            "node",
            "options",
            "screening",
            "seeder",
            "shelf",
            "torrent",
            "watch",
            "web",
        ],
    ),
    ("command", &["durable", "feed", "master", "options", "seeder", "web"]),
];

/// Those that put rooms together and are in none.
const OUTSIDE: [&str; 3] = ["lib", "main", "private"];

#[test]
fn a_room_knows_only_rooms_before_it() {
    for rooms in [ROOMS, PUBLISH_ROOMS] {
        let place = |name: &str| rooms.iter().position(|(room, _)| *room == name);
        for (at, (room, known)) in rooms.iter().enumerate() {
            for other in *known {
                assert!(place(other).is_some_and(|other| other < at), "{room} knows {other}");
            }
        }
    }
}

#[test]
fn what_is_imported_is_known_to_the_room() {
    check("src", ROOMS);
    check("publish/src", PUBLISH_ROOMS);
}

fn check(folder: &str, rooms: &'static Rooms) {
    let room = |module: &str| room(rooms, module);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = files(&root);
    let modules: BTreeSet<String> = files.iter().map(|file| module(&root, file)).collect();
    let mut used = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in &files {
        let module = module(&root, file);
        let Some(own) = room(&module) else {
            assert!(OUTSIDE.contains(&module.as_str()), "{module} is in no room");
            continue;
        };
        for path in paths(&fs::read_to_string(file).unwrap(), &module) {
            let Some(other) = named(&modules, &path).and_then(room).filter(|other| *other != own)
            else {
                continue;
            };
            let (_, known) = rooms.iter().find(|(name, _)| *name == own).unwrap();
            if !known.contains(&other) {
                wrong.push(format!("{module} uses {path}"));
            }
            used.insert((own, other));
        }
    }
    assert!(wrong.is_empty(), "ways that are not allowed in {folder}: {wrong:#?}");
    let allowed = rooms.iter().flat_map(|(room, known)| known.iter().map(move |to| (*room, *to)));
    let unused: Vec<_> = allowed.filter(|way| !used.contains(way)).collect();
    assert!(unused.is_empty(), "ways that nobody goes in {folder}: {unused:?}");
}

#[test]
fn the_tracker_is_built_without_the_publisher() {
    // What `cargo build` at the root builds, and what the publisher is built of.
    let tree = |args: &[&str]| {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none"])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let (tracker, publisher) = (tree(&[]), tree(&["--package", "margay-publish"]));
    for package in ["margay-publish ", "librqbit "] {
        let is_in = |tree: &str| tree.lines().any(|line| line.starts_with(package));
        assert!(is_in(&publisher) && !is_in(&tracker), "{package}");
    }
    assert!(tracker.contains("glommio "), "{tracker}");
}

/// All of the program but files of tests.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            files.push(path);
        }
    }
    files
}

fn module(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let names: Vec<_> = path.iter().map(|name| name.to_str().unwrap()).collect();
    names.join("::")
}

/// The room that a module is in.
fn room(rooms: &Rooms, module: &str) -> Option<&'static str> {
    let is_in = |room: &&str| {
        module.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    rooms.iter().map(|(room, _)| *room).filter(is_in).max_by_key(|room| room.len())
}

/// The module that a path leads into.
fn named<'m>(modules: &'m BTreeSet<String>, path: &str) -> Option<&'m str> {
    let mut path = path;
    loop {
        if let Some(module) = modules.get(path) {
            return Some(module);
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// Where the code of a module leads, from the root of the crate. Comments and tests lead nowhere.
fn paths(text: &str, module: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let code: String = lines.collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for begin in ["crate::", "super::"] {
        for (at, _) in code.match_indices(begin) {
            // Of several `super` the first one is the beginning.
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before == ':' || before == '_' || before.is_alphanumeric() {
                continue;
            }
            let tree = &code[at..];
            for path in branches(&tree[..end(tree)]) {
                found.extend(from_root(&path, module));
            }
        }
    }
    found
}

/// Where a path ends that may branch out in braces.
fn end(code: &str) -> usize {
    let mut depth = 0;
    for (at, letter) in code.char_indices() {
        match letter {
            '{' if code[..at].ends_with("::") || depth > 0 => depth += 1,
            '}' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ':' | '_' => {}
            _ if depth > 0 || letter.is_alphanumeric() => {}
            _ => return at,
        }
    }
    code.len()
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn branches(tree: &str) -> Vec<String> {
    let Some((stem, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inside = rest.rsplit_once('}').map_or(rest, |(inside, _)| inside);
    let (mut depth, mut twigs) = (0, vec![String::new()]);
    for letter in inside.chars() {
        match letter {
            ',' if depth == 0 => twigs.push(String::new()),
            _ => {
                depth += i32::from(letter == '{') - i32::from(letter == '}');
                twigs.last_mut().unwrap().push(letter);
            }
        }
    }
    let twigs = twigs.iter().filter(|twig| !twig.trim().is_empty());
    twigs.flat_map(|twig| branches(twig)).map(|twig| format!("{}{twig}", stem.trim())).collect()
}

/// The same path from the root of the crate.
fn from_root(path: &str, module: &str) -> Option<String> {
    if let Some(path) = path.strip_prefix("crate::") {
        return Some(path.to_owned());
    }
    let (mut path, mut module) = (path, module);
    while let Some(rest) = path.strip_prefix("super::") {
        path = rest;
        module = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    }
    Some(if module.is_empty() { path.to_owned() } else { format!("{module}::{path}") })
}

#[test]
fn a_path_is_followed_wherever_it_branches() {
    let text = "use crate::a::{b, c::{self, D}};\n// crate::x\nfn f() { super::e::g(crate::h::I) }\n\
                #[cfg(test)]\nuse crate::y;";
    let mut found = paths(text, "m::n");
    found.sort();
    assert_eq!(found, ["a::b", "a::c::D", "a::c::self", "h::I", "m::e::g"]);
    assert_eq!(room(ROOMS, "private::core::traces"), Some("private::core"));
    assert_eq!(room(ROOMS, "core::mesh"), Some("core::mesh"));
    assert_eq!(room(ROOMS, "core::load"), Some("core"));
    assert_eq!(room(ROOMS, "corent"), None);
}

#[test]
fn files_that_pages_name_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
            .map(|page| root.join(page))
            .to_vec();
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        pages.push(entry.unwrap().path());
    }
    let mut missing = Vec::new();
    for page in pages.iter().filter(|page| page.extension().is_some_and(|kind| kind == "md")) {
        let text = fs::read_to_string(page).unwrap();
        for named in text.split('`').skip(1).step_by(2) {
            let is_path = named.contains('/') && named.ends_with(".rs") && !named.contains(' ');
            if is_path && !root.join(named).exists() {
                missing.push(format!("{}: {named}", page.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
