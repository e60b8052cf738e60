//! Bencoding (BEP 3), read: what a tracker may say in it.
//!
//! Lengths and ends are read strictly. What trackers are known to do is let through: keys in any order, bytes behind the
//! end, and a number that is written as a string.

/// A bencoded value that borrows from what was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    /// `i…e`; what is too large for 64 bits is the largest that fits.
    Integer(i64),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A list.
    List(Vec<Value<'a>>),
    /// A dictionary, its pairs as they came.
    Dictionary(Vec<(&'a [u8], Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The value that `bytes` begin with. None when it is cut, malformed, nested deeper than eight or of more than 65,536
    /// parts.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { rest: bytes, parts: PARTS_MAX };
        reader.value(DEPTH_MAX)
    }

    /// What stands under `key` in a dictionary, the first time it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&Value<'a>> {
        match self {
            Value::Dictionary(pairs) => {
                pairs.iter().find(|(at, _)| *at == key.as_bytes()).map(|(_, value)| value)
            }
            _ => None,
        }
    }

    /// A byte string.
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A number, also where it is written as a string.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            Value::Bytes(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
            _ => None,
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    parts: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        self.parts = self.parts.checked_sub(1)?;
        match self.rest.first()? {
            b'i' => self.integer(),
            b'0'..=b'9' => self.bytes().map(Value::Bytes),
            b'l' => {
                let depth = depth.checked_sub(1)?;
                self.rest = &self.rest[1..];
                let mut items = Vec::new();
                while !self.ends()? {
                    items.push(self.value(depth)?);
                }
                Some(Value::List(items))
            }
            b'd' => {
                let depth = depth.checked_sub(1)?;
                self.rest = &self.rest[1..];
                let mut pairs = Vec::new();
                while !self.ends()? {
                    let key = self.bytes()?;
                    pairs.push((key, self.value(depth)?));
                }
                Some(Value::Dictionary(pairs))
            }
            _ => None,
        }
    }

    /// Whether a list or a dictionary ends here; its end is taken.
    fn ends(&mut self) -> Option<bool> {
        let ends = *self.rest.first()? == b'e';
        if ends {
            self.rest = &self.rest[1..];
        }
        Some(ends)
    }

    fn integer(&mut self) -> Option<Value<'a>> {
        let end = self.rest.iter().take(INTEGER_BYTES_MAX).position(|byte| *byte == b'e')?;
        let text = std::str::from_utf8(&self.rest[1..end]).ok()?;
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        self.rest = &self.rest[end + 1..];
        let too_large = if text.len() == digits.len() { i64::MAX } else { i64::MIN };
        Some(Value::Integer(text.parse().unwrap_or(too_large)))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let colon = self.rest.iter().take(LENGTH_BYTES_MAX).position(|byte| *byte == b':')?;
        let digits = &self.rest[..colon];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
        let (bytes, rest) = self.rest[colon + 1..].split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }
}

const DEPTH_MAX: usize = 8;
const PARTS_MAX: usize = 65_536;
const INTEGER_BYTES_MAX: usize = 48;
const LENGTH_BYTES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_what_stands_behind_them_is_passed_over() {
        let value = Value::read(b"d1:bi-7e1:a3:xyz1:lli1e0:ee trailing").unwrap();
        assert_eq!(value.get("b").and_then(Value::integer), Some(-7));
        assert_eq!(value.get("a").and_then(Value::bytes), Some(&b"xyz"[..]));
        assert_eq!(value.get("l"), Some(&Value::List(vec![Value::Integer(1), Value::Bytes(b"")])));
        assert_eq!(value.get("none"), None);
    }

    #[test]
    fn a_number_may_be_a_string_and_too_large() {
        assert_eq!(Value::read(b"4:1800").unwrap().integer(), Some(1800));
        assert_eq!(Value::read(b"i99999999999999999999999e").unwrap().integer(), Some(i64::MAX));
        assert_eq!(Value::read(b"i-99999999999999999999999e").unwrap().integer(), Some(i64::MIN));
    }

    #[test]
    fn what_is_cut_or_malformed_is_nothing() {
        let whole = b"d8:intervali1800e5:peers6:abcdef5:extrad1:ali1eeee";
        assert!(Value::read(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Value::read(&whole[..end]), None, "{end}");
        }
        for bad in [
            "",
            "i--1e",
            "i1",
            "ie",
            "i1 e",
            "x",
            "-1:a",
            "+1:a",
            "99999999999:a",
            "di1ei2ee",
            "1",
            "e",
        ] {
            assert_eq!(Value::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Value::read(&[b'l'; 100_000]), None);
        let many = [b"l".as_slice(), b"0:".repeat(PARTS_MAX).as_slice(), b"e"].concat();
        assert_eq!(Value::read(&many), None);
    }
}
