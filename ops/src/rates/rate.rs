//! A limit as it is written: `5/s:50`.

/// So many a second, a minute or an hour, and how many of them may come at once. Written `5/s:50`, `300/m` or `2/h:10`;
/// where it is not said, ten seconds' worth may come at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Rate {
    /// Each hour.
    per_hour: u64,
    /// At once.
    burst: u32,
}

/// A [`Rate`] as a core keeps it. Times are in seconds with 32 bits behind the point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// After so long, one more may come.
    pub(super) cost: u64,
    /// So far in advance may be what has come.
    pub(super) room: u64,
}

/// Most that may be written, a second.
const PER_SECOND_MAX: u64 = 1_000_000;

/// Seconds' worth that may come at once unless said otherwise.
const BURST_SECONDS: u64 = 10;

impl Rate {
    /// Reads a rate. What may come at once has to be a second's worth at least, as a core looks at its clock each second.
    pub fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = match text.split_once(':') {
            Some((rate, burst)) => (rate, Some(number(burst)?)),
            None => (text, None),
        };
        let (many, unit) = rate.split_once('/')?;
        let hours_part = match unit {
            "s" => 3600,
            "m" => 60,
            "h" => 1,
            _ => return None,
        };
        let per_hour = number(many)?.checked_mul(hours_part)?;
        if per_hour == 0 || per_hour > PER_SECOND_MAX * 3600 {
            return None;
        }
        let second = per_hour.div_ceil(3600);
        let burst = burst.unwrap_or((per_hour * BURST_SECONDS).div_ceil(3600));
        (burst >= second && burst <= PER_SECOND_MAX * BURST_SECONDS)
            .then_some(Self { per_hour, burst: burst as u32 })
    }

    /// How many a second, rounded up.
    pub fn per_second(self) -> u64 {
        self.per_hour.div_ceil(3600)
    }

    /// What one of `cores` cores keeps to: its part of the rate, and all that may come at once.
    pub fn of_a_core(self, cores: usize) -> Limit {
        let cost = ((cores.max(1) as u64 * 3600) << 32) / self.per_hour;
        Limit { cost, room: cost.saturating_mul(self.burst.into()).min(ROOM_MAX) }
    }
}

/// Far from where sums of times overflow.
const ROOM_MAX: u64 = 1 << 62;

/// Digits alone, without a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_said() {
        for (text, per_hour, burst) in [
            ("5/s:50", 18_000, 50),
            ("5/s", 18_000, 50),
            ("300/m", 18_000, 50),
            ("2/h:10", 2, 10),
            ("1/h", 1, 1),
            ("90/m:2", 5400, 2),
            ("1000000/s:10000000", 3_600_000_000, 10_000_000),
        ] {
            assert_eq!(Rate::parse(text), Some(Rate { per_hour, burst }), "{text}");
        }
        for wrong in [
            "",
            "5",
            "/s",
            "5/",
            "5/d",
            "0/s",
            "-1/s",
            "+1/s",
            "5 /s",
            "5/s:",
            "5/s:4",
            "5/s:0",
            "5/s:x",
            "5/s:50:1",
            "1000001/s",
            "5/s:10000001",
            "1.5/s",
            "99999999999999999999/s",
            "/",
            ":",
            "5/s:5/s",
        ] {
            assert_eq!(Rate::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cores_together_keep_to_a_rate() {
        for (text, cores) in [("5/s:50", 1), ("5/s:50", 8), ("1/h:1000000", 1024), ("1000000/s", 3)]
        {
            let rate = Rate::parse(text).unwrap();
            let Limit { cost, room } = rate.of_a_core(cores);
            let of_all = cores as f64 / (cost as f64 / (1u64 << 32) as f64) * 3600.0;
            let written = rate.per_hour as f64;
            assert!((of_all - written).abs() / written < 0.001, "{text}: {of_all}");
            assert!(room >= cost && room <= ROOM_MAX);
        }
    }
}
