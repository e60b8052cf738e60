//! Which client programs may announce, by the first bytes of their peer ids (BEP 20).

use shard::private::{ClientPrefix, PeerId};

/// The site's rules, ready to be asked: one binary search for each announce, about ten comparisons
/// for a few hundred rules.
///
/// The longest prefix decides. A client that no prefix fits is refused when there is any prefix that
/// is allowed, and allowed otherwise; so without rules everybody is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientRules {
    /// Where in the order of all peer ids the answer changes, and to what. Prefixes nest like
    /// parentheses, so however they overlap there are at most two changes for each.
    changes: Vec<(Start, bool)>,
    /// The answer before the first change.
    others: bool,
}

/// A peer id as numbers: in the same order, and mostly compared at once.
type Start = (u64, u64, u32);

impl ClientRules {
    /// The rules `(prefix, allowed)`; of a prefix given twice the last one counts.
    pub fn new(rules: impl IntoIterator<Item = (ClientPrefix, bool)>) -> Self {
        let mut rules: Vec<_> = rules.into_iter().collect();
        // A prefix comes before all that it begins; those given twice stay in their order.
        rules.sort_by(|(prefix, _), (other, _)| prefix.cmp(other));
        let others = !rules.iter().any(|(_, allow)| *allow);

        let mut changes = Vec::new();
        // The prefixes that the place we are at has, the longest last: where each ends, what it says.
        let mut open: Vec<(Option<Start>, bool)> = Vec::new();
        let close = |open: &mut Vec<(Option<Start>, bool)>, changes: &mut Vec<(Start, bool)>| {
            if let Some((Some(end), _)) = open.pop() {
                changes.push((end, open.last().map_or(others, |(_, allow)| *allow)));
            }
        };
        for (prefix, allow) in &rules {
            let start = start(prefix);
            while open.last().is_some_and(|(end, _)| end.is_some_and(|end| end <= start)) {
                close(&mut open, &mut changes);
            }
            changes.push((start, *allow));
            open.push((end(prefix), *allow));
        }
        while !open.is_empty() {
            close(&mut open, &mut changes);
        }
        // Of several changes at one place the last one holds.
        changes.reverse();
        changes.dedup_by_key(|(start, _)| *start);
        changes.reverse();
        Self { changes, others }
    }

    /// Whether this client may announce.
    #[inline]
    pub fn allowed(&self, peer_id: &PeerId) -> bool {
        let place = numbers(&peer_id.0);
        let after = self.changes.partition_point(|(start, _)| *start <= place);
        after.checked_sub(1).map_or(self.others, |last| self.changes[last].1)
    }
}

impl Default for ClientRules {
    /// Everybody is allowed.
    fn default() -> Self {
        Self::new([])
    }
}

/// The first peer id that begins with `prefix`.
fn start(prefix: &ClientPrefix) -> Start {
    let mut start = [0; 20];
    start[..prefix.bytes().len()].copy_from_slice(prefix.bytes());
    numbers(&start)
}

/// The first peer id behind those; `None` where there is none.
fn end(prefix: &ClientPrefix) -> Option<Start> {
    let last = prefix.bytes().iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = [0; 20];
    end[..=last].copy_from_slice(&prefix.bytes()[..=last]);
    end[last] += 1;
    Some(numbers(&end))
}

