//! Calls to the site: which tokens are used up, told by the request that a site built for Ocelot expects.
//!
//! The ledger notes such tokens in the database, with the download that used them up. A thread takes them
//! from there, tells the site, and marks them as told: each is told at least once, also when the site, the database
//! or the tracker goes away in between. A site that does not answer is asked again after a while
//! that grows, and everything else goes on meanwhile.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ops::counters;
use persist::postgres::{Backoff, SpentToken, SpentTokens};
use persist::{Database, DatabaseError, StopSign, Stoppable, Trouble};
use shard::private::{TorrentId, UserId};

use crate::config::{Secret, SiteUrl};
use crate::wire::ocelot::{Site, SiteAnswer, expire_tokens, site_answer};

/// The thread that tells the site.
pub struct Calls {
    status: Arc<Mutex<counters::SiteCalls>>,
    thread: Stoppable,
}

/// Why a call is to be made again.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("the site cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the site does not answer: {0}")]
    Silent(io::Error),
    #[error("the site answers with status {0}, not 200: does it take calls from this address?")]
    Refused(u16),
    #[error("what answers at the site's address is no HTTP server")]
    Malformed,
}

impl Calls {
    /// Starts the thread: it tells the site at `url`, which knows this `password`, of the tokens in
    /// `database`.
    pub fn start(database: Database, url: &SiteUrl, password: &Secret) -> io::Result<Self> {
        let site = Site {
            host: url.host_header(),
            path: url.path.clone(),
            password: password.reveal().to_owned(),
        };
        let status = Arc::new(Mutex::default());
        let (url, shared) = (url.clone(), status.clone());
        let thread = Stoppable::start("margay-site", move |stopped| {
            let retry = Backoff::between(RETRY_FIRST, RETRY_LAST);
            let trouble = Trouble::new();
            Caller { database, url, site, status: shared, stopped, retry, trouble }.run();
        })?;
        Ok(Self { status, thread })
    }

    /// How it is doing, also when the thread has ended.
    pub fn watch_status(&self) -> impl Fn() -> counters::SiteCalls + Send + Sync + use<> {
        let status = self.status.clone();
        move || *status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the thread. What the site has not been told of, it is told after the next start. A thread that
    /// waits for the site or the database longer than `patience` is left alone.
    pub fn stop(self, patience: Duration) {
        self.thread.stop(patience);
    }
}

struct Caller {
    database: Database,
    url: SiteUrl,
    site: Site,
    status: Arc<Mutex<counters::SiteCalls>>,
    stopped: StopSign,
    retry: Backoff,
    /// The last call failed.
    trouble: Trouble,
}

impl Caller {
    fn run(mut self) {
        let mut backoff = Backoff::new();
        while !self.stopped.comes_within(Duration::ZERO) {
            let Err(error) = self.session(&mut backoff) else { return };
            let text = error.to_string();
            let wait = backoff.next();
            if backoff.is_news(&text) {
                tracing::warn!(error = text, again_in = ?wait, "calls to the site wait for the database");
            }
            if self.stopped.comes_within(wait) {
                return;
            }
        }
    }

    /// Tells the site over one connection to the database, until that fails or the thread is to stop.
    fn session(&mut self, backoff: &mut Backoff) -> Result<(), DatabaseError> {
        let mut tokens = loop {
            match SpentTokens::connect(&self.database)? {
                Some(tokens) => break tokens,
                // Another tracker of this site does it, or one that has just ended still seems to.
                None if self.stopped.comes_within(LOOK_PERIOD) => return Ok(()),
                None => {}
            }
        };
        backoff.reset();
        let mut forgot_at: Option<Instant> = None;
        loop {
            let waiting = tokens.untold(TOKENS_MAX)?;
            let count =
                if waiting.len() < TOKENS_MAX { waiting.len() as u64 } else { tokens.waiting()? };
            self.set(|status| status.waiting = count);
            let pause = match waiting.is_empty() {
                true => {
                    if forgot_at.is_none_or(|at| at.elapsed() > FORGET_PERIOD) {
                        tokens.forget(FORGET_MAX)?;
                        forgot_at = Some(Instant::now());
                    }
                    LOOK_PERIOD
                }
                false => self.tell(&mut tokens, &waiting)?,
            };
            if self.stopped.comes_within(pause) {
                return Ok(());
            }
        }
    }

