//! The engine, the journal, snapshots and the ledger in one process, with a clock that the test turns,
//! and a disk that forgets what was not synced.

mod copies;
mod crash;
mod restores;
mod tracker;

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use persist::Database;
use postgres::Client as Sql;
use shard::private::{
    self, Announce, Change, Counters, Endpoints, Facts, Freeleech, Gone, Passkey, PeerId,
    TorrentId, UserId,
};
use shard::{Families, InfoHash, Seconds};

use crate::nothing_lost::books::{self, Expected};
use crate::nothing_lost::client::{Client, Event, Name, Report};
use crate::nothing_lost::done::Done;
use crate::nothing_lost::judge::{Judge, Session, Who};
use crate::nothing_lost::site::{Free, Site};
use restores::{DatabaseCopy, FolderCopy};
use tracker::Tracker;

/// How much happens in a run.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) users: usize,
    pub(crate) torrents: usize,
    pub(crate) clients: usize,
    pub(crate) steps: usize,
}

/// What every set of runs has to have had at least once.
pub(crate) const KINDS: [&str; 13] = [
    "hybrid announces",
    "succeeded",
    "kills",
    "records lost",
    "absurd reports",
    "clock set",
    "database restored",
    "folder restored",
    "upload given",
    "refused announces",
    "copies",
    "copied announces",
    "copies forgotten",
];

/// One run.
struct World<'a> {
    rng: Rng,
    site: Site,
    clients: Vec<Client>,
    judge: Judge,
    tracker: Tracker<'a>,
    now: Seconds,
    /// Who left silently, by the number of the record; until that is on the disk.
    gone: Vec<(u64, Who, Option<Session>)>,
    /// The journal takes nothing.
    refusing: bool,
    /// The tracker has forgotten something, perhaps, or postponed it.
    crashed: bool,
    sql: &'a mut Sql,
    /// Of the whole run.
    steps: usize,
    database_copy: Option<DatabaseCopy>,
    /// The data folder is restored in this run, and the clock never goes back.
    restores_folder: bool,
    folder_copy: Option<FolderCopy>,
    /// Of those who left after the copy of a folder was made, nobody knows who is taken for present.
    is_unsure: bool,
    /// Who has said `stopped`, was not answered, and was written down.
    left: BTreeSet<Who>,
    /// Rows of the table of what is missing.
    gaps: i64,
    /// Sessions that were copied.
    copies_made: u32,
    /// Bytes of upload that staff gave, as the database has it.
    given: BTreeMap<usize, u64>,
    done: Done,
}

/// A site lives its life with a tracker that is killed now and then; in the end the books are compared.
pub(crate) fn run(
    seed: u64,
    first_id: u32,
    size: Size,
    database: &Database,
    sql: &mut Sql,
) -> Done {
    let restores_folder = seed % 3 == 1;
    let mut rng = Rng::with_seed(seed);
    let site = Site::new(&mut rng, first_id, size.users, size.torrents);
    let clients = (0..size.clients as u32).map(|number| {
        let (user, torrent) = (rng.usize(..size.users), rng.usize(..size.torrents));
        // Half of everybody is on a few torrents.
        let torrent = if rng.bool() { torrent % 3 } else { torrent };
        Client::new(&mut rng, number, user, torrent)
    });
    let clients: Vec<Client> = clients.collect();
    // The program measures from rows of clients where it writes one for each announce.
    let facts = if rng.bool() && !restores_folder { Facts::Changed } else { Facts::All };
    let mut world = World {
        tracker: Tracker::new(facts, rng.u64(..), database),
        site,
        clients,
        judge: Judge::default(),
        now: Seconds(1_800_000_000),
        gone: Vec::new(),
        refusing: false,
        crashed: false,
        sql,
        steps: size.steps,
        database_copy: None,
        restores_folder,
        folder_copy: None,
        is_unsure: false,
        left: BTreeSet::new(),
        gaps: 0,
        copies_made: 0,
        given: BTreeMap::new(),
        done: Done::default(),
        rng,
    };
    // A journal after that of another run would be one whose data folder was lost.
    world.sql.batch_execute("DELETE FROM ledger").unwrap();
    world.begin();
    for _ in 0..size.steps {
        world.step();
    }
    if world.done.of("kills") == 0 {
        if world.refusing {
            world.refuse_or_take();
        }
        world.crash();
    }
    world.end()
}

