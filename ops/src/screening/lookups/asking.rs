//! Countries that no database names are asked of name servers, by a thread of its own. Who judges addresses asks it without
//! waiting, by a queue with bounds, and hears what came of it in batches.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use shard::Seconds;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::kept::Shelf;
use super::{Answer, Ask, Cache, Preset, Provider, RecordKind, Said, Zone, network_of};
use crate::counters::Lookups as Figures;
use crate::log::ErrorChain;

/// Why nobody can be asked.
#[derive(Debug, thiserror::Error)]
pub enum LookupsError {
    /// The system's name servers are not known.
    #[error("the name servers of /etc/resolv.conf cannot be used; give screen-dns-server")]
    Servers(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There are none.
    #[error("/etc/resolv.conf names no server; give screen-dns-server")]
    NoServer,
    /// The system has no thread for it.
    #[error("cannot start the thread that looks countries up")]
    Thread(#[source] std::io::Error),
}

/// What is looked up, of whom, and how much of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The preset that was named, for the log.
    pub preset: Option<Preset>,
    /// Where countries are asked for.
    pub provider: Provider,
    /// Name servers; without any, those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Most questions a second.
    pub rate: u32,
    /// About how many networks are remembered.
    pub networks_max: usize,
    /// The folder in which they are kept over a restart.
    pub folder: PathBuf,
}

/// Has what is known written.
#[derive(Debug)]
enum Keep {
    /// Now; who asked hears when it is.
    Now(std_mpsc::Sender<()>),
    /// Where that was long ago.
    NowAndThen,
}

/// What is known of look-ups; shared with the thread that makes them.
#[derive(Debug)]
pub struct Lookups {
    found: AtomicU64,
    nowhere: AtomicU64,
    failed: AtomicU64,
    unreadable: AtomicU64,
    left_out: AtomicU64,
    networks: AtomicU64,
    waiting: AtomicU64,
    /// Why none has succeeded lately.
    trouble: Mutex<Option<String>>,
    keep: mpsc::UnboundedSender<Keep>,
}

impl Lookups {
    /// How they go.
    pub fn figures(&self) -> Figures {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Figures {
            found: count(&self.found),
            nowhere: count(&self.nowhere),
            failed: count(&self.failed),
            unreadable: count(&self.unreadable),
            left_out: count(&self.left_out),
            networks: count(&self.networks),
            waiting: count(&self.waiting),
            trouble: self.trouble().clone(),
        }
    }

    /// Writes what is known into its file, where something is new, and waits for that, though not for long.
    pub fn keep(&self) {
        let (done, hears) = std_mpsc::channel();
        if self.keep.send(Keep::Now(done)).is_ok() && hears.recv_timeout(KEEP_PATIENCE).is_err() {
            tracing::warn!("countries that were looked up are not written in time");
        }
    }

