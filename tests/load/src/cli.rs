//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::flood::Kind;
use crate::pace::Arrivals;
use crate::source::SOURCES_MAX;
use crate::swarms::Swarms;
use crate::users::Users;

/// Load generator and bare responders for measuring BitTorrent trackers.
#[derive(Debug, Parser)]
#[command(name = "margay-load", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Run on this CPU only.
    #[arg(long, global = true, value_name = "CPU")]
    pub(crate) pin: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Fill a tracker and load it over UDP.
    Udp(UdpOptions),
    /// Fill a tracker and load it over HTTP.
    Http(HttpOptions),
    /// Ask a tracker over HTTPS and measure the CPU time of an answer.
    Https(HttpsOptions),
    /// Come to a tracker over HTTPS as many clients, go, come back resumed, and see what memory it takes.
    Sessions(SessionsOptions),
    /// Answer as a tracker would, but without swarms: what the system calls cost.
    #[command(subcommand)]
    Bare(Bare),
    /// Flood a tracker from forged addresses, beside honest clients; in network namespaces only.
    Flood(FloodOptions),
    /// Measure processes for some time without any load.
    Idle(IdleOptions),
    /// Scrape all torrents over UDP and print the sums and a fingerprint of all counts.
    Census(CensusOptions),
    /// Wait until a tracker answers a scrape over UDP.
    Probe(ProbeOptions),
    /// Print SQL that puts the users and torrents of a population into the database of a private tracker.
    Site(SiteOptions),
}

/// How each client asks over HTTPS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum HttpsMode {
    /// A new connection for each announce, TLS 1.3 with a full handshake.
    Full,
    /// The same with TLS 1.2.
    Full12,
    /// A new connection for each announce, TLS 1.3 with a ticket.
    Resumed13,
    /// The same with TLS 1.2.
    Resumed12,
    /// Each client keeps its connection.
    Kept,
    /// A new connection for each announce, and no TLS.
    Plain,
    /// Each client keeps its connection, and there is no TLS.
    PlainKept,
}

impl HttpsMode {
    /// Whether it is TLS 1.3; none without TLS.
    pub(crate) fn version(self) -> Option<bool> {
        match self {
            HttpsMode::Full | HttpsMode::Resumed13 | HttpsMode::Kept => Some(true),
            HttpsMode::Full12 | HttpsMode::Resumed12 => Some(false),
            HttpsMode::Plain | HttpsMode::PlainKept => None,
        }
    }

    pub(crate) fn is_kept(self) -> bool {
        matches!(self, HttpsMode::Kept | HttpsMode::PlainKept)
    }

    pub(crate) fn is_resumed(self) -> bool {
        matches!(self, HttpsMode::Resumed12 | HttpsMode::Resumed13)
    }
}

#[derive(Args, Debug)]
pub(crate) struct HttpsOptions {
    /// Address of the tracker.
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// How each client asks.
    #[arg(long, value_enum)]
    pub(crate) mode: HttpsMode,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) clients: usize,
    /// How long it is measured.
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    pub(crate) seconds: f64,
    /// How long it runs before that.
    #[arg(long, default_value_t = 0.5, value_name = "SECONDS")]
    pub(crate) warm_up: f64,
    /// Process whose CPU time is measured; may be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<i32>,
}

#[derive(Args, Debug)]
pub(crate) struct SessionsOptions {
    /// Address of the tracker.
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// The tracker's process.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: i32,
    /// Clients; each shakes hands in full and goes, as one of a hundred peers.
    #[arg(long, default_value_t = 5_000, value_name = "N")]
    pub(crate) sessions: usize,
    /// The first of them, who come back in the end with what they were given.
    #[arg(long, default_value_t = 500, value_name = "N")]
    pub(crate) back: usize,
    /// Clients that ask at once.
    #[arg(long, default_value_t = 8, value_name = "N")]
    pub(crate) clients: usize,
    /// TLS 1.2, and not 1.3.
    #[arg(long)]
    pub(crate) tls12: bool,
}

#[derive(Args, Debug)]
pub(crate) struct BareHttpsOptions {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Its certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: PathBuf,
    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Bytes of the reply.
    #[arg(long, default_value_t = 250, value_name = "BYTES")]
    pub(crate) reply_bytes: u16,
}

/// Who is in which swarm.
#[derive(Args, Debug)]
pub(crate) struct Population {
    /// Peers; each is in one torrent.
    #[arg(long, default_value_t = 500_000, value_name = "N")]
    pub(crate) peers: u32,
    /// Torrents; their sizes follow Zipf's law.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) torrents: u32,
    /// Share of the peers that have the whole torrent.
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) seeders: u8,
    /// Everything random follows from this number.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Users who share the peers, at a private tracker: announces carry a passkey, and counters that grow
    /// with each of them.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) users: Option<u32>,
    /// Where the counters of all peers begin. A run on a tracker that knows the peers from an earlier one
    /// begins higher than that came; or it fills, and everybody starts anew.
    #[arg(long, default_value_t = 0, value_name = "BYTES", requires = "users")]
    pub(crate) counters_from: u64,
}

