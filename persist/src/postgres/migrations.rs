//! Makes the tables, and brings those of an earlier version up to date.
//!
//! Each migration is a file, applied once, never changed and never undone. All that are missing are
//! applied in one transaction under a lock, so several trackers may start at once. Where none is missing,
//! nothing is locked and nothing is written, so that a role that owns nothing can run the tracker.

use std::time::{Duration, Instant};

use ::postgres::error::SqlState;
use ::postgres::{Client, Row};

use super::errands::Signs;
use super::rights::Schema;
use super::session::{START_LOCK_PATIENCE, wait_for_locks};
use super::settings::quote;
use super::{Database, DatabaseError};

/// The outcome of [`Database::migrate`].
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
const MIGRATIONS: [Migration; 10] = [
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
    Migration { name: "writer", sql: include_str!("../../migrations/0007_writer.sql") },
    Migration { name: "hybrids", sql: include_str!("../../migrations/0008_hybrids.sql") },
    Migration {
        name: "former_passkeys",
        sql: include_str!("../../migrations/0009_former_passkeys.sql"),
    },
    Migration { name: "lasting_keys", sql: include_str!("../../migrations/0010_lasting_keys.sql") },
];

/// How the tables are, for this program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SchemaState {
    /// There are none.
    Missing,
    /// Some migrations are not applied yet.
    Older {
        /// The last one that is.
        at: u32,
    },
    /// As this program has them.
    Current,
    /// A later version of the program has been here. Nothing is to be written.
    Newer {
        /// The last migration that was applied.
        found: u32,
        /// The last one that this program has.
        known: u32,
        /// The version of the program that applied it, where it has written that down.
        version: Option<String>,
    },
    /// A migration was applied that is not the one of this program. Nothing is to be written.
    Altered {
        /// Which one.
        number: u32,
        /// Its name.
        name: String,
    },
}

/// How the tables are now: one query. A role that may not look into the schema gets an error, and not that
/// there is nothing.
pub(crate) fn schema_state(
    client: &mut Client,
    database: &Database,
) -> Result<SchemaState, ::postgres::Error> {
    match client.query(&applied_query(database), &[]) {
        Ok(rows) => Ok(judge(&applied(&rows)?)),
        Err(error) => match error.code() {
            Some(&(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME)) => {
                Ok(SchemaState::Missing)
            }
            _ => Err(error),
        },
    }
}

impl Database {
    /// Makes the schema and its tables when they are not there, and brings them up to date. Nothing
    /// changes when anything fails, and nothing is written when they are up to date.
    ///
    /// Needs the right to create a schema in the database only when the schema is not there, and has to own
    /// the tables only when they are to be changed; a right that the tracker needs and the role lacks is an
    /// error in any case. Takes some seconds at most, except where the server has begun to change tables,
    /// which is waited for: see [`Database::migrate_within`].
    pub fn migrate(&self) -> Result<Migrated, DatabaseError> {
        self.migrate_within(MIGRATION_PATIENCE)
    }

    /// The same for who waits no longer than `patience` when the server has begun to change tables (not
    /// less than some seconds). It goes on with it after [`DatabaseError::UnderWay`], and the next call waits
    /// for the same.
    pub fn migrate_within(&self, patience: Duration) -> Result<Migrated, DatabaseError> {
        let began = Instant::now();
        let longer = |signs: &Signs| {
            let goes_on = signs.works() && began.elapsed() < patience && self.answers();
            goes_on.then_some(LOOK_PERIOD)
        };
        let database = self.clone();
        let first = self.connect_patience() + START_PATIENCE;
        let done =
            self.migrating.run("migrate", first, longer, move |signs| database.migrate_now(signs));
        done.unwrap_or_else(|signs| {
            let (task, database, waited) = (signs.doing(), self.to_string(), began.elapsed());
            Err(match signs.works() && waited >= patience {
                true => DatabaseError::UnderWay { task, database, patience: waited },
                false => DatabaseError::Unanswered { task, database, patience: waited },
            })
        })
    }

