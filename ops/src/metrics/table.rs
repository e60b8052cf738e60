//! Every metric, declared once: the exporter, the reference page, and the checks of dashboards and
//! alert rules all read this table.

use std::fmt::Write;

/// A declared metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Name with its unit and, for a counter, `_total`.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Names of its labels, in the order the exporter gives the values.
    pub labels: &'static [&'static str],
    /// A line for people.
    pub help: &'static str,
    /// On the page of which trackers it is.
    pub of: Trackers,
}

/// Trackers that have a metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trackers {
    /// All of them.
    Every,
    /// One that shows certificates.
    WithTls,
    /// Those with `--private`.
    Private,
}

/// How a metric moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows while the process lives, in whole steps.
    Counter,
    /// Only grows while the process lives, by fractions.
    FractionCounter,
    /// Goes up and down.
    Gauge,
}

impl Kind {
    /// The word in a `# TYPE` line.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter | Kind::FractionCounter => "counter",
            Kind::Gauge => "gauge",
        }
    }
}

/// The unit of a metric. Prometheus wants base units: seconds and bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things.
    Count,
    /// Seconds, or seconds since the Unix epoch where the name says `timestamp`.
    Seconds,
    /// Bytes.
    Bytes,
    /// A share between 0 and 1.
    Ratio,
}

impl Unit {
    /// The word in the reference page.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
            Unit::Ratio => "ratio",
        }
    }
}

macro_rules! table {
    ($($section:literal of $of:ident { $($constant:ident = $kind:ident $name:literal [$($label:literal),*] $unit:ident $help:literal;)* })*) => {
        $($(
            #[doc = $help]
            pub(super) const $constant: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($label),*],
                help: $help,
                of: Trackers::$of,
            };
        )*)*

        /// All metrics, in the order of the reference page.
        pub const ALL: &[Metric] = &[$($($constant),*),*];

        /// The same by section, for the reference page.
        const SECTIONS: &[(&str, Trackers, &[Metric])] =
            &[$(($section, Trackers::$of, &[$($constant),*])),*];
    };
}

