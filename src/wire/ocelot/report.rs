//! A site's questions to its tracker: `/<report password>/report?get=…`.

use std::fmt;

use shard::InfoHash;

use super::{Flavour, last};
use crate::wire::percent;

/// A question.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Report<'q> {
    /// `stats`: the tracker's figures.
    Stats,
    /// `user`: what a user has active.
    User {
        /// The user's passkey (`key=`), as it stands in the query; `None` when it is missing or empty.
        passkey: Option<&'q [u8]>,
    },
    /// `torrent` (Orpheus): who is on a torrent.
    Torrent {
        /// Its name; `None` when it is missing or none.
        info_hash: Option<InfoHash>,
    },
    /// `prom_stats` (Orpheus): the figures for Prometheus.
    PromStats,
    /// `jemalloc` (Orpheus): what the allocator says.
    Jemalloc,
    /// A question that nobody knows.
    Unknown,
}

impl<'q> Report<'q> {
    /// Reads the query of a report, without the `?`.
    pub fn parse(query: &'q [u8], flavour: Flavour) -> Self {
        let orpheus = flavour == Flavour::Orpheus;
        match last(query, b"get").unwrap_or_default() {
            b"stats" => Report::Stats,
            b"user" => {
                Report::User { passkey: last(query, b"key").filter(|passkey| !passkey.is_empty()) }
            }
            b"torrent" if orpheus => {
                let decoded = last(query, b"info_hash").and_then(percent::decode_exact);
                Report::Torrent { info_hash: decoded.map(InfoHash) }
            }
            b"prom_stats" if orpheus => Report::PromStats,
            b"jemalloc" if orpheus => Report::Jemalloc,
            _ => Report::Unknown,
        }
    }
}

impl fmt::Debug for Report<'_> {
    /// Leaves the passkey out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Report::Stats => f.write_str("Stats"),
            Report::User { passkey } => {
                f.debug_struct("User").field("passkey", &passkey.map(|_| ())).finish()
            }
            Report::Torrent { info_hash } => {
                f.debug_struct("Torrent").field("info_hash", info_hash).finish()
            }
            Report::PromStats => f.write_str("PromStats"),
            Report::Jemalloc => f.write_str("Jemalloc"),
            Report::Unknown => f.write_str("Unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSKEY: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

    #[track_caller]
    fn check(query: &str, whatcd: Report<'_>, orpheus: Report<'_>) {
        assert_eq!(Report::parse(query.as_bytes(), Flavour::Whatcd), whatcd, "whatcd: {query}");
        assert_eq!(Report::parse(query.as_bytes(), Flavour::Orpheus), orpheus, "orpheus: {query}");
    }

    #[test]
    fn ocelot_7_every_report() {
        check("get=stats", Report::Stats, Report::Stats);
        let user = Report::User { passkey: Some(PASSKEY) };
        let query = format!("get=user&key={}", str::from_utf8(PASSKEY).unwrap());
        check(&query, user, user);
        let nobody = Report::User { passkey: None };
        check("get=user", nobody, nobody);
        check("get=user&key=", nobody, nobody);
    }

    #[test]
    fn ocelot_7_reports_that_only_orpheus_knows() {
        check("get=prom_stats", Report::Unknown, Report::PromStats);
        check("get=jemalloc", Report::Unknown, Report::Jemalloc);
        let info_hash = Some(InfoHash(*b"aaaaaaaaaaaaaaaaaa\xff\x00"));
        check(
            "get=torrent&info_hash=aaaaaaaaaaaaaaaaaa%fF%00",
            Report::Unknown,
            Report::Torrent { info_hash },
        );
        for none in ["", "&info_hash=", "&info_hash=short"] {
            let query = format!("get=torrent{none}");
            check(&query, Report::Unknown, Report::Torrent { info_hash: None });
        }
    }

    #[test]
    fn ocelot_7_what_nobody_knows() {
        for query in ["", "get", "get=", "get=Stats", "stats", "got=stats", "get=stats&get=x"] {
            check(query, Report::Unknown, Report::Unknown);
        }
        check("get=x&get=stats", Report::Stats, Report::Stats);
    }

    #[test]
    fn a32_a_report_never_prints_its_passkey() {
        let report = Report::User { passkey: Some(PASSKEY) };
        assert_eq!(format!("{report:?}"), "User { passkey: Some(()) }");
    }
}
