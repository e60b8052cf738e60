//! One core of a tracker as the server builds it, but for its sockets.

use std::sync::Arc;

use fastrand::Rng;
use margay::config::Config;
use margay::core::Engine;
use margay::core::connection_id::ConnectionIds;
use margay::core::interval::{Controller, Policy};
use margay::core::mesh::gather::Gather;
use margay::core::mesh::message::Message;
use margay::core::mesh::{self, Address, Inbox};
use margay::front::{Core, Desk};
use margay::private::core::Private;
use margay::process::clock::Clock;
use ops::lists::{Standings, TorrentLists};
use shard::{Limits, Reply, Seconds, Shard};

/// How long a peer may be silent.
pub(crate) const PEER_TIMEOUT: Seconds = Seconds(4000);

/// Peers announced so long ago for the last time.
pub(crate) const SINCE_LAST: Seconds = Seconds(1800);

/// A core with an inbox of its own; `private` gets the address of it.
pub(crate) fn core(
    clock: Clock,
    private: impl FnOnce(Address<Message>) -> Option<Private>,
) -> (Core, Inbox<Message>) {
    let settings = Arc::new(Config::default());
    let (mesh, mut inboxes) = mesh::inboxes(1);
    let limits = Limits {
        swarms_max: settings.torrents_max,
        peers_max: settings.peers_max,
        peer_timeout: PEER_TIMEOUT,
        swarm_retention: PEER_TIMEOUT,
        count_unknown: false,
    };
    let policy = Policy {
        base: Seconds(1800),
        min: Seconds(900),
        max: Seconds(3600),
        jitter: settings.interval_jitter,
        load_target: settings.load_target,
    };
    let mut counters = ops::counters::Core::default();
    counters.channels = vec![ops::counters::Channel::default()];
    let desk = Desk::new(settings.http_connections_max);
    let engine = Engine {
        number: 0,
        shard: Shard::new(1, limits),
        private: private(mesh[0].clone()).map(Box::new),
        counters,
        clock,
        connection_ids: ConnectionIds::new(&[7; 32], Seconds(0)),
        interval: Controller::new(policy, clock.now()),
        lists: Arc::new(TorrentLists::load(None, None).unwrap()),
        said: Standings::default(),
        mesh,
        gather: Gather::new(),
        settings,
        changes: None,
        draining: false,
        random: Rng::with_seed(1),
        moments: Rng::with_seed(77),
        reply: Reply::default(),
        unheard: Default::default(),
        hurried_rounds: 0,
        gate: Default::default(),
        crowd: Default::default(),
        floods: Default::default(),
    };
    (Core { engine, desk }, inboxes.remove(0))
}
