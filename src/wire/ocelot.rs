//! How sites built for Ocelot talk with their tracker: what they tell it ([`Update`]), what they ask it
//! ([`Report`]), and what it tells them ([`expire_tokens`]). All of it is plain HTTP with a secret in
//! the path, which [`crate::wire::private::Target`] finds and the caller compares.
//!
//! Sites read a reply to its end, take what follows its last line feed, and want `success` there; so
//! replies close the connection, and nothing comes after that word.

mod deletion;
mod report;
mod report_reply;
mod site;
mod update;
mod update_reply;

pub use deletion::DeletionReason;
pub use report::Report;
pub use report_reply::{
    Stats, TorrentReport, Usage, UserReport, write_jemalloc, write_prom_stats, write_stats,
    write_torrent, write_unknown_report, write_user,
};
pub use site::{Site, SiteAnswer, TOKENS_CHARACTERS_MAX, expire_tokens, site_answer};
pub use update::Update;
pub use update_reply::{write_failure, write_info_torrent, write_success};

/// The words that are spoken with a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flavour {
    /// The words of the first Ocelot and Gazelle: reports as lines of text.
    #[default]
    Whatcd,
    /// The words of Orpheus' versions of both: reports as JSON.
    Orpheus,
}

/// The last value of `name` in `query`, as it stands there.
fn last<'q>(query: &'q [u8], name: &[u8]) -> Option<&'q [u8]> {
    super::query::pairs(query).filter(|(key, _)| *key == name).map(|(_, value)| value).last()
}
