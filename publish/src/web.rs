//! What is served over HTTP: the control listener with status, metrics, health and commands; and the public one with
//! docroot, feed and content.

mod certificates;
pub mod control;
mod files;
mod listener;
mod metrics;
pub mod page;
pub mod status;

pub use certificates::Certificates;
pub use control::{Command, Control, Ordered};
pub use files::{Content, SEEDER_HEADER, Served, public};
pub use listener::{Listener, ListenerError};
pub use metrics::reference;
