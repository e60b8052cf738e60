//! Holds the database against the journal, as far back as that is kept (`margay check-books`).
//!
//! The journal's credits cannot be told from what the site added or took away by itself, so the sums of a user can
//! only be found to be too small. Exact are: where each client stood after its last announce, who is known at all,
//! and how many downloads were completed.
//!
//! A client's row is there as long as its torrent is, and for a day after its last announce. So one that is not
//! there differs only where it should be.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use ::postgres::{Client, IsolationLevel, Transaction};
use shard::private::{Change, Counters, Fact, PeerId, TorrentId, UserId};

use crate::journal::{JournalError, Record, Said, segments, survey};
use crate::ledger::LedgerOptions;
use crate::postgres::{Database, DatabaseError, journal_name};

/// The outcome of a check: what was compared, and what differs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// The first record that was compared, and the one behind the last: those that the journal keeps and the
    /// database says it has.
    pub records: (u64, u64),
    /// Records that the journal has and the database has not yet.
    pub behind: u64,
    /// Announces among those compared.
    pub facts: u64,
    /// Bytes of upload and download that they credited.
    pub credited: (u128, u128),
    /// Users who were credited.
    pub users: u64,
    /// Users among them who are not in the database.
    pub unknown: Vec<UserId>,
    /// Users who have less there than they were credited by these announces alone.
    pub short: Vec<Short>,
    /// Clients whose last report was compared with the table `peers`; `None` where that is not written.
    pub peers: Option<u64>,
    /// Clients among them whose row says something else, or is not there and should be.
    pub strayed: u64,
    /// The first of them, [`STRAYS_NAMED`] at most.
    pub strays: Vec<Stray>,
    /// Completed downloads in the journal, and in the table `snatches` in the same time.
    pub snatches: (u64, u64),
    /// Rows of the table `gaps`, and the records that are missing in them.
    pub gaps: (u64, u64),
    /// Credit in the table `rejected`: rows, bytes of upload, bytes of download.
    pub rejected: (u64, u64, u64),
}

/// A user who has less than he was credited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Short {
    /// Who.
    pub user: UserId,
    /// The journal's credit: upload and download.
    pub credited: (u128, u128),
    /// The database's figures.
    pub found: (i64, i64),
}

/// A client whose row in `peers` is not what its last announce made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stray {
    /// Whose.
    pub user: UserId,
    /// In which torrent.
    pub torrent: TorrentId,
    /// Which.
    pub peer_id: PeerId,
    /// What the journal says that it reported, in bytes: upload and download.
    pub reported: (u64, u64),
    /// What its row says; `None` where there is none.
    pub found: Option<(i64, i64)>,
}

/// Clients that differ and are named.
pub const STRAYS_NAMED: usize = 20;

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The database cannot be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// There is no journal.
    #[error("there is no journal in {0}; name the data folder of a private tracker with --data")]
    NoJournal(std::path::PathBuf),
    /// The database knows nothing of this journal.
    #[error(
        "the database has nothing of journal {0:016x}: is it the one that this data folder belongs to?"
    )]
    Unknown(u64),
}

impl Checked {
    /// Nothing differs. Users who are gone from the database may have been removed by the site.
    pub fn holds(&self) -> bool {
        self.short.is_empty() && self.strayed == 0 && self.snatches.0 <= self.snatches.1
    }
}

/// Clients that are remembered at most; further ones are not compared. About 200 MB.
const PEERS_MAX: usize = 2_000_000;

/// Rows asked for at once.
const ROWS: usize = 4096;

type Peer = (UserId, TorrentId, PeerId, u32);

