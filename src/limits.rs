//! Limits of the system.

use crate::config::Config;

/// Raises what can be raised.
pub fn prepare(_config: &Config) {}
