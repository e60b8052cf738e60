//! A site's updates for its tracker: `/<site password>/update?action=…`.
//!
//! Infohashes are percent-encoded, everything else comes as it is; of a parameter given twice the last
//! counts. Whatever it says, and whether it makes sense or not, a site is answered `success`.

use shard::private::{ClientPrefix, Freeleech, Passkey, TorrentId, UserId};
use shard::{InfoHash, Seconds};

use super::{DeletionReason, last};
use crate::wire::percent;
use crate::wire::query::number;

/// An update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    /// `add_torrent`: a torrent is registered; of one that is there only `freeleech` changes.
    AddTorrent {
        /// Its name.
        info_hash: InfoHash,
        /// Its number at the site.
        id: TorrentId,
        /// Which transfers count.
        freeleech: Freeleech,
    },
    /// `update_torrent`: other transfers of a torrent count.
    UpdateTorrent {
        /// Its name.
        info_hash: InfoHash,
        /// Which transfers count.
        freeleech: Freeleech,
    },
    /// `update_torrents`: the same for many.
    UpdateTorrents {
        /// Their names; at least one.
        info_hashes: Vec<InfoHash>,
        /// Which transfers count.
        freeleech: Freeleech,
    },
    /// `delete_torrent`: a torrent is no longer registered.
    DeleteTorrent {
        /// Its name.
        info_hash: InfoHash,
        /// Why not.
        reason: DeletionReason,
    },
    /// `add_token`: what a user downloads of a torrent is free.
    AddToken {
        /// The torrent's name.
        info_hash: InfoHash,
        /// Who.
        user: UserId,
    },
    /// `remove_token`: it is not any more.
    RemoveToken {
        /// The torrent's name.
        info_hash: InfoHash,
        /// Who.
        user: UserId,
    },
    /// `add_user`: a user may announce, and download; one who was removed may again.
    AddUser {
        /// The new secret.
        passkey: Passkey,
        /// Who.
        id: UserId,
        /// The user's addresses are written nowhere.
        hidden: bool,
    },
    /// `update_user`: a user's rights. What is not said stays as it is, though Ocelot resets it: sites
    /// that take a right away say nothing else, and would show addresses that are hidden.
    UpdateUser {
        /// Who.
        passkey: Passkey,
        /// May download.
        can_leech: Option<bool>,
        /// The user's addresses are written nowhere.
        hidden: Option<bool>,
    },
    /// `remove_user`: a user may not announce any more.
    RemoveUser {
        /// Who.
        passkey: Passkey,
    },
    /// `remove_users`: the same for many.
    RemoveUsers {
        /// Who; at least one.
        passkeys: Vec<Passkey>,
    },
    /// `change_passkey`: a user has another secret.
    ChangePasskey {
        /// The old one.
        old: Passkey,
        /// The new one.
        new: Passkey,
    },
    /// `add_whitelist`: these clients are allowed.
    AddWhitelist {
        /// Which.
        prefix: ClientPrefix,
    },
    /// `remove_whitelist`: they have no rule any more.
    RemoveWhitelist {
        /// Which.
        prefix: ClientPrefix,
    },
    /// `edit_whitelist`: others are allowed in their place.
    EditWhitelist {
        /// Which not any more.
        old: Option<ClientPrefix>,
        /// Which.
        new: ClientPrefix,
    },
    /// `update_announce_interval`.
    UpdateAnnounceInterval {
        /// The new one, more than 0.
        interval: Seconds,
    },
    /// `update_announce_jitter` (Orpheus).
    UpdateAnnounceJitter {
        /// The new one.
        jitter: Seconds,
    },
    /// `info_torrent`: what is known of a torrent; see [`super::write_info_torrent`].
    InfoTorrent {
        /// Its name.
        info_hash: InfoHash,
    },
    /// `trace_user` (Orpheus): a user's announces are to be logged, or not any more.
    TraceUser {
        /// Who.
        passkey: Passkey,
        /// Logged.
        trace: bool,
    },
    /// An action whose parameter is missing or wrong; changes nothing.
    Malformed {
        /// Which one.
        parameter: &'static str,
    },
    /// An action that nobody knows, or none; changes nothing.
    Unknown,
}

impl Update {
    /// Reads the query of an update, without the `?`.
    pub fn parse(query: &[u8]) -> Self {
        let parameters = Parameters { query };
        parameters.update().unwrap_or_else(|parameter| Update::Malformed { parameter })
    }
}

/// The parameters of an update. Reading one that is missing or wrong gives its name as the error.
#[derive(Clone, Copy)]
struct Parameters<'q> {
    query: &'q [u8],
}

