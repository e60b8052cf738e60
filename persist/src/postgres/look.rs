//! Looks at a database before anything is written there: which one it is, and whether there is anything in
//! it. A wrong URL must not be taken for an empty database, and an empty one not for a new one.

use ::postgres::Client;

use super::errands::Signs;
use super::load::{ANSWER_PATIENCE, journal_name};
use super::session::{START_LOCK_PATIENCE, wait_for_locks};
use super::settings::quote;
use super::{Database, DatabaseError};

/// The findings of a look at the database.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Look {
    /// The identity of the database (table `identity`): a UUID as text; `None` when there is none yet.
    pub identity: Option<String>,
    /// There is no user and no torrent, or no table of them.
    pub empty: bool,
    /// Records of the journal that was asked about before this one are in the database; `None` for a journal
    /// that it does not know.
    pub position: Option<u64>,
}

impl Look {
    /// There is nothing in it, and that is not because nothing was ever written.
    pub fn is_emptied(&self) -> bool {
        self.empty && self.position != Some(0)
    }
}

impl Database {
    /// Looks, and changes nothing. `journal` is the one whose position is asked for.
    pub fn look(&self, journal: u64) -> Result<Look, DatabaseError> {
        let (database, patience) = (self.clone(), self.connect_patience() + ANSWER_PATIENCE);
        let work = move |signs: &Signs| database.look_now(journal, signs);
        let done = self.looking.run("look", patience, |_| None, work);
        done.unwrap_or_else(|signs| {
            let (task, database) = (signs.doing(), self.to_string());
            Err(DatabaseError::Unanswered { task, database, patience })
        })
    }

    fn look_now(&self, journal: u64, signs: &Signs) -> Result<Look, DatabaseError> {
        signs.begin("take a connection", false);
        let mut client = self.connect("look")?;
        signs.begin("say what is there", false);
        let looked = wait_for_locks(&mut client, START_LOCK_PATIENCE)
            .and_then(|()| self.look_over(&mut client, journal));
        looked.map_err(|error| self.explained("look what is there", error, None, &mut client))
    }

    /// The same over a connection that is there.
    pub(crate) fn look_over(
        &self,
        client: &mut Client,
        journal: u64,
    ) -> Result<Look, ::postgres::Error> {
        let schema = quote(self.schema());
        let mut is_there = |table: &str| -> Result<bool, ::postgres::Error> {
            let there = client
                .query_one("SELECT to_regclass($1) IS NOT NULL", &[&format!("{schema}.{table}")])?;
            Ok(there.get(0))
        };
        let (identity, users, torrents, ledger) =
            (is_there("identity")?, is_there("users")?, is_there("torrents")?, is_there("ledger")?);
        let identity = match identity {
            true => client.query_opt(&format!("SELECT id::text FROM {schema}.identity"), &[])?,
            false => None,
        };
        let mut has_rows = |there: bool, table: &str| -> Result<bool, ::postgres::Error> {
            let any = format!("SELECT EXISTS (SELECT FROM {schema}.{table})");
            Ok(there && client.query_one(&any, &[])?.get(0))
        };
        let empty = !has_rows(users, "users")? && !has_rows(torrents, "torrents")?;
        let position = match ledger {
            true => client.query_opt(
                &format!("SELECT next FROM {schema}.ledger WHERE journal = $1"),
                &[&journal_name(journal)],
            )?,
            false => None,
        };
        Ok(Look {
            identity: identity.map(|row| row.get(0)),
            empty,
            position: position.and_then(|row| row.get::<_, i64>(0).try_into().ok()),
        })
    }

    /// Gives the database this identity: that of the data folder it belongs to, after it was restored from a
    /// time before there was one, or filled again.
    pub fn identify(&self, identity: &str) -> Result<(), DatabaseError> {
        let mut client = self.connect("identity")?;
        client
            .execute(
                "UPDATE identity SET id = $1::text::uuid WHERE id <> $1::text::uuid",
                &[&identity],
            )
            .map_err(self.failed("give the database its identity"))?;
        Ok(())
    }
}
