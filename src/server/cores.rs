//! The threads of the cores: where they run, how they start and end.

mod executor;
mod pulse;

use std::cell::Cell;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use glommio::{BuilderErrorKind, ExecutorJoinHandle, GlommioError};
use ops::lists::{Standing, Standings, TorrentLists};
use ops::screening::lookups::Ask;
use ops::screening::{Gate, Table};
use persist::{Grace, Restored, Snapshot, Trouble};
use shard::{InfoHash, Limits, Reply, Seconds, Shard};

use super::predecessor::TakeOverError;
use super::{Event, ServerError};
use crate::config::Config;
use crate::control;
use crate::core::connection_id::ConnectionIds;
use crate::core::crowd::Crowd;
use crate::core::floods::{Floods, Shedding};
use crate::core::interval::{Controller, Policy};
use crate::core::mesh::barrier;
use crate::core::mesh::gather::Gather;
use crate::core::mesh::message::{Command, Message};
use crate::core::mesh::succession::{Promises, Step};
use crate::core::mesh::unheard::Unheard;
use crate::core::mesh::{self, Address};
use crate::core::{Engine, HURRIED_ROUNDS, route};
use crate::front::{Core, Desk};
use crate::private::books::PrivateOutfit;
use crate::private::books::restore;
use crate::private::books::restore::Unloaded;
use crate::process::clock::Clock;
use crate::process::thread;
use crate::server::core_thread::{self, Sockets};
use ops::slot::Slot;
use pulse::Pulse;

/// The outfit that every core gets a copy of.
#[derive(Clone)]
pub(super) struct Outfit {
    pub(super) settings: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) connection_ids: ConnectionIds,
    pub(super) lists: Arc<TorrentLists>,
    /// Which addresses are served, where there are rules about that.
    pub(super) screening: Option<Arc<Table>>,
    /// Asks for countries that no database names, where they are looked up.
    pub(super) lookups: Option<Ask>,
    /// Which services shed load.
    pub(super) shedding: Arc<Shedding>,
    /// What connections with TLS are shown.
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    /// Where the tracker is private.
    pub(super) private: Option<PrivateOutfit>,
}

/// The running cores.
pub(super) struct Cores {
    addresses: Vec<Address<Message>>,
    /// By which each core gets its sockets in a take-over. Those of another start it has from the beginning: they must not
    /// be taken for these by a core that has just come to serve, before its swarms are whole.
    givers: Vec<Sender<Sockets>>,
    _pulse: Pulse,
    handles: Vec<Option<ExecutorJoinHandle<()>>>,
    /// The news of cores about themselves: that they serve, and that they have ended. They have a queue of their own,
    /// with room for all of it, so that nothing of it is ever lost behind something else.
    pub(super) news: Receiver<Event>,
    /// So that `news` does not end with the last core.
    _news: Sender<Event>,
    /// Some core did not take what all were told.
    missed: Cell<bool>,
    /// The counts of what each core got from the snapshot.
    pub(super) restored: Vec<Restored>,
}

/// The CPU of each core; `None` where it is not pinned.
pub(super) fn placement(wanted: Option<usize>) -> Vec<Option<usize>> {
    let (allowed, quota) = (thread::allowed_cpus(), thread::cpu_quota());
    let available = if allowed.is_empty() { quota } else { allowed.len() };
    place(wanted, &allowed, available, quota)
}

fn place(
    wanted: Option<usize>,
    allowed: &[usize],
    available: usize,
    quota: usize,
) -> Vec<Option<usize>> {
    let cores = wanted.unwrap_or(quota.min(available));
    if quota < available {
        // Which of them are free, the system knows.
        tracing::info!(
            cores,
            quota,
            cpus = available,
            "the process may use fewer CPUs at a time than it may run on; cores are not pinned"
        );
        return vec![None; cores];
    }
    if cores > available {
        tracing::warn!(
            cores,
            cpus = available,
            "more cores than CPUs; they are not pinned and share"
        );
        return vec![None; cores];
    }
    (0..cores).map(|core| allowed.get(core).copied()).collect()
}

