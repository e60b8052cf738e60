//! The tables: made, found, made by several at once, and from a later version.

use std::thread;

use persist::DatabaseError;
use persist::postgres::Migrated;

use crate::site::Site;

#[test]
fn tables_are_made_once() {
    let Some(mut site) = Site::empty("tables") else { return };
    let made = site.database.migrate().unwrap();
    assert_eq!(made, Migrated { from: 0, to: made.to });
    assert!(made.to >= 2);
    assert_eq!(site.database.migrate().unwrap(), Migrated { from: made.to, to: made.to });
    assert_eq!(site.number("SELECT count(*) FROM migrations"), i64::from(made.to));
}

#[test]
fn several_trackers_may_start_at_once() {
    let Some(mut site) = Site::empty("at once") else { return };
    let all: Vec<Migrated> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..6).map(|_| scope.spawn(|| site.database.migrate().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(all.iter().filter(|migrated| migrated.from == 0).count(), 1, "{all:?}");
    assert_eq!(site.number("SELECT count(*) FROM migrations"), i64::from(all[0].to));
}

#[test]
fn a_later_version_is_left_alone() {
    let Some(mut site) = Site::new("later") else { return };
    let there = site.number("SELECT count(*) FROM migrations") as u32;
    site.write(&format!(
        "INSERT INTO migrations (number, name, checksum) VALUES ({}, 'more', 1), ({}, 'most', 2)",
        there + 1,
        there + 2,
    ));
    let error = site.database.migrate().unwrap_err();
    let is_it = matches!(&error, DatabaseError::Newer { found, known, .. }
        if (*found, *known) == (there + 2, there));
    assert!(is_it, "{error}");
    assert!(error.to_string().contains("later one"), "{error}");
    assert!(error.lasts());
    // From a version of the program that says which it was.
    site.write("ALTER TABLE migrations ADD COLUMN IF NOT EXISTS version text");
    site.write("UPDATE migrations SET version = '9.2.0' WHERE name = 'most'");
    let error = site.database.migrate().unwrap_err();
    assert!(error.to_string().contains("use margay 9.2.0 or a later one"), "{error}");
}

/// Which program made the tables: the one that is needed from then on.
#[test]
fn the_version_of_the_program_is_written_down() {
    let Some(mut site) = Site::new("version") else { return };
    let versions = site.text("SELECT DISTINCT version FROM migrations");
    assert_eq!(versions, format!("({})", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_migration_that_was_altered_is_noticed() {
    let Some(mut site) = Site::new("altered") else { return };
    site.write("UPDATE migrations SET checksum = checksum + 1 WHERE number = 2");
    let error = site.database.migrate().unwrap_err();
    assert!(matches!(error, DatabaseError::Altered { number: 2, .. }), "{error}");
}

/// The tables are an interface: whoever develops a site finds what each column means in the database.
#[test]
fn every_table_and_column_has_a_comment() {
    let Some(mut site) = Site::new("comments") else { return };
    let bare = site.text(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) AND c.relkind = 'r' \
         AND a.attnum >= 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL",
    );
    assert_eq!(bare, "");
    let bare = site.text(
        "SELECT relname FROM pg_class c WHERE relkind = 'r' AND obj_description(c.oid) IS NULL \
         AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())",
    );
    assert_eq!(bare, "");
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let Some(mut site) = Site::new("constraints") else { return };
    let good = "'0123456789abcdefghijABCDEFGHIJxy'";
    for wrong in [
        "INSERT INTO users (id, passkey) VALUES (1, 'short')".to_owned(),
        format!("INSERT INTO users (id, passkey) VALUES (-1, {good})"),
        format!("INSERT INTO users (id, passkey) VALUES (4294967296, {good})"),
        format!("INSERT INTO users (id, passkey) VALUES (1, {good}), (2, {good})"),
        format!("INSERT INTO users (id, passkey, uploaded) VALUES (1, {good}, -1)"),
        "INSERT INTO torrents (id, info_hash) VALUES (1, 'short')".to_owned(),
        "INSERT INTO torrents (id, info_hash, freeleech) VALUES (1, 'abcdefghijabcdefghij', 'x')"
            .to_owned(),
        "INSERT INTO client_rules VALUES ('', true)".to_owned(),
        "INSERT INTO user_groups VALUES (-1, 'a')".to_owned(),
        "INSERT INTO user_groups VALUES (1, '')".to_owned(),
        "INSERT INTO user_groups VALUES (1, 'a'), (2, 'a')".to_owned(),
        "INSERT INTO user_groups VALUES (1, 'a', -1)".to_owned(),
        format!("INSERT INTO users (id, passkey, group_id) VALUES (1, {good}, 5)"),
        format!("INSERT INTO former_passkeys VALUES (1, {good}, now())"),
    ] {
        assert!(site.sql.batch_execute(&wrong).is_err(), "{wrong}");
    }
    site.write(&format!(
        "INSERT INTO users (id, passkey) VALUES (4294967295, {good}), (2, repeat('2', 32))"
    ));
    for wrong in [
        "INSERT INTO former_passkeys VALUES (2, 'short', now())".to_owned(),
        format!("INSERT INTO former_passkeys VALUES (2, {good}, NULL)"),
        format!("INSERT INTO former_passkeys VALUES (2, {good}, now()), (2, {good}, now())"),
        format!(
            "INSERT INTO former_passkeys VALUES (2, {good}, now()), (4294967295, {good}, now())"
        ),
    ] {
        assert!(site.sql.batch_execute(&wrong).is_err(), "{wrong}");
    }
}