impl World<'_> {
    fn begin(&mut self) {
        for user in 0..self.site.users {
            let change = user_change(&self.site, user);
            self.tracker.change(change, self.now);
        }
        for torrent in 0..self.site.torrents.len() {
            self.tracker.change(torrent_change(&self.site, torrent), self.now);
        }
        self.sync();
    }

    fn step(&mut self) {
        match self.rng.u16(..1000) {
            0..=1 if !self.refusing => self.crash(),
            2..=20 => self.now = self.now + Seconds(self.rng.u32(..400)),
            21 => self.set_clock(),
            22..=40 => self.sweep(),
            41..=80 if !self.refusing => self.hand_over(),
            81..=110 if !self.refusing => self.sync(),
            111..=140 if !self.refusing => self.snapshot_some(),
            141..=150 => self.change_torrent(),
            151..=155 => self.remove_torrent(),
            156..=170 => self.change_token(),
            171..=173 => self.refuse_or_take(),
            174..=176 => self.tracker.switch_ledger(),
            177..=180 => self.tracker.release(),
            // A large database about as often in a run as a small one.
            181..=182 if self.rng.usize(..self.steps) < 1500 => self.copy_or_restore_database(),
            183..=186 if self.restores_folder && !self.refusing => self.copy_or_restore_folder(),
            187..=189 => self.give(),
            190..=230 => self.copy_or_speak_as_copy(),
            _ => {
                let at = self.rng.usize(..self.clients.len());
                self.somebody_speaks(at);
            }
        }
    }

    fn set_clock(&mut self) {
        self.done.count("clock set", 1);
        if self.rng.u8(..4) == 0 {
            self.now = self.now + Seconds(86_400);
        } else if !self.restores_folder {
            self.now = self.now - Seconds(self.rng.u32(..40_000));
        }
    }

    fn somebody_speaks(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.keep_on(self.is_unsure && self.refusing);
        let known = self.judge.knows(who(client));
        let report = client.say(&mut self.rng, known, self.now.0);
        self.speak(at, &report);
    }

    /// A client says something, and hears an answer, or not.
    fn speak(&mut self, at: usize, report: &Report) {
        self.done.count("announces", 1);
        self.forget_silent_copy(at);
        let client = &self.clients[at];
        let families = match client.v6 {
            None => vec![(true, false)],
            // It leaves over all that it has.
            Some(_) => {
                let ways = if report.event == Event::Stopped { 2 } else { 3 };
                vec![vec![(true, true)], vec![(true, false), (false, true)], vec![(false, true)]]
                    .swap_remove(self.rng.usize(..ways))
            }
        };
        let (mut once, mut noted, mut is_known, mut is_written) = (false, true, false, false);
        let names = self.names(at);
        self.done.count("hybrid announces", u64::from(names.len() > 1));
        let said = families.iter().flat_map(|way| names.iter().map(move |name| (way, name)));
        for (&(v4, v6), &info_hash) in said {
            let announce = announce(&self.site, &self.clients[at], report, v4, v6);
            let downloads_full = self.is_full(at);
            let announce = Announce { info_hash, downloads_full, ..announce };
            let outcome = self.tracker.announce(&announce, self.now, &mut self.rng);
            self.note_succeeded(at);
            let client = &self.clients[at];
            match outcome {
                Ok(outcome) => {
                    self.done.count("refused announces", u64::from(outcome.held_back));
                    let moved = outcome.fact.is_some();
                    once |= outcome.once;
                    // It is written down, or was before.
                    is_known |= moved || outcome.late;
                    is_written |= moved;
                    noted &= moved || !self.tracker.postpones();
                    // It had completed before the folder went back: the comparison with the database, which
                    // has the token, gives it back.
                    if outcome.fact.is_some_and(|fact| fact.token_spent)
                        && self.is_unsure
                        && self.judge.seeds(who(client))
                    {
                        self.tracker.load(&Change::Token {
                            user: announce.user.id,
                            torrent: TorrentId(self.site.id(client.torrent)),
                            info_hash: announce.info_hash,
                            expires_at: None,
                        });
                    }
                }
                Err(refusal) => {
                    assert!(
                        matches!(
                            refusal,
                            private::Refusal::Unregistered | private::Refusal::Deleted { .. }
                        ),
                        "{refusal:?}"
                    );
                    return self.clients[at].give_up();
                }
            }
        }
        let answered = match (once, self.refusing) {
            // The tracker does not let clients wait for a journal that takes nothing.
            (_, true) => true,
            (true, false) if self.rng.u8(..12) > 0 => {
                self.sync();
                true
            }
            (true, false) => false,
            (false, false) => self.rng.u8(..20) > 0,
        };
        let who = who(&self.clients[at]);
        if report.event == Event::Stopped && is_written {
            self.left.insert(who);
        }
        if answered {
            if self.judge.is_absurd(who, report) {
                self.done.count("absurd reports", 1);
            }
            // Whom the copy of a folder does not know, and who only leaves, is not written down while
            // the journal takes nothing.
            let has_left = self.left.remove(&who);
            let stranger = self.is_unsure && self.refusing && !is_known && !has_left;
            let heard = match report.event {
                Event::Stopped if stranger => {
                    self.judge.forget(&self.site, who);
                    false
                }
                _ => self.judge.hear(&mut self.site, who, report),
            };
            if report.event == Event::Stopped && has_left {
                // Also of one whom nobody knew.
                self.judge.note(who, report);
            }
            if heard && !once && self.is_unsure {
                // It has begun anew without a word of it, and the older folder takes it for one that goes on: from
                // where it counts nobody knows until that is on the disk.
                self.sync();
            }
            let kept = (once || heard) && !self.refusing;
            self.clients[at].hear(report, kept, !noted || self.refusing);
        }
    }

    /// Whether the user of a client has as many downloads as his group allows. Of some it comes and goes.
    fn is_full(&mut self, at: usize) -> bool {
        self.clients[at].user.is_multiple_of(3) && self.rng.bool()
    }

    /// By which names of its torrent a client announces, in which order: by one and the same, or by both.
    fn names(&mut self, at: usize) -> Vec<InfoHash> {
        let torrent = &self.site.torrents[self.clients[at].torrent];
        let first = InfoHash(torrent.info_hash);
        match (torrent.second.map(InfoHash), at % 4) {
            (None, _) | (_, 0) => vec![first],
            (Some(second), 1) => vec![second],
            (Some(second), _) if self.rng.bool() => vec![second, first],
            (Some(second), _) => vec![first, second],
        }
    }

    fn sweep(&mut self) {
        // Whoever said what the tracker has forgotten or postponed says something again before he is taken
        // for gone: what is not said again is lost with him. And whoever was not answered asks again, or
        // nobody knows whether he was heard.
        if self.refusing {
            return;
        }
        let crashed = std::mem::take(&mut self.crashed);
        for at in 0..self.clients.len() {
            if crashed && !self.clients[at].is_settled() {
                self.somebody_speaks(at);
            }
            while self.clients[at].is_waiting() {
                self.somebody_speaks(at);
            }
        }
        let gone = self.tracker.sweep(self.now, 1 + self.rng.usize(..200));
        self.forget(gone);
    }

    /// Who was there under another name is so no longer.
    fn note_succeeded(&mut self, at: usize) {
        let gone = self.tracker.take_gone();
        let Client { user, torrent, ref before, .. } = self.clients[at];
        for (_, gone) in &gone {
            let name = Name { peer_id: gone.peer_id.0, key: gone.key };
            assert!(before.contains(&name), "{gone:?} was there to stay");
            assert_eq!(gone.user.0, self.site.id(user));
            assert_eq!(gone.torrent.0, self.site.id(torrent));
        }
        self.done.count("succeeded", gone.len() as u64);
        self.forget(gone);
    }

    fn forget(&mut self, gone: Vec<(u64, Gone)>) {
        for (number, gone) in gone {
            let Gone { user, torrent, peer_id, key, .. } = gone;
            let first = self.site.first_id;
            let name = Name { peer_id: peer_id.0, key };
            let who = ((user.0 - first) as usize, (torrent.0 - first) as usize, name);
            let session = self.judge.forget(&self.site, who);
            self.gone.push((number, who, session));
        }
    }

    fn hand_over(&mut self) {
        self.tracker.hand_over();
    }

    fn sync(&mut self) {
        if self.refusing {
            return;
        }
        self.tracker.sync();
        self.gone.clear();
        self.clients.iter_mut().for_each(Client::settle);
    }

    fn snapshot_some(&mut self) {
        if self.tracker.snapshot_some(self.now, &mut self.rng) {
            // It has brought everything to the disk.
            self.sync();
        }
    }

    /// The disk is full, or has room again.
    fn refuse_or_take(&mut self) {
        if !self.refusing {
            // Where a copy is, and where its original is, is not remembered while nothing is taken.
            self.end_copies();
        }
        self.refusing = !self.refusing;
        self.tracker.refuse(self.refusing);
        self.crashed = true;
        self.sync();
    }

    fn crash(&mut self) {
        self.crashed = true;
        self.done.count("kills", 1);
        let before = self.tracker.made();
        self.tracker.crash(&mut self.rng, self.now);
        if self.is_unsure {
            // They came from the database, which was ahead of the folder.
            self.load_rules();
        }
        let there = self.tracker.made();
        self.done.count("records lost", before - there);
        self.forget_copies();
        self.clients.iter_mut().for_each(Client::lose);
        // In the order in which they left, the last first: one may have left twice.
        while let Some((number, who, session)) = self.gone.pop() {
            if number >= there
                && let Some(session) = session
            {
                self.judge.remember(who, session);
            }
        }
        if self.restores_folder || self.rng.u8(..3) > 0 {
            self.now = self.now + Seconds(self.rng.u32(..10_000));
        } else {
            self.now = self.now - Seconds(self.rng.u32(..10_000));
        }
    }

    /// What the site says is answered when it is on the disk, and it says one thing after the other. What
    /// was said before the rules change, and is not on the disk, would count by the new ones.
    fn change_torrent(&mut self) {
        let torrent = self.rng.usize(..self.site.torrents.len());
        if !self.is_settled(torrent) {
            return;
        }
        self.judge.book_torrent(&self.site, torrent);
        self.site.change(&mut self.rng, torrent);
        self.tracker.change(torrent_change(&self.site, torrent), self.now);
        self.sync();
    }

    /// A torrent goes, and comes again as another one of that name.
    fn remove_torrent(&mut self) {
        let torrent = self.rng.usize(..self.site.torrents.len());
        if self.rng.u8(..3) > 0 || !self.is_settled(torrent) {
            return;
        }
        self.judge.forget_torrent(&self.site, torrent);
        self.site.tokens.retain(|(_, of)| *of != torrent);
        let id = TorrentId(self.site.id(torrent));
        let info_hash = InfoHash(self.site.torrents[torrent].info_hash);
        let (reason, at) = ("Trump".to_owned(), self.now);
        self.tracker.change(Change::TorrentRemoved { id, info_hash, reason, at }, self.now);
        self.tracker.change(torrent_change(&self.site, torrent), self.now);
        self.sync();
    }

    fn change_token(&mut self) {
        let client = &self.clients[self.rng.usize(..self.clients.len())];
        let (user, torrent) = (client.user, client.torrent);
        let clients = self.clients.iter().filter(|c| (c.user, c.torrent) == (user, torrent));
        if clients.count() > 1 || !self.is_settled(torrent) {
            return;
        }
        let (id, number) = (UserId(self.site.id(user)), TorrentId(self.site.id(torrent)));
        let info_hash = InfoHash(self.site.torrents[torrent].info_hash);
        self.judge.book_token(&self.site, user, torrent);
        if self.site.tokens.insert((user, torrent)) {
            // A new one begins at nothing.
            self.judge.tokens.remove(&(user, torrent));
            let (user, torrent) = (id, number);
            let change = Change::Token { user, torrent, info_hash, expires_at: None };
            self.tracker.change(change, self.now);
        } else {
            self.site.tokens.remove(&(user, torrent));
            self.judge.tokens.remove(&(user, torrent));
            let (user, torrent) = (id, number);
            self.tracker.change(Change::TokenRemoved { user, torrent, info_hash }, self.now);
        }
        self.sync();
    }

    /// What a start loads from the database.
    fn load_rules(&mut self) {
        for torrent in 0..self.site.torrents.len() {
            self.tracker.load(&torrent_change(&self.site, torrent));
        }
        let those: BTreeSet<_> = self.clients.iter().map(|c| (c.user, c.torrent)).collect();
        for (user, torrent) in those {
            let info_hash = InfoHash(self.site.torrents[torrent].info_hash);
            let is_good = self.site.tokens.contains(&(user, torrent));
            let (user, torrent) = (UserId(self.site.id(user)), TorrentId(self.site.id(torrent)));
            self.tracker.load(&match is_good {
                true => Change::Token { user, torrent, info_hash, expires_at: None },
                false => Change::TokenRemoved { user, torrent, info_hash },
            });
        }
    }

    fn is_settled(&mut self, torrent: usize) -> bool {
        self.sync();
        let mut there = self.clients.iter().filter(|client| client.torrent == torrent);
        !self.refusing && there.all(Client::is_settled)
    }

    /// The database gets everything. With something to write: a ledger that has nothing for it does not notice
    /// that it went back.
    fn write_books(&mut self) {
        let change = user_change(&self.site, 0);
        self.tracker.change(change, self.now);
        self.sync();
        self.tracker.write_books();
    }

    /// Everybody speaks once more; then the database has to say what the judge says.
    fn end(mut self) -> Done {
        if self.refusing {
            self.refuse_or_take();
        }
        self.end_copies();
        for at in 0..self.clients.len() {
            // What is pending first, then the last word.
            for _ in 0..20 {
                if let Some(report) = self.clients[at].say_last(&mut self.rng) {
                    self.speak(at, &report);
                }
                if self.clients[at].is_settled() {
                    break;
                }
                self.sync();
            }
        }
        self.write_books();
        self.judge.book_all(&self.site);
        let users = (0..self.site.users)
            .map(|user| {
                let (up, down) = self.judge.users.get(&user).copied().unwrap_or_default();
                let given = self.given.get(&user).copied().unwrap_or_default();
                (user, (up + given, down))
            })
            .collect();
        let unsure = (0..self.site.torrents.len()).filter(|_| self.is_unsure).collect();
        books::compare(self.sql, &self.site, &self.judge, &Expected { users, peers: true, unsure });
        let gaps = "SELECT count(*) FROM gaps WHERE journal = $1 AND reason = 'journal_restored'";
        let gaps = self.sql.query_one(gaps, &[&self.tracker.journal_name()]).unwrap();
        assert_eq!(gaps.get::<_, i64>(0), self.gaps, "gaps");
        self.done
    }
}

