//! The command line: commands, and the flags that are made from the options.

mod site;

use std::ffi::OsString;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{EnumValueParser, OsStringValueParser, PathBufValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};
use clap_complete::Shell;
use ops::options::{self, ManSection};

use crate::command::lists::{ListCommand, Which};
use crate::command::site::{SiteRequest, TokenCommand};
use crate::command::{books, lists, screen, take_over};
use crate::config;

pub use ops::options::Flags;

/// What the user wants.
#[derive(Debug)]
pub enum Request {
    /// Run the tracker; by taking over from the process that serves (true).
    Run(Flags, bool),
    /// Have the running tracker start its successor.
    TakeOver(Flags),
    /// Write the commented sample file.
    ConfigPrint,
    /// Write the reference page of all options.
    ConfigReference,
    /// Say what holds and where it was said.
    ConfigShow(Flags),
    /// Say what a start with a file would.
    ConfigCheck(PathBuf),
    /// Say what a snapshot holds.
    SnapshotInspect(PathBuf),
    /// Read a snapshot to its end and check it.
    SnapshotVerify(PathBuf),
    /// Say what a journal holds.
    JournalInspect(PathBuf),
    /// Read a journal to its end and check it.
    JournalVerify(PathBuf),
    /// Have an empty database filled from a data folder.
    JournalAdopt(PathBuf),
    /// Compare a journal with its database.
    CheckBooks(Flags),
    /// Change a list of torrents, or look at it.
    List(Flags, Which, ListCommand),
    /// Say what the rules about addresses say of these.
    Screen(Flags, Vec<IpAddr>),
    /// Ask a running private tracker.
    Site(Flags, SiteRequest),
    /// See to the tokens of its API.
    ApiToken(Flags, TokenCommand),
    /// Write the description of its API.
    ApiDescribe,
    /// Start the publisher with these arguments.
    Publisher(Vec<OsString>),
    /// Write completions for a shell.
    Completions(Shell),
    /// Write the man page.
    Man,
}

/// The whole command line, for parsing, help, completions and the man page.
pub fn command() -> Command {
    Command::new("margay")
        .version(VERSION.as_str())
        .about("A BitTorrent tracker: every CPU core owns a part of all torrents")
        .after_help("Without a command margay runs the tracker.")
        .subcommand_required(false)
        .args(config::args())
        .arg(takes_over())
        .subcommand(
            Command::new("run")
                .about("Run the tracker; the same as no command")
                .args(config::args())
                .arg(takes_over()),
        )
        .subcommand(
            Command::new("take-over")
                .about("Have the running tracker start the program as it is on the disk now, which takes over from it")
                .args(config::args_of(take_over::OPTIONS)),
        )
        .subcommand(config_command())
        .subcommand(snapshot_command())
        .subcommand(journal_command())
        .subcommand(
            Command::new("check-books")
                .about("Compare what the journal credited with the database, as far back as it is kept")
                .args(config::args_of(books::OPTIONS)),
        )
        .subcommands(site::commands())
        .subcommands([
            publisher("publish", "Turn files of a folder into torrents, seed them and tell of them in a feed"),
            publisher("seed", "Fetch what a feed tells of, and seed it"),
        ])
        .subcommand(list("deny", "Refuse torrents: a list of an open tracker, in a file"))
        .subcommand(list("allow", "Serve these torrents and no others: a list in a file"))
        .subcommand(
            Command::new("screen")
                .about("Say what the rules about addresses say of some, and why")
                .arg(
                    Arg::new("address")
                        .required(true)
                        .num_args(1..)
                        .value_name("ADDRESS")
                        .help("An address of IPv4 or IPv6")
                        .value_parser(clap::value_parser!(IpAddr)),
                )
                .args(config::args_of(screen::OPTIONS)),
        )
        .subcommand(
            Command::new("completions").about("Write completions for a shell").arg(
                Arg::new("shell")
                    .required(true)
                    .value_name("SHELL")
                    .help("The shell that is to complete margay's flags")
                    .value_parser(EnumValueParser::<Shell>::new()),
            ),
        )
        .subcommand(Command::new("man").about("Write the man page, for `man -l -`"))
}

/// The flag of a process that takes over from another one.
fn takes_over() -> Arg {
    Arg::new("take-over").long("take-over").action(ArgAction::SetTrue).help(
        "Take over from the process that serves from this data folder: its sockets and its swarms",
    )
}

/// A command of the publisher, which reads what follows it, `--help` as well.
fn publisher(name: &'static str, about: &'static str) -> Command {
    Command::new(name)
        .about(format!("{about}; started as margay-publish"))
        .disable_help_flag(true)
        .arg(
            Arg::new("arguments")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_name("ARGUMENT")
                .value_parser(OsStringValueParser::new()),
        )
}

