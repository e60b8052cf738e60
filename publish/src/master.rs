//! The Master: a file that came becomes a torrent that is seeded and told of.

use crate::options::Master;

/// Publishes until it is told to end.
pub fn run(options: &Master) -> anyhow::Result<()> {
    let _ = options;
    anyhow::bail!("not built yet")
}
