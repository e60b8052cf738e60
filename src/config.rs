//! Every option of the tracker.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Config {
    /// Cores to use; `None` for all.
    pub cores: Option<usize>,
    /// UDP addresses to answer on.
    pub udp: Vec<SocketAddr>,
    /// HTTP addresses to answer on.
    pub http: Vec<SocketAddr>,
    /// Where metrics and health are served; `None` for nowhere.
    pub control: Option<SocketAddr>,
    /// Where snapshots and the connection-id key are kept.
    pub data: PathBuf,
    /// Announce interval.
    pub interval: Duration,
}
