//! Records that the database will never get: rows of the table `gaps`, for staff to see.

use ::postgres::{Client, Error, Transaction};

/// A run of records that this database will never get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// Why.
    pub reason: GapReason,
    /// The first that is missing.
    pub first: u64,
    /// The one behind the last that is missing.
    pub behind: u64,
    /// When the last record before them was made, in milliseconds since 1970, where that is known.
    pub from_millis: Option<u64>,
    /// When the first record after them was made.
    pub to_millis: Option<u64>,
}

/// Why records are missing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GapReason {
    /// The database went back to a moment older than what the journal keeps.
    DatabaseRestored,
    /// The data folder went back to an older copy. Credit is not lost, the database has it.
    JournalRestored,
    /// Segments of the journal are gone, or damaged.
    JournalLost,
    /// The tables were empty, and were filled again.
    DatabaseEmptied,
}

/// All that are noted, and not settled yet.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gaps {
    /// How many, of all journals.
    pub count: u64,
    /// Records in them.
    pub records: u64,
    /// The last one that was noticed.
    pub last: Option<Gap>,
}

impl GapReason {
    const ALL: [Self; 4] =
        [Self::DatabaseRestored, Self::JournalRestored, Self::JournalLost, Self::DatabaseEmptied];

    /// As the table has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DatabaseRestored => "database_restored",
            Self::JournalRestored => "journal_restored",
            Self::JournalLost => "journal_lost",
            Self::DatabaseEmptied => "database_emptied",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }
}

/// Notes one.
pub(super) fn note(
    transaction: &mut Transaction<'_>,
    journal: &str,
    node: &str,
    gap: &Gap,
) -> Result<(), Error> {
    let millis = |at: Option<u64>| at.map(|at| at as f64 / 1000.0);
    let (from, to) = (millis(gap.from_millis), millis(gap.to_millis));
    let (first, behind) = (gap.first.cast_signed(), gap.behind.cast_signed());
    transaction
        .execute(NOTE, &[&journal, &node, &gap.reason.name(), &first, &behind, &from, &to])?;
    Ok(())
}

/// All that there are.
pub(super) fn read(client: &mut Client) -> Result<Gaps, Error> {
    let row = client.query_one(COUNT, &[])?;
    let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
    let (count, records) = (number(0), number(1));
    let last = client.query_opt(LAST, &[])?.and_then(|row| {
        let number = |at: usize| row.get::<_, i64>(at).cast_unsigned();
        let millis = |at: usize| row.get::<_, Option<i64>>(at).map(i64::cast_unsigned);
        Some(Gap {
            reason: GapReason::named(row.get(0))?,
            first: number(1),
            behind: number(2),
            from_millis: millis(3),
            to_millis: millis(4),
        })
    });
    Ok(Gaps { count, records, last })
}

const NOTE: &str = "
    INSERT INTO gaps (journal, node, reason, first, behind, from_at, to_at)
    VALUES ($1, $2, $3, $4, $5, to_timestamp($6), to_timestamp($7))";

const COUNT: &str = "
    SELECT count(*), coalesce(sum(greatest(behind - first, 0)), 0)::bigint FROM gaps";

const LAST: &str = "
    SELECT reason, first, behind, (extract(epoch FROM from_at) * 1000)::bigint,
        (extract(epoch FROM to_at) * 1000)::bigint
    FROM gaps ORDER BY id DESC LIMIT 1";
