//! Who gets nothing for its address: the same rules as the tracker's (`ops::screening`), asked where somebody connects and
//! before this side connects to somebody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ops::counters::{Lookups as Figures, Screened};
use ops::screening::lookups::{self, Lookups, LookupsError, Said};
use ops::screening::{Gate, Screening as Rules, ScreeningError, Sources, Verdict};
use ops::watched::Changed;
use shard::Seconds;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Why addresses cannot be screened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The rules cannot be used.
    #[error(transparent)]
    Rules(#[from] ScreeningError),
    /// Countries cannot be looked up.
    #[error(transparent)]
    Lookups(#[from] LookupsError),
}

/// Rules about addresses, shared by all who ask and by who looks after their files. Without rules everybody is let in.
#[derive(Clone, Debug, Default)]
pub struct Screening(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    sources: Sources,
    kept: Mutex<Kept>,
    gate: Mutex<(Gate, Screened)>,
    /// Where countries are looked up.
    lookups: Option<Arc<Lookups>>,
    refused: AtomicU64,
    /// Changes with the rules, and with what is known of countries.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Kept {
    rules: Rules,
    /// How the files were when they were looked at last and were other ones.
    seen: Option<Changed>,
    trouble: Option<String>,
}

impl Screening {
    /// Reads what the options name, and looks countries up where they say so. Without that, who is not known to be served
    /// is refused, as there is no later.
    ///
    /// # Errors
    /// When a file cannot be used, or there is no name server.
    pub fn open(
        sources: Option<Sources>,
        lookups: Option<lookups::Options>,
    ) -> Result<Self, OpenError> {
        let Some(mut sources) = sources else { return Ok(Self::default()) };
        if sources.unknown == Verdict::Defer && lookups.is_none() {
            sources.unknown = Verdict::Deny;
        }
        let rules = sources.read(false)?;
        say(&rules, "addresses are screened");
        let mut gate = Gate::new(Some(rules.table.clone()));
        let (mut looked_up, mut unanswered) = (None, None);
        if let Some(options) = lookups {
            let networks_max = options.networks_max;
            let (ask, asked, lookups) = lookups::open(options, now())?;
            gate = gate.with_lookups(Some(ask), networks_max);
            (looked_up, unanswered) = (Some(lookups), Some(asked));
        }
        let shared = Arc::new(Shared {
            sources,
            gate: Mutex::new((gate, Screened::default())),
            lookups: looked_up,
            refused: AtomicU64::new(0),
            changed: watch::Sender::new(()),
            kept: Mutex::new(Kept { rules, seen: None, trouble: None }),
        });
        if let Some(asked) = unanswered {
            // It ends with who asks.
            let weak = Arc::downgrade(&shared);
            asked.answer(now, move |said| hear(&weak, &said))?;
        }
        Ok(Self(Some(shared)))
    }

    /// Whether there are any rules.
    pub fn has_rules(&self) -> bool {
        self.0.is_some()
    }

    /// What happens to who comes from an address; `to` says what it comes to. Who gets nothing is counted, and written into
    /// the log as far as there is room. What is not known is looked up, which is not waited for.
    pub fn judge(&self, address: IpAddr, to: &'static str) -> Verdict {
        let Some(shared) = &self.0 else { return Verdict::Allow };
        shared.count(shared.judge(address, to))
    }

    /// Whether who comes from an address is turned away, for good or for now.
    pub fn turns_away(&self, address: IpAddr, to: &'static str) -> bool {
        self.judge(address, to) != Verdict::Allow
    }

    /// The same as [`Screening::judge`], where who is deferred waits a moment until its country is known.
    pub async fn judge_patiently(&self, address: IpAddr, to: &'static str) -> Verdict {
        let Some(shared) = &self.0 else { return Verdict::Allow };
        let (mut changes, until) = (shared.changed.subscribe(), Instant::now() + PATIENCE);
        loop {
            let verdict = shared.judge(address, to);
            if verdict != Verdict::Defer
                || !matches!(timeout_at(until, changes.changed()).await, Ok(Ok(())))
            {
                return shared.count(verdict);
            }
        }
    }

    /// Whether who is at an address gets nothing, without a word.
    pub fn refuses(&self, address: IpAddr) -> bool {
        let Some(shared) = &self.0 else { return false };
        lock(&shared.gate).0.refuses(address.to_canonical())
    }

    /// The same; what is not known is looked up.
    pub fn refuses_and_asks(&self, address: IpAddr) -> bool {
        let Some(shared) = &self.0 else { return false };
        lock(&shared.gate).0.refuses_and_asks(address.to_canonical(), now())
    }

    /// Writes what is known of countries into the data folder, for the next start.
    pub async fn keep(&self) {
        let Some(lookups) = self.0.as_ref().and_then(|shared| shared.lookups.clone()) else {
            return;
        };
        let _ = tokio::task::spawn_blocking(move || lookups.keep()).await;
    }

    /// Waits until new rules, or what is known by now, refuse who is at an address; for ever where they do not.
    pub async fn until_refused(&self, address: IpAddr) {
        let Some(shared) = &self.0 else { return std::future::pending().await };
        let mut changes = shared.changed.subscribe();
        loop {
            if self.refuses(address) {
                return;
            }
            if changes.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Connections that were refused, or not made, since the start.
    pub fn refused(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.refused.load(Ordering::Relaxed))
    }

    /// How look-ups of countries go.
    pub fn lookups(&self) -> Figures {
        let lookups = self.0.as_ref().and_then(|shared| shared.lookups.as_ref());
        lookups.map(|lookups| lookups.figures()).unwrap_or_default()
    }

    /// Why the files cannot be used as they are now, and why countries cannot be looked up.
    pub fn troubles(&self) -> Vec<String> {
        let Some(shared) = &self.0 else { return Vec::new() };
        let files = lock(&shared.kept).trouble.clone().map(|why| {
            format!("rules about addresses are not read again, those before are in force: {why}")
        });
        let lookups =
            self.lookups().trouble.map(|why| format!("countries cannot be looked up: {why}"));
        files.into_iter().chain(lookups).collect()
    }

    /// Looks after the files, for ever: they are read again when they have changed and are at rest, and at SIGHUP.
    pub async fn look_after(self) {
        let Some(shared) = self.0 else { return };
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        loop {
            let is_asked_for = tokio::select! {
                said = hangup.recv() => said.is_some(),
                () = tokio::time::sleep(LOOK_PERIOD) => false,
            };
            if let Some(lookups) = &shared.lookups {
                lookups.keep_now_and_then();
            }
            let shared = shared.clone();
            // A database of all countries takes some seconds.
            let looked = tokio::task::spawn_blocking(move || shared.look(is_asked_for)).await;
            if let Err(error) = looked {
                tracing::error!(%error, "rules about addresses are not looked after any more");
                return;
            }
        }
    }
}

/// Takes in what look-ups say of countries.
fn hear(shared: &Weak<Shared>, said: &[Said]) {
    if let Some(shared) = shared.upgrade() {
        lock(&shared.gate).0.take_in(said);
        shared.changed.send_replace(());
    }
}

impl Shared {
    fn judge(&self, address: IpAddr, to: &'static str) -> Verdict {
        let (gate, screened) = &mut *lock(&self.gate);
        let now = now();
        let verdict = gate.judge(address.to_canonical(), to, now, screened);
        gate.ask(now);
        verdict
    }

    fn count(&self, verdict: Verdict) -> Verdict {
        self.refused.fetch_add(u64::from(verdict != Verdict::Allow), Ordering::Relaxed);
        verdict
    }

    fn look(&self, is_asked_for: bool) {
        let changed = lock(&self.kept).rules.changed();
        let is_to_be_read = {
            let kept = &mut *lock(&self.kept);
            let is_at_rest = changed.is_some() && kept.seen == changed;
            let was_tried = is_at_rest && kept.trouble.is_some();
            if kept.seen != changed {
                kept.trouble = kept.trouble.take().filter(|_| changed.is_none());
            }
            kept.seen = changed;
            is_asked_for || is_at_rest && !was_tried
        };
        if !is_to_be_read {
            return;
        }
        match self.sources.read(false) {
            Ok(rules) => {
                say(&rules, "rules about addresses read again");
                let table = rules.table.clone();
                {
                    let kept = &mut *lock(&self.kept);
                    (kept.rules, kept.trouble) = (rules, None);
                }
                lock(&self.gate).0.put(table);
                self.changed.send_replace(());
            }
            Err(error) => {
                let why = crate::chain(&error);
                tracing::error!(
                    why,
                    "rules about addresses not read; the ones from before stay in force"
                );
                lock(&self.kept).trouble = Some(why);
            }
        }
    }
}

fn say(rules: &Rules, what: &str) {
    let sizes = rules.sizes;
    tracing::info!(
        denied_networks = sizes.denied_networks,
        allowed_networks = sizes.allowed_networks,
        ranges_v4 = sizes.ranges_v4,
        ranges_v6 = sizes.ranges_v6,
        "{what}"
    );
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> Seconds {
    Seconds(crate::unix_seconds() as u32)
}

/// How long who is deferred waits until its country is known.
const PATIENCE: Duration = Duration::from_secs(2);

/// So often files are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
