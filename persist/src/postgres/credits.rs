//! What users were credited, as their rows say it.

use std::collections::HashMap;

use ::postgres::Client;
use shard::private::UserId;

use super::session::let_go;
use super::{Database, DatabaseError};

/// What a user was credited so far, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Credited {
    /// For uploads.
    pub uploaded: u64,
    /// For downloads.
    pub downloaded: u64,
}

/// A connection over which it is read, made when it is needed and kept.
pub struct Credits {
    database: Database,
    client: Option<Client>,
}

impl Credits {
    /// Nothing connects yet.
    pub fn new(database: Database) -> Self {
        Self { database, client: None }
    }

    /// What these users were credited; whoever has no row is not in it. Takes two seconds at most once it is
    /// connected, where the server keeps its own time.
    pub fn of(&mut self, users: &[UserId]) -> Result<HashMap<UserId, Credited>, DatabaseError> {
        let failed = self.database.failed("read what users were credited");
        let mut client = match self.client.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => {
                let mut client = self.database.connect("credits")?;
                client.batch_execute("SET statement_timeout = '2s'").map_err(&failed)?;
                client
            }
        };
        let ids: Vec<i64> = users.iter().map(|user| user.0.into()).collect();
        match client.query("SELECT id, uploaded, downloaded FROM users WHERE id = ANY($1)", &[&ids])
        {
            Ok(rows) => {
                self.client = Some(client);
                let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
                let credited = rows.iter().filter_map(|row| {
                    let user = UserId(u32::try_from(row.get::<_, i64>(0)).ok()?);
                    let (uploaded, downloaded) = (bytes(row.get(1)), bytes(row.get(2)));
                    Some((user, Credited { uploaded, downloaded }))
                });
                Ok(credited.collect())
            }
            Err(error) => {
                let_go(client);
                Err(failed(error))
            }
        }
    }
}
