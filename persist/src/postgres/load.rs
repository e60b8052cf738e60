//! Reads all that announces need: at start, and to find out what has changed without a notice.
//!
//! A thread reads and hands rows over in pieces, so that who loads can give up when the server says nothing
//! for too long. A load that goes on slowly is not given up.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use ::postgres::binary_copy::{BinaryCopyOutIter, BinaryCopyOutRow};
use ::postgres::error::SqlState;
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::{Client, GenericClient, IsolationLevel, Transaction};
use crossbeam_channel::{RecvTimeoutError, Sender};
use shard::Seconds;
use shard::private::{Change, Swarm};

use super::aside::{Key, SetAside, Tally, Unread};
use super::errands::Signs;
use super::rows::{self, Table, Text};
use super::session::{START_LOCK_PATIENCE, wait_for_locks};
use super::{Database, DatabaseError};

/// One row that was loaded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The row, as the change that would make it.
    pub change: Change,
    /// Of a torrent, the snatches and the balance to go on from; else zeros. Seeders and leechers are
    /// for whoever knows peers, and always 0 here.
    pub figures: Swarm,
}

/// How many rows were loaded, and of which moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Loaded {
    /// Records of the journal before this one are in what was loaded; `None` for a journal that the
    /// database does not know yet.
    pub position: Option<u64>,
    /// The life of the journal that the last of them was written in, see [`crate::journal::Life`]; `None`
    /// where the database does not know.
    pub life: Option<u64>,
    /// Users, also those that may not announce.
    pub users: u64,
    /// Former passkeys that are good.
    pub former_passkeys: u64,
    /// Registered torrents.
    pub torrents: u64,
    /// Tokens that can be used.
    pub tokens: u64,
    /// Groups of users.
    pub groups: u64,
    /// Client rules.
    pub client_rules: u64,
    /// Deletion reasons.
    pub deletion_reasons: u64,
    /// Rows that could not be read, and were not handed over. They are there: what is known of them is to be
    /// left alone.
    pub set_aside: SetAside,
}

impl Database {
    /// Records of the journal with this name before this one are in the database; `None` for a journal that
    /// it does not know. Takes some seconds at most.
    pub fn position(&self, journal: u64) -> Result<Option<u64>, DatabaseError> {
        let database = self.clone();
        let started = self.readers.start(move |signs, out| {
            let _ = out.send(database.position_now(journal, signs));
        })?;
        let Some((answer, signs)) = started else { return Err(self.late_again()) };
        let patience = self.connect_patience() + ANSWER_PATIENCE;
        answer.recv_timeout(patience).unwrap_or_else(|_| {
            let (task, database) = (signs.doing(), self.to_string());
            self.readers.leave(signs);
            Err(DatabaseError::Unanswered { task, database, patience })
        })
    }

    fn position_now(&self, journal: u64, signs: &Signs) -> Result<Option<u64>, DatabaseError> {
        signs.begin("take a connection", false);
        let mut client = self.connect("position")?;
        signs.begin("say how far the journal is in it", false);
        let read = wait_for_locks(&mut client, START_LOCK_PATIENCE)
            .and_then(|()| position(&mut client, journal));
        match read {
            Ok(position) => position.map(Some).or_else(|problem| self.no_position(problem)),
            Err(error) => Err(self.explained("read the position", error, None, &mut client)),
        }
    }

    /// What follows when there is no number of a record.
    fn no_position(&self, problem: Option<i64>) -> Result<Option<u64>, DatabaseError> {
        match problem {
            None => Ok(None),
            Some(next) => Err(DatabaseError::Row {
                table: "ledger",
                database: self.to_string(),
                problem: format!("next is {next}"),
            }),
        }
    }

