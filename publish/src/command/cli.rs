//! The command line: commands, and the flags that are made from the options.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{EnumValueParser, PathBufValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use ops::options::{self, Flags, ManSection, Options};

use super::ask::{Ask, KEY, KeyTask, PLACE};
use crate::options::{Master, Seeder};

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    /// Be the Master.
    Publish(Flags),
    /// See to the options of the Master.
    PublishConfig(ConfigRequest),
    /// Ask a running Master; as JSON or not.
    Ask(Flags, Ask, bool),
    /// Write the address of the feed with its key.
    Key(Flags, KeyTask),
    /// Be a Seeder.
    Seed(Flags),
    /// See to the options of a Seeder.
    SeedConfig(ConfigRequest),
    /// Ask a running Seeder; as JSON or not.
    AskSeeder(Flags, Ask, bool),
    /// Write completions for a shell.
    Completions(Shell),
    /// Write the man page.
    Man,
    /// Write the reference page of the metrics.
    Metrics,
}

/// What is wanted of options.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Write the commented sample file.
    Print,
    /// Say what a start with a file would.
    Check(PathBuf),
    /// Say what holds and where it was said.
    Show(Flags),
    /// Write the reference page.
    Reference,
}

/// The whole command line, for parsing, help, completions and the man page.
pub fn command() -> Command {
    Command::new("margay-publish")
        .version(VERSION.as_str())
        .about("Publishing for the margay tracker: a folder becomes torrents and a feed, Seeders follow it")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(publish())
        .subcommand(seed())
        .subcommand(
            Command::new("completions").about("Write completions for a shell").arg(
                Arg::new("shell")
                    .required(true)
                    .value_name("SHELL")
                    .help("The shell that is to complete margay-publish's flags")
                    .value_parser(EnumValueParser::<Shell>::new()),
            ),
        )
        .subcommand(Command::new("man").about("Write the man page, for `man -l -`"))
        .subcommand(Command::new("metrics").about("Write the reference page of the metrics, in Markdown"))
}

fn publish() -> Command {
    let asking = |name: &'static str, about: &'static str| {
        Command::new(name)
            .about(about)
            .args(options::args_of::<Master>(PLACE, "Where the Master is"))
    };
    Command::new("publish")
        .about("The Master: turn files of a folder into torrents, seed them and tell of them in a feed")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("run").about("Publish what comes into a folder").args(options::args::<Master>()),
        )
        .subcommand(asking("status", "Say how the Master is").arg(json()).arg(follow()))
        .subcommand(asking("list", "List what it publishes, and what it waits for").arg(json()))
        .subcommand(asking("withdraw", "Publish names no longer; their files stay").arg(names()))
        .subcommand(asking("republish", "Publish names anew, also those that were withdrawn").arg(names()))
        .subcommand(asking("confirm", "Say that all that has vanished is meant to be gone, however much it is"))
        .subcommand(asking("promote", "Make a standby the Master"))
        .subcommand(
            Command::new("key")
                .about("Write the feed's address with its public key, for Seeders")
                .args(options::args_of::<Master>(KEY, "Where the key is"))
                .arg(key_task("next", "Make the key that is to follow, which lists name from the next start on"))
                .arg(key_task("switch", "Let that one be the key, from the next start on").conflicts_with("next")),
        )
        .subcommand(config::<Master>())
}

fn seed() -> Command {
    let asking = |name: &'static str, about: &'static str| {
        Command::new(name)
            .about(about)
            .args(options::args_of::<Seeder>(PLACE, "Where the Seeder is"))
    };
    Command::new("seed")
        .about("A Seeder: fetch what a feed tells of, and seed it")
        .after_help("Without a command it seeds.")
        .args(options::args::<Seeder>())
        .subcommand(
            Command::new("run")
                .about("Seed what a feed tells of; the same as no command")
                .args(options::args::<Seeder>()),
        )
        .subcommand(asking("status", "Say how the Seeder is").arg(json()).arg(follow()))
        .subcommand(asking("list", "List what it holds, and what it waits for").arg(json()))
        .subcommand(asking("retry", "Fetch names again that failed, without waiting").arg(names()))
        .subcommand(
            asking("drop", "Remove what is held for a feed that is not followed any more").arg(
                Arg::new("key")
                    .required(true)
                    .value_name("KEY")
                    .allow_hyphen_values(true)
                    .help("The key of that feed, as /health names it"),
            ),
        )
        .subcommand(config::<Seeder>())
}

fn config<O: Options>() -> Command {
    Command::new("config")
        .about("Print, check and explain the configuration")
        .subcommand_required(true)
        .subcommand(Command::new("print").about("Write a sample file with every option"))
        .subcommand(
            Command::new("check")
                .about("Say what a start with a file and this environment would: every mistake with its line")
                .arg(
                    Arg::new("file")
                        .required(true)
                        .value_name("FILE")
                        .value_parser(PathBufValueParser::new()),
                ),
        )
        .subcommand(
            Command::new("show")
                .about("Say what holds, and whether a flag, a variable or a file said so")
                .args(options::args::<O>()),
        )
        .subcommand(Command::new("reference").about("Write the reference page, in Markdown"))
}

fn json() -> Arg {
    Arg::new("json").long("json").action(ArgAction::SetTrue).help("Write the answer as JSON")
}

