//! The thread that hashes: one name at a time, with as many threads as are wanted for it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use shard::InfoHash;
use tokio::sync::mpsc::UnboundedSender;

use super::names::Hashed;
use crate::torrent::{self, Content, Found, HashError, Metainfo, Progress};
use crate::watch::Look;

/// Hashes names one after the other.
#[derive(Debug)]
pub(super) struct Hasher {
    jobs: Sender<Job>,
    state: Arc<Mutex<State>>,
}

/// What came of hashing a name.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The name.
    pub name: String,
    /// As what it was hashed.
    pub look: Look,
    /// The torrent, where there is one.
    pub metainfo: Option<Box<Metainfo>>,
    /// What to make of it.
    pub hashed: Hashed,
}

/// How torrents are made.
#[derive(Clone, Debug)]
pub(super) struct Making {
    /// The watched folder.
    pub folder: PathBuf,
    /// Threads for one name.
    pub threads: usize,
    /// Bytes in a piece; by the size of the content where it is not said.
    pub piece_length: Option<u32>,
    /// What else stands in a torrent. The web seeds are made for each.
    pub options: torrent::Options,
    /// Where the watched folder can be read (BEP 19), with a slash at its end.
    pub files_url: Option<url::Url>,
}

#[derive(Debug)]
struct Job {
    name: String,
    look: Look,
    stop: Arc<AtomicBool>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct State {
    /// Names that wait or are being hashed: their size, and where they are stopped and followed.
    jobs: HashMap<String, (u64, Arc<AtomicBool>, Arc<Progress>)>,
}

impl Hasher {
    /// Starts the thread. What comes of each name goes to `outcomes`.
    pub(super) fn start(making: Making, outcomes: UnboundedSender<Outcome>) -> io::Result<Self> {
        let (jobs, arriving): (_, Receiver<Job>) = channel();
        let state: Arc<Mutex<State>> = Arc::default();
        thread::Builder::new().name("margay-hash".to_owned()).spawn({
            let state = state.clone();
            move || {
                for job in arriving {
                    let outcome = hash(&making, &job);
                    let jobs = &mut lock(&state).jobs;
                    // It may have been given up, and wait again behind others.
                    if jobs.get(&job.name).is_some_and(|(_, stop, _)| Arc::ptr_eq(stop, &job.stop))
                    {
                        jobs.remove(&job.name);
                    }
                    let is_wanted = !job.stop.load(Ordering::Relaxed);
                    if is_wanted && outcomes.send(outcome).is_err() {
                        return;
                    }
                }
            }
        })?;
        Ok(Self { jobs, state })
    }

    /// A name is hashed when those before it are.
    pub(super) fn hash(&self, name: &str, look: Look) {
        let size = look.identities().map(|identity| identity.size).sum();
        let (stop, progress): (Arc<AtomicBool>, Arc<Progress>) = Default::default();
        self.cancel(name);
        lock(&self.state).jobs.insert(name.to_owned(), (size, stop.clone(), progress.clone()));
        // The thread lives as long as somebody takes what comes.
        let _ = self.jobs.send(Job { name: name.to_owned(), look, stop, progress });
    }

    /// A name is not to be hashed any more.
    pub(super) fn cancel(&self, name: &str) {
        if let Some((_, stop, _)) = lock(&self.state).jobs.remove(name) {
            stop.store(true, Ordering::Relaxed);
        }
    }

    /// Bytes that are hashed of a name, where it waits or is being hashed.
    pub(super) fn done(&self, name: &str) -> Option<u64> {
        let state = lock(&self.state);
        let (.., progress) = state.jobs.get(name)?;
        Some(progress.bytes.load(Ordering::Relaxed))
    }

    /// Bytes that are hashed of all that waits and is being hashed, and of how many.
    pub(super) fn progress(&self) -> Option<(u64, u64)> {
        let state = lock(&self.state);
        let jobs = state.jobs.values();
        let done = jobs.clone().map(|(.., progress)| progress.bytes.load(Ordering::Relaxed)).sum();
        let all = jobs.map(|(size, ..)| size).sum();
        (!state.jobs.is_empty()).then_some((done, all))
    }
}

fn hash(making: &Making, job: &Job) -> Outcome {
    let made = metainfo(making, job);
    let (metainfo, hashed) = match made {
        Ok(metainfo) => {
            let info_hash: InfoHash = metainfo.info_hash;
            (Some(Box::new(metainfo)), Hashed::Torrent(info_hash))
        }
        Err(hashed) => (None, hashed),
    };
    Outcome { name: job.name.clone(), look: job.look.clone(), metainfo, hashed }
}

fn metainfo(making: &Making, job: &Job) -> Result<Metainfo, Hashed> {
    let failed = |error: &dyn std::error::Error| Hashed::Failed(crate::chain(error));
    let path = making.folder.join(&job.name);
    let content = content(&path, &job.name, &job.look).ok_or(Hashed::Changed)?;
    let piece_length =
        making.piece_length.unwrap_or_else(|| torrent::piece_length_for(content.total()));
    let pieces = match content.hash(piece_length, making.threads, &job.progress, &job.stop) {
        Ok(pieces) => pieces,
        Err(HashError::Changed { .. } | HashError::Stopped) => return Err(Hashed::Changed),
        Err(error) => return Err(failed(&error)),
    };
    let web_seeds = making.files_url.iter().map(|base| web_seed(base, &content)).collect();
    let options = torrent::Options { web_seeds, ..making.options.clone() };
    let metainfo = Metainfo::author(&content, &pieces, &options).map_err(|error| failed(&error))?;
    // Once more, as the last thing before it is a torrent.
    match crate::watch::look(&path) == job.look {
        true => Ok(metainfo),
        false => Err(Hashed::Changed),
    }
}

/// What was seen of a name, as what is hashed.
fn content(path: &Path, name: &str, look: &Look) -> Option<Content> {
    let (root, name, is_single) = (path.to_owned(), name.to_owned(), matches!(look, Look::File(_)));
    let found = |path: &Path, identity| Found { path: path.to_owned(), identity };
    let files = match look {
        Look::File(identity) => vec![found(Path::new(""), *identity)],
        Look::Directory { files, .. } => {
            files.iter().map(|file| found(&file.path, file.identity)).collect()
        }
        Look::Absent | Look::Failed(_) => return None,
    };
    Some(Content { root, name, is_single, files, skipped: Vec::new() })
}

/// The web seed of a content (BEP 19): the file itself, or the folder that its own folder is in.
fn web_seed(base: &url::Url, content: &Content) -> String {
    if !content.is_single {
        return base.to_string();
    }
    let mut url = base.clone();
    if let Ok(mut parts) = url.path_segments_mut() {
        parts.pop_if_empty().push(&content.name);
    }
    url.to_string()
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
