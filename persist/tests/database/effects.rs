//! What each kind of record does to each table.

use persist::LedgerOptions;
use persist::ledger::Record;
use persist::postgres::{SpentToken, SpentTokens};
use shard::private::{
    Change, ClientPrefix, Counters, Endpoints, Fact, Freeleech, Gone, GroupId, Stamp, Swarm,
    TorrentId, UserId,
};
use shard::{PeerState, Seconds};

use crate::site::{NOW, Site, Tape, fact, hash, passkey, quick, said, token, torrent, until, user};

#[test]
fn credits_are_added_and_the_last_figures_stay() {
    let Some(mut site) = Site::new("credits") else { return };
    let swarm = |seeders, balance| Swarm { seeders, leechers: 3, snatches: 2, balance };
    let facts = [
        Fact { credited_up: 5, credited_down: 7, swarm: swarm(4, -2), ..fact(1, 1) },
        Fact { credited_up: 10, at: NOW + Seconds(5), swarm: swarm(1, 8), ..fact(1, 1) },
        Fact { credited_up: 1, at: NOW + Seconds(6), swarm: swarm(0, i64::MIN), ..fact(1, 1) },
        Fact { credited_down: 1 << 62, swarm: swarm(0, 0), ..fact(2, 2) },
        fact(3, 1),
    ];
    let mut records = vec![user(1), user(2), user(3), torrent(1), torrent(2)];
    records.extend(facts.map(Record::Fact));
    records.pop();
    let status = site.apply(records);
    let users = site.text("SELECT id, uploaded, downloaded FROM users ORDER BY id");
    assert_eq!(users, format!("(1,16,7); (2,0,{}); (3,0,0)", 1_u64 << 62));
    let torrents = site.text(
        "SELECT id, seeders, leechers, snatches, balance, extract(epoch FROM last_active_at)::bigint \
         FROM torrents ORDER BY id",
    );
    assert_eq!(torrents, format!("(1,0,3,2,{},{}); (2,0,3,2,0,)", i64::MIN, NOW.0 + 5));
    assert_eq!((status.facts, status.changes, status.rejected), (4, 5, 0));
    assert_eq!(status.position, Some(9));
    assert_eq!(site.number("SELECT next FROM ledger WHERE node = 'node'"), 9);
}

#[test]
fn a_token_is_used_and_spent_and_given_again() {
    let Some(mut site) = Site::new("tokens") else { return };
    let tokens =
        "SELECT user_id, downloaded, extract(epoch FROM spent_at)::bigint FROM tokens ORDER BY 1";
    let uses = [
        Fact { token_down: 100, ..fact(1, 1) },
        Fact { token_down: 50, token_spent: true, at: NOW + Seconds(9), ..fact(1, 1) },
        Fact { token_down: 1, ..fact(2, 1) },
        Fact { token_down: 1, ..fact(3, 1) },
    ];
    let mut records = vec![user(1), user(2), user(3), torrent(1), token(1, 1), token(2, 1)];
    records.extend(uses.map(Record::Fact));
    let status = site.apply(records);
    assert_eq!(site.text(tokens), format!("(1,150,{}); (2,1,)", NOW.0 + 9));
    assert_eq!((status.unknown_tokens, status.rejected), (1, 0));

    let removed =
        Change::TokenRemoved { user: UserId(2), torrent: TorrentId(1), info_hash: hash(1) };
    site.apply(vec![token(1, 1), said(removed)]);
    assert_eq!(site.text(tokens), "(1,0,)");
    // Given again while it can be used, it stays what it is.
    let expires_at = Some(Seconds(4_000_000_000));
    let longer =
        Change::Token { user: UserId(1), torrent: TorrentId(1), info_hash: hash(1), expires_at };
    site.apply(vec![Record::Fact(Fact { token_down: 4, ..fact(1, 1) }), said(longer)]);
    assert_eq!(
        site.text("SELECT downloaded, extract(epoch FROM expires_at)::bigint FROM tokens"),
        "(4,4000000000)"
    );
}

#[test]
fn snatches_are_kept_without_the_addresses_of_hidden_users() {
    let Some(mut site) = Site::new("snatches") else { return };
    let v6 = Endpoints { v4: None, ..fact(1, 1).endpoints };
    let facts = [
        Fact { snatched: true, ..fact(1, 1) },
        Fact { snatched: true, endpoints: v6, ..fact(1, 1) },
        Fact { snatched: true, hidden: true, ..fact(2, 1) },
        fact(3, 1),
    ];
    site.apply(facts.map(Record::Fact).to_vec());
    let rows = site.text(
        "SELECT user_id, torrent_id, extract(epoch FROM at)::bigint, host(address) FROM snatches ORDER BY id",
    );
    let at = NOW.0;
    assert_eq!(rows, format!("(1,1,{at},10.0.0.1); (1,1,{at},2001:db8::1); (2,1,{at},)"));
}

