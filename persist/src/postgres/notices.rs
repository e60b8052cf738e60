//! Notices of the database, and which rows they name.

use std::collections::BTreeSet;

use shard::InfoHash;
use shard::private::{ClientPrefix, GroupId, TorrentId, UserId};

/// What a burst of notices names.
#[derive(Default)]
pub(super) struct Notices {
    pub(super) count: usize,
    pub(super) reload: bool,
    pub(super) users: BTreeSet<UserId>,
    pub(super) formers: BTreeSet<UserId>,
    pub(super) groups: BTreeSet<GroupId>,
    pub(super) torrents: BTreeSet<(TorrentId, InfoHash)>,
    pub(super) tokens: BTreeSet<(UserId, TorrentId)>,
    pub(super) client_rules: BTreeSet<ClientPrefix>,
    /// Rows that cannot be, as the notices name them.
    pub(super) impossible: Vec<String>,
}

impl Notices {
    /// Anybody may send anything on the channel, and what is not understood is a reason to compare.
    pub(super) fn add(&mut self, payload: &str) {
        self.count += 1;
        self.reload |= self.understand(payload).is_none();
    }

    /// A row with a key that no user and no torrent has is none that was ever known.
    fn understand(&mut self, payload: &str) -> Option<()> {
        let mut words = payload.split(' ');
        let kind = words.next()?;
        let mut number = || words.next()?.parse::<i64>().ok();
        let id = |number: i64| u32::try_from(number).ok();
        let known = match kind {
            "users" => id(number()?).map(|id| self.users.insert(UserId(id))),
            "former_passkeys" => id(number()?).map(|id| self.formers.insert(UserId(id))),
            "user_groups" => {
                let group = u16::try_from(number()?).ok().map(GroupId);
                let group = group.filter(|group| *group <= GroupId::MAX);
                group.map(|group| self.groups.insert(group))
            }
            "torrents" => {
                let torrent = id(number()?).map(TorrentId);
                let hash = unhex(words.next()?)?.try_into().ok().map(InfoHash);
                torrent.zip(hash).map(|torrent| self.torrents.insert(torrent))
            }
            "tokens" => {
                let (user, torrent) = (id(number()?), id(number()?));
                let token = user.map(UserId).zip(torrent.map(TorrentId));
                token.map(|token| self.tokens.insert(token))
            }
            "client_rules" => {
                let prefix = ClientPrefix::new(&unhex(words.next()?)?);
                prefix.map(|prefix| self.client_rules.insert(prefix))
            }
            _ => return None,
        };
        let end = words.next().is_none().then_some(());
        if known.is_none() && end.is_some() {
            self.impossible.push(payload.to_owned());
        }
        end
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_a_reason_to_compare() {
        let mut notices = Notices::default();
        let hash = "00112233445566778899aabbccddeeff00112233";
        for payload in [
            "users 7",
            "users 7",
            &format!("torrents 4294967295 {hash}"),
            "tokens 1 2",
            "user_groups 32767",
            "former_passkeys 7",
            "client_rules 2d71",
        ] {
            notices.add(payload);
        }
        assert!(!notices.reload && notices.impossible.is_empty());
        assert_eq!((notices.count, notices.users.len(), notices.torrents.len()), (7, 1, 1));
        let wrong = [
            "",
            "reload",
            "users",
            "users x",
            "users 1 2",
            "users -1 2",
            "torrents 1",
            "torrents 1 0x",
            "tokens 1",
            "user_groups",
            "user_groups x",
            "former_passkeys",
            "client_rules",
            "client_rules zz",
            "client_rules é1",
        ];
        for payload in wrong {
            let mut notices = Notices::default();
            notices.add(payload);
            assert!(notices.reload && notices.impossible.is_empty(), "{payload}");
        }
    }

    /// A site that drops constraints and writes such rows again and again is not read in whole each time.
    #[test]
    fn rows_that_cannot_be_are_no_reason_to_compare() {
        let mut notices = Notices::default();
        let impossible = [
            "users 4294967296",
            "users -1",
            "torrents 1 00",
            "torrents -1 00112233445566778899aabbccddeeff00112233",
            "tokens 1 -2",
            "user_groups -1",
            "former_passkeys -1",
            "client_rules ",
        ];
        for payload in impossible {
            notices.add(payload);
        }
        assert!(!notices.reload);
        assert_eq!(notices.impossible, impossible);
    }
}
