//! What the API changes: one operation, read from JSON.
//!
//! A request for one thing and an element of a bulk request are the same: the path's parts are put into
//! the body as fields, and its method and path are the `op`.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use shard::private::{ClientPrefix, Freeleech, GroupId, Passkey, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::answer::{self, Failure};
use super::route::{Call, parameter};
use super::text;
use crate::core::route;
use crate::core::route::SITE_CORE;

/// One change. Each says what is to be true; doing it twice is doing it once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `put_user`: a user is like this.
    PutUser {
        /// Who.
        id: UserId,
        /// The secret of the announce URL; another user's is refused.
        passkey: Passkey,
        /// Until when the passkey before is good; at once no longer unless said.
        former_until: Option<Seconds>,
        /// May download; true unless said.
        can_leech: bool,
        /// Addresses are written nowhere; false unless said.
        hidden: bool,
        /// May announce; true unless said.
        enabled: bool,
        /// The group, or none; as before unless said, and none for a new one.
        group: Option<Option<GroupId>>,
        /// A user who is known already is refused; false unless said.
        new: bool,
    },
    /// `patch_user`: a known user is like this, and otherwise as before.
    PatchUser {
        /// Who.
        id: UserId,
        /// The new secret.
        passkey: Option<Passkey>,
        /// Until when the one before is good; at once no longer unless said.
        former_until: Option<Seconds>,
        /// May download.
        can_leech: Option<bool>,
        /// Addresses are written nowhere.
        hidden: Option<bool>,
        /// May announce. `disable_user` is a `patch_user` with false.
        enabled: Option<bool>,
        /// The group, or none.
        group: Option<Option<GroupId>>,
    },
    /// `put_group`: there is a group of users, and it is like this.
    PutGroup {
        /// Its number at the site.
        id: GroupId,
        /// What it is called; that of another group is refused.
        name: String,
        /// The downloads that each of its users may have at once; any number unless said.
        downloads_max: Option<u32>,
    },
    /// `remove_group`: there is none, and nobody is in it.
    RemoveGroup {
        /// Its number.
        id: GroupId,
    },
    /// `put_torrent`: a torrent is registered, with these rules.
    PutTorrent {
        /// Its name.
        info_hash: InfoHash,
        /// Its second name, where it is a hybrid (BEP 52); none unless said.
        info_hash_v2: Option<InfoHash>,
        /// What it is called; as before unless said.
        name: Option<String>,
        /// Its number at the site; that of a registered torrent cannot be changed. Unless said, that of a registered one,
        /// and the next one for another.
        id: Option<TorrentId>,
        /// Which transfers count; all unless said.
        freeleech: Freeleech,
        /// What uploads count for, in percent; 100 unless said.
        upload_percent: u16,
    },
    /// `remove_torrent`: a torrent is not registered.
    RemoveTorrent {
        /// Its name.
        info_hash: InfoHash,
        /// What its clients are told for a day; may be empty.
        reason: String,
    },
    /// `put_token`: what a user downloads of a registered torrent is free.
    PutToken {
        /// Who.
        user: UserId,
        /// The torrent's name.
        info_hash: InfoHash,
        /// When it ends by itself, in seconds since 1970; never unless said.
        expires_at: Option<Seconds>,
    },
    /// `remove_token`: it is not.
    RemoveToken {
        /// Who.
        user: UserId,
        /// The torrent's name.
        info_hash: InfoHash,
    },
    /// `put_client_rule`: these clients are allowed, or refused.
    PutClientRule {
        /// Which.
        prefix: ClientPrefix,
        /// Allowed or refused.
        allow: bool,
    },
    /// `remove_client_rule`: they have no rule.
    RemoveClientRule {
        /// Which.
        prefix: ClientPrefix,
    },
}

/// Bytes of the name of a group at most.
pub const GROUP_NAME_BYTES_MAX: usize = 255;

/// Bytes of the name of a torrent at most.
pub const TORRENT_NAME_BYTES_MAX: usize = 255;

/// How long a former passkey may stay good, in seconds: 30 days. Longer, it would be a second passkey.
pub const FORMER_SECONDS_MAX: u32 = 30 * 86_400;

/// Bytes of a deletion reason at most.
pub const REASON_BYTES_MAX: usize = 200;