    /// Hands over, row by row and all of one moment: client rules, torrents deleted at `reasons_since`
    /// or later, registered torrents, groups of users, users, former passkeys that are good, tokens that can be
    /// used. In this order, so that a token comes after its torrent and its user.
    ///
    /// What the journal with the name `journal` holds from [`Loaded::position`] on is not in it: put those changes
    /// on top. To find out what has changed without a notice, load and compare; what differs is true of
    /// the database if the journal had no change that was not in it, neither before nor after.
    ///
    /// A row that cannot be read is named in the log and in [`Loaded::set_aside`], and the rest goes on. It is
    /// given up when the server says nothing for some seconds: before the first row of a table only when it does not
    /// let others in either, or after a minute. What was handed over before is incomplete then.
    pub fn load(
        &self,
        journal: u64,
        reasons_since: Seconds,
        mut visit: impl FnMut(Stored),
    ) -> Result<Loaded, DatabaseError> {
        let database = self.clone();
        let started = self.readers.start(move |signs, out| {
            let end = database.read_all(journal, reasons_since, signs, &out);
            let _ = out.send(Piece::End(Box::new(end)));
        })?;
        let Some((pieces, signs)) = started else { return Err(self.late_again()) };
        let mut patience = ANSWER_PATIENCE.max(self.connect_patience() + SLACK);
        let (mut answers, mut silent_since) = (0, Instant::now());
        loop {
            match pieces.recv_timeout(patience) {
                Ok(Piece::Rows(rows)) => rows.into_iter().for_each(&mut visit),
                Ok(Piece::End(end)) => return *end,
                // Rows come, and are not a piece yet.
                Err(RecvTimeoutError::Timeout) if signs.answers() != answers => {}
                Err(RecvTimeoutError::Timeout)
                    if signs.works()
                        && silent_since.elapsed() < WORK_PATIENCE
                        && self.answers() =>
                {
                    continue;
                }
                Err(_) => {
                    let (task, database) = (signs.doing(), self.to_string());
                    self.readers.leave(signs);
                    let patience = silent_since.elapsed();
                    return Err(DatabaseError::Unanswered { task, database, patience });
                }
            }
            (answers, silent_since, patience) = (signs.answers(), Instant::now(), ANSWER_PATIENCE);
        }
    }

    /// Those who asked before still wait.
    fn late_again(&self) -> DatabaseError {
        DatabaseError::Unanswered {
            task: "answer what it was asked before".to_owned(),
            database: self.to_string(),
            patience: ANSWER_PATIENCE,
        }
    }

    fn read_all(
        &self,
        journal: u64,
        reasons_since: Seconds,
        signs: &Signs,
        out: &Sender<Piece>,
    ) -> Result<Loaded, DatabaseError> {
        signs.begin("take a connection", false);
        let mut client = self.connect("load")?;
        match self.read_tables(&mut client, journal, reasons_since, signs, out) {
            Ok(loaded) => Ok(loaded),
            Err(Failed::Sql(error)) => Err(self.explained("load", error, None, &mut client)),
            Err(Failed::Database(error)) => Err(error),
        }
    }

    fn read_tables(
        &self,
        client: &mut Client,
        journal: u64,
        reasons_since: Seconds,
        signs: &Signs,
        out: &Sender<Piece>,
    ) -> Result<Loaded, Failed> {
        signs.begin("begin to load", false);
        wait_for_locks(client, START_LOCK_PATIENCE)?;
        let mut transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()?;
        let position = position(&mut transaction, journal)?;
        let position = position.map(Some).or_else(|problem| self.no_position(problem))?;
        let is_utf8 = "SELECT current_setting('server_encoding') = 'UTF8'";
        let is_utf8 = transaction.query_one(is_utf8, &[])?.get(0);
        let may_repeat = tables_that_may_repeat(&mut transaction)?;
        signs.answered();
        let (rows, set_aside) = (Vec::with_capacity(PIECE_ROWS), SetAside::default());
        let database = self.to_string();
        let mut reader =
            Reader { of: self, database, signs, out, is_utf8, may_repeat, rows, set_aside };
        let mut read = |table, condition: &str, row: Reading| {
            reader.read(&mut transaction, table, condition, row)
        };

        let client_rules = read(&rows::CLIENT_RULES, "", |row| plain(rows::client_rule(row)))?;
        let since = format!("AND at >= to_timestamp({})", reasons_since.0);
        let deletion_reasons =
            read(&rows::DELETION_REASONS, &since, |row| plain(rows::deletion_reason(row)))?;
        let torrents = read(&rows::TORRENTS, "", |row| {
            rows::torrent(row).map(|(change, figures)| Stored { change, figures })
        })?;
        let groups = read(&rows::USER_GROUPS, "", |row| plain(rows::user_group(row)))?;
        let users = read(&rows::USERS, "", |row| plain(rows::user(row)))?;
        let former_passkeys =
            read(&rows::FORMER_PASSKEYS, "", |row| plain(rows::former_passkey(row)))?;
        let tokens = read(&rows::TOKENS, "", |row| plain(rows::token(row)))?;
        reader.hand_over();
        let set_aside = reader.set_aside;
        let life = life(&mut transaction, journal)?;
        Ok(Loaded {
            position,
            life,
            users,
            former_passkeys,
            torrents,
            tokens,
            groups,
            client_rules,
            deletion_reasons,
            set_aside,
        })
    }
}

