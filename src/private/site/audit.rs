//! What the site changes by Ocelot's interface and by SQL, noted as what the API changes is.
//!
//! Cores and the watch of the database hand it to a thread, which waits for the disk in their place and notes
//! together what has come meanwhile.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use persist::Trouble;
use serde_json::{Value, json};
use shard::private::{Change, Passkey, UserId};
use shard::{InfoHash, Seconds};

use crate::api::answer::freeleech;
use crate::api::audit::{Asker, Audit, Noted};
use crate::api::text::{escaped, hex};
use crate::wire::ocelot::Update;

static MISSED: Trouble = Trouble::new();

/// The thread, and the file that it writes.
#[derive(Debug)]
pub struct SiteAudit {
    audit: Arc<Audit>,
    work: Sender<Work>,
}

#[derive(Debug)]
enum Work {
    Note(Asker, Noted, Seconds),
    /// Says when all before it is noted.
    Flush(Sender<()>),
}

impl SiteAudit {
    /// Starts the thread, which writes files in `folder` that are kept for this time; it ends with this.
    pub fn start(folder: &Path, kept: Duration) -> io::Result<Self> {
        let (work, arriving) = bounded(WAITING_MAX);
        let audit = Arc::new(Audit::new(folder.to_owned(), kept));
        let shared = audit.clone();
        thread::Builder::new()
            .name("margay-audit".into())
            .spawn(move || note_all(&shared, &arriving))?;
        Ok(Self { audit, work })
    }

