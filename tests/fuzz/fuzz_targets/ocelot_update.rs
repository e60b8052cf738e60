//! An update is what a slow reading of its parameters says, survives being written and read again, and
//! never prints a passkey.

#![no_main]

use libfuzzer_sys::fuzz_target;
use margay::wire::ocelot::Update;
use margay::wire::percent;
use shard::private::Freeleech;

fuzz_target!(|query: &[u8]| {
    let update = Update::parse(query);
    if let Update::DeleteTorrent { reason, .. } = &update {
        assert!(reason.text().is_some() || reason.0 == -1);
    }
    let printed = format!("{update:?}");
    if let Some(again) = written(&update) {
        assert_eq!(Update::parse(&again), update);
    }
    match &update {
        Update::AddUser { passkey, .. }
        | Update::UpdateUser { passkey, .. }
        | Update::RemoveUser { passkey }
        | Update::TraceUser { passkey, .. }
        | Update::ChangePasskey { new: passkey, .. } => {
            assert!(!printed.contains(passkey.reveal()));
        }
        Update::UpdateTorrents { info_hashes, .. } => assert!(!info_hashes.is_empty()),
        Update::RemoveUsers { passkeys } => assert!(!passkeys.is_empty()),
        _ => {}
    }
});

/// The update as a site writes it; `None` for what changes nothing.
fn written(update: &Update) -> Option<Vec<u8>> {
    let mut query = b"action=".to_vec();
    let text = |query: &mut Vec<u8>, text: String| query.extend_from_slice(text.as_bytes());
    let bytes = |query: &mut Vec<u8>, name: &str, bytes: &[u8]| {
        query.extend_from_slice(format!("&{name}=").as_bytes());
        percent::encode(bytes, query);
    };
    let free = |freeleech: &Freeleech| match freeleech {
        Freeleech::None => "&freetorrent=0",
        Freeleech::Free => "&freetorrent=1",
        Freeleech::Neutral => "",
    };
    match update {
        Update::AddTorrent { info_hash, id, freeleech } => {
            text(&mut query, format!("add_torrent&id={}{}", id.0, free(freeleech)));
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::UpdateTorrent { info_hash, freeleech } => {
            text(&mut query, format!("update_torrent{}", free(freeleech)));
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::UpdateTorrents { info_hashes, freeleech } => {
            text(&mut query, format!("update_torrents{}&info_hashes=", free(freeleech)));
            for info_hash in info_hashes {
                percent::encode(&info_hash.0, &mut query);
            }
        }
        Update::DeleteTorrent { info_hash, reason } => {
            text(&mut query, format!("delete_torrent&reason={}", reason.0));
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::AddToken { info_hash, user } => {
            text(&mut query, format!("add_token&userid={}", user.0));
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::RemoveToken { info_hash, user } => {
            text(&mut query, format!("remove_token&userid={}", user.0));
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::AddUser { passkey, id, hidden } => {
            let (key, visible) = (passkey.reveal(), u8::from(!hidden));
            text(&mut query, format!("add_user&passkey={key}&id={}&visible={visible}", id.0));
        }
        Update::UpdateUser { passkey, can_leech, hidden } => {
            text(&mut query, format!("update_user&passkey={}", passkey.reveal()));
            if let Some(can_leech) = can_leech {
                text(&mut query, format!("&can_leech={}", u8::from(*can_leech)));
            }
            if let Some(hidden) = hidden {
                text(&mut query, format!("&visible={}", u8::from(!hidden)));
            }
        }
        Update::RemoveUser { passkey } => {
            text(&mut query, format!("remove_user&passkey={}", passkey.reveal()));
        }
        Update::RemoveUsers { passkeys } => {
            let passkeys: String = passkeys.iter().map(|passkey| passkey.reveal()).collect();
            text(&mut query, format!("remove_users&passkeys={passkeys}"));
        }
        Update::ChangePasskey { old, new } => {
            let (old, new) = (old.reveal(), new.reveal());
            text(&mut query, format!("change_passkey&oldpasskey={old}&newpasskey={new}"));
        }
        Update::AddWhitelist { prefix } => {
            text(&mut query, "add_whitelist".to_owned());
            bytes(&mut query, "peer_id", prefix.bytes());
        }
        Update::RemoveWhitelist { prefix } => {
            text(&mut query, "remove_whitelist".to_owned());
            bytes(&mut query, "peer_id", prefix.bytes());
        }
        Update::EditWhitelist { old, new } => {
            text(&mut query, "edit_whitelist".to_owned());
            bytes(&mut query, "new_peer_id", new.bytes());
            if let Some(old) = old {
                bytes(&mut query, "old_peer_id", old.bytes());
            }
        }
        Update::UpdateAnnounceInterval { interval } => {
            let interval = interval.0;
            text(&mut query, format!("update_announce_interval&new_announce_interval={interval}"));
        }
        Update::UpdateAnnounceJitter { jitter } => {
            let jitter = jitter.0;
            text(&mut query, format!("update_announce_jitter&new_announce_jitter={jitter}"));
        }
        Update::InfoTorrent { info_hash } => {
            text(&mut query, "info_torrent".to_owned());
            bytes(&mut query, "info_hash", &info_hash.0);
        }
        Update::TraceUser { passkey, trace } => {
            let (key, trace) = (passkey.reveal(), u8::from(*trace));
            text(&mut query, format!("trace_user&passkey={key}&trace={trace}"));
        }
        Update::Malformed { .. } | Update::Unknown => return None,
    }
    Some(query)
}
