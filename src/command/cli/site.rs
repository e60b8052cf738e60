//! The commands that speak to a running tracker, as the command line has them.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PathBufValueParser, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use ops::service::Service;
use shard::private::GroupId;

use super::Request;
use crate::api::operation::FORMER_SECONDS_MAX;
use crate::api::text;
use crate::api::token::Name;
use crate::command::site::{Named, SiteCommand, SiteRequest, TokenCommand};
use crate::config;

/// Options of the tracker that say where it is.
const PLACE: &[&str] = &["config", "control", "data"];

/// Options of the tracker that say where its tokens are.
const DATA: &[&str] = &["config", "data"];

/// All of them.
pub(super) fn commands() -> Vec<Command> {
    let of_site = [user(), user_group(), torrent(), token(), client(), trace()];
    let of_tracker = [ban(), unban(), bans(), service(), api_token(), api()];
    of_site.into_iter().chain(of_tracker).collect()
}

fn user() -> Command {
    group("user", "Add, change and look at users of a private tracker")
        .subcommand(
            asking("add", "Let a user announce, with these rights; prints the passkey")
                .arg(id("ID", "The user's number at the site"))
                .arg(passkey().long("passkey"))
                .arg(switch("no-leech", "May not download; uploads are credited all the same"))
                .arg(switch("hidden", "Addresses of this user are written nowhere"))
                .arg(switch(
                    "replace",
                    "Say all of this anew of a user who is known, the passkey as well",
                )),
        )
        .subcommand(asking("list", "List users, by number"))
        .subcommand(
            asking(
                "passkey",
                "Give a user another passkey; the old one is good no longer, or for a while",
            )
            .arg(id("ID", "The user's number at the site"))
            .arg(passkey().index(2))
            .arg(
                Arg::new("grace")
                    .long("grace")
                    .value_name("DURATION")
                    .help("How long the old one stays good, such as 24h or 7d; 30d at most")
                    .value_parser(ValueParser::new(grace)),
            ),
        )
        .subcommand(
            asking("enable", "Let a disabled user announce again")
                .arg(id("ID", "The user's number at the site")),
        )
        .subcommand(
            asking("disable", "Let a user announce no longer")
                .arg(id("ID", "The user's number at the site")),
        )
        .subcommand(
            asking("rights", "Change what a user may; what is not said stays")
                .arg(id("ID", "The user's number at the site"))
                .arg(yes_no("leech", "May download"))
                .arg(yes_no("hidden", "Addresses of this user are written nowhere")),
        )
        .subcommand(
            asking("group", "Put a user into a group, or take him out of his")
                .arg(id("ID", "The user's number at the site"))
                .arg(
                    Arg::new("group")
                        .required(true)
                        .value_name("GROUP|none")
                        .help("The group's number at the site")
                        .value_parser(ValueParser::new(membership)),
                ),
        )
        .subcommand(
            asking("show", "Show a user")
                .arg(id("ID", "The user's number at the site"))
                .arg(switch("clients", "And where the user's clients are")),
        )
}

fn user_group() -> Command {
    let id = || {
        Arg::new("group")
            .required(true)
            .value_name("GROUP")
            .help("The group's number at the site, 0 to 32767")
            .value_parser(value_parser!(u16).range(..=i64::from(GroupId::MAX.0)))
    };
    group("group", "Groups of users of a private tracker, and how many downloads each of their users may have")
        .subcommand(
            asking("put", "Make a group, or change it")
                .arg(id())
                .arg(
                    Arg::new("name").required(true).value_name("NAME").help(
                        "What it is called, 1 to 255 bytes; no two groups have the same name",
                    ),
                )
                .arg(
                    Arg::new("downloads-max")
                        .long("downloads-max")
                        .value_name("COUNT")
                        .help("Downloads that each of its users may have at once; any number unless given")
                        .value_parser(value_parser!(u32).range(..=i64::from(i32::MAX))),
                ),
        )
        .subcommand(asking("remove", "Remove a group; nobody is in it any more").arg(id()))
        .subcommand(asking("show", "Show a group").arg(id()))
        .subcommand(asking("list", "List groups"))
}