fn publisher_request(matches: &ArgMatches, outer: &Flags) -> Result<Option<Request>, clap::Error> {
    let Some((name @ ("publish" | "seed"), inner)) = matches.subcommand() else {
        return Ok(None);
    };
    if let Some((option, _)) = outer.first() {
        let text =
            format!("--{} is of the tracker; give {name} its own options behind it", option.name);
        return Err(command().error(ErrorKind::ArgumentConflict, text));
    }
    let rest = inner.get_many::<OsString>("arguments").unwrap_or_default().cloned();
    Ok(Some(Request::Publisher([name.into()].into_iter().chain(rest).collect())))
}

fn snapshot_command() -> Command {
    let verb = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(file().value_name("FILE|DIR").help(SNAPSHOT))
    };
    Command::new("snapshot")
        .about("Look at snapshot files")
        .subcommand_required(true)
        .subcommand(verb("inspect", "Say what a snapshot holds"))
        .subcommand(verb("verify", "Read a snapshot to its end and check every part"))
}

fn list(name: &'static str, about: &'static str) -> Command {
    let verb = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).args(config::args_of(lists::OPTIONS))
    };
    let remark = Arg::new("remark")
        .long("remark")
        .value_name("TEXT")
        .default_value("")
        .hide_default_value(true)
        .help("What stands behind it on its line");
    Command::new(name)
        .about(about)
        .subcommand_required(true)
        .subcommand(
            verb("add", "Put a torrent on the list").arg(site::named()).arg(site::v2()).arg(remark),
        )
        .subcommand(
            verb("remove", "Take a torrent off the list").arg(site::named()).arg(site::v2()),
        )
        .subcommand(verb("list", "Show the list"))
}

fn list_request(matches: &ArgMatches, outer: &Flags) -> Option<Request> {
    let (name, inner) = matches.subcommand()?;
    let which = match name {
        "deny" => Which::Deny,
        "allow" => Which::Allow,
        _ => return None,
    };
    let (verb, said) = inner.subcommand()?;
    let command = match verb {
        "add" => {
            let remark = said.get_one::<String>("remark").cloned().unwrap_or_default();
            ListCommand::Add(site::torrent_of(said), remark)
        }
        "remove" => ListCommand::Remove(site::torrent_of(said)),
        _ => ListCommand::Show,
    };
    let mut given = config::given_of(said, lists::OPTIONS);
    given.extend(outer.clone());
    Some(Request::List(given, which, command))
}

fn journal_command() -> Command {
    let verb = |name: &'static str, about: &'static str| {
        Command::new(name).about(about).arg(file_or_dir())
    };
    Command::new("journal")
        .about("Look at the journal of a private tracker")
        .subcommand_required(true)
        .subcommand(verb("inspect", "Say what a journal holds"))
        .subcommand(verb("verify", "Read a journal to its end and check every part"))
        .subcommand(
            Command::new("adopt")
                .about("Have an empty database filled again from a data folder")
                .arg(file().value_name("DIR").help("The data folder")),
        )
}

fn config_command() -> Command {
    Command::new("config")
        .about("Print, check and explain the configuration")
        .subcommand_required(true)
        .subcommand(Command::new("print").about("Write a sample file with every option"))
        .subcommand(
            Command::new("check")
                .about("Say what a start with a file and this environment would: every mistake with its line, every file that cannot be read")
                .arg(file()),
        )
        .subcommand(
            Command::new("show")
                .about("Say what holds, and whether a flag, a variable or a file said so")
                .args(config::args()),
        )
        .subcommand(Command::new("reference").about("Write the reference page, in Markdown"))
}

fn file() -> Arg {
    Arg::new("file").required(true).value_name("FILE").value_parser(PathBufValueParser::new())
}

/// What stands for a snapshot.
const SNAPSHOT: &str = "A snapshot, or the data directory for its newest whole one";

fn file_or_dir() -> Arg {
    file().value_name("FILE|DIR").help("One segment, or a journal, or the data directory with it")
}