#[test]
fn a_peer_is_as_its_last_announce_left_it() {
    let Some(mut site) = Site::new("peers") else { return };
    let counters = |uploaded, downloaded, corrupt| Counters { uploaded, downloaded, corrupt };
    let peers = "SELECT host(address_v4), host(address_v6), port, port_v6, uploaded, downloaded, remaining, corrupt, \
                 upload_rate, download_rate, seconds, announces, client, active, \
                 extract(epoch FROM updated_at)::bigint FROM peers ORDER BY user_id, peer_id";
    let first = Fact { reported: counters(9, 9, 9), ..fact(1, 1) };
    site.apply(vec![Record::Fact(first)]);
    assert_eq!(
        site.text(peers),
        format!(
            "(10.0.0.1,2001:db8::1,1111,2222,9,9,1000,9,0,0,0,1,\"qBittorrent 4.5.2\",t,{})",
            NOW.0
        )
    );
    let second = Fact {
        at: NOW + Seconds(100),
        reported: counters(u64::MAX, 1009, 0),
        moved: counters(u64::MAX, 1000, 0),
        elapsed: 100,
        announces: 2,
        left: u64::MAX,
        active: false,
        endpoints: Endpoints { v6: None, ..first.endpoints },
        ..first
    };
    site.apply(vec![Record::Fact(first), Record::Fact(second)]);
    assert_eq!(
        site.text(peers),
        format!(
            "(10.0.0.1,,1111,,{},1009,,0,{},10,100,2,\"qBittorrent 4.5.2\",f,{})",
            i64::MAX,
            u64::MAX / 100,
            NOW.0 + 100
        )
    );
    // A user who hides is forgotten at once, and stays so.
    let hides = Change::User {
        id: UserId(1),
        passkey: passkey(1),
        can_leech: true,
        hidden: true,
        enabled: true,
        group: None,
    };
    site.apply(vec![said(hides)]);
    let addresses = "SELECT address_v4, address_v6, port, port_v6 FROM peers";
    assert_eq!(site.text(addresses), "(,,,)");
    site.apply(vec![Record::Fact(Fact { hidden: true, ..first })]);
    assert_eq!(site.text(addresses), "(,,,)");
}

#[test]
fn who_leaves_without_a_word_is_not_active_and_not_counted() {
    let Some(mut site) = Site::new("gone") else { return };
    let is = |seeders, leechers| Swarm { seeders, leechers, snatches: 3, balance: 5 };
    let gone = |user, key, swarm| {
        let Fact { torrent, info_hash, peer_id, .. } = fact(user, 1);
        let (user, state, swarm) = (UserId(user), PeerState::Seeder, Some(swarm));
        let (at, stamp) = (NOW, Stamp::at(NOW));
        Record::Gone(Gone { at, stamp, user, torrent, info_hash, peer_id, key, state, swarm })
    };
    let here = |user, key, swarm| Record::Fact(Fact { key, swarm, ..fact(user, 1) });
    let peers = "SELECT user_id, key, active FROM peers ORDER BY 1, 2";
    // Two clients of one name are told apart by their keys.
    site.apply(vec![
        torrent(1),
        here(1, 7, is(0, 1)),
        here(1, 8, is(0, 2)),
        here(2, 7, is(1, 2)),
        gone(1, 7, is(1, 1)),
    ]);
    assert_eq!(site.text(peers), "(1,7,f); (1,8,t); (2,7,t)");
    let figures = "SELECT seeders, leechers, snatches, balance FROM torrents";
    assert_eq!(site.text(figures), "(1,1,3,5)");
    // By itself, before and after announces of the same peer, and of one that is not there.
    let status = site.apply(vec![
        gone(1, 8, is(1, 0)),
        gone(2, 7, is(0, 0)),
        here(2, 7, is(1, 0)),
        gone(9, 7, is(1, 0)),
    ]);
    assert_eq!(site.text(peers), "(1,7,f); (1,8,f); (2,7,t)");
    assert_eq!(site.text(figures), "(1,0,3,5)");
    assert_eq!((status.facts, status.gone, status.changes), (1, 3, 0));
}

