//! The account of one client of one user on one torrent: 48 bytes, and more where figures are large.

use super::fold::Lines;
use super::slots::Slots;
use super::wait::Wait;
use super::{Counters, PeerId};
use crate::Seconds;

/// The figures of a peer: its baseline, and its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Figures {
    /// The counters it last reported.
    pub(crate) reported: Counters,
    pub(crate) left: u64,
    pub(crate) since: Seconds,
    /// When it last announced; not before `since`.
    pub(crate) seen: Seconds,
    pub(crate) announces: u32,
    /// How long it was told to wait.
    pub(crate) wait: Wait,
}

/// A peer's identity (with its user, who is in its [`super::face::Face`]) and figures, as they are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Account {
    peer_id: [u8; 20],
    key: u32,
    since: Seconds,
    times: Bytes<5>,
    /// Or, where figures do not fit, the number of a [`Large`].
    uploaded: Bytes<5>,
    downloaded: Bytes<5>,
    left: Bytes<5>,
}

/// When a client was last seen, in seconds from when it was first seen, up to three months; its announces; and how long
/// it was told to wait. 23, 13 and 4 bits.
#[derive(Clone, Copy, Debug)]
struct Times {
    seen: u32,
    announces: u32,
    wait: Wait,
}

impl Times {
    const SEEN_BITS: u32 = 23;
    const ANNOUNCES_BITS: u32 = 13;

    #[inline]
    fn fit(figures: &Figures) -> bool {
        figures.seen.since(figures.since).0 >> Self::SEEN_BITS == 0
            && figures.announces >> Self::ANNOUNCES_BITS == 0
    }

    #[inline]
    fn bytes(figures: &Figures) -> Bytes<5> {
        let seen = u64::from(figures.seen.since(figures.since).0);
        let announces = u64::from(figures.announces) << Self::SEEN_BITS;
        let wait = u64::from(figures.wait.bits()) << (Self::SEEN_BITS + Self::ANNOUNCES_BITS);
        Bytes::new(seen | announces | wait)
    }

    #[inline]
    fn of(bytes: Bytes<5>) -> Self {
        let (word, below) = (bytes.get(), |bits: u32| (1 << bits) - 1);
        Self {
            seen: word as u32 & below(Self::SEEN_BITS),
            announces: (word >> Self::SEEN_BITS) as u32 & below(Self::ANNOUNCES_BITS),
            wait: Wait::from_bits((word >> (Self::SEEN_BITS + Self::ANNOUNCES_BITS)) as u8),
        }
    }
}

const _: () = assert!(size_of::<Account>() == 48, "memory per peer, see shard/benches/private.rs");

/// The figures of a client that do not fit in an account: a terabyte or more moved, corrupt data, a year of
/// announces; or those of a client of which more is to be remembered than what it last reported.
#[derive(Clone, Copy, Debug)]
struct Large {
    figures: Figures,
    /// The number of its lines, or [`NO_LINES`].
    lines: u32,
}

const NO_LINES: u32 = u32::MAX;

impl Default for Large {
    fn default() -> Self {
        Self { figures: Figures::default(), lines: NO_LINES }
    }
}

/// Peers of a core with lines of their own: clients that were copied, or have begun anew within moments, of
/// which there are few. About 1 KiB each. One more is remembered by its last report alone.
const WITH_LINES_MAX: usize = 1 << 14;

/// A little-endian number of so many bytes.
#[derive(Clone, Copy, Debug)]
struct Bytes<const N: usize>([u8; N]);

impl<const N: usize> Bytes<N> {
    #[inline]
    fn fits(number: u64) -> bool {
        number >> (8 * N) == 0
    }

    #[inline]
    fn new(number: u64) -> Self {
        debug_assert!(Self::fits(number));
        let mut bytes = [0; N];
        bytes.copy_from_slice(&number.to_le_bytes()[..N]);
        Self(bytes)
    }

    #[inline]
    fn get(self) -> u64 {
        let mut word = [0; 8];
        word[..N].copy_from_slice(&self.0);
        u64::from_le_bytes(word)
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::small([0; 20], 0, &Figures::default())
    }
}

impl Account {
    fn small(peer_id: [u8; 20], key: u32, figures: &Figures) -> Self {
        Self {
            peer_id,
            key,
            since: figures.since,
            times: Times::bytes(figures),
            uploaded: Bytes::new(figures.reported.uploaded),
            downloaded: Bytes::new(figures.reported.downloaded),
            left: Bytes::new(figures.left),
        }
    }
}

impl Figures {
    #[inline]
    fn are_small(&self) -> bool {
        self.reported.corrupt == 0
            && Times::fit(self)
            && Bytes::<5>::fits(self.reported.uploaded)
            && Bytes::<5>::fits(self.reported.downloaded)
            && Bytes::<5>::fits(self.left)
    }
}