    /// Has the same done where that was long ago, and waits for nothing. Asked each few seconds.
    pub fn keep_now_and_then(&self) {
        let _ = self.keep.send(Keep::NowAndThen);
    }

    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who have been asked about, until somebody looks them up.
#[derive(Debug)]
pub struct Asked {
    provider: Provider,
    resolver: TokioResolver,
    rate: u32,
    cache: Cache,
    shelf: Shelf,
    /// Something is known that is not in the file.
    is_new: bool,
    /// When it was written last.
    written: Option<Instant>,
    addresses: mpsc::Receiver<IpAddr>,
    keep: mpsc::UnboundedReceiver<Keep>,
    shared: Arc<Lookups>,
    failing: Failing,
}

/// How to ask, and who is asked. What is kept in the folder is read.
///
/// # Errors
/// When there is no name server.
pub fn open(options: Options, now: Seconds) -> Result<(Ask, Asked, Arc<Lookups>), LookupsError> {
    let Options { preset, provider, servers, rate, networks_max, folder } = options;
    let shown = |zone: &Option<Zone>| zone.as_ref().map_or("none".to_owned(), Zone::to_string);
    tracing::info!(
        preset = preset.map_or("none".to_owned(), |preset| preset.to_string()),
        zone_v4 = shown(&provider.zone_v4),
        zone_v6 = shown(&provider.zone_v6),
        "countries that no database names are looked up by DNS"
    );
    let (keep, keep_wanted) = mpsc::unbounded_channel();
    let shared = Arc::new(Lookups {
        found: AtomicU64::new(0),
        nowhere: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        unreadable: AtomicU64::new(0),
        left_out: AtomicU64::new(0),
        networks: AtomicU64::new(0),
        waiting: AtomicU64::new(0),
        trouble: Mutex::new(None),
        keep,
    });
    let shelf = Shelf::new(&folder, &provider);
    let cache = shelf.read(networks_max, now);
    let remembered = (!cache.is_empty()).then(|| Arc::new(cache.clone()));
    let (sender, addresses) = mpsc::channel(WAITING_MAX);
    let ask = {
        let (shared, provider) = (shared.clone(), provider.clone());
        let ask = move |address| {
            let can_be_asked = match address {
                IpAddr::V4(_) => provider.zone_v4.is_some(),
                IpAddr::V6(_) => provider.zone_v6.is_some(),
            };
            if !can_be_asked {
                // Nobody will know it: not asked again and again.
                return true;
            }
            let is_taken = sender.try_send(address).is_ok();
            shared.left_out.fetch_add(u64::from(!is_taken), Ordering::Relaxed);
            is_taken
        };
        Ask::new(ask, remembered)
    };
    let asked = Asked {
        provider,
        resolver: resolver(&servers)?,
        rate,
        cache,
        shelf,
        is_new: false,
        written: None,
        addresses,
        keep: keep_wanted,
        shared: shared.clone(),
        failing: Failing::default(),
    };
    Ok((ask, asked, shared))
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, LookupsError> {
    let failed = |error| LookupsError::Servers(Box::new(error));
    let servers: Vec<NameServerConfig> = match servers {
        [] => {
            let system = hickory_resolver::system_conf::read_system_conf().map_err(failed)?;
            system.0.name_servers().to_vec()
        }
        given => given
            .iter()
            .map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                let at_port = |connection: &mut ConnectionConfig| connection.port = address.port();
                server.connections.iter_mut().for_each(at_port);
                server
            })
            .collect(),
    };
    if servers.is_empty() {
        return Err(LookupsError::NoServer);
    }
    let mut options = ResolverOpts::default();
    options.timeout = PATIENCE;
    options.attempts = 1;
    // It is remembered by network here.
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.num_concurrent_reqs = 1;
    options.max_active_requests = UNDER_WAY_MAX;
    let servers = ResolverConfig::from_parts(None, Vec::new(), servers);
    let provider = TokioRuntimeProvider::default();
    TokioResolver::builder_with_config(servers, provider)
        .with_options(options)
        .build()
        .map_err(failed)
}

impl Asked {
    /// Looks up whoever is asked about for as long as somebody asks. `tell` is given what came of it, a batch at a time;
    /// `now` says what time it is.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn answer(
        self,
        now: impl FnMut() -> Seconds + Send + 'static,
        tell: impl Fn(Arc<[Said]>) + Send + 'static,
    ) -> Result<(), LookupsError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(LookupsError::Thread)?;
        std::thread::Builder::new()
            .name("margay-lookups".to_owned())
            .spawn(move || runtime.block_on(self.serve(now, tell)))
            .map(|_| ())
            .map_err(LookupsError::Thread)
    }

    async fn serve(mut self, mut now: impl FnMut() -> Seconds, tell: impl Fn(Arc<[Said]>)) {
        let mut under_way: JoinSet<(IpAddr, Looked)> = JoinSet::new();
        // Of one network only the first is asked for; who came meanwhile is told with it.
        let mut networks: HashSet<ipnet::IpNet> = HashSet::new();
        let mut said = Vec::new();
        let mut in_a_row = 0;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut allowance = self.rate;
        let mut last = Instant::now();
        loop {
            let may_ask = allowance > 0 && under_way.len() < UNDER_WAY_MAX;
            tokio::select! {
                address = self.addresses.recv(), if may_ask => {
                    let Some(address) = address else { return };
                    if let Some((network, cached)) = self.cache.find(address, now()) {
                        // Who cannot be known for now is asked for again when that is over.
                        said.extend((!cached.is_failure).then(|| cached.said(network, address)));
                    } else if networks.insert(network_of(address)) {
                        allowance -= 1;
                        let (provider, resolver) = (self.provider.clone(), self.resolver.clone());
                        under_way.spawn(async move {
                            (address, look_up(&provider, &resolver, address).await)
                        });
                    }
                }
                Some(looked) = under_way.join_next() => {
                    let Ok((address, looked)) = looked else { continue };
                    networks.remove(&network_of(address));
                    in_a_row = if looked.is_failure() { in_a_row + 1 } else { 0 };
                    self.say(&looked, in_a_row);
                    said.extend(self.take_in(address, looked, now()));
                }
                Some(keep) = self.keep.recv() => match keep {
                    Keep::Now(done) => {
                        self.write(now());
                        let _ = done.send(());
                    }
                    Keep::NowAndThen => {
                        let is_late = |written: Instant| written.elapsed() >= KEEP_PERIOD;
                        if self.written.is_none_or(is_late) {
                            self.write(now());
                        }
                    }
                },
                _ = ticks.tick() => {
                    let passed = last.elapsed();
                    let more = (f64::from(self.rate) * passed.as_secs_f64()) as u32;
                    if more > 0 {
                        last = Instant::now();
                        allowance = allowance.saturating_add(more).min(self.rate);
                    }
                    if !said.is_empty() {
                        tell(std::mem::take(&mut said).into());
                    }
                    let set = |figure: &AtomicU64, value: usize| figure.store(value as u64, Ordering::Relaxed);
                    set(&self.shared.networks, self.cache.len());
                    set(&self.shared.waiting, self.addresses.len() + under_way.len());
                }
            }
        }
    }

    /// Remembers what was found of an address; what there is to tell.
    fn take_in(&mut self, address: IpAddr, looked: Looked, now: Seconds) -> Option<Said> {
        let (answer, until) = match looked {
            Looked::Found(answer, ttl) => (answer, now + ttl),
            Looked::Nowhere => {
                (Answer { country: None, network: network_of(address) }, now + NOWHERE_KEPT)
            }
            Looked::Failed(_) | Looked::Unreadable(_) => {
                self.cache.note_failure(address, now + FAILURE_KEPT);
                return None;
            }
        };
        self.cache.take_in(answer, until);
        self.is_new = true;
        let (network, cached) = self.cache.find(address, now)?;
        Some(cached.said(network, address))
    }

    /// Writes what is known, where something is new.
    fn write(&mut self, now: Seconds) {
        if !std::mem::take(&mut self.is_new) {
            return;
        }
        self.written = Some(Instant::now());
        if let Err(error) = self.shelf.write(&self.cache, now) {
            self.is_new = true;
            tracing::warn!(%error, "countries that were looked up cannot be written; after a restart they are looked up again");
        }
    }

    /// Counts what came of a look-up, and says when they begin to fail and when that is over.
    fn say(&mut self, looked: &Looked, in_a_row: u32) {
        let (count, why) = match looked {
            Looked::Found(..) => (&self.shared.found, None),
            Looked::Nowhere => (&self.shared.nowhere, None),
            Looked::Failed(why) => (&self.shared.failed, Some(why)),
            Looked::Unreadable(why) => (&self.shared.unreadable, Some(why)),
        };
        count.fetch_add(1, Ordering::Relaxed);
        match why {
            None => {
                *self.shared.trouble() = None;
                if let Some(away) = self.failing.over() {
                    tracing::info!(seconds = away.as_secs(), "countries are looked up again");
                }
            }
            // One that fails may be about one network.
            Some(_) if in_a_row < IN_A_ROW => {}
            Some(why) => {
                *self.shared.trouble() = Some(why.clone());
                if self.failing.is_news() {
                    tracing::error!(
                        error = why,
                        "countries cannot be looked up; what is known stays, and screen-unknown says what happens to others"
                    );
                }
            }
        }
    }
}