fn ban() -> Command {
    asking("ban", "Answer nothing to networks, for a while or for ever; their peers leave")
        .arg(networks().num_args(1..))
        .arg(
            Arg::new("for")
                .long("for")
                .value_name("DURATION")
                .help("How long, such as 2h or 7d; for ever unless given")
                .value_parser(ValueParser::new(duration)),
        )
        .arg(
            Arg::new("reason")
                .long("reason")
                .value_name("TEXT")
                .default_value("")
                .hide_default_value(true)
                .help("Why, for those who look later"),
        )
}

fn unban() -> Command {
    asking("unban", "Serve banned networks again").arg(networks().num_args(1..))
}

fn bans() -> Command {
    asking("bans", "List bans")
}

fn networks() -> Arg {
    Arg::new("network")
        .required(true)
        .value_name("NETWORK")
        .help("An address, or a network such as 192.0.2.0/24")
}

fn service() -> Command {
    asking(
        "service",
        "List what the tracker listens for, or switch some of it off and on until the next start",
    )
    .arg(
        Arg::new("service")
            .value_name("SERVICE")
            .help("A protocol over a family")
            .value_parser(PossibleValuesParser::new(Service::ALL.map(Service::label))),
    )
    .arg(
        Arg::new("state")
            .value_name("STATE")
            .help("What it is to be from now on")
            .value_parser(PossibleValuesParser::new(["on", "off"])),
    )
}

fn torrent() -> Command {
    group("torrent", "Register, remove and look at torrents of a private tracker, or those that an open one was told of")
        .subcommand(
            asking("add", "Register a torrent, or change the rules of a registered one")
                .arg(named())
                .arg(v2())
                .arg(
                    Arg::new("info-hash-v2")
                        .long("info-hash-v2")
                        .value_name("INFOHASH")
                        .conflicts_with("v2")
                        .help("Of a hybrid that is given by its infohash, that of version 2; a .torrent file says it")
                        .value_parser(ValueParser::new(|text: &str| {
                            let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
                            let is_one = digits && [40, 64].contains(&text.len());
                            is_one.then(|| text.to_owned()).ok_or("40 hex digits, or the 64 of the whole SHA-256")
                        })),
                )
                .arg(
                    Arg::new("name")
                        .long("name")
                        .value_name("TEXT")
                        .help("What it is called; as its .torrent file says unless given"),
                )
                .arg(
                    id("id", "The torrent's number at the site; the next one unless given")
                        .long("id")
                        .required(false),
                )
                .arg(
                    Arg::new("freeleech")
                        .long("freeleech")
                        .value_name("WHICH")
                        .default_value("none")
                        .help("Free downloads, or neither counted")
                        .value_parser(PossibleValuesParser::new(["none", "free", "neutral"])),
                )
                .arg(
                    Arg::new("upload-percent")
                        .long("upload-percent")
                        .value_name("PERCENT")
                        .default_value("100")
                        .help("What uploads count for; 200 is double")
                        .value_parser(value_parser!(u16)),
                ),
        )
        .subcommand(
            asking("remove", "Take a torrent out; an open tracker refuses it then").arg(registered()).arg(v2()).arg(
                Arg::new("reason")
                    .long("reason")
                    .value_name("TEXT")
                    .default_value("")
                    .hide_default_value(true)
                    .help("What its clients are told for a day, by an open tracker for 30 days"),
            ),
        )
        .subcommand(asking("list", "List registered torrents, and how they are doing"))
        .subcommand(
            asking("show", "Show a torrent, and how it is doing")
                .arg(registered())
                .arg(v2())
                .arg(switch("peers", "And who is on it")),
        )
}