/// All the accounts of a core. Whether an account has large figures is known to its face.
#[derive(Debug)]
pub(crate) struct Accounts {
    accounts: Slots<Account>,
    large: Slots<Large>,
    lines: Slots<Option<Box<Lines>>>,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        Self { accounts: Slots::new(), large: Slots::new(), lines: Slots::new() }
    }

    /// Accounts there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether this is the account of that client of its user.
    #[inline]
    pub(crate) fn is(&self, number: u32, peer_id: &PeerId, key: u32) -> bool {
        let account = self.accounts.get(number);
        account.peer_id == peer_id.0 && account.key == key
    }

    #[inline]
    pub(crate) fn name(&self, number: u32) -> (PeerId, u32) {
        let account = self.accounts.get(number);
        (PeerId(account.peer_id), account.key)
    }

    #[inline]
    pub(crate) fn figures(&self, number: u32, is_large: bool) -> Figures {
        let account = self.accounts.get(number);
        if is_large {
            return self.large.get(account.uploaded.get() as u32).figures;
        }
        let Times { seen, announces, wait } = Times::of(account.times);
        Figures {
            reported: Counters {
                uploaded: account.uploaded.get(),
                downloaded: account.downloaded.get(),
                corrupt: 0,
            },
            left: account.left.get(),
            since: account.since,
            seen: account.since + Seconds(seen),
            announces,
            wait,
        }
    }

    /// When it last announced, and how long it was told to wait.
    #[inline]
    pub(crate) fn heard(&self, number: u32, is_large: bool) -> (Seconds, Wait) {
        if is_large {
            let figures = self.figures(number, true);
            return (figures.seen, figures.wait);
        }
        let account = self.accounts.get(number);
        let Times { seen, wait, .. } = Times::of(account.times);
        (account.since + Seconds(seen), wait)
    }

    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        self.accounts.prefetch(number);
    }

    /// Its number, and whether its figures are large.
    pub(crate) fn insert(&mut self, peer_id: PeerId, key: u32, figures: &Figures) -> (u32, bool) {
        let number = self.accounts.insert(Account::small(peer_id.0, key, &Figures::default()));
        let is_large = self.set(number, false, figures);
        (number, is_large)
    }

    /// Replaces the figures; whether they are large now.
    #[inline]
    pub(crate) fn set(&mut self, number: u32, was_large: bool, figures: &Figures) -> bool {
        if was_large {
            let lines = self.large.get(self.large_of(number)).lines;
            return self.set_large(number, figures, lines);
        }
        let account = self.accounts.get_mut(number);
        if figures.are_small() {
            *account = Account::small(account.peer_id, account.key, figures);
            return false;
        }
        let large = Large { figures: *figures, lines: NO_LINES };
        account.uploaded = Bytes::new(u64::from(self.large.insert(large)));
        true
    }

    /// Replaces the figures of one that was large.
    fn set_large(&mut self, number: u32, figures: &Figures, lines: u32) -> bool {
        let large = self.large_of(number);
        if lines == NO_LINES && figures.are_small() {
            self.large.remove(large);
            let account = self.accounts.get_mut(number);
            *account = Account::small(account.peer_id, account.key, figures);
            return false;
        }
        *self.large.get_mut(large) = Large { figures: *figures, lines };
        true
    }

    #[inline]
    fn large_of(&self, number: u32) -> u32 {
        self.accounts.get(number).uploaded.get() as u32
    }

    /// The lines that are remembered of it beside its figures.
    #[inline]
    pub(crate) fn lines(&self, number: u32, is_large: bool) -> Option<&Lines> {
        if !is_large {
            return None;
        }
        let lines = self.large.get(self.large_of(number)).lines;
        if lines == NO_LINES { None } else { self.lines.get(lines).as_deref() }
    }

    /// Remembers this of it; whether it is large now.
    pub(crate) fn set_lines(&mut self, number: u32, is_large: bool, lines: Option<&Lines>) -> bool {
        let figures = self.figures(number, is_large);
        if is_large {
            let before = self.large.get(self.large_of(number)).lines;
            if before != NO_LINES {
                *self.lines.get_mut(before) = None;
                self.lines.remove(before);
            }
        }
        let lines = match lines {
            Some(lines) if self.lines.len() < WITH_LINES_MAX => {
                self.lines.insert(Some(Box::new(lines.clone())))
            }
            _ if is_large => return self.set_large(number, &figures, NO_LINES),
            _ => return false,
        };
        if is_large {
            return self.set_large(number, &figures, lines);
        }
        let large = self.large.insert(Large { figures, lines });
        self.accounts.get_mut(number).uploaded = Bytes::new(u64::from(large));
        true
    }

    pub(crate) fn remove(&mut self, number: u32, is_large: bool) {
        if is_large && self.set_lines(number, true, None) {
            self.large.remove(self.large_of(number));
        }
        self.accounts.remove(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_any_size_are_kept_to_the_byte() {
        let mut accounts = Accounts::new();
        let mut random = fastrand::Rng::with_seed(3);
        let mut number = |bits: u32| if bits == 0 { 0 } else { random.u64(..) >> (64 - bits) };
        let (account, mut is_large) =
            accounts.insert(PeerId(*b"-XX0001-abcdefghijkl"), 7, &Figures::default());
        for round in 0..20_000_u32 {
            let since = Seconds(number(32) as u32);
            let figures = Figures {
                reported: Counters {
                    uploaded: number(1 + round % 64),
                    downloaded: number(1 + round / 7 % 64),
                    corrupt: if round % 3 == 0 { number(40) } else { 0 },
                },
                left: if round % 11 == 0 { u64::MAX } else { number(41) },
                since,
                seen: since + Seconds(number(25) as u32),
                announces: number(17) as u32,
                wait: Wait::from_bits(round as u8),
            };
            is_large = accounts.set(account, is_large, &figures);
            assert_eq!(accounts.figures(account, is_large), figures);
            assert_eq!(accounts.heard(account, is_large), (figures.seen, figures.wait));
            assert!(accounts.is(account, &PeerId(*b"-XX0001-abcdefghijkl"), 7));
        }
        accounts.remove(account, is_large);
        assert_eq!((accounts.len(), accounts.large.len()), (0, 0));
    }
}