fn names() -> Arg {
    Arg::new("name")
        .required(true)
        .num_args(1..)
        .value_name("NAME")
        .help("The name of a file or folder in the watched folder")
}

/// Reads the arguments of the process. Help, version and mistakes come as the error, which knows how
/// to print itself and with what code to exit.
pub fn parse() -> Result<Request, clap::Error> {
    let matches = command().try_get_matches()?;
    Ok(match matches.subcommand() {
        Some(("publish", inner)) => publish_request(inner),
        Some(("seed", inner)) => seed_request(inner),
        Some(("completions", inner)) => {
            Request::Completions(*inner.get_one("shell").expect("clap requires the shell"))
        }
        Some(("man", _)) => Request::Man,
        Some(("metrics", _)) => Request::Metrics,
        _ => unreachable!("clap knows the commands, and requires one"),
    })
}

fn follow() -> Arg {
    Arg::new("follow")
        .long("follow")
        .action(ArgAction::SetTrue)
        .conflicts_with("json")
        .help("Draw bars of what is hashed and fetched, until it is ended")
}

fn key_task(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn publish_request(matches: &ArgMatches) -> Request {
    let (verb, said) = matches.subcommand().expect("clap requires a command");
    let names = || said.get_many("name").expect("clap requires it").cloned().collect();
    let ask = match verb {
        "run" => return Request::Publish(options::given::<Master>(said)),
        "config" => return Request::PublishConfig(config_request(said, options::given::<Master>)),
        "key" => {
            let task = match (said.get_flag("next"), said.get_flag("switch")) {
                (true, _) => KeyTask::Next,
                (_, true) => KeyTask::Switch,
                _ => KeyTask::Show,
            };
            return Request::Key(options::given_of::<Master>(said, KEY), task);
        }
        "status" if said.get_flag("follow") => Ask::Follow,
        "status" => Ask::Status,
        "list" => Ask::List,
        "withdraw" => Ask::Withdraw(names()),
        "republish" => Ask::Republish(names()),
        "confirm" => Ask::Confirm,
        "promote" => Ask::Promote,
        _ => unreachable!("clap knows the commands"),
    };
    let json = matches!(ask, Ask::Status | Ask::List) && said.get_flag("json");
    Request::Ask(options::given_of::<Master>(said, PLACE), ask, json)
}

fn seed_request(matches: &ArgMatches) -> Request {
    // `seed --poll 5s run` means the same as `seed run --poll 5s`.
    let outer = options::given::<Seeder>(matches);
    let with = |mut flags: Flags| {
        flags.extend(outer.clone());
        flags
    };
    match matches.subcommand() {
        None => Request::Seed(outer),
        Some(("run", said)) => Request::Seed(with(options::given::<Seeder>(said))),
        Some((verb @ ("status" | "list"), said)) => {
            let ask = match verb {
                "list" => Ask::List,
                _ if said.get_flag("follow") => Ask::Follow,
                _ => Ask::Status,
            };
            let flags = with(options::given_of::<Seeder>(said, PLACE));
            Request::AskSeeder(flags, ask, said.get_flag("json"))
        }
        Some(("retry", said)) => {
            let names = said.get_many("name").expect("clap requires it").cloned().collect();
            Request::AskSeeder(
                with(options::given_of::<Seeder>(said, PLACE)),
                Ask::Republish(names),
                false,
            )
        }
        Some(("drop", said)) => {
            let key: &String = said.get_one("key").expect("clap requires it");
            let flags = with(options::given_of::<Seeder>(said, PLACE));
            Request::AskSeeder(flags, Ask::Drop(key.clone()), false)
        }
        Some(("config", said)) => {
            Request::SeedConfig(config_request(said, |said| with(options::given::<Seeder>(said))))
        }
        Some(_) => unreachable!("clap knows the commands"),
    }
}

fn config_request(matches: &ArgMatches, given: impl Fn(&ArgMatches) -> Flags) -> ConfigRequest {
    match matches.subcommand() {
        Some(("print", _)) => ConfigRequest::Print,
        Some(("reference", _)) => ConfigRequest::Reference,
        Some(("show", said)) => ConfigRequest::Show(given(said)),
        Some(("check", said)) => {
            ConfigRequest::Check(said.get_one::<PathBuf>("file").expect("clap requires it").clone())
        }
        _ => unreachable!("clap requires one of the commands"),
    }
}

/// Writes completions for `shell`.
pub fn completions(shell: Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut command(), "margay-publish", &mut &mut *out);
}

/// Writes the man page, in roff: one for all commands, which have no pages of their own.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    options::man(&command(), "COMMAND [OPTION]...", &["publish run", "seed"], &MORE, out)
}

/// What else stands in the man page.
const MORE: [ManSection; 3] = [
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Tell the trackers and end; a second one, a second later or more, ends at once.",
            ),
            (
                "SIGHUP",
                "Say in the log which options have changed in the configuration; they count from the next start.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "It was stopped, or the command was carried out."),
            ("1", "It could not start or go on, or a command failed."),
            ("2", "The options or the configuration have a mistake: starting again does not help."),
        ],
    ),
    ("SEE ALSO", &[("margay-publish COMMAND --help", "The options of a command.")]),
];

/// The package's version, and the commit where the build names one in `MARGAY_COMMIT`.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("MARGAY_COMMIT") {
    Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});
