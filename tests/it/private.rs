//! A private tracker, from the site's word to the user's credit in PostgreSQL.
//!
//! The server is that of `MARGAY_TEST_POSTGRES`, as `ops/test.d/postgres run` starts one; each test has a
//! schema of its own in it.

pub(crate) mod api;
mod calls;
mod check_books;
mod clock;
mod dual_stack;
mod early;
mod floods;
mod former;
mod full_disk;
mod groups;
mod hybrids;
mod intervals;
mod late;
mod metrics;
mod reconcile;
mod screening;
mod starts;
mod succession;
mod suspicions;
mod take_over;
mod waits;
mod who_wins;

use std::net::IpAddr;
use std::path::Path;

use postgres::{Client, NoTls};
use tempfile::TempDir;

use crate::tracker::http::{answer, counts, escape, fetch, peers};
use crate::tracker::udp::{Announce, STARTED, Udp};
use crate::tracker::{HOMES, Tracker, at, get, hash, patiently, peer_id};

pub(crate) const SITE: &str = "sitesitesitesitesitesitesitesite";
pub(crate) const REPORT: &str = "reportreportreportreportreportre";

/// A site with its database, and the tracker it uses.
pub(crate) struct Site {
    data: TempDir,
    pub(crate) database: Client,
    options: String,
    tracker: Option<Tracker>,
}

impl Site {
    /// `None` where there is no PostgreSQL, which is said.
    pub(crate) fn open(test: &str, options: &str) -> Option<Self> {
        let Ok(url) = std::env::var("MARGAY_TEST_POSTGRES") else {
            eprintln!("SKIPPED: {test} needs PostgreSQL: ops/test.d/postgres run cargo test");
            return None;
        };
        Some(Self::open_at(&url, test, options))
    }

    /// A site with its database at `url`.
    pub(crate) fn open_at(url: &str, test: &str, options: &str) -> Self {
        let schema = format!("it_{test}_{}", std::process::id());
        let mut database = Client::connect(url, NoTls).unwrap();
        database
            .batch_execute(&format!(
                "DROP SCHEMA IF EXISTS {schema} CASCADE; SET search_path TO {schema}"
            ))
            .unwrap();
        let options = format!(
            "--private --database {url} --database-schema {schema} --ocelot-site-password {SITE} \
             --ocelot-report-password {REPORT} {options}"
        );
        let mut site = Self { data: TempDir::new().unwrap(), database, options, tracker: None };
        site.start();
        site
    }

    pub(crate) fn start(&mut self) {
        let data: &Path = self.data.path();
        self.tracker = Some(Tracker::start_on(data, &self.options));
    }

    pub(crate) fn tracker(&self) -> &Tracker {
        self.tracker.as_ref().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.tracker.take().unwrap().kill();
    }

    /// Where its tables are.
    pub(crate) fn schema(&self) -> String {
        self.option("--database-schema")
    }

    /// The data folder.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// The options of its trackers.
    pub(crate) fn options(&self) -> &str {
        &self.options
    }

    /// The server was restarted, which has ended the site's own connection.
    pub(crate) fn connect_again(&mut self, url: &str) {
        self.database = Client::connect(url, NoTls).unwrap();
        let path = format!("SET search_path TO {}", self.schema());
        self.database.batch_execute(&path).unwrap();
    }

    /// Runs the program with these arguments; what it wrote, and its status.
    pub(crate) fn command(&self, arguments: &[&str]) -> (String, Option<i32>) {
        let output = crate::program::margay().args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (String::from_utf8(text).unwrap(), output.status.code())
    }

    /// Where its database is.
    fn url(&self) -> String {
        self.option("--database")
    }

    /// What stands behind one of its options.
    fn option(&self, name: &str) -> String {
        let mut words = self.options.split(' ').skip_while(|word| *word != name);
        words.nth(1).unwrap().to_owned()
    }

    pub(crate) fn stop(&mut self) {
        self.tracker.take().unwrap().stop();
    }

    /// The tracker was told to stop: waits until it has.
    pub(crate) fn ended(&mut self) {
        self.tracker.take().unwrap().await_exit();
    }

    /// Takes the data folder of a tracker that has ended away.
    pub(crate) fn forget(&mut self) {
        self.data = TempDir::new().unwrap();
    }

