//! When the full scrape is made anew, and by whom: one at a time, on a thread of its own.
//!
//! By the clock, whether somebody asks or not. So nobody outside can make the tracker work, whoever asks
//! is answered at once, and the answer is never much older than the interval.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use persist::{DataDir, Trouble};
use shard::Seconds;

use super::Event;
use super::cores::Cores;
use crate::config::Config;
use crate::control::State;
use crate::core::mesh::edition::Edition;
use crate::core::mesh::message::Command;
use crate::core::mesh::message::{Census, Exported};
use crate::process::thread;
use ops::log::ErrorChain;

/// Pieces on their way from the cores to the writer; at most 72 KiB each. Cores that find the queue
/// full keep their piece and serve on.
const PIECES_MAX: usize = 16;

/// How a making went.
pub(crate) struct Made {
    result: Result<Edition, MakeError>,
    took: Duration,
}

#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error("cannot write to the data directory")]
    Write(#[from] io::Error),
    #[error("a core ended before it had sent all of its counts")]
    Incomplete,
}

/// The full scrapes of this process.
pub(super) struct FullScrapes {
    data: Arc<DataDir>,
    every: Duration,
    /// `None` when it is switched off.
    due: Option<Instant>,
    under_way: bool,
    /// The newest, and those that somebody may still read.
    editions: Vec<Arc<Edition>>,
    events: Sender<Event>,
}

impl FullScrapes {
    /// The first is due at once.
    pub(super) fn new(data: Arc<DataDir>, config: &Config, events: Sender<Event>) -> Self {
        Self {
            data,
            every: config.full_scrape_interval,
            due: config.full_scrape.then(Instant::now),
            under_way: false,
            editions: Vec::new(),
            events,
        }
    }

    /// When the next one is to be started; `None` while one is under way or when none is wanted.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.under_way)
    }

    /// Starts a making.
    pub(super) fn start(&mut self, cores: &Cores, state: &State) {
        self.due = Some(Instant::now() + self.every);
        // Nobody else has these any more, so nobody can get them again.
        let spent: Vec<_> =
            self.editions.extract_if(.., |edition| Arc::strong_count(edition) == 1).collect();
        let torrents: usize =
            (0..cores.count()).map(|core| state.slot(core).load().totals.swarms).sum();
        let (sender, pieces) = crossbeam_channel::bounded(PIECES_MAX);
        let (data, events, count) = (self.data.clone(), self.events.clone(), cores.count());
        let interval = Seconds(self.every.as_secs() as u32);
        let make = move || {
            thread::give_way();
            // Gives their files back, which takes a while.
            drop(spent);
            let began = Instant::now();
            let result = make(&data, &pieces, count, torrents, interval);
            let _ = events.send(Event::FullScrapeMade(Made { result, took: began.elapsed() }));
        };
        match std::thread::Builder::new().name("margay-scrape".to_owned()).spawn(make) {
            Ok(_) => {
                self.under_way = true;
                cores.tell_all(&Command::Census(sender));
            }
            Err(error) => {
                if let Some(times) = UNMADE.again("thread") {
                    tracing::error!(
                        %error, times, "cannot start a thread for the full scrape; trying again later"
                    );
                }
            }
        }
    }

    /// Takes note of how a making went, and hands the edition to the cores.
    pub(super) fn done(&mut self, made: Made, cores: &Cores) {
        self.under_way = false;
        match made.result {
            Ok(edition) => {
                tracing::debug!(
                    bytes = edition.body(false).bytes,
                    packed_bytes = edition.body(true).bytes,
                    torrents = edition.torrents(),
                    seconds = made.took.as_secs_f64(),
                    "full scrape made"
                );
                let edition = Arc::new(edition);
                self.editions.push(edition.clone());
                cores.tell_all(&Command::FullScrape(edition));
            }
            Err(error) => {
                if let Some(times) = UNMADE.again("") {
                    tracing::error!(
                        error = %ErrorChain(&error),
                        times,
                        "full scrape not made; the one before stays, the next try comes by itself"
                    );
                }
            }
        }
    }
}

static UNMADE: Trouble = Trouble::new();

/// `torrents` is about how many there will be.
fn make(
    data: &DataDir,
    pieces: &Receiver<Exported<Census>>,
    cores: usize,
    torrents: usize,
    interval: Seconds,
) -> Result<Edition, MakeError> {
    let mut census = Census::with_capacity(torrents + torrents / 16);
    let mut finished = 0;
    for exported in pieces {
        match exported {
            Exported::Piece(mut piece) => census.append(&mut piece),
            Exported::End => finished += 1,
        }
    }
    if finished < cores {
        return Err(MakeError::Incomplete);
    }
    Ok(Edition::write(data, &mut census, interval)?)
}
