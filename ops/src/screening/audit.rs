//! How often a denial is written into the log.

use shard::Seconds;

/// Lets some lines a second through, and counts the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audit {
    second: Seconds,
    said: u32,
    left_out: u64,
}

/// Lines a second.
const LINES_MAX: u32 = 5;

impl Audit {
    /// Whether a line may be written now: how many were left out since the last one.
    #[inline]
    pub fn line(&mut self, now: Seconds) -> Option<u64> {
        if now != self.second {
            (self.second, self.said) = (now, 0);
        }
        if self.said == LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_lines_a_second_and_the_others_are_counted() {
        let mut audit = Audit::default();
        let lines =
            |audit: &mut Audit, now| (0..20).filter_map(|_| audit.line(Seconds(now))).collect();
        let first: Vec<u64> = lines(&mut audit, 7);
        let next: Vec<u64> = lines(&mut audit, 8);
        assert_eq!(first, [0; 5]);
        assert_eq!(next, [15, 0, 0, 0, 0]);
    }
}