/// Reads the arguments of the process. Help, version and mistakes come as the error, which knows how
/// to print itself and with what code to exit.
pub fn parse() -> Result<Request, clap::Error> {
    let matches = command().try_get_matches()?;
    // `margay --cores 2 run` means the same as `margay run --cores 2`.
    let outer = config::given(&matches);
    let flags = |inner: &ArgMatches| {
        let mut flags = config::given(inner);
        flags.extend(outer.clone());
        flags
    };
    if let Some(request) = publisher_request(&matches, &outer)? {
        return Ok(request);
    }
    if let Some(request) = list_request(&matches, &outer) {
        return Ok(request);
    }
    if let Some(request) = site::request(&matches, &outer) {
        return Ok(request);
    }
    Ok(match matches.subcommand() {
        None => Request::Run(outer, matches.get_flag("take-over")),
        Some(("run", inner)) => {
            let takes_over = matches.get_flag("take-over") || inner.get_flag("take-over");
            Request::Run(flags(inner), takes_over)
        }
        Some(("take-over", inner)) => {
            let mut given = config::given_of(inner, take_over::OPTIONS);
            given.extend(outer);
            Request::TakeOver(given)
        }
        Some(("config", inner)) => match inner.subcommand() {
            Some(("print", _)) => Request::ConfigPrint,
            Some(("reference", _)) => Request::ConfigReference,
            Some(("show", inner)) => Request::ConfigShow(flags(inner)),
            Some(("check", inner)) => Request::ConfigCheck(path_of(inner)),
            _ => unreachable!("clap requires one of the commands"),
        },
        Some(("snapshot", inner)) => match inner.subcommand() {
            Some(("inspect", inner)) => Request::SnapshotInspect(path_of(inner)),
            Some(("verify", inner)) => Request::SnapshotVerify(path_of(inner)),
            _ => unreachable!("clap requires one of the commands"),
        },
        Some(("journal", inner)) => match inner.subcommand() {
            Some(("inspect", inner)) => Request::JournalInspect(path_of(inner)),
            Some(("verify", inner)) => Request::JournalVerify(path_of(inner)),
            Some(("adopt", inner)) => Request::JournalAdopt(path_of(inner)),
            _ => unreachable!("clap requires one of the commands"),
        },
        Some(("check-books", inner)) => {
            let mut given = config::given_of(inner, books::OPTIONS);
            given.extend(outer);
            Request::CheckBooks(given)
        }
        Some(("screen", inner)) => {
            let mut given = config::given_of(inner, screen::OPTIONS);
            given.extend(outer);
            let addresses = inner.get_many("address").unwrap_or_default().copied().collect();
            Request::Screen(given, addresses)
        }
        Some(("completions", inner)) => {
            Request::Completions(*inner.get_one("shell").expect("clap requires the shell"))
        }
        Some(("man", _)) => Request::Man,
        Some(_) => unreachable!("clap knows the commands"),
    })
}

/// Writes completions for `shell`.
pub fn completions(shell: Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut command(), "margay", &mut &mut *out);
}

/// Writes the man page, in roff: one for all commands, which have no pages of their own.
pub fn man(out: &mut dyn Write) -> io::Result<()> {
    options::man(&command(), "[OPTION]... [COMMAND [OPTION]...]", &[], &MORE, out)
}

/// What else stands in the man page.
const MORE: [ManSection; 4] = [
    (
        "FILES",
        &[
            (
                "margay.toml",
                "Options, in the file that --config names; `margay config print` writes a sample.",
            ),
            (
                "snapshot-*.margay",
                "In the data folder: the swarms; the newest whole one is read at a start.",
            ),
            (
                "journal/",
                "In the data folder of a private tracker: what happened, until the database has it.",
            ),
            (
                "audit-DAY.jsonl",
                "In the data folder of a private tracker: who changed what by the API.",
            ),
            (
                "api-local.token",
                "In the data folder of a private tracker: what the commands ask with.",
            ),
            ("take-over.socket", "In the data folder: where a process is heard that takes over."),
            (
                "bans.txt",
                "In the data folder: networks that are banned, and until when; `margay ban` writes it.",
            ),
            (
                "connection-id.key",
                "In the data folder: by it UDP clients are known again after a restart.",
            ),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGTERM, SIGINT",
                "Write a last snapshot and end; a second one, from a second later on, ends at once.",
            ),
            (
                "SIGHUP",
                "Read the lists of torrents, the rules about addresses and the certificates again.",
            ),
        ],
    ),
    (
        "EXIT STATUS",
        &[
            ("0", "It was stopped, or the command was carried out."),
            (
                "1",
                "It could not start or go on, the last snapshot was not written, or a command failed.",
            ),
            ("2", "The options or the configuration have a mistake: starting again does not help."),
        ],
    ),
    (
        "SEE ALSO",
        &[(
            "margay COMMAND --help",
            "The options of a command. `margay api describe` describes the API.",
        )],
    ),
];

fn path_of(matches: &ArgMatches) -> PathBuf {
    matches.get_one::<PathBuf>("file").expect("clap requires the file").clone()
}

/// The package's version, and the commit where the build names one in `MARGAY_COMMIT`.
static VERSION: LazyLock<String> = LazyLock::new(|| match option_env!("MARGAY_COMMIT") {
    Some(commit) => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    None => env!("CARGO_PKG_VERSION").to_owned(),
});
