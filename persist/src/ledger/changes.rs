//! What the site did, as rows.

use std::collections::{BTreeMap, HashSet};

use shard::InfoHash;
use shard::private::{Change, Freeleech, GroupId, Passkey};

use super::isolate;
use super::json::{freeleech_text, hex};
use super::write::{Fault, NO_DATA, Session};
use crate::journal::{Columns, Said};

/// The number of a torrent and its infohash.
type TorrentName = (u32, [u8; 20]);

/// What the site said, with the number of its record.
type Numbered<'a> = (u64, &'a Said);

impl Session<'_> {
    /// Writes what was said of one kind. Of several words about one thing the last counts: column by column
    /// where there are columns.
    pub(super) fn apply_changes(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        match changes.first().map(|(_, said)| &said.change) {
            None => Ok(()),
            Some(Change::User { .. }) => self.users(changes),
            Some(Change::Former { .. } | Change::FormerRemoved { .. }) => self.formers(changes),
            Some(Change::Group { .. }) => self.groups(changes),
            Some(Change::GroupRemoved { .. }) => self.groups_removed(changes),
            Some(Change::Torrent { .. }) => self.torrents(changes),
            Some(Change::TorrentRemoved { .. }) => self.torrents_removed(changes),
            Some(Change::Token { .. }) => self.tokens(changes),
            Some(Change::TokenRemoved { .. }) => self.tokens_removed(changes),
            Some(Change::ClientRule { .. }) => self.client_rules(changes),
            Some(Change::ClientRuleRemoved { .. }) => self.client_rules_removed(changes),
        }
    }

    fn users(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows: Vec<(u32, UserWords)> = together(changes, |said| match said.change {
            Change::User { id, .. } => Some(id.0),
            _ => None,
        });
        let ids: Vec<i64> = rows.iter().map(|(id, _)| i64::from(*id)).collect();
        let statements = self.statements;
        let there = self.transaction.query(
            &statements.user,
            &[
                &ids,
                &column(&rows, |words| words.passkey_text()),
                &column(&rows, |words| words.can_leech.value),
                &column(&rows, |words| words.hidden.value),
                &column(&rows, |words| words.enabled.value),
                &column(&rows, |words| group_number(words.group.value)),
                &column(&rows, |words| words.passkey.at),
                &column(&rows, |words| words.can_leech.at),
                &column(&rows, |words| words.hidden.at),
                &column(&rows, |words| words.enabled.at),
                &column(&rows, |words| words.group.at),
            ],
        )?;
        let later = there.iter().filter(|row| row.get(1));
        self.said_later(later.map(|row| format!("users {}", row.get::<_, i64>(0))).collect())?;
        let there: HashSet<i64> = there.iter().map(|row| row.get(0)).collect();
        let (mut new, mut gone) = (Vec::new(), HashSet::new());
        for (id, words) in rows.iter().filter(|(id, _)| !there.contains(&i64::from(*id))) {
            match words.makes {
                true => new.push((*id, *words)),
                false => _ = gone.insert(*id),
            }
        }
        self.new_users(&new)?;
        let hidden =
            rows.iter().filter(|(_, words)| words.hidden.at.is_some() && words.hidden.value);
        let hidden: Vec<i64> = hidden.map(|(id, _)| i64::from(*id)).collect();
        if !hidden.is_empty() {
            self.transaction.execute(&statements.user_hidden, &[&hidden])?;
        }
        self.too_late(
            changes,
            "the user is not there any more",
            |change| matches!(change, Change::User { id, .. } if gone.contains(&id.0)),
        )
    }

    fn new_users(&mut self, new: &[(u32, UserWords)]) -> Result<(), Fault> {
        if new.is_empty() {
            return Ok(());
        }
        let ids: Vec<i64> = new.iter().map(|(id, _)| i64::from(*id)).collect();
        self.transaction.execute(
            &self.statements.user_new,
            &[
                &ids,
                &column(new, |words| words.passkey_text()),
                &column(new, |words| words.can_leech.value),
                &column(new, |words| words.hidden.value),
                &column(new, |words| words.enabled.value),
                &column(new, |words| group_number(words.group.value)),
            ],
        )?;
        Ok(())
    }

    /// Gives notice of rows of which SQL said something later than the tracker.
    fn said_later(&mut self, names: Vec<String>) -> Result<(), Fault> {
        if !names.is_empty() {
            self.transaction.execute(&self.statements.said_later, &[&names])?;
        }
        Ok(())
    }

    /// Keeps in the table `rejected` what was said of rows that are gone.
    fn too_late(
        &mut self,
        changes: &[Numbered<'_>],
        why: &str,
        is_gone: impl Fn(&Change) -> bool,
    ) -> Result<(), Fault> {
        for (number, said) in changes.iter().filter(|(_, said)| is_gone(&said.change)) {
            isolate::reject(self, *number, said, NO_DATA, why)?;
        }
        Ok(())
    }

    /// What was said of the former passkeys of users, whose rows are written by now.
    pub(super) fn formers(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::Former { user, passkey, good_until } => {
                Some((user.0, Some((passkey.reveal(), i64::from(good_until.0)))))
            }
            Change::FormerRemoved { user } => Some((user.0, None)),
            _ => None,
        });
        let users: Vec<i64> = rows.iter().map(|(user, _)| i64::from(*user)).collect();
        let there: Vec<(i64, &str, i64)> = rows
            .iter()
            .filter_map(|(user, row)| {
                row.map(|(passkey, until)| (i64::from(*user), passkey, until))
            })
            .collect();
        let passkeys: Vec<&str> = there.iter().map(|row| row.1).collect();
        self.transaction.execute(&self.statements.former_removed, &[&users, &passkeys])?;
        if there.is_empty() {
            return Ok(());
        }
        let whose: Vec<i64> = there.iter().map(|row| row.0).collect();
        let until: Vec<i64> = there.iter().map(|row| row.2).collect();
        let written =
            self.transaction.query(&self.statements.former, &[&whose, &passkeys, &until])?;
        let written: HashSet<i64> = written.iter().map(|row| row.get(0)).collect();
        self.too_late(changes, "the user is not there any more", |change| match change {
            Change::Former { user, .. } => {
                whose.contains(&user.0.into()) && !written.contains(&user.0.into())
            }
            _ => false,
        })
    }

    fn groups(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::Group { id, name, downloads_max } => {
                let most = downloads_max.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
                Some((id.0.cast_signed(), (name.as_str(), most)))
            }
            _ => None,
        });
        let ids: Vec<i16> = rows.iter().map(|(id, _)| *id).collect();
        let names: Vec<&str> = rows.iter().map(|(_, row)| row.0).collect();
        let downloads_max: Vec<Option<i32>> = rows.iter().map(|(_, row)| row.1).collect();
        self.transaction.execute(&self.statements.group, &[&ids, &names, &downloads_max])?;
        Ok(())
    }

    fn groups_removed(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::GroupRemoved { id } => Some((id.0.cast_signed(), ())),
            _ => None,
        });
        let ids: Vec<i16> = rows.into_iter().map(|(id, ())| id).collect();
        self.transaction.execute(&self.statements.group_removed, &[&ids])?;
        Ok(())
    }

    fn torrents(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        // In the order of the infohashes, which is some order.
        let rows: Vec<(TorrentName, TorrentWords)> = together(changes, |said| match said.change {
            Change::Torrent { id, info_hash, .. } => Some((id.0, info_hash.0)),
            _ => None,
        });
        let there = self.transaction.query(
            &self.statements.torrent,
            &[
                &torrent_numbers(&rows),
                &torrent_names(&rows),
                &column(&rows, |words| words.freeleech.value),
                &column(&rows, |words| i32::from(words.upload_percent.value)),
                &column(&rows, |words| words.second_name()),
                &column(&rows, |words| words.freeleech.at),
                &column(&rows, |words| words.upload_percent.at),
                &column(&rows, |words| words.second.at),
            ],
        )?;
        let later = there
            .iter()
            .filter(|row| row.get(1))
            .map(|row| format!("torrents {} {}", row.get::<_, i64>(2), hex(row.get(0))));
        self.said_later(later.collect())?;
        let there: HashSet<Vec<u8>> = there.iter().map(|row| row.get(0)).collect();
        let missing = rows.iter().filter(|((_, hash), _)| !there.contains(&hash[..]));
        let new: Vec<_> = missing.clone().filter(|(_, words)| words.makes).copied().collect();
        let made = self.new_torrents(&new)?;
        let missing = missing.map(|(name, _)| *name);
        let gone: HashSet<_> = missing.filter(|(_, hash)| !made.contains(&hash[..])).collect();
        let why = "the torrent is not there any more, or its number is another one's";
        self.too_late(changes, why, |change| match change {
            Change::Torrent { id, info_hash, .. } => gone.contains(&(id.0, info_hash.0)),
            _ => false,
        })
    }

    /// The infohashes of those that there are now: a number may be another one's.
    fn new_torrents(
        &mut self,
        new: &[(TorrentName, TorrentWords)],
    ) -> Result<HashSet<Vec<u8>>, Fault> {
        if new.is_empty() {
            return Ok(HashSet::new());
        }
        let hashes = torrent_names(new);
        let made = self.transaction.query(
            &self.statements.torrent_new,
            &[
                &torrent_numbers(new),
                &hashes,
                &column(new, |words| words.freeleech.value),
                &column(new, |words| i32::from(words.upload_percent.value)),
                &column(new, |words| words.second_name()),
            ],
        )?;
        self.transaction.execute(&self.statements.torrent_again, &[&hashes])?;
        Ok(made.iter().map(|row| row.get(0)).collect())
    }

    fn torrents_removed(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::TorrentRemoved { id, info_hash, reason, at } => {
                Some((info_hash.0, (i64::from(id.0), reason.as_str(), i64::from(at.0))))
            }
            _ => None,
        });
        let hashes: Vec<&[u8]> = rows.iter().map(|(hash, _)| &hash[..]).collect();
        let ids: Vec<i64> = rows.iter().map(|(_, row)| row.0).collect();
        let reasons: Vec<&str> = rows.iter().map(|(_, row)| row.1).collect();
        let ats: Vec<i64> = rows.iter().map(|(_, row)| row.2).collect();
        let statements = self.statements;
        let transaction = &mut self.transaction;
        transaction.execute(&statements.torrent_reasons, &[&ids, &hashes, &reasons, &ats])?;
        transaction.execute(&statements.torrent_removed, &[&ids, &hashes])?;
        transaction.execute(&statements.torrent_tokens, &[&ids])?;
        transaction.execute(&statements.torrent_peers, &[&ids])?;
        Ok(())
    }

    fn tokens(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::Token { user, torrent, expires_at, .. } => {
                Some(((user.0, torrent.0), expires_at.map(|at| i64::from(at.0))))
            }
            _ => None,
        });
        let users: Vec<i64> = rows.iter().map(|((user, _), _)| i64::from(*user)).collect();
        let torrents: Vec<i64> = rows.iter().map(|((_, torrent), _)| i64::from(*torrent)).collect();
        let expire: Vec<Option<i64>> = rows.iter().map(|(_, at)| *at).collect();
        self.transaction.execute(&self.statements.token, &[&users, &torrents, &expire])?;
        Ok(())
    }

    fn tokens_removed(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::TokenRemoved { user, torrent, .. } => Some(((user.0, torrent.0), ())),
            _ => None,
        });
        let users: Vec<i64> = rows.iter().map(|((user, _), ())| i64::from(*user)).collect();
        let torrents: Vec<i64> =
            rows.iter().map(|((_, torrent), ())| i64::from(*torrent)).collect();
        self.transaction.execute(&self.statements.token_removed, &[&users, &torrents])?;
        Ok(())
    }

    fn client_rules(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::ClientRule { prefix, allow } => Some((prefix.bytes(), *allow)),
            _ => None,
        });
        let (prefixes, allow): (Vec<&[u8]>, Vec<bool>) = rows.into_iter().unzip();
        self.transaction.execute(&self.statements.client_rule, &[&prefixes, &allow])?;
        Ok(())
    }

    fn client_rules_removed(&mut self, changes: &[Numbered<'_>]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::ClientRuleRemoved { prefix } => Some((prefix.bytes(), ())),
            _ => None,
        });
        let prefixes: Vec<&[u8]> = rows.into_iter().map(|(prefix, ())| prefix).collect();
        self.transaction.execute(&self.statements.client_rule_removed, &[&prefixes])?;
        Ok(())
    }
}

