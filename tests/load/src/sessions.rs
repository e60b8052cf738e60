//! Clients that come over HTTPS one after the other, each with a session of its own, and of whom some come back with the
//! ticket that they were given: what memory of the tracker they take.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rustls::client::Resumption;
use rustls::{ClientConfig, HandshakeKind};

use crate::cli::SessionsOptions;
use crate::https::{self, Client};
use crate::process::Process;

/// Runs the load and prints the memory at each stage.
pub(crate) fn load(options: &SessionsOptions) -> Result<(), Box<dyn Error>> {
    let tracker = Process::new(options.pid)?;
    let say = |what: &str, sessions: usize, resumed: u64| -> io::Result<()> {
        let mib = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        println!(
            "sessions {what} {sessions} resumed {resumed} rss_mib {:.1} anonymous_mib {:.1}",
            mib(tracker.rss_bytes()?),
            mib(tracker.anonymous_bytes()?)
        );
        Ok(())
    };
    let new = || {
        let mut config = https::client(!options.tls12);
        config.resumption = Resumption::in_memory_sessions(2);
        Arc::new(config)
    };
    let back: Vec<_> = (0..options.back.min(options.sessions)).map(|_| new()).collect();
    say("none", 0, 0)?;
    let mut resumed = come(options, &back, 0)?;
    say("first", back.len(), resumed)?;
    let mut so_far = back.len();
    // Told ten times, so that what grows is seen to.
    for tenth in 1..=10 {
        let until = options.sessions * tenth / 10;
        while so_far < until {
            let some: Vec<_> = (so_far..until.min(so_far + AT_ONCE)).map(|_| new()).collect();
            resumed += come(options, &some, so_far)?;
            so_far += some.len();
        }
        say("full", so_far, resumed)?;
    }
    let resumed = come(options, &back, 0)?;
    say("back", back.len(), resumed)?;
    match resumed == back.len() as u64 {
        true => Ok(()),
        false => Err("not all who came back resumed".into()),
    }
}

/// Has each of them come once. How many resumed a session.
fn come(
    options: &SessionsOptions,
    configs: &[Arc<ClientConfig>],
    first: usize,
) -> Result<u64, Box<dyn Error>> {
    let (answers, resumed) = (AtomicU64::new(0), AtomicU64::new(0));
    let share = configs.len().div_ceil(options.clients.max(1)).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> = (first..)
            .step_by(share)
            .zip(configs.chunks(share))
            .map(|(first, some)| {
                let (answers, resumed) = (&answers, &resumed);
                scope.spawn(move || -> io::Result<()> {
                    for (number, config) in (first..).zip(some) {
                        let client = Client {
                            to: options.to,
                            config: Some(config.clone()),
                            request: https::request(number % 100, false),
                            is_kept: false,
                        };
                        if client.connect(Instant::now(), answers)? == Some(HandshakeKind::Resumed)
                        {
                            resumed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it does not panic"))
    })?;
    Ok(resumed.into_inner())
}

/// Clients that are made together: they take memory here.
const AT_ONCE: usize = 10_000;
