//! How real clients follow an answer, and when they try again without one. Both simulations use it.
//!
//! The times are measured: each client ran in a network namespace of its own against a scripted
//! tracker. What was not seen is continued by the same law, and says so.

use shard::Seconds;

/// A family of programs with the same habits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// libtorrent 2.0 and 2.1, and with it qBittorrent.
    Libtorrent,
    /// Transmission 3.00.
    Transmission,
    /// rTorrent 0.9.8.
    Rtorrent,
    /// aria2 1.36.
    Aria2,
    /// WebTorrent 3.0 in Node.
    Webtorrent,
    /// librqbit 9.1.
    Librqbit,
    /// ctorrent dnh3.3.2.
    Ctorrent,
}

/// Over what a client reaches the tracker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protocol {
    Http,
    Udp,
}

/// What became of an announce that brought no answer to follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// The connection was refused or closed; over UDP there was silence.
    Away,
    /// A `failure reason`, with this `interval` beside it; over UDP an error.
    Refused { interval: Seconds },
}

/// What a success says about the next announce.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub interval: Seconds,
    /// There is none over UDP.
    pub min_interval: Option<Seconds>,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Libtorrent,
        Self::Transmission,
        Self::Rtorrent,
        Self::Aria2,
        Self::Webtorrent,
        Self::Librqbit,
        Self::Ctorrent,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Libtorrent => "libtorrent",
            Self::Transmission => "transmission",
            Self::Rtorrent => "rtorrent",
            Self::Aria2 => "aria2",
            Self::Webtorrent => "webtorrent",
            Self::Librqbit => "librqbit",
            Self::Ctorrent => "ctorrent",
        }
    }

    /// Whether it speaks UDP at all.
    pub(crate) fn speaks_udp(self) -> bool {
        self != Self::Ctorrent
    }

    /// How long after a success it announces again.
    ///
    /// Three of the seven go by `min interval`. rTorrent over UDP goes by the 600 seconds that it was
    /// seen to go by over HTTP when there was none.
    pub(crate) fn waits(self, told: Told) -> Seconds {
        let Told { interval, min_interval } = told;
        match self {
            Self::Libtorrent => interval.max(Seconds(300)),
            Self::Transmission | Self::Webtorrent | Self::Ctorrent => interval,
            Self::Aria2 => interval.min(min_interval.unwrap_or(interval)),
            Self::Librqbit => min_interval.unwrap_or(interval),
            Self::Rtorrent => {
                min_interval.map_or(Seconds(600), |min| Seconds(min.0.clamp(300, 14_400)))
            }
        }
    }

    /// How long after the last of `failures` in a row, at least one, it tries again.
    pub(crate) fn retries(
        self,
        protocol: Protocol,
        trouble: Trouble,
        failures: u32,
        random: &mut fastrand::Rng,
    ) -> Seconds {
        let mut about = |least: u32, most: u32| random.u32(least..=most);
        let n = failures;
        Seconds(match (self, protocol, trouble) {
            // The only one that reads the interval of a failure.
            (Self::Libtorrent, Protocol::Http, Trouble::Refused { interval }) => {
                interval.0.max(300)
            }
            (Self::Libtorrent, Protocol::Http, Trouble::Away) => squares(n) + about(0, 2),
            (Self::Libtorrent, Protocol::Udp, Trouble::Refused { .. }) if n == 1 => about(29, 30),
            (Self::Libtorrent, Protocol::Udp, Trouble::Refused { .. }) => squares(n) + about(0, 2),
            (Self::Libtorrent, Protocol::Udp, Trouble::Away) if n == 1 => about(38, 40),
            (Self::Libtorrent, Protocol::Udp, Trouble::Away) => squares(n) + about(9, 11),

            // The announce that is not answered is given up a minute later. What follows the second was
            // not seen.
            (Self::Transmission, Protocol::Udp, Trouble::Away) => {
                [20, 320, 900, 1800, 3600][step(n, 5)] + about(58, 70)
            }
            // Every second step is the first one again; 1,800 and 3,600 were not waited for.
            (Self::Transmission, ..) => match [20, 300, 20, 300, 900, 1800, 3600][step(n, 7)] {
                20 => about(20, 21),
                wait => wait + about(0, 55),
            },

            // Each try is made twice, 30 seconds apart.
            (Self::Rtorrent, Protocol::Udp, Trouble::Away) if n % 2 == 1 => 30,
            (Self::Rtorrent, Protocol::Udp, Trouble::Away) => 30 + doubles(n / 2),
            (Self::Rtorrent, ..) => doubles(n),

            // Each try is made twice, 5 seconds apart.
            (Self::Aria2, Protocol::Udp, Trouble::Away) if n % 2 == 1 => 5,
            (Self::Aria2, Protocol::Udp, Trouble::Away) => about(131, 133),
            (Self::Aria2, Protocol::Udp, Trouble::Refused { .. }) => about(120, 150),
            (Self::Aria2, Protocol::Http, _) => about(120, 122),

            (Self::Webtorrent, ..) => about(1800, 1802),

            (Self::Librqbit, Protocol::Udp, Trouble::Away) => about(70, 72),
            (Self::Librqbit, Protocol::Udp, Trouble::Refused { .. }) => about(60, 72),
            // What follows the seventh was not seen.
            (Self::Librqbit, Protocol::Http, _) => {
                let waits = [11, 25, 48, 130, 172, 361, 828];
                let most = [18, 40, 76, 155, 260, 414, 971];
                about(waits[step(n, 7)], most[step(n, 7)])
            }

            (Self::Ctorrent, ..) => about(15, 16),
        })
    }
}

