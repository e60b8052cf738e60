//! From plain counters to the text that Prometheus reads.

use std::collections::BTreeMap;

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::table::{self as t, ALL, Kind, Metric};
use crate::counters::{
    Api, Books, Channel, Core, Family, Front, Journal, Ledger, Lists, Lookups, Protocol, Reason,
    SUSPICION_KINDS, Screened, Screening, SiteCalls, Snapshot, Tls,
};
use crate::health::Phase;
use crate::process::Process;
use crate::screening::Rule;
use crate::service::Service;

/// Everything the metrics are made of, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The copies the cores handed over, in core order.
    pub cores: &'a [Core],
    /// Where the process is in its life.
    pub phase: Phase,
    /// The figures of snapshots.
    pub snapshot: &'a Snapshot,
    /// The figures of the lists of torrents.
    pub lists: Lists,
    /// What is known of TLS.
    pub tls: &'a Tls,
    /// What the tracker listens for, and whether that is on.
    pub services: &'a [(Service, bool)],
    /// What is known of the rules of screening.
    pub screening: &'a Screening,
    /// Look-ups of countries.
    pub lookups: &'a Lookups,
    /// Who was turned away for its address elsewhere than on a core.
    pub screened: &'a Screened,
    /// The figures of the books; `None` unless the tracker is private, and then those metrics are missing.
    pub books: Option<&'a Books>,
    /// The figures of the API.
    pub api: Api,
    /// The kernel's figures; `None` where `/proc` cannot be read, and then those metrics are missing.
    pub process: Option<&'a Process>,
    /// Now, in seconds since the Unix epoch.
    pub now: f64,
}

/// Holds the metrics and renders them. Not global: each has its own registry.
#[derive(Debug)]
pub struct Exporter {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// In seconds since the Unix epoch.
    started: f64,
    /// By core: `busy_nanos` and `elapsed_nanos` of the reading before.
    before: Vec<(u64, u64)>,
}

