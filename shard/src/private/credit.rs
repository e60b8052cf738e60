//! The rules of accounting: from what a client reported to what its user is credited.

use super::{Counters, Freeleech, Terms};

/// What an announce is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Credit {
    /// Bytes moved since the announce before.
    pub(crate) moved: Counters,
    /// Bytes to add to the user's upload.
    pub(crate) up: u64,
    /// Bytes to add to the user's download.
    pub(crate) down: u64,
    /// Bytes of the download that a token took over.
    pub(crate) token_down: u64,
    /// What uploads and downloads count for, in percent.
    pub(crate) percents: (u16, u16),
}

/// Whether a report continues the one before it. When uploads or downloads went down, the client has begun
/// to count anew, and where is unknown.
#[inline]
pub(crate) fn goes_on(before: &Counters, after: &Counters) -> bool {
    before.uploaded <= after.uploaded && before.downloaded <= after.downloaded
}

/// What was moved from one report of a session to the next; nothing when it does not go on.
#[inline]
pub(crate) fn moved(before: &Counters, after: &Counters) -> Counters {
    if !goes_on(before, after) {
        return Counters::default();
    }
    Counters {
        uploaded: after.uploaded - before.uploaded,
        downloaded: after.downloaded - before.downloaded,
        corrupt: after.corrupt.saturating_sub(before.corrupt),
    }
}

/// What of it counts, on a torrent with these terms, for a user with or without a token for it.
pub(crate) fn credit(moved: Counters, terms: &Terms, token: bool) -> Credit {
    if terms.freeleech == Freeleech::Neutral {
        return Credit { moved, ..Credit::default() };
    }
    let up = u128::from(moved.uploaded) * u128::from(terms.upload_percent) / 100;
    let free = token || terms.freeleech == Freeleech::Free;
    let percents = (terms.upload_percent, if free { 0 } else { 100 });
    Credit {
        moved,
        up: u64::try_from(up).unwrap_or(u64::MAX),
        down: if free { 0 } else { moved.downloaded },
        token_down: if token { moved.downloaded } else { 0 },
        percents,
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
    use crate::private::TorrentId;

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
    fn counters_that_went_down_move_nothing() {
        let before = Counters { uploaded: 10, downloaded: 10, corrupt: 10 };
        let lower = Counters { uploaded: 9, downloaded: 500, corrupt: 10 };
        assert_eq!(moved(&before, &lower), Counters::default());
        let lower = Counters { uploaded: 500, downloaded: 9, corrupt: 10 };
        assert_eq!(moved(&before, &lower), Counters::default());
        let forgot_corrupt = Counters { uploaded: 11, downloaded: 12, corrupt: 0 };
        let expected = Counters { uploaded: 1, downloaded: 2, corrupt: 0 };
        assert_eq!(moved(&before, &forgot_corrupt), expected);
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
        assert_eq!(credit(all, &terms, false).up, u64::MAX);
    }
}
