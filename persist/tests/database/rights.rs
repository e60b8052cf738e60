//! A role that owns nothing, and what it needs.

use std::process;

use crossbeam_channel::unbounded;
use persist::ledger::Record;
use persist::postgres::{Migrated, Seen, SpentTokens, Watch};
use persist::{Database, DatabaseError, Ledger, LedgerOptions};
use shard::private::{Change, Fact, GroupId, TorrentId, UserId};

use crate::site::{
    NOW, PATIENCE, Site, Tape, fact, hash, passkey, quick, said, token, torrent, user,
};

/// A role of the test's own, gone with it.
struct Role<'a> {
    site: &'a mut Site,
    name: String,
    database: Database,
}

impl<'a> Role<'a> {
    fn new(site: &'a mut Site, test: &str) -> Self {
        let name = format!("margay_{test}_{}", process::id());
        site.write(&format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN"));
        let url = site.url.replace("margay@", &format!("{name}@"));
        let database = Database::new(&url, None, site.database.schema()).unwrap();
        Self { site, name, database }
    }

    /// `{schema}` and `{role}` are filled in.
    fn sql(&mut self, statements: &str) {
        let schema = format!("\"{}\"", self.database.schema().replace('"', "\"\""));
        self.site.write(&statements.replace("{schema}", &schema).replace("{role}", &self.name));
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let name = &self.name;
        let _ = self.site.sql.batch_execute(&format!("DROP OWNED BY {name}; DROP ROLE {name}"));
    }
}

/// These are the grants that the documentation asks for.
const GRANTS: &str = "
    GRANT USAGE ON SCHEMA {schema} TO {role};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role};
    REVOKE INSERT, UPDATE, DELETE ON {schema}.migrations FROM {role};
    REVOKE DELETE ON {schema}.users, {schema}.ledger, {schema}.rejected, {schema}.suspicions FROM {role};
    REVOKE SELECT, UPDATE, DELETE ON {schema}.snatches FROM {role};
    REVOKE SELECT, UPDATE ON {schema}.rejected FROM {role};";

#[test]
fn a_role_that_owns_nothing_runs_all_of_it() {
    let Some(mut site) = Site::new("grants") else { return };
    let there = site.number("SELECT count(*) FROM migrations") as u32;
    let mut role = Role::new(&mut site, "grants");
    role.sql(GRANTS);
    let database = role.database.clone();
    assert_eq!(database.migrate().unwrap(), Migrated { from: there, to: there });

    let (sender, seen) = unbounded();
    let watch = Watch::start(database.clone(), move |seen| sender.send(seen).unwrap()).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().seen, Seen::Reload);
    let tape = Tape::new(1);
    tape.append([
        said(Change::Group { id: GroupId(1), name: "a".into(), downloads_max: None }),
        user(1),
        said(Change::Former { user: UserId(1), passkey: passkey(9), good_until: NOW }),
        torrent(1),
        torrent(2),
        token(1, 1),
        Record::Fact(Fact {
            credited_up: 5,
            token_down: 1,
            token_spent: true,
            snatched: true,
            ..fact(1, 1)
        }),
        Record::Fact(Fact { credited_up: u64::MAX, ..fact(1, 1) }),
        said(Change::TorrentRemoved {
            id: TorrentId(2),
            info_hash: hash(2),
            reason: "gone".into(),
            at: NOW,
        }),
        said(Change::GroupRemoved { id: GroupId(1) }),
    ]);
    let options = LedgerOptions { spent_tokens: true, ..quick() };
    let ledger = Ledger::start(database.clone(), options, tape.reader()).unwrap();
    assert!(ledger.drain(PATIENCE), "{:?}", ledger.status());
    let status = ledger.stop(PATIENCE);
    assert_eq!(status.position, Some(10));
    let mut tokens = SpentTokens::connect(&database).unwrap().unwrap();
    let untold = tokens.untold(9).unwrap();
    assert_eq!(untold.len(), 1);
    tokens.told(&untold).unwrap();
    tokens.forget(9).unwrap();
    role.sql("UPDATE users SET can_leech = false");
    assert!(matches!(seen.recv_timeout(PATIENCE).unwrap().seen, Seen::Change(Change::User { .. })));
    let mut rows = 0;
    let loaded = database.load(1, NOW, |_| rows += 1).unwrap();
    assert_eq!((loaded.users, loaded.torrents, loaded.position), (1, 1, Some(10)));
    assert!(rows >= 2);
    assert_eq!(database.position(1).unwrap(), Some(10));
    watch.stop(PATIENCE);
}

