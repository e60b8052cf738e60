//! Plain counters of one core. The core adds to them without atomics; about once a second it hands a
//! copy to the control thread, which turns them into metrics.

use std::net::IpAddr;

use shard::Totals;

use crate::screening::{Country, Rule, Sizes};
use crate::service::{Service, Serving};

/// The protocol a request came over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// BEP 15.
    Udp,
    /// BEP 3.
    Http,
}

impl Protocol {
    /// Both, in the order of their numbers.
    pub const ALL: [Protocol; 2] = [Protocol::Udp, Protocol::Http];

    /// The value of the `protocol` label.
    pub fn label(self) -> &'static str {
        match self {
            Protocol::Udp => "udp",
            Protocol::Http => "http",
        }
    }
}

/// The address family a request came over; IPv4-mapped IPv6 counts as IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order of their numbers.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// The value of the `family` label.
    pub fn label(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

/// Why a request was refused or dropped: the `reason` label of the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Reason {
    /// Not a request of the protocol.
    Malformed,
    /// UDP: a connection id that is wrong, too old or from another address.
    ConnectionId,
    /// UDP: a datagram from port 0 or from an address nobody can answer.
    Source,
    /// The torrent is not on the allow-list or is on the deny-list.
    Torrent,
    /// The shard is full.
    Full,
    /// A queue between two cores was full.
    Overload,
    /// More requests of its network than `rate-requests` allows.
    Rate,
    /// More new connections of its network than `rate-connections` allows.
    ConnectionRate,
    /// More requests to its service than `shed-above` allows.
    Shed,
    /// Private: no user has this passkey.
    Passkey,
    /// Private: a client that the rules of the site refuse.
    Client,
    /// Private: a user who may not download.
    Rights,
    /// Private: more clients of a user on a torrent than he may have.
    Clients,
    /// Private: more downloads of a user at once than his group allows.
    Downloads,
    /// At a listener with the PROXY protocol: not from a trusted proxy, or without its header.
    Proxy,
    /// HTTP: larger than the request limit.
    TooLarge,
    /// HTTP: not complete in time.
    Timeout,
    /// HTTP: more connections than allowed.
    Connections,
    /// HTTP: no such page.
    NotFound,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 19] = [
        Reason::Malformed,
        Reason::ConnectionId,
        Reason::Source,
        Reason::Torrent,
        Reason::Full,
        Reason::Overload,
        Reason::Rate,
        Reason::ConnectionRate,
        Reason::Shed,
        Reason::Passkey,
        Reason::Client,
        Reason::Rights,
        Reason::Clients,
        Reason::Downloads,
        Reason::Proxy,
        Reason::TooLarge,
        Reason::Timeout,
        Reason::Connections,
        Reason::NotFound,
    ];

    /// The value of the `reason` label.
    pub fn label(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::ConnectionId => "connection_id",
            Reason::Source => "source",
            Reason::Torrent => "torrent",
            Reason::Full => "full",
            Reason::Overload => "overload",
            Reason::Rate => "rate",
            Reason::ConnectionRate => "connection_rate",
            Reason::Shed => "shed",
            Reason::Passkey => "passkey",
            Reason::Client => "client",
            Reason::Rights => "rights",
            Reason::Clients => "clients",
            Reason::Downloads => "downloads",
            Reason::Proxy => "proxy",
            Reason::TooLarge => "too_large",
            Reason::Timeout => "timeout",
            Reason::Connections => "connections",
            Reason::NotFound => "not_found",
        }
    }
}

/// The traffic of one protocol and family. Everything counts up from the start of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Front {
    /// UDP connect requests answered.
    pub connects: u64,
    /// Announces answered.
    pub announces: u64,
    /// Scrapes answered.
    pub scrapes: u64,
    /// Replies sent, failures included.
    pub responses: u64,
    /// Peers handed out.
    pub peers_sent: u64,
    /// Bytes of requests, without packet headers.
    pub received_bytes: u64,
    /// Bytes of replies, without packet headers.
    pub sent_bytes: u64,
    /// HTTP connections accepted.
    pub connections: u64,
    /// Refusals by [`Reason`].
    pub refusals: [u64; Reason::ALL.len()],
}

