//! Commands that ask a Master or a Seeder that is running.

use std::io::Write;

use crate::options::{Master, Seeder};

/// Options that say where the Master or the Seeder is.
pub const PLACE: &[&str] = &["config", "control", "data"];

/// Options that say where the feed's key is, and what its address is.
pub const KEY: &[&str] = &["config", "data", "feed-url", "key-file"];

/// What is asked of a Master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// How it is.
    Status,
    /// What it publishes, name by name.
    List,
    /// To publish these names no longer.
    Withdraw(Vec<String>),
    /// To publish these names anew.
    Republish(Vec<String>),
    /// To be the Master from now on.
    Promote,
}

/// Asks the Master that `options` say the place of, and writes its answer; as JSON where that is wanted.
pub fn master(options: &Master, ask: &Ask, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let _ = (options, ask, json, out);
    anyhow::bail!("not built yet")
}

/// The same for the state of a Seeder.
pub fn seeder(options: &Seeder, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let _ = (options, json, out);
    anyhow::bail!("not built yet")
}

/// Writes the address of the feed with its public key, as Seeders are to be given it. The key is made where there is none.
pub fn key(options: &Master, out: &mut dyn Write) -> anyhow::Result<()> {
    let _ = (options, out);
    anyhow::bail!("not built yet")
}