impl Parameters<'_> {
    fn update(self) -> Result<Update, &'static str> {
        Ok(match self.value("action").unwrap_or_default() {
            b"add_torrent" => Update::AddTorrent {
                info_hash: self.info_hash()?,
                id: TorrentId(self.number("id")?),
                freeleech: self.freeleech(),
            },
            b"update_torrent" => {
                Update::UpdateTorrent { info_hash: self.info_hash()?, freeleech: self.freeleech() }
            }
            b"update_torrents" => Update::UpdateTorrents {
                info_hashes: self.info_hashes()?,
                freeleech: self.freeleech(),
            },
            b"delete_torrent" => {
                Update::DeleteTorrent { info_hash: self.info_hash()?, reason: self.reason() }
            }
            b"add_token" => Update::AddToken {
                info_hash: self.info_hash()?,
                user: UserId(self.number("userid")?),
            },
            b"remove_token" => Update::RemoveToken {
                info_hash: self.info_hash()?,
                user: UserId(self.number("userid")?),
            },
            b"add_user" => Update::AddUser {
                passkey: self.passkey("passkey")?,
                id: UserId(self.number("id")?),
                hidden: self.hidden().unwrap_or(false),
            },
            b"update_user" => Update::UpdateUser {
                passkey: self.passkey("passkey")?,
                can_leech: self.value("can_leech").map(|value| value != b"0"),
                hidden: self.hidden(),
            },
            b"remove_user" => Update::RemoveUser { passkey: self.passkey("passkey")? },
            b"remove_users" => Update::RemoveUsers { passkeys: self.passkeys()? },
            b"change_passkey" => Update::ChangePasskey {
                old: self.passkey("oldpasskey")?,
                new: self.passkey("newpasskey")?,
            },
            b"add_whitelist" => Update::AddWhitelist { prefix: self.prefix("peer_id")? },
            b"remove_whitelist" => Update::RemoveWhitelist { prefix: self.prefix("peer_id")? },
            b"edit_whitelist" => Update::EditWhitelist {
                old: self.prefix("old_peer_id").ok(),
                new: self.prefix("new_peer_id")?,
            },
            b"update_announce_interval" => match self.number("new_announce_interval")? {
                0 => return Err("new_announce_interval"),
                seconds => Update::UpdateAnnounceInterval { interval: Seconds(seconds) },
            },
            b"update_announce_jitter" => Update::UpdateAnnounceJitter {
                jitter: Seconds(self.number("new_announce_jitter")?),
            },
            b"info_torrent" => Update::InfoTorrent { info_hash: self.info_hash()? },
            b"trace_user" => Update::TraceUser {
                passkey: self.passkey("passkey")?,
                trace: self.value("trace") == Some(b"1"),
            },
            _ => Update::Unknown,
        })
    }

    fn value(&self, name: &str) -> Option<&[u8]> {
        last(self.query, name.as_bytes())
    }

    fn info_hash(&self) -> Result<InfoHash, &'static str> {
        let decoded = self.value("info_hash").and_then(percent::decode_exact);
        decoded.map(InfoHash).ok_or("info_hash")
    }

    /// Many infohashes, one behind the other. What is cut off at the end is left out, so that the
    /// others are not lost.
    fn info_hashes(&self) -> Result<Vec<InfoHash>, &'static str> {
        let decoded: Vec<u8> = percent::decoded(self.value("info_hashes").unwrap_or(b"")).collect();
        let hashes: Vec<_> = decoded.as_chunks::<20>().0.iter().copied().map(InfoHash).collect();
        if hashes.is_empty() { Err("info_hashes") } else { Ok(hashes) }
    }

    /// `0` is none, `1` is free, everything else, even nothing, is neutral.
    fn freeleech(&self) -> Freeleech {
        match self.value("freetorrent") {
            Some(b"0") => Freeleech::None,
            Some(b"1") => Freeleech::Free,
            _ => Freeleech::Neutral,
        }
    }

    fn reason(&self) -> DeletionReason {
        let number = self.value("reason").and_then(|raw| str::from_utf8(raw).ok()?.parse().ok());
        number.map_or(DeletionReason::NONE, DeletionReason)
    }

    fn number(&self, name: &'static str) -> Result<u32, &'static str> {
        let number = self.value(name).and_then(number);
        number.and_then(|number| u32::try_from(number).ok()).ok_or(name)
    }

    fn passkey(&self, name: &'static str) -> Result<Passkey, &'static str> {
        Passkey::new(self.value(name).unwrap_or(b"")).map_err(|_| name)
    }

    /// Many passkeys, one behind the other. Those that are none are left out, so that the others are
    /// not spared.
    fn passkeys(&self) -> Result<Vec<Passkey>, &'static str> {
        let keys = self.value("passkeys").unwrap_or(b"").chunks(Passkey::BYTES);
        let keys: Vec<_> = keys.filter_map(|key| Passkey::new(key).ok()).collect();
        if keys.is_empty() { Err("passkeys") } else { Ok(keys) }
    }

    fn hidden(&self) -> Option<bool> {
        self.value("visible").map(|value| value == b"0")
    }

    fn prefix(&self, name: &'static str) -> Result<ClientPrefix, &'static str> {
        let mut buffer = [0; 20];
        let decoded = percent::decode(self.value(name).unwrap_or(b""), &mut buffer);
        decoded.and_then(ClientPrefix::new).ok_or(name)
    }
}

#[cfg(test)]
mod tests;