fn token() -> Command {
    group("token", "Give users of a private tracker free downloads of a torrent")
        .subcommand(
            asking("add", "What a user downloads of a torrent is free until it is complete")
                .arg(id("USER", "The user's number at the site"))
                .arg(registered().index(2))
                .arg(v2())
                .arg(
                    Arg::new("expires")
                        .long("expires")
                        .value_name("DURATION")
                        .help("Or until so long from now, such as 48h or 7d")
                        .value_parser(ValueParser::new(duration)),
                ),
        )
        .subcommand(
            asking("list", "List tokens that are not used up")
                .arg(id("USER", "Those of this user alone").required(false)),
        )
        .subcommand(
            asking("show", "Show a token that is not used up")
                .arg(id("USER", "The user's number at the site"))
                .arg(registered().index(2))
                .arg(v2()),
        )
        .subcommand(
            asking("remove", "Take a token back")
                .arg(id("USER", "The user's number at the site"))
                .arg(registered().index(2))
                .arg(v2()),
        )
}

fn client() -> Command {
    group("client", "Say which client programs may announce to a private tracker")
        .subcommand(
            asking(
                "allow",
                "Allow clients whose peer id begins like this; then others are refused",
            )
            .arg(prefix()),
        )
        .subcommand(asking("deny", "Refuse clients whose peer id begins like this").arg(prefix()))
        .subcommand(asking("forget", "Have no rule for them").visible_alias("remove").arg(prefix()))
        .subcommand(asking("list", "Show the rules"))
}

fn trace() -> Command {
    asking("trace", "Show what a user's clients announce and are answered, as it happens")
        .arg(id("USER", "The user's number at the site"))
}

fn api_token() -> Command {
    let name = || {
        Arg::new("name")
            .required(true)
            .value_name("NAME")
            .help("Letters, digits, '.', '_' and '-'")
            .value_parser(ValueParser::new(|text: &str| {
                Name::new(text).ok_or("1 to 64 letters, digits, '.', '_' and '-'")
            }))
    };
    group("api-token", "Make and revoke tokens of the API of a private tracker, running or not")
        .subcommand(placed("create", "Make a token, and print it once", DATA).arg(name()))
        .subcommand(placed("list", "Show the tokens there are", DATA))
        .subcommand(placed("revoke", "Let a token be good no longer", DATA).arg(name()))
}

fn api() -> Command {
    group("api", "Describe the API of a private tracker")
        .subcommand(Command::new("describe").about("Write its OpenAPI description"))
}

fn group(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).subcommand_required(true)
}

/// A command with the options that say where the tracker is.
fn placed(name: &'static str, about: &'static str, place: &[&str]) -> Command {
    Command::new(name).about(about).args(config::args_of(place))
}

/// A command that asks a running tracker.
fn asking(name: &'static str, about: &'static str) -> Command {
    placed(name, about, PLACE)
        .arg(
            Arg::new("api-token-file")
                .long("api-token-file")
                .value_name("FILE")
                .help("File with the token to ask with; without one, MARGAY_API_TOKEN, or the one that the \
                       tracker leaves in its data folder")
                .value_parser(PathBufValueParser::new()),
        )
        .arg(switch("json", "Write the answer as JSON"))
}

fn id(name: &'static str, help: &'static str) -> Arg {
    Arg::new("id").required(true).value_name(name).help(help).value_parser(value_parser!(u32))
}

