//! The commands that speak to a running tracker: `margay torrent`, and of a private one `user`, `group`, `token`,
//! `client`, `trace`; and `margay api-token`, which speaks to its file of tokens.

mod client;
mod operator;
mod show;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use shard::{InfoHash, Seconds};

use crate::api::audit::{Asker, Audit};
use crate::api::operation::TORRENT_NAME_BYTES_MAX;
use crate::api::text;
use crate::api::token::{self, LOCAL_FILE, Name, Token, TokenError, Tokens};
use crate::config::Config;
use crate::wire::percent;
use crate::wire::torrent_file::{NoTorrent, TorrentFile};
use client::Client;

pub use client::ClientError;

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The tracker.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no such user.
    #[error("{0}; `margay user add` makes one, `margay user list` shows those there are")]
    UnknownUser(String),
    /// There is no such group.
    #[error("{0}; `margay group put` makes one, `margay group list` shows those there are")]
    UnknownGroup(String),
    /// Nobody listens for this service.
    #[error("{0}; `margay service` lists what it does")]
    UnknownService(String),
    /// There is no such torrent.
    #[error("{0}; `margay torrent add` registers one, `margay torrent list` shows those there are")]
    UnknownTorrent(String),
    /// There is no such token.
    #[error(
        "user {user} has no token for that torrent; `margay token add` gives one, `margay token list` shows those \
         there are"
    )]
    UnknownToken {
        /// Whose it would be.
        user: u32,
    },
    /// A passkey was made up, and nobody knows whether it is good.
    #[error(
        "{failure}\nThe passkey is {passkey}; `margay user show {id}` says whether it is the user's"
    )]
    Unsure {
        /// Whose.
        id: u32,
        /// The passkey.
        passkey: String,
        /// What the tracker says.
        failure: String,
    },
    /// A user who is to be added is there.
    #[error(
        "user {id} is known already, and nothing was changed; `margay user passkey {id}`, `rights` and `enable` \
         change what there is, and `user add {id} --replace` says all of it anew"
    )]
    Known {
        /// Who.
        id: u32,
    },
    /// The file of tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The configuration has no control listener.
    #[error("the tracker has no control listener (control = none), which answers these commands")]
    NoControl,
    /// There is no token to ask with.
    #[error(
        "cannot read the token in {}: run this as root or as the tracker's user, name the data folder \
         of a running private tracker with --data or --config, or give a token in MARGAY_API_TOKEN or \
         --api-token-file",
        path.display()
    )]
    NoToken {
        /// The file with the token.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What is given as a token is none.
    #[error("there is no token in {0}: it is one line, as `margay api-token create` wrote it")]
    EmptyToken(String),
    /// The torrent is neither a file nor an infohash.
    #[error("cannot read {}, and it is no infohash of 40 hex digits either", path.display())]
    NoFile {
        /// What was given.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no torrent.
    #[error("{} is no .torrent file: {why}", path.display())]
    NoTorrent {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: NoTorrent,
    },
    /// The file is too large for one.
    #[error("{} is larger than {} MiB, and no .torrent file is", .0.display(), TORRENT_BYTES_MAX >> 20)]
    TooLarge(PathBuf),
    /// The file has no infohash of version 2.
    #[error("{} is not of version 2; leave --v2 out", .0.display())]
    NoVersion2(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes for a passkey")]
    Random(#[source] getrandom::Error),
    /// The answer cannot be written.
    #[error("cannot write to standard output")]
    Output(#[from] io::Error),
}

/// What a tracker is asked for, and how its answer is written.
#[derive(Debug)]
pub struct SiteRequest {
    /// A file with the token.
    pub token_file: Option<PathBuf>,
    /// JSON, as it came.
    pub json: bool,
    /// What is asked.
    pub command: SiteCommand,
}

/// What a tracker is asked for.
#[derive(Debug)]
#[expect(missing_docs, reason = "the help text of each says it")]
pub enum SiteCommand {
    UserAdd {
        id: u32,
        passkey: Option<String>,
        can_leech: bool,
        hidden: bool,
        /// Also of one who is known.
        replace: bool,
    },
    UserList,
    TorrentList,
    TokenList {
        user: Option<u32>,
    },
    UserPasskey {
        id: u32,
        passkey: Option<String>,
        /// How long the one before stays good.
        grace: Option<Duration>,
    },
    UserEnabled {
        id: u32,
        enabled: bool,
    },
    UserRights {
        id: u32,
        can_leech: Option<bool>,
        hidden: Option<bool>,
    },
    UserShow {
        id: u32,
        clients: bool,
    },
    UserGroup {
        id: u32,
        /// None takes the user out of his group.
        group: Option<u16>,
    },
    GroupPut {
        id: u16,
        name: String,
        downloads_max: Option<u32>,
    },
    GroupRemove {
        id: u16,
    },
    GroupShow {
        id: u16,
    },
    GroupList,
    TorrentAdd {
        torrent: Named,
        /// The second name of one that is given by its first.
        second: Option<String>,
        /// What it is called; as its file says unless given.
        name: Option<String>,
        /// Its number; the next one unless given.
        id: Option<u32>,
        freeleech: String,
        upload_percent: u16,
    },
    TorrentRemove {
        torrent: Named,
        reason: String,
    },
    TorrentShow {
        torrent: Named,
        peers: bool,
    },
    TokenAdd {
        user: u32,
        torrent: Named,
        expires_in: Option<Duration>,
    },
    TokenRemove {
        user: u32,
        torrent: Named,
    },
    TokenShow {
        user: u32,
        torrent: Named,
    },
    ClientRule {
        prefix: String,
        allow: bool,
    },
    ClientForget {
        prefix: String,
    },
    ClientList,
    Trace {
        user: u32,
    },
    Ban {
        networks: Vec<String>,
        /// None for ever.
        time: Option<Duration>,
        reason: String,
    },
    Unban {
        networks: Vec<String>,
    },
    Bans,
    Services {
        /// This one alone.
        service: Option<String>,
    },
    Switch {
        service: String,
        is_on: bool,
    },
}

/// A torrent as it is given: a .torrent file, an infohash, or, of a registered one, its number at the site.
#[derive(Debug)]
pub struct Named {
    /// One of them.
    pub given: PathBuf,
    /// Of a file that has two infohashes, the one of version 2.
    pub v2: bool,
}

/// What is done with the tokens of a data folder.
#[derive(Debug)]
pub enum TokenCommand {
    /// One is made.
    Create(Name),
    /// They are shown.
    List,
    /// One is good no longer.
    Revoke(Name),
}

/// The options of a tracker that these commands look at.
pub const OPTIONS: &[&str] = &["config", "control", "data"];

/// Bytes of a .torrent file.
const TORRENT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Peers and clients asked for at a time.
const PAGE: usize = 1000;

/// Carries a command out. `config` says where the tracker is, `token` is the one of the environment, if
/// there is one.
pub fn run(
    request: &SiteRequest,
    config: &Config,
    token: Option<String>,
    now: Seconds,
    out: &mut dyn Write,
) -> Result<(), SiteError> {
    let client = connect(request, config, token)?;
    let SiteRequest { json, command, .. } = request;
    if let SiteCommand::Trace { user } = command {
        let path = format!("users/{user}/trace");
        let lines = client.follow(&path).map_err(|error| in_own_words(error.into()))?;
        for line in lines {
            let line = line?;
            match json {
                true => writeln!(out, "{line}")?,
                false => out.write_all(show::trace_line(&line).as_bytes())?,
            }
            out.flush()?;
        }
        return Ok(());
    }
    let (answer, human) = ask(&client, command, now).map_err(in_own_words)?;
    match json {
        true => writeln!(out, "{answer}")?,
        false => out.write_all(human(&answer).as_bytes())?,
    }
    Ok(())
}

/// What the API says of what is missing, with the commands that make it.
fn in_own_words(error: SiteError) -> SiteError {
    let SiteError::Client(ClientError::Refused { code, message, .. }) = &error else {
        return error;
    };
    let is_missing = || message.split(';').next().unwrap_or_default().to_owned();
    match code.as_str() {
        "user_unknown" => SiteError::UnknownUser(is_missing()),
        "group_unknown" => SiteError::UnknownGroup(is_missing()),
        "service_unknown" => SiteError::UnknownService(is_missing()),
        "torrent_unknown" => SiteError::UnknownTorrent(is_missing()),
        _ => error,
    }
}

/// How people read an answer.
type Show = fn(&Value) -> String;

/// The answer to a command, and how people read it.
fn ask(client: &Client, command: &SiteCommand, now: Seconds) -> Result<(Value, Show), SiteError> {
    let user_path = |id: &u32| format!("users/{id}");
    let torrent_path = |torrent: &Named| -> Result<String, SiteError> {
        Ok(format!("torrents/{}", registered(client, torrent)?))
    };
    let token_path = |user: &u32, torrent: &Named| -> Result<String, SiteError> {
        Ok(format!("tokens/{user}/{}", registered(client, torrent)?))
    };
    let ahead = |time: Duration| (now + Seconds(time.as_secs().try_into().unwrap_or(u32::MAX))).0;
    Ok(match command {
        SiteCommand::UserAdd { id, passkey, can_leech, hidden, replace } => {
            let passkey = passkey.clone().map_or_else(random_passkey, Ok)?;
            let body = json!({
                "passkey": passkey, "can_leech": can_leech, "hidden": hidden, "new": !replace,
            });
            let answer = client.ask("PUT", &user_path(id), Some(&body));
            (answer.map_err(|error| known(error, *id, &passkey))?, show::user)
        }
        SiteCommand::UserList => (pages(client, "users", "users")?, show::users),
        SiteCommand::TorrentList => (pages(client, "torrents", "torrents")?, show::torrents),
        SiteCommand::TokenList { user } => {
            let path = user.map_or("tokens".to_owned(), |user| format!("tokens?user={user}"));
            (pages(client, &path, "tokens")?, show::tokens)
        }
        SiteCommand::UserPasskey { id, passkey, grace } => {
            let passkey = passkey.clone().map_or_else(random_passkey, Ok)?;
            let body = json!({"passkey": passkey, "former_until": grace.map(ahead)});
            let answer = client.ask("PATCH", &user_path(id), Some(&body));
            (answer.map_err(|error| known(error, *id, &passkey))?, show::user)
        }
        SiteCommand::UserEnabled { id, enabled } => {
            let body = json!({"enabled": enabled});
            (client.ask("PATCH", &user_path(id), Some(&body))?, show::user)
        }
        SiteCommand::UserRights { id, can_leech, hidden } => {
            let body = json!({"can_leech": can_leech, "hidden": hidden});
            (client.ask("PATCH", &user_path(id), Some(&body))?, show::user)
        }
        SiteCommand::UserShow { id, clients } => {
            let mut user = client.ask("GET", &user_path(id), None)?;
            if *clients {
                user["clients"] = pages(client, &format!("users/{id}/active"), "clients")?;
            }
            (user, show::user_asked)
        }
        SiteCommand::UserGroup { id, group } => {
            let body = json!({"group": group});
            (client.ask("PATCH", &user_path(id), Some(&body))?, show::user)
        }
        SiteCommand::GroupPut { id, name, downloads_max } => {
            let body = json!({"name": name, "downloads_max": downloads_max});
            (client.ask("PUT", &format!("groups/{id}"), Some(&body))?, show::group)
        }
        SiteCommand::GroupRemove { id } => {
            (client.ask("DELETE", &format!("groups/{id}"), None)?, show::removed)
        }
        SiteCommand::GroupShow { id } => {
            let mut groups = client.ask("GET", "groups", None)?["groups"].take();
            let groups = groups.as_array_mut().map(std::mem::take).unwrap_or_default();
            let group = groups.into_iter().find(|group| group["id"] == *id);
            let unknown = || SiteError::UnknownGroup(format!("group {id} is not known"));
            (group.ok_or_else(unknown)?, show::group)
        }
        SiteCommand::GroupList => (client.ask("GET", "groups", None)?, show::groups),
        SiteCommand::TorrentAdd { torrent, second, name, id, freeleech, upload_percent } => {
            let names = names(torrent)?;
            let second = second.clone().or(names.second.as_ref().map(text::hex));
            let mut body = json!({
                "id": id,
                "info_hash_v2": second,
                "name": name.clone().or(names.called),
                "freeleech": freeleech,
                "upload_percent": upload_percent,
            });
            let path = format!("torrents/{}", text::hex(&names.first));
            let answer = match (client.ask("PUT", &path, Some(&body)), second) {
                // An open tracker has a torrent by each of the infohashes.
                (Err(ClientError::Refused { code, .. }), Some(second)) if code == "open_hybrid" => {
                    body["info_hash_v2"] = Value::Null;
                    client.ask("PUT", &format!("torrents/{second}"), Some(&body))?;
                    client.ask("PUT", &path, Some(&body))?
                }
                (answer, _) => answer?,
            };
            if names.unmarked && !answer["id"].is_null() {
                eprintln!(
                    "margay: {} is not marked private: its clients may find each other without the tracker",
                    torrent.given.display()
                );
            }
            (answer, show::torrent)
        }
        SiteCommand::TorrentRemove { torrent, reason } => {
            let remove = |info_hash: &str| {
                let mut path = format!("torrents/{info_hash}?reason=").into_bytes();
                percent::encode(reason.as_bytes(), &mut path);
                let path = String::from_utf8(path).expect("percent-encoded text is ASCII");
                client.ask("DELETE", &path, None)
            };
            let (first, second) = match number(torrent) {
                Some(_) => (registered(client, torrent)?, None),
                None => names(torrent).map(|names| (text::hex(&names.first), names.second))?,
            };
            let answer = remove(&first)?;
            // An open tracker has a torrent by each of the infohashes of a hybrid.
            if let Some(second) = second.filter(|_| !answer["withdrawn_until"].is_null()) {
                remove(&text::hex(&second))?;
            }
            (answer, show::removed)
        }
        SiteCommand::TorrentShow { torrent, peers } => {
            let mut answer = match number(torrent) {
                Some(id) => of_number(client, id)?,
                None => client.ask("GET", &torrent_path(torrent)?, None)?,
            };
            if *peers {
                let info_hash = answer["info_hash"].as_str().unwrap_or_default();
                let path = format!("torrents/{info_hash}");
                answer["peers"] = pages(client, &format!("{path}/peers"), "peers")?;
            }
            (answer, show::torrent)
        }
        SiteCommand::TokenAdd { user, torrent, expires_in } => {
            let body = json!({"expires_at": expires_in.map(ahead)});
            (client.ask("PUT", &token_path(user, torrent)?, Some(&body))?, show::token)
        }
        SiteCommand::TokenShow { user, torrent } => {
            let info_hash = registered(client, torrent)?;
            let held = pages(client, &format!("tokens?user={user}"), "tokens")?;
            let mut held = held.as_array().into_iter().flatten();
            let token = held.find(|token| token["info_hash"] == *info_hash).cloned();
            (token.ok_or(SiteError::UnknownToken { user: *user })?, show::token)
        }
        SiteCommand::TokenRemove { user, torrent } => {
            (client.ask("DELETE", &token_path(user, torrent)?, None)?, show::removed)
        }
        SiteCommand::ClientRule { prefix, allow } => {
            let body = json!({"allow": allow});
            (client.ask("PUT", &rule_path(prefix), Some(&body))?, show::client_rule)
        }
        SiteCommand::ClientForget { prefix } => {
            (client.ask("DELETE", &rule_path(prefix), None)?, show::removed)
        }
        SiteCommand::ClientList => (client.ask("GET", "client-rules", None)?, show::client_rules),
        SiteCommand::Ban { networks, time, reason } => {
            let seconds = time.map(|time| time.as_secs().max(1));
            let body = json!({"networks": networks, "seconds": seconds, "reason": reason});
            (client.ask("POST", "bans", Some(&body))?, operator::bans)
        }
        SiteCommand::Unban { networks } => {
            let mut all = Vec::new();
            for network in networks {
                let mut path = b"bans/".to_vec();
                percent::encode(network.as_bytes(), &mut path);
                let path = String::from_utf8(path).expect("percent-encoded text is ASCII");
                let mut answer = client.ask("DELETE", &path, None)?;
                answer["network"] = network.as_str().into();
                all.push(answer);
            }
            (json!({"unbanned": all}), operator::unbanned)
        }
        SiteCommand::Bans => (json!({"bans": pages(client, "bans", "bans")?}), operator::bans),
        SiteCommand::Services { service } => {
            let mut answer = client.ask("GET", "services", None)?;
            if let (Some(service), Value::Array(all)) = (service, &mut answer["services"]) {
                all.retain(|one| one["service"] == **service);
                if all.is_empty() {
                    let why = format!("the tracker does not listen for {service}");
                    return Err(SiteError::UnknownService(why));
                }
            }
            (answer, operator::services)
        }
        SiteCommand::Switch { service, is_on } => {
            let body = json!({"on": is_on});
            (client.ask("PUT", &format!("services/{service}"), Some(&body))?, operator::service)
        }
        SiteCommand::Trace { .. } => unreachable!("it has no end, and is followed above"),
    })
}

/// What all the pages of an answer have.
fn pages(client: &Client, path: &str, field: &str) -> Result<Value, SiteError> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let mut page = client.ask("GET", &format!("{path}{mark}limit={PAGE}{after}"), None)?;
        if let Value::Array(some) = page[field].take() {
            all.extend(some);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(all.into()),
        }
    }
}

/// A torrent that is given by its number at the site. A file of that name is meant by `./7`.
fn number(torrent: &Named) -> Option<u32> {
    let text = torrent.given.to_str()?;
    text.parse().ok().filter(|_| text::info_hash(text).is_none())
}

/// The torrent with this number, as the tracker knows it.
fn of_number(client: &Client, id: u32) -> Result<Value, SiteError> {
    Ok(client.ask("GET", &format!("torrents?id={id}"), None)?["torrents"][0].take())
}

/// The infohash of a torrent that is registered, however it is given.
fn registered(client: &Client, torrent: &Named) -> Result<String, SiteError> {
    match number(torrent) {
        Some(id) => Ok(of_number(client, id)?["info_hash"].as_str().unwrap_or_default().to_owned()),
        None => Ok(text::hex(&info_hash(torrent)?)),
    }
}

/// What to do about a user who is known already, or who may have got this passkey.
fn known(error: ClientError, id: u32, passkey: &str) -> SiteError {
    match error {
        ClientError::Refused { code, .. } if code == "user_known" => SiteError::Known { id },
        ClientError::Refused { code, message, .. } if code == "not_on_disk" || code == "late" => {
            SiteError::Unsure { id, passkey: passkey.to_owned(), failure: message }
        }
        error @ ClientError::Broken { .. } => {
            let failure = error.to_string();
            SiteError::Unsure { id, passkey: passkey.to_owned(), failure }
        }
        error => error.into(),
    }
}

/// A rule's path: what the operator wrote is the prefix as the API writes it, and is encoded for the path.
fn rule_path(prefix: &str) -> String {
    let raw: Vec<u8> = percent::decoded(prefix.as_bytes()).collect();
    let mut path = b"client-rules/".to_vec();
    percent::encode(text::escaped(&raw).as_bytes(), &mut path);
    String::from_utf8(path).expect("percent-encoded text is ASCII")
}

fn info_hash(torrent: &Named) -> Result<InfoHash, SiteError> {
    names(torrent).map(|names| names.first)
}

/// The names of a torrent.
pub(super) struct Names {
    /// Its infohash.
    pub(super) first: InfoHash,
    /// The other one, where it is given as the file of a hybrid (BEP 52).
    pub(super) second: Option<InfoHash>,
    /// What its file calls it.
    called: Option<String>,
    /// It is given as a file that is not marked private (BEP 27).
    unmarked: bool,
}

/// The names of a torrent, as far as what is given says them.
pub(super) fn names(torrent: &Named) -> Result<Names, SiteError> {
    let path = &torrent.given;
    if let Some(first) = path.to_str().and_then(text::info_hash) {
        return Ok(Names { first, second: None, called: None, unmarked: false });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(TORRENT_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|source| SiteError::NoFile { path: path.clone(), source })?;
    if bytes.len() as u64 > TORRENT_BYTES_MAX {
        return Err(SiteError::TooLarge(path.clone()));
    }
    let file = TorrentFile::parse(&bytes)
        .map_err(|why| SiteError::NoTorrent { path: path.clone(), why })?;
    let (first, second) = match (torrent.v2, file.v1, file.v2) {
        (true, _, v2) => (v2.ok_or_else(|| SiteError::NoVersion2(path.clone()))?, None),
        (false, Some(v1), Some(v2)) => (v1, Some(v2)),
        (false, ..) => (file.info_hash(), None),
    };
    let unmarked = !file.private;
    let called = file.name.map(|mut name| {
        name.truncate(name.floor_char_boundary(TORRENT_NAME_BYTES_MAX));
        name
    });
    Ok(Names { first, second, called, unmarked })
}

/// 32 letters and digits that nobody can guess.
fn random_passkey() -> Result<String, SiteError> {
    const LETTERS: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ..";
    let mut passkey = String::new();
    while passkey.len() < 32 {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes).map_err(SiteError::Random)?;
        let letters = bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)]));
        // Two of the 64 are none, so that every letter is as likely as any other.
        passkey.extend(letters.filter(|letter| *letter != '.').take(32 - passkey.len()));
    }
    Ok(passkey)
}