/// The same as it stands in JSON.
#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    PutUser {
        id: u32,
        passkey: String,
        former_until: Option<u32>,
        #[serde(default = "yes")]
        can_leech: bool,
        #[serde(default)]
        hidden: bool,
        #[serde(default = "yes")]
        enabled: bool,
        #[serde(default, deserialize_with = "said")]
        group: Option<Option<u16>>,
        #[serde(default)]
        new: bool,
    },
    PatchUser {
        id: u32,
        passkey: Option<String>,
        former_until: Option<u32>,
        can_leech: Option<bool>,
        hidden: Option<bool>,
        enabled: Option<bool>,
        #[serde(default, deserialize_with = "said")]
        group: Option<Option<u16>>,
    },
    DisableUser {
        id: u32,
    },
    PutGroup {
        id: u16,
        name: String,
        downloads_max: Option<u32>,
    },
    RemoveGroup {
        id: u16,
    },
    PutTorrent {
        info_hash: String,
        info_hash_v2: Option<String>,
        name: Option<String>,
        id: Option<u32>,
        #[serde(default)]
        freeleech: SaidFreeleech,
        #[serde(default = "hundred")]
        upload_percent: u16,
    },
    RemoveTorrent {
        info_hash: String,
        #[serde(default)]
        reason: String,
    },
    PutToken {
        user: u32,
        info_hash: String,
        expires_at: Option<u32>,
    },
    RemoveToken {
        user: u32,
        info_hash: String,
    },
    PutClientRule {
        prefix: String,
        allow: bool,
    },
    RemoveClientRule {
        prefix: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
enum SaidFreeleech {
    #[default]
    None,
    Free,
    Neutral,
}

/// `null` is something that is said.
fn said<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<u16>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

fn yes() -> bool {
    true
}

fn hundred() -> u16 {
    100
}

impl Operation {
    /// Reads an operation.
    ///
    /// # Errors
    /// [`Failure::BadRequest`], with what is missing, unknown or wrong.
    pub fn read(value: Value) -> Result<Self, Failure> {
        if !value.is_object() {
            return Err(Failure::bad("an operation is an object with an `op`"));
        }
        let said =
            serde_json::from_value(value).map_err(|error| Failure::bad(error.to_string()))?;
        Ok(match said {
            Said::PutUser { id, passkey, former_until, can_leech, hidden, enabled, group, new } => {
                Operation::PutUser {
                    id: UserId(id),
                    passkey: read_passkey(&passkey)?,
                    former_until: former_until.map(Seconds),
                    can_leech,
                    hidden,
                    enabled,
                    group: read_membership(group)?,
                    new,
                }
            }
            Said::PatchUser { id, passkey, former_until, can_leech, hidden, enabled, group } => {
                if former_until.is_some() && passkey.is_none() {
                    return Err(Failure::bad(
                        "former_until says how long the passkey before a new one stays good; say the new passkey, too",
                    ));
                }
                Operation::PatchUser {
                    id: UserId(id),
                    passkey: passkey.as_deref().map(read_passkey).transpose()?,
                    former_until: former_until.map(Seconds),
                    can_leech,
                    hidden,
                    enabled,
                    group: read_membership(group)?,
                }
            }
            Said::DisableUser { id } => Operation::PatchUser {
                id: UserId(id),
                passkey: None,
                former_until: None,
                can_leech: None,
                hidden: None,
                enabled: Some(false),
                group: None,
            },
            Said::PutGroup { id, name, downloads_max } => Operation::PutGroup {
                id: read_group(id)?,
                name: read_group_name(name)?,
                downloads_max: downloads_max.map(read_downloads_max).transpose()?,
            },
            Said::RemoveGroup { id } => Operation::RemoveGroup { id: read_group(id)? },
            Said::PutTorrent { info_hash, info_hash_v2, name, id, freeleech, upload_percent } => {
                let info_hash_v2 = info_hash_v2.as_deref().map(read_second).transpose()?;
                let info_hash = read_info_hash(&info_hash)?;
                if info_hash_v2 == Some(info_hash) {
                    return Err(Failure::bad("info_hash and info_hash_v2 are the same"));
                }
                Operation::PutTorrent {
                    info_hash,
                    info_hash_v2,
                    name: name.map(read_torrent_name).transpose()?,
                    id: id.map(TorrentId),
                    freeleech: match freeleech {
                        SaidFreeleech::None => Freeleech::None,
                        SaidFreeleech::Free => Freeleech::Free,
                        SaidFreeleech::Neutral => Freeleech::Neutral,
                    },
                    upload_percent,
                }
            }
            Said::RemoveTorrent { info_hash, reason } => Operation::RemoveTorrent {
                info_hash: read_info_hash(&info_hash)?,
                reason: read_reason(reason)?,
            },
            Said::PutToken { user, info_hash, expires_at } => Operation::PutToken {
                user: UserId(user),
                info_hash: read_info_hash(&info_hash)?,
                expires_at: expires_at.map(Seconds),
            },
            Said::RemoveToken { user, info_hash } => Operation::RemoveToken {
                user: UserId(user),
                info_hash: read_info_hash(&info_hash)?,
            },
            Said::PutClientRule { prefix, allow } => {
                Operation::PutClientRule { prefix: read_prefix(&prefix)?, allow }
            }
            Said::RemoveClientRule { prefix } => {
                Operation::RemoveClientRule { prefix: read_prefix(&prefix)? }
            }
        })
    }

    /// Reads the operation that a request for one thing asks for: `parts` are those of its path, `body`
    /// is an object. `None` for a call that changes nothing.
    pub fn of(
        call: Call,
        parts: &[String],
        query: &str,
        body: Value,
    ) -> Option<Result<Self, Failure>> {
        let (op, fields): (&str, &[&str]) = match call {
            Call::PutUser => ("put_user", &["id"]),
            Call::PatchUser => ("patch_user", &["id"]),
            Call::DisableUser => ("disable_user", &["id"]),
            Call::PutGroup => ("put_group", &["id"]),
            Call::RemoveGroup => ("remove_group", &["id"]),
            Call::PutTorrent => ("put_torrent", &["info_hash"]),
            Call::RemoveTorrent => ("remove_torrent", &["info_hash"]),
            Call::PutToken => ("put_token", &["user", "info_hash"]),
            Call::RemoveToken => ("remove_token", &["user", "info_hash"]),
            Call::PutClientRule => ("put_client_rule", &["prefix"]),
            Call::RemoveClientRule => ("remove_client_rule", &["prefix"]),
            _ => return None,
        };
        let Value::Object(mut said) = body else {
            return Some(Err(Failure::bad("the body is to be a JSON object")));
        };
        let reason = parameter(query, "reason").filter(|_| call == Call::RemoveTorrent);
        let reason = reason.map(|reason| ("reason", Value::from(reason)));
        let named = fields.iter().zip(parts).map(|(field, part)| match *field {
            // What is no number is refused below, by its name.
            "id" | "user" => {
                (*field, part.parse::<u32>().map_or(part.as_str().into(), Value::from))
            }
            _ => (*field, part.as_str().into()),
        });
        for (field, value) in named.chain([("op", op.into())]).chain(reason) {
            if said.insert(field.to_owned(), value).is_some() {
                let text = format!("{field} is said by the path already; leave it out of the body");
                return Some(Err(Failure::bad(text)));
            }
        }
        Some(Self::read(Value::Object(said)))
    }

    /// What is said of it afterwards: as a bulk request says it, without secrets.
    pub fn audited(&self) -> Value {
        match self {
            Operation::PutUser { id, former_until, can_leech, hidden, enabled, group, .. } => {
                let mut said = json!({
                    "op": "put_user", "id": id.0, "passkey": "(given)", "can_leech": can_leech,
                    "hidden": hidden, "enabled": enabled,
                });
                if let Some(until) = former_until {
                    said["former_until"] = until.0.into();
                }
                if let Some(group) = group {
                    said["group"] = group.map(|group| group.0).into();
                }
                said
            }
            Operation::PatchUser {
                id,
                passkey,
                former_until,
                can_leech,
                hidden,
                enabled,
                group,
            } => {
                let mut said = json!({"op": "patch_user", "id": id.0});
                let rights = [("can_leech", can_leech), ("hidden", hidden), ("enabled", enabled)];
                for (field, value) in rights {
                    if let Some(value) = value {
                        said[field] = (*value).into();
                    }
                }
                if passkey.is_some() {
                    said["passkey"] = "(given)".into();
                }
                if let Some(until) = former_until {
                    said["former_until"] = until.0.into();
                }
                if let Some(group) = group {
                    said["group"] = group.map(|group| group.0).into();
                }
                said
            }
            Operation::PutGroup { id, name, downloads_max } => json!({
                "op": "put_group", "id": id.0, "name": name, "downloads_max": downloads_max,
            }),
            Operation::RemoveGroup { id } => json!({"op": "remove_group", "id": id.0}),
            Operation::PutTorrent {
                info_hash,
                info_hash_v2,
                name,
                id,
                freeleech,
                upload_percent,
            } => json!({
                "op": "put_torrent", "info_hash": text::hex(info_hash),
                "info_hash_v2": info_hash_v2.as_ref().map(text::hex), "name": name,
                "id": id.map(|id| id.0), "freeleech": answer::freeleech(*freeleech),
                "upload_percent": upload_percent,
            }),
            Operation::RemoveTorrent { info_hash, reason } => json!({
                "op": "remove_torrent", "info_hash": text::hex(info_hash), "reason": reason,
            }),
            Operation::PutToken { user, info_hash, expires_at } => json!({
                "op": "put_token", "user": user.0, "info_hash": text::hex(info_hash),
                "expires_at": expires_at.map(|at| at.0),
            }),
            Operation::RemoveToken { user, info_hash } => json!({
                "op": "remove_token", "user": user.0, "info_hash": text::hex(info_hash),
            }),
            Operation::PutClientRule { prefix, allow } => json!({
                "op": "put_client_rule", "prefix": text::escaped(prefix.bytes()), "allow": allow,
            }),
            Operation::RemoveClientRule { prefix } => json!({
                "op": "remove_client_rule", "prefix": text::escaped(prefix.bytes()),
            }),
        }
    }

    /// By the first name of its torrent, where it is said by the second one, of which `first_of` knows whose it is.
    #[must_use]
    pub fn by_first_name(mut self, first_of: impl Fn(&InfoHash) -> Option<InfoHash>) -> Self {
        match &mut self {
            Operation::PutTorrent { info_hash, info_hash_v2, .. } => {
                if let Some(first) = first_of(info_hash)
                    .filter(|first| info_hash_v2.is_none_or(|second| second == *first))
                {
                    (*info_hash, *info_hash_v2) = (first, Some(*info_hash));
                }
            }
            Operation::RemoveTorrent { info_hash, .. }
            | Operation::PutToken { info_hash, .. }
            | Operation::RemoveToken { info_hash, .. } => {
                *info_hash = first_of(info_hash).unwrap_or(*info_hash);
            }
            Operation::PutUser { .. }
            | Operation::PatchUser { .. }
            | Operation::PutGroup { .. }
            | Operation::RemoveGroup { .. }
            | Operation::PutClientRule { .. }
            | Operation::RemoveClientRule { .. } => {}
        }
        self
    }

    /// The core that does it: the owner of the torrent; for users and clients always the same one, so
    /// that what is said of them is journaled in the order it was said in.
    pub fn core(&self, cores: usize) -> usize {
        match self {
            Operation::PutTorrent { info_hash, .. }
            | Operation::RemoveTorrent { info_hash, .. }
            | Operation::PutToken { info_hash, .. }
            | Operation::RemoveToken { info_hash, .. } => route::owner(info_hash, cores),
            Operation::PutUser { .. }
            | Operation::PatchUser { .. }
            | Operation::PutGroup { .. }
            | Operation::RemoveGroup { .. }
            | Operation::PutClientRule { .. }
            | Operation::RemoveClientRule { .. } => SITE_CORE,
        }
    }

    /// Whether every core has to hear of it, and not only the one that does it.
    pub fn is_for_all(&self) -> bool {
        match self {
            Operation::PutUser { .. }
            | Operation::PatchUser { .. }
            | Operation::PutGroup { .. }
            | Operation::RemoveGroup { .. }
            | Operation::PutClientRule { .. }
            | Operation::RemoveClientRule { .. } => true,
            Operation::PutTorrent { .. }
            | Operation::RemoveTorrent { .. }
            | Operation::PutToken { .. }
            | Operation::RemoveToken { .. } => false,
        }
    }
}

fn read_membership(group: Option<Option<u16>>) -> Result<Option<Option<GroupId>>, Failure> {
    group.map(|group| group.map(read_group).transpose()).transpose()
}

fn read_group(id: u16) -> Result<GroupId, Failure> {
    let wrong = || Failure::bad(format!("a group's number is 0 to {}", GroupId::MAX.0));
    Some(GroupId(id)).filter(|id| *id <= GroupId::MAX).ok_or_else(wrong)
}

fn read_group_name(name: String) -> Result<String, Failure> {
    let is_one =
        (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control);
    let wrong =
        || Failure::bad(format!("a group's name is one line of 1 to {GROUP_NAME_BYTES_MAX} bytes"));
    Some(name).filter(|_| is_one).ok_or_else(wrong)
}

fn read_torrent_name(name: String) -> Result<String, Failure> {
    let is_one = name.len() <= TORRENT_NAME_BYTES_MAX && !name.contains(char::is_control);
    let wrong = || {
        Failure::bad(format!(
            "a torrent's name is one line of at most {TORRENT_NAME_BYTES_MAX} bytes"
        ))
    };
    Some(name).filter(|_| is_one).ok_or_else(wrong)
}

fn read_downloads_max(most: u32) -> Result<u32, Failure> {
    let wrong = || Failure::bad(format!("downloads_max is 0 to {}, or null", i32::MAX));
    Some(most).filter(|most| i32::try_from(*most).is_ok()).ok_or_else(wrong)
}

fn read_passkey(text: &str) -> Result<Passkey, Failure> {
    Passkey::new(text.as_bytes()).map_err(|error| Failure::bad(error.to_string()))
}

/// Whether the passkey that a user has now may stay good until this moment when he is given another.
///
/// # Errors
/// [`Failure::BadRequest`] when that is not later than now, or more than [`FORMER_SECONDS_MAX`] ahead.
pub fn check_former_until(until: Seconds, now: Seconds) -> Result<(), Failure> {
    let ahead = until.since(now).0;
    if (1..=FORMER_SECONDS_MAX).contains(&ahead) {
        return Ok(());
    }
    Err(Failure::bad(format!(
        "former_until is a moment in seconds since 1970, later than now ({}) and at most {} days ahead",
        now.0,
        FORMER_SECONDS_MAX / 86_400,
    )))
}

/// The infohash that `text` says.
pub fn read_info_hash(text: &str) -> Result<InfoHash, Failure> {
    text::info_hash(text).ok_or_else(|| Failure::bad("an infohash is 40 hex digits"))
}

/// The name of the swarm of version 2: the first 20 bytes of the SHA-256 that `text` says.
fn read_second(text: &str) -> Result<InfoHash, Failure> {
    let wrong = || Failure::bad("info_hash_v2 is 40 hex digits, or the 64 of the whole SHA-256");
    let is_whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    text::info_hash(if is_whole { &text[..40] } else { text }).ok_or_else(wrong)
}

fn read_prefix(text: &str) -> Result<ClientPrefix, Failure> {
    text::prefix(text)
        .ok_or_else(|| Failure::bad("a client prefix is 1 to 20 bytes of a peer id, such as -qB4"))
}

fn read_reason(reason: String) -> Result<String, Failure> {
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(Failure::bad(format!(
            "a reason is one line of at most {REASON_BYTES_MAX} bytes"
        )));
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn wrong(value: Value, text: &str) {
        let failure = Operation::read(value).unwrap_err();
        assert!(failure.to_string().contains(text), "{failure}");
    }

    #[test]
    fn what_is_not_said_is_the_usual() {
        let passkey = "0123456789abcdefghijABCDEFGHIJxy";
        let put = Operation::read(json!({"op": "put_user", "id": 7, "passkey": passkey}));
        let expected = Operation::PutUser {
            id: UserId(7),
            passkey: Passkey::new(passkey.as_bytes()).unwrap(),
            former_until: None,
            can_leech: true,
            hidden: false,
            enabled: true,
            group: None,
            new: false,
        };
        assert_eq!(put.unwrap(), expected);
        let hash = "ab".repeat(20);
        let put = Operation::read(json!({"op": "put_torrent", "info_hash": hash, "id": 3}));
        let expected = Operation::PutTorrent {
            info_hash: InfoHash([0xab; 20]),
            info_hash_v2: None,
            name: None,
            id: Some(TorrentId(3)),
            freeleech: Freeleech::None,
            upload_percent: 100,
        };
        assert_eq!(put.unwrap(), expected);
        let put = Operation::read(json!({"op": "put_torrent", "info_hash": hash, "name": "é"}));
        let name = Some("é".to_owned());
        assert!(
            matches!(put.unwrap(), Operation::PutTorrent { name: said, id: None, .. } if said == name)
        );
    }

    #[test]
    fn a_group_is_said_or_taken_away_or_left_alone() {
        let group = |value: Value| match Operation::read(value).unwrap() {
            Operation::PatchUser { group, .. } => group,
            other => panic!("{other:?}"),
        };
        let patch = |group: Value| json!({"op": "patch_user", "id": 7, "group": group});
        assert_eq!(group(json!({"op": "patch_user", "id": 7})), None);
        assert_eq!(group(patch(Value::Null)), Some(None));
        assert_eq!(group(patch(3.into())), Some(Some(GroupId(3))));
    }

    #[test]
    fn a_former_passkey_is_good_for_some_time_to_come() {
        let is_good = |until| check_former_until(Seconds(until), Seconds(1_000)).is_ok();
        assert!(is_good(1_001) && is_good(1_000 + FORMER_SECONDS_MAX));
        assert!(!is_good(0) && !is_good(1_000) && !is_good(1_001 + FORMER_SECONDS_MAX));
    }

    #[test]
    fn the_path_is_a_part_of_what_is_said() {
        let hash = "ab".repeat(20);
        let token = Operation::of(
            Call::PutToken,
            &["7".to_owned(), hash.clone()],
            "",
            json!({"expires_at": 9}),
        );
        let (user, info_hash) = (UserId(7), InfoHash([0xab; 20]));
        let expires_at = Some(Seconds(9));
        assert_eq!(token, Some(Ok(Operation::PutToken { user, info_hash, expires_at })));
        let removed = Operation::of(Call::RemoveTorrent, &[hash], "reason=Dupe%21", json!({}));
        let reason = "Dupe!".to_owned();
        assert_eq!(removed, Some(Ok(Operation::RemoveTorrent { info_hash, reason })));
        let put = |id: &str, body| {
            let put = Operation::of(Call::PatchUser, &[id.to_owned()], "", body);
            put.unwrap().unwrap_err().to_string()
        };
        assert!(put("7", json!({"id": 8})).contains("by the path"));
        assert!(put("x", json!({})).contains("\"x\""));
        assert!(put("7", json!([])).contains("object"));
        assert_eq!(Operation::of(Call::ShowUser, &[], "", json!({})), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let hash = "ab".repeat(20);
        wrong(json!({"op": "put_user", "id": 7}), "passkey");
        wrong(json!({"op": "put_user", "id": 7, "passkey": "short"}), "32 ASCII");
        wrong(json!({"op": "put_user", "id": -1, "passkey": "x"}), "-1");
        wrong(json!({"op": "patch_user", "id": 7, "can_leach": true}), "can_leach");
        wrong(json!({"op": "put_torrent", "info_hash": "xyz", "id": 1}), "40 hex digits");
        wrong(
            json!({"op": "put_torrent", "info_hash": hash, "id": 1, "freeleech": "half"}),
            "half",
        );
        wrong(json!({"op": "remove_torrent", "info_hash": hash, "reason": "a\nb"}), "one line");
        wrong(json!({"op": "remove_client_rule", "prefix": ""}), "1 to 20 bytes");
        wrong(json!({"op": "put_group", "id": 32_768, "name": "x"}), "0 to 32767");
        let long = "x".repeat(256);
        for name in ["a\nb", &long] {
            wrong(
                json!({"op": "put_torrent", "info_hash": hash, "name": name}),
                "at most 255 bytes",
            );
        }
        wrong(json!({"op": "put_group", "id": 1, "name": ""}), "1 to 255 bytes");
        wrong(json!({"op": "put_group", "id": 1, "name": "a\nb"}), "one line");
        wrong(
            json!({"op": "put_group", "id": 1, "name": "x", "downloads_max": 1_u64 << 31}),
            "0 to 2147483647",
        );
        wrong(json!({"op": "patch_user", "id": 7, "group": 40_000}), "0 to 32767");
        wrong(json!({"op": "patch_user", "id": 7, "former_until": 40_000}), "say the new passkey");
        wrong(json!({"op": "drop_tables"}), "drop_tables");
        wrong(json!([1, 2]), "op");
    }
}