fn passkey() -> Arg {
    Arg::new("passkey")
        .value_name("PASSKEY")
        .help("32 letters and digits; made at random unless given")
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn yes_no(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("yes|no")
        .help(help)
        .value_parser(PossibleValuesParser::new(["yes", "no"]))
}

pub(super) fn named() -> Arg {
    Arg::new("torrent")
        .required(true)
        .value_name("FILE|HASH")
        .help("A .torrent file, or an infohash of 40 hex digits")
        .value_parser(PathBufValueParser::new())
}

/// A torrent that the tracker knows, and so its number.
fn registered() -> Arg {
    named()
        .value_name("FILE|HASH|ID")
        .help("A .torrent file, an infohash of 40 hex digits, or its number at the site")
}

pub(super) fn v2() -> Arg {
    switch("v2", "Of a file of both versions, mean the infohash of version 2 alone")
}

fn prefix() -> Arg {
    Arg::new("prefix")
        .required(true)
        .value_name("PREFIX")
        .allow_hyphen_values(true)
        .help("The first bytes of peer ids, such as -qB4; others than printable ASCII as %XX")
        .value_parser(ValueParser::new(|prefix: &str| {
            text::prefix(prefix).map(|_| prefix.to_owned()).ok_or("1 to 20 bytes")
        }))
}

fn membership(text: &str) -> Result<Option<u16>, String> {
    if text == "none" {
        return Ok(None);
    }
    let id = text.parse().ok().filter(|id| GroupId(*id) <= GroupId::MAX);
    id.map(Some).ok_or_else(|| format!("0 to {}, or none", GroupId::MAX.0))
}

fn duration(text: &str) -> Result<Duration, String> {
    config::duration(text).ok_or_else(|| "a duration is written like 30m, 48h or 7d".to_owned())
}

fn grace(text: &str) -> Result<Duration, String> {
    let most = Duration::from_secs(FORMER_SECONDS_MAX.into());
    duration(text).and_then(|grace| match (Duration::from_secs(1)..=most).contains(&grace) {
        true => Ok(grace),
        false => Err(format!("a passkey stays good for 1s to {}d", FORMER_SECONDS_MAX / 86_400)),
    })
}

/// What these commands ask for; `None` for another command. `outer` is what was given before the command.
pub(super) fn request(matches: &ArgMatches, outer: &super::Flags) -> Option<Request> {
    let (name, inner) = matches.subcommand()?;
    let (verb, said) = match name {
        "trace" | "service" | "ban" | "unban" | "bans" => ("", inner),
        _ => inner.subcommand().unwrap_or(("", inner)),
    };
    let command = match (name, verb) {
        ("user", "add") => SiteCommand::UserAdd {
            id: number(said),
            passkey: said.get_one("passkey").cloned(),
            can_leech: !said.get_flag("no-leech"),
            hidden: said.get_flag("hidden"),
            replace: said.get_flag("replace"),
        },
        ("user", "list") => SiteCommand::UserList,
        ("torrent", "list") => SiteCommand::TorrentList,
        ("token", "list") => SiteCommand::TokenList { user: said.get_one("id").copied() },
        ("user", "passkey") => SiteCommand::UserPasskey {
            id: number(said),
            passkey: said.get_one("passkey").cloned(),
            grace: said.get_one("grace").copied(),
        },
        ("user", "enable") => SiteCommand::UserEnabled { id: number(said), enabled: true },
        ("user", "disable") => SiteCommand::UserEnabled { id: number(said), enabled: false },
        ("user", "rights") => SiteCommand::UserRights {
            id: number(said),
            can_leech: answer(said, "leech"),
            hidden: answer(said, "hidden"),
        },
        ("user", "show") => {
            SiteCommand::UserShow { id: number(said), clients: said.get_flag("clients") }
        }
        ("user", "group") => SiteCommand::UserGroup {
            id: number(said),
            group: *said.get_one("group").expect("clap requires it"),
        },
        ("group", "put") => SiteCommand::GroupPut {
            id: *said.get_one("group").expect("clap requires it"),
            name: text_of(said, "name"),
            downloads_max: said.get_one("downloads-max").copied(),
        },
        ("group", "remove") => {
            SiteCommand::GroupRemove { id: *said.get_one("group").expect("clap requires it") }
        }
        ("group", "show") => {
            SiteCommand::GroupShow { id: *said.get_one("group").expect("clap requires it") }
        }
        ("group", _) => SiteCommand::GroupList,
        ("torrent", "add") => SiteCommand::TorrentAdd {
            torrent: torrent_of(said),
            second: said.get_one("info-hash-v2").cloned(),
            name: said.get_one("name").cloned(),
            id: said.get_one("id").copied(),
            freeleech: text_of(said, "freeleech"),
            upload_percent: *said.get_one("upload-percent").expect("clap has a default"),
        },
        ("torrent", "remove") => SiteCommand::TorrentRemove {
            torrent: torrent_of(said),
            reason: text_of(said, "reason"),
        },
        ("torrent", "show") => {
            SiteCommand::TorrentShow { torrent: torrent_of(said), peers: said.get_flag("peers") }
        }
        ("token", "add") => SiteCommand::TokenAdd {
            user: number(said),
            torrent: torrent_of(said),
            expires_in: said.get_one("expires").copied(),
        },
        ("token", "remove") => {
            SiteCommand::TokenRemove { user: number(said), torrent: torrent_of(said) }
        }
        ("token", "show") => {
            SiteCommand::TokenShow { user: number(said), torrent: torrent_of(said) }
        }
        ("client", "allow") => {
            SiteCommand::ClientRule { prefix: text_of(said, "prefix"), allow: true }
        }
        ("client", "deny") => {
            SiteCommand::ClientRule { prefix: text_of(said, "prefix"), allow: false }
        }
        ("client", "forget") => SiteCommand::ClientForget { prefix: text_of(said, "prefix") },
        ("client", "list") => SiteCommand::ClientList,
        ("ban", _) => SiteCommand::Ban {
            networks: texts_of(said, "network"),
            time: said.get_one("for").copied(),
            reason: text_of(said, "reason"),
        },
        ("unban", _) => SiteCommand::Unban { networks: texts_of(said, "network") },
        ("bans", _) => SiteCommand::Bans,
        ("service", _) => {
            let service = said.get_one::<String>("service").cloned();
            match (service, said.get_one::<String>("state")) {
                (Some(service), Some(state)) => {
                    SiteCommand::Switch { service, is_on: state == "on" }
                }
                (service, _) => SiteCommand::Services { service },
            }
        }
        ("trace", _) => SiteCommand::Trace { user: number(said) },
        ("api-token", verb) => {
            let name = || said.get_one::<Name>("name").expect("clap requires it").clone();
            let command = match verb {
                "create" => TokenCommand::Create(name()),
                "revoke" => TokenCommand::Revoke(name()),
                _ => TokenCommand::List,
            };
            return Some(Request::ApiToken(flags(said, DATA, outer), command));
        }
        ("api", _) => return Some(Request::ApiDescribe),
        _ => return None,
    };
    let token_file: Option<PathBuf> = said.get_one("api-token-file").cloned();
    let request = SiteRequest { token_file, json: said.get_flag("json"), command };
    Some(Request::Site(flags(said, PLACE, outer), request))
}

fn flags(said: &ArgMatches, place: &[&str], outer: &super::Flags) -> super::Flags {
    let mut flags = config::given_of(said, place);
    flags.extend(outer.clone());
    flags
}

fn number(said: &ArgMatches) -> u32 {
    *said.get_one("id").expect("clap requires it")
}

fn text_of(said: &ArgMatches, name: &str) -> String {
    said.get_one::<String>(name).expect("clap requires it or has a default").clone()
}

fn texts_of(said: &ArgMatches, name: &str) -> Vec<String> {
    said.get_many::<String>(name).unwrap_or_default().cloned().collect()
}

fn answer(said: &ArgMatches, name: &str) -> Option<bool> {
    said.get_one::<String>(name).map(|answer| answer == "yes")
}

pub(super) fn torrent_of(said: &ArgMatches) -> Named {
    let given: &PathBuf = said.get_one("torrent").expect("clap requires it");
    Named { given: given.clone(), v2: said.get_flag("v2") }
}