#[test]
fn changes_make_and_remove_rows() {
    let Some(mut site) = Site::new("changes") else { return };
    site.apply(vec![user(1), user(2), torrent(1), torrent(2), token(1, 1), token(1, 2)]);
    site.apply(vec![Record::Fact(Fact { credited_up: 4, ..fact(1, 1) }), Record::Fact(fact(1, 2))]);

    // Rights change, credits stay; in one go, two users exchange their passkeys.
    let changed = |id, key, enabled| {
        let (id, passkey) = (UserId(id), passkey(key));
        let (can_leech, hidden, group) = (false, false, None);
        said(Change::User { id, passkey, can_leech, hidden, enabled, group })
    };
    let rules = |prefix: &[u8], allow| {
        said(Change::ClientRule { prefix: ClientPrefix::new(prefix).unwrap(), allow })
    };
    let status = site.apply(vec![
        changed(1, 2, true),
        changed(2, 1, false),
        rules(b"-A", true),
        rules(b"-B", true),
        rules(b"-A", false),
        said(Change::ClientRuleRemoved { prefix: ClientPrefix::new(b"-B").unwrap() }),
        said(Change::Torrent {
            id: TorrentId(1),
            info_hash: hash(1),
            info_hash_v2: Some(hash(9)),
            freeleech: Freeleech::Neutral,
            upload_percent: 150,
        }),
        said(Change::TorrentRemoved {
            id: TorrentId(2),
            info_hash: hash(2),
            reason: "it's gone".into(),
            at: NOW,
        }),
    ]);
    assert_eq!(status.rejected, 0, "{status:?}");
    assert_eq!(
        site.text(
            "SELECT id, passkey::numeric, can_leech, enabled, uploaded FROM users ORDER BY id"
        ),
        "(1,2,f,t,4); (2,1,f,f,0)"
    );
    assert_eq!(site.text("SELECT convert_from(prefix, 'UTF8'), allow FROM client_rules"), "(-A,f)");
    assert_eq!(
        site.text("SELECT id, freeleech, upload_percent, leechers FROM torrents"),
        "(1,neutral,150,1)"
    );
    assert_eq!(site.text("SELECT torrent_id FROM tokens"), "(1)");
    assert_eq!(site.text("SELECT torrent_id FROM peers"), "(1)");
    assert_eq!(site.text("SELECT torrent_id, reason FROM deletion_reasons"), "(2,\"it's gone\")");

    // Registered again, it is a new one, and the reason is gone.
    site.apply(vec![torrent(2)]);
    assert_eq!(site.text("SELECT leechers FROM torrents WHERE id = 2"), "(0)");
    assert_eq!(site.number("SELECT count(*) FROM deletion_reasons"), 0);
}

/// The order of the journal is what counts, however records are put together.
#[test]
fn changes_and_facts_keep_their_order() {
    let Some(mut site) = Site::new("order") else { return };
    let removed = said(Change::TorrentRemoved {
        id: TorrentId(1),
        info_hash: hash(1),
        reason: String::new(),
        at: NOW,
    });
    let with = |seeders, up| {
        let swarm = Swarm { seeders, ..Swarm::default() };
        Record::Fact(Fact { swarm, credited_up: up, token_down: 5, ..fact(1, 1) })
    };
    let status = site.apply(vec![
        with(9, 1000), // Nobody knows this user yet.
        user(1),
        torrent(1),
        token(1, 1),
        with(8, 1),
        removed,
        with(7, 1),
        torrent(1),
        with(6, 1),
        token(1, 1),
        with(5, 1),
        user(2),
    ]);
    assert_eq!(site.text("SELECT id, uploaded FROM users ORDER BY id"), "(1,4); (2,0)");
    assert_eq!(site.text("SELECT id, seeders FROM torrents"), "(1,5)");
    assert_eq!(site.text("SELECT downloaded FROM tokens"), "(5)");
    assert_eq!((status.unknown_users, status.unknown_torrents), (1, 2), "{status:?}");
}

#[test]
fn peers_can_be_left_out_and_are_removed_when_they_are_silent() {
    let Some(mut site) = Site::new("stale") else { return };
    use crate::site::{PATIENCE, Tape, quick, until};
    use persist::{Ledger, LedgerOptions};
    let tape = Tape::new(1);
    tape.append([user(1), Record::Fact(fact(1, 1))]);
    let options = LedgerOptions { peers: false, ..quick() };
    let ledger = Ledger::start(site.database.clone(), options, tape.reader()).unwrap();
    assert!(ledger.drain(PATIENCE));
    ledger.stop(PATIENCE);
    assert_eq!(site.number("SELECT count(*) FROM peers"), 0);

    site.apply(vec![Record::Fact(fact(1, 1)), Record::Fact(fact(2, 1))]);
    site.write("UPDATE peers SET updated_at = now() - interval '2 days' WHERE user_id = 2");
    site.write("UPDATE peers SET updated_at = now() WHERE user_id = 1");
    let ledger = Ledger::start(site.database.clone(), quick(), Tape::new(2).reader()).unwrap();
    until("it is removed", || site.text("SELECT user_id FROM peers") == "(1)");
    ledger.stop(PATIENCE);
}