impl Exporter {
    /// An exporter for the program of this `version`, `started` at this moment (seconds since the
    /// Unix epoch).
    pub fn new(version: &'static str, started: f64) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in ALL {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, metric.help.into()),
                Kind::FractionCounter | Kind::Gauge => {
                    recorder.describe_gauge(name, None, metric.help.into());
                }
            }
        }
        let handle = recorder.handle();
        let exporter = Self { recorder, handle, started, before: Vec::new() };
        exporter.set(&t::BUILD, &[version], 1.0);
        exporter.set(&t::START_TIME, &[], started);
        exporter
    }

    /// Takes over the values of `sample`. Costs one map lookup a series; call it when somebody asks.
    pub fn publish(&mut self, sample: &Sample<'_>) {
        self.publish_fronts(sample.cores);
        self.publish_cores(sample.cores);
        self.publish_channels(sample.cores);
        self.publish_snapshot(sample.snapshot, sample.now);
        self.publish_lists(&sample.lists);
        self.publish_proxies(sample.cores);
        if !sample.tls.certificates.is_empty() {
            self.publish_tls(sample.tls, sample.cores);
        }
        self.publish_services(sample);
        self.publish_screening(sample);
        self.publish_api(&sample.api);
        if let Some(books) = sample.books {
            self.publish_books(books, sample.cores);
            self.publish_calls(&books.calls);
            self.publish_journal(&books.journal);
            self.publish_ledger(&books.ledger, &books.journal, sample.now);
        }
        self.set(&t::READY, &[], yes(sample.phase.ready()));
        self.set(&t::CORES, &[], sample.cores.len() as f64);
        if let Some(process) = sample.process {
            self.publish_process(process);
        }
    }

    /// The text format (version 0.0.4), metrics in the order of the table, series sorted.
    pub fn render(&self) -> String {
        tidy(&self.handle.render())
    }

    fn publish_fronts(&self, cores: &[Core]) {
        for protocol in Protocol::ALL {
            for family in Family::ALL {
                let sum = |field: fn(&Front) -> u64| -> u64 {
                    cores
                        .iter()
                        .map(|core| field(&core.fronts[protocol as usize][family as usize]))
                        .sum()
                };
                let labels = [protocol.label(), family.label()];
                self.count(&t::ANNOUNCES, &labels, sum(|front| front.announces));
                self.count(&t::SCRAPES, &labels, sum(|front| front.scrapes));
                self.count(&t::RESPONSES, &labels, sum(|front| front.responses));
                self.count(&t::PEERS_SENT, &labels, sum(|front| front.peers_sent));
                self.count(&t::RECEIVED_BYTES, &labels, sum(|front| front.received_bytes));
                self.count(&t::SENT_BYTES, &labels, sum(|front| front.sent_bytes));
                match protocol {
                    Protocol::Udp => {
                        self.count(&t::CONNECTS, &labels[1..], sum(|front| front.connects));
                    }
                    Protocol::Http => {
                        let connections = sum(|front| front.connections);
                        self.count(&t::HTTP_CONNECTIONS, &labels[1..], connections);
                    }
                }
                for reason in Reason::ALL {
                    let refusals: u64 = cores
                        .iter()
                        .map(|core| &core.fronts[protocol as usize][family as usize])
                        .map(|front| front.refusals[reason as usize])
                        .sum();
                    let labels = [labels[0], labels[1], reason.label()];
                    self.count(&t::REFUSALS, &labels, refusals);
                }
            }
        }
    }

    fn publish_cores(&mut self, cores: &[Core]) {
        self.before.resize(cores.len(), (0, 0));
        for (number, core) in cores.iter().enumerate() {
            let name = number.to_string();
            let labels = [name.as_str()];
            self.set(&t::TORRENTS, &labels, core.totals.swarms as f64);
            self.set(&t::SEEDERS, &labels, core.totals.seeders as f64);
            self.set(&t::LEECHERS, &labels, core.totals.leechers as f64);
            self.set(&t::PEERS, &[&name, Family::V4.label()], core.totals.peers_v4 as f64);
            self.set(&t::PEERS, &[&name, Family::V6.label()], core.totals.peers_v6 as f64);
            self.count(&t::SNATCHES, &labels, core.snatches);
            self.count(&t::EXPIRED_PEERS, &labels, core.expired_peers);
            self.set(&t::INTERVAL, &labels, f64::from(core.interval_seconds));
            self.set(&t::HTTP_CONNECTIONS_OPEN, &labels, core.connections_open as f64);
            self.count(&t::CORE_WAKEUPS, &labels, core.wakeups);
            self.count(&t::UDP_BATCHES, &labels, core.udp_batches);
            self.count(&t::UDP_DATAGRAMS, &labels, core.udp_datagrams);
            self.count(&t::HTTP_BATCHES, &labels, core.http_batches);
            self.count(&t::HTTP_BATCHED, &labels, core.http_batched);
            self.set(&t::UDP_FILTERS, &labels, core.udp_filters as f64);
            self.count(&t::UDP_FILTER_DROPS, &labels, core.udp_filter_drops);
            let shed = core.udp_connects_shed as f64 / f64::from(1 << 16);
            self.set(&t::UDP_CONNECTS_SHED_RATIO, &labels, shed);
            self.count(&t::UDP_SEND_DROPS, &labels, core.udp_send_drops);
            self.count(&t::UDP_ERRORS_WITHHELD, &labels, core.udp_errors_withheld);
            self.count(&t::HOPS, &[&name, Protocol::Udp.label()], core.udp_hops);
            self.count(&t::HOPS, &[&name, Protocol::Http.label()], core.http_hops);
            self.set(&t::CORE_BUSY, &labels, seconds(core.busy_nanos));
            let (busy, elapsed) = self.before[number];
            let elapsed = core.elapsed_nanos.saturating_sub(elapsed);
            if elapsed > 0 {
                let busy = core.busy_nanos.saturating_sub(busy);
                self.before[number] = (core.busy_nanos, core.elapsed_nanos);
                self.set(&t::CORE_BUSY_RATIO, &labels, busy as f64 / elapsed as f64);
            }
        }
    }

    fn publish_channels(&self, cores: &[Core]) {
        let channels = cores.iter().enumerate().flat_map(|(from, core)| {
            core.channels.iter().enumerate().map(move |(to, channel)| (from, to, channel))
        });
        if cores.len() <= PAIRS_CORES_MAX {
            for (from, to, channel) in channels.filter(|(from, to, _)| from != to) {
                self.publish_channel(&from.to_string(), &to.to_string(), channel);
            }
            return;
        }
        let mut sums = BTreeMap::<usize, Channel>::new();
        for (_, to, channel) in channels {
            let sum = sums.entry(to).or_default();
            sum.sent += channel.sent;
            sum.dropped += channel.dropped;
            sum.depth += channel.depth;
            sum.capacity += channel.capacity;
        }
        for (to, channel) in &sums {
            self.publish_channel("all", &to.to_string(), channel);
        }
    }

    fn publish_channel(&self, from: &str, to: &str, channel: &Channel) {
        let labels = [from, to];
        self.count(&t::CHANNEL_REQUESTS, &labels, channel.sent);
        self.count(&t::CHANNEL_DROPS, &labels, channel.dropped);
        self.set(&t::CHANNEL_DEPTH, &labels, channel.depth as f64);
        self.set(&t::CHANNEL_CAPACITY, &labels, channel.capacity as f64);
    }

    fn publish_lists(&self, lists: &Lists) {
        if let Some(allowed) = lists.allowed {
            self.set(&t::LIST_TORRENTS, &["allow"], allowed as f64);
        }
        self.set(&t::LIST_TORRENTS, &["deny"], lists.denied as f64);
        self.count(&t::LIST_RELOAD_FAILURES, &[], lists.reloads_failed);
    }

    fn publish_proxies(&self, cores: &[Core]) {
        self.count(&t::PROXIES_SILENT, &[], cores.iter().map(|core| core.proxies_silent).sum());
        let percent = cores.iter().filter_map(|core| core.crowd).map(|(_, percent)| percent).max();
        self.set(&t::CROWD_RATIO, &[], f64::from(percent.unwrap_or(0)) / 100.0);
    }

    fn publish_services(&self, sample: &Sample<'_>) {
        for (service, is_on) in sample.services {
            let cores = || sample.cores.iter().map(|core| core.services[*service as usize]);
            let label = [service.label()];
            self.set(&t::SERVICE_ON, &label, yes(*is_on));
            self.set(&t::SERVICE_SHEDDING, &label, yes(cores().any(|core| core.is_shedding)));
            self.count(&t::SHED, &label, cores().map(|core| core.shed).sum());
        }
    }

    fn publish_screening(&self, sample: &Sample<'_>) {
        let mut screened = sample.screened.clone();
        sample.cores.iter().for_each(|core| screened.add(&core.screened));
        // From the start on, so that a first refusal is an increase.
        for rule in [Rule::Network, Rule::Unknown, Rule::Ban] {
            self.count(&t::SCREENED, &[rule.label(), "none"], 0);
        }
        for (rule, country, count) in screened.denied() {
            let country = country.map_or("none".to_owned(), |country| country.to_string());
            self.count(&t::SCREENED, &[rule.label(), &country], count);
        }
        self.count(&t::SCREENING_DEFERRED, &[], screened.deferred);
        self.count(&t::SCREENING_RELOAD_FAILURES, &[], sample.screening.failures);
        self.set(&t::SCREENING_BANS, &[], sample.screening.bans as f64);
        let sizes = sample.screening.sizes.unwrap_or_default();
        let set = |metric, label: &str, size: usize| self.set(metric, &[label], size as f64);
        set(&t::SCREENING_NETWORKS, "deny", sizes.denied_networks);
        set(&t::SCREENING_NETWORKS, "allow", sizes.allowed_networks);
        set(&t::SCREENING_RANGES, Family::V4.label(), sizes.ranges_v4);
        set(&t::SCREENING_RANGES, Family::V6.label(), sizes.ranges_v6);
        let lookups = sample.lookups;
        for (result, count) in [
            ("country", lookups.found),
            ("none", lookups.nowhere),
            ("failed", lookups.failed),
            ("unreadable", lookups.unreadable),
        ] {
            self.count(&t::SCREENING_LOOKUPS, &[result], count);
        }
        self.count(&t::SCREENING_LOOKUPS_LEFT_OUT, &[], lookups.left_out);
        self.set(&t::SCREENING_LOOKUPS_WAITING, &[], lookups.waiting as f64);
        self.set(&t::SCREENING_LOOKUP_NETWORKS, &[], lookups.networks as f64);
    }

    fn publish_tls(&self, tls: &Tls, cores: &[Core]) {
        let sum = |field: fn(&Core) -> u64| cores.iter().map(field).sum::<u64>();
        self.count(&t::TLS_HANDSHAKES, &["full"], sum(|core| core.tls_full));
        self.count(&t::TLS_HANDSHAKES, &["resumed"], sum(|core| core.tls_resumed));
        self.count(&t::TLS_FAILURES, &[], sum(|core| core.tls_failures));
        self.count(&t::TLS_RELOAD_FAILURES, &[], tls.failures);
        for certificate in &tls.certificates {
            let labels = [certificate.file.as_str()];
            self.set(&t::TLS_CERTIFICATE_EXPIRY, &labels, certificate.not_after as f64);
        }
    }

    fn publish_snapshot(&self, snapshot: &Snapshot, now: f64) {
        self.count(&t::SNAPSHOTS, &[], snapshot.written);
        self.count(&t::SNAPSHOT_FAILURES, &[], snapshot.failed);
        if let Some(newest) = snapshot.newest {
            self.set(&t::SNAPSHOT_TIMESTAMP, &[], newest as f64);
        }
        let since = snapshot.newest.map_or(self.started, |newest| newest as f64);
        self.set(&t::SNAPSHOT_AGE, &[], (now - since).max(0.0));
        self.set(&t::SNAPSHOT_DURATION, &[], seconds(snapshot.write_nanos));
        self.set(&t::SNAPSHOT_SIZE, &[], snapshot.bytes as f64);
        self.set(&t::SNAPSHOT_PEERS, &[], snapshot.peers as f64);
        self.set(&t::SNAPSHOT_TORRENTS, &[], snapshot.torrents as f64);
        self.set(&t::LOAD_DURATION, &[], seconds(snapshot.load_nanos));
        self.set(&t::LOADED_PEERS, &[], snapshot.loaded_peers as f64);
    }

    fn publish_books(&self, books: &Books, cores: &[Core]) {
        self.set(&t::ACCOUNTS, &[], books.accounts as f64);
        for (number, core) in cores.iter().enumerate() {
            let name = number.to_string();
            self.set(&t::REGISTERED_TORRENTS, &[&name], core.totals.swarms as f64);
            self.set(&t::TOKENS, &[&name], core.tokens as f64);
            self.count(&t::EARLY_ANNOUNCES, &[&name], core.early_announces);
            self.count(&t::LATE_ANNOUNCES, &[&name], core.late_announces);
            self.count(&t::IMPOSSIBLE_ANNOUNCES, &[&name], core.impossible_announces);
            self.set(&t::RECORDS_WAITING, &[&name], core.records_waiting as f64);
        }
    }

    fn publish_calls(&self, calls: &SiteCalls) {
        self.count(&t::SITE_CALLS, &[], calls.calls);
        self.count(&t::SITE_CALL_FAILURES, &[], calls.failures);
        self.count(&t::SITE_TOKENS_TOLD, &[], calls.told);
        self.set(&t::SITE_TOKENS_WAITING, &[], calls.waiting as f64);
    }

    fn publish_api(&self, api: &Api) {
        self.count(&t::API_REQUESTS, &["done"], api.done);
        self.count(&t::API_REQUESTS, &["unauthorized"], api.unauthorized);
        self.count(&t::API_REQUESTS, &["refused"], api.refused);
        self.count(&t::API_REQUESTS, &["unavailable"], api.unavailable);
        self.count(&t::API_CHANGES, &[], api.changes);
        self.set(&t::API_TRACES, &[], api.traces as f64);
        self.count(&t::API_TRACE_DROPS, &[], api.trace_drops);
    }

    fn publish_journal(&self, journal: &Journal) {
        self.count(&t::JOURNAL_RECORDS, &[], journal.records);
        self.set(&t::JOURNAL_BEGIN, &[], journal.begin as f64);
        self.set(&t::JOURNAL_END, &[], journal.end as f64);
        self.set(&t::JOURNAL_DURABLE, &[], journal.durable as f64);
        self.set(&t::JOURNAL_SIZE, &[], journal.bytes as f64);
        self.set(&t::JOURNAL_SIZE_MAX, &[], journal.bytes_max as f64);
        self.set(&t::JOURNAL_KEPT, &[], journal.kept_bytes as f64);
        self.set(&t::JOURNAL_ACCEPTING, &[], yes(journal.accepting));
        self.count(&t::JOURNAL_REFUSED_BATCHES, &[], journal.refused_batches);
        self.count(&t::JOURNAL_REFUSED_RECORDS, &[], journal.refused_records);
        self.count(&t::JOURNAL_SYNCS, &[], journal.syncs);
        self.set(&t::JOURNAL_DAMAGED, &[], journal.damaged as f64);
        if let Some(synced_at) = journal.synced_at {
            self.set(&t::JOURNAL_SYNC_TIMESTAMP, &[], synced_at);
        }
        self.set(&t::JOURNAL_SYNC_DURATION, &[], seconds(journal.sync_nanos));
    }

    fn publish_ledger(&self, ledger: &Ledger, journal: &Journal, now: f64) {
        for state in ledger.states {
            self.set(&t::BOOKS_STATE, &[state], yes(*state == ledger.state));
        }
        self.set(&t::GAPS, &[], ledger.gaps.0 as f64);
        self.set(&t::GAP_RECORDS, &[], ledger.gaps.1 as f64);
        self.set(&t::DATABASE_CONNECTED, &[], yes(ledger.connected));
        self.set(&t::WATCH_CONNECTED, &[], yes(ledger.watching));
        if let Some(position) = ledger.position {
            self.set(&t::LEDGER_BEHIND, &[], journal.end.saturating_sub(position) as f64);
            self.set(&t::LEDGER_POSITION, &[], position as f64);
            let age = ledger.oldest_at.map_or(0.0, |oldest_at| (now - oldest_at).max(0.0));
            self.set(&t::LEDGER_AGE, &[], age);
        }
        self.count(&t::LEDGER_FACTS, &[], ledger.facts);
        self.count(&t::LEDGER_CHANGES, &[], ledger.changes);
        self.count(&t::LEDGER_BATCHES, &[], ledger.batches);
        self.set(&t::LEDGER_BATCH_TIME, &[], seconds(ledger.batches_nanos));
        self.set(&t::LEDGER_BATCH_DURATION, &[], seconds(ledger.batch_nanos));
        self.set(&t::LEDGER_BATCH_RECORDS, &[], ledger.batch_records as f64);
        self.set(&t::LEDGER_BATCH_RECORDS_MAX, &[], ledger.batch_max as f64);
        self.count(&t::LEDGER_RETRIES, &[], ledger.retries);
        self.count(&t::LEDGER_REJECTED, &[], ledger.rejected);
        self.count(&t::LEDGER_UNKNOWN, &["user"], ledger.unknown_users);
        self.count(&t::LEDGER_UNKNOWN, &["torrent"], ledger.unknown_torrents);
        self.count(&t::LEDGER_UNKNOWN, &["token"], ledger.unknown_tokens);
        for (kind, count) in SUSPICION_KINDS.into_iter().zip(ledger.suspected) {
            self.count(&t::SUSPECTED, &[kind], count);
        }
        self.count(&t::WATCH_NOTICES, &[], ledger.notices);
        self.count(&t::WATCH_UNHEARD, &[], ledger.unheard);
        self.count(&t::WATCH_SET_ASIDE, &[], ledger.set_aside);
        self.count(&t::WATCH_RELOADS, &[], ledger.reloads);
    }

    fn publish_process(&self, process: &Process) {
        self.set(&t::PROCESS_CPU, &[], process.cpu_seconds);
        self.set(&t::RESIDENT, &[], process.resident_bytes as f64);
        self.set(&t::RESIDENT_MAX, &[], process.resident_max_bytes as f64);
        self.set(&t::OPEN_FILES, &[], process.open_files as f64);
        self.set(&t::OPEN_FILES_MAX, &[], process.open_files_max as f64);
        self.set(&t::THREADS, &[], process.threads as f64);
        self.count(&t::UDP_RECEIVE_DROPS, &[], process.udp_receive_drops);
    }

    fn count(&self, metric: &Metric, labels: &[&str], value: u64) {
        debug_assert_eq!(metric.kind, Kind::Counter, "{}", metric.name);
        self.recorder.register_counter(&key(metric, labels), &METADATA).absolute(value);
    }

    fn set(&self, metric: &Metric, labels: &[&str], value: f64) {
        debug_assert_ne!(metric.kind, Kind::Counter, "{}", metric.name);
        self.recorder.register_gauge(&key(metric, labels), &METADATA).set(value);
    }
}