impl Cores {
    /// Starts a thread for each core. Each loads its own swarms, says so with an event, and serves its `sockets`, or
    /// those of [`Cores::serve`]; the API has said what is `said` of torrents before.
    pub(super) fn start(
        outfit: &Outfit,
        placement: Vec<Option<usize>>,
        sockets: Option<Vec<Sockets>>,
        snapshot: Option<(Snapshot, Grace)>,
        said: impl IntoIterator<Item = (InfoHash, Standing)>,
        state: &control::State,
    ) -> Result<Self, ServerError> {
        let count = placement.len();
        let mut standings = vec![Standings::default(); count];
        for (info_hash, standing) in said {
            standings[route::owner(&info_hash, count)].put(info_hash, standing);
        }
        let (news, heard) = crossbeam_channel::bounded(count * NEWS_OF_A_CORE);
        let snapshot = snapshot.map(|(snapshot, grace)| (Arc::new(snapshot), grace));
        let (addresses, inboxes) = mesh::inboxes(count);
        let mut handles = Vec::with_capacity(count);
        let (givers, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| crossbeam_channel::bounded(1)).unzip();
        let mut sockets = sockets.into_iter().flatten();
        let pulse = Pulse::begin()
            .map_err(|source| ServerError::System { what: "start a thread", source })?;
        let receivers = receivers.into_iter().zip(inboxes);
        for (number, (((later, inbox), cpu), said)) in
            receivers.zip(placement).zip(standings).enumerate()
        {
            let part = Part {
                number,
                seeds: Seeds::draw().map_err(ServerError::Random)?,
                outfit: outfit.clone(),
                snapshot: snapshot.clone(),
                said,
                mesh: addresses.clone(),
            };
            let (slot, news) = (state.slot(number), news.clone());
            // Here already: the executor may not come to run what it is given, where io_uring is forbidden.
            let ended = Ended { core: number, news: news.clone(), slot: slot.clone() };
            let (pulse, sockets) = (pulse.clone(), sockets.next());
            let serve = move || async move {
                glommio::spawn_local(pulse.take_part()).detach();
                let _ended = ended;
                let (core, restored) = part.build();
                let loaded = restored.is_ok();
                // There is room.
                let _ = news.try_send(Event::CoreReady(restored));
                if loaded {
                    core_thread::run(core, sockets, later, inbox, slot).await;
                }
            };
            let handle = executor::spawn(cpu, serve);
            handles
                .push(Some(handle.map_err(|reason| ServerError::Core { core: number, reason })?));
        }
        let (news, _news, missed) = (heard, news, Cell::new(false));
        Ok(Self {
            addresses,
            givers,
            _pulse: pulse,
            handles,
            news,
            _news,
            missed,
            restored: Vec::new(),
        })
    }

    /// Why the tracker has to end, when a core has ended by itself.
    pub(super) fn failed(&mut self, core: usize) -> ServerError {
        // Its thread has come to its end, so this does not wait.
        match self.handles[core].take().map(ExecutorJoinHandle::join) {
            Some(Err(GlommioError::BuilderError(BuilderErrorKind::ThreadPanic(_))))
            | Some(Ok(()))
            | None => ServerError::CoreFailed(core),
            Some(Err(error)) => ServerError::Core { core, reason: error.to_string() },
        }
    }

    pub(super) fn count(&self) -> usize {
        self.handles.len()
    }

    /// Where the cores can be reached, in their order.
    pub(super) fn addresses(&self) -> Vec<Address<Message>> {
        self.addresses.clone()
    }