/// What the requests of a steady phase are.
#[derive(Args, Debug)]
pub(crate) struct Mix {
    /// Share of scrapes among all requests.
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT", value_parser = percent)]
    pub(crate) scrapes: f64,
    /// Hashes of a scrape.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=74))]
    pub(crate) scrape_hashes: u8,
    /// Share of announces that say "completed".
    #[arg(long, default_value_t = 1.0, value_name = "PERCENT", value_parser = percent)]
    pub(crate) completed: f64,
    /// Share of announces that say "stopped".
    #[arg(long, default_value_t = 2.0, value_name = "PERCENT", value_parser = percent)]
    pub(crate) stopped: f64,
    /// Peers asked for in an announce; -1 leaves it to the tracker.
    #[arg(long, default_value_t = 50, value_name = "N", allow_negative_numbers = true)]
    pub(crate) numwant: i32,
}

/// How a run is measured and printed.
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// Process whose CPU time and memory are measured; may be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<i32>,
    /// Print one line of JSON a phase instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct UdpOptions {
    /// Address of the tracker.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    #[command(flatten)]
    pub(crate) population: Population,
    #[command(flatten)]
    pub(crate) mix: Mix,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Announce every peer once before the steady phase.
    #[arg(long)]
    pub(crate) fill: bool,
    /// Fill at this rate rather than as fast as the tracker answers.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, requires = "fill")]
    pub(crate) fill_rate: Option<f64>,
    /// Length of the steady phase, or of several that follow each other and are measured one by one; 0
    /// for none.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds, value_delimiter = ',')]
    pub(crate) seconds: Vec<f64>,
    /// Steady load before the measured phase.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warmup: f64,
    /// Requests on their way at a time, in a closed loop and in a fill.
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = window)]
    pub(crate) window: usize,
    /// Open loop: requests a second, whatever the answers do.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How requests of an open loop follow each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub(crate) arrivals: Arrivals,
    /// Source addresses (IPv4 only; loopback has one IPv6 address).
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    pub(crate) sources: u32,
    /// Sockets, each with its own port.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) sockets: u16,
    /// An answer that takes longer counts as lost.
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// What to do while there is nothing to do.
    #[arg(long, value_enum, default_value_t = Wait::Nap)]
    pub(crate) wait: Wait,
}

#[derive(Args, Debug)]
pub(crate) struct HttpOptions {
    /// Address of the tracker.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    #[command(flatten)]
    pub(crate) population: Population,
    /// All requests are announces; the shares of scrapes are for UDP.
    #[command(flatten)]
    pub(crate) mix: Mix,
    #[command(flatten)]
    pub(crate) report: Report,
    /// Announce every peer once before the steady phase.
    #[arg(long)]
    pub(crate) fill: bool,
    /// Length of the steady phase, or of several that follow each other and are measured one by one; 0
    /// for none.
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds, value_delimiter = ',')]
    pub(crate) seconds: Vec<f64>,
    /// Steady load before the measured phase.
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) warmup: f64,
    /// Connections at a time. In an open loop, requests beyond them wait, and their wait counts.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = window)]
    pub(crate) connections: usize,
    /// Keep connections open instead of one connection an announce.
    #[arg(long)]
    pub(crate) keep_alive: bool,
    /// Requests on their way on a kept connection.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = window, requires = "keep_alive")]
    pub(crate) pipeline: usize,
    /// Open loop: requests a second, whatever the answers do.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// How requests of an open loop follow each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Even)]
    pub(crate) arrivals: Arrivals,
    /// Source addresses (IPv4 only; loopback has one IPv6 address).
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(SOURCES_MAX)))]
    pub(crate) sources: u32,
    /// An answer that takes longer counts as lost.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
    /// What to do while there is nothing to do.
    #[arg(long, value_enum, default_value_t = Wait::Nap)]
    pub(crate) wait: Wait,
}

/// What the load generator does while there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// Sleep up to 50 µs, which latencies then include.
    Nap,
    /// Ask the sockets again and again.
    Spin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bare {
    /// recvmmsg, sendmmsg.
    Udp(BareUdpOptions),
    /// accept, read, write, close, one connection after the other.
    Http(BareHttpOptions),
    /// TLS by rustls, one connection after the other.
    Https(BareHttpsOptions),
    /// epoll, read, write; connections stay open.
    HttpKeepAlive(BareHttpOptions),
    /// The same as a task a connection on a glommio executor.
    #[cfg(feature = "glommio")]
    HttpGlommio(BareHttpOptions),
}

#[derive(Args, Debug)]
pub(crate) struct BareHttpOptions {
    /// Address to answer on.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Length of a whole reply.
    #[arg(long, default_value_t = 250, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(200..=16_384))]
    pub(crate) reply_bytes: u16,
}