/// The traffic from one core to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Channel {
    /// Requests handed over.
    pub sent: u64,
    /// Requests dropped because the channel was full.
    pub dropped: u64,
    /// Requests waiting at the last look.
    pub depth: u64,
    /// The most that can wait.
    pub capacity: u64,
}

/// Who was turned away for its address. Everything counts up from the start of the process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Screened {
    /// By [`Rule`], and then by country and one, with 0 for none; empty until somebody was.
    denied: Vec<u64>,
    /// Told nobody, as the country is not known.
    pub deferred: u64,
}

impl Screened {
    /// Counts somebody who got nothing.
    pub fn deny(&mut self, rule: Rule, country: Option<Country>) {
        if self.denied.is_empty() {
            self.denied = vec![0; Rule::ALL.len() * COUNTRIES];
        }
        let country = country.map_or(0, |country| country.index() + 1);
        self.denied[rule as usize * COUNTRIES + country] += 1;
    }

    /// Those who got nothing, by rule and country, as far as there are any.
    pub fn denied(&self) -> impl Iterator<Item = (Rule, Option<Country>, u64)> {
        let some = self.denied.iter().enumerate().filter(|(_, count)| **count > 0);
        some.map(|(at, count)| {
            let country = (at % COUNTRIES).checked_sub(1).map(Country::at);
            (Rule::ALL[at / COUNTRIES], country, *count)
        })
    }

    /// All who got nothing, or nobody.
    pub fn total(&self) -> u64 {
        self.denied.iter().sum::<u64>() + self.deferred
    }

    /// Adds what was counted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.deferred += other.deferred;
        self.denied.resize(self.denied.len().max(other.denied.len()), 0);
        self.denied.iter_mut().zip(&other.denied).for_each(|(all, more)| *all += more);
    }
}

/// All countries, and none.
const COUNTRIES: usize = Country::COUNT + 1;

/// All counters of one core.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Core {
    /// By [`Protocol`] and [`Family`], in their order.
    pub fronts: [[Front; 2]; 2],
    /// To each core, in core order; the one to itself stays zero.
    pub channels: Vec<Channel>,
    /// Requests received over UDP that another core owned, so that they needed a hop.
    pub udp_hops: u64,
    /// Requests received over HTTP that another core owned.
    pub http_hops: u64,
    /// TLS handshakes with the certificate's key.
    pub tls_full: u64,
    /// TLS handshakes with a ticket.
    pub tls_resumed: u64,
    /// Connections that were to be TLS, and were not, or of a kind that is not served.
    pub tls_failures: u64,
    /// Announces over HTTP for which a trusted proxy did not say where they come from.
    pub proxies_silent: u64,
    /// The private address that most announces came from at the last look, and their share in percent, where there is one.
    pub crowd: Option<(IpAddr, u8)>,
    /// Who was turned away for its address.
    pub screened: Screened,
    /// How each service is, in their order.
    pub services: [Serving; Service::COUNT],
    /// Times the core woke up to look for work.
    pub wakeups: u64,
    /// Batches of datagrams received.
    pub udp_batches: u64,
    /// Datagrams in those batches.
    pub udp_datagrams: u64,
    /// Batches of kept HTTP connections that were found ready together.
    pub http_batches: u64,
    /// Connections in those batches.
    pub http_batched: u64,
    /// Replies that the kernel did not take at once and that were dropped.
    pub udp_send_drops: u64,
    /// Errors over UDP in whose place there was silence, as their receiver had been told just before.
    pub udp_errors_withheld: u64,
    /// Datagrams that the kernel dropped at sockets of this core that had a filter against a flood.
    pub udp_filter_drops: u64,
    /// Sockets that have such a filter now.
    pub udp_filters: u64,
    /// The share of connects that such a filter drops by chance, of 2^16; the most of them.
    pub udp_connects_shed: u64,
    /// Nanoseconds of CPU time the core's thread has used.
    pub busy_nanos: u64,
    /// Nanoseconds since the core's thread began, taken together with `busy_nanos`: the busy ratio is
    /// the growth of one over the growth of the other, and a core whose copies stop growing is stuck.
    pub elapsed_nanos: u64,
    /// Peers that timed out.
    pub expired_peers: u64,
    /// Completed downloads.
    pub snatches: u64,
    /// HTTP connections open now.
    pub connections_open: u64,
    /// The totals of the shard now.
    pub totals: Totals,
    /// The interval answered now, in seconds.
    pub interval_seconds: u32,
    /// Private: announces that came too soon and were told no peers.
    pub early_announces: u64,
    /// Private: announces that came late, or twice, and credited nothing (docs/wire.md, D5 to D8).
    pub late_announces: u64,
    /// Private: announces of amounts that cannot be, which credited nothing (docs/wire.md, D9).
    pub impossible_announces: u64,
    /// Private: records that wait here until the journal takes them.
    pub records_waiting: u64,
    /// Private: tokens of the torrents that this core owns.
    pub tokens: u64,
}