#[inline]
fn numbers(bytes: &[u8; 20]) -> Start {
    let (words, rest) = bytes.as_chunks::<8>();
    let last = rest.try_into().expect("20 bytes are two times 8 and 4");
    (u64::from_be_bytes(words[0]), u64::from_be_bytes(words[1]), u32::from_be_bytes(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[(&str, bool)]) -> ClientRules {
        ClientRules::new(
            rules
                .iter()
                .map(|(prefix, allow)| (ClientPrefix::new(prefix.as_bytes()).unwrap(), *allow)),
        )
    }

    fn peer_id(start: &str) -> PeerId {
        let mut id = [b'x'; 20];
        id[..start.len()].copy_from_slice(start.as_bytes());
        PeerId(id)
    }

    #[track_caller]
    fn check(rules: &ClientRules, start: &str, allowed: bool) {
        assert_eq!(rules.allowed(&peer_id(start)), allowed, "{start}");
    }

    #[test]
    fn ocelot_3_an_empty_list_allows_everybody() {
        check(&ClientRules::default(), "-UT3550-", true);
        check(&ClientRules::new([]), "-XX0000-", true);
    }

    #[test]
    fn ocelot_12_17_a_whitelist_is_a_list_of_prefixes() {
        let rules = rules(&[("-qB", true), ("-TR40", true), ("M4-3-6--", true)]);
        for allowed in ["-qB5020-", "-qB", "-TR4060-", "M4-3-6--abc"] {
            check(&rules, allowed, true);
        }
        for refused in ["-qC", "-q", "-TR3000-", "M4-3-5--", "", "-TR4", "zzz"] {
            check(&rules, refused, false);
        }
    }

    #[test]
    fn the_longest_prefix_decides() {
        let rules =
            rules(&[("-UT", true), ("-UT2", false), ("-UT2210", true), ("-UT22100-", false)]);
        check(&rules, "-UT3550-", true);
        check(&rules, "-UT2000-", false);
        check(&rules, "-UT2210b", true);
        check(&rules, "-UT22100-", false);
        check(&rules, "-UT3", true);
        check(&rules, "-TR4060-", false);
    }

    #[test]
    fn refusals_alone_leave_the_others_alone() {
        let rules = rules(&[("-XL", false), ("-SD", false)]);
        check(&rules, "-XL0012-", false);
        check(&rules, "-SD0100-", false);
        check(&rules, "-qB5020-", true);
    }

    #[test]
    fn of_a_prefix_given_twice_the_last_counts() {
        check(&rules(&[("-UT", true), ("-TR", true), ("-UT", false)]), "-UT3550-", false);
        check(&rules(&[("-UT", false), ("-TR", true), ("-UT", true)]), "-UT3550-", true);
    }

    #[test]
    fn prefixes_at_the_ends_of_the_order() {
        let prefix = |bytes: &[u8]| ClientPrefix::new(bytes).unwrap();
        let rules = ClientRules::new([
            (prefix(&[0]), true),
            (prefix(&[255]), true),
            (prefix(&[255; 20]), false),
            (prefix(&[0; 20]), false),
        ]);
        assert!(!rules.allowed(&PeerId([0; 20])));
        assert!(
            rules.allowed(&PeerId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
        );
        assert!(!rules.allowed(&PeerId([1; 20])));
        assert!(!rules.allowed(&PeerId([255; 20])));
        let mut nearly = [255; 20];
        nearly[19] = 254;
        assert!(rules.allowed(&PeerId(nearly)));
    }

    /// The rules as they are worded.
    fn slowly(rules: &[(ClientPrefix, bool)], peer_id: &PeerId) -> bool {
        let fitting = rules.iter().filter(|(prefix, _)| peer_id.0.starts_with(prefix.bytes()));
        match fitting.max_by_key(|(prefix, _)| prefix.bytes().len()) {
            Some((_, allow)) => *allow,
            None => !rules.iter().any(|(_, allow)| *allow),
        }
    }

    #[test]
    fn as_fast_as_it_is_it_says_what_the_rules_say() {
        let mut random = fastrand::Rng::with_seed(17);
        for round in 0..500 {
            let letters = [3, 256, 2][round % 3];
            let byte = |random: &mut fastrand::Rng| match letters {
                2 => [0, 255][random.usize(..2)],
                _ => random.u16(..letters) as u8,
            };
            let rules: Vec<_> = (0..random.usize(..60))
                .map(|_| {
                    let bytes: Vec<u8> =
                        (0..random.usize(1..8)).map(|_| byte(&mut random)).collect();
                    (ClientPrefix::new(&bytes).unwrap(), random.bool())
                })
                .collect();
            let fast = ClientRules::new(rules.clone());
            for _ in 0..200 {
                let mut id: [u8; 20] = std::array::from_fn(|_| byte(&mut random));
                if let Some((prefix, _)) = random.choice(&rules) {
                    id[..prefix.bytes().len()].copy_from_slice(prefix.bytes());
                }
                let id = PeerId(id);
                assert_eq!(fast.allowed(&id), slowly(&rules, &id), "{id:?} {rules:?}");
            }
        }
    }
}