/// What the thread that reads hands over.
enum Piece {
    Rows(Vec<Stored>),
    End(Box<Result<Loaded, DatabaseError>>),
}

/// Reads tables, and hands rows over.
struct Reader<'a> {
    of: &'a Database,
    database: String,
    signs: &'a Signs,
    out: &'a Sender<Piece>,
    is_utf8: bool,
    may_repeat: Vec<String>,
    rows: Vec<Stored>,
    set_aside: SetAside,
}

impl Reader<'_> {
    /// Reads a table; how many rows of it could be read.
    fn read(
        &mut self,
        transaction: &mut Transaction<'_>,
        table: &Table,
        condition: &str,
        row: Reading,
    ) -> Result<u64, Failed> {
        self.signs.begin(format!("send table {}", table.name), true);
        let mut tally = Tally::default();
        let count = if self.is_utf8 {
            self.copy(transaction, table, Text::Converted, condition, row, &mut tally)
        } else if HAS_WORDS.contains(&table.name) {
            self.read_words(transaction, table, condition, row, &mut tally)
        } else {
            self.copy(transaction, table, Text::Raw, condition, row, &mut tally)
        }?;
        self.of.said.end(table.name, tally);
        Ok(count)
    }

    /// Of a database in another encoding, texts for people are wanted as UTF-8; where one of them cannot be
    /// that, they are taken as they are. Such tables are small.
    fn read_words(
        &mut self,
        transaction: &mut Transaction<'_>,
        table: &Table,
        condition: &str,
        row: Reading,
        tally: &mut Tally,
    ) -> Result<u64, Failed> {
        let select = format!("{} {condition}", table.select(Text::Converted));
        let mut savepoint = transaction.transaction()?;
        let tried = savepoint.query(&select, &[]);
        let text = match tried {
            Ok(_) => Text::Converted,
            Err(error) if is_about_encoding(&error) => Text::Raw,
            Err(error) => return Err(error.into()),
        };
        savepoint.rollback()?;
        self.copy(transaction, table, text, condition, row, tally)
    }

    fn copy(
        &mut self,
        transaction: &mut Transaction<'_>,
        table: &Table,
        text: Text,
        condition: &str,
        row: Reading,
        tally: &mut Tally,
    ) -> Result<u64, Failed> {
        let repeats = self.may_repeat.iter().any(|name| name == table.name);
        // So that it is the same one each time.
        let order = if repeats { "ORDER BY id" } else { "" };
        let select = table.select(text);
        let copy = format!("COPY ({select} {condition} {order}) TO STDOUT (FORMAT binary)");
        let reader = transaction.copy_out(copy.as_str())?;
        let mut seen = Seen::default();
        let mut count = 0;
        let mut stream = BinaryCopyOutIter::new(reader, table.types);
        while let Some(columns) = stream.next()? {
            self.signs.answered();
            let stored = row(&columns);
            match stored.and_then(|stored| if repeats { seen.first(stored) } else { Ok(stored) }) {
                Ok(stored) => {
                    self.rows.push(stored);
                    count += 1;
                }
                Err(unread) => {
                    self.set_aside.note(table.name, &self.database, &unread)?;
                    self.of.said.row_of(table.name, &unread, tally);
                }
            }
            if self.rows.len() >= PIECE_ROWS {
                self.hand_over();
            }
        }
        self.signs.answered();
        Ok(count)
    }

    /// When nobody waits for it any more, the rest is read in vain.
    fn hand_over(&mut self) {
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(PIECE_ROWS));
        let _ = self.out.send(Piece::Rows(rows));
    }
}