/// A function that runs with our rights says nothing for others.
#[test]
fn nobody_else_can_put_our_trigger_on_a_table() {
    let Some(mut site) = Site::new("definer") else { return };
    let mut role = Role::new(&mut site, "definer");
    role.sql(GRANTS);
    role.sql("CREATE SCHEMA {role} AUTHORIZATION {role}");
    role.sql("SET ROLE {role}; CREATE TABLE {role}.users (id bigint, passkey text); RESET ROLE");
    let put = format!(
        "CREATE TRIGGER mine AFTER UPDATE ON {0}.users FOR EACH ROW EXECUTE FUNCTION former_passkeys_replaced()",
        role.name
    );
    let name = role.name.clone();
    let sql = &mut role.site.sql;
    sql.batch_execute(&format!("SET ROLE {name}")).unwrap();
    let refused = sql.batch_execute(&put).unwrap_err();
    sql.batch_execute("RESET ROLE").unwrap();
    assert_eq!(refused.code().map(|state| state.code()), Some("42501"), "{refused}");
}

fn lacking(result: Result<Migrated, DatabaseError>) -> String {
    let error = result.unwrap_err();
    assert!(matches!(error, DatabaseError::Rights { .. }), "{error:?}");
    assert!(error.lasts());
    error.to_string()
}

#[test]
fn a_right_that_is_missing_is_named() {
    let Some(mut site) = Site::new("rights") else { return };
    let mut role = Role::new(&mut site, "rights");
    let text = lacking(role.database.migrate());
    assert!(text.contains("GRANT USAGE ON SCHEMA"), "{text}");
    role.sql(GRANTS);
    role.database.migrate().unwrap();
    role.sql(
        "REVOKE INSERT ON {schema}.snatches FROM {role}; REVOKE ALL ON {schema}.peers FROM {role}",
    );
    let text = lacking(role.database.migrate());
    assert!(text.contains("GRANT INSERT ON") && text.contains("snatches TO"), "{text}");
    assert!(text.contains("GRANT SELECT, INSERT, UPDATE, DELETE ON"), "{text}");

    // Tables of an earlier version are for their owner to change.
    role.sql(GRANTS);
    role.sql("DELETE FROM migrations WHERE number > 2");
    let text = lacking(role.database.migrate());
    assert!(text.contains("start once as margay"), "{text}");
}

#[test]
fn a_role_that_may_not_make_a_schema_is_told() {
    let Some(mut site) = Site::empty("no schema") else { return };
    let mut role = Role::new(&mut site, "schema");
    let text = lacking(role.database.migrate());
    assert!(text.contains("CREATE SCHEMA"), "{text}");
    // One that others made, and gave to it.
    role.sql("CREATE SCHEMA {schema} AUTHORIZATION {role}");
    role.database.migrate().unwrap();
    // One that it may only look into.
    role.sql("DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {role}");
    let text = lacking(role.database.migrate());
    assert!(text.contains("GRANT CREATE ON SCHEMA"), "{text}");
}

/// A row that a policy hides is not one that is gone.
#[test]
fn policies_hide_nothing_unnoticed() {
    let Some(mut site) = Site::new("policies") else { return };
    site.apply(vec![user(1)]);
    let mut role = Role::new(&mut site, "policies");
    role.sql(GRANTS);
    role.sql("ALTER TABLE users ENABLE ROW LEVEL SECURITY");
    let error = role.database.load(1, NOW, drop).unwrap_err();
    assert!(error.lasts(), "{error:?}");
}

/// Settings of the role that would end what the tracker does.
#[test]
fn settings_of_the_role_do_not_reach_the_sessions() {
    let Some(mut site) = Site::new("settings") else { return };
    let mut role = Role::new(&mut site, "settings");
    role.sql(GRANTS);
    for setting in [
        "statement_timeout = '500ms'",
        "lock_timeout = '1ms'",
        "idle_session_timeout = '100ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "search_path = pg_temp",
        "default_transaction_isolation = 'serializable'",
        "client_min_messages = debug1",
        "bytea_output = 'escape'",
    ] {
        role.sql(&format!("ALTER ROLE {{role}} SET {setting}"));
    }
    let database = role.database.clone();
    database.migrate().unwrap();
    let (sender, seen) = unbounded();
    let watch = Watch::start(database.clone(), move |seen| sender.send(seen).unwrap()).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().seen, Seen::Reload);
    let tape = Tape::new(1);
    tape.append([user(1), torrent(1)]);
    let ledger = Ledger::start(database.clone(), quick(), tape.reader()).unwrap();
    assert!(ledger.drain(PATIENCE));
    let idle = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}' AND state = 'idle' \
         AND now() - state_change > interval '300 ms'",
        role.name
    );
    // Longer idle than the role may be, and still there.
    crate::site::until("they were idle", || role.site.number(&idle) >= 1);
    tape.append([Record::Fact(Fact { credited_up: 5, ..fact(1, 1) })]);
    assert!(ledger.drain(PATIENCE));
    assert_eq!(ledger.stop(PATIENCE).retries, 0);
    assert_eq!(watch.status().reloads, 1);
    watch.stop(PATIENCE);

    role.sql("ALTER ROLE {role} SET default_transaction_read_only = on");
    let error = database.migrate().unwrap_err();
    assert!(matches!(error, DatabaseError::ReadOnly { standby: false, .. }), "{error}");
    assert!(error.to_string().contains("default_transaction_read_only"), "{error}");
}
