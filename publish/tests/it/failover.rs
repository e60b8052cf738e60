//! Several Masters: one works, another one takes over, and nothing is withdrawn by the change.
//!
//! The lease is in a real PostgreSQL: `ops/test.d/postgres run cargo test -p margay-publish --test it failover`.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use publish::feed::{List, PublicKey, TrustedKeys, read};
use publish::web::status::{FileState, Role};
use tempfile::TempDir;

use crate::site::{Program, Tracker, bytes, free_port, publisher, until};

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Two Masters that stand by for each other, and a Seeder of both.
struct Pair {
    home: TempDir,
    tracker: Tracker,
    masters: Vec<Program>,
    served: [SocketAddr; 2],
    key: PublicKey,
    seeder: Option<Program>,
}

impl Pair {
    /// The first one is started, and is the Master when there is a lease. `lease` are more options of both.
    fn start(lease: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let tracker = Tracker::start(HOST);
        let served = [free_port(HOST), free_port(HOST)];
        let key_file = home.path().join("feed.key").display().to_string();
        let said = publisher(&["publish", "key", "--key-file", &key_file]);
        let key = PublicKey::parse(String::from_utf8(said.stdout).unwrap().trim()).unwrap();
        let mut pair = Self { home, tracker, masters: Vec::new(), served, key, seeder: None };
        for number in 0..2 {
            let program = pair.master(number, lease);
            pair.masters.push(program);
        }
        let feeds =
            pair.served.map(|served| format!("http://{served}/feed.xml#ed25519={}", pair.key));
        let control = free_port(HOST);
        let args = [
            "seed",
            "run",
            "--feed",
            &feeds[0],
            "--feed",
            &feeds[1],
            "--data",
            &pair.path("seeder"),
            "--control",
            &control.to_string(),
            "--listen",
            &free_port(HOST).to_string(),
            "--poll",
            "1s",
            "--removal-wait",
            "0s",
        ];
        let args = args.map(str::to_owned).to_vec();
        pair.seeder = Some(Program::start("seeder", pair.home.path(), control, args));
        pair
    }

    fn master(&self, number: usize, lease: &[&str]) -> Program {
        let name = ["one", "two"][number];
        for folder in ["in", "docroot"] {
            fs::create_dir_all(self.home.path().join(format!("{name}-{folder}"))).unwrap();
        }
        let control = free_port(HOST);
        let args = [
            "publish",
            "run",
            "--settle",
            "200ms",
            "--data",
            &self.path(name),
            "--watch",
            &self.path(&format!("{name}-in")),
            "--docroot",
            &self.path(&format!("{name}-docroot")),
            "--feed-url",
            &format!("http://{}/feed.xml", self.served[number]),
            "--serve",
            &self.served[number].to_string(),
            "--standby-of",
            &format!("http://{}/feed.xml", self.served[1 - number]),
            "--key-file",
            &self.path("feed.key"),
            "--tracker",
            &self.tracker.announce(),
            "--control",
            &control.to_string(),
            "--listen",
            &free_port(HOST).to_string(),
        ];
        let mut args: Vec<String> = args.map(str::to_owned).to_vec();
        args.extend(lease.iter().map(|option| option.to_string()));
        if !lease.is_empty() {
            args.extend(["--lease-holder".to_owned(), name.to_owned()]);
        }
        Program::start(name, self.home.path(), control, args)
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Puts a whole file into the folder of a Master.
    fn put(&self, master: usize, name: &str, content: &[u8]) {
        let beside = self.home.path().join("beside");
        fs::write(&beside, content).unwrap();
        let folder = PathBuf::from(self.path(&format!("{}-in", ["one", "two"][master])));
        fs::rename(beside, folder.join(name)).unwrap();
    }

    /// The list in a Master's docroot.
    fn list(&self, master: usize) -> Option<List> {
        let path = format!("{}-docroot/feed.list", ["one", "two"][master]);
        let read = read(&fs::read(self.home.path().join(path)).ok()?, &TrustedKeys::new(self.key));
        Some(read.unwrap().list)
    }

    /// Waits until a Master publishes exactly these names in this epoch or a later one; says which.
    fn publishes(&self, master: usize, names: &[&str], epoch: u64) -> u64 {
        let wanted: BTreeSet<&str> = names.iter().copied().collect();
        let mut found = 0;
        until(
            &format!("{} publishes {names:?} in epoch {epoch}", self.masters[master].name),
            || {
                let Some(list) = self.list(master) else { return false };
                found = list.epoch;
                let told: BTreeSet<&str> =
                    list.items.iter().map(|item| item.name.as_str()).collect();
                list.epoch >= epoch && told == wanted
            },
        );
        found
    }

    fn has_role(&self, master: usize, role: Role) {
        until(&format!("{} is {role:?}", self.masters[master].name), || {
            self.masters[master].status().is_some_and(|status| status.role == role)
        });
    }

    /// Waits until a program seeds exactly these names.
    fn seeds(&self, program: &Program, names: &[&str]) {
        let wanted: BTreeSet<String> = names.iter().map(|name| name.to_string()).collect();
        until(&format!("{} seeds {names:?}", program.name), || {
            let Some(status) = program.status() else { return false };
            let seeding = status.files.iter().filter(|file| file.state == FileState::Seeding);
            seeding.map(|file| file.name.clone()).collect::<BTreeSet<_>>() == wanted
        });
    }

    fn seeder(&self) -> &Program {
        self.seeder.as_ref().unwrap()
    }

    /// Nothing was ever withdrawn or removed at the Seeder.
    fn has_lost_nothing(&self) {
        let log = self.seeder().log();
        assert!(!log.contains(": removed name="), "{log}");
    }
}

/// The database of this test, in a schema of its own; says when there is none.
fn lease(schema: &str) -> Option<Vec<String>> {
    let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
        println!("SKIPPED: {schema} needs PostgreSQL: ops/test.d/postgres run cargo test");
        return None;
    };
    let schema = format!("publish_{schema}_{}", std::process::id());
    let options = ["--database", &url, "--database-schema", &schema, "--lease-time", "3s"];
    Some(options.map(str::to_owned).to_vec())
}