/// Why a table is not read.
enum Failed {
    Sql(::postgres::Error),
    Database(DatabaseError),
}

impl From<::postgres::Error> for Failed {
    fn from(error: ::postgres::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<DatabaseError> for Failed {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What came before, of a table whose constraints do not see to it that it comes once.
#[derive(Default)]
struct Seen {
    numbers: HashSet<u32>,
    others: HashSet<Vec<u8>>,
}

impl Seen {
    /// The first row of those that say the same is the one that counts.
    fn first(&mut self, stored: Stored) -> Result<Stored, Unread> {
        let (key, id, other, what) = match &stored.change {
            Change::User { id, passkey, .. } => {
                (Key::User(*id), id.0, passkey.reveal().as_bytes().to_vec(), "passkey")
            }
            Change::Torrent { id, info_hash, .. } => {
                (Key::Torrent(*id), id.0, info_hash.0.to_vec(), "info_hash")
            }
            _ => return Ok(stored),
        };
        let new = self.numbers.insert(id);
        if new && self.others.insert(other) {
            return Ok(stored);
        }
        let problem = match new {
            false => "a row before it has the same id".to_owned(),
            true => format!("a row with a lower id has the same {what}"),
        };
        Err(Unread { key, shown: format!("id {id}"), problem, disabled: false })
    }
}

/// How a journal is called in the tables.
pub(crate) fn journal_name(journal: u64) -> String {
    format!("{journal:016x}")
}

/// Where a journal is, or that it is nowhere: with what is there instead of a number of a record.
fn position(
    client: &mut impl GenericClient,
    journal: u64,
) -> Result<Result<u64, Option<i64>>, ::postgres::Error> {
    let select = "SELECT next FROM ledger WHERE journal = $1";
    let Some(row) = client.query_opt(select, &[&journal_name(journal)])? else {
        return Ok(Err(None));
    };
    let next: i64 = row.try_get(0)?;
    Ok(u64::try_from(next).map_err(|_| Some(next)))
}

/// In which life of the journal the last record was written that is there.
fn life(client: &mut impl GenericClient, journal: u64) -> Result<Option<u64>, ::postgres::Error> {
    let select = "SELECT life FROM ledger WHERE journal = $1";
    let row = client.query_opt(select, &[&journal_name(journal)])?;
    let life = row.and_then(|row| row.get::<_, Option<String>>(0));
    Ok(life.and_then(|life| u64::from_str_radix(&life, 16).ok()))
}

/// Tables whose constraints no longer say that two rows are different.
pub(super) fn tables_that_may_repeat(
    client: &mut impl GenericClient,
) -> Result<Vec<String>, ::postgres::Error> {
    let rows = client.query(MAY_REPEAT, &[])?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

/// One text cannot be what it should be.
pub(super) fn is_about_encoding(error: &::postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(&(SqlState::UNTRANSLATABLE_CHARACTER | SqlState::CHARACTER_NOT_IN_REPERTOIRE))
    )
}

type Reading = fn(&BinaryCopyOutRow) -> Result<Stored, Unread>;

fn plain(change: Result<Change, Unread>) -> Result<Stored, Unread> {
    change.map(|change| Stored { change, figures: Swarm::default() })
}

const MAY_REPEAT: &str = "
    SELECT DISTINCT name FROM (VALUES ('users', 'id'), ('users', 'passkey'), ('torrents', 'id'),
        ('torrents', 'info_hash')) AS unique_ones (name, key)
    WHERE NOT EXISTS (SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = to_regclass(name) AND indisunique AND indisvalid AND indpred IS NULL
        AND indnkeyatts = 1 AND attname = key)";

/// Tables with texts for people. Other texts are of ASCII, or wrong.
const HAS_WORDS: [&str; 2] = ["user_groups", "deletion_reasons"];

/// Rows that are handed over together.
const PIECE_ROWS: usize = 1_024;

/// How long the server may say nothing.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(4);

/// How long it may look for the first row of a table, as long as it lets others in.
const WORK_PATIENCE: Duration = Duration::from_secs(60);

/// What a connection that fails has, to say so before it is given up.
const SLACK: Duration = Duration::from_secs(1);
