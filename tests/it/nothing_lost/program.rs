//! The program itself with a real PostgreSQL: both are killed at random moments, and the disk is full for
//! a while.

mod server;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use margay::route;
use postgres::{Client as Sql, NoTls};
use rustix::process::{Resource, Rlimit, Signal, prlimit};
use shard::InfoHash;
use tempfile::TempDir;

use crate::nothing_lost::books;
use crate::nothing_lost::client::{Client, Report};
use crate::nothing_lost::judge::{Judge, Who};
use crate::nothing_lost::site::{Free, Site};
use crate::tracker::http::escape;
use crate::tracker::{HOMES, Tracker, patiently};
pub(crate) use server::Server;
use wire::{Answer, Asked, target};

const SITE: &str = "sitesitesitesitesitesitesitesite";

const USERS: usize = 60;
const TORRENTS: usize = 30;
const CLIENTS: usize = 150;
const ROUNDS: usize = 24;

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
    done: Done,
}

/// What happened in a run.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Done {
    pub(crate) kills: usize,
    pub(crate) database_ends: usize,
    pub(crate) disk_full: usize,
    pub(crate) announces: usize,
    pub(crate) unanswered: usize,
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
    let peers = !seed.is_multiple_of(3);
    let options = format!(
        "--private --database {} --database-schema {schema} --database-peers={peers} --cores {cores} \
         --journal-sync 300ms --database-reconcile 1s --ocelot-site-password {SITE}",
        server.url
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
        done: Done::default(),
        rng,
    };
    world.start();
    world.register();
    for _ in 0..ROUNDS {
        world.round();
    }
    world.end(peers)
}

impl World<'_> {
    fn start(&mut self) {
        if !self.snapshot {
            self.server.come_back();
        }
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
        loop {
            let http = self.tracker().http(HOMES[0]);
            let asked = Asked::http(http, &format!("/{SITE}/update?action={update}"));
            match asked.answer() {
                Answer::Taken => return,
                Answer::Refused => panic!("{update}"),
                Answer::None => self.kill(),
                // It is in force, and not on the disk yet.
                Answer::Again => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn round(&mut self) {
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
    }

    /// Some clients speak at once; the tracker may be killed meanwhile.
    fn turn(&mut self, dies: bool) {
        let mut speakers: Vec<usize> = (0..CLIENTS).collect();
        self.rng.shuffle(&mut speakers);
        speakers.truncate(TOGETHER);
        let mut said = Vec::new();
        for at in speakers {
            let client = &mut self.clients[at];
            let (known, again) = (self.judge.knows(who(client)), client.is_waiting());
            // The run takes seconds: nobody is quiet for long enough to begin anew under its old name.
            said.push((at, client.say(&mut self.rng, known, 0), again));
        }
        self.speak(&said, dies);
    }

    /// Clients say these things; the last is whether one says it again.
    fn speak(&mut self, said: &[(usize, Report, bool)], dies: bool) {
        self.done.announces += said.len();
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
                let home = HOMES[self.rng.usize(..2)];
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
                Answer::None => self.done.unanswered += 1,
                Answer::Refused | Answer::Again => {
                    panic!("torrents are registered while clients speak")
                }
                Answer::Taken => {
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
        self.done.kills += 1;
        if self.full {
            self.full = false; // The limit was the process's.
        }
        self.tracker.take().unwrap().kill();
        self.clients.iter_mut().for_each(Client::lose);
        if self.rng.bool() {
            self.server.come_back();
        }
        self.start();
    }

    fn end_database(&mut self, at_once: bool) {
        if self.server.up {
            self.done.database_ends += 1;
            match at_once {
                true => self.server.kill(),
                false => self.server.stop(),
            }
        }
    }

    /// No file can grow beyond what the journal has already, or all can again.
    fn fill_or_free(&mut self) {
        self.full = !self.full;
        let current = self.full.then_some(2048);
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(self.tracker().pid()), Resource::Fsize, limit).unwrap();
        if self.full {
            self.done.disk_full += 1;
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
        for _ in 0..20 {
            let mut said = Vec::new();
            for at in 0..CLIENTS {
                let (client, rng) = (&mut self.clients[at], &mut self.rng);
                let again = client.is_waiting();
                if !client.is_settled()
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
        self.judge.book_all(&self.site);
        let mut sql = Sql::connect(&self.server.url, NoTls).unwrap();
        sql.batch_execute(&format!("SET search_path TO {}", self.schema)).unwrap();
        books::compare(&mut sql, &self.site, &self.judge, peers);
        self.tracker.take().unwrap().stop();
        self.done
    }
}

fn who(client: &Client) -> Who {
    (client.user, client.torrent, client.name)
}