/// libtorrent's law, seen up to the seventh failure, 617 seconds.
fn squares(failures: u32) -> u32 {
    (5 + 25 * failures * failures / 2).min(3600)
}

/// rTorrent's law.
fn doubles(failures: u32) -> u32 {
    (5 << (failures - 1).min(6)).min(320)
}

/// The place of the `failures`-th failure in a ladder of so many steps, whose last one stays.
fn step(failures: u32, steps: usize) -> usize {
    (failures as usize - 1).min(steps - 1)
}

/// Clients that behave alike.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Class {
    pub kind: Kind,
    pub protocol: Protocol,
    /// Of all clients, 0 to 1.
    pub share: f64,
}

/// Who the clients of a tracker are.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mix {
    pub classes: Vec<Class>,
}

impl Mix {
    /// A mix of `kinds`, as `libtorrent=62,transmission=14`, in parts of any sum; `udp` of those who
    /// speak it announce over UDP, 0 to 1.
    pub(crate) fn parse(kinds: &str, udp: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&udp) {
            return Err(format!("a share of UDP is from 0 to 100, not {}", udp * 100.0));
        }
        let mut parts = Vec::new();
        for part in kinds.split(',') {
            let (name, parts_of_it) =
                part.split_once('=').ok_or(format!("`{part}` is no `client=parts`"))?;
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
                format!("`{name}` is none of {}", Kind::ALL.map(Kind::name).join(", "))
            })?;
            let count: f64 = parts_of_it.parse().map_err(|_| format!("`{part}` has no number"))?;
            if !count.is_finite() || count < 0.0 {
                return Err(format!("`{part}` has no number of parts"));
            }
            parts.push((kind, count));
        }
        let whole: f64 = parts.iter().map(|(_, count)| count).sum();
        if whole <= 0.0 {
            return Err(format!("`{kinds}` is nobody"));
        }
        let mut classes = Vec::new();
        for (kind, count) in parts {
            let over_udp = if kind.speaks_udp() { udp } else { 0.0 };
            for (protocol, part) in [(Protocol::Http, 1.0 - over_udp), (Protocol::Udp, over_udp)] {
                if part > 0.0 && count > 0.0 {
                    classes.push(Class { kind, protocol, share: count / whole * part });
                }
            }
        }
        Ok(Self { classes })
    }

    /// How many clients of each class there are among `clients`, which they are together.
    pub(crate) fn of(&self, clients: u32) -> Vec<u32> {
        let mut sum = 0.0;
        let mut given = 0;
        let mut counts = Vec::new();
        for class in &self.classes {
            sum += class.share;
            let until = (f64::from(clients) * sum).round() as u32;
            counts.push(until - given);
            given = until;
        }
        counts
    }
}

/// The mix that is taken when none is said: a guess, as nobody publishes one.
pub(crate) const KINDS: &str =
    "libtorrent=62,transmission=14,rtorrent=8,aria2=8,webtorrent=4,librqbit=3,ctorrent=1";

/// As the operator of a public tracker has counted in 2026: three requests of four come over UDP.
pub(crate) const UDP: f64 = 0.75;

impl Default for Mix {
    fn default() -> Self {
        Self::parse(KINDS, UDP).expect("it is a mix")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many announces a client makes in the 1,860 seconds that each was watched for.
    fn announces(kind: Kind, protocol: Protocol, trouble: Trouble) -> u32 {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut at, mut count) = (0, 0);
        while at < 1860 {
            count += 1;
            at += kind.retries(protocol, trouble, count, &mut random).0;
        }
        count
    }

