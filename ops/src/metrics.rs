//! Metrics for Prometheus: what is told ([`ALL`]), and how counters become text ([`Exporter`]).

mod exporter;
mod table;

pub use exporter::{Exporter, Sample};
pub use table::{ALL, Kind, Metric, Trackers, Unit, reference};