/// A column of a row: what was said of it last, and when; not said at all, it is as the tracker knew it.
#[derive(Clone, Copy, Default)]
struct Word<T> {
    value: T,
    /// In milliseconds since 1970.
    at: Option<i64>,
}

impl<T> Word<T> {
    fn hear(&mut self, said: &Said, column: Columns, value: T) {
        if said.columns.has(column) {
            let at = i64::try_from(said.at.millis).unwrap_or(i64::MAX);
            *self = Self { value, at: Some(at) };
        } else if self.at.is_none() {
            self.value = value;
        }
    }
}

/// What was said of one row, taken together.
trait Words: Default {
    /// In the order in which it was said.
    fn hear(&mut self, said: &Said);
}

#[derive(Clone, Copy, Default)]
struct UserWords {
    makes: bool,
    passkey: Word<Option<Passkey>>,
    can_leech: Word<bool>,
    hidden: Word<bool>,
    enabled: Word<bool>,
    group: Word<Option<GroupId>>,
}

impl UserWords {
    fn passkey_text(&self) -> &str {
        self.passkey.value.as_ref().map_or("", |passkey| passkey.reveal())
    }
}

impl Words for UserWords {
    fn hear(&mut self, said: &Said) {
        let Change::User { passkey, can_leech, hidden, enabled, group, .. } = said.change else {
            return;
        };
        self.makes |= said.columns.has(Columns::MAKES);
        self.passkey.hear(said, Columns::PASSKEY, Some(passkey));
        self.can_leech.hear(said, Columns::CAN_LEECH, can_leech);
        self.hidden.hear(said, Columns::HIDDEN, hidden);
        self.enabled.hear(said, Columns::ENABLED, enabled);
        self.group.hear(said, Columns::GROUP, group);
    }
}