/// Since when look-ups fail, and when that was said last: at most once a minute.
#[derive(Debug, Default)]
struct Failing {
    said: Option<Instant>,
    since: Option<Instant>,
}

impl Failing {
    /// They fail; whether that is to be said.
    fn is_news(&mut self) -> bool {
        let is_news = self.since.is_none()
            && self.said.is_none_or(|said| said.elapsed() >= FAILING_SAID_AGAIN);
        if is_news {
            (self.said, self.since) = (Some(Instant::now()), Some(Instant::now()));
        }
        is_news
    }

    /// They succeed; where it was said that they do not, for how long that was so.
    fn over(&mut self) -> Option<Duration> {
        self.since.take().map(|since| since.elapsed())
    }
}

/// What came of a look-up.
enum Looked {
    /// An answer, and how long it is good.
    Found(Answer, Seconds),
    /// There is no such name.
    Nowhere,
    Failed(String),
    Unreadable(String),
}

impl Looked {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unreadable(_))
    }
}

async fn look_up(provider: &Provider, resolver: &TokioResolver, address: IpAddr) -> Looked {
    let Some(name) = provider.question(address) else { return Looked::Nowhere };
    let kind = match provider.record {
        RecordKind::Txt => RecordType::TXT,
        RecordKind::A => RecordType::A,
    };
    let lookup = match tokio::time::timeout(PATIENCE_IN_ALL, resolver.lookup(name, kind)).await {
        Ok(Ok(lookup)) => lookup,
        Ok(Err(error)) if error.is_no_records_found() && !is_refusal(&error) => {
            return Looked::Nowhere;
        }
        Ok(Err(error)) => return Looked::Failed(ErrorChain(&error).to_string()),
        Err(_) => return Looked::Failed("no name server answers".to_owned()),
    };
    let records = lookup.answers();
    let answer = match provider.record {
        RecordKind::Txt => {
            let texts: Vec<String> = records
                .iter()
                .filter_map(|record| match &record.data {
                    RData::TXT(text) => Some(as_text(&text.txt_data)),
                    _ => None,
                })
                .collect();
            provider.read_texts(address, texts.iter().map(String::as_str))
        }
        RecordKind::A => {
            let said = records.iter().filter_map(|record| match &record.data {
                RData::A(address) => Some(address.0),
                _ => None,
            });
            provider.read_addresses(address, said)
        }
    };
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(0);
    match answer {
        Ok(answer) => Looked::Found(answer, Seconds(ttl.clamp(KEPT.0, KEPT.1))),
        Err(error) => Looked::Unreadable(error.to_string()),
    }
}

