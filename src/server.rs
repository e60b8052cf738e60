//! The running tracker.

use crate::config::Config;

/// Why the tracker could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {}

/// Runs the tracker until it is told to stop.
pub fn run(config: &Config) -> Result<(), ServerError> {
    tracing::info!(?config, "ready");
    Ok(())
}
