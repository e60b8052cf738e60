//! What the site writes by SQL reaches the tracker; what the tracker writes does not come back.

use crossbeam_channel::{Receiver, unbounded};
use persist::ledger::Record;
use persist::postgres::{Seen, Stored, Watch};
use shard::private::{Change, ClientPrefix, Fact, Freeleech, GroupId, Swarm, TorrentId, UserId};

use crate::site::{PATIENCE, Site, fact, hash, passkey, token, torrent, until, user};

fn watch(site: &Site) -> (Watch, Receiver<Seen>) {
    let (sender, receiver) = unbounded();
    let watch =
        Watch::start(site.database.clone(), move |heard| sender.send(heard.seen).unwrap()).unwrap();
    assert_eq!(receiver.recv_timeout(PATIENCE).unwrap(), Seen::Reload);
    (watch, receiver)
}

#[test]
fn each_row_that_matters_is_told() {
    let Some(mut site) = Site::new("notices") else { return };
    let (watch, seen) = watch(&site);
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    let key = passkey(1).reveal().to_owned();

    site.write(&format!("INSERT INTO users (id, passkey) VALUES (1, '{key}')"));
    let is = |can_leech, enabled| {
        let (id, passkey, hidden) = (UserId(1), passkey(1), false);
        Seen::Change(Change::User { id, passkey, can_leech, hidden, enabled, group: None })
    };
    assert_eq!(next(), is(true, true));
    // What the tracker does not care for, and what does not change, is not told.
    site.write("UPDATE users SET uploaded = uploaded + 5; UPDATE users SET can_leech = true");
    site.write("UPDATE users SET can_leech = false");
    assert_eq!(next(), is(false, true));
    site.write("UPDATE users SET enabled = false");
    assert_eq!(next(), is(false, false));

    let it_is = |freeleech, number| {
        let (id, info_hash) = (TorrentId(2), hash(number));
        Seen::Torrent(Stored {
            change: Change::Torrent {
                id,
                info_hash,
                info_hash_v2: None,
                freeleech,
                upload_percent: 100,
            },
            figures: Swarm { snatches: 3, balance: -5, ..Swarm::default() },
        })
    };
    let columns = "id, info_hash, snatches, balance";
    site.write(&format!("INSERT INTO torrents ({columns}) VALUES (2, '\\x{}', 3, -5)", hash(2)));
    assert_eq!(next(), it_is(Freeleech::None, 2));
    site.write(
        "UPDATE torrents SET freeleech = 'free', seeders = 3; UPDATE torrents SET seeders = 4",
    );
    assert_eq!(next(), it_is(Freeleech::Free, 2));

    let (user, torrent, info_hash) = (UserId(1), TorrentId(2), hash(2));
    let token = Seen::Change(Change::Token { user, torrent, info_hash, expires_at: None });
    let no_token = Seen::Change(Change::TokenRemoved { user, torrent, info_hash });
    site.write("INSERT INTO tokens (user_id, torrent_id) VALUES (1, 2)");
    assert_eq!(next(), token);
    site.write("UPDATE tokens SET downloaded = 9; UPDATE tokens SET spent_at = now()");
    assert_eq!(next(), no_token);
    site.write("UPDATE tokens SET spent_at = NULL");
    assert_eq!(next(), token);
    site.write("DELETE FROM tokens");
    assert_eq!(next(), no_token);

    let prefix = || ClientPrefix::new(b"-qB").unwrap();
    site.write("INSERT INTO client_rules VALUES ('-qB', false)");
    assert_eq!(next(), Seen::Change(Change::ClientRule { prefix: prefix(), allow: false }));
    site.write("DELETE FROM client_rules");
    assert_eq!(next(), Seen::Change(Change::ClientRuleRemoved { prefix: prefix() }));

    // Another infohash is another torrent.
    site.write(&format!("UPDATE torrents SET info_hash = '\\x{}'", hash(3)));
    let removed = |seen, number, text: &str| match seen {
        Seen::Change(Change::TorrentRemoved { id: TorrentId(2), info_hash, reason, .. }) => {
            assert_eq!((info_hash, reason.as_str()), (hash(number), text));
        }
        other => panic!("{other:?}"),
    };
    removed(next(), 2, "");
    assert_eq!(next(), it_is(Freeleech::Free, 3));
    site.write(&format!(
        "BEGIN; INSERT INTO deletion_reasons VALUES ('\\x{}', 2, 'trumped'); DELETE FROM torrents; COMMIT",
        hash(3)
    ));
    removed(next(), 3, "trumped");

    site.write("DELETE FROM users");
    assert_eq!(next(), Seen::UserGone(UserId(1)));
    assert!(seen.is_empty());
    assert!(watch.status().connected);
    watch.stop(PATIENCE);
}

