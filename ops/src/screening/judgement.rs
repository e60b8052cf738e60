//! What is said of an address, in words and in the sixteen bits that a table keeps of it.

use std::fmt;

/// A country by its two letters (ISO 3166-1 alpha-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Country([u8; 2]);

impl Country {
    /// How many there can be, all pairs of letters.
    pub const COUNT: usize = 26 * 26;

    /// Reads two letters, in either case.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        let is_letters = letters.iter().all(u8::is_ascii_alphabetic);
        is_letters.then(|| Self(letters.map(|letter| letter.to_ascii_uppercase())))
    }

    /// Its place among all pairs of letters.
    pub fn index(self) -> usize {
        let [first, second] = self.0.map(|letter| usize::from(letter - b'A'));
        first * 26 + second
    }

    /// The pair of letters at a place below [`Country::COUNT`].
    pub fn at(index: usize) -> Self {
        Self([b'A' + (index / 26 % 26) as u8, b'A' + (index % 26) as u8])
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("two letters"))
    }
}

/// What happens to who asks from an address. The later one is the stricter one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// It is served.
    Allow,
    /// It is told nobody, and to come back soon.
    Defer,
    /// It gets nothing.
    Deny,
}

/// The rule that decided.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// No rule is about it.
    None,
    /// A network of a list.
    Network,
    /// Its country.
    Country,
    /// There are rules about countries, and nobody knows its own.
    Unknown,
    /// The operator has banned its network.
    Ban,
}

impl Rule {
    /// All of them, in the order of their numbers.
    pub const ALL: [Rule; 5] = [Rule::None, Rule::Network, Rule::Country, Rule::Unknown, Rule::Ban];

    /// The value of the `rule` label.
    pub fn label(self) -> &'static str {
        match self {
            Rule::None => "none",
            Rule::Network => "network",
            Rule::Country => "country",
            Rule::Unknown => "unknown",
            Rule::Ban => "ban",
        }
    }
}

/// What the rules say of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judgement {
    /// What happens.
    pub verdict: Verdict,
    /// By which rule.
    pub rule: Rule,
    /// Its country, where that decided.
    pub country: Option<Country>,
}

impl Judgement {
    /// What is said where no rule is about an address.
    pub const SERVED: Judgement =
        Judgement { verdict: Verdict::Allow, rule: Rule::None, country: None };
}

/// A [`Judgement`] in sixteen bits, or what stands in a table in place of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Code(pub(super) u16);

/// Below stand the country, in ten bits, and the rule, in three.
const VERDICT_SHIFT: u32 = 13;

impl Code {
    /// Nothing is said here; what lies below shows through.
    pub(super) const NOTHING: Code = Code(u16::MAX);
    /// Look among the longer prefixes.
    pub(super) const DEEPER: Code = Code(u16::MAX - 1);
    /// Look at what the address stands for.
    pub(super) const STANDS_FOR: Code = Code(u16::MAX - 2);
    /// Served, and no rule says why.
    pub(super) const SERVED: Code = Code(0);

    pub(super) fn new(judgement: Judgement) -> Self {
        let country = judgement.country.map_or(0, |country| country.index() as u16 + 1);
        Self(country | (judgement.rule as u16) << 10 | (judgement.verdict as u16) << VERDICT_SHIFT)
    }

    /// Whether its judgement is that somebody gets nothing.
    #[inline]
    pub(super) fn is_denial(self) -> bool {
        self.0 >> VERDICT_SHIFT == Verdict::Deny as u16
    }

    pub(super) fn judgement(self) -> Judgement {
        let verdict = match self.0 >> VERDICT_SHIFT {
            0 => Verdict::Allow,
            1 => Verdict::Defer,
            _ => Verdict::Deny,
        };
        let country = usize::from(self.0 & 0x3ff).checked_sub(1).map(Country::at);
        Judgement { verdict, rule: Rule::ALL[usize::from(self.0 >> 10 & 7)], country }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_judgement_comes_back_from_its_code() {
        for code in [Code::NOTHING, Code::DEEPER, Code::STANDS_FOR, Code::SERVED] {
            assert!(!code.is_denial());
        }
        let countries = (0..Country::COUNT).map(|index| Some(Country::at(index)));
        for country in [None].into_iter().chain(countries) {
            for rule in Rule::ALL {
                for verdict in [Verdict::Allow, Verdict::Defer, Verdict::Deny] {
                    let judgement = Judgement { verdict, rule, country };
                    let code = Code::new(judgement);
                    assert_eq!(code.judgement(), judgement);
                    assert_eq!(code.is_denial(), verdict == Verdict::Deny);
                    assert!(code.0 < Code::STANDS_FOR.0);
                }
            }
        }
        assert_eq!(Code::SERVED.judgement(), Judgement::SERVED);
    }

    #[test]
    fn a_country_is_two_letters() {
        assert_eq!(Country::parse("cu"), Country::parse("CU"));
        assert_eq!(Country::parse("cu").unwrap().to_string(), "CU");
        for wrong in ["", "C", "CUB", "C1", "é", "C "] {
            assert_eq!(Country::parse(wrong), None, "{wrong}");
        }
        for index in 0..Country::COUNT {
            assert_eq!(Country::at(index).index(), index);
        }
    }
}
