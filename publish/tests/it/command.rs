//! The command line: what it takes, what it refuses and how it says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ops::options::{Declared, Table};
use publish::options::{Master, Seeder};
use tempfile::TempDir;

/// What a command wrote, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs `margay-publish` with `args`, separated by white space, in `folder` and with nothing but `environment`.
fn publisher(folder: &Path, environment: &[(&str, &str)], args: &str) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_margay-publish"))
        .args(args.split_whitespace())
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().expect("no signal ended it");
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// A folder with a configuration file `m.toml`.
fn folder(file: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("m.toml"), file).unwrap();
    folder
}

/// What a Master needs, in a file.
const MASTER: &str = "watch = \"in\"\ndocroot = \"out\"\nfeed-url = \"https://h.example/feed.xml\"\n\
                      tracker = [\"udp://h.example:6969 http://h.example/announce\", \"http://b.example/a\"]\n";

/// What `config show` says of the option `name`.
fn shown(said: &Said, name: &str) -> String {
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let start = format!("{name} = ");
    let line = said.out.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{name} in {}", said.out)).to_owned()
}

#[test]
fn a_start_says_all_that_it_needs() {
    let folder = folder("wach = \"in\"\n");
    let said = publisher(folder.path(), &[], "publish run --config m.toml");
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    for part in [
        "margay-publish: error: the configuration has 5 mistakes\n",
        "m.toml:1: unknown key `wach`; did you mean `watch`?\n",
        "watch: give the folder",
        "docroot: give the folder",
        "feed-url: give the URL",
        "tracker: give the announce URL",
    ] {
        assert!(said.err.contains(part), "{part} in {}", said.err);
    }
    let said = publisher(folder.path(), &[], "seed");
    assert!(said.code == 2 && said.err.contains("feed: give the address"), "{said:?}");
    let said = publisher(folder.path(), &[], "seed --feed https://h.example/feed.xml");
    assert!(said.code == 2 && said.err.contains("its key is missing"), "{said:?}");
    let said = publisher(folder.path(), &[], "publish run --files-url https://h.example/files");
    assert!(said.err.contains("did you mean https://h.example/files/?"), "{said:?}");
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let folder = folder(&format!("{MASTER}settle = \"5s\"\nfeed-items = 7\n"));
    let environment = [
        ("MARGAY_PUBLISH_SETTLE", "6s"),
        ("MARGAY_PUBLISH_PRIVATE", "yes"),
        ("MARGAY_SEED_SETTLE", "9s"),
    ];
    let args = "publish config show --config m.toml --settle 7s";
    let said = publisher(folder.path(), &environment, args);
    assert_eq!(shown(&said, "settle"), "\"7s\" # --settle");
    assert_eq!(shown(&said, "private"), "true # MARGAY_PUBLISH_PRIVATE");
    assert_eq!(shown(&said, "feed-items"), "7 # m.toml:6");
    assert_eq!(shown(&said, "listen"), "[\"0.0.0.0:6881\", \"[::]:6881\"] # default");
    let tiers =
        "[\"udp://h.example:6969 http://h.example/announce\", \"http://b.example/a\"] # m.toml:4";
    assert_eq!(shown(&said, "tracker"), tiers);

    let feed = format!("https://h.example/feed.xml#ed25519={}", "A".repeat(43));
    let said = publisher(folder.path(), &[], &format!("seed --feed {feed} config show --poll 5s"));
    assert_eq!(shown(&said, "feed"), format!("[\"{feed}\"] # --feed"));
    assert_eq!(shown(&said, "poll"), "\"5s\" # --poll");
    assert_eq!(shown(&said, "control"), "\"127.0.0.1:6982\" # default");
}