/// The figures of the lists of torrents, for the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lists {
    /// Torrents that the allow-list names, where there is one.
    pub allowed: Option<u64>,
    /// Torrents that the deny-list names.
    pub denied: u64,
    /// Readings that found a mistake since the start; the lists before stayed.
    pub reloads_failed: u64,
}

/// What is known of the rules of screening, for the metrics and for health.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Screening {
    /// Networks that are banned.
    pub bans: usize,
    /// How much there is of everything; `None` without rules.
    pub sizes: Option<Sizes>,
    /// Readings that failed since the start; the rules before stayed.
    pub failures: u64,
    /// Why the files cannot be used as they are now.
    pub trouble: Option<String>,
}

/// Look-ups of countries, for the metrics and for health. Everything counts up from the start of the process.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Lookups {
    /// A country was said.
    pub found: u64,
    /// It was said that there is none.
    pub nowhere: u64,
    /// No name server answered, or they answered that they cannot.
    pub failed: u64,
    /// The answer could not be understood.
    pub unreadable: u64,
    /// Addresses that could not be asked for, as too many waited.
    pub left_out: u64,
    /// Networks whose countries are remembered.
    pub networks: u64,
    /// Addresses that wait to be asked for, or for an answer.
    pub waiting: u64,
    /// Why none succeed.
    pub trouble: Option<String>,
}

/// What is known of TLS, for the metrics and for health.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tls {
    /// The certificates that are shown.
    pub certificates: Vec<ShownCertificate>,
    /// Readings that failed since the start; the certificates before stayed.
    pub failures: u64,
    /// Why the files cannot be used as they are now.
    pub trouble: Option<String>,
}

/// A certificate that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShownCertificate {
    /// Where it was read.
    pub file: String,
    /// The names that it is for.
    pub names: String,
    /// Until when it is valid, in seconds since 1970.
    pub not_after: i64,
}

/// The figures of snapshots, for the metrics.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Snapshot {
    /// Snapshots written since the start.
    pub written: u64,
    /// Attempts that failed since the start.
    pub failed: u64,
    /// When the newest one was finished, in seconds since the Unix epoch; also of one that an earlier
    /// process wrote and this one started from.
    pub newest: Option<u64>,
    /// How long writing the newest one took, in nanoseconds.
    pub write_nanos: u64,
    /// Size of the newest one.
    pub bytes: u64,
    /// Peers in the newest one.
    pub peers: u64,
    /// Torrents in the newest one.
    pub torrents: u64,
    /// How long loading at the start took, in nanoseconds; 0 when there was nothing to load.
    pub load_nanos: u64,
    /// Peers loaded at the start.
    pub loaded_peers: u64,
}

/// The figures of the books of a private tracker, for the metrics: the journal, the ledger that writes it into the
/// database, and what the site has told.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Books {
    /// Users who may announce.
    pub accounts: u64,
    /// The journal.
    pub journal: Journal,
    /// The database and the way to it.
    pub ledger: Ledger,
    /// Calls to the site.
    pub calls: SiteCalls,
}

/// The figures of calls to the site, which tell it of used up tokens. Everything but `waiting` counts from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SiteCalls {
    /// Calls made.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Tokens it has been told of.
    pub told: u64,
    /// Tokens it has not been told of yet.
    pub waiting: u64,
}