    /// The error of a state in which nothing is to be written.
    pub(crate) fn state_error(&self, state: &SchemaState) -> Option<DatabaseError> {
        let schema = self.schema().to_owned();
        match state {
            SchemaState::Newer { found, known, version } => {
                let (found, known, version) = (*found, *known, version.clone());
                Some(DatabaseError::Newer { schema, found, known, version })
            }
            SchemaState::Altered { number, name } => {
                let (number, name) = (*number, name.clone());
                Some(DatabaseError::Altered { schema, number, name })
            }
            SchemaState::Missing | SchemaState::Older { .. } | SchemaState::Current => None,
        }
    }

    fn migrate_now(&self, signs: &Signs) -> Result<Migrated, DatabaseError> {
        signs.begin("take a connection", false);
        let mut client = self.connect("migrations")?;
        signs.begin("say which migrations were applied", false);
        wait_for_locks(&mut client, START_LOCK_PATIENCE).map_err(self.failed(TASK))?;
        let state = match schema_state(&mut client, self) {
            Ok(state) => state,
            Err(error) => {
                if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
                    // To look at them, or to use the schema at all.
                    self.check_rights(&mut client)?;
                    self.check_ownership(&mut client)?;
                }
                return Err(self.explained(TASK, error, None, &mut client));
            }
        };
        let known = MIGRATIONS.len() as u32;
        let migrated = match state {
            SchemaState::Current => Migrated { from: known, to: known },
            SchemaState::Missing | SchemaState::Older { .. } => {
                self.bring_up(&mut client, signs)?
            }
            state @ (SchemaState::Newer { .. } | SchemaState::Altered { .. }) => {
                return Err(self.state_error(&state).expect("nothing is to be written then"));
            }
        };
        signs.begin("say what the role may do", false);
        self.check_rights(&mut client)?;
        Ok(migrated)
    }

    fn bring_up(&self, client: &mut Client, signs: &Signs) -> Result<Migrated, DatabaseError> {
        let there = self.check_ownership(client)?;
        let mut advisory = None;
        match self.transact(client, there, &mut advisory, signs) {
            Ok(Ok(migrated)) => Ok(migrated),
            Ok(Err(state)) => Err(self.state_error(&state).expect("it was not brought up to date")),
            Err(error) => Err(self.explained(TASK, error, advisory, client)),
        }
    }

    /// `advisory` is the lock that is waited for, as long as it is.
    fn transact(
        &self,
        client: &mut Client,
        there: Schema,
        advisory: &mut Option<i64>,
        signs: &Signs,
    ) -> Result<Result<Migrated, SchemaState>, ::postgres::Error> {
        let mut transaction = client.transaction()?;
        let lock = self.lock_number("migrations");
        *advisory = Some(lock);
        signs.begin("give the lock of the migrations", false);
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&lock])?;
        *advisory = None;

        signs.begin("make the table of the migrations", true);
        let schema = quote(self.schema());
        if there == Schema::Missing {
            // Somebody else may have made it while the lock was waited for.
            let comment = "Tables of the margay tracker. Each has a comment, and each column.";
            let found = "SELECT FROM pg_namespace WHERE nspname = $1";
            if transaction.query_opt(found, &[&self.schema()])?.is_none() {
                transaction.batch_execute(&format!(
                    "CREATE SCHEMA {schema}; COMMENT ON SCHEMA {schema} IS '{comment}'"
                ))?;
            }
        }
        let found = format!(
            "SELECT to_regclass('{}') IS NULL",
            format!("{schema}.migrations").replace('\'', "''")
        );
        if transaction.query_one(&found, &[])?.get(0) {
            transaction.batch_execute(MIGRATIONS_TABLE)?;
        }
        let from = match judge(&applied(&transaction.query(&applied_query(self), &[])?)?) {
            SchemaState::Missing => 0,
            SchemaState::Older { at } => at,
            SchemaState::Current => MIGRATIONS.len() as u32,
            state @ (SchemaState::Newer { .. } | SchemaState::Altered { .. }) => {
                return Ok(Err(state));
            }
        };
        for (migration, number) in MIGRATIONS.iter().zip(1_i32..).skip(from as usize) {
            signs.begin(format!("apply migration {number} ({})", migration.name), true);
            transaction.batch_execute(migration.sql)?;
            let insert = "INSERT INTO migrations (number, name, checksum) VALUES ($1, $2, $3)";
            transaction.execute(insert, &[&number, &migration.name, &checksum(migration)])?;
            tracing::info!(
                schema = self.schema(),
                number,
                name = migration.name,
                "migrated the database"
            );
        }
        // Tables of an earlier version have no place for it.
        let place = "SELECT FROM pg_attribute WHERE attrelid = to_regclass('migrations') \
            AND attname = 'version' AND NOT attisdropped";
        if transaction.query_opt(place, &[])?.is_some() {
            let version =
                "UPDATE migrations SET version = $1 WHERE number > $2 AND version IS NULL";
            transaction.execute(version, &[&VERSION, &from.cast_signed()])?;
        }
        transaction.commit()?;
        Ok(Ok(Migrated { from, to: MIGRATIONS.len() as u32 }))
    }
}