#[test]
fn the_standby_publishes_when_the_master_is_killed_and_the_old_one_stands_by() {
    let Some(options) = lease("killed") else { return };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut pair = Pair::start(&options);
    pair.has_role(0, Role::Master);
    pair.has_role(1, Role::Standby);
    pair.put(0, "first", &bytes(1, 300_000));
    pair.put(0, "second", &bytes(2, 5_000_000));
    let epoch = pair.publishes(0, &["first", "second"], 1);
    pair.seeds(&pair.masters[1], &["first", "second"]);
    pair.seeds(pair.seeder(), &["first", "second"]);

    pair.masters[0].kill();
    let taken = pair.publishes(1, &["first", "second"], epoch + 1);
    pair.put(1, "third", &bytes(3, 100_000));
    pair.publishes(1, &["first", "second", "third"], taken);
    pair.seeds(pair.seeder(), &["first", "second", "third"]);

    pair.masters[0].start_again();
    pair.has_role(0, Role::Standby);
    pair.seeds(&pair.masters[0], &["first", "second", "third"]);
    pair.masters[1].stop();
    pair.has_role(0, Role::Master);
    pair.publishes(0, &["first", "second", "third"], taken + 1);
    pair.seeds(pair.seeder(), &["first", "second", "third"]);
    pair.has_lost_nothing();
}

#[test]
fn what_was_withdrawn_while_a_master_was_away_stays_withdrawn_when_it_takes_over() {
    let Some(options) = lease("withdrawn") else { return };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut pair = Pair::start(&options);
    pair.has_role(0, Role::Master);
    pair.put(0, "stays", &bytes(1, 300_000));
    pair.put(0, "goes", &bytes(2, 300_000));
    pair.publishes(0, &["goes", "stays"], 1);
    pair.seeds(&pair.masters[1], &["goes", "stays"]);
    pair.masters[0].stop();
    pair.has_role(1, Role::Master);
    pair.publishes(1, &["goes", "stays"], 2);
    pair.masters[1].order(&["publish", "withdraw", "goes"]);
    pair.publishes(1, &["stays"], 2);
    pair.seeds(pair.seeder(), &["stays"]);

    // It is still in the folder of the first one.
    pair.masters[0].start_again();
    pair.has_role(0, Role::Standby);
    pair.masters[1].stop();
    pair.has_role(0, Role::Master);
    pair.publishes(0, &["stays"], 3);
    until("it is shown as withdrawn", || {
        pair.masters[0].state("goes") == Some(FileState::Withdrawn)
    });
    pair.put(0, "goes", &bytes(3, 300_000));
    pair.publishes(0, &["goes", "stays"], 3);
}

#[test]
fn a_master_that_hangs_writes_nothing_more_once_another_has_taken_over() {
    let Some(options) = lease("hangs") else { return };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let pair = Pair::start(&options);
    pair.has_role(0, Role::Master);
    pair.put(0, "first", &bytes(1, 300_000));
    let epoch = pair.publishes(0, &["first"], 1);
    pair.seeds(&pair.masters[1], &["first"]);
    pair.masters[0].signal(rustix::process::Signal::STOP);
    pair.publishes(1, &["first"], epoch + 1);
    let before = pair.list(0).unwrap();
    pair.put(0, "late", &bytes(2, 1000));
    pair.masters[0].signal(rustix::process::Signal::CONT);
    pair.has_role(0, Role::Standby);
    let after = pair.list(0).unwrap();
    assert_eq!(after, before, "it has written a list when its turn was over");
    pair.seeds(pair.seeder(), &["first"]);
    pair.has_lost_nothing();
}

#[test]
fn without_a_database_a_standby_is_promoted_by_hand() {
    let mut pair = Pair::start(&[]);
    // Two that are new stand by, and one is made the Master.
    pair.has_role(0, Role::Standby);
    pair.masters[0].order(&["publish", "promote"]);
    pair.has_role(0, Role::Master);
    pair.put(0, "first", &bytes(1, 300_000));
    let epoch = pair.publishes(0, &["first"], 1);
    pair.seeds(&pair.masters[1], &["first"]);
    pair.masters[0].kill();
    pair.masters[1].order(&["publish", "promote"]);
    pair.publishes(1, &["first"], epoch + 1);
    // The old one finds that another has taken over.
    pair.masters[0].start_again();
    pair.has_role(0, Role::Standby);
    pair.seeds(pair.seeder(), &["first"]);
    pair.has_lost_nothing();
}