    /// Tells the tracker something, as Gazelle does: the answer is `success` and the end.
    #[track_caller]
    pub(crate) fn says(&self, update: &str) {
        let page = fetch(self.tracker().http(HOMES[0]), format!("/{SITE}/update?action={update}"));
        assert_eq!(
            (page.status, page.body.escape_ascii().to_string()),
            (200, "success".to_owned())
        );
    }

    pub(crate) fn add_user(&self, id: u32) {
        self.says(&format!("add_user&passkey={}&id={id}&visible=1", passkey(id)));
    }

    pub(crate) fn add_torrent(&self, id: u32, name: &str) {
        let info_hash = escape(&hash(name));
        self.says(&format!("add_torrent&info_hash={info_hash}&id={id}&freetorrent=0"));
    }

    /// Puts a user, whose row may be on its way, into a new group with so many downloads at once.
    #[track_caller]
    pub(crate) fn bound_downloads(&mut self, user: i64, downloads: i32) {
        let group = "INSERT INTO user_groups VALUES (3, 'New', $1)";
        self.database.execute(group, &[&downloads]).unwrap();
        patiently("the user's row", || {
            let joins = "UPDATE users SET group_id = 3 WHERE id = $1";
            (self.database.execute(joins, &[&user]).unwrap() == 1).then_some(())
        });
    }

    /// Uploaded and downloaded of a user, as the database has them once the ledger has caught up.
    #[track_caller]
    pub(crate) fn check_credit(&mut self, user: i64, credit: [i64; 2]) {
        let query = "SELECT uploaded::bigint, downloaded::bigint FROM users WHERE id = $1";
        patiently(&format!("credit {credit:?} of user {user}"), || {
            let row = self.database.query_opt(query, &[&user]).unwrap()?;
            ([row.get::<_, i64>(0), row.get(1)] == credit).then_some(())
        });
    }
}

pub(crate) fn passkey(user: u32) -> String {
    format!("{user:032}")
}

/// What a user's client that listens on `port` announces.
pub(crate) fn announce(user: u32, torrent: &str, port: u16, more: &str) -> String {
    format!(
        "/{}/announce?info_hash={}&peer_id={}&port={port}&compact=1&{more}",
        passkey(user),
        escape(&hash(torrent)),
        escape(&peer_id(port)),
    )
}

#[test]
fn what_a_client_moves_is_credited_to_its_user() {
    let Some(mut site) = Site::open("credit", "") else { return };
    site.add_user(1);
    site.add_user(2);
    site.add_torrent(10, "disk");
    // Clients of their own on each family: who begins anew within moments may have said it again (D7).
    for (ann, home) in [7001, 7003].into_iter().zip(HOMES) {
        let bob = ann + 1;
        let http = site.tracker().http(home);
        let more = "uploaded=500&downloaded=70&left=100&event=started";
        answer(http, announce(1, "disk", ann, more));
        let told = answer(http, announce(2, "disk", bob, "uploaded=0&downloaded=0&left=0"));
        assert_eq!(counts(&told)[..2], [1, 1], "{home}");
        assert_eq!(peers(&told), at(home, [ann]), "{home}");
        let more = "uploaded=1500&downloaded=170&left=0&event=completed";
        answer(http, announce(1, "disk", ann, more));
        let done = answer(http, announce(1, "disk", ann, "uploaded=1500&downloaded=170&left=0"));
        // Of ann, and of bob before: he said that nothing was left before he had anything, as with a magnet link.
        let snatched = counts(&done)[2];
        assert!([1, 3].contains(&snatched), "{snatched}");
        for (user, port) in [(1, ann), (2, bob)] {
            answer(
                http,
                announce(user, "disk", port, "uploaded=1500&downloaded=170&left=0&event=stopped"),
            );
        }
    }
    // A session of 1,000 bytes up and 100 down on each family; the second user's first word was 0.
    site.check_credit(1, [2000, 200]);
    site.check_credit(2, [3000, 340]);
    let row =
        site.database.query_one("SELECT snatches, seeders, leechers FROM torrents", &[]).unwrap();
    let figures: [i64; 3] = std::array::from_fn(|at| {
        row.try_get::<_, i64>(at).unwrap_or_else(|_| row.get::<_, i32>(at).into())
    });
    assert_eq!(figures, [4, 0, 0]);
}

