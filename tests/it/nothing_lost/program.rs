//! The program itself with a real PostgreSQL: both are killed, stopped and put back to older states at random
//! moments, the disk is full for a while, the clock is set, and staff works in the database.

mod plan;
mod restores;
mod server;
mod sql;
mod wire;
mod words;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use margay::core::route;
use postgres::{Client as Sql, NoTls};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use shard::InfoHash;
use tempfile::TempDir;

use crate::clock::WrongClock;
use crate::nothing_lost::books::{self, Expected};
use crate::nothing_lost::client::{Client, Report};
use crate::nothing_lost::done::Done;
use crate::nothing_lost::judge::{Judge, Who};
use crate::nothing_lost::site::{Free, Site};
use crate::tracker::http::escape;
use crate::tracker::{HOMES, Tracker, patiently};
pub(crate) use plan::KINDS;
use plan::{Habit, Kind};
use restores::{DatabaseCopy, FolderCopy};
pub(crate) use server::Server;
use sql::{Special, Staff};
use wire::{Answer, Asked, target};
use words::Words;

const SITE: &str = "sitesitesitesitesitesitesitesite";

const USERS: usize = 60;
const TORRENTS: usize = 30;
const CLIENTS: usize = 150;
const ROUNDS: usize = 18;

/// And at most so many for what is left of the plan.
const MORE_ROUNDS: usize = 12;

/// The number of the first user who never announces.
const CROWD: u32 = 100_001;

/// Requests that are under way together.
const TOGETHER: usize = 24;

/// Users who speak in one round.
const TURNS: usize = 6;

/// One run.
struct World<'a> {
    rng: Rng,
    server: &'a mut Server,
    schema: String,
    site: Site,
    clients: Vec<Client>,
    judge: Judge,
    data: TempDir,
    options: String,
    cores: usize,
    tracker: Option<Tracker>,
    /// A start without a database needs one.
    snapshot: bool,
    full: bool,
    /// Trackers that were started.
    starts: usize,
    /// What is to happen yet, the next at the end.
    plan: Vec<Kind>,
    database_copy: Option<DatabaseCopy>,
    folder_copy: Option<FolderCopy>,
    staff: Staff,
    words: Words,
    special: Special,
    /// A user who was deleted, whether or not a restore brought him back.
    silent: Option<usize>,
    /// Since which start there is a row that cannot be read.
    spoilt_at: Option<usize>,
    /// Torrents whose rules SQL said, and those that were ever removed.
    said_by_sql: BTreeSet<usize>,
    removed: BTreeSet<usize>,
    /// Torrents of which the tracker may take somebody for present who is not.
    unsure: BTreeSet<usize>,
    /// Rows of the table of what is missing.
    gaps: i64,
    clock: Option<WrongClock>,
    done: Done,
    /// What happened, to be printed when it fails.
    story: String,
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what happened: {}", self.story);
        }
    }
}

/// The loopback address of the same family.
fn home(address: SocketAddr) -> IpAddr {
    HOMES[usize::from(address.is_ipv6())]
}

/// A site lives its life; in the end the books are compared.
pub(crate) fn run(seed: u64, server: &mut Server) -> Done {
    let mut rng = Rng::with_seed(seed);
    server.come_back();
    let schema = format!("run_{seed}");
    let site = Site::new(&mut rng, 1, USERS, TORRENTS).without_percentages();
    let clients = (0..CLIENTS as u32).map(|number| {
        let (user, torrent) = (rng.usize(..USERS), rng.usize(..TORRENTS));
        let torrent = if rng.u8(..3) == 0 { torrent % 2 } else { torrent };
        Client::new(&mut rng, number, user, torrent)
    });
    let clients = clients.collect();
    let cores = 1 + seed as usize % 2;
    let habit = Habit::of(seed);
    let clock = if habit.clock { WrongClock::by("+0") } else { None };
    let environment = clock.as_ref().map(WrongClock::environment).unwrap_or_default();
    let options = format!(
        "{environment} --private --database {} --database-schema {schema} --database-peers={} --cores {cores} \
         --journal-sync 300ms --database-reconcile 1s --ocelot-site-password {SITE}",
        server.url, habit.peers
    );
    let mut world = World {
        server,
        schema,
        site,
        clients,
        judge: Judge::default(),
        data: TempDir::new().unwrap(),
        options,
        cores,
        tracker: None,
        snapshot: false,
        full: false,
        starts: 0,
        plan: habit.plan(&mut rng),
        database_copy: None,
        folder_copy: None,
        staff: Staff::default(),
        words: Words::default(),
        special: Special::of(&mut rng),
        silent: None,
        spoilt_at: None,
        said_by_sql: BTreeSet::new(),
        removed: BTreeSet::new(),
        unsure: BTreeSet::new(),
        gaps: 0,
        clock,
        done: Done::default(),
        story: String::new(),
        rng,
    };
    world.start();
    world.register();
    for _ in 0..ROUNDS {
        world.round();
    }
    // What of the plan could not be until now can be soon.
    for _ in 0..MORE_ROUNDS {
        if world.plan.is_empty() {
            break;
        }
        if world.full {
            world.fill_or_free();
        }
        world.server.come_back();
        world.round();
    }
    world.end(habit.peers)
}

