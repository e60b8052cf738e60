//! What the site did, as rows.

use std::collections::HashMap;
use std::hash::Hash;

use shard::private::Change;

use super::json::freeleech_text;
use super::write::{Fault, Session};

impl Session<'_> {
    /// Writes changes of one kind. Where several are about one thing, the last is what counts.
    pub(super) fn apply_changes(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        match changes.first() {
            None => Ok(()),
            Some(Change::User { .. }) => self.users(changes),
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

    fn users(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::User { id, passkey, can_leech, hidden, enabled, group } => {
                let group = group.map(|group| group.0.cast_signed());
                Some((id.0, (passkey, *can_leech, *hidden, *enabled, group)))
            }
            _ => None,
        });
        let ids: Vec<i64> = rows.iter().map(|(id, _)| i64::from(*id)).collect();
        let passkeys: Vec<&str> = rows.iter().map(|(_, row)| row.0.reveal()).collect();
        let can_leech: Vec<bool> = rows.iter().map(|(_, row)| row.1).collect();
        let hidden: Vec<bool> = rows.iter().map(|(_, row)| row.2).collect();
        let enabled: Vec<bool> = rows.iter().map(|(_, row)| row.3).collect();
        let groups: Vec<Option<i16>> = rows.iter().map(|(_, row)| row.4).collect();
        let statements = self.statements;
        self.transaction.execute(
            &statements.user,
            &[&ids, &passkeys, &can_leech, &hidden, &enabled, &groups],
        )?;
        let hidden: Vec<i64> =
            rows.iter().filter(|(_, row)| row.2).map(|(id, _)| i64::from(*id)).collect();
        if !hidden.is_empty() {
            self.transaction.execute(&statements.user_hidden, &[&hidden])?;
        }
        Ok(())
    }

    fn groups(&mut self, changes: &[&Change]) -> Result<(), Fault> {
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

    fn groups_removed(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::GroupRemoved { id } => Some((id.0.cast_signed(), ())),
            _ => None,
        });
        let ids: Vec<i16> = rows.into_iter().map(|(id, ())| id).collect();
        self.transaction.execute(&self.statements.group_removed, &[&ids])?;
        Ok(())
    }

    fn torrents(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::Torrent { id, info_hash, freeleech, upload_percent } => {
                Some((id.0, (&info_hash.0[..], freeleech_text(*freeleech), *upload_percent)))
            }
            _ => None,
        });
        let ids: Vec<i64> = rows.iter().map(|(id, _)| i64::from(*id)).collect();
        let hashes: Vec<&[u8]> = rows.iter().map(|(_, row)| row.0).collect();
        let freeleech: Vec<&str> = rows.iter().map(|(_, row)| row.1).collect();
        let percents: Vec<i32> = rows.iter().map(|(_, row)| i32::from(row.2)).collect();
        let statements = self.statements;
        self.transaction.execute(&statements.torrent, &[&ids, &hashes, &freeleech, &percents])?;
        self.transaction.execute(&statements.torrent_again, &[&hashes])?;
        Ok(())
    }

    fn torrents_removed(&mut self, changes: &[&Change]) -> Result<(), Fault> {
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

    fn tokens(&mut self, changes: &[&Change]) -> Result<(), Fault> {
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

    fn tokens_removed(&mut self, changes: &[&Change]) -> Result<(), Fault> {
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

    fn client_rules(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::ClientRule { prefix, allow } => Some((prefix.bytes(), *allow)),
            _ => None,
        });
        let (prefixes, allow): (Vec<&[u8]>, Vec<bool>) = rows.into_iter().unzip();
        self.transaction.execute(&self.statements.client_rule, &[&prefixes, &allow])?;
        Ok(())
    }

    fn client_rules_removed(&mut self, changes: &[&Change]) -> Result<(), Fault> {
        let rows = last_of_each(changes, |change| match change {
            Change::ClientRuleRemoved { prefix } => Some((prefix.bytes(), ())),
            _ => None,
        });
        let prefixes: Vec<&[u8]> = rows.into_iter().map(|(prefix, ())| prefix).collect();
        self.transaction.execute(&self.statements.client_rule_removed, &[&prefixes])?;
        Ok(())
    }
}

/// The last change of each key, in the order of the keys: a statement may touch a row only once.
fn last_of_each<'a, K: Ord + Copy + Hash, R>(
    changes: &[&'a Change],
    row: impl Fn(&'a Change) -> Option<(K, R)>,
) -> Vec<(K, R)> {
    let last: HashMap<K, R> = changes.iter().filter_map(|change| row(change)).collect();
    let mut rows: Vec<(K, R)> = last.into_iter().collect();
    rows.sort_unstable_by_key(|(key, _)| *key);
    rows
}