fn key(metric: &Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<Label> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

/// The library renders in the order of its hash tables and knows no counters of fractions, which are
/// gauges to it. People compare two pages with `diff`, and Prometheus shows the type of a metric: so
/// put the metrics in the order of the table, their series in order, and the declared type in.
fn tidy(text: &str) -> String {
    let blocks: BTreeMap<&str, &str> = text
        .split("\n\n")
        .filter_map(|block| {
            let name = block.strip_prefix("# HELP ")?.split(' ').next()?;
            Some((name, block))
        })
        .collect();
    let mut page = String::with_capacity(text.len());
    for metric in ALL {
        let Some(block) = blocks.get(metric.name) else { continue };
        let mut series: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        series.sort_unstable_by_key(|line| (line.len(), *line)); // Core 10 after core 9.
        let (name, help, kind) = (metric.name, metric.help, metric.kind.word());
        page.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for line in series {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

fn yes(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Up to so many cores every pair has its own series: 4 × 240 of them at most.
const PAIRS_CORES_MAX: usize = 16;

const METADATA: Metadata<'_> = Metadata::new("margay", Level::INFO, None);

#[cfg(test)]
mod tests {
    use super::super::table::Trackers;
    use super::*;
    use crate::counters::ShownCertificate;
    use crate::screening::{Country, Sizes};
    use shard::Totals;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn core(cores: usize, scale: u64) -> Core {
        let mut core = Core {
            channels: vec![Channel { sent: 7, dropped: 1, depth: 2, capacity: 64 }; cores],
            totals: Totals { swarms: 3, peers_v4: 20, peers_v6: 4, seeders: 9, leechers: 15 },
            busy_nanos: 250_000_000 * scale,
            elapsed_nanos: 1_000_000_000 * scale,
            interval_seconds: 1800,
            udp_hops: 5,
            ..Core::default()
        };
        core.front(Protocol::Udp, Family::V6).announces = 11 * scale;
        core.front(Protocol::Http, Family::V4).refuse(Reason::TooLarge);
        core
    }

    fn exporter(cores: &[Core], snapshot: &Snapshot) -> Exporter {
        exporter_of(cores, snapshot, None)
    }

    fn exporter_of(cores: &[Core], snapshot: &Snapshot, books: Option<&Books>) -> Exporter {
        let mut exporter = Exporter::new("1.2.3", 1000.0);
        let process = Process { resident_bytes: 4096, cpu_seconds: 1.25, ..Process::default() };
        let mut screened = Screened::default();
        screened.deny(Rule::Country, Country::parse("CU"));
        exporter.publish(&Sample {
            api: Api { unauthorized: 2, ..Api::default() },
            cores,
            phase: Phase::Ready,
            snapshot,
            lists: Lists { allowed: Some(3), denied: 2, reloads_failed: 1 },
            tls: &Tls {
                certificates: vec![ShownCertificate {
                    file: "a.pem".to_owned(),
                    names: "a.example".to_owned(),
                    not_after: 2000,
                }],
                ..Tls::default()
            },
            services: &[(Service::Udp4, true), (Service::Https6, false)],
            screening: &Screening { sizes: Some(Sizes::default()), ..Screening::default() },
            lookups: &Lookups { found: 3, ..Lookups::default() },
            screened: &screened,
            books,
            process: Some(&process),
            now: 1060.0,
        });
        exporter
    }

    fn page(cores: &[Core], snapshot: &Snapshot) -> String {
        exporter(cores, snapshot).render()
    }

    /// The books of a tracker whose database has been away for a minute.
    fn books() -> Books {
        Books {
            accounts: 7,
            journal: Journal {
                records: 30,
                begin: 100,
                end: 150,
                durable: 149,
                accepting: true,
                synced_at: Some(1059.5),
                sync_nanos: 2_000_000,
                ..Journal::default()
            },
            ledger: Ledger {
                state: "up",
                states: &["up", "away"],
                state_text: "all is well",
                position: Some(140),
                oldest_at: Some(1000.0),
                unknown_torrents: 3,
                batches_nanos: 1_500_000_000,
                ..Ledger::default()
            },
            calls: SiteCalls { calls: 4, failures: 3, told: 1, waiting: 2 },
        }
    }

    /// The page has these lines.
    fn check(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(page.lines().any(|found| found == *line), "no line {line:?} in\n{page}");
        }
    }

    #[test]
    fn every_declared_metric_is_rendered_with_its_help_and_type() {
        let snapshot = Snapshot { newest: Some(1030), ..Snapshot::default() };
        let page = exporter_of(&[core(2, 1), core(2, 2)], &snapshot, Some(&books())).render();
        for metric in ALL {
            let (name, kind) = (metric.name, metric.kind.word());
            check(&page, &[&format!("# HELP {name} {}", metric.help)]);
            check(&page, &[&format!("# TYPE {name} {kind}")]);
            let series = |line: &str| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
            };
            assert!(page.lines().any(series), "{name} has no series");
        }
        assert_eq!(page.matches("# TYPE ").count(), ALL.len());
    }

    #[test]
    fn cores_are_summed_by_protocol_and_family_or_told_apart() {
        let page = page(&[core(2, 1), core(2, 2)], &Snapshot::default());
        check(
            &page,
            &[
                r#"margay_announces_total{protocol="udp",family="ipv6"} 33"#,
                r#"margay_announces_total{protocol="udp",family="ipv4"} 0"#,
                r#"margay_refusals_total{protocol="http",family="ipv4",reason="too_large"} 2"#,
                r#"margay_peers{core="1",family="ipv6"} 4"#,
                r#"margay_hops_total{core="0",protocol="udp"} 5"#,
                r#"margay_core_busy_seconds_total{core="1"} 0.5"#,
                r#"margay_core_busy_ratio{core="1"} 0.25"#,
                r#"margay_channel_depth{from="0",to="1"} 2"#,
                r#"margay_build_info{version="1.2.3"} 1"#,
                "margay_process_resident_memory_bytes 4096",
                "margay_process_cpu_seconds_total 1.25",
                "margay_ready 1",
            ],
        );
        assert!(!page.contains(r#"from="0",to="0""#), "a core has no channel to itself");
    }

    #[test]
    fn the_busy_ratio_is_that_of_the_time_between_two_readings() {
        let snapshot = Snapshot::default();
        let mut exporter = exporter(&[core(1, 1)], &snapshot);
        let mut later = core(1, 1);
        later.busy_nanos += 900_000_000;
        later.elapsed_nanos += 1_000_000_000;
        let cores = [later];
        let mut sample = Sample {
            api: Api { unauthorized: 2, ..Api::default() },
            cores: &cores,
            phase: Phase::Draining,
            snapshot: &snapshot,
            lists: Lists::default(),
            tls: &Tls::default(),
            services: &[],
            screening: &Screening::default(),
            lookups: &Lookups::default(),
            screened: &Screened::default(),
            books: None,
            process: None,
            now: 1061.0,
        };
        exporter.publish(&sample);
        check(&exporter.render(), &[r#"margay_core_busy_ratio{core="0"} 0.9"#, "margay_ready 0"]);
        // Nothing new from the core: the last ratio stands.
        sample.now = 1062.0;
        exporter.publish(&sample);
        check(&exporter.render(), &[r#"margay_core_busy_ratio{core="0"} 0.9"#]);
    }

    #[test]
    fn the_age_counts_from_the_start_until_there_is_a_snapshot() {
        let none = page(&[], &Snapshot::default());
        check(&none, &["margay_snapshot_age_seconds 60"]);
        assert!(!none.contains("margay_snapshot_last_success_timestamp_seconds"));
        let snapshot = Snapshot { newest: Some(1045), bytes: 99, ..Snapshot::default() };
        check(
            &page(&[], &snapshot),
            &["margay_snapshot_age_seconds 15", "margay_snapshot_size_bytes 99"],
        );
    }

    #[test]
    fn the_books_are_told_of_a_private_tracker_alone() {
        let snapshot = Snapshot::default();
        let mut books = books();
        let cores = [Core { records_waiting: 9, tokens: 4, ..core(2, 1) }, core(2, 1)];
        check(
            &exporter_of(&cores, &snapshot, Some(&books)).render(),
            &[
                "margay_accounts 7",
                "margay_journal_records_total 30",
                "margay_journal_accepting 1",
                "margay_journal_last_sync_timestamp_seconds 1059.5",
                "margay_journal_sync_duration_seconds 0.002",
                "margay_database_connected 0",
                "margay_ledger_oldest_age_seconds 60",
                "margay_ledger_records_behind 10",
                "margay_ledger_batch_seconds_total 1.5",
                r#"margay_ledger_unknown_total{what="torrent"} 3"#,
                "margay_site_calls_total 4",
                "margay_site_call_failures_total 3",
                "margay_site_tokens_told_total 1",
                "margay_site_tokens_waiting 2",
                r#"margay_records_waiting{core="0"} 9"#,
                r#"margay_tokens{core="0"} 4"#,
                r#"margay_registered_torrents{core="0"} 3"#,
            ],
        );
        books.ledger.oldest_at = None;
        let page = exporter_of(&cores, &snapshot, Some(&books)).render();
        check(&page, &["margay_ledger_oldest_age_seconds 0"]);

        // A start without the database: nobody knows what that has, so 0 would be a guess.
        books.ledger.position = None;
        let page = exporter_of(&cores, &snapshot, Some(&books)).render();
        assert!(!page.contains("margay_ledger_oldest_age_seconds"), "{page}");
        check(&page, &["margay_database_connected 0"]);

        let public = exporter(&cores, &snapshot).render();
        for metric in ALL {
            let told = public.contains(&format!("# TYPE {} ", metric.name));
            let expected = metric.of != Trackers::Private && metric != &t::SNAPSHOT_TIMESTAMP;
            assert_eq!(told, expected, "{}", metric.name);
        }
    }

    #[test]
    fn many_cores_have_one_series_of_channels_for_each_receiver() {
        let cores = vec![core(20, 1); 20];
        let page = page(&cores, &Snapshot::default());
        check(&page, &[r#"margay_channel_depth{from="all",to="19"} 40"#]);
        assert_eq!(page.matches("margay_channel_depth{").count(), 20);
    }

    #[test]
    fn promtool_accepts_the_page() {
        let snapshot = Snapshot { newest: Some(1030), ..Snapshot::default() };
        let page = exporter_of(&[core(2, 1), core(2, 2)], &snapshot, Some(&books())).render();
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("promtool is needed: install the Debian package prometheus");
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && said.is_empty(),
            "promtool says {}: {}",
            output.status,
            String::from_utf8_lossy(&said)
        );
    }
}
