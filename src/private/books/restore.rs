//! How the private side of a core begins: with the snapshot, what the journal has after it, and what the
//! database says of torrents and users.

use std::collections::HashSet;
use std::sync::Arc;

use persist::journal::JournalError;
use persist::restart::{replay_tail, settle};
use persist::{Restored, Snapshot, SnapshotError};
use shard::private::{Cursor, Facts, Limits, Piece, Rules, RulesCursor, Swarms};
use shard::{InfoHash, Seconds};

use super::{Beginning, PrivateOutfit};
use crate::config::Config;
use crate::core::mesh::Address;
use crate::core::mesh::message::Message;
use crate::core::route;
use crate::private::core::Private;
use crate::private::core::early::Early;
use crate::private::core::outgoing::Outgoing;
use crate::private::core::traces::Traces;
use crate::private::site::Site;
use crate::private::users::unwritten::Unwritten;

/// Why a core did not load its swarms.
#[derive(Debug, thiserror::Error)]
pub enum Unloaded {
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Torrents that are looked at in one step.
const TORRENTS: usize = 4096;

/// Deletion reasons that all cores keep together.
const DELETIONS_MAX: usize = 100_000;

/// The private side of core `number` of `cores`, and what of it is from the snapshot.
pub(crate) fn private(
    (number, cores): (usize, usize),
    settings: &Config,
    snapshot: Option<&Arc<Snapshot>>,
    outfit: PrivateOutfit,
    home: Address<Message>,
    seed: u64,
    now: Seconds,
) -> Result<(Private, Restored), Unloaded> {
    let mut swarms = Swarms::new(seed, limits(settings, cores));
    let owns = |info_hash: &InfoHash| route::owner(info_hash, cores) == number;
    // Without it, and with nothing to replay, it begins with what the database says and no peers.
    let snapshot = snapshot.filter(|_| outfit.believed);
    let restored = match snapshot {
        Some(snapshot) => snapshot.restore_private(owns, &mut swarms)?,
        None => Restored::default(),
    };
    let beginning = outfit.beginning(number);
    if snapshot.is_none()
        && let Some(beginning) = &beginning
    {
        // Facts of torrents that nobody has registered are not replayed.
        register(&mut swarms, beginning);
    }
    let tail = outfit.journal_tail;
    let replayed = replay_tail(&outfit.journal_dir, tail, owns, &mut swarms, |_| {}, now)?;
    if replayed.lost > 0 {
        (outfit.on_lost)(replayed.lost);
    }
    if let Some(beginning) = &beginning {
        register(&mut swarms, beginning);
        forget_others(&mut swarms, beginning, now);
    }
    number_all(&swarms, &outfit.site);
    let accounts = outfit.accounts;
    settle(
        &mut swarms,
        |user| accounts.of(user),
        |user, [seeding, partial, leeching]| {
            accounts.count(user, |active| {
                active.seeding += seeding as u32;
                active.partial += partial as u32;
                active.leeching += leeching as u32;
            });
        },
    );
    let private = Private {
        number,
        cores,
        to_tell: Vec::new(),
        facts: swarms.limits().facts,
        swarms,
        accounts,
        rules: outfit.rules,
        outgoing: Outgoing::new(outfit.journal, home),
        unwritten_torrents: Unwritten::default(),
        unwritten_tokens: Unwritten::default(),
        written: outfit.ledger,
        site: outfit.site,
        early: Early::new(settings.interval_enforce),
        traces: Traces::default(),
        gone: Vec::new(),
        is_closed: false,
    };
    Ok((private, restored))
}

/// Registers what the database says is registered.
fn register(swarms: &mut Swarms, beginning: &Beginning) {
    for (info_hash, _, terms, figures) in &beginning.torrents {
        if let Err(refusal) = swarms.register(*info_hash, *terms) {
            tracing::error!(%refusal, "not all torrents of the database fit; raise torrents-max");
            break;
        }
        swarms.set_figures(info_hash, figures.snatches, figures.balance);
    }
    name(swarms, beginning);
    for (user, info_hash, expires_at) in &beginning.tokens {
        swarms.set_token(*user, info_hash, *expires_at);
    }
    for (info_hash, reason, at) in &beginning.deletions {
        swarms.set_deletion(*info_hash, reason, *at);
    }
}

/// Gives torrents the second names that the database says. One that is another's by now is taken back first.
fn name(swarms: &mut Swarms, beginning: &Beginning) {
    if swarms.has_hybrids() {
        for (info_hash, second, ..) in &beginning.torrents {
            if swarms.second(info_hash).is_some_and(|before| Some(before) != *second) {
                _ = swarms.set_second(info_hash, None);
            }
        }
    }
    for (info_hash, second, ..) in &beginning.torrents {
        if second.is_some() && swarms.set_second(info_hash, *second).is_err() {
            tracing::error!(%info_hash, ?second, "an infohash is given to two torrents; give each its own");
        }
    }
}

/// Says which torrent has which number, and which second name.
fn number_all(swarms: &Swarms, site: &Site) {
    let (mut cursor, mut finished) = (RulesCursor::default(), false);
    while !finished {
        let mut rules = Rules::default();
        finished = swarms.rules(&mut cursor, TORRENTS, &mut rules);
        for (info_hash, second, terms) in &rules.torrents {
            site.numbers().set(terms.id, info_hash);
            if let Some(second) = second
                && let Err(other) = site.hybrids().claim(info_hash, second)
            {
                tracing::error!(%second, %info_hash, %other, "two torrents have one infohash; give each its own");
            }
        }
    }
}

/// Drops torrents of the snapshot that the database does not have any more.
fn forget_others(swarms: &mut Swarms, beginning: &Beginning, now: Seconds) {
    let registered: HashSet<InfoHash> =
        beginning.torrents.iter().map(|(info_hash, ..)| *info_hash).collect();
    let (mut cursor, mut piece) = (Cursor::default(), Piece::default());
    let mut others = Vec::new();
    loop {
        piece.clear();
        let finished = swarms.export(&mut cursor, TORRENTS, &mut piece);
        let torrents = piece.torrents.iter().map(|torrent| torrent.info_hash);
        others.extend(torrents.filter(|info_hash| !registered.contains(info_hash)));
        if finished {
            break;
        }
    }
    let mut gone = Vec::new();
    for info_hash in others {
        swarms.unregister(&info_hash, "", now, &mut gone);
        gone.clear();
    }
}

/// Each core's equal part of what the operator allows.
fn limits(settings: &Config, cores: usize) -> Limits {
    Limits {
        torrents_max: settings.torrents_max.div_ceil(cores),
        peers_max: settings.peers_max.div_ceil(cores),
        clients_max: settings.clients_per_torrent_max,
        peer_timeout: Seconds(settings.peer_timeout.as_secs() as u32),
        interval: Seconds(settings.interval.as_secs() as u32),
        interval_max: Seconds(settings.interval_max.as_secs() as u32),
        count_unknown: settings.count_unknown,
        deletions_max: DELETIONS_MAX.div_ceil(cores),
        facts: if settings.database_peers { Facts::All } else { Facts::Changed },
    }
}