#[test]
fn a_secret_is_never_shown() {
    let folder = folder(MASTER);
    let environment = [
        ("MARGAY_PUBLISH_STANDBY_OF", "https://b.example/feed.xml"),
        ("MARGAY_PUBLISH_TRACKER_API", "http://127.0.0.1:6980"),
        ("MARGAY_PUBLISH_TRACKER_API_TOKEN", "5ec2e7"),
        ("MARGAY_PUBLISH_DATABASE", "postgres://a:5ec2e7@localhost/b"),
        ("MARGAY_PUBLISH_STANDBY_OF", "https://other.example/feed.xml"),
    ];
    let said = publisher(folder.path(), &environment, "publish config show --config m.toml");
    assert_eq!(shown(&said, "tracker-api-token"), "\"…\" # MARGAY_PUBLISH_TRACKER_API_TOKEN");
    assert!(!format!("{said:?}").contains("5ec2e7"), "{said:?}");
}

#[test]
fn samples_are_accepted_and_the_documents_have_not_drifted() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let (mut page, mut how) = (String::new(), Vec::new());
    let needed = format!("feed = \"https://h/f.xml#ed25519={}\"\n", "A".repeat(43));
    for (part, file, needed) in
        [("publish", "margay-publish.toml", MASTER), ("seed", "margay-seed.toml", &needed)]
    {
        let sample = publisher(&docs, &[], &format!("{part} config print")).out;
        let folder = folder(&format!("{needed}{sample}"));
        let said = publisher(folder.path(), &[], &format!("{part} config check m.toml"));
        assert_eq!((said.code, said.out.as_str()), (0, "m.toml: no mistakes\n"), "{said:?}");
        let kept = fs::read_to_string(docs.join(file)).unwrap();
        let command = format!("cargo run -q -p margay-publish -- {part} config");
        assert!(kept == sample, "run `{command} print > docs/{file}`");
        page += &publisher(&docs, &[], &format!("{part} config reference")).out;
        how.push(format!("{command} reference"));
    }
    let kept = fs::read_to_string(docs.join("publish-options.md")).unwrap();
    assert!(kept == page, "run `({}) > docs/publish-options.md`", how.join("; "));
    let page = publisher(&docs, &[], "metrics").out;
    let kept = fs::read_to_string(docs.join("publish-metrics.md")).unwrap();
    let command = "cargo run -q -p margay-publish -- metrics > docs/publish-metrics.md";
    assert!(kept == page, "run `{command}`");
}

#[test]
fn completions_help_and_the_man_page_know_every_option() {
    let folder = folder("");
    let run = |args: &str| {
        let said = publisher(folder.path(), &[], args);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{args}");
        said.out
    };
    let man = run("man").replace("\\-", "-");
    for part in [
        "OPTIONS OF PUBLISH RUN",
        "OPTIONS OF SEED",
        "publish withdraw",
        "seed status",
        "EXIT STATUS",
    ] {
        assert!(man.contains(part), "{part} in the man page");
    }
    let tables: [(&str, &[Declared]); 2] =
        [("publish run", Master::TABLE), ("seed run", Seeder::TABLE)];
    for (command, table) in tables {
        let help = run(&format!("{command} --help"));
        for option in table {
            let flag = format!("--{}", option.name);
            assert!(man.contains(&flag), "{flag} in the man page");
            assert!(help.contains(&flag) && help.contains(&option.variable()), "{flag} in --help");
        }
    }
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = run(&format!("completions {shell}"));
        for option in Master::TABLE.iter().chain(Seeder::TABLE) {
            assert!(said.contains(option.name), "{} in {shell}", option.name);
        }
    }
}

#[test]
fn commands_are_known_and_mistaken_ones_are_named() {
    let folder = folder("");
    let version = publisher(folder.path(), &[], "--version").out;
    assert!(
        version.starts_with(concat!("margay-publish ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
    for args in
        ["publish withdraw", "publish nothing", "publish run --settel 3s", "seed status x", ""]
    {
        let said = publisher(folder.path(), &[], args);
        assert!(said.code == 2 && said.err.contains("Usage: margay-publish"), "{args}: {said:?}");
    }
}