/// A migration that was applied.
#[derive(Clone, Debug)]
struct Applied {
    number: i32,
    name: String,
    checksum: i64,
    version: Option<String>,
}

/// Tables of an earlier version do not say the version of the program.
fn applied_query(database: &Database) -> String {
    let schema = quote(database.schema());
    format!(
        "SELECT number, name, checksum, to_jsonb(m) ->> 'version' FROM {schema}.migrations AS m ORDER BY number"
    )
}

fn applied(rows: &[Row]) -> Result<Vec<Applied>, ::postgres::Error> {
    let read = |row: &Row| {
        Ok(Applied {
            number: row.try_get(0)?,
            name: row.try_get(1)?,
            checksum: row.try_get(2)?,
            version: row.try_get(3)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Judges the state of the schema by the migrations that were applied.
fn judge(applied: &[Applied]) -> SchemaState {
    for (row, number) in applied.iter().zip(1..) {
        let Some(migration) = MIGRATIONS.get(number as usize - 1) else {
            let found = applied.len() as u32;
            let version = applied.last().and_then(|row| row.version.clone());
            return SchemaState::Newer { found, known: MIGRATIONS.len() as u32, version };
        };
        if row.number != number as i32 || row.checksum != checksum(migration) {
            return SchemaState::Altered { number, name: row.name.clone() };
        }
    }
    match applied.len() < MIGRATIONS.len() {
        true => SchemaState::Older { at: applied.len() as u32 },
        false => SchemaState::Current,
    }
}

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

const TASK: &str = "make or update the tables";

/// The program that applies migrations.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long a start waits for the server before that has begun to change tables, for answers and for locks;
/// a connection has its own time. Enough to hear from the server that a lock was not given.
const START_PATIENCE: Duration = Duration::from_secs(2);

/// How long for the changes themselves, in large tables, as long as the server lets others in.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(600);

/// How often it is seen whether it does.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Applied> {
        let applied = |(migration, number): (&Migration, i32)| Applied {
            number,
            name: migration.name.to_owned(),
            checksum: checksum(migration),
            version: None,
        };
        MIGRATIONS.iter().zip(1..).map(applied).collect()
    }

    #[test]
    fn what_was_applied_says_how_the_tables_are() {
        let known = MIGRATIONS.len() as u32;
        assert_eq!(judge(&[]), SchemaState::Older { at: 0 });
        assert_eq!(judge(&all()[..2]), SchemaState::Older { at: 2 });
        assert_eq!(judge(&all()), SchemaState::Current);
        let mut later = all();
        let (name, version) = ("more".to_owned(), Some("9.1.0".to_owned()));
        later.push(Applied { number: known as i32 + 1, name, checksum: 5, version });
        let version = Some("9.1.0".to_owned());
        assert_eq!(judge(&later), SchemaState::Newer { found: known + 1, known, version });
        let mut altered = all();
        altered[1].checksum += 1;
        let name = altered[1].name.clone();
        assert_eq!(judge(&altered), SchemaState::Altered { number: 2, name });
        let mut gap = all();
        gap.remove(0);
        assert!(matches!(judge(&gap), SchemaState::Altered { number: 1, .. }));
    }
}