impl World<'_> {
    fn start(&mut self) {
        if !self.snapshot {
            self.server.come_back();
        }
        self.starts += 1;
        self.tell("the tracker starts");
        self.tracker = Some(Tracker::start_on(self.data.path(), &self.options));
    }

    fn tracker(&self) -> &Tracker {
        self.tracker.as_ref().unwrap()
    }

    fn register(&mut self) {
        for user in 0..USERS {
            let (passkey, id) = (self.site.passkey(user), self.site.id(user));
            self.say(&format!("add_user&passkey={passkey}&id={id}&visible=1"));
        }
        (0..TORRENTS).for_each(|torrent| self.put_torrent(torrent));
        self.add_crowd();
        self.bound_downloads();
        self.story.clear();
    }

    fn put_torrent(&mut self, torrent: usize) {
        let rules = &self.site.torrents[torrent];
        let free = match rules.free {
            Free::None => 0,
            Free::Downloads => 1,
            Free::Neutral => 2,
        };
        let (info_hash, id) = (escape(&rules.info_hash), self.site.id(torrent));
        self.say(&format!("add_torrent&info_hash={info_hash}&id={id}&freetorrent={free}"));
    }

    /// The site says something until it is answered.
    fn say(&mut self, update: &str) {
        self.tell(update);
        loop {
            let http = self.tracker().http(HOMES[0]);
            let asked = Asked::http(http, &format!("/{SITE}/update?action={update}"));
            match asked.answer() {
                Answer::Taken => return,
                Answer::Full | Answer::Refused | Answer::Unknown => panic!("{update}"),
                Answer::None => self.kill(),
                // It is in force, and not on the disk yet.
                Answer::Again => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn tell(&mut self, what: &str) {
        self.story.push_str(what);
        self.story.push_str("; ");
    }

    fn round(&mut self) {
        self.go_by_plan();
        match self.rng.u8(..24) {
            0..=1 => self.end_database(false),
            2..=3 => self.end_database(true),
            4..=6 => self.server.come_back(),
            7..=8 => self.change_torrent(),
            9..=10 => self.change_token(),
            11 => self.remove_torrent(),
            12..=13 if !self.full => {
                self.tracker().write_snapshot();
                self.snapshot = true;
            }
            14 => self.fill_or_free(),
            15..=16 if self.full => self.fill_or_free(),
            _ => {}
        }
        for _ in 0..TURNS {
            // Nobody can write down what happens while the disk is full; see `Client::settle`.
            let dies = !self.full && self.rng.usize(..TURNS * 6) == 0;
            self.turn(dies);
        }
        if self.server.hangs {
            self.server.come_back();
        }
    }

    /// Some clients speak at once; the tracker may be killed meanwhile.
    fn turn(&mut self, dies: bool) {
        let mut speakers: Vec<usize> =
            (0..CLIENTS).filter(|at| !self.is_silent(&self.clients[*at])).collect();
        self.rng.shuffle(&mut speakers);
        speakers.truncate(TOGETHER);
        let said: Vec<_> = speakers.into_iter().map(|at| self.says(at)).collect();
        self.speak(&said, dies);
    }

    /// What a client says next, and whether it says it again.
    fn says(&mut self, at: usize) -> (usize, Report, bool) {
        let client = &mut self.clients[at];
        let (known, again) = (self.judge.knows(who(client)), client.is_waiting());
        // The run takes seconds: nobody is quiet for long enough to begin anew under its old name.
        (at, client.say(&mut self.rng, known, 0), again)
    }

    /// All clients of a user speak, and what was heard is on the disk; whether that could be.
    fn speak_now(&mut self, user: usize) -> bool {
        if self.full {
            return false;
        }
        let his: Vec<usize> = (0..CLIENTS).filter(|at| self.clients[*at].user == user).collect();
        let said: Vec<_> = his.into_iter().map(|at| self.says(at)).collect();
        self.speak(&said, false);
        // The site says of a torrent of each core what it had said: answered, it is on the disk, and
        // so is all that the core heard before.
        for core in 0..self.cores {
            let torrent = (0..TORRENTS).find(|torrent| self.owner(*torrent) == core).unwrap();
            self.put_torrent(torrent);
            for at in 0..CLIENTS {
                if self.owner(self.clients[at].torrent) == core {
                    self.clients[at].settle();
                }
            }
        }
        true
    }

    /// Clients say these things; the last is whether one says it again.
    fn speak(&mut self, said: &[(usize, Report, bool)], dies: bool) {
        self.done.count("announces", said.len() as u64);
        let delay = Duration::from_micros(self.rng.u64(..30_000));
        let answers: Vec<(usize, Report, bool, Answer)> = std::thread::scope(|scope| {
            let tracker = self.tracker.as_ref().unwrap();
            if dies {
                scope.spawn(move || {
                    std::thread::sleep(delay);
                    tracker.signal(Signal::KILL);
                });
            }
            let mut asked = Vec::new();
            for (at, report, _) in said {
                let client = &self.clients[*at];
                // One that had an address of each family would have to leave over both.
                let home = HOMES[at % 2];
                asked.push(match self.rng.u8(..6) {
                    0 => Asked::udp(tracker.udp(home), dies, &self.site, client, report),
                    _ => Asked::http(tracker.http(home), &target(&self.site, client, report)),
                });
            }
            said.iter()
                .zip(asked)
                .map(|((at, report, again), asked)| (*at, *report, *again, asked.answer()))
                .collect()
        });
        if dies {
            self.kill();
        }
        let mut kept = vec![false; self.cores];
        let mut heard = Vec::new();
        for (at, report, again, answer) in answers {
            heard.push(at);
            match answer {
                Answer::None => self.done.count("unanswered", 1),
                // While nobody can read his row, and until the tracker has heard that it was mended.
                Answer::Unknown => panic!("users are known while clients speak"),
                Answer::Refused | Answer::Again => {
                    panic!("torrents are registered while clients speak")
                }
                Answer::Taken | Answer::Full => {
                    self.done.count("refused announces", u64::from(answer == Answer::Full));
                    if self.judge.is_absurd(who(&self.clients[at]), &report) {
                        self.done.count("absurd reports", 1);
                    }
                    // It has taken the place of those that it was before.
                    let Client { user, torrent, ref before, .. } = self.clients[at];
                    for name in before {
                        self.judge.forget(&self.site, (user, torrent, *name));
                    }
                    let once = self.judge.hear(&mut self.site, who(&self.clients[at]), &report);
                    self.clients[at].hear(&report, once && !self.full, self.full);
                    let owner = self.owner(self.clients[at].torrent);
                    // Said again, it may have been kept long ago, and proves nothing of now.
                    kept[owner] |= once && !again && !self.full;
                }
            }
        }
        if dies {
            // Some were answered before it died, and their word was on its way to the disk.
            self.clients.iter_mut().for_each(Client::lose);
        }
        // A core's journal is one: with what it will not forget, it has kept all that it heard before.
        for at in (0..CLIENTS).filter(|at| !heard.contains(at)) {
            if kept[self.owner(self.clients[at].torrent)] {
                self.clients[at].settle();
            }
        }
    }

    fn owner(&self, torrent: usize) -> usize {
        route::owner(&InfoHash(self.site.torrents[torrent].info_hash), self.cores)
    }

    /// Kills the tracker, where nobody has yet, and starts it again.
    fn kill(&mut self) {
        self.die();
        if self.rng.bool() {
            self.server.come_back();
        }
        self.start();
    }

    fn die(&mut self) {
        self.tell("the tracker dies");
        self.done.count("kills", 1);
        if self.full {
            self.full = false; // The limit was the process's.
        }
        self.tracker.take().unwrap().kill();
        self.clients.iter_mut().for_each(Client::lose);
    }

    fn end_database(&mut self, at_once: bool) {
        if self.server.up {
            self.tell("the database ends");
            self.done.count("database ended", 1);
            match at_once {
                true => self.server.kill(),
                false => self.server.stop(),
            }
        }
    }

    /// No file can grow beyond what the journal has already, or all can again.
    fn fill_or_free(&mut self) {
        self.full = !self.full;
        self.tell(if self.full { "the disk is full" } else { "the disk has room" });
        let current = self.full.then_some(2048);
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(self.tracker().pid()), Resource::Fsize, limit).unwrap();
        if self.full {
            self.done.count("disk full", 1);
        } else {
            let accepting = || self.tracker().metric("margay_journal_accepting", &[]) == 1.0;
            patiently("the journal to be written again", || accepting().then_some(()));
        }
    }

    /// All who are on a torrent have been heard, so that the site can change its rules.
    fn is_settled(&self, torrent: usize) -> bool {
        let mut there = self.clients.iter().filter(|client| client.torrent == torrent);
        !self.full && there.all(Client::is_settled)
    }

    fn change_torrent(&mut self) {
        let torrent = self.rng.usize(..TORRENTS);
        if self.is_settled(torrent) {
            self.judge.book_torrent(&self.site, torrent);
            self.site.change(&mut self.rng, torrent);
            self.put_torrent(torrent);
        }
    }

    /// A torrent goes, and comes again as another one of that name.
    fn remove_torrent(&mut self) {
        let torrent = self.rng.usize(..TORRENTS);
        if self.is_settled(torrent) {
            self.judge.forget_torrent(&self.site, torrent);
            self.site.tokens.retain(|(_, of)| *of != torrent);
            self.removed.insert(torrent);
            let info_hash = escape(&self.site.torrents[torrent].info_hash);
            self.say(&format!("delete_torrent&info_hash={info_hash}&reason=1"));
            self.put_torrent(torrent);
        }
    }

    fn change_token(&mut self) {
        let client = &self.clients[self.rng.usize(..CLIENTS)];
        let (user, torrent) = (client.user, client.torrent);
        let clients = self.clients.iter().filter(|c| (c.user, c.torrent) == (user, torrent));
        if clients.count() > 1 || !self.is_settled(torrent) {
            return;
        }
        self.judge.book_token(&self.site, user, torrent);
        self.judge.tokens.remove(&(user, torrent));
        let verb = match self.site.tokens.insert((user, torrent)) {
            true => "add_token",
            false => {
                self.site.tokens.remove(&(user, torrent));
                "remove_token"
            }
        };
        let info_hash = escape(&self.site.torrents[torrent].info_hash);
        self.say(&format!("{verb}&info_hash={info_hash}&userid={}", self.site.id(user)));
    }

    /// Everybody speaks once more; then the database has to say what the judge says.
    fn end(mut self, peers: bool) -> Done {
        if self.full {
            self.fill_or_free();
        }
        self.server.come_back();
        if self.spoilt_at.is_some() {
            self.mend();
        }
        for _ in 0..20 {
            let mut said = Vec::new();
            for at in 0..CLIENTS {
                let (client, rng) = (&mut self.clients[at], &mut self.rng);
                let again = client.is_waiting();
                if !client.is_settled()
                    && self.silent != Some(client.user)
                    && let Some(report) = client.say_last(rng)
                {
                    said.push((at, report, again));
                }
            }
            if said.is_empty() {
                break;
            }
            for some in said.chunks(TOGETHER) {
                self.speak(some, false);
            }
        }
        self.tracker.take().unwrap().stop();
        // What the database was too late for is in it after the next start.
        self.start();
        patiently("everything in the database", || {
            let end = self.tracker().metric("margay_journal_end_sequence", &[]);
            let written = self.tracker().metric("margay_ledger_position_sequence", &[]);
            (end == written).then_some(())
        });
        let mut sql = Sql::connect(&self.server.url, NoTls).unwrap();
        sql.batch_execute(&format!("SET search_path TO {}", self.schema)).unwrap();
        let users = self.settle_accounts(&mut sql);
        books::compare(
            &mut sql,
            &self.site,
            &self.judge,
            &Expected { users, peers, unsure: self.unsure.clone() },
        );
        self.check_words(&mut sql);
        let gaps =
            "SELECT count(*), count(*) FILTER (WHERE reason <> 'journal_restored') FROM gaps";
        let gaps = sql.query_one(gaps, &[]).unwrap();
        assert_eq!((gaps.get::<_, i64>(0), gaps.get::<_, i64>(1)), (self.gaps, 0), "gaps");
        self.tracker.take().unwrap().stop();
        std::mem::take(&mut self.done)
    }
}

impl World<'_> {
    /// Somebody sets the clock of the tracker's machine. The journal is kept for a day.
    fn set_clock(&mut self) -> bool {
        if let Some(clock) = &self.clock {
            clock.set(&format!("{:+}s", self.rng.i32(-30_000..30_000)));
            self.done.count("clock set", 1);
        }
        true
    }
}

fn who(client: &Client) -> Who {
    (client.user, client.torrent, client.name)
}