#[derive(Args, Debug)]
pub(crate) struct BareUdpOptions {
    /// Address to answer on.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// Peers in the reply to an announce, rounded: an average may be given.
    #[arg(long, default_value_t = 20.0, value_name = "N", value_parser = seconds)]
    pub(crate) peers: f64,
    /// Datagrams moved by one system call at most.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) batch: u8,
}

#[derive(Args, Debug)]
pub(crate) struct FloodOptions {
    /// Address of the tracker (IPv4).
    #[arg(long, value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// What the flood is made of; without, there is none.
    #[arg(long, value_enum)]
    pub(crate) kind: Option<Kind>,
    /// The network device by which the tracker is a neighbour.
    #[arg(long, default_value = "client", value_name = "NAME")]
    pub(crate) device: String,
    /// Packets a second; without, as many as this CPU can send.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Addresses that the flood is said to come from, from 10.78.0.1 on.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) sources: u32,
    /// How long the honest ask.
    #[arg(long, default_value_t = 5.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How long the flood lasts before they begin.
    #[arg(long, default_value_t = 0.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) lead: f64,
    /// Honest clients, from 10.77.0.1 on; they get their connection ids before the flood begins.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// Their announces a second, all together.
    #[arg(long, default_value_t = 500.0, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) honest_rate: f64,
    /// Connects a second of honest clients that have no id yet.
    #[arg(long, default_value_t = 50.0, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) newcomer_rate: f64,
    /// Everything random follows from this number.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Process whose CPU time and memory are measured; may be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) pid: Vec<i32>,
    /// Print a line of JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct IdleOptions {
    #[command(flatten)]
    pub(crate) report: Report,
    /// How long to look.
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: f64,
}

#[derive(Args, Debug)]
pub(crate) struct CensusOptions {
    /// Address of the tracker.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// Torrents of the population.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) torrents: u32,
    /// Seed of the population.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Hashes of a scrape; some trackers answer fewer than the 74 of BEP 15.
    #[arg(long, default_value_t = 74, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=74))]
    pub(crate) scrape_hashes: u8,
    /// Ask a private tracker as this user of the population, by announces that change no swarm.
    /// Snatches are not counted then.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<u32>,
    /// Give up after this time.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
pub(crate) struct ProbeOptions {
    /// Address of the tracker.
    #[arg(long, default_value = "127.0.0.1:6969", value_name = "ADDR")]
    pub(crate) to: SocketAddr,
    /// Measure from the start of this process rather than from the start of the probe.
    #[arg(long, value_name = "PID")]
    pub(crate) since_start_of: Option<i32>,
    /// An answer is correct when this torrent of the population has at least one peer; without, any
    /// answer is.
    #[arg(long, value_name = "INDEX")]
    pub(crate) torrent: Option<u32>,
    /// Ask a private tracker as this user of the population, by announces that change no swarm.
    #[arg(long, value_name = "ID")]
    pub(crate) user: Option<u32>,
    /// Seed of the population.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Give up after this time.
    #[arg(long, default_value_t = 60.0, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: f64,
}

#[derive(Args, Debug)]
pub(crate) struct SiteOptions {
    /// Users of the population.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) users: u32,
    /// Torrents of the population.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub(crate) torrents: u32,
    /// Seed of the population.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// The schema of the tracker's tables, which are there already.
    #[arg(long, default_value = "margay", value_name = "NAME")]
    pub(crate) schema: String,
}

impl Population {
    /// The users who share the peers, at a private tracker.
    pub(crate) fn users(&self, swarms: &Swarms) -> Option<Users> {
        self.users.map(|users| Users::new(swarms, users, self.counters_from))
    }

    /// How long a fill may take: a tracker that needs more than 300 µs an announce is not worth
    /// waiting for.
    pub(crate) fn fill_patience(&self) -> Duration {
        Duration::from_secs(60) + Duration::from_micros(300) * self.peers
    }
}

fn percent(text: &str) -> Result<f64, String> {
    number(text, "a percentage from 0 to 100", |value| (0.0..=100.0).contains(&value))
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, "a number from 0 to 100000", |value| (0.0..=100_000.0).contains(&value))
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, "a rate from 0.001 to 10000000 a second", |value| (0.001..=1e7).contains(&value))
}

fn window(text: &str) -> Result<usize, String> {
    let expected = "a number of requests from 1 to 100000";
    Ok(number(text, expected, |value| (1.0..=100_000.0).contains(&value))? as usize)
}

fn number(text: &str, expected: &str, legal: impl Fn(f64) -> bool) -> Result<f64, String> {
    text.parse().ok().filter(|&value| legal(value)).ok_or_else(|| format!("expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        for args in [
            ["udp", "--scrapes", "101"],
            ["udp", "--window", "0"],
            ["udp", "--rate", "0"],
            ["udp", "--sources", "60001"],
            ["udp", "--seconds", "NaN"],
            ["udp", "--seconds", "1,-1"],
            ["http", "--users", "0"],
            ["http", "--counters-from", "5"],
        ] {
            let args = ["margay-load"].iter().chain(&args);
            assert!(Cli::try_parse_from(args.clone()).is_err(), "{args:?}");
        }
    }
}