/// Whether a server said that it cannot or will not answer, and not that there is nothing.
fn is_refusal(error: &hickory_resolver::net::NetError) -> bool {
    use hickory_resolver::net::{DnsError, NetError};
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            ![ResponseCode::NXDomain, ResponseCode::NoError].contains(&none.response_code)
        }
        _ => true,
    }
}

/// The parts of a text, joined; what is no UTF-8 is none of what is looked for in it.
fn as_text(parts: &[Box<[u8]>]) -> String {
    let mut text = String::new();
    for part in parts {
        let _ = write!(text, "{}", String::from_utf8_lossy(part));
    }
    text
}

/// Addresses that wait to be looked up; more are left out, and asked for again when they come again.
const WAITING_MAX: usize = 16_384;

/// Look-ups under way.
const UNDER_WAY_MAX: usize = 256;

/// How often cores are told what was found.
const TICK: Duration = Duration::from_millis(100);

/// How long a name server may take to answer, and all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
const PATIENCE_IN_ALL: Duration = Duration::from_secs(10);

/// How long an answer is good at least and at most, in seconds, whatever it says of that itself.
const KEPT: (u32, u32) = (600, 7 * 24 * 3600);

/// How long nobody is asked again where there was no such name, and where nobody could answer.
const NOWHERE_KEPT: Seconds = Seconds(3600);
const FAILURE_KEPT: Seconds = Seconds(30);

/// So many look-ups that fail one after the other are a failure of all.
const IN_A_ROW: u32 = 5;

/// How soon it is said again that look-ups fail, where they have succeeded in between.
const FAILING_SAID_AGAIN: Duration = Duration::from_secs(60);

/// How often what is known is written at most.
const KEEP_PERIOD: Duration = Duration::from_secs(300);

/// How long who ends waits for it.
const KEEP_PATIENCE: Duration = Duration::from_secs(5);
