//! The site's word on users and torrents, as far as an announce needs it.

use super::{GroupId, TorrentId, UserId};

/// A user who may announce. One who may not (disabled or removed) is not known at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// May download. One who may not is still credited for uploads, and is told no peers while he has
    /// something left to download.
    pub can_leech: bool,
    /// The user's addresses are written nowhere; they are still told to peers, or nobody could
    /// connect.
    pub hidden: bool,
    /// The group he is in, which may bound his downloads; see [`super::Announce::downloads_full`].
    pub group: Option<GroupId>,
}

/// Which transfers of a torrent count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Freeleech {
    /// Uploads and downloads.
    #[default]
    None,
    /// Uploads only.
    Free,
    /// Neither.
    Neutral,
}

/// The rules of a registered torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The torrent's number at the site.
    pub id: TorrentId,
    /// Which transfers count.
    pub freeleech: Freeleech,
    /// The factor of uploads, in percent: 100 as they are, 200 double. Rounded down, once for each announce.
    pub upload_percent: u16,
}
