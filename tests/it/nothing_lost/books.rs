//! Compares the tables of the database with what the judge says, to the byte.

use std::collections::{BTreeMap, BTreeSet};

use postgres::Client as Sql;

use crate::nothing_lost::judge::Judge;
use crate::nothing_lost::site::Site;

/// What the tables are to have beside what the judge says.
pub(crate) struct Expected {
    /// What users were credited, upload and download. Those who are not here are looked at elsewhere.
    pub(crate) users: BTreeMap<usize, (u64, u64)>,
    /// The table of clients is written.
    pub(crate) peers: bool,
    /// Torrents of which nobody can say who is taken for present.
    pub(crate) unsure: BTreeSet<usize>,
}

/// All that the tables have of a site is what its clients said, by the rules.
#[track_caller]
pub(crate) fn compare(sql: &mut Sql, site: &Site, judge: &Judge, expected: &Expected) {
    let Expected { users, peers, unsure } = expected;
    let last = i64::from(site.first_id) + (site.users.max(site.torrents.len()) as i64) - 1;
    let range = [i64::from(site.first_id), last];
    let place = |id: i64| (id - range[0]) as usize;
    let mut rows = |query: &str| sql.query(query, &[&range[0], &range[1]]).unwrap();

    let found: BTreeMap<usize, (u64, u64)> =
        rows("SELECT id, uploaded, downloaded FROM users WHERE id BETWEEN $1 AND $2")
            .iter()
            .map(|row| (place(row.get(0)), (number(row.get(1)), number(row.get(2)))))
            .filter(|(user, _)| users.contains_key(user))
            .collect();
    differ("uploaded and downloaded of user", &found, users);

    let query =
        "SELECT id, snatches, balance, seeders, leechers FROM torrents WHERE id BETWEEN $1 AND $2";
    let found: BTreeMap<usize, (u64, i64, u64, u64)> = rows(query)
        .iter()
        .map(|row| {
            let torrent = place(row.get(0));
            let counts = (number(row.get(3)), number(row.get(4)));
            let (seeders, leechers) = if unsure.contains(&torrent) { (0, 0) } else { counts };
            (torrent, (number(row.get(1)), row.get(2), seeders, leechers))
        })
        .collect();
    let expected: BTreeMap<usize, (u64, i64, u64, u64)> = (0..site.torrents.len())
        .map(|torrent| {
            let figures = judge.torrents.get(&torrent).copied().unwrap_or_default();
            let unsure = unsure.contains(&torrent);
            let (seeders, leechers) = if unsure { (0, 0) } else { judge.swarm(torrent) };
            (torrent, (figures.snatches, figures.balance, seeders, leechers))
        })
        .collect();
    differ("snatches, balance, seeders and leechers of torrent", &found, &expected);

    let query = "SELECT user_id, torrent_id, downloaded, spent_at IS NULL FROM tokens \
                 WHERE user_id BETWEEN $1 AND $2";
    for row in rows(query) {
        let token = (place(row.get(0)), place(row.get(1)));
        let used = judge.tokens.get(&token).copied().unwrap_or_default();
        assert_eq!(number(row.get(2)), used, "use of token {token:?}");
        assert_eq!(row.get::<_, bool>(3), site.tokens.contains(&token), "token {token:?} is good");
    }
    let query = "SELECT count(*) FROM tokens WHERE spent_at IS NULL AND user_id BETWEEN $1 AND $2";
    assert_eq!(number(rows(query)[0].get(0)), site.tokens.len() as u64, "good tokens");
    let query = "SELECT torrent_id, count(*) FROM peers WHERE active AND user_id BETWEEN $1 AND $2 \
                 GROUP BY torrent_id";
    let found: BTreeMap<usize, u64> =
        rows(query).iter().map(|row| (place(row.get(0)), number(row.get(1)))).collect();
    for torrent in (0..site.torrents.len()).filter(|torrent| !unsure.contains(torrent)) {
        let (seeders, leechers) = judge.swarm(torrent);
        let expected = if *peers { seeders + leechers } else { 0 };
        let found = found.get(&torrent).copied().unwrap_or_default();
        assert_eq!(found, expected, "active peers of torrent {torrent}");
    }
}

fn number(number: i64) -> u64 {
    u64::try_from(number).unwrap()
}

#[track_caller]
fn differ<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: &BTreeMap<usize, T>,
    expected: &BTreeMap<usize, T>,
) {
    for (place, expected) in expected {
        let found = found.get(place);
        assert!(found == Some(expected), "{what} {place}: {found:?}, and {expected:?} is right");
    }
    assert_eq!(found.len(), expected.len());
}