    /// Makes one call; how long to wait before the next one.
    fn tell(
        &mut self,
        tokens: &mut SpentTokens,
        waiting: &[SpentToken],
    ) -> Result<Duration, DatabaseError> {
        let pairs: Vec<(UserId, TorrentId)> =
            waiting.iter().map(|token| (token.user, token.torrent)).collect();
        let Some((request, told)) = expire_tokens(&self.site, &pairs) else {
            return Ok(LOOK_PERIOD);
        };
        self.set(|status| status.calls += 1);
        match call(&self.url, &request) {
            Ok(()) => {
                tokens.told(&waiting[..told])?;
                self.set(|status| {
                    status.told += told as u64;
                    status.waiting = status.waiting.saturating_sub(told as u64);
                });
                if self.trouble.over().is_some() {
                    tracing::info!(site = %self.url, "the site hears of used up tokens again");
                }
                self.retry.reset();
                Ok(Duration::ZERO)
            }
            Err(error) => {
                let wait = self.retry.next();
                self.set(|status| status.failures += 1);
                if let Some(times) = self.trouble.again("") {
                    tracing::warn!(
                        times, site = %self.url, %error, tokens = waiting.len(), again_in = ?wait,
                        "cannot tell the site of used up tokens; it is told again until it knows"
                    );
                }
                Ok(wait)
            }
        }
    }

    fn set(&self, change: impl FnOnce(&mut counters::SiteCalls)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Sends a request and reads the answer as far as it matters.
fn call(url: &SiteUrl, request: &[u8]) -> Result<(), CallError> {
    let deadline = Instant::now() + CALL_TIME;
    let mut stream = connect(url, deadline).map_err(CallError::Unreachable)?;
    stream
        .set_write_timeout(Some(CALL_TIME))
        .and_then(|()| stream.write_all(request))
        .map_err(CallError::Silent)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let received = receive(&mut stream, &mut buffer, deadline).map_err(CallError::Silent)?;
        answer.extend_from_slice(&buffer[..received]);
        match site_answer(&answer, received == 0) {
            SiteAnswer::Partial => {}
            SiteAnswer::Done => break,
            SiteAnswer::Refused(status) => return Err(CallError::Refused(status)),
            SiteAnswer::Malformed => return Err(CallError::Malformed),
        }
    }
    // It has done what it was asked. To hang up before it has said all of it could look like a mistake.
    let mut left = ANSWER_BYTES_MAX;
    while left > 0
        && let Ok(received @ 1..) = receive(&mut stream, &mut buffer, deadline)
    {
        left = left.saturating_sub(received);
    }
    Ok(())
}

fn connect(url: &SiteUrl, deadline: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in (url.host.as_str(), url.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, time_left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn receive(stream: &mut TcpStream, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
    loop {
        stream.set_read_timeout(Some(time_left(deadline)?))?;
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received,
        }
    }
}

fn time_left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left).ok_or_else(|| io::ErrorKind::TimedOut.into())
}

/// What a call may take, in all.
const CALL_TIME: Duration = Duration::from_secs(10);

/// After a failure the call is made again: first after this, in the end as seldom as that.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(60);

/// How often the database is asked whether there is something to tell.
const LOOK_PERIOD: Duration = Duration::from_secs(2);

/// Tokens that are read at once; a call takes as many of them as fit.
const TOKENS_MAX: usize = 256;

/// How much of an answer is read beyond its first line.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How often, and how many at once, rows go that have been told for long.
const FORGET_PERIOD: Duration = Duration::from_secs(3600);
const FORGET_MAX: usize = 10_000;
