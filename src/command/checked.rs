//! `config check`: what a start with a file would see, without starting.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use ops::lists::TorrentLists;
use ops::tls::Served;

use crate::config::{self, Config, ConfigError, Environment};
use ops::log::ErrorChain;

/// A mistake that a start would not get beyond.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The options.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What they name.
    #[error("{path}: what it names cannot be used{}", .wrong.iter().map(|text| format!("\n  {text}")).collect::<String>())]
    Named {
        /// The file that was checked.
        path: String,
        /// The mistakes in words, one line each.
        wrong: Vec<String>,
    },
    /// Nobody reads.
    #[error("cannot write to standard output")]
    Output(#[from] std::io::Error),
}

/// Reads the file at `path` and this environment as a start would, and the files that they name. A database is
/// not asked: only what its URL says is looked at.
pub fn check(
    path: &Path,
    environment: &Environment,
    out: &mut impl Write,
) -> Result<(), CheckError> {
    let loaded = config::check_file(path, environment)?;
    let wrong = named(&loaded.config);
    if !wrong.is_empty() {
        return Err(CheckError::Named { path: path.display().to_string(), wrong });
    }
    let name = path.display().to_string();
    for warning in &loaded.warnings {
        // One about a line says of which file.
        match warning.starts_with(&name) {
            true => writeln!(out, "{warning}")?,
            false => writeln!(out, "{name}: {warning}")?,
        }
    }
    Ok(writeln!(out, "{}: no mistakes", path.display())?)
}

/// The mistakes in the files and the database that the options name, one line each.
fn named(config: &Config) -> Vec<String> {
    let lists = TorrentLists::load(config.allow_list.as_deref(), config.deny_list.as_deref());
    let mut wrong = Vec::new();
    wrong.extend(lists.err().map(said));
    wrong.extend(config.tls_files().and_then(|files| Served::check(&files)).err().map(said));
    let screening = config.screening().map(|sources| sources.read(false));
    wrong.extend(screening.and_then(Result::err).map(said));
    wrong.extend(config.given_connection_id_key().err().map(said));
    wrong.extend(config.given_ocelot_site_password().err().map(said));
    wrong.extend(config.given_ocelot_report_password().err().map(said));
    wrong.extend(config.given_database().err().map(said));
    wrong
}

fn said(error: impl Error) -> String {
    ErrorChain(&error).to_string()
}
