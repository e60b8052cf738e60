use super::*;

const HASH: &str = "%124Vx%9a%bc%DE%F1%23Eg%89%AB%CD%EF%124Vx%9A";
const BYTES: InfoHash = InfoHash(*b"\x124Vx\x9a\xbc\xde\xf1#Eg\x89\xab\xcd\xef\x124Vx\x9a");
const ANN: &str = "0123456789abcdefghijklmnopqrstuv";
const BOB: &str = "vutsrqponmlkjihgfedcba9876543210";

fn key(text: &str) -> Passkey {
    Passkey::new(text.as_bytes()).unwrap()
}

fn client(text: &str) -> ClientPrefix {
    ClientPrefix::new(text.as_bytes()).unwrap()
}

#[track_caller]
fn check(query: &str, update: Update) {
    assert_eq!(Update::parse(query.as_bytes()), update, "{query}");
}

#[track_caller]
fn check_malformed(query: &str, parameter: &'static str) {
    check(query, Update::Malformed { parameter });
}

#[test]
fn ocelot_5_add_torrent() {
    for (value, freeleech) in [
        ("&freetorrent=0", Freeleech::None),
        ("&freetorrent=1", Freeleech::Free),
        ("&freetorrent=2", Freeleech::Neutral),
        ("&freetorrent=x", Freeleech::Neutral),
        ("&freetorrent=", Freeleech::Neutral),
        ("", Freeleech::Neutral),
    ] {
        check(
            &format!("action=add_torrent&info_hash={HASH}&id=4294967295{value}"),
            Update::AddTorrent { info_hash: BYTES, id: TorrentId(u32::MAX), freeleech },
        );
    }
    check_malformed(&format!("action=add_torrent&info_hash={HASH}&freetorrent=0"), "id");
    check_malformed(&format!("action=add_torrent&info_hash={HASH}&id=4294967296"), "id");
    check_malformed(&format!("action=add_torrent&info_hash={HASH}&id=-1"), "id");
    check_malformed("action=add_torrent&id=1&freetorrent=0", "info_hash");
    check_malformed("action=add_torrent&info_hash=short&id=1", "info_hash");
}

#[test]
fn ocelot_5_update_torrent() {
    check(
        &format!("action=update_torrent&info_hash={HASH}&freetorrent=1"),
        Update::UpdateTorrent { info_hash: BYTES, freeleech: Freeleech::Free },
    );
    check_malformed("action=update_torrent&freetorrent=1", "info_hash");
}

#[test]
fn ocelot_5_update_torrents_takes_hashes_one_behind_the_other() {
    let second = "b".repeat(20);
    check(
        &format!("action=update_torrents&info_hashes={HASH}{second}{HASH}&freetorrent=2"),
        Update::UpdateTorrents {
            info_hashes: vec![BYTES, InfoHash([b'b'; 20]), BYTES],
            freeleech: Freeleech::Neutral,
        },
    );
    for wrong in ["", "&info_hashes", "&info_hashes=", "&info_hashes=short"] {
        check_malformed(&format!("action=update_torrents{wrong}"), "info_hashes");
    }
    check(
        &format!("action=update_torrents&info_hashes={HASH}cut&freetorrent=0"),
        Update::UpdateTorrents { info_hashes: vec![BYTES], freeleech: Freeleech::None },
    );

    let many = format!("action=update_torrents&freetorrent=0&info_hashes={}", HASH.repeat(1400));
    let Update::UpdateTorrents { info_hashes, .. } = Update::parse(many.as_bytes()) else {
        panic!("no update");
    };
    assert_eq!(info_hashes, vec![BYTES; 1400]);
}

#[test]
fn ocelot_5_delete_torrent() {
    for (value, reason) in [
        ("", -1),
        ("&reason=", -1),
        ("&reason=-1", -1),
        ("&reason=x", -1),
        ("&reason=0", 0),
        ("&reason=22", 22),
        ("&reason=23", 23),
    ] {
        check(
            &format!("action=delete_torrent&info_hash={HASH}&id=7{value}"),
            Update::DeleteTorrent { info_hash: BYTES, reason: DeletionReason(reason) },
        );
    }
    check_malformed("action=delete_torrent&id=7&reason=1", "info_hash");
}

#[test]
fn ocelot_5_add_token_and_remove_token() {
    let (info_hash, user) = (BYTES, UserId(30));
    check(
        &format!("action=add_token&info_hash={HASH}&userid=30"),
        Update::AddToken { info_hash, user },
    );
    check(
        &format!("action=remove_token&info_hash={HASH}&userid=30"),
        Update::RemoveToken { info_hash, user },
    );
    for action in ["add_token", "remove_token"] {
        check_malformed(&format!("action={action}&info_hash={HASH}"), "userid");
        check_malformed(&format!("action={action}&userid=30"), "info_hash");
    }
}

#[test]
fn ocelot_5_add_user() {
    for (value, hidden) in
        [("", false), ("&visible=1", false), ("&visible=0", true), ("&visible=x", false)]
    {
        check(
            &format!("action=add_user&passkey={ANN}&id=30{value}"),
            Update::AddUser { passkey: key(ANN), id: UserId(30), hidden },
        );
    }
    check_malformed(&format!("action=add_user&passkey={ANN}"), "id");
    check_malformed("action=add_user&passkey=short&id=30", "passkey");
    check_malformed("action=add_user&id=30", "passkey");
}

