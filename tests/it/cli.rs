//! The command line: what it takes, what it refuses and how it says so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use margay::config::{self, OPTIONS};
use tempfile::TempDir;

use crate::tracker::{HOMES, Tracker, hash, http, patiently};

/// What a command wrote, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Runs `margay` with `args`, separated by white space, in `folder` and with nothing but `environment`.
fn margay(folder: &Path, environment: &[(&str, &str)], args: &str) -> Said {
    let output = crate::program::margay()
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

/// What `config show` says of the option `name`.
fn shown(said: &Said, name: &str) -> String {
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let start = format!("{name} = ");
    let line = said.out.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{name} in {}", said.out)).to_owned()
}

#[test]
fn a_wrong_flag_is_a_usage_error_with_a_hint() {
    let said = margay(folder("").path(), &[], "--intervall 5m");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("'--intervall'") && said.err.contains("'--interval'"), "{said:?}");
}

#[test]
fn every_mistake_of_a_file_is_explained_with_its_line() {
    let folder = folder(
        "cores = 0\n\
         intervall = \"5m\"\n\
         \n\
         udp = [\"127.0.0.1:1\", \"localhost\"]\n\
         fresh = \"yes\"\n\
         interval = \"20m\"\n\
         interval-min = \"30m\"\n\
         numwant-max = = 3\n\
         [log]\n",
    );
    let said = margay(folder.path(), &[], "config check m.toml");
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let places: Vec<&str> =
        said.err.lines().filter_map(|line| line.trim().split(' ').next()).collect();
    let expected: Vec<String> =
        [1, 2, 4, 5, 7, 8, 9].iter().map(|line| format!("m.toml:{line}:")).collect();
    assert_eq!(said.err.lines().next(), Some("margay: error: the configuration has 7 mistakes"));
    assert_eq!(places[1..], expected, "{}", said.err);
    for part in [
        "m.toml:1: cores: 0 is out of range; it may be from 1 to 1024, or `all`\n",
        "m.toml:2: unknown key `intervall`; did you mean `interval`?\n",
        "m.toml:4: udp: \"localhost\" is not an address with a port such as",
        "m.toml:5: fresh: needs true or false, not a string\n",
        "m.toml:7: interval-min (30m) is longer than interval (20m)\n",
        "m.toml:8: not TOML: extra `=`, expected nothing; text stands in quotes\n",
        "m.toml:9: log: needs a level",
    ] {
        assert!(said.err.contains(part), "{part} in {}", said.err);
    }
}

#[test]
fn a_file_is_checked_as_a_start_would_read_it() {
    let private = folder("private = true\n");
    let said = margay(private.path(), &[], "config check m.toml");
    assert!(said.err.contains("m.toml:1: private needs a database"), "{said:?}");
    let database = ("MARGAY_DATABASE", "postgres://margay@localhost/margay");
    let said = margay(private.path(), &[database], "config check m.toml");
    assert_eq!((said.code, said.out.as_str()), (0, "m.toml: no mistakes\n"), "{said:?}");
    let said = margay(private.path(), &[("MARGAY_DATABASE", "mysql://x")], "config check m.toml");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("the URL of the database is wrong"), "{said:?}");
    let named = folder(
        "allow-list = \"absent.txt\"\nconnection-id-key-file = \"absent.key\"\nfresh = true\n",
    );
    let said = margay(named.path(), &[], "config check m.toml");
    assert_eq!(said.code, 2);
    for part in ["absent.txt", "absent.key", "No such file"] {
        assert!(said.err.contains(part), "{part} in {said:?}");
    }
    let fresh = folder("fresh = true\n");
    let said = margay(fresh.path(), &[], "config check m.toml");
    assert!(said.out.starts_with("m.toml:1: fresh forgets all swarms at every start"), "{said:?}");
    // A start ends as the check does, so that systemd does not try again.
    let said = margay(named.path(), &[], "--allow-list absent.txt --udp 127.0.0.1:0 --http none");
    assert!(said.code == 2 && said.err.contains("absent.txt"), "{said:?}");
    let open = folder("database-password-file = \"x\"\n");
    let said = margay(open.path(), &[], "config check m.toml");
    assert!(said.err.contains("without private this one serves everybody"), "{said:?}");
}

