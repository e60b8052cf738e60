//! Holds the database against the journal, as far back as that is kept (`margay check-books`).
//!
//! The journal's credits cannot be told from what the site added or took away by itself, so the sums of a user can
//! only be found to be too small. Exact are: where each client stood after its last announce, who is known at all,
//! and how many downloads were completed.

use std::collections::HashMap;
use std::path::Path;

use ::postgres::{Client, IsolationLevel, Transaction};
use shard::private::{Fact, PeerId, TorrentId, UserId};

use crate::journal::{JournalError, Record, segments, survey};
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
    /// Clients whose last report was compared with the table `peers`; 0 where that is not written.
    pub peers: u64,
    /// Clients among them whose row says something else, or is not there.
    pub strayed: u64,
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

/// Compares the journal in a data folder, whose tracker may be running, with the database.
pub fn check_books(database: &Database, data: &Path) -> Result<Checked, CheckError> {
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
        check_peers(&mut transaction, &tally, &mut checked)?;
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
    peers: HashMap<Peer, (u64, u64)>,
    snatches: u64,
    /// When the first and the last completed download was.
    snatched_at: Option<(u32, u32)>,
}

impl Tally {
    fn add(&mut self, record: &Record) {
        let Record::Fact(fact) = record else { return };
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
            self.peers.insert(client, (reported.uploaded, reported.downloaded));
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
    let written = transaction.query_one("SELECT EXISTS (SELECT FROM peers)", &[])?;
    if !written.get::<_, bool>(0) {
        return Ok(());
    }
    let peers: Vec<(&Peer, &(u64, u64))> = tally.peers.iter().collect();
    for some in peers.chunks(ROWS) {
        let users: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.0.0)).collect();
        let torrents: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.1.0)).collect();
        let peer_ids: Vec<&[u8]> = some.iter().map(|(client, _)| &client.2.0[..]).collect();
        let keys: Vec<i64> = some.iter().map(|(client, _)| i64::from(client.3)).collect();
        let uploaded: Vec<i64> = some.iter().map(|(_, said)| clamped(said.0)).collect();
        let downloaded: Vec<i64> = some.iter().map(|(_, said)| clamped(said.1)).collect();
        let same = transaction.query_one(
            SAME_PEERS,
            &[&users, &torrents, &peer_ids, &keys, &uploaded, &downloaded],
        )?;
        checked.peers += some.len() as u64;
        checked.strayed += some.len() as u64 - same.get::<_, i64>(0).cast_unsigned();
    }
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

const SAME_PEERS: &str = "
    SELECT count(*)
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[])
        AS d (who, what, its_id, its_key, up, down)
    JOIN peers ON user_id = who AND torrent_id = what AND peer_id = its_id AND key = its_key
        AND peers.uploaded = up AND peers.downloaded = down";