    #[test]
    fn refusals_are_asked_for_again_as_often_as_was_measured() {
        let failure = Trouble::Refused { interval: Seconds(1800) };
        for (kind, over_http, over_udp) in [
            (Kind::Libtorrent, 2, 7),
            (Kind::Transmission, 6, 6),
            (Kind::Rtorrent, 11, 11),
            (Kind::Aria2, 16, 14),
            // As a seeder it has announced twice at its start.
            (Kind::Webtorrent, 2, 2),
            (Kind::Librqbit, 8, 28),
            (Kind::Ctorrent, 117, 0),
        ] {
            let http = announces(kind, Protocol::Http, failure);
            assert!(http.abs_diff(over_http) <= 1 + over_http / 20, "{kind:?} {http} {over_http}");
            if kind.speaks_udp() {
                let udp = announces(kind, Protocol::Udp, failure);
                assert!(udp.abs_diff(over_udp) <= 1, "{kind:?} {udp} {over_udp}");
            }
        }
    }

    #[test]
    fn silence_and_closed_doors_are_asked_again_as_was_measured() {
        let mut random = fastrand::Rng::with_seed(1);
        for (kind, protocol, measured) in [
            (Kind::Libtorrent, Protocol::Http, &[16, 55, 117, 205, 317, 455, 617][..]),
            (Kind::Libtorrent, Protocol::Udp, &[39, 65, 127, 215]),
            (Kind::Transmission, Protocol::Http, &[20, 345, 20, 306, 930]),
            (Kind::Transmission, Protocol::Udp, &[85, 390]),
            (Kind::Rtorrent, Protocol::Http, &[5, 10, 20, 40, 80, 160, 320, 320]),
            (Kind::Rtorrent, Protocol::Udp, &[30, 35, 30, 40, 30, 50]),
            (Kind::Aria2, Protocol::Http, &[120, 120]),
            (Kind::Aria2, Protocol::Udp, &[5, 132, 5, 131]),
            (Kind::Webtorrent, Protocol::Http, &[1800]),
            (Kind::Webtorrent, Protocol::Udp, &[1800]),
            (Kind::Librqbit, Protocol::Http, &[14, 33, 60, 150, 240]),
            (Kind::Librqbit, Protocol::Udp, &[70, 70]),
            (Kind::Ctorrent, Protocol::Http, &[15, 15]),
        ] {
            for (failures, measured) in (1..).zip(measured) {
                let wait = kind.retries(protocol, Trouble::Away, failures, &mut random).0;
                let apart = wait.abs_diff(*measured);
                assert!(apart <= 2 + measured / 3, "{kind:?} {protocol:?} {failures}: {wait}");
            }
        }
    }

    #[test]
    fn a_success_is_followed_as_was_measured() {
        let told = |interval, min: Option<u32>| Told {
            interval: Seconds(interval),
            min_interval: min.map(Seconds),
        };
        for (kind, short, half, none) in [
            (Kind::Libtorrent, 300, 700, 700),
            (Kind::Transmission, 45, 700, 700),
            (Kind::Rtorrent, 300, 400, 600),
            (Kind::Aria2, 45, 400, 700),
            (Kind::Webtorrent, 45, 700, 700),
            (Kind::Librqbit, 90, 400, 700),
            (Kind::Ctorrent, 45, 700, 700),
        ] {
            assert_eq!(kind.waits(told(45, Some(90))), Seconds(short), "{kind:?}");
            assert_eq!(kind.waits(told(700, Some(400))), Seconds(half), "{kind:?}");
            assert_eq!(kind.waits(told(700, None)), Seconds(none), "{kind:?}");
        }
        assert_eq!(Kind::Rtorrent.waits(told(30_000, Some(30_000))), Seconds(14_400));
    }

    #[test]
    fn a_mix_is_read_as_it_is_written_and_is_everybody() {
        let mix = Mix::parse("aria2=1,ctorrent=3", 0.5).unwrap();
        let class = |kind, protocol, share| Class { kind, protocol, share };
        assert_eq!(
            mix.classes,
            [
                class(Kind::Aria2, Protocol::Http, 0.125),
                class(Kind::Aria2, Protocol::Udp, 0.125),
                class(Kind::Ctorrent, Protocol::Http, 0.75),
            ]
        );
        assert_eq!(mix.of(1000), [125, 125, 750]);
        assert_eq!(Mix::default().of(999_983).iter().sum::<u32>(), 999_983);
        for wrong in ["", "aria2", "aria2=x", "aria2=-1", "aria2=0", "ktorrent=5"] {
            assert!(Mix::parse(wrong, 0.5).is_err(), "{wrong}");
        }
        assert!(Mix::parse("aria2=1", 75.0).is_err());
    }
}