table! {
    "Requests and answers" of Every {
        CONNECTS = Counter "margay_connects_total" ["family"] Count "UDP connect requests answered.";
        ANNOUNCES = Counter "margay_announces_total" ["protocol", "family"] Count "Announces answered.";
        SCRAPES = Counter "margay_scrapes_total" ["protocol", "family"] Count "Scrapes answered.";
        REFUSALS = Counter "margay_refusals_total" ["protocol", "family", "reason"] Count "Requests refused or dropped, by reason.";
        RESPONSES = Counter "margay_responses_total" ["protocol", "family"] Count "Replies sent, failures included.";
        PEERS_SENT = Counter "margay_peers_sent_total" ["protocol", "family"] Count "Peers handed out.";
        RECEIVED_BYTES = Counter "margay_received_bytes_total" ["protocol", "family"] Bytes "Bytes of requests, without packet headers.";
        SENT_BYTES = Counter "margay_sent_bytes_total" ["protocol", "family"] Bytes "Bytes of replies, without packet headers.";
        HTTP_CONNECTIONS = Counter "margay_http_connections_total" ["family"] Count "HTTP connections accepted.";
        HTTP_CONNECTIONS_OPEN = Gauge "margay_http_connections_open" ["core"] Count "HTTP connections open now.";
        INTERVAL = Gauge "margay_interval_seconds" ["core"] Seconds "The announce interval answered now, before jitter.";
    }
    "Services" of Every {
        SERVICE_ON = Gauge "margay_service_on" ["service"] Count "1 when a service that the tracker listens for is on, 0 while it is switched off (`margay service`).";
        SERVICE_SHEDDING = Gauge "margay_service_shedding" ["service"] Count "1 while a service gets more than `shed-above` allows, and for ten seconds after, on any core.";
        SHED = Counter "margay_shed_total" ["service"] Count "Requests shed as more came than `shed-above` allows.";
    }
    "Swarms" of Every {
        TORRENTS = Gauge "margay_torrents" ["core"] Count "Torrents known, empty ones kept for their snatch count included.";
        PEERS = Gauge "margay_peers" ["core", "family"] Count "Endpoints in all swarms; a client with both families counts once in each.";
        SEEDERS = Gauge "margay_seeders" ["core"] Count "Clients that have everything, over all swarms.";
        LEECHERS = Gauge "margay_leechers" ["core"] Count "Clients that lack something, over all swarms.";
        SNATCHES = Counter "margay_snatches_total" ["core"] Count "Downloads completed.";
        EXPIRED_PEERS = Counter "margay_expired_peers_total" ["core"] Count "Peers that left a swarm by being silent for too long.";
    }
    "Cores" of Every {
        CORE_BUSY = FractionCounter "margay_core_busy_seconds_total" ["core"] Seconds "CPU time used by the core's thread.";
        CORE_BUSY_RATIO = Gauge "margay_core_busy_ratio" ["core"] Ratio "Share of a CPU the core's thread used between the last two readings.";
        CORE_WAKEUPS = Counter "margay_core_wakeups_total" ["core"] Count "Times the core woke up to look for work.";
        UDP_BATCHES = Counter "margay_udp_batches_total" ["core"] Count "Batches of datagrams received.";
        UDP_DATAGRAMS = Counter "margay_udp_datagrams_total" ["core"] Count "Datagrams received.";
        UDP_RECEIVE_DROPS = Counter "margay_udp_receive_drops_total" [] Count "Datagrams the kernel dropped at the tracker's UDP ports: as a receive buffer was full, or in a flood by a filter (`margay_udp_filter_drops_total`).";
        UDP_FILTERS = Gauge "margay_udp_filters" ["core"] Count "Sockets on which a filter drops what can only be dropped, as such datagrams flood in; otherwise 0.";
        UDP_FILTER_DROPS = Counter "margay_udp_filter_drops_total" ["core"] Count "Of margay_udp_receive_drops_total, those at sockets with such a filter while it was there: nearly all by it.";
        UDP_CONNECTS_SHED_RATIO = Gauge "margay_udp_connects_shed_ratio" ["core"] Ratio "Share of the connects that such a filter drops by chance, as they come faster than the core can answer them.";
        UDP_SEND_DROPS = Counter "margay_udp_send_drops_total" ["core"] Count "Replies dropped because the kernel did not take them at once.";
        UDP_ERRORS_WITHHELD = Counter "margay_udp_errors_withheld_total" ["core"] Count "Errors not sent over UDP, as their receiver had been told the same within the second: it asks again without a pause.";
        HTTP_BATCHES = Counter "margay_http_batches_total" ["core"] Count "Batches of kept connections found ready together, while such connections are busy.";
        HTTP_BATCHED = Counter "margay_http_batched_total" ["core"] Count "Connections in those batches.";
        HOPS = Counter "margay_hops_total" ["core", "protocol"] Count "Requests this core received that another core owned.";
    }
    "Channels between cores" of Every {
        CHANNEL_REQUESTS = Counter "margay_channel_requests_total" ["from", "to"] Count "Requests handed from one core to another.";
        CHANNEL_DROPS = Counter "margay_channel_drops_total" ["from", "to"] Count "Requests dropped because the channel was full.";
        CHANNEL_DEPTH = Gauge "margay_channel_depth" ["from", "to"] Count "Requests waiting in the channel.";
        CHANNEL_CAPACITY = Gauge "margay_channel_capacity" ["from", "to"] Count "The most that can wait in the channel.";
    }
    "Snapshots" of Every {
        SNAPSHOTS = Counter "margay_snapshots_total" [] Count "Snapshots written.";
        SNAPSHOT_FAILURES = Counter "margay_snapshot_failures_total" [] Count "Snapshots that could not be written.";
        SNAPSHOT_TIMESTAMP = Gauge "margay_snapshot_last_success_timestamp_seconds" [] Seconds "When the newest snapshot was finished; missing when there is none.";
        SNAPSHOT_AGE = Gauge "margay_snapshot_age_seconds" [] Seconds "Age of the newest snapshot; as long as there is none, the time since the start.";
        SNAPSHOT_DURATION = Gauge "margay_snapshot_duration_seconds" [] Seconds "How long writing the newest snapshot took.";
        SNAPSHOT_SIZE = Gauge "margay_snapshot_size_bytes" [] Bytes "Size of the newest snapshot.";
        SNAPSHOT_PEERS = Gauge "margay_snapshot_peers" [] Count "Peers in the newest snapshot.";
        SNAPSHOT_TORRENTS = Gauge "margay_snapshot_torrents" [] Count "Torrents in the newest snapshot.";
        LOAD_DURATION = Gauge "margay_load_duration_seconds" [] Seconds "How long reading the snapshot at the start took.";
        LOADED_PEERS = Gauge "margay_loaded_peers" [] Count "Peers read from the snapshot at the start.";
    }
    "Lists of torrents" of Every {
        LIST_TORRENTS = Gauge "margay_list_torrents" ["list"] Count "Torrents that the list names: `allow`, where there is one, and `deny`.";
        LIST_RELOAD_FAILURES = Counter "margay_list_reload_failures_total" [] Count "Times the lists could not be read again, so that those before stayed.";
    }
    "Proxies" of Every {
        PROXIES_SILENT = Counter "margay_proxies_silent_total" [] Count "Announces over HTTP that a `trusted-proxy` passed on without saying in `forwarded-header` where they come from.";
        CROWD_RATIO = Gauge "margay_crowd_ratio" [] Ratio "Share of the announces of the last minutes that came from one private address, where that is more than half on some core: a proxy or a container network hides who announces. Otherwise 0.";
    }
    "Screening" of Every {
        SCREENED = Counter "margay_screened_total" ["rule", "country"] Count "Requests and connections that got nothing for their address, by the rule that says so (`network`, `country`, `unknown` or `ban`) and by country; `none` where that did not matter.";
        SCREENING_DEFERRED = Counter "margay_screening_deferred_total" [] Count "Requests that were told nobody and to come back soon, as no database names their country.";
        SCREENING_NETWORKS = Gauge "margay_screening_networks" ["list"] Count "Networks in the lists: `deny` or `allow`.";
        SCREENING_BANS = Gauge "margay_screening_bans" [] Count "Networks that are banned (`margay bans`).";
        SCREENING_RANGES = Gauge "margay_screening_ranges" ["family"] Count "Ranges of addresses whose countries the databases say.";
        SCREENING_RELOAD_FAILURES = Counter "margay_screening_reload_failures_total" [] Count "Times the rules of screening could not be read again, so that those before stayed.";
        SCREENING_LOOKUPS = Counter "margay_screening_lookups_total" ["result"] Count "Countries that were looked up by DNS, by what came of it: `country`, `none` (nobody knows), `failed` (no usable answer from any name server) or `unreadable` (an answer that says no country and no network as it should).";
        SCREENING_LOOKUPS_LEFT_OUT = Counter "margay_screening_lookups_left_out_total" [] Count "Addresses that were not looked up for the moment, as too many waited.";
        SCREENING_LOOKUPS_WAITING = Gauge "margay_screening_lookups_waiting" [] Count "Addresses that wait to be looked up, or for an answer.";
        SCREENING_LOOKUP_NETWORKS = Gauge "margay_screening_lookup_networks" [] Count "Networks whose countries are remembered from look-ups.";
    }
    "TLS" of WithTls {
        TLS_HANDSHAKES = Counter "margay_tls_handshakes_total" ["kind"] Count "TLS handshakes: `full`, or `resumed` with a ticket.";
        TLS_FAILURES = Counter "margay_tls_failures_total" [] Count "Connections to `https` that were no TLS, of a kind that is not served, or whose client did not take the certificate.";
        TLS_CERTIFICATE_EXPIRY = Gauge "margay_tls_certificate_expiry_timestamp_seconds" ["file"] Seconds "Until when each certificate of `https` is valid.";
        TLS_RELOAD_FAILURES = Counter "margay_tls_reload_failures_total" [] Count "Times the certificates could not be read again, so that those before stayed.";
    }
    "Journal" of Private {
        JOURNAL_RECORDS = Counter "margay_journal_records_total" [] Count "Records taken into the journal: what an announce did, or what the site said.";
        JOURNAL_BEGIN = Gauge "margay_journal_begin_sequence" [] Count "Sequence number of the oldest record kept.";
        JOURNAL_END = Gauge "margay_journal_end_sequence" [] Count "Sequence number of the record that comes next.";
        JOURNAL_DURABLE = Gauge "margay_journal_durable_sequence" [] Count "Records before this sequence number are on the disk.";
        JOURNAL_SIZE = Gauge "margay_journal_size_bytes" [] Bytes "Size of all segments of the journal.";
        JOURNAL_SIZE_MAX = Gauge "margay_journal_size_max_bytes" [] Bytes "How large the journal may become; then it refuses what comes.";
        JOURNAL_KEPT = Gauge "margay_journal_kept_bytes" [] Bytes "Of the size of the journal, what the database has already and is kept for a restore (`journal-keep`).";
        JOURNAL_ACCEPTING = Gauge "margay_journal_accepting" [] Count "1 when the last attempt to append or to sync succeeded, 0 when the journal refuses.";
        JOURNAL_REFUSED_BATCHES = Counter "margay_journal_refused_batches_total" [] Count "Batches the journal refused; their credit waits in the core and comes again.";
        JOURNAL_REFUSED_RECORDS = Counter "margay_journal_refused_records_total" [] Count "Records in refused batches, each time they are refused.";
        JOURNAL_SYNCS = Counter "margay_journal_syncs_total" [] Count "Times the journal was synced to the disk.";
        JOURNAL_SYNC_TIMESTAMP = Gauge "margay_journal_last_sync_timestamp_seconds" [] Seconds "When the last sync ended; missing until there was one.";
        JOURNAL_SYNC_DURATION = Gauge "margay_journal_sync_duration_seconds" [] Seconds "How long the last sync took.";
        JOURNAL_DAMAGED = Gauge "margay_journal_damaged_segments" [] Count "Segments of the journal that were damaged when all was read the last time, soon after the start and once a day.";
        RECORDS_WAITING = Gauge "margay_records_waiting" ["core"] Count "Records that wait in a core until the journal takes them.";
    }
    "Database" of Private {
        BOOKS_STATE = Gauge "margay_books_state" ["state"] Count "1 for the state that the books are in, 0 for all others: `up` when what is announced reaches the database; docs/operations.md has a paragraph for each.";
        GAPS = Gauge "margay_gaps" [] Count "Rows of the table gaps: runs of records that the database will never get.";
        GAP_RECORDS = Gauge "margay_gap_records" [] Count "Records that are missing in them; what was credited in them is lost.";
        DATABASE_CONNECTED = Gauge "margay_database_connected" [] Count "1 while the ledger, which writes the journal into the database, has a connection.";
        WATCH_CONNECTED = Gauge "margay_watch_connected" [] Count "1 while there is a connection that hears of what the site changes in the database.";
        LEDGER_AGE = Gauge "margay_ledger_oldest_age_seconds" [] Seconds "Age of the oldest announce that is on the disk and not yet in the database; 0 when all are, missing until the database has said what it has.";
        LEDGER_BEHIND = Gauge "margay_ledger_records_behind" [] Count "Records that are in the journal and not yet in the database; missing until the database has said what it has.";
        LEDGER_POSITION = Gauge "margay_ledger_position_sequence" [] Count "Records before this sequence number are in the database; missing until it has been asked.";
        LEDGER_FACTS = Counter "margay_ledger_facts_total" [] Count "Facts (what an announce did) written into the database.";
        LEDGER_CHANGES = Counter "margay_ledger_changes_total" [] Count "Changes of the site written into the database.";
        LEDGER_BATCHES = Counter "margay_ledger_batches_total" [] Count "Batches written, each in one transaction.";
        LEDGER_BATCH_TIME = FractionCounter "margay_ledger_batch_seconds_total" [] Seconds "Time all batches took.";
        LEDGER_BATCH_DURATION = Gauge "margay_ledger_batch_duration_seconds" [] Seconds "How long the last batch took.";
        LEDGER_BATCH_RECORDS = Gauge "margay_ledger_batch_records" [] Count "Records in the last batch.";
        LEDGER_BATCH_RECORDS_MAX = Gauge "margay_ledger_batch_records_max" [] Count "Records the next batch may have; less when batches take long.";
        LEDGER_RETRIES = Counter "margay_ledger_retries_total" [] Count "Times a batch was begun anew, or the database looked for again.";
        LEDGER_REJECTED = Counter "margay_ledger_rejected_total" [] Count "Records, or parts of them, that the database refused; they are in the table rejected.";
        LEDGER_UNKNOWN = Counter "margay_ledger_unknown_total" ["what"] Count "Figures for a user, torrent or token that is not in the database any more, added up by batch.";
        SUSPECTED = Counter "margay_suspicions_total" ["kind"] Count "Announces beyond a threshold of the options suspect-*; they are in the table suspicions.";
        WATCH_NOTICES = Counter "margay_watch_notices_total" [] Count "Notices of rows that the site changed in the database.";
        WATCH_UNHEARD = Counter "margay_watch_unheard_total" [] Count "Notices that were sent to see whether they are heard, and were not: a pooler is in between that gives connections to transactions.";
        WATCH_SET_ASIDE = Counter "margay_watch_set_aside_total" [] Count "Rows that the site changed and that cannot be read; what was known of them stays, and the log names them.";
        WATCH_RELOADS = Counter "margay_watch_reloads_total" [] Count "Times that notices may have been missed, new connections included.";
    }
    "Users and torrents of the site" of Private {
        ACCOUNTS = Gauge "margay_accounts" [] Count "Users who may announce.";
        REGISTERED_TORRENTS = Gauge "margay_registered_torrents" ["core"] Count "Torrents the site has registered.";
        EARLY_ANNOUNCES = Counter "margay_early_announces_total" ["core"] Count "Announces that came sooner than `interval-enforce` allows and were told no peers.";
        LATE_ANNOUNCES = Counter "margay_late_announces_total" ["core"] Count "Announces that came late, or twice, and credited nothing.";
        IMPOSSIBLE_ANNOUNCES = Counter "margay_impossible_announces_total" ["core"] Count "Announces of amounts that no client can move, which credited nothing: counters begin anew with them.";
        TOKENS = Gauge "margay_tokens" ["core"] Count "Tokens of users for torrents, those included that are over and not yet dropped.";
    }
    "Calls to the site" of Private {
        SITE_CALLS = Counter "margay_site_calls_total" [] Count "Calls to the site that tell it of used up tokens (`ocelot-site-url`).";
        SITE_CALL_FAILURES = Counter "margay_site_call_failures_total" [] Count "Calls the site did not take; they are made again.";
        SITE_TOKENS_TOLD = Counter "margay_site_tokens_told_total" [] Count "Used up tokens that the site has been told of.";
        SITE_TOKENS_WAITING = Gauge "margay_site_tokens_waiting" [] Count "Used up tokens that the site has not been told of yet.";
    }
    "API" of Every {
        API_REQUESTS = Counter "margay_api_requests_total" ["result"] Count "Requests to the API.";
        API_CHANGES = Counter "margay_api_changes_total" [] Count "Changes that the API made, those in bulk one by one.";
        API_TRACES = Gauge "margay_api_traces" [] Count "Traces of users under way.";
        API_TRACE_DROPS = Counter "margay_api_trace_drops_total" [] Count "Announces and scrapes that those who trace had no room for.";
    }
    "Process" of Every {
        READY = Gauge "margay_ready" [] Count "1 when requests are answered, 0 while loading or draining.";
        BUILD = Gauge "margay_build_info" ["version"] Count "Always 1; the version is in the label.";
        CORES = Gauge "margay_cores" [] Count "Cores this tracker runs on.";
        START_TIME = Gauge "margay_process_start_time_seconds" [] Seconds "When the process started.";
        PROCESS_CPU = FractionCounter "margay_process_cpu_seconds_total" [] Seconds "CPU time of all threads, user and system.";
        RESIDENT = Gauge "margay_process_resident_memory_bytes" [] Bytes "Physical memory in use.";
        RESIDENT_MAX = Gauge "margay_process_resident_memory_max_bytes" [] Bytes "The most physical memory in use so far.";
        OPEN_FILES = Gauge "margay_process_open_files" [] Count "File descriptors open, sockets included.";
        OPEN_FILES_MAX = Gauge "margay_process_open_files_max" [] Count "File descriptors that may be open.";
        THREADS = Gauge "margay_process_threads" [] Count "Threads of the process.";
    }
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    let mut page = String::from(PREFACE);
    for (section, of, metrics) in SECTIONS {
        let of = match of {
            Trackers::Every => "",
            Trackers::WithTls => "Of a tracker with certificates (`--tls-certificate`).\n\n",
            Trackers::Private => "Of a private tracker (`--private`).\n\n",
        };
        write!(page, "\n## {section}\n\n{of}| Name | Kind | Unit | Labels | Meaning |\n")
            .expect("a string takes everything");
        page.push_str("|---|---|---|---|---|\n");
        for metric in *metrics {
            let labels: Vec<String> =
                metric.labels.iter().map(|label| format!("`{label}`")).collect();
            writeln!(
                page,
                "| `{}` | {} | {} | {} | {} |",
                metric.name,
                metric.kind.word(),
                metric.unit.word(),
                labels.join(", "),
                metric.help,
            )
            .expect("a string takes everything");
        }
    }
    page
}

