//! The database of a private tracker, filled with the users and torrents of a population.

use std::io::{self, Write};

use crate::swarms::info_hash;
use crate::users::passkey;

/// Writes SQL for `psql` that puts `users` users and `torrents` torrents, numbered from 1 on, into the
/// tables of a margay that does not run. (A running one would be told of each row.)
pub(crate) fn write_sql(
    out: &mut impl Write,
    schema: &str,
    seed: u64,
    users: u32,
    torrents: u32,
) -> io::Result<()> {
    writeln!(out, "BEGIN;\nSET LOCAL search_path TO \"{schema}\";")?;
    // Its triggers are silent then.
    writeln!(out, "SET LOCAL margay.ledger TO 'on';")?;
    writeln!(out, "COPY users (id, passkey) FROM STDIN;")?;
    for user in 1..=users {
        write!(out, "{user}\t")?;
        out.write_all(&passkey(seed, user))?;
        out.write_all(b"\n")?;
    }
    writeln!(out, "\\.\nCOPY torrents (id, info_hash) FROM STDIN;")?;
    for torrent in 0..torrents {
        write!(out, "{}\t\\\\x", torrent + 1)?;
        for byte in info_hash(seed, torrent) {
            write!(out, "{byte:02x}")?;
        }
        out.write_all(b"\n")?;
    }
    writeln!(out, "\\.\nCOMMIT;\nANALYZE \"{schema}\".users, \"{schema}\".torrents;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_user_and_torrent_is_a_line() {
        let mut sql = Vec::new();
        write_sql(&mut sql, "margay", 1, 2, 1).unwrap();
        let sql = String::from_utf8(sql).unwrap();
        let key = |user| String::from_utf8(passkey(1, user).into()).unwrap();
        let users = format!("FROM STDIN;\n1\t{}\n2\t{}\n\\.\n", key(1), key(2));
        assert!(sql.contains(&users), "{sql}");
        assert!(sql.contains("FROM STDIN;\n1\t\\\\x6e789e6a"), "{sql}");
        assert!(sql.contains("\n\\.\nCOMMIT;\n"), "{sql}");
    }
}
