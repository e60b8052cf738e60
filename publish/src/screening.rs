//! Who gets nothing for its address: the same rules as the tracker's (`ops::screening`), asked where somebody connects and
//! before this side connects to somebody.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ops::counters::Screened;
use ops::screening::{Gate, Screening as Rules, ScreeningError, Sources, Table, Verdict};
use ops::watched::Changed;
use shard::Seconds;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Rules about addresses, shared by all who ask and by who looks after their files. Without rules everybody is let in.
#[derive(Clone, Debug, Default)]
pub struct Screening(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    sources: Sources,
    kept: Mutex<Kept>,
    gate: Mutex<(Gate, Screened)>,
    refused: AtomicU64,
    /// Changes with the rules.
    table: watch::Sender<Arc<Table>>,
}

#[derive(Debug)]
struct Kept {
    rules: Rules,
    /// How the files were when they were looked at last and were other ones.
    seen: Option<Changed>,
    trouble: Option<String>,
}

impl Screening {
    /// Reads what the options name; who is not known to be served is refused, as there is no later here.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn open(sources: Option<Sources>) -> Result<Self, ScreeningError> {
        let Some(mut sources) = sources else { return Ok(Self::default()) };
        if sources.unknown == Verdict::Defer {
            sources.unknown = Verdict::Deny;
        }
        let rules = sources.read(false)?;
        say(&rules, "addresses are screened");
        let table = rules.table.clone();
        Ok(Self(Some(Arc::new(Shared {
            sources,
            gate: Mutex::new((Gate::new(Some(table.clone())), Screened::default())),
            refused: AtomicU64::new(0),
            table: watch::Sender::new(table),
            kept: Mutex::new(Kept { rules, seen: None, trouble: None }),
        }))))
    }

    /// Whether there are any rules.
    pub fn has_rules(&self) -> bool {
        self.0.is_some()
    }

    /// Whether who comes from an address gets nothing. That is counted, and written into the log as far as there is room;
    /// `to` says what it came to.
    pub fn turns_away(&self, address: IpAddr, to: &'static str) -> bool {
        let Some(shared) = &self.0 else { return false };
        let (gate, screened) = &mut *lock(&shared.gate);
        let now = Seconds(crate::unix_seconds() as u32);
        let is_refused = gate.judge(address.to_canonical(), to, now, screened) == Verdict::Deny;
        shared.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
        is_refused
    }

    /// The same, without a word.
    pub fn refuses(&self, address: IpAddr) -> bool {
        let Some(shared) = &self.0 else { return false };
        shared.table.borrow().refuses(address.to_canonical())
    }

    /// Waits until new rules refuse who is at an address; for ever where they do not.
    pub async fn until_refused(&self, address: IpAddr) {
        let Some(shared) = &self.0 else { return std::future::pending().await };
        let mut tables = shared.table.subscribe();
        loop {
            if self.refuses(address) {
                return;
            }
            if tables.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Connections that were refused, or not made, since the start.
    pub fn refused(&self) -> u64 {
        self.0.as_ref().map_or(0, |shared| shared.refused.load(Ordering::Relaxed))
    }

    /// Why the files cannot be used as they are now.
    pub fn trouble(&self) -> Option<String> {
        let why = lock(&self.0.as_ref()?.kept).trouble.clone()?;
        Some(format!("rules about addresses are not read again, those before are in force: {why}"))
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

impl Shared {
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
                lock(&self.gate).0.put(table.clone());
                self.table.send_replace(table);
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

/// So often files are looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(5);
