//! The commands that stay: a Master or a Seeder, until a signal ends it.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::Context;
use ops::options::ConfigError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::options::{Master, Seeder};
use crate::{master, seeder};

/// Reads the options again and names those that are others by now.
pub type Changed = Box<dyn Fn() -> Result<Vec<&'static str>, ConfigError> + Send>;

/// Is the Master until SIGTERM or SIGINT. At SIGHUP `changed` is asked, and the log says what it says.
pub fn publish(options: &Master, changed: Changed) -> anyhow::Result<()> {
    until_stopped(changed, |stop| async move { Ok(master::run(options, stop).await?) })
}

/// Is a Seeder until SIGTERM or SIGINT. At SIGHUP `changed` is asked, and the log says what it says.
pub fn seed(options: &Seeder, changed: Changed) -> anyhow::Result<()> {
    until_stopped(changed, |stop| async move { Ok(seeder::run(options, stop).await?) })
}

fn until_stopped<F: Future<Output = anyhow::Result<()>>>(
    changed: Changed,
    run: impl FnOnce(CancellationToken) -> F,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("margay-publish")
        .enable_all()
        .build()
        .context("cannot start threads")?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = Signals::listen().context("cannot hear of signals")?;
        tokio::spawn(signals.obey(stop.clone(), changed));
        run(stop).await
    });
    // What still reads or hashes is not waited for.
    runtime.shutdown_background();
    ended
}

/// All signals that would end the process, had it no handler for them.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: [Signal; 2],
    // With a handler, writing beyond a limit on the size of files (setrlimit(2)) fails, as on a full disk.
    _too_large: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            _too_large: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    /// Stops at the first one that says so, and ends the process at the second.
    async fn obey(mut self, stop: CancellationToken, changed: Changed) {
        let mut stopping: Option<Instant> = None;
        let [user_1, user_2] = &mut self.user;
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
                _ = self.hangup.recv() => {
                    say_what_changed(block_in_place(&changed));
                    continue;
                }
                _ = user_1.recv() => { say_nothing_is_done(); continue; }
                _ = user_2.recv() => { say_nothing_is_done(); continue; }
            }
            match stopping {
                None => {
                    stopping = Some(Instant::now());
                    tracing::info!("stopping; a second signal ends it at once");
                    stop.cancel();
                }
                // timeout(1) and shells may send the first one twice.
                Some(since) if since.elapsed() < SECOND_SIGNAL_AFTER => {}
                Some(_) => {
                    tracing::warn!(
                        "ended at once, as a second signal came; trackers were not told"
                    );
                    std::process::exit(1);
                }
            }
        }
    }
}

fn say_nothing_is_done() {
    tracing::warn!("nothing is done at this signal; SIGTERM stops");
}

/// Options count from the next start; nothing else is read but at the start.
fn say_what_changed(changed: Result<Vec<&'static str>, ConfigError>) {
    match changed {
        Ok(names) if names.is_empty() => tracing::info!(
            "nothing is done at this signal, as the configuration is what it was; SIGTERM stops"
        ),
        Ok(names) => tracing::warn!(
            options = names.join(", "),
            "the configuration has changed in these; they count from the next start"
        ),
        Err(error) => tracing::error!(
            why = crate::chain(&error),
            "the configuration has a mistake by now; it goes on as it was started, and would not start with it"
        ),
    }
}

/// A signal to stop that comes sooner after the first one is taken for the same.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_secs(1);

/// On all of Linux but MIPS and SPARC.
const SIGXFSZ: i32 = 25;