#[test]
fn a_port_is_understood_or_explained() {
    let folder = folder("");
    let said = margay(folder.path(), &[], "config show --port 7000");
    assert!(said.out.contains("0.0.0.0:7000") && said.out.contains("[::]:7000"), "{said:?}");
    for text in ["7000", ":7000", "*:7000"] {
        let said = margay(folder.path(), &[], &format!("config show --udp {text}"));
        assert!(said.err.contains("0.0.0.0:7000 and [::]:7000"), "{said:?}");
    }
}

#[test]
fn a_good_file_has_no_mistakes() {
    let said = margay(folder("cores = 2\n").path(), &[], "config check m.toml");
    assert_eq!((said.code, said.out.as_str()), (0, "m.toml: no mistakes\n"), "{said:?}");
    let said = margay(folder("").path(), &[], "config check absent.toml");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("absent.toml: cannot be read: No such file"), "{said:?}");
}

#[test]
fn nothing_is_touched_when_a_value_is_impossible() {
    let folder = folder("zebra = 1\n");
    for (environment, args) in [
        (&[][..], "--config m.toml"),
        (&[("MARGAY_CONFIG", "m.toml")], "run"),
        (&[], "run --cores 0"),
        (&[("MARGAY_INTERVAL", "soon")], ""),
        (&[], "--udp none --http none"),
    ] {
        let said = margay(folder.path(), environment, &format!("{args} --data kept"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{args}");
        assert!(
            said.err.starts_with("margay: error: the configuration has a mistake\n"),
            "{said:?}"
        );
        assert!(!folder.path().join("kept").exists(), "{args}");
    }
}

#[test]
fn a_hidden_mistake_is_a_mistake() {
    let folder = folder("interval = \"x\"\n");
    let environment = [("MARGAY_CORES", "many")];
    let said = margay(folder.path(), &environment, "--config m.toml --interval 5m --cores 1");
    assert_eq!(said.code, 2);
    assert!(said.err.contains("MARGAY_CORES: \"many\"") && said.err.contains("m.toml:1: interval"));
}

#[test]
fn a_flag_goes_before_the_environment_before_the_file_before_the_default() {
    let folder = folder("interval = 600\nnumwant-max = 40\ncores = 1\n");
    let environment = [("MARGAY_INTERVAL", "11m"), ("MARGAY_NUMWANT_MAX", "30")];
    let said = margay(folder.path(), &environment, "config show --config m.toml --interval 12m");
    assert_eq!(shown(&said, "interval"), "\"12m\" # --interval");
    assert_eq!(shown(&said, "numwant-max"), "30 # MARGAY_NUMWANT_MAX");
    assert_eq!(shown(&said, "cores"), "1 # m.toml:3");
    assert_eq!(shown(&said, "steering"), "true # default");
    // What follows another option follows its winner.
    assert_eq!(shown(&said, "interval-min"), "\"6m\" # default");
    assert_eq!(shown(&said, "numwant-default"), "30 # default");
}

#[test]
fn flags_stand_before_and_after_the_command() {
    let folder = folder("");
    let said = margay(folder.path(), &[], "--cores 1 config show --interval 7m");
    assert_eq!(shown(&said, "cores"), "1 # --cores");
    assert_eq!(shown(&said, "interval"), "\"7m\" # --interval");
}

#[test]
fn switches_and_lists_have_their_short_ways() {
    let folder = folder("steering = true\nfresh = true\n");
    let args = "config show --config m.toml --no-steering --fresh=no --udp none \
                --http 127.0.0.1:1,127.0.0.1:2 --http [::1]:3 --control none";
    let said = margay(folder.path(), &[], args);
    assert_eq!(shown(&said, "steering"), "false # --steering");
    assert_eq!(shown(&said, "fresh"), "false # --fresh");
    assert_eq!(shown(&said, "udp"), "\"none\" # --udp");
    assert_eq!(shown(&said, "http"), "[\"127.0.0.1:1\", \"127.0.0.1:2\", \"[::1]:3\"] # --http");
    assert_eq!(shown(&said, "control"), "\"none\" # --control");
    let said =
        margay(folder.path(), &[("MARGAY_UDP", "127.0.0.1:1,[::1]:2")], "config show --fresh");
    assert_eq!(shown(&said, "udp"), "[\"127.0.0.1:1\", \"[::1]:2\"] # MARGAY_UDP");
    assert_eq!(shown(&said, "fresh"), "true # --fresh");
}

#[test]
fn systemd_names_the_data_folder() {
    let folder = folder("data = \"here\"\n");
    let state = [("STATE_DIRECTORY", "/var/lib/margay:/var/lib/other")];
    let said = margay(folder.path(), &state, "config show");
    assert_eq!(shown(&said, "data"), "\"/var/lib/margay\" # STATE_DIRECTORY");
    let said = margay(folder.path(), &state, "config show --config m.toml");
    assert_eq!(shown(&said, "data"), "\"here\" # m.toml:1");
    let said = margay(folder.path(), &[], "config show");
    assert_eq!(shown(&said, "data"), "\"./margay-data\" # default");
}

#[test]
fn a_key_is_never_shown() {
    let folder = folder("");
    let key = "5ec2e7".repeat(11);
    for (environment, args) in [
        (&[("MARGAY_CONNECTION_ID_KEY", &key[..64])][..], String::new()),
        (&[("MARGAY_CONNECTION_ID_KEY", &key)], String::new()),
        (&[], format!("--connection-id-key {key}")),
    ] {
        let said = margay(folder.path(), environment, &format!("config show {args}"));
        assert!(!format!("{said:?}").contains("5ec2e7"), "{said:?}");
    }
    let said = margay(folder.path(), &[("MARGAY_CONNECTION_ID_KEY", &key[..64])], "config show");
    assert_eq!(shown(&said, "connection-id-key"), "\"…\" # MARGAY_CONNECTION_ID_KEY");
}

#[test]
fn the_sample_is_accepted_and_the_documents_have_not_drifted() {
    let sample = margay(folder("").path(), &[], "config print").out;
    let said = margay(folder(&sample).path(), &[], "config check m.toml");
    assert_eq!(said.code, 0, "{said:?}");

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (file, command, text) in [
        ("margay.toml", "print", sample),
        ("options.md", "reference", margay(&docs, &[], "config reference").out),
    ] {
        let kept = fs::read_to_string(docs.join(file)).unwrap();
        assert!(kept == text, "run `cargo run -q -- config {command} > docs/{file}`");
    }
}

#[test]
fn completions_and_the_man_page_know_every_option() {
    let folder = folder("");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let said = margay(folder.path(), &[], &format!("completions {shell}"));
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        for option in OPTIONS {
            assert!(said.out.contains(option.name), "{} in {shell}", option.name);
        }
    }
    let said = margay(folder.path(), &[], "completions bash").out;
    for words in ["human json", "whatcd orpheus", "true false"] {
        assert!(said.contains(words), "{words}");
    }
    let man = margay(folder.path(), &[], "man").out.replace("\\-", "-");
    for part in ["SIGNALS", "EXIT STATUS", "FILES", "user add", "snapshot verify", "torrent list"] {
        assert!(man.contains(part), "{part} in the man page");
    }
    assert!(!man.contains("margay-user"), "a page that is not there");
    let help = margay(folder.path(), &[], "--help").out;
    for option in OPTIONS {
        let flag = format!("--{}", option.name);
        assert!(man.contains(&flag), "{flag} in the man page");
        assert!(help.contains(&flag) && help.contains(&option.variable()), "{flag} in --help");
    }
}

#[test]
fn a_variable_close_to_an_option_is_worth_a_word() {
    let environment =
        |name: &str| vec![(name.to_owned(), "5m".to_owned()), ("PATH".to_owned(), String::new())];
    let loaded = config::load(Vec::new(), &environment("MARGAY_INTERVALL")).unwrap();
    assert_eq!(loaded.warnings, ["MARGAY_INTERVALL is no option; did you mean MARGAY_INTERVAL?"]);
    let loaded = config::load(Vec::new(), &environment("MARGAY_SERVICE_PORT")).unwrap();
    assert_eq!(loaded.warnings, [""; 0]);
    // So Kubernetes says where a service of that name is.
    let service = vec![("MARGAY_PORT".to_owned(), "tcp://10.0.0.1:6969".to_owned())];
    let loaded = config::load(Vec::new(), &service).unwrap();
    assert_eq!((loaded.config.port, loaded.warnings.len()), (6969, 0));
    let said = vec![("MARGAY_PORT".to_owned(), "7000".to_owned())];
    assert_eq!(config::load(Vec::new(), &said).unwrap().config.port, 7000);
}

#[test]
fn a_reader_who_has_seen_enough_is_no_error() {
    let mut child = crate::program::margay().arg("man").stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_version_is_the_package_s() {
    let said = margay(folder("").path(), &[], "--version");
    assert!(said.out.starts_with(concat!("margay ", env!("CARGO_PKG_VERSION"))), "{said:?}");
}

#[test]
fn every_option_is_read_by_the_program() {
    fn text_of(folder: &Path) -> String {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = entries.map(|path| match path.is_dir() {
            true => text_of(&path),
            // What compares options with each other uses none.
            false if path.ends_with("config/check.rs") => String::new(),
            false => fs::read_to_string(&path).unwrap(),
        });
        texts.collect::<Vec<_>>().join("\n")
    }
    let text = text_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for option in OPTIONS {
        let field = option.name.replace('-', "_");
        // Once it is declared.
        let used = words.iter().filter(|word| **word == field).count();
        assert!(used > 1, "nobody reads {}", option.name);
    }
}

#[test]
fn a_torrent_is_denied_and_let_in_again_by_command() {
    let folder = TempDir::new().unwrap();
    let list = folder.path().join("deny");
    fs::write(&list, format!("# kept\n{} remark\n", "AB".repeat(20))).unwrap();
    fs::set_permissions(&list, fs::Permissions::from_mode(0o640)).unwrap();
    let tracker = Tracker::start(&format!("--deny-list {}", list.display()));
    let refused = |name: &str| {
        let page = http::fetch(tracker.http(HOMES[0]), http::announce(hash(name), 1, "&left=5"));
        page.dictionary().find("failure reason").is_some()
    };
    let place = format!("--deny-list {} --control {}", list.display(), tracker.control());
    let run = |args: &str| margay(folder.path(), &[], &format!("{args} {place}"));
    let hex = hash("disk").map(|byte| format!("{byte:02x}")).concat();
    assert!(!refused("disk"));

    let said = run(&format!("deny add {hex} --remark court"));
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    assert!(said.out.contains("deny\nthe tracker has read it:\nallow-list none\n"), "{said:?}");
    assert!(said.out.ends_with("deny: 2 torrents\n"), "{said:?}");
    patiently("the refusal", || refused("disk").then_some(()));
    let text = format!("# kept\n{} remark\n{hex} court\n", "AB".repeat(20));
    assert_eq!(fs::read_to_string(&list).unwrap(), text);
    assert_eq!(fs::metadata(&list).unwrap().permissions().mode() & 0o777, 0o640);
    assert_eq!(run("deny list").out, text);
    assert!(run(&format!("deny add {}", hex.to_uppercase())).out.contains("on the list already"));
    assert_eq!(fs::read_to_string(&list).unwrap(), text);

    assert!(run(&format!("deny remove {hex}")).out.starts_with("off the list: "));
    patiently("the end of the refusal", || (!refused("disk")).then_some(()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    // What the tracker could not read is not made longer, and what is no torrent is none.
    fs::write(&list, "no infohash\n").unwrap();
    let said = run(&format!("deny add {hex}"));
    assert!(said.code == 1 && said.err.contains("deny:1: not an infohash"), "{said:?}");
    fs::write(&list, "").unwrap();
    assert!(run("deny add nothing").err.contains("no infohash of 40 hex digits"));
    assert!(run(&format!("allow add {hex}")).err.contains("give --allow-list FILE"));
    let other = format!("deny add {hex} --deny-list other --control {}", tracker.control());
    let said = margay(folder.path(), &[], &other);
    assert!(said.code == 1 && said.err.contains("none of the tracker that answers"), "{said:?}");
    tracker.stop();
    let said = run(&format!("deny add {hex}"));
    assert!(said.code == 0 && said.out.contains("no tracker answers"), "{said:?}");
}

#[test]
fn the_publisher_is_started_with_the_same_arguments() {
    let publisher = |folder: &Path| {
        let path = folder.join("margay-publish");
        fs::write(&path, "#!/bin/sh\necho \"$0 $*\"\nexit 7\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    // A copy of the program, as the real one may have been built beside it.
    let (home, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let program = home.path().join("margay");
    let original = crate::program::margay().get_program().to_owned();
    fs::hard_link(&original, &program)
        .or_else(|_| fs::copy(&original, &program).map(drop))
        .unwrap();
    let run = |path: &Path, args: &str| {
        let mut command = std::process::Command::new(&program);
        command.args(args.split_whitespace()).env_clear().env("PATH", path);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    };

    let said = run(elsewhere.path(), "seed run");
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{said:?}");
    assert!(said.err.contains("cargo build --release -p margay-publish"), "{said:?}");

    let found = publisher(elsewhere.path());
    let args = "publish run --watch in --help -x --no-such";
    let said = run(elsewhere.path(), args);
    assert_eq!((said.code, said.out), (7, format!("{found} {args}\n")), "from PATH");

    let beside = publisher(home.path());
    let said = run(elsewhere.path(), "seed");
    assert_eq!((said.code, said.out), (7, format!("{beside} seed\n")), "the one beside goes first");

    let said = run(elsewhere.path(), "--cores 2 publish run");
    assert!(said.code == 2 && said.err.contains("--cores is of the tracker"), "{said:?}");
}

#[test]
fn pages_name_only_options_that_there_are() {
    fn longs(command: &clap::Command, known: &mut BTreeSet<String>) {
        known.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|inner| longs(inner, known));
    }
    // Of aria2, of the simulation of a restart, of rsync, and of the publisher's commands.
    let others = [
        "enable-dht",
        "mix",
        "append",
        "inplace",
        "partial",
        "partial-dir",
        "follow",
        "next",
        "switch",
    ];
    let mut known = BTreeSet::from(others.map(str::to_owned));
    longs(&margay::command::cli::command(), &mut known);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Of the publisher: its own tests hold the page against its options.
    let publisher = fs::read_to_string(root.join("docs/publish-options.md")).unwrap();
    let names = publisher.lines().filter_map(|line| line.strip_prefix("### "));
    known.extend(names.flat_map(|name| [name.to_owned(), format!("no-{name}")]));
    let mut named = 0;
    for folder in ["", "docs", "grafana"] {
        let pages = fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        // Those pages are about the options of other programs, and of simulations.
        let is_ours = |path: &PathBuf| {
            !path.ends_with("docs/clients.md") && !path.ends_with("docs/population.md")
        };
        let pages = pages.filter(is_ours);
        for page in pages.filter(|path| path.extension().is_some_and(|kind| kind == "md")) {
            let text = fs::read_to_string(&page).unwrap();
            for (_, rest) in text.match_indices("`--").map(|(at, _)| text[at..].split_at(3)) {
                let name: String =
                    rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
                assert!(known.contains(&name), "{} names --{name}", page.display());
                named += 1;
            }
        }
    }
    assert!(named > 100, "{named}");
}