/// Compares the journal in a data folder, whose tracker may be running, with the database. `peers`: the tracker
/// writes the table of that name.
pub fn check_books(database: &Database, data: &Path, peers: bool) -> Result<Checked, CheckError> {
    let files = segments(data)?;
    let Some(first) = files.first() else { return Err(CheckError::NoJournal(data.to_owned())) };
    let journal = survey(first, |_, _| {})?.id;

    let mut client: Client = database.connect("check")?;
    let failed = database.failed("compare the books");
    let mut transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .map_err(&failed)?;
    let next = "SELECT next FROM ledger WHERE journal = $1";
    let next = transaction.query_opt(next, &[&journal_name(journal)]).map_err(&failed)?;
    let next = next.ok_or(CheckError::Unknown(journal))?.get::<_, i64>(0).cast_unsigned();

    let mut tally = Tally::default();
    let (mut begin, mut end) = (None, 0);
    for file in &files {
        let survey = survey(file, |number, record| {
            if number < next {
                tally.add(record);
            }
        })?;
        begin.get_or_insert(survey.first);
        end = survey.end;
    }
    let begin = begin.unwrap_or(next);
    let mut checked = Checked {
        records: (begin.min(next), next.min(end)),
        behind: end.saturating_sub(next),
        facts: tally.facts,
        credited: tally.credited,
        users: tally.users.len() as u64,
        ..Checked::default()
    };
    let mut compare = || -> Result<(), ::postgres::Error> {
        check_users(&mut transaction, &tally, &mut checked)?;
        if peers {
            check_peers(&mut transaction, &tally, &mut checked)?;
        }
        check_rest(&mut transaction, &tally, journal, &mut checked)
    };
    compare().map_err(&failed)?;
    Ok(checked)
}

/// The sums of the journal.
#[derive(Default)]
struct Tally {
    facts: u64,
    credited: (u128, u128),
    users: HashMap<UserId, (u128, u128)>,
    /// The last report of each client.
    peers: HashMap<Peer, Report>,
    snatches: u64,
    /// When the first and the last completed download was.
    snatched_at: Option<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct Report {
    counters: Counters,
    /// In milliseconds since 1970.
    millis: u64,
    /// The tracker went on from something else than what the client said; so may its row.
    doubtful: bool,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        let fact = match record {
            Record::Fact(fact) => fact,
            Record::Said(Said { change: Change::TorrentRemoved { id, .. }, .. }) => {
                // The rows of its clients go with it.
                self.peers.retain(|(_, torrent, ..), _| torrent != id);
                return;
            }
            _ => return,
        };
        self.facts += 1;
        let Fact { credited_up, credited_down, reported, .. } = *fact;
        let (up, down) = (u128::from(credited_up), u128::from(credited_down));
        self.credited = (self.credited.0 + up, self.credited.1 + down);
        if (up, down) != (0, 0) {
            let user = self.users.entry(fact.user).or_default();
            *user = (user.0 + up, user.1 + down);
        }
        let client = (fact.user, fact.torrent, fact.peer_id, fact.key);
        if self.peers.len() < PEERS_MAX || self.peers.contains_key(&client) {
            let (millis, doubtful) = (fact.stamp.millis, fact.said.is_some());
            self.peers.insert(client, Report { counters: reported, millis, doubtful });
        }
        if fact.snatched {
            self.snatches += 1;
            let (first, _) = self.snatched_at.unwrap_or((fact.at.0, fact.at.0));
            self.snatched_at = Some((first.min(fact.at.0), fact.at.0));
        }
    }
}

fn check_users(
    transaction: &mut Transaction<'_>,
    tally: &Tally,
    checked: &mut Checked,
) -> Result<(), ::postgres::Error> {
    let mut users: Vec<UserId> = tally.users.keys().copied().collect();
    users.sort_unstable();
    for some in users.chunks(ROWS) {
        let ids: Vec<i64> = some.iter().map(|user| i64::from(user.0)).collect();
        let query = "SELECT id, uploaded, downloaded FROM users WHERE id = ANY($1)";
        let found: HashMap<i64, (i64, i64)> = transaction
            .query(query, &[&ids])?
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2))))
            .collect();
        for user in some {
            let credited = tally.users[user];
            match found.get(&i64::from(user.0)) {
                None => checked.unknown.push(*user),
                Some(&found) => {
                    let less = |found: i64, credited: u128| {
                        i128::from(found) < credited.min(i64::MAX as u128) as i128
                    };
                    if less(found.0, credited.0) || less(found.1, credited.1) {
                        checked.short.push(Short { user: *user, credited, found });
                    }
                }
            }
        }
    }
    Ok(())
}