#[derive(Clone, Copy)]
struct TorrentWords {
    makes: bool,
    freeleech: Word<&'static str>,
    upload_percent: Word<u16>,
    /// Its second name.
    second: Word<Option<InfoHash>>,
}

impl Default for TorrentWords {
    fn default() -> Self {
        let freeleech = Word { value: freeleech_text(Freeleech::None), at: None };
        let upload_percent = Word { value: 100, at: None };
        Self { makes: false, freeleech, upload_percent, second: Word::default() }
    }
}

impl TorrentWords {
    fn second_name(&self) -> Option<&[u8]> {
        self.second.value.as_ref().map(|second| &second.0[..])
    }
}

impl Words for TorrentWords {
    fn hear(&mut self, said: &Said) {
        let Change::Torrent { info_hash_v2, freeleech, upload_percent, .. } = said.change else {
            return;
        };
        self.makes |= said.columns.has(Columns::MAKES);
        self.freeleech.hear(said, Columns::FREELEECH, freeleech_text(freeleech));
        self.upload_percent.hear(said, Columns::UPLOAD_PERCENT, upload_percent);
        self.second.hear(said, Columns::INFO_HASH_V2, info_hash_v2);
    }
}

/// One value of each row.
fn column<'a, K, W, T>(rows: &'a [(K, W)], value: impl Fn(&'a W) -> T) -> Vec<T> {
    rows.iter().map(|(_, words)| value(words)).collect()
}