/// Where the tracker is, and who asks.
fn connect(
    request: &SiteRequest,
    config: &Config,
    token: Option<String>,
) -> Result<Client, SiteError> {
    let address = control_address(config)?;
    let (token, token_from) = match (&request.token_file, token) {
        (Some(path), _) => (read_token(path)?, path.display().to_string()),
        (None, Some(token)) => {
            let from = "MARGAY_API_TOKEN".to_owned();
            (Token::given(&token).ok_or_else(|| SiteError::EmptyToken(from.clone()))?, from)
        }
        (None, None) => {
            let path = data_folder(config).join(LOCAL_FILE);
            (read_token(&path)?, path.display().to_string())
        }
    };
    Ok(Client::new(address, token, token_from))
}

/// Where the control listener is reached from this machine.
fn control_address(config: &Config) -> Result<SocketAddr, SiteError> {
    let mut address: SocketAddr = config.control.ok_or(SiteError::NoControl)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

/// Has a running tracker carry out a command that needs no token; what it says.
pub(super) fn command(config: &Config, path: &str) -> Result<String, SiteError> {
    let (status, message) = client::command(control_address(config)?, path)?;
    match status {
        200..300 => Ok(message),
        _ => Err(ClientError::Refused { status, code: String::new(), message }.into()),
    }
}

fn read_token(path: &Path) -> Result<Token, SiteError> {
    let text = fs::read_to_string(path)
        .map_err(|source| SiteError::NoToken { path: path.to_owned(), source })?;
    Token::given(&text).ok_or_else(|| SiteError::EmptyToken(path.display().to_string()))
}

/// The data folder of a tracker: the one that was named, or, where nobody named one and the usual one is
/// not there, that of the systemd unit.
fn data_folder(config: &Config) -> PathBuf {
    let of_unit = Path::new("/var/lib/margay");
    match config.data == Config::default().data && !config.data.exists() && of_unit.exists() {
        true => of_unit.to_owned(),
        false => config.data.clone(),
    }
}

/// Changes or shows the tokens of a data folder; the tracker need not be running, and takes a change over
/// at once when it is.
pub fn tokens(
    command: &TokenCommand,
    config: &Config,
    now: Seconds,
    out: &mut dyn Write,
) -> Result<(), SiteError> {
    let data = data_folder(config);
    match command {
        TokenCommand::Create(name) => {
            let token = token::create(&data, name.clone(), now)?;
            note(&data, json!({"op": "create_token", "name": name.to_string()}), now);
            writeln!(out, "{}", token.reveal())?;
            eprintln!("margay: this is the only time the token is shown; {name} is its name");
        }
        TokenCommand::Revoke(name) => {
            token::revoke(&data, name)?;
            note(&data, json!({"op": "revoke_token", "name": name.to_string()}), now);
            writeln!(out, "{name} is revoked")?;
        }
        TokenCommand::List => {
            let tokens = Tokens::read(&data)?;
            if tokens.entries().is_empty() {
                writeln!(out, "there are no tokens in {}", data.display())?;
            }
            for entry in tokens.entries() {
                writeln!(out, "{}  made {}", entry.name, text::moment(entry.created.0.into()))?;
            }
        }
    }
    Ok(())
}

/// Notes in the data folder who changed the tokens, beside what the tracker notes there.
fn note(data: &Path, change: Value, now: Seconds) {
    let uid = rustix::process::getuid().as_raw();
    let who = match std::env::var("SUDO_UID") {
        Ok(user) if uid == 0 => format!("command, uid 0 for uid {user}"),
        _ => format!("command, uid {uid}"),
    };
    let audit = Audit::new(data.to_owned(), Duration::MAX);
    if let Err(error) = audit.keep(&Asker { who, address: None }, &[(change, "done")], now) {
        eprintln!("margay: done, but it cannot be noted in {}: {error}", data.display());
    }
}