#[test]
fn ocelot_5_update_user_changes_only_what_is_said() {
    for (said, can_leech, hidden) in [
        ("", None, None),
        ("&can_leech=0", Some(false), None),
        ("&can_leech=1", Some(true), None),
        ("&can_leech=TRUE", Some(true), None),
        ("&can_leech=", Some(true), None),
        ("&visible=0", None, Some(true)),
        ("&visible=1", None, Some(false)),
        ("&can_leech=0&visible=0", Some(false), Some(true)),
    ] {
        check(
            &format!("action=update_user&passkey={ANN}{said}"),
            Update::UpdateUser { passkey: key(ANN), can_leech, hidden },
        );
    }
    check_malformed("action=update_user&can_leech=0", "passkey");
}

#[test]
fn ocelot_5_remove_user_and_remove_users() {
    check(&format!("action=remove_user&passkey={ANN}"), Update::RemoveUser { passkey: key(ANN) });
    check_malformed("action=remove_user", "passkey");
    check(
        &format!("action=remove_users&passkeys={ANN}{BOB}"),
        Update::RemoveUsers { passkeys: vec![key(ANN), key(BOB)] },
    );
    check_malformed("action=remove_users", "passkeys");
    check_malformed("action=remove_users&passkeys=", "passkeys");
    check_malformed("action=remove_users&passkeys=short", "passkeys");
    for among in [format!("{}{ANN}", "-".repeat(32)), format!("{ANN}{}", &BOB[1..])] {
        check(
            &format!("action=remove_users&passkeys={among}"),
            Update::RemoveUsers { passkeys: vec![key(ANN)] },
        );
    }
}

#[test]
fn ocelot_5_change_passkey() {
    check(
        &format!("action=change_passkey&oldpasskey={ANN}&newpasskey={BOB}"),
        Update::ChangePasskey { old: key(ANN), new: key(BOB) },
    );
    check_malformed(&format!("action=change_passkey&newpasskey={BOB}"), "oldpasskey");
    check_malformed(&format!("action=change_passkey&oldpasskey={ANN}"), "newpasskey");
}

#[test]
fn ocelot_5_whitelist() {
    check("action=add_whitelist&peer_id=-qB", Update::AddWhitelist { prefix: client("-qB") });
    check("action=add_whitelist&peer_id=%2dqB", Update::AddWhitelist { prefix: client("-qB") });
    check("action=remove_whitelist&peer_id=-qB", Update::RemoveWhitelist { prefix: client("-qB") });
    let (old, new) = (Some(client("-UT35")), client("-UT36"));
    check(
        "action=edit_whitelist&old_peer_id=-UT35&new_peer_id=-UT36",
        Update::EditWhitelist { old, new: new.clone() },
    );
    check("action=edit_whitelist&new_peer_id=-UT36", Update::EditWhitelist { old: None, new });
    check_malformed("action=add_whitelist", "peer_id");
    check_malformed("action=add_whitelist&peer_id=", "peer_id");
    check_malformed("action=remove_whitelist&peer_id=123456789012345678901", "peer_id");
    check_malformed("action=edit_whitelist&old_peer_id=-UT35", "new_peer_id");
}

#[test]
fn ocelot_5_update_announce_interval_and_jitter() {
    check(
        "action=update_announce_interval&new_announce_interval=2400",
        Update::UpdateAnnounceInterval { interval: Seconds(2400) },
    );
    for wrong in ["", "&new_announce_interval=", "&new_announce_interval=0"] {
        let query = format!("action=update_announce_interval{wrong}");
        check_malformed(&query, "new_announce_interval");
    }
    check(
        "action=update_announce_jitter&new_announce_jitter=0",
        Update::UpdateAnnounceJitter { jitter: Seconds(0) },
    );
    check_malformed("action=update_announce_jitter", "new_announce_jitter");
}

#[test]
fn ocelot_5_info_torrent() {
    check(
        &format!("action=info_torrent&info_hash={HASH}"),
        Update::InfoTorrent { info_hash: BYTES },
    );
    check_malformed("action=info_torrent", "info_hash");
}

#[test]
fn ocelot_5_trace_user() {
    for (value, trace) in [("&trace=1", true), ("&trace=0", false), ("", false)] {
        check(
            &format!("action=trace_user&passkey={ANN}{value}"),
            Update::TraceUser { passkey: key(ANN), trace },
        );
    }
    check_malformed("action=trace_user&trace=1", "passkey");
}

#[test]
fn ocelot_5_what_nobody_knows() {
    for query in ["", "action", "action=", "action=reboot", "action=Add_User", "actions=add_user"] {
        check(query, Update::Unknown);
    }
}

#[test]
fn ocelot_1_of_a_parameter_given_twice_the_last_counts() {
    check(
        "action=x&action=add_whitelist&peer_id=a&peer_id=-qB",
        Update::AddWhitelist { prefix: client("-qB") },
    );
    check(
        "&&peer_id=-qB&foo&=&action=add_whitelist&",
        Update::AddWhitelist { prefix: client("-qB") },
    );
}

#[test]
fn a32_an_update_never_prints_passkeys() {
    for query in [
        format!("action=add_user&passkey={ANN}&id=30"),
        format!("action=remove_users&passkeys={ANN}{BOB}"),
        format!("action=change_passkey&oldpasskey={ANN}&newpasskey={BOB}"),
        format!("action=add_user&passkey={ANN}x&id=30"),
    ] {
        let printed = format!("{:?}", Update::parse(query.as_bytes()));
        assert!(!printed.contains(ANN) && !printed.contains(BOB), "{printed}");
    }
}
