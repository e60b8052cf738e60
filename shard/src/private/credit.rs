//! The rules of accounting: from what a client reported to what its user is credited.

use super::fold::{self, Factors};
use super::{Counters, Terms};

/// The worth of an announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Credit {
    /// Bytes moved since the announce before.
    pub(crate) moved: Counters,
    /// Bytes to add to the user's upload.
    pub(crate) up: u64,
    /// Bytes to add to the user's download.
    pub(crate) down: u64,
    /// Bytes of the download that a token took over.
    pub(crate) token_down: u64,
    /// By which factors.
    pub(crate) factors: Factors,
}

/// The credit for bytes moved, on a torrent with these terms, for a user with or without a token for it: whole bytes,
/// at most as many as the database can hold.
#[inline]
pub(crate) fn credit(moved: Counters, terms: &Terms, token: bool) -> Credit {
    let factors = Factors::of(terms, token);
    let (down, token_down) = factors.of_download();
    Credit {
        moved,
        up: fold::share(moved.uploaded, factors.upload_percent),
        down: fold::share(moved.downloaded, down),
        token_down: fold::share(moved.downloaded, token_down),
        factors,
    }
}

/// A torrent's balance after bytes were moved.
pub(crate) fn balance(before: i64, moved: &Counters) -> i64 {
    let more =
        i128::from(moved.uploaded) - i128::from(moved.downloaded) - i128::from(moved.corrupt)
            + i128::from(before);
    more.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::private::{Freeleech, TorrentId};

    fn check(freeleech: Freeleech, percent: u16, token: bool, expected: (u64, u64, u64)) {
        let moved = Counters { uploaded: 301, downloaded: 70, corrupt: 5 };
        let terms = Terms { id: TorrentId(1), freeleech, upload_percent: percent };
        let credit = credit(moved, &terms, token);
        assert_eq!((credit.up, credit.down, credit.token_down), expected, "{terms:?} {token}");
        assert_eq!(credit.moved, moved);
    }

    #[test]
    fn what_counts_depends_on_the_torrent_and_on_a_token() {
        check(Freeleech::None, 100, false, (301, 70, 0));
        check(Freeleech::None, 100, true, (301, 0, 70));
        check(Freeleech::Free, 100, false, (301, 0, 0));
        check(Freeleech::Free, 100, true, (301, 0, 70));
        check(Freeleech::Neutral, 100, false, (0, 0, 0));
        check(Freeleech::Neutral, 100, true, (0, 0, 0));
        check(Freeleech::None, 150, false, (451, 70, 0));
        check(Freeleech::None, 0, false, (0, 70, 0));
    }

    #[test]
    fn nothing_overflows() {
        let all = Counters { uploaded: u64::MAX, downloaded: u64::MAX, corrupt: u64::MAX };
        let most = Counters { uploaded: u64::MAX, ..Counters::default() };
        let least = Counters { uploaded: 0, ..all };
        assert_eq!(balance(0, &most), i64::MAX);
        assert_eq!(balance(i64::MIN, &least), i64::MIN);
        let terms =
            Terms { id: TorrentId(1), freeleech: Freeleech::None, upload_percent: u16::MAX };
        let most = i64::MAX as u64;
        let found = credit(all, &terms, false);
        assert_eq!((found.up, found.down), (most, most));
        assert_eq!(credit(all, &terms, true).token_down, most);
    }
}
