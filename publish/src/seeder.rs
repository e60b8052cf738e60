//! A Seeder: what the feed tells of is fetched and seeded.

use crate::options::Seeder;

/// Seeds until it is told to end.
pub fn run(options: &Seeder) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("not built yet")
}