const PREFACE: &str = "\
# Metrics

`GET /metrics` on the control listener (`--control`, by default `127.0.0.1:6980`), and on that of `--metrics`,
answers in the text format of Prometheus. The numbers are those of the last second; the page itself is made anew at most
twice a second, however often it is asked for.

Counters start at 0 with the process. Labels: `protocol` is `udp` or `http`; `family` is `ipv4` or
`ipv6` (an IPv4-mapped address is `ipv4`); `core` is the number of a core; `what` is
`user`, `torrent` or `token`; `result` is `done`, `unauthorized`, `refused` or `unavailable`; `reason` is one of
`malformed`, `connection_id`, `source`, `torrent`, `full`, `overload`, `rate`, `connection_rate`, `shed`, `passkey`,
`client`, `rights`, `clients`, `downloads`, `proxy`, `too_large`, `timeout`, `connections`, `not_found`. A channel has a series for every pair of cores up to 16 cores; above that,
`from` is `all` and the channels into one core are summed, so that the number of series stays bounded.

This page is made from the table in `ops/src/metrics/table.rs`:
`cargo run -q -p margay-ops --example metrics > docs/metrics.md`.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Reason;
    use std::collections::BTreeSet;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut names = BTreeSet::new();
        for metric in ALL {
            assert!(names.insert(metric.name), "{} is declared twice", metric.name);
            assert!(metric.name.starts_with("margay_"), "{}", metric.name);
            let stem = metric.name.strip_suffix("_total").unwrap_or(metric.name);
            assert_eq!(stem != metric.name, metric.kind != Kind::Gauge, "{}", metric.name);
            match metric.unit {
                Unit::Seconds => assert!(stem.ends_with("_seconds"), "{}", metric.name),
                Unit::Bytes => assert!(stem.ends_with("_bytes"), "{}", metric.name),
                Unit::Ratio => assert!(stem.ends_with("_ratio"), "{}", metric.name),
                Unit::Count => {}
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn the_reference_page_is_the_table() {
        let kept = include_str!("../../../docs/metrics.md");
        assert!(
            kept == reference(),
            "docs/metrics.md has drifted; make it anew with\n\
             cargo run -q -p margay-ops --example metrics > docs/metrics.md"
        );
        for metric in ALL {
            assert!(kept.contains(&format!("| `{}` |", metric.name)), "{}", metric.name);
        }
        for reason in Reason::ALL {
            assert!(kept.contains(&format!("`{}`", reason.label())), "{reason:?}");
        }
    }
}