    /// Gives every core a command. Waits for room in its inbox, which a serving core makes at once, for a while;
    /// see [`Cores::has_missed`].
    pub(super) fn tell_all(&self, command: &Command) {
        if let Err(unreached) = barrier::tell_all(&self.addresses, command) {
            self.missed.set(true);
            if let Some(times) = UNREACHED.again("") {
                tracing::error!(%unreached, times, "not all cores have heard what they were told");
            }
        }
    }

    /// Whether a core has missed something since this was asked the last time.
    pub(super) fn has_missed(&self) -> bool {
        self.missed.take()
    }

    /// Has every core take these sockets, without serving them.
    pub(super) fn open(&self, sockets: Vec<Sockets>) -> Result<(), TakeOverError> {
        for (sockets, giver) in sockets.into_iter().zip(&self.givers) {
            let _ = giver.try_send(sockets); // There is room.
        }
        self.step(Step::Open)
    }

    /// Has every core keep what the process before has promised, and serve its sockets; waits until they do.
    pub(super) fn serve(&self, promises: Vec<Promises>) -> Result<(), TakeOverError> {
        if !promises.is_empty() {
            self.tell_all(&Command::Succession(Step::Keep(Arc::new(promises))));
        }
        self.step(Step::Serve)
    }

    fn step(&self, step: impl FnOnce(Sender<()>) -> Step) -> Result<(), TakeOverError> {
        let done = barrier::ask_all(&self.addresses, step);
        done.map(|_| ()).map_err(|error| TakeOverError::Core(Box::new(error)))
    }

    /// Ends all cores and waits for their threads.
    pub(super) fn stop(self) {
        self.tell_all(&Command::Stop);
        for handle in self.handles.into_iter().flatten() {
            if handle.join().is_err() {
                tracing::error!("a core did not end as it should");
            }
        }
    }
}

/// The parts from which the thread of a core builds itself, so that its memory is its own.
struct Part {
    number: usize,
    seeds: Seeds,
    outfit: Outfit,
    snapshot: Option<(Arc<Snapshot>, Grace)>,
    /// What the API has said of torrents that the core owns.
    said: Standings,
    mesh: Vec<Address<Message>>,
}

/// The seeds of a core's generators and keys, from the system's randomness: none can be worked out from another, and
/// the keys not from the intervals and peers that everybody sees.
struct Seeds {
    /// Of the keys of the tables.
    open: u64,
    private: u64,
    /// Of what is drawn for answers.
    answers: u64,
}

impl Seeds {
    fn draw() -> Result<Self, getrandom::Error> {
        let (open, private) = (getrandom::u64()?, getrandom::u64()?);
        Ok(Self { open, private, answers: getrandom::u64()? })
    }
}