    /// Where it is noted.
    pub fn file(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// Notes a change, soon. Does not wait: what comes while too much waits already is missing, and
    /// the log says so.
    pub fn note(&self, who: &str, address: Option<IpAddr>, change: Noted, now: Seconds) {
        let asker = Asker { who: who.to_owned(), address };
        if self.work.try_send(Work::Note(asker, change, now)).is_err()
            && let Some(times) = MISSED.again("")
        {
            tracing::error!(
                who,
                times,
                "more is changed than can be noted in the audit file: is the disk slow?"
            );
        }
    }

    /// Waits until all is noted that was handed over before, or `patience` is over.
    pub fn flush(&self, patience: Duration) {
        let (done, hear) = bounded(1);
        if self.work.send_timeout(Work::Flush(done), patience).is_ok() {
            let _ = hear.recv_timeout(patience);
        }
    }
}

/// What of one asker has come until now goes into the file together.
fn note_all(audit: &Audit, arriving: &Receiver<Work>) {
    let mut next = arriving.recv().ok();
    while let Some(work) = next.take() {
        match work {
            Work::Flush(done) => _ = done.send(()),
            Work::Note(asker, first, now) => {
                let mut changes = vec![first];
                while let Ok(work) = arriving.try_recv() {
                    match work {
                        Work::Note(other, change, _)
                            if other == asker && changes.len() < TOGETHER =>
                        {
                            changes.push(change);
                        }
                        work => {
                            next = Some(work);
                            break;
                        }
                    }
                }
                audit.note(&asker, &changes, now);
            }
        }
        next = next.or_else(|| arriving.recv().ok());
    }
}

/// What the site says by Ocelot's interface, with the numbers of users in place of their passkeys; `None` for what
/// changes nothing.
pub fn of_update(update: &Update, user: impl Fn(&Passkey) -> Option<UserId>) -> Option<Value> {
    let id = |passkey: &Passkey| user(passkey).map(|user| user.0);
    let torrent = |op: &str, info_hash: &InfoHash| json!({"op": op, "info_hash": hex(info_hash)});
    let token = |op: &str, user: &UserId, info_hash: &InfoHash| json!({"op": op, "user": user.0, "info_hash": hex(info_hash)});
    Some(match update {
        Update::AddTorrent { info_hash, id, freeleech: free } => json!({
            "op": "add_torrent", "info_hash": hex(info_hash), "id": id.0, "freeleech": freeleech(*free),
        }),
        Update::UpdateTorrent { info_hash, freeleech: free } => json!({
            "op": "update_torrent", "info_hash": hex(info_hash), "freeleech": freeleech(*free),
        }),
        Update::UpdateTorrents { info_hashes, freeleech: free } => json!({
            "op": "update_torrents", "freeleech": freeleech(*free),
            "info_hashes": info_hashes.iter().map(hex).collect::<Vec<_>>(),
        }),
        Update::DeleteTorrent { info_hash, reason } => {
            let mut said = torrent("delete_torrent", info_hash);
            said["reason"] = reason.kept().into();
            said
        }
        Update::AddToken { info_hash, user } => token("add_token", user, info_hash),
        Update::RemoveToken { info_hash, user } => token("remove_token", user, info_hash),
        Update::AddUser { id, hidden, .. } => {
            json!({"op": "add_user", "id": id.0, "passkey": "(given)", "hidden": hidden})
        }
        Update::UpdateUser { passkey, can_leech, hidden } => json!({
            "op": "update_user", "id": id(passkey), "can_leech": can_leech, "hidden": hidden,
        }),
        Update::RemoveUser { passkey } => json!({"op": "remove_user", "id": id(passkey)}),
        Update::RemoveUsers { passkeys } => {
            json!({"op": "remove_users", "ids": passkeys.iter().map(id).collect::<Vec<_>>()})
        }
        Update::ChangePasskey { old, .. } => {
            json!({"op": "change_passkey", "id": id(old), "passkey": "(given)"})
        }
        Update::AddWhitelist { prefix } => {
            json!({"op": "add_whitelist", "prefix": escaped(prefix.bytes())})
        }
        Update::RemoveWhitelist { prefix } => {
            json!({"op": "remove_whitelist", "prefix": escaped(prefix.bytes())})
        }
        Update::EditWhitelist { old, new } => json!({
            "op": "edit_whitelist", "prefix": escaped(new.bytes()),
            "old": old.as_ref().map(|old| escaped(old.bytes())),
        }),
        Update::UpdateAnnounceInterval { interval } => {
            json!({"op": "update_announce_interval", "interval": interval.0})
        }
        Update::UpdateAnnounceJitter { jitter } => {
            json!({"op": "update_announce_jitter", "jitter": jitter.0})
        }
        Update::TraceUser { passkey, trace } => {
            json!({"op": "trace_user", "id": id(passkey), "trace": trace})
        }
        Update::InfoTorrent { .. } | Update::Malformed { .. } | Update::Unknown => return None,
    })
}

/// A row as it is after SQL has written it.
pub fn of_row(change: &Change) -> Value {
    match change {
        Change::User { id, can_leech, hidden, enabled, group, .. } => json!({
            "row": "users", "id": id.0, "can_leech": can_leech, "hidden": hidden, "enabled": enabled,
            "group": group.map(|group| group.0),
        }),
        Change::Former { user, good_until, .. } => json!({
            "row": "former_passkeys", "user": user.0, "good_until": good_until.0,
        }),
        Change::FormerRemoved { user } => {
            json!({"row": "former_passkeys", "user": user.0, "gone": true})
        }
        Change::Group { id, name, downloads_max } => json!({
            "row": "user_groups", "id": id.0, "name": name, "downloads_max": downloads_max,
        }),
        Change::GroupRemoved { id } => json!({"row": "user_groups", "id": id.0, "gone": true}),
        Change::Torrent { id, info_hash, info_hash_v2, freeleech: free, upload_percent } => json!({
            "row": "torrents", "id": id.0, "info_hash": hex(info_hash),
            "info_hash_v2": info_hash_v2.as_ref().map(hex), "freeleech": freeleech(*free),
            "upload_percent": upload_percent,
        }),
        Change::TorrentRemoved { id, info_hash, reason, .. } => json!({
            "row": "torrents", "id": id.0, "info_hash": hex(info_hash), "reason": reason, "gone": true,
        }),
        Change::Token { user, torrent, expires_at, .. } => json!({
            "row": "tokens", "user": user.0, "torrent": torrent.0,
            "expires_at": expires_at.map(|at| at.0),
        }),
        Change::TokenRemoved { user, torrent, .. } => {
            json!({"row": "tokens", "user": user.0, "torrent": torrent.0, "gone": true})
        }
        Change::ClientRule { prefix, allow } => {
            json!({"row": "client_rules", "prefix": escaped(prefix.bytes()), "allow": allow})
        }
        Change::ClientRuleRemoved { prefix } => {
            json!({"row": "client_rules", "prefix": escaped(prefix.bytes()), "gone": true})
        }
    }
}

/// Changes that may wait for the disk.
const WAITING_MAX: usize = 8192;

/// Changes that are noted together.
const TOGETHER: usize = 1024;
