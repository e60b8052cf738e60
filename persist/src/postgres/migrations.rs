//! Makes the tables, and brings those of an earlier version up to date.
//!
//! Each migration is a file, applied once, never changed and never undone. All that are missing are
//! applied in one transaction under a lock, so several trackers may start at once.

use super::settings::quote;
use super::{Database, DatabaseError};

/// What [`Database::migrate`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Migrated {
    /// The last migration that was there; 0 for a new schema.
    pub from: u32,
    /// The last one that is there now.
    pub to: u32,
}

struct Migration {
    name: &'static str,
    sql: &'static str,
}

/// In order; the first is number 1.
const MIGRATIONS: [Migration; 6] = [
    Migration { name: "tables", sql: include_str!("../../migrations/0001_tables.sql") },
    Migration { name: "notices", sql: include_str!("../../migrations/0002_notices.sql") },
    Migration {
        name: "groups_and_spent_tokens",
        sql: include_str!("../../migrations/0003_groups_and_spent_tokens.sql"),
    },
    Migration { name: "peer_key", sql: include_str!("../../migrations/0004_peer_key.sql") },
    Migration { name: "suspicions", sql: include_str!("../../migrations/0005_suspicions.sql") },
    Migration {
        name: "the_books_hold",
        sql: include_str!("../../migrations/0006_the_books_hold.sql"),
    },
];

impl Database {
    /// Makes the schema and its tables when they are not there, and brings them up to date. Nothing
    /// changes when anything fails.
    ///
    /// Needs the right to create a schema in the database only when the schema is not there.
    pub fn migrate(&self) -> Result<Migrated, DatabaseError> {
        let failed = self.failed("make or update the tables");
        let mut client = self.connect("migrations")?;
        let mut transaction = client.transaction().map_err(&failed)?;
        let lock = self.lock_number("migrations");
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&lock]).map_err(&failed)?;

        let schema = quote(self.schema());
        let there = "SELECT FROM pg_namespace WHERE nspname = $1";
        if transaction.query_opt(there, &[&self.schema()]).map_err(&failed)?.is_none() {
            let comment = "Tables of the margay tracker. Each has a comment, and each column.";
            transaction
                .batch_execute(&format!(
                    "CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{comment}'"
                ))
                .map_err(&failed)?;
        }
        transaction.batch_execute(MIGRATIONS_TABLE).map_err(&failed)?;

        let applied = transaction
            .query("SELECT number, name, checksum FROM migrations ORDER BY number", &[])
            .map_err(&failed)?;
        for (row, number) in applied.iter().zip(1..) {
            let (found, name): (i32, String) = (row.get(0), row.get(1));
            let altered = || DatabaseError::Altered {
                schema: self.schema().into(),
                number,
                name: name.clone(),
            };
            let Some(migration) = MIGRATIONS.get(number as usize - 1) else {
                return Err(DatabaseError::Newer {
                    schema: self.schema().to_owned(),
                    found: applied.len() as u32,
                    known: MIGRATIONS.len() as u32,
                });
            };
            if found != number as i32 || row.get::<_, i64>(2) != checksum(migration) {
                return Err(altered());
            }
        }

        let from = applied.len() as u32;
        for (migration, number) in MIGRATIONS.iter().zip(1_i32..).skip(applied.len()) {
            transaction.batch_execute(migration.sql).map_err(&failed)?;
            let insert = "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)";
            let checksum = checksum(migration);
            transaction.execute(insert, &[&number, &migration.name, &checksum]).map_err(&failed)?;
            tracing::info!(
                schema = self.schema(),
                number,
                name = migration.name,
                "migrated the database"
            );
        }
        if from < MIGRATIONS.len() as u32 {
            let version = "UPDATE migrations SET version = $1 WHERE number > $2";
            let known = (VERSIONED_AFTER.max(from)).cast_signed();
            transaction.execute(version, &[&env!("CARGO_PKG_VERSION"), &known]).map_err(&failed)?;
        }
        transaction.commit().map_err(&failed)?;
        Ok(Migrated { from, to: MIGRATIONS.len() as u32 })
    }
}

/// Of those up to this one nobody noted which program applied them.
const VERSIONED_AFTER: u32 = 5;

fn checksum(migration: &Migration) -> i64 {
    i64::from(crc32fast::hash(migration.sql.as_bytes()))
}

const MIGRATIONS_TABLE: &str = "
    CREATE TABLE IF NOT EXISTS migrations (
        number integer PRIMARY KEY,
        name text NOT NULL,
        checksum bigint NOT NULL,
        at timestamptz NOT NULL DEFAULT now()
    );
    COMMENT ON TABLE migrations IS 'Which versions of these tables have been made. Only the tracker writes it.';
    COMMENT ON COLUMN migrations.number IS 'Counts up from 1.';
    COMMENT ON COLUMN migrations.name IS 'What it is about.';
    COMMENT ON COLUMN migrations.checksum IS 'CRC-32 of its text.';
    COMMENT ON COLUMN migrations.at IS 'When it was applied.'";
