//! The API of an open tracker: torrents are put and withdrawn. The register has it on the disk before the cores hear of
//! it, and both before it is answered.

use std::sync::Arc;

use ops::lists::{Standing, Withdrawal};
use persist::register::{Change, Entry, Register, Withdrawn};
use serde_json::{Value, json};
use shard::InfoHash;
use shard::private::Freeleech;
use tokio::sync::{Mutex, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::look::{limit, no_page};
use super::{ANSWER_TIME, Api, INBOX_PAUSE, add};
use crate::api::operation::read_info_hash;
use crate::api::route::{Call, parameter};
use crate::api::{Done, Failure, OpenState, OpenTorrent, Operation, answer, text};
use crate::core::mesh::Address;
use crate::core::mesh::ask::{Ask, Stood};
use crate::core::mesh::message::Message;
use crate::core::route;
use crate::process::clock::Clock;

/// What the cores have to know of an open tracker's torrents when they begin.
pub fn said(register: &Register, clock: Clock) -> impl Iterator<Item = (InfoHash, Standing)> {
    register.after(None, clock.now()).map(|(info_hash, entry)| (*info_hash, standing(entry)))
}

/// Whether an open tracker answers this.
pub(super) fn knows(call: Call) -> bool {
    matches!(
        call,
        Call::Describe
            | Call::Torrents
            | Call::ShowTorrent
            | Call::PutTorrent
            | Call::RemoveTorrent
            | Call::Bulk
    )
}

/// The entry of a torrent as a core knows it.
fn standing(entry: &Entry) -> Standing {
    match &entry.withdrawn {
        None => Standing::Served,
        Some(withdrawn) => {
            let Withdrawn { reason, until } = &**withdrawn;
            Standing::Withdrawn(Withdrawal { reason: (**reason).into(), until: *until })
        }
    }
}

/// What an operation changes in the register.
fn change(operation: Operation) -> Result<Change, Failure> {
    match operation {
        Operation::PutTorrent { info_hash, info_hash_v2, name, id, freeleech, upload_percent } => {
            if info_hash_v2.is_some() {
                return Err(Failure::OpenHybrid);
            }
            if id.is_some() || freeleech != Freeleech::None || upload_percent != 100 {
                return Err(Failure::NotPrivate);
            }
            Ok(Change::Put { info_hash, name: name.map(Into::into) })
        }
        Operation::RemoveTorrent { info_hash, reason } => {
            Ok(Change::Withdraw { info_hash, reason: reason.into() })
        }
        _ => Err(Failure::NotPrivate),
    }
}

fn open_torrent(info_hash: InfoHash, entry: Option<Entry>, stood: Stood) -> OpenTorrent {
    let Entry { name, withdrawn } = entry.unwrap_or_default();
    let withdrawn = withdrawn.map(|withdrawn| (withdrawn.reason, withdrawn.until));
    let counts = stood.counts.unwrap_or_default();
    OpenTorrent { info_hash, name, state: stood.state, withdrawn, counts }
}

/// Puts a message into the inbox of a core, however long that has no room: what the register has on the disk is
/// to be true there as well. Not of one that has ended.
async fn bring(core: &Address<Message>, mut message: Message) {
    while let Err(back) = core.send(message) {
        if core.has_ended() {
            return;
        }
        message = back;
        sleep(INBOX_PAUSE).await;
    }
}

/// Answers of cores that are on their way: where each part of them belongs.
type Coming = Vec<(Vec<usize>, oneshot::Receiver<Vec<(Stood, bool)>>)>;

impl Api {
    /// Answers a look; `None` for a call that changes something.
    pub(super) async fn look_open(
        &self,
        register: &Mutex<Register>,
        call: Call,
        parts: &[String],
        query: &str,
    ) -> Result<Option<Value>, Failure> {
        let now = self.clock.now();
        match call {
            Call::ShowTorrent => {
                let info_hash = read_info_hash(&parts[0])?;
                let entry = register.lock().await.get(&info_hash, now).cloned();
                let stood = self.stood(&[info_hash]).await?[0];
                // Served, as everything is, and nobody has ever asked for it.
                let is_nothing =
                    stood.state == OpenState::Served || stood.state == OpenState::Unlisted;
                if entry.is_none() && is_nothing && stood.counts.is_none() {
                    return Err(Failure::NeverNamed(info_hash));
                }
                Ok(Some(answer::open_torrent(&open_torrent(info_hash, entry, stood))))
            }
            Call::Torrents => {
                if parameter(query, "id").is_some() {
                    return Err(Failure::NotPrivate);
                }
                let limit = limit(query)?;
                let after = parameter(query, "after")
                    .map(|after| text::info_hash(&after).ok_or_else(no_page))
                    .transpose()?;
                let page: Vec<(InfoHash, Entry)> = {
                    let register = register.lock().await;
                    let page = register.after(after, now).take(limit);
                    page.map(|(info_hash, entry)| (*info_hash, entry.clone())).collect()
                };
                let last = page.last().filter(|_| page.len() == limit).map(|(last, _)| *last);
                let names: Vec<InfoHash> = page.iter().map(|(info_hash, _)| *info_hash).collect();
                let stood = self.stood(&names).await?;
                let torrents = page.into_iter().zip(stood).map(|((info_hash, entry), stood)| {
                    answer::open_torrent(&open_torrent(info_hash, Some(entry), stood))
                });
                Ok(Some(json!({
                    "torrents": torrents.collect::<Vec<_>>(),
                    "next": last.as_ref().map(text::hex),
                })))
            }
            _ => Ok(None),
        }
    }

    /// How these torrents are, on the cores that own them.
    async fn stood(&self, torrents: &[InfoHash]) -> Result<Vec<Stood>, Failure> {
        let owner = |info_hash: &InfoHash| route::owner(info_hash, self.cores.len());
        let mut found = vec![None; torrents.len()];
        for core in 0..self.cores.len() {
            let places: Vec<usize> =
                (0..torrents.len()).filter(|at| owner(&torrents[*at]) == core).collect();
            if places.is_empty() {
                continue;
            }
            let asked = places.iter().map(|at| torrents[*at]).collect();
            let stood = self.ask(core, |reply| Ask::Stands(asked, reply)).await?;
            for (at, stood) in places.into_iter().zip(stood) {
                found[at] = Some(stood);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Does operations in this order; their results.
    pub(super) async fn do_open(
        &self,
        register: &Arc<Mutex<Register>>,
        operations: Vec<Operation>,
    ) -> Vec<Result<Done, Failure>> {
        let mut results: Vec<_> = operations.iter().map(|_| Err(Failure::Late)).collect();
        let (mut places, mut changes) = (Vec::new(), Vec::new());
        for (place, operation) in operations.into_iter().enumerate() {
            match change(operation) {
                Ok(change) => {
                    places.push(place);
                    changes.push(change);
                }
                Err(failure) => results[place] = Err(failure),
            }
        }
        if changes.is_empty() {
            return results;
        }
        let (register, cores, now) =
            (register.clone().lock_owned().await, self.cores.clone(), self.clock.now());
        // A task of its own, so that who asks and leaves does not leave it half done.
        let doing = tokio::spawn(async move {
            let changed = spawn_blocking(move || {
                let mut register = register;
                register.change(changes, now).map(|changed| (register, changed))
            });
            let (register, changed) = changed.await.map_err(std::io::Error::other)??;
            let mut parts = vec![(Vec::new(), Vec::new()); cores.len()];
            for (at, (info_hash, entry)) in
                changed.iter().enumerate().filter_map(|(at, done)| Some((at, done.as_ref().ok()?)))
            {
                let (places, standings) = &mut parts[route::owner(info_hash, cores.len())];
                places.push(at);
                standings.push((*info_hash, standing(entry)));
            }
            let mut coming = Coming::new();
            for (core, (places, standings)) in parts.into_iter().enumerate() {
                if places.is_empty() {
                    continue;
                }
                let (reply, answer) = oneshot::channel();
                bring(&cores[core], Message::Ask(Box::new(Ask::Stand(standings, reply)))).await;
                coming.push((places, answer));
            }
            // Cores hear of changes in the order in which they are in the file.
            drop(register);
            Ok::<_, std::io::Error>((changed, coming))
        });
        let done = match doing.await {
            Ok(done) => done,
            Err(panicked) => Err(std::io::Error::other(panicked)),
        };
        let (changed, coming) = match done {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(%error, "what the API says of torrents cannot be written");
                let failure = Failure::NotWritten(error.to_string());
                places.iter().for_each(|place| results[*place] = Err(failure.clone()));
                return results;
            }
        };
        let mut stood = vec![None; changed.len()];
        for (places, answer) in coming {
            // It is on the disk; who hears nothing of a core in time, or of one that ends, may ask again.
            if let Ok(Ok(answered)) = timeout(ANSWER_TIME, answer).await {
                places.iter().zip(answered).for_each(|(at, answer)| stood[*at] = Some(answer));
            }
        }
        for ((place, changed), stood) in places.into_iter().zip(changed).zip(stood) {
            results[place] = match (changed, stood) {
                (Err(_), _) => Err(Failure::Full),
                (Ok(_), None) => Err(Failure::Late),
                (Ok((info_hash, entry)), Some((stood, was_served))) => {
                    add(&self.counts.changes, 1);
                    Ok(match &entry.withdrawn {
                        Some(withdrawn) => Done::Withdrawn { was_served, until: withdrawn.until },
                        None => Done::OpenTorrent(open_torrent(info_hash, Some(entry), stood)),
                    })
                }
            };
        }
        results
    }
}