#[test]
fn what_the_ledger_writes_is_silent() {
    let Some(mut site) = Site::new("silent") else { return };
    let (watch, seen) = watch(&site);
    site.apply(vec![
        user(1),
        torrent(1),
        token(1, 1),
        Record::Fact(Fact { credited_up: 1, token_down: 1, token_spent: true, ..fact(1, 1) }),
    ]);
    // The first that is heard is from the site, and all before it was silent.
    site.write("UPDATE users SET hidden = true");
    let told = seen.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(told, Seen::Change(Change::User { hidden: true, .. })), "{told:?}");
    assert!(seen.is_empty());
    watch.stop(PATIENCE);
}

#[test]
fn changes_in_bulk_are_told_as_one() {
    let Some(mut site) = Site::new("bulk") else { return };
    let (watch, seen) = watch(&site);
    site.write(
        "INSERT INTO users (id, passkey) SELECT n, lpad(n::text, 32, '0') FROM generate_series(1, 50000) AS n",
    );
    until("it says that everything changed", || {
        seen.recv_timeout(PATIENCE).unwrap() == Seen::Reload
    });
    site.write("UPDATE users SET can_leech = false WHERE id <= 900");
    let mut users = Vec::new();
    while users.len() < 900 {
        match seen.recv_timeout(PATIENCE).unwrap() {
            Seen::Change(Change::User { id, can_leech: false, .. }) => users.push(id.0),
            Seen::Change(Change::User { .. }) | Seen::Reload => {}
            other => panic!("{other:?}"),
        }
    }
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 900);
    site.write("TRUNCATE users CASCADE");
    until("a truncated table is noticed", || seen.recv_timeout(PATIENCE).unwrap() == Seen::Reload);
    assert!(watch.status().notices < 3000, "{:?}", watch.status());
    watch.stop(PATIENCE);
}

#[test]
fn groups_and_who_is_in_them_are_told() {
    let Some(mut site) = Site::new("group notices") else { return };
    let (watch, seen) = watch(&site);
    let next = || seen.recv_timeout(PATIENCE).unwrap();
    let id = GroupId(7);
    let group = |name: &str, downloads_max| {
        Seen::Change(Change::Group { id, name: name.to_owned(), downloads_max })
    };
    site.write("INSERT INTO user_groups VALUES (7, 'Elite', 20)");
    assert_eq!(next(), group("Elite", Some(20)));
    site.write("UPDATE user_groups SET downloads_max = NULL");
    assert_eq!(next(), group("Elite", None));
    let key = passkey(1).reveal().to_owned();
    site.write(&format!("INSERT INTO users (id, passkey) VALUES (1, '{key}')"));
    let is = |group| {
        let (id, passkey, can_leech, hidden, enabled) = (UserId(1), passkey(1), true, false, true);
        Seen::Change(Change::User { id, passkey, can_leech, hidden, enabled, group })
    };
    assert_eq!(next(), is(None));
    site.write("UPDATE users SET group_id = 7");
    assert_eq!(next(), is(Some(id)));
    // Its users are in none, and each is told; in which order is the database's.
    site.write("DELETE FROM user_groups");
    let told = [next(), next()];
    assert!(told.contains(&Seen::Change(Change::GroupRemoved { id })), "{told:?}");
    assert!(told.contains(&is(None)), "{told:?}");
    assert!(seen.is_empty());
    watch.stop(PATIENCE);
}

/// What changes while nobody listens is not told; so everything has to be compared after.
#[test]
fn a_lost_connection_is_made_again() {
    let Some(mut site) = Site::new("listens again") else { return };
    let (watch, seen) = watch(&site);
    let channel: String =
        site.sql.query_one("SELECT current_schema() || '_changes'", &[]).unwrap().get(0);
    let listeners = format!(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE application_name = 'margay watch' AND query LIKE '%' || quote_ident('{channel}') || '%'"
    );
    until("its connection is found", || site.number(&listeners) == 1);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Reload);
    assert!(watch.status().last_error.is_some());
    site.write(&format!("INSERT INTO users (id, passkey) VALUES (1, '{}')", passkey(1).reveal()));
    assert!(matches!(seen.recv_timeout(PATIENCE).unwrap(), Seen::Change(Change::User { .. })));
    watch.stop(PATIENCE);
}