fn who(client: &Client) -> Who {
    (client.user, client.torrent, client.name)
}

fn announce(site: &Site, client: &Client, report: &Report, v4: bool, v6: bool) -> Announce {
    let user = private::User {
        id: UserId(site.id(client.user)),
        can_leech: true,
        hidden: false,
        group: None,
    };
    Announce {
        assumed: Families::default(),
        downloads_full: false,
        interval: Seconds(1800),
        info_hash: InfoHash(site.torrents[client.torrent].info_hash),
        user,
        peer_id: PeerId(client.name.peer_id),
        key: client.name.key,
        endpoints: Endpoints {
            v6: Endpoints::new(None, client.v6.filter(|_| v6), client.port_v6).v6,
            ..Endpoints::new(v4.then_some(client.v4), None, client.port)
        },
        counters: Counters { uploaded: report.up, downloaded: report.down, corrupt: 0 },
        left: report.left,
        event: match report.event {
            Event::None => shard::Event::None,
            Event::Started => shard::Event::Started,
            Event::Completed => shard::Event::Completed,
            Event::Stopped => shard::Event::Stopped,
        },
        numwant: 10,
        families: Families { v4: true, v6: true },
    }
}

fn user_change(site: &Site, user: usize) -> Change {
    let passkey = Passkey::new(site.passkey(user).as_bytes()).unwrap();
    let id = UserId(site.id(user));
    Change::User { id, passkey, can_leech: true, hidden: false, enabled: true, group: None }
}

fn torrent_change(site: &Site, torrent: usize) -> Change {
    let rules = &site.torrents[torrent];
    Change::Torrent {
        id: TorrentId(site.id(torrent)),
        info_hash: InfoHash(rules.info_hash),
        info_hash_v2: rules.second.map(InfoHash),
        freeleech: match rules.free {
            Free::None => Freeleech::None,
            Free::Downloads => Freeleech::Free,
            Free::Neutral => Freeleech::Neutral,
        },
        upload_percent: rules.upload_percent,
    }
}
