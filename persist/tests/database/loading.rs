//! What is loaded, and of which moment.

use persist::postgres::{Loaded, SetAside, Stored};
use shard::Seconds;
use shard::private::{Change, ClientPrefix, Freeleech, GroupId, Swarm, TorrentId, UserId};

use crate::site::{NOW, Site, Tape, hash, passkey, torrent, user};

fn load(site: &Site, journal: u64, since: Seconds) -> (Loaded, Vec<Stored>) {
    let mut all = Vec::new();
    let loaded = site.database.load(journal, since, |stored| all.push(stored)).unwrap();
    (loaded, all)
}

#[test]
fn what_an_announce_needs_is_loaded() {
    let Some(mut site) = Site::new("load") else { return };
    let key = |number| passkey(number).reveal().to_owned();
    site.write(&format!(
        "INSERT INTO user_groups VALUES (0, 'New', 1), (32767, 'Elite', NULL);
        INSERT INTO users (id, passkey, can_leech, hidden, enabled, group_id) VALUES
            (4294967295, '{}', false, true, true, 32767), (8, '{}', true, false, false, NULL);
        INSERT INTO former_passkeys VALUES
            (4294967295, '{}', 'infinity'), (8, '{}', now() - interval '1 s');
        INSERT INTO torrents (id, info_hash, freeleech, upload_percent, snatches, balance, seeders) VALUES
            (1, '\\x{}', 'free', 200, 12, -9223372036854775808, 5), (2, '\\x{}', 'neutral', 0, 0, 0, 0);
        INSERT INTO tokens (user_id, torrent_id, expires_at, spent_at) VALUES
            (7, 1, NULL, NULL), (7, 2, now() - interval '1 s', NULL), (8, 1, NULL, now()),
            (8, 2, to_timestamp(4102444800), NULL), (8, 99, NULL, NULL);
        INSERT INTO client_rules VALUES ('-qB', true), ('\\x00ff', false);
        INSERT INTO deletion_reasons VALUES
            ('\\x{}', 3, 'dead', to_timestamp({})), ('\\x{}', 4, 'old', to_timestamp({})),
            ('\\x{}', 1, 'back', to_timestamp({}));",
        key(7),
        key(8),
        key(17),
        key(18),
        hash(1),
        hash(2),
        hash(3),
        NOW.0,
        hash(4),
        NOW.0 - 1,
        hash(1),
        NOW.0,
    ));
    let (loaded, all) = load(&site, 1, NOW);
    let counts = Loaded {
        position: None,
        life: None,
        users: 2,
        former_passkeys: 1,
        torrents: 2,
        tokens: 2,
        groups: 2,
        client_rules: 2,
        deletion_reasons: 1,
        set_aside: SetAside::default(),
    };
    assert_eq!(loaded, counts);
    let plain = |change| Stored { change, figures: Swarm::default() };
    let prefix = |bytes: &[u8]| ClientPrefix::new(bytes).unwrap();
    let torrent = |id, freeleech, upload_percent, snatches, balance| Stored {
        change: Change::Torrent {
            id: TorrentId(id),
            info_hash: hash(id),
            info_hash_v2: None,
            freeleech,
            upload_percent,
        },
        figures: Swarm { snatches, balance, ..Swarm::default() },
    };
    let token = |user, torrent, expires_at| {
        let (user, torrent, info_hash) = (UserId(user), TorrentId(torrent), hash(torrent));
        plain(Change::Token { user, torrent, info_hash, expires_at })
    };
    for expected in [
        plain(Change::ClientRule { prefix: prefix(b"-qB"), allow: true }),
        plain(Change::ClientRule { prefix: prefix(b"\0\xff"), allow: false }),
        plain(Change::TorrentRemoved {
            id: TorrentId(3),
            info_hash: hash(3),
            reason: "dead".into(),
            at: NOW,
        }),
        torrent(1, Freeleech::Free, 200, 12, i64::MIN),
        torrent(2, Freeleech::Neutral, 0, 0, 0),
        plain(Change::User {
            id: UserId(u32::MAX),
            passkey: passkey(7),
            can_leech: false,
            hidden: true,
            enabled: true,
            group: Some(GroupId(32_767)),
        }),
        plain(Change::User {
            id: UserId(8),
            passkey: passkey(8),
            can_leech: true,
            hidden: false,
            enabled: false,
            group: None,
        }),
        plain(Change::Group { id: GroupId(0), name: "New".into(), downloads_max: Some(1) }),
        plain(Change::Group { id: GroupId(32_767), name: "Elite".into(), downloads_max: None }),
        plain(Change::Former {
            user: UserId(u32::MAX),
            passkey: passkey(17),
            good_until: Seconds(u32::MAX),
        }),
        token(7, 1, None),
        token(8, 2, Some(Seconds(4_102_444_800))),
    ] {
        assert!(all.contains(&expected), "{expected:?} in {all:?}");
    }
    assert_eq!(all.len(), 12);
    assert!(matches!(all[0].change, Change::ClientRule { .. }));
    assert!(matches!(all[11].change, Change::Token { .. }));
}

/// Who loads has to know which records of his journal are in what he got.
#[test]
fn the_position_of_the_journal_comes_with_it() {
    let Some(site) = Site::new("position") else { return };
    let tape = Tape::new(0xfeed_0000_0000_0001);
    tape.append([user(1), torrent(1), user(2)]);
    site.run(&tape);
    assert_eq!(load(&site, tape.id(), NOW).0.position, Some(3));
    assert_eq!(load(&site, 5, NOW).0.position, None);
}