fn torrent_numbers(rows: &[(TorrentName, TorrentWords)]) -> Vec<i64> {
    rows.iter().map(|((id, _), _)| i64::from(*id)).collect()
}

fn torrent_names(rows: &[(TorrentName, TorrentWords)]) -> Vec<&[u8]> {
    rows.iter().map(|((_, hash), _)| &hash[..]).collect()
}

fn group_number(group: Option<GroupId>) -> Option<i16> {
    group.map(|group| group.0.cast_signed())
}

/// What was said of each row, in the order of the keys: a statement may touch a row only once.
fn together<K: Ord, W: Words>(
    changes: &[Numbered<'_>],
    key: impl Fn(&Said) -> Option<K>,
) -> Vec<(K, W)> {
    let mut rows: BTreeMap<K, W> = BTreeMap::new();
    for (_, said) in changes {
        if let Some(key) = key(said) {
            rows.entry(key).or_default().hear(said);
        }
    }
    rows.into_iter().collect()
}

/// The last word about each key, in the order of the keys.
fn last_of_each<'a, K: Ord, R>(
    changes: &[Numbered<'a>],
    row: impl Fn(&'a Change) -> Option<(K, R)>,
) -> Vec<(K, R)> {
    let last: BTreeMap<K, R> = changes.iter().filter_map(|(_, said)| row(&said.change)).collect();
    last.into_iter().collect()
}
