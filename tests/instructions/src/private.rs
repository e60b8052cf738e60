//! Announces to a private tracker with 500,000 peers of 100,000 users: over HTTP, each with other counters,
//! so each makes a fact.

use std::sync::Arc;

use fastrand::Rng;
use margay::core::mesh::Inbox;
use margay::core::mesh::message::Message;
use margay::front::Core;
use margay::net::remote::Remote;
use margay::private::core::Private;
use margay::private::core::early::Early;
use margay::private::core::outgoing::Outgoing;
use margay::private::users::accounts::Accounts;
use margay::private::users::unwritten::Written;
use margay::process::clock::Clock;
use persist::DataDir;
use persist::journal::{Journal, JournalThread, Options, ThreadOptions};
use shard::private::{
    Announce, Counters, Endpoints, Facts, Freeleech, Limits, Passkey, PeerId, Swarms, Terms,
    TorrentId, User, UserId,
};
use shard::{Event, Families, Reply, Seconds};
use tempfile::TempDir;

use crate::crowd::{Crowd, Peer, TORRENTS, USERS, info_hash};
use crate::open::{remote, request};
use crate::tracker::{self, PEER_TIMEOUT, SINCE_LAST};
use crate::{Walk, counted};

/// Announces of a walk. The facts of all walks stay in memory, and are fewer than `outgoing::RECORDS_MAX`.
const ANNOUNCES: usize = 5_000;

struct Users {
    core: Core,
    _inbox: Inbox<Message>,
    _journal: JournalThread,
    _folder: TempDir,
    crowd: Crowd,
    random: Rng,
    uploaded: u64,
    out: Vec<u8>,
}

pub(crate) fn announce() -> Box<dyn Walk> {
    let clock = Clock::start();
    let crowd = Crowd::new();
    let folder = tempfile::tempdir().unwrap();
    let data = DataDir::open(folder.path()).unwrap();
    let journal = Journal::open(&data, Options::default()).unwrap();
    let journal = JournalThread::start(journal, ThreadOptions::default()).unwrap();
    let accounts = Accounts::default();
    (0..USERS).for_each(|id| accounts.put(passkey(id), user(id)));
    let swarms = full(&crowd, clock.now() - SINCE_LAST);
    let (core, inbox) = tracker::core(clock, |home| {
        Some(Private {
            is_closed: false,
            number: 0,
            cores: 1,
            to_tell: Vec::new(),
            facts: swarms.limits().facts,
            swarms,
            accounts: Arc::new(accounts),
            rules: Default::default(),
            outgoing: Outgoing::new(journal.sender().clone(), home),
            unwritten_torrents: Default::default(),
            unwritten_tokens: Default::default(),
            written: Written::new(|| u64::MAX),
            site: Default::default(),
            early: Early::new(0.0),
            traces: Default::default(),
            gone: Vec::new(),
        })
    });
    Box::new(Users {
        core,
        _inbox: inbox,
        _journal: journal,
        _folder: folder,
        crowd,
        random: Rng::with_seed(2),
        uploaded: 1 << 30,
        out: Vec::new(),
    })
}

impl Walk for Users {
    fn walk(&mut self) -> usize {
        let Self { core, crowd, random, out, uploaded, .. } = self;
        let before = facts(core);
        let peers = crowd.some(random, ANNOUNCES);
        for peer in &peers {
            *uploaded += 1 << 20;
            let path = format!("/{}", passkey(peer.user()).reveal());
            let request = request(&path, *peer, *uploaded);
            let mut remote = Remote::new(remote(*peer).ip(), false);
            out.clear();
            counted(&mut || _ = core.converse(&mut remote, &request, 0, None, out));
            assert!(out.starts_with(b"HTTP/1.1 200"), "no answer to an announce");
        }
        assert_eq!(facts(core), before + peers.len(), "each makes a fact");
        peers.len()
    }
}

fn facts(core: &Core) -> usize {
    core.engine.private.as_ref().unwrap().outgoing.len()
}

/// Swarms that have everybody, since `at`.
fn full(crowd: &Crowd, at: Seconds) -> Swarms {
    let limits = Limits {
        torrents_max: 1 << 24,
        peers_max: 1 << 26,
        clients_max: 0,
        peer_timeout: PEER_TIMEOUT,
        interval: Seconds(1800),
        interval_max: Seconds(7200),
        count_unknown: false,
        deletions_max: 1000,
        facts: Facts::Changed,
    };
    let (mut swarms, mut random) = (Swarms::new(1, limits), Rng::with_seed(1));
    for torrent in 0..TORRENTS {
        let terms =
            Terms { id: TorrentId(torrent), freeleech: Freeleech::None, upload_percent: 100 };
        swarms.register(info_hash(torrent), terms).unwrap();
    }
    let mut reply = Reply::default();
    for peer in crowd.everybody() {
        swarms.announce(&first(peer), at, &mut random, &mut reply).unwrap();
    }
    swarms
}

/// A peer's announce before, with less uploaded.
fn first(peer: Peer) -> Announce {
    Announce {
        info_hash: peer.info_hash(),
        user: user(peer.user()),
        peer_id: PeerId(peer.peer_id()),
        key: peer.key(),
        endpoints: Endpoints::new(Some(peer.address()), None, peer.port()),
        counters: Counters { uploaded: 1 << 20, downloaded: 123_456_789, corrupt: 0 },
        left: peer.left(),
        event: Event::None,
        numwant: 0,
        families: Families { v4: true, v6: false },
        assumed: Families::default(),
        interval: Seconds(1800),
        downloads_full: false,
    }
}

fn user(id: u32) -> User {
    User { id: UserId(id), can_leech: true, hidden: false, group: None }
}

fn passkey(user: u32) -> Passkey {
    Passkey::new(format!("{:032x}", u128::from(user) * 0x9e37_79b9_7f4a_7c15_f39c).as_bytes())
        .unwrap()
}