#[test]
fn d1_d4_over_udp_the_passkey_comes_in_the_url_data() {
    let Some(mut site) = Site::open("udp", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let option = |text: &str| {
        let mut bytes = vec![2, text.len() as u8];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    for (round, home) in HOMES.into_iter().enumerate() {
        let udp = Udp::connect(site.tracker().udp(home));
        let port = 7100 + round as u16;
        let ask = |uploaded: u64, url: &str| {
            let event = if uploaded == 0 { STARTED } else { 0 };
            let announce = Announce { uploaded, event, ..Announce::new(hash("disk"), port) };
            let mut datagram = udp.announce_request(&announce);
            // In two pieces, as BEP 41 allows.
            let (first, second) = url.split_at(url.len() / 2);
            datagram.extend(option(first));
            datagram.extend(option(second));
            udp.ask(datagram)
        };
        let url = format!("/{}/announce", passkey(1));
        assert_eq!(ask(0, &url)[..4], [0, 0, 0, 1], "{home}");
        assert_eq!(ask(4000, &url)[..4], [0, 0, 0, 1], "{home}");
        let refused = ask(9000, &format!("/{}/announce", passkey(2)));
        assert_eq!(refused[..4], [0, 0, 0, 3]);
        assert!(refused.ends_with(b"Passkey not found"), "{}", refused.escape_ascii());
        // Two zero bytes are all that aria2 sends. About one torrent, an error would come once a second.
        let mut without = udp.announce_request(&Announce::new(hash("aria2"), port));
        without.extend([0, 0]);
        let refused = udp.ask(without);
        assert!(refused.ends_with(b"Passkey not found"), "{}", refused.escape_ascii());
        let refused = udp.ask(udp.scrape_request(&[hash("scrape")]));
        assert!(refused.ends_with(b"Passkey not found"), "{}", refused.escape_ascii());
    }
    site.check_credit(1, [8000, 0]);
}

#[test]
fn a_kill_neither_loses_nor_doubles_credit() {
    let Some(mut site) = Site::open("kill", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let says = |site: &Site, uploaded: u64, event: &str| {
        let http = site.tracker().http(HOMES[0]);
        let more = format!("uploaded={uploaded}&downloaded=0&left=0{event}");
        answer(http, announce(1, "disk", 7001, &more));
    };
    says(&site, 0, "&event=started");
    for round in 1..=8 {
        says(&site, round * 1000, "");
        // What is not on the disk yet is credited with the next announce.
        site.kill();
        site.start();
        says(&site, round * 1000 + 500, "");
    }
    site.check_credit(1, [8500, 0]);
    site.stop();
    site.start();
    says(&site, 9000, "&event=stopped");
    site.check_credit(1, [9000, 0]);
}

fn credited(site: &Site, uploaded: u64, event: &str) {
    let http = site.tracker().http(HOMES[0]);
    answer(
        http,
        announce(1, "disk", 7001, &format!("uploaded={uploaded}&downloaded=0&left=0{event}")),
    );
}

#[test]
fn a_data_folder_that_is_lost_is_begun_anew_and_said() {
    let Some(mut site) = Site::open("lost_folder", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    credited(&site, 700, "");
    site.check_credit(1, [700, 0]);
    site.stop();
    site.data = TempDir::new().unwrap();
    site.start();
    site.tracker().logged("the database knows another journal, and this one is new");
    // Measured from what the database knows of the client.
    credited(&site, 900, "");
    credited(&site, 1000, "");
    site.check_credit(1, [1000, 0]);
    let health = get(site.tracker().control(), "/health").unwrap();
    assert!(health.contains("books: measuring: "), "{health}");
}

#[test]
fn a_start_that_forgets_its_swarms_measures_clients() {
    let Some(mut site) = Site::open("fresh_swarms", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    credited(&site, 700, "");
    site.stop();
    site.options.push_str(" --fresh");
    site.start();
    credited(&site, 900, "");
    credited(&site, 1000, "");
    site.check_credit(1, [1000, 0]);
}

#[test]
fn a_journal_that_lost_what_the_database_has_goes_on_behind_it() {
    let Some(mut site) = Site::open("lost_records", "") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    credited(&site, 0, "&event=started");
    site.stop();
    let kept = TempDir::new().unwrap();
    let journal = site.data.path().join("journal");
    let copy = |from: &Path, to: &Path| {
        for entry in std::fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    };
    copy(&journal, kept.path());
    site.start();
    (1..=30).for_each(|round| credited(&site, round * 100, ""));
    site.check_credit(1, [3000, 0]);
    site.kill();
    // A disk, or somebody who restores it, brings back what was there before.
    std::fs::remove_dir_all(&journal).unwrap();
    std::fs::create_dir(&journal).unwrap();
    copy(kept.path(), &journal);
    site.start();
    site.tracker().logged("the data folder is an older copy");
    // Measured from what the database knows of the client.
    credited(&site, 4000, "");
    credited(&site, 4100, "");
    site.check_credit(1, [4100, 0]);
    site.kill();
    site.start();
    credited(&site, 4200, "");
    site.check_credit(1, [4200, 0]);
}

#[test]
fn who_may_not_is_told_why_and_when_to_come_back() {
    let Some(site) = Site::open("refusals", "--unregistered-interval 1m") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let home: IpAddr = HOMES[0];
    let refused = |target: String| {
        let page = fetch(site.tracker().http(home), target);
        let interval = page.dictionary().integer("interval");
        (page.failure(), interval)
    };
    let more = "uploaded=0&downloaded=0&left=1";
    assert_eq!(refused(announce(2, "disk", 7001, more)), ("Passkey not found".to_owned(), 60));
    assert_eq!(refused(announce(1, "other", 7001, more)), ("Unregistered torrent".to_owned(), 60));

    let info_hash = escape(&hash("disk"));
    site.says(&format!("delete_torrent&info_hash={info_hash}&reason=0"));
    let (why, _) = refused(announce(1, "disk", 7001, more));
    assert_eq!(why, "Unregistered torrent: Dupe");

    site.add_torrent(10, "disk");
    site.says("add_whitelist&peer_id=-XX");
    let (why, _) = refused(announce(1, "disk", 7001, more));
    assert_eq!(why, "Your client is not on the whitelist");
    site.says("remove_whitelist&peer_id=-XX");

    site.says(&format!("update_user&passkey={}&can_leech=0&visible=1", passkey(1)));
    let (why, _) = refused(announce(1, "disk", 7001, more));
    assert_eq!(why, "Access denied, leeching forbidden");

    site.says(&format!("remove_user&passkey={}", passkey(1)));
    assert_eq!(refused(announce(1, "disk", 7001, more)).0, "Passkey not found");
    let page =
        fetch(site.tracker().http(home), "/wrongwrongwrongwrongwrongwrongwrong/update?action=x");
    assert_eq!(page.failure(), "Authentication failure");
}

#[test]
fn a_report_says_what_a_user_does_and_how_the_tracker_is() {
    let Some(site) = Site::open("report", "--ocelot-flavour whatcd") else { return };
    site.add_user(1);
    site.add_torrent(10, "disk");
    let http = site.tracker().http(HOMES[0]);
    answer(http, announce(1, "disk", 7001, "uploaded=0&downloaded=0&left=5&event=started"));
    answer(http, announce(1, "disk", 7002, "uploaded=0&downloaded=0&left=0&event=started"));
    let report = |what: &str| {
        let page = fetch(http, format!("/{REPORT}/report?get={what}"));
        String::from_utf8(page.body).unwrap()
    };
    let user = report(&format!("user&key={}", passkey(1)));
    assert_eq!(user, "1 leeching\n1 seeding\nsuccess");
    patiently("the counters of the last second", || {
        let stats = report("stats");
        assert!(stats.starts_with("Uptime: ") && stats.ends_with("\nsuccess"), "{stats}");
        (stats.contains("\n2 successful announcements\n")
            && stats.contains("\n1 seeders tracked\n"))
        .then_some(())
    });
}

#[test]
fn what_the_site_writes_into_the_database_counts_at_once() {
    let Some(mut site) = Site::open("notice", "") else { return };
    let info_hash = hash("disk");
    site.database
        .execute("INSERT INTO users (id, passkey) VALUES (5, $1)", &[&passkey(5)])
        .unwrap();
    site.database
        .execute("INSERT INTO torrents (id, info_hash) VALUES (9, $1)", &[&&info_hash[..]])
        .unwrap();
    let http = site.tracker().http(HOMES[0]);
    let target = announce(5, "disk", 7001, "uploaded=0&downloaded=0&left=0");
    patiently("user and torrent of the database", || {
        fetch(http, &target).dictionary().find("failure reason").is_none().then_some(())
    });
    site.database.execute("UPDATE users SET enabled = false WHERE id = 5", &[]).unwrap();
    patiently("the end of the user", || {
        fetch(http, &target).dictionary().find("failure reason").is_some().then_some(())
    });
}