impl Part {
    fn build(self) -> (Core, Result<Restored, Unloaded>) {
        let Part { number, seeds, outfit, snapshot, said, mesh } = self;
        let Outfit {
            settings,
            clock,
            connection_ids,
            lists,
            screening,
            lookups,
            shedding,
            tls,
            private,
        } = outfit;
        let cores = mesh.len();
        let mut shard = Shard::new(seeds.open, limits(&settings, cores));
        let now = clock.now();
        let mut interval = Controller::new(policy(&settings), now);
        let loaded = match private {
            None => {
                let restored = snapshot.as_ref().map(|(snapshot, grace)| {
                    let owns = |hash: &InfoHash| route::owner(hash, cores) == number;
                    snapshot.restore(grace, owns, &mut shard)
                });
                let restored = restored.transpose().map_err(Unloaded::Snapshot);
                restored.map(|restored| (None, restored.unwrap_or_default()))
            }
            Some(outfit) => {
                let (home, seed) = (mesh[number].clone(), seeds.private);
                let snapshot = snapshot.as_ref().map(|(snapshot, _)| snapshot);
                let place = (number, cores);
                restore::private(place, &settings, snapshot, outfit, home, seed, now)
                    .map(|(private, restored)| (Some(private), restored))
            }
        };
        let (private, restored) = match loaded {
            Ok((private, restored)) => (private, Ok(restored)),
            Err(unloaded) => (None, Err(unloaded)),
        };
        if let (Some((_, grace)), Ok(restored)) = (&snapshot, &restored) {
            let peers = (restored.peers_v4 + restored.peers_v6) as u64;
            // In a take-over the process before says what it has promised.
            let peers = if grace.is_handed_over() { 0 } else { peers };
            interval.expect(peers, grace.downtime(), now);
        }
        let mut counters = ops::counters::Core::default();
        counters.channels = vec![ops::counters::Channel::default(); cores];
        let floods = Floods::new(settings.rates(cores), &settings.shed_above, cores, &shedding);
        let mut desk = Desk::new(settings.http_connections_max.div_ceil(cores));
        desk.tls = tls;
        let engine = Engine {
            number,
            shard,
            private: private.map(Box::new),
            counters,
            clock,
            connection_ids,
            interval,
            lists,
            said,
            // The swarms are those of before the rules.
            hurried_rounds: if screening.is_some() { HURRIED_ROUNDS } else { 0 },
            gate: Gate::new(screening).with_lookups(lookups, settings.screen_dns_networks),
            mesh,
            gather: Gather::new(),
            settings,
            changes: None,
            draining: false,
            random: fastrand::Rng::with_seed(seeds.answers),
            moments: fastrand::Rng::with_seed(!seeds.answers),
            reply: Reply::default(),
            unheard: Unheard::default(),
            crowd: Crowd::default(),
            floods,
        };
        (Core { engine, desk }, restored)
    }
}

/// Each core's equal part of what the operator allows.
fn limits(settings: &Config, cores: usize) -> Limits {
    let seconds = |time: std::time::Duration| Seconds(time.as_secs() as u32);
    Limits {
        swarms_max: settings.torrents_max.div_ceil(cores),
        peers_max: settings.peers_max.div_ceil(cores),
        peer_timeout: seconds(settings.peer_timeout),
        swarm_retention: seconds(settings.torrent_retention),
        count_unknown: settings.count_unknown,
    }
}

fn policy(settings: &Config) -> Policy {
    let seconds = |time: std::time::Duration| Seconds((time.as_secs() as u32).max(1));
    Policy {
        base: seconds(settings.interval),
        min: seconds(settings.interval_min),
        max: seconds(settings.interval_max),
        jitter: settings.interval_jitter,
        load_target: settings.load_target,
    }
}

/// Says that a core's thread has ended, by a return or by a panic, or has not come to serve at all.
struct Ended {
    core: usize,
    news: Sender<Event>,
    slot: Arc<Slot>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.slot.end();
        // There is room.
        let _ = self.news.try_send(Event::CoreEnded(self.core));
    }
}

/// A core says that it serves, and that it has ended.
const NEWS_OF_A_CORE: usize = 2;

static UNREACHED: Trouble = Trouble::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_says_how_many_cores_and_pins_none() {
        let pinned = |placed: Vec<Option<usize>>| -> Vec<usize> {
            placed.into_iter().map(|cpu| cpu.unwrap_or(usize::MAX)).collect()
        };
        const ANY: usize = usize::MAX;
        for (wanted, allowed, quota, expected) in [
            (None, vec![0, 1, 5], 3, vec![0, 1, 5]),
            (Some(2), vec![0, 1, 5], 3, vec![0, 1]),
            (Some(4), vec![0, 1, 5], 3, vec![ANY; 4]),
            // docker --cpus=1.5 on a large machine.
            (None, (0..64).collect(), 2, vec![ANY; 2]),
            (Some(3), (0..64).collect(), 2, vec![ANY; 3]),
            // A quota of more than there is.
            (None, vec![3], 8, vec![3]),
        ] {
            let placed = place(wanted, &allowed, allowed.len(), quota);
            assert_eq!(pinned(placed), expected, "{wanted:?} of {allowed:?} with {quota}");
        }
    }
}