#[test]
fn groups_are_written_and_nobody_loses_his_by_a_change_of_his_rights() {
    let Some(mut site) = Site::new("groups") else { return };
    let group = |id, name: &str, downloads_max| {
        said(Change::Group { id: GroupId(id), name: name.to_owned(), downloads_max })
    };
    let in_group = |group: Option<u16>| {
        let (id, passkey) = (UserId(1), passkey(1));
        let (can_leech, hidden, enabled, group) = (true, false, true, group.map(GroupId));
        said(Change::User { id, passkey, can_leech, hidden, enabled, group })
    };
    site.apply(vec![group(1, "New", Some(3)), group(2, "Elite", Some(5)), in_group(Some(1))]);
    site.apply(vec![group(2, "Elite", None)]);
    let groups = "SELECT id, name, downloads_max FROM user_groups ORDER BY id";
    assert_eq!(site.text(groups), "(1,New,3); (2,Elite,)");
    let of_user = "SELECT coalesce(group_id, -1)::bigint FROM users";
    assert_eq!(site.number(of_user), 1);
    site.apply(vec![in_group(None)]);
    assert_eq!(site.number(of_user), 1, "not known is not none");
    site.apply(vec![in_group(Some(9))]);
    assert_eq!(site.number(of_user), 1, "there is no such group");
    site.apply(vec![in_group(Some(2)), said(Change::GroupRemoved { id: GroupId(1) })]);
    assert_eq!((site.text(groups).as_str(), site.number(of_user)), ("(2,Elite,)", 2));
    site.apply(vec![said(Change::GroupRemoved { id: GroupId(2) })]);
    assert_eq!(site.number(of_user), -1);
}

#[test]
fn a_token_that_is_used_up_is_noted_once_for_the_site() {
    let Some(mut site) = Site::new("spent") else { return };
    let options = LedgerOptions { spent_tokens: true, ..quick() };
    let spends = |user, torrent| {
        Record::Fact(Fact { token_spent: true, snatched: true, ..fact(user, torrent) })
    };
    let tape = Tape::new(0x0bad_cafe);
    tape.append([user(1), user(2), torrent(1), torrent(2), token(1, 1), token(1, 2), token(2, 1)]);
    tape.append([spends(1, 1), Record::Fact(Fact { token_down: 9, ..fact(1, 2) }), spends(2, 1)]);
    let mut spent = SpentTokens::connect(&site.database).unwrap().unwrap();
    assert!(SpentTokens::connect(&site.database).unwrap().is_none(), "one at a time");
    assert_eq!(spent.untold(10).unwrap(), []);
    site.run_with(&tape, options.clone());
    let told = |rows: &[SpentToken]| -> Vec<(u32, u32)> {
        rows.iter().map(|row| (row.user.0, row.torrent.0)).collect()
    };
    let rows = spent.untold(10).unwrap();
    assert_eq!(told(&rows), [(1, 1), (2, 1)]);
    assert_eq!((spent.waiting().unwrap(), told(&spent.untold(1).unwrap())), (2, vec![(1, 1)]));
    spent.told(&rows[..1]).unwrap();
    assert_eq!((spent.waiting().unwrap(), told(&spent.untold(10).unwrap())), (1, vec![(2, 1)]));
    drop(spent);
    // Whoever comes next goes on where that was.
    let mut spent = patiently("the lock", || SpentTokens::connect(&site.database).unwrap());
    assert_eq!(told(&spent.untold(10).unwrap()), [(2, 1)]);
    // Those that were told go after a while, the others never.
    assert_eq!(spent.forget(10).unwrap(), 0);
    site.write("UPDATE spent_tokens SET told_at = told_at - interval '8 days', at = at - interval '1 year'");
    assert_eq!(spent.forget(10).unwrap(), 1);
    assert_eq!(site.number("SELECT count(*) FROM spent_tokens"), 1);
    // Without somebody who tells the site, nothing is noted.
    tape.append([token(1, 2), spends(1, 2)]);
    site.run_with(&tape, quick());
    assert_eq!(site.number("SELECT count(*) FROM spent_tokens"), 1);
}

fn patiently<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = ask();
        found.is_some()
    });
    found.unwrap()
}
