//! The database that the options name.

use persist::{Database, DatabaseError};

use super::{Config, Secret, SecretError};

/// Why it cannot be used, before anybody has connected to it.
#[derive(Debug, thiserror::Error)]
pub enum GivenDatabaseError {
    /// The file with its password.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Its URL, the name of its schema, or the certificates of the system.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Config {
    /// The database that the options name, with its password; `None` where they name none. Nothing connects.
    pub fn given_database(&self) -> Result<Option<Database>, GivenDatabaseError> {
        let password = Secret::given(None, self.database_password_file.as_deref())?;
        let Some(url) = &self.database else { return Ok(None) };
        let password = password.as_ref().map(Secret::reveal);
        Ok(Some(Database::new(url.reveal(), password, &self.database_schema.0)?))
    }
}