/// The figures of the API. Everything that counts, counts from the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Api {
    /// Requests answered as they were meant.
    pub done: u64,
    /// Requests without a good token.
    pub unauthorized: u64,
    /// Requests refused for what they are.
    pub refused: u64,
    /// Requests that could not be answered, or not in time.
    pub unavailable: u64,
    /// Changes made, those in bulk one by one.
    pub changes: u64,
    /// Traces under way.
    pub traces: u64,
    /// Announces and scrapes that those who trace had no room for.
    pub trace_drops: u64,
}

/// The figures of the journal. Sequence numbers count from the first record it ever had.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Journal {
    /// Records taken in since the start.
    pub records: u64,
    /// The oldest record kept.
    pub begin: u64,
    /// The record that comes next.
    pub end: u64,
    /// Records before this one are on the disk.
    pub durable: u64,
    /// Size of all segments.
    pub bytes: u64,
    /// How large they may be together.
    pub bytes_max: u64,
    /// Of their size, what is kept for a database that is restored.
    pub kept_bytes: u64,
    /// Whether the last attempt to append or to sync succeeded.
    pub accepting: bool,
    /// Batches refused since the start.
    pub refused_batches: u64,
    /// Records in them.
    pub refused_records: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// When the last one ended, in seconds since the Unix epoch.
    pub synced_at: Option<f64>,
    /// How long it took, in nanoseconds.
    pub sync_nanos: u64,
    /// Segments that were found to be damaged when all was read the last time.
    pub damaged: u64,
    /// The first of them, and what is wrong with it.
    pub damage: Option<String>,
}

/// The rules by which announces are reported as suspicious.
pub const SUSPICION_KINDS: [&str; 4] = ["rate", "upload_alone", "same_counters", "networks"];

/// The figures of the ledger and the database. Everything that counts, counts from the start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ledger {
    /// How the books are: one of `states`.
    pub state: &'static str,
    /// The names of all states that there are.
    pub states: &'static [&'static str],
    /// The meaning of the state, and what to do.
    pub state_text: &'static str,
    /// Rows of the table `gaps`, and the records that are missing in them.
    pub gaps: (u64, u64),
    /// Rows of users, torrents and the like that could not be read and were left as they were.
    pub set_aside: u64,
    /// The ledger has a connection.
    pub connected: bool,
    /// The watch, which hears of changes in the database, has one.
    pub watching: bool,
    /// Notices that were sent to see whether they are heard, and were not.
    pub unheard: u64,
    /// Records of the journal before this one are in the database; `None` until that has been asked.
    pub position: Option<u64>,
    /// When the oldest fact happened that is on the disk and not in the database, in seconds since the
    /// Unix epoch; `None` when all are there.
    pub oldest_at: Option<f64>,
    /// Facts written.
    pub facts: u64,
    /// Changes of the site written.
    pub changes: u64,
    /// Transactions.
    pub batches: u64,
    /// Records in the last one.
    pub batch_records: u64,
    /// How many records the next one may have.
    pub batch_max: u64,
    /// How long the last one took, in nanoseconds.
    pub batch_nanos: u64,
    /// How long all of them took, in nanoseconds.
    pub batches_nanos: u64,
    /// How often a batch was begun anew, or the database looked for again.
    pub retries: u64,
    /// Records, or parts of them, that the database did not take.
    pub rejected: u64,
    /// Credits for users that are not in the database.
    pub unknown_users: u64,
    /// Figures of torrents that are not there.
    pub unknown_torrents: u64,
    /// Uses of tokens that are not there.
    pub unknown_tokens: u64,
    /// Announces reported as suspicious, by [`SUSPICION_KINDS`].
    pub suspected: [u64; SUSPICION_KINDS.len()],
    /// Notices of rows that the site changed in the database.
    pub notices: u64,
    /// How often notices may have been missed, connections included.
    pub reloads: u64,
}

impl Core {
    /// The counters of one protocol and family.
    #[inline]
    pub fn front(&mut self, protocol: Protocol, family: Family) -> &mut Front {
        &mut self.fronts[protocol as usize][family as usize]
    }
}

impl Front {
    /// Counts one refusal.
    #[inline]
    pub fn refuse(&mut self, reason: Reason) {
        self.refusals[reason as usize] += 1;
    }
}
