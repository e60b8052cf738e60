//! A site: its users, its torrents with their rules, and who has a token for what.

use std::collections::BTreeSet;

use fastrand::Rng;

/// Users and torrents; they are called by their places here.
pub(crate) struct Site {
    /// The number of the first user and torrent, so that sites can share a database.
    pub(crate) first_id: u32,
    pub(crate) users: usize,
    pub(crate) torrents: Vec<Torrent>,
    /// Torrents count uploads by other percentages, too.
    percentages: bool,
    /// User and torrent. Only where the user has one client, so that nobody else uses it up.
    pub(crate) tokens: BTreeSet<(usize, usize)>,
}

/// What counts on a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Torrent {
    pub(crate) info_hash: [u8; 20],
    /// Its second name, of one in three.
    pub(crate) second: Option<[u8; 20]>,
    pub(crate) free: Free,
    pub(crate) upload_percent: u16,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Free {
    None,
    Downloads,
    Neutral,
}

impl Site {
    pub(crate) fn new(rng: &mut Rng, first_id: u32, users: usize, torrents: usize) -> Self {
        let mut site = Self {
            first_id,
            users,
            torrents: Vec::new(),
            percentages: true,
            tokens: BTreeSet::new(),
        };
        for torrent in 0..torrents {
            let info_hash = std::array::from_fn(|_| rng.u8(..));
            let second = std::array::from_fn(|_| rng.u8(..));
            let second = (torrent % 3 == 0).then_some(second);
            let (free, upload_percent) = (Free::None, 100);
            site.torrents.push(Torrent { info_hash, second, free, upload_percent });
            site.change(rng, torrent);
        }
        site
    }

    /// The same as far as Ocelot's interface can say it.
    pub(crate) fn without_percentages(mut self) -> Self {
        self.percentages = false;
        self.torrents.iter_mut().for_each(|torrent| torrent.upload_percent = 100);
        self
    }

    /// The site changes its mind about what counts on a torrent. Half of all torrents are plain ones.
    pub(crate) fn change(&mut self, rng: &mut Rng, torrent: usize) {
        let torrent = &mut self.torrents[torrent];
        (torrent.free, torrent.upload_percent) = match rng.u8(..8) {
            0 => (Free::Downloads, 100),
            1 => (Free::Neutral, 100),
            2 if self.percentages => (Free::None, 150),
            3 if self.percentages => (Free::Downloads, 200),
            _ => (Free::None, 100),
        };
    }

    /// The number of a user or of a torrent.
    pub(crate) fn id(&self, place: usize) -> u32 {
        self.first_id + place as u32
    }

    pub(crate) fn passkey(&self, user: usize) -> String {
        format!("{:032}", self.id(user))
    }
}

impl Torrent {
    /// What these bytes are worth to their user, with or without a token: upload, download, and what the
    /// token is used for.
    pub(crate) fn worth(&self, (up, down): (u64, u64), token: bool) -> (u64, u64, u64) {
        let up = up * u64::from(self.upload_percent) / 100;
        match self.free {
            Free::Neutral => (0, 0, 0),
            _ if token => (up, 0, down),
            Free::Downloads => (up, 0, 0),
            Free::None => (up, down, 0),
        }
    }
}
