//! Metrics for Prometheus, each declared once: the exporter and the reference page read this table.

use std::fmt::{self, Write};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::status::{FileState, Role, Status};

/// The values of a metric: those of its labels, and the value.
type Series = Vec<(Vec<String>, f64)>;

/// A declared metric.
struct Metric {
    name: &'static str,
    is_counter: bool,
    labels: &'static [&'static str],
    help: &'static str,
    /// The series: values of the labels, and the value.
    series: fn(&Status) -> Series,
}

fn one(value: f64) -> Series {
    vec![(Vec::new(), value)]
}

fn by_feed(status: &Status, value: fn(&super::status::Feed) -> f64) -> Series {
    // Without the key behind `#`, which is no part of where it is.
    let address =
        |feed: &super::status::Feed| feed.address.split('#').next().unwrap_or_default().to_owned();
    status.feeds.iter().map(|feed| (vec![address(feed)], value(feed))).collect()
}

static ALL: &[Metric] = &[
    Metric {
        name: "margay_publish_build_info",
        is_counter: false,
        labels: &["version", "role"],
        help: "1, with the version and what the node is.",
        series: |status| vec![(vec![status.version.clone(), role(status.role).to_owned()], 1.0)],
    },
    Metric {
        name: "margay_publish_start_time_seconds",
        is_counter: false,
        labels: &[],
        help: "When the process started, in seconds since 1970.",
        series: |status| one(status.started as f64),
    },
    Metric {
        name: "margay_publish_screened_total",
        is_counter: true,
        labels: &[],
        help: "Connections that were closed, not made or told to come back, as the rules about addresses refuse or defer who is there.",
        series: |status| one(status.screened as f64),
    },
    Metric {
        name: "margay_publish_screening_lookups_total",
        is_counter: true,
        labels: &["result"],
        help: "Countries that were looked up by DNS, by what came of it: `country`, `none` (nobody knows), `failed` (no usable answer from any name server) or `unreadable`.",
        series: |status| {
            let all = status.lookups;
            [
                ("country", all.country),
                ("none", all.none),
                ("failed", all.failed),
                ("unreadable", all.unreadable),
            ]
            .map(|(result, count)| (vec![result.to_owned()], count as f64))
            .to_vec()
        },
    },
    Metric {
        name: "margay_publish_files",
        is_counter: false,
        labels: &["state"],
        help: "Files and folders, by where they are on their way.",
        series: |status| {
            let count = |state| status.files.iter().filter(|file| file.state == state).count();
            FileState::ALL
                .iter()
                .map(|state| (vec![state.word().to_owned()], count(*state) as f64))
                .collect()
        },
    },
    Metric {
        name: "margay_publish_seeded_bytes",
        is_counter: false,
        labels: &[],
        help: "Bytes of content that is seeded.",
        series: |status| {
            let seeding = status.files.iter().filter(|file| file.state == FileState::Seeding);
            one(seeding.map(|file| file.size).sum::<u64>() as f64)
        },
    },
    Metric {
        name: "margay_publish_work_bytes",
        is_counter: false,
        labels: &["part"],
        help: "Bytes that are hashed or fetched now: done, and all.",
        series: |status| {
            let (done, all) = status.progress.unwrap_or_default();
            vec![(vec!["done".to_owned()], done as f64), (vec!["all".to_owned()], all as f64)]
        },
    },
    Metric {
        name: "margay_publish_uploaded_bytes_total",
        is_counter: true,
        labels: &[],
        help: "Bytes of content uploaded to peers.",
        series: |status| one(status.uploaded as f64),
    },
    Metric {
        name: "margay_publish_peers",
        is_counter: false,
        labels: &[],
        help: "Peers that are connected.",
        series: |status| one(status.peers as f64),
    },
    Metric {
        name: "margay_publish_seeders",
        is_counter: false,
        labels: &[],
        help: "Seeders that have asked a Master for its feed in the last ten minutes.",
        series: |status| one(status.seeders.len() as f64),
    },
    Metric {
        name: "margay_publish_troubles",
        is_counter: false,
        labels: &[],
        help: "Things that are wrong now; /health has them in words.",
        series: |status| one(status.troubles.len() as f64),
    },
    Metric {
        name: "margay_publish_feed_items",
        is_counter: false,
        labels: &["feed"],
        help: "Torrents in the last good list of a feed.",
        series: |status| by_feed(status, |feed| feed.items as f64),
    },
    Metric {
        name: "margay_publish_feed_generation",
        is_counter: false,
        labels: &["feed"],
        help: "Number of the last good list of a feed.",
        series: |status| by_feed(status, |feed| feed.generation as f64),
    },
    Metric {
        name: "margay_publish_feed_epoch",
        is_counter: false,
        labels: &["feed"],
        help: "Epoch of the Master of the last good list.",
        series: |status| by_feed(status, |feed| feed.epoch as f64),
    },
    Metric {
        name: "margay_publish_feed_timestamp_seconds",
        is_counter: false,
        labels: &["feed"],
        help: "When a Master wrote its feed, or a Seeder read it last and it was good or unchanged, in seconds since 1970.",
        series: |status| by_feed(status, |feed| feed.at as f64),
    },
    Metric {
        name: "margay_publish_feed_up",
        is_counter: false,
        labels: &["feed"],
        help: "1 when nothing is wrong with a feed.",
        series: |status| by_feed(status, |feed| f64::from(feed.trouble.is_none())),
    },
];

fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Standby => "standby",
        Role::Seeder => "seeder",
    }
}

/// Renders the metrics.
pub(super) struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

impl Exporter {
    pub(super) fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            let name = KeyName::from_const_str(metric.name);
            match metric.is_counter {
                true => recorder.describe_counter(name, None, metric.help.into()),
                false => recorder.describe_gauge(name, None, metric.help.into()),
            }
        }
        let handle = recorder.handle();
        Self { recorder, handle }
    }

    /// The text format (version 0.0.4).
    pub(super) fn render(&self, status: &Status) -> String {
        static META: Metadata<'static> = Metadata::new("publish", Level::INFO, None);
        for metric in ALL {
            for (values, value) in (metric.series)(status) {
                let labels: Vec<Label> = metric
                    .labels
                    .iter()
                    .zip(values)
                    .map(|(name, value)| Label::new(*name, value))
                    .collect();
                let key = Key::from_parts(metric.name, labels);
                match metric.is_counter {
                    true => self.recorder.register_counter(&key, &META).absolute(value as u64),
                    false => self.recorder.register_gauge(&key, &META).set(value),
                }
            }
        }
        self.handle.render()
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics of the publisher\n\nMade from the table in `publish/src/web/metrics.rs`. They are at `/metrics` of \
         the control listener.\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in ALL {
        let kind = if metric.is_counter { "counter" } else { "gauge" };
        let labels =
            metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(page, "| `{}` | {kind} | {labels} | {} |", metric.name, metric.help);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::super::status::File;
    use super::*;

    #[test]
    fn every_metric_is_on_the_page_with_its_help() {
        let mut status = Status { uploaded: 7, ..Status::default() };
        status.files.push(File { state: FileState::Seeding, size: 5, ..File::default() });
        status.feeds.push(super::super::status::Feed {
            address: "http://h/feed.xml#ed25519=x".to_owned(),
            ..Default::default()
        });
        let text = Exporter::new().render(&status);
        for metric in ALL {
            assert!(
                text.contains(&format!("# HELP {} {}", metric.name, metric.help)),
                "{}: {text}",
                metric.name
            );
        }
        assert!(text.contains("margay_publish_files{state=\"seeding\"} 1"), "{text}");
        assert!(text.contains("margay_publish_uploaded_bytes_total 7"), "{text}");
        assert!(text.contains("margay_publish_feed_up{feed=\"http://h/feed.xml\"} 1"), "{text}");
    }
}