fn check_peers(
    transaction: &mut Transaction<'_>,
    tally: &Tally,
    checked: &mut Checked,
) -> Result<(), ::postgres::Error> {
    let mut peers: Vec<(&Peer, &Report)> =
        tally.peers.iter().filter(|(_, report)| !report.doubtful).collect();
    peers.sort_unstable_by_key(|(client, _)| **client);
    let kept = LedgerOptions::default().peers_kept.saturating_sub(NEARLY);
    for some in peers.chunks(ROWS) {
        let users: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.0.0)).collect();
        let torrents: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.1.0)).collect();
        let peer_ids: Vec<&[u8]> = some.iter().map(|(client, _)| &client.2.0[..]).collect();
        let keys: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.3)).collect();
        let counters = || some.iter().map(|(_, report)| report.counters);
        let uploaded: Vec<i64> = counters().map(|it| clamped(it.uploaded)).collect();
        let downloaded: Vec<i64> = counters().map(|it| clamped(it.downloaded)).collect();
        let millis: Vec<i64> = some.iter().map(|(_, report)| clamped(report.millis)).collect();
        let differ = transaction.query(
            OTHER_PEERS,
            &[
                &users,
                &torrents,
                &peer_ids,
                &keys,
                &uploaded,
                &downloaded,
                &millis,
                &kept.as_secs_f64(),
            ],
        )?;
        checked.strayed += differ.len() as u64;
        for row in differ {
            let place = usize::try_from(row.get::<_, i64>(0) - 1).unwrap_or_default();
            let Some(((user, torrent, peer_id, _), report)) = some.get(place).copied() else {
                continue;
            };
            if checked.strays.len() < STRAYS_NAMED {
                let reported = (report.counters.uploaded, report.counters.downloaded);
                let found = row.get::<_, Option<i64>>(1).zip(row.get(2));
                checked.strays.push(Stray {
                    user: *user,
                    torrent: *torrent,
                    peer_id: *peer_id,
                    reported,
                    found,
                });
            }
        }
    }
    checked.peers = Some(peers.len() as u64);
    Ok(())
}

fn check_rest(
    transaction: &mut Transaction<'_>,
    tally: &Tally,
    journal: u64,
    checked: &mut Checked,
) -> Result<(), ::postgres::Error> {
    let number = |row: &::postgres::Row, at: usize| row.get::<_, i64>(at).cast_unsigned();
    let found = match tally.snatched_at {
        None => 0,
        Some((first, last)) => {
            let query = "SELECT count(*) FROM snatches \
                WHERE at BETWEEN to_timestamp($1::bigint) AND to_timestamp($2::bigint)";
            number(&transaction.query_one(query, &[&i64::from(first), &i64::from(last)])?, 0)
        }
    };
    checked.snatches = (tally.snatches, found);
    let query =
        "SELECT count(*), coalesce(sum(behind - first), 0)::bigint FROM gaps WHERE journal = $1";
    let row = transaction.query_one(query, &[&journal_name(journal)])?;
    checked.gaps = (number(&row, 0), number(&row, 1));
    let query = "SELECT count(*), coalesce(sum(uploaded), 0)::bigint, coalesce(sum(downloaded), 0)::bigint \
        FROM rejected WHERE part = 'credit'";
    let row = transaction.query_one(query, &[])?;
    checked.rejected = (number(&row, 0), number(&row, 1), number(&row, 2));
    Ok(())
}

fn clamped(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A row of this age may be about to go.
const NEARLY: Duration = Duration::from_secs(3600);

/// The place of each client whose row says something else, or should be there: its user and torrent are, and it has
/// announced within so many seconds. A row that is newer than the journal was written by a later copy of that.
const OTHER_PEERS: &str = "
    SELECT place, peers.uploaded, peers.downloaded
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        WITH ORDINALITY AS d (who, what, its_id, its_key, up, down, millis, place)
    LEFT JOIN peers ON user_id = who AND torrent_id = what AND peer_id = its_id AND key = its_key
    WHERE CASE
        WHEN peers.user_id IS NULL THEN to_timestamp(millis / 1000.0) > now() - make_interval(secs => $8)
            AND EXISTS (SELECT FROM users WHERE users.id = who)
            AND EXISTS (SELECT FROM torrents WHERE torrents.id = what)
        ELSE (peers.uploaded, peers.downloaded) <> (up, down) AND coalesce(peers.stamp <= millis, true)
    END
    ORDER BY place";
