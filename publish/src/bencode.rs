//! Bencoding (BEP 3), read and written.
//!
//! One [`Reader`] by two sets of rules: a `.torrent` file is read [strictly](Reader::strict), so that every program reads
//! the same from it; what peers and trackers say is taken [as they are known to say it](Value).

/// What is taken for bencoding.
#[derive(Clone, Copy, Debug)]
struct Rules {
    /// Numbers and lengths in their one canonical form, and no key twice.
    is_strict: bool,
    /// Lists and dictionaries in each other at most.
    depth_max: u32,
    /// Digits of a number or a length at most.
    digits_max: usize,
}

/// A file tree (BEP 52) is as deep as its paths; 20 digits are those of 2^64.
const STRICT: Rules = Rules { is_strict: true, depth_max: 128, digits_max: 20 };

/// What is said nests little; a number that is too large is still one.
const AS_SAID: Rules = Rules { is_strict: false, depth_max: 16, digits_max: 46 };

/// Keys of a dictionary that is not in order. In order there can be any number, as each is compared with one.
const UNSORTED_MAX: usize = 1024;

/// Why something is not read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// It is not bencoded (BEP 3).
    #[error("it is not bencoded at byte {at}; is it a .torrent file?")]
    Malformed {
        /// The first byte that cannot be what it is.
        at: usize,
    },
    /// It ends within something.
    #[error("it ends early, at byte {at}; is the file complete?")]
    Short {
        /// How long it is.
        at: usize,
    },
    /// Something comes behind its end.
    #[error("something comes behind its end, at byte {at}")]
    Behind {
        /// Where that begins.
        at: usize,
    },
    /// Lists and dictionaries are too deep in each other.
    #[error("it is deeper than {max} lists and dictionaries in each other, at byte {at}")]
    Deep {
        /// The depth that is taken.
        max: u32,
        /// Where one too many begins.
        at: usize,
    },
    /// A key is twice in one dictionary, so that programs read different things from it.
    #[error("the key {key:?} is twice in one dictionary, before byte {at}")]
    KeyTwice {
        /// The key, or its beginning.
        key: String,
        /// A place behind it.
        at: usize,
    },
    /// A dictionary has many keys and is not sorted.
    #[error("a dictionary has more than {max} keys and is not sorted, at byte {at}")]
    Unsorted {
        /// Keys that an unsorted one may have.
        max: usize,
        /// The key that is one too many.
        at: usize,
    },
    /// A value is of another type than its key says.
    #[error("{key} is not {wanted}, at byte {at}")]
    Type {
        /// Its key.
        key: &'static str,
        /// What it has to be.
        wanted: &'static str,
        /// Where it is.
        at: usize,
    },
}

/// A value that somebody said, as a part of the bytes it was read from: nothing is copied.
///
/// Lengths and ends are read strictly, nested at most 16 deep. What programs are known to do is let through: keys in any
/// order or twice, of which the first counts, bytes behind the end, and zeros before a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'b> {
    /// `i…e`; what is too large for 64 bits is the largest that fits.
    Integer(i64),
    /// `4:spam`
    Bytes(&'b [u8]),
    /// A list, with its first and last byte.
    List(&'b [u8]),
    /// A dictionary, with its first and last byte.
    Dictionary(&'b [u8]),
}

impl<'b> Value<'b> {
    /// The value that `bytes` begin with; none when it is cut, malformed or too deep.
    pub fn read(bytes: &'b [u8]) -> Option<Self> {
        Reader::of(bytes, AS_SAID).value().ok()
    }

    /// What stands under `key` in the dictionary that `bytes` begin with. They are read as far as that.
    pub fn find(bytes: &'b [u8], key: &str) -> Option<Self> {
        let mut reader = Reader::of(bytes, AS_SAID);
        reader.enter(b'd', "", "a dictionary").ok()?;
        while !reader.leaves().ok()? {
            let found = reader.string("a key").ok()?;
            let value = reader.value().ok()?;
            if found == key.as_bytes() {
                return Some(value);
            }
        }
        None
    }

    /// What stands under `key` in the dictionary that it is.
    pub fn get(self, key: &str) -> Option<Self> {
        if let Self::Dictionary(bytes) = self { Self::find(bytes, key) } else { None }
    }

    /// The values of the list that it is.
    pub fn items(self) -> impl Iterator<Item = Self> {
        let list = if let Self::List(bytes) = self { bytes } else { b"le" };
        let mut reader = Reader::of(list, AS_SAID);
        reader.at = 1;
        std::iter::from_fn(move || reader.value().ok())
    }

    /// The bytes that it is.
    pub fn bytes(self) -> Option<&'b [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The number that it is.
    pub fn integer(self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(integer) } else { None }
    }

    /// The number that it is, also where it is written as a string, as some trackers do.
    pub fn number(self) -> Option<i64> {
        match self {
            Self::Bytes(digits) => str::from_utf8(digits).ok()?.parse().ok(),
            other => other.integer(),
        }
    }
}

/// Reads bencoding from a place on, without a copy. What it does is bounded by the length of its bytes.
///
/// That keys are in order is not asked for. `key` in a call is what the value is of, for its error.
pub struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u32,
    rules: Rules,
}

impl<'b> Reader<'b> {
    /// Reads `bytes` from their beginning: numbers and lengths in their one canonical form, and no key twice.
    pub fn strict(bytes: &'b [u8]) -> Self {
        Self::of(bytes, STRICT)
    }

    fn of(bytes: &'b [u8], rules: Rules) -> Self {
        Self { bytes, at: 0, depth: 0, rules }
    }

    /// Where the next byte is.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Refuses what comes behind the last value.
    pub fn end(&self) -> Result<(), Error> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Error::Behind { at: self.at }) }
    }

    /// A string of bytes.
    pub fn string(&mut self, key: &'static str) -> Result<&'b [u8], Error> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Error::Type { key, wanted: "a string", at: self.at });
        }
        self.raw_string()
    }

    /// A string of UTF-8.
    pub fn text(&mut self, key: &'static str) -> Result<&'b str, Error> {
        let at = self.at;
        let bytes = self.string(key)?;
        str::from_utf8(bytes).map_err(|_| Error::Type { key, wanted: "UTF-8", at })
    }

    /// A number from 0 on.
    pub fn number(&mut self, key: &'static str) -> Result<u64, Error> {
        let at = self.at;
        let wrong = Error::Type { key, wanted: "a number from 0 to 2^63 - 1", at };
        if self.peek()? != b'i' {
            return Err(wrong);
        }
        let digits = self.raw_integer()?;
        let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.filter(|number| i64::try_from(*number).is_ok()).ok_or(wrong)
    }

    /// A list; `item` reads each of its values.
    pub fn list<E: From<Error>>(
        &mut self,
        key: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'l', key, "a list")?;
        while !self.leaves()? {
            item(self)?;
        }
        Ok(())
    }

    /// A dictionary; `entry` is given each key and reads its value.
    pub fn dictionary<E: From<Error>>(
        &mut self,
        key: &'static str,
        mut entry: impl FnMut(&'b [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.enter(b'd', key, "a dictionary")?;
        let mut keys = Keys::default();
        while !self.leaves()? {
            let at = self.at;
            let key = self.string("a key")?;
            if self.rules.is_strict {
                keys.add(key, at)?;
            }
            entry(key, self)?;
        }
        Ok(keys.end(self.at)?)
    }

    /// A value of any kind that nobody asks for.
    pub fn skip(&mut self) -> Result<(), Error> {
        match self.peek()? {
            b'i' => self.raw_integer().map(drop),
            b'l' => self.list("", Self::skip),
            b'd' => self.dictionary("", |_, reader| reader.skip()),
            b'0'..=b'9' => self.raw_string().map(drop),
            _ => Err(Error::Malformed { at: self.at }),
        }
    }

    /// A value of any kind, as somebody said it.
    fn value(&mut self) -> Result<Value<'b>, Error> {
        let (kind, from) = (self.peek()?, self.at);
        match kind {
            b'i' => self.raw_integer().map(nearest).map(Value::Integer),
            b'0'..=b'9' => self.raw_string().map(Value::Bytes),
            _ => {
                self.skip()?;
                let whole = &self.bytes[from..self.at];
                Ok(if kind == b'l' { Value::List(whole) } else { Value::Dictionary(whole) })
            }
        }
    }

    fn raw_string(&mut self) -> Result<&'b [u8], Error> {
        let at = self.at;
        let length: usize = self
            .digits(b':')
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
            .ok_or_else(|| self.broken(at))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(Error::Short { at: self.bytes.len() })?;
        let string = &self.bytes[self.at..end];
        self.at = end;
        Ok(string)
    }

    /// The digits of an integer, with its sign.
    fn raw_integer(&mut self) -> Result<&'b [u8], Error> {
        let from = self.at + 1;
        self.at = from;
        if self.bytes.get(from) == Some(&b'-') {
            self.at += 1;
        }
        let is_negative = self.at > from;
        match self.digits(b'e') {
            Some(b"0") if is_negative && self.rules.is_strict => Err(Error::Malformed { at: from }),
            Some(_) => Ok(&self.bytes[from..self.at - 1]),
            None => Err(self.broken(from)),
        }
    }

    /// Digits, strictly without a needless zero, and over what ends them.
    fn digits(&mut self, end: u8) -> Option<&'b [u8]> {
        let Rules { is_strict, digits_max, .. } = self.rules;
        let rest = self.bytes.get(self.at..)?;
        let count =
            rest.iter().take(digits_max + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &rest[..count];
        let is_padded = count > 1 && digits[0] == b'0';
        let is_broken = digits.is_empty() || count > digits_max || (is_strict && is_padded);
        if is_broken || rest.get(count) != Some(&end) {
            return None;
        }
        self.at += count + 1;
        Some(digits)
    }

    /// What is wrong with digits that begin at `from`.
    fn broken(&self, from: usize) -> Error {
        let is_all = self.bytes[from.min(self.bytes.len())..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if is_all && self.bytes.len() - from.min(self.bytes.len()) <= self.rules.digits_max {
            Error::Short { at: self.bytes.len() }
        } else {
            Error::Malformed { at: from }
        }
    }

    fn peek(&self) -> Result<u8, Error> {
        self.bytes.get(self.at).copied().ok_or(Error::Short { at: self.bytes.len() })
    }

    /// Goes into the list or dictionary that has to be here.
    fn enter(&mut self, kind: u8, key: &'static str, wanted: &'static str) -> Result<(), Error> {
        if self.peek()? != kind {
            return Err(Error::Type { key, wanted, at: self.at });
        }
        let max = self.rules.depth_max;
        if self.depth == max {
            return Err(Error::Deep { max, at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Whether a list or dictionary ends here; then it is behind it.
    fn leaves(&mut self) -> Result<bool, Error> {
        let leaves = self.peek()? == b'e';
        if leaves {
            self.depth -= 1;
            self.at += 1;
        }
        Ok(leaves)
    }
}

/// The number of these digits and their sign, or the nearest that fits.
fn nearest(digits: &[u8]) -> i64 {
    let too_large = if digits.starts_with(b"-") { i64::MIN } else { i64::MAX };
    str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(too_large)
}

/// The keys of a dictionary that were read, and whether one came twice.
#[derive(Default)]
struct Keys<'b> {
    last: Option<&'b [u8]>,
    first: Vec<&'b [u8]>,
    count: usize,
    is_unsorted: bool,
}

impl<'b> Keys<'b> {
    fn add(&mut self, key: &'b [u8], at: usize) -> Result<(), Error> {
        if self.last == Some(key) {
            return Err(twice(key, at));
        }
        self.is_unsorted |= self.last.is_some_and(|last| last > key);
        self.last = Some(key);
        self.count += 1;
        if self.count <= UNSORTED_MAX {
            self.first.push(key);
        } else if self.is_unsorted {
            return Err(Error::Unsorted { max: UNSORTED_MAX, at });
        }
        Ok(())
    }

    fn end(mut self, at: usize) -> Result<(), Error> {
        if self.is_unsorted {
            self.first.sort_unstable();
            if let Some(pair) = self.first.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(twice(pair[0], at));
            }
        }
        Ok(())
    }
}

fn twice(key: &[u8], at: usize) -> Error {
    Error::KeyTwice { key: String::from_utf8_lossy(&key[..key.len().min(64)]).into_owned(), at }
}

/// Appends a string.
pub fn write_string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend_from_slice(string.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(string);
}

/// Appends a number.
pub fn write_number(out: &mut Vec<u8>, number: u64) {
    out.push(b'i');
    out.extend_from_slice(number.to_string().as_bytes());
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let mut reader = Reader::strict(bytes);
        let said = match reader.skip().and_then(|()| reader.end()) {
            Ok(()) => "ok".to_owned(),
            Err(error) => format!("{error:?}"),
        };
        assert!(said.starts_with(expected), "{}: {said}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn what_is_canonical_is_read() {
        for good in [
            "i0e",
            "i-1e",
            "i42e",
            "0:",
            "3:abc",
            "le",
            "de",
            "d1:a1:be",
            "d1:b0:1:a0:e",
            "lli0eeldeee",
        ] {
            check(good.as_bytes(), "ok");
        }
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for bad in [
            "i-0e",
            "i00e",
            "i01e",
            "ie",
            "i-e",
            "i+1e",
            "01:a",
            "-1:a",
            "x",
            "e",
            "i123456789012345678901e",
        ] {
            check(bad.as_bytes(), "Malformed");
        }
        for short in ["", "i", "i1", "3:ab", "3", "l", "d", "d1:a", "99999999999999999999:a"] {
            let expected = if short.starts_with("9999") { "Malformed" } else { "Short" };
            check(short.as_bytes(), expected);
        }
        check(b"i1ei2e", "Behind");
        check(b"di1ei2ee", "Type");
        check(b"d1:a0:1:a0:e", "KeyTwice");
        check(b"d1:b0:1:a0:1:b0:e", "KeyTwice");
    }

    #[test]
    fn depth_and_disorder_are_bounded() {
        let deep = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
        check(&deep(STRICT.depth_max as usize), "ok");
        check(&deep(STRICT.depth_max as usize + 1), "Deep");
        check(&vec![b'l'; 1 << 20], "Deep");

        let keys = |numbers: &mut dyn Iterator<Item = usize>| {
            let entries: String = numbers.map(|number| format!("6:{number:06}0:")).collect();
            format!("d{entries}e").into_bytes()
        };
        check(&keys(&mut (0..100_000)), "ok");
        check(&keys(&mut (0..1000).rev()), "ok");
        check(&keys(&mut (0..2000).rev()), "Unsorted");
        check(&keys(&mut (0..1500).chain([7])), "Unsorted");
    }

    #[test]
    fn what_is_said_is_read_in_place() {
        let said = b"d1:ade1:bi-3e1:md11:ut_metadatai7ee4:name4:spam1:lli1e0:ee!";
        let value = Value::read(said).unwrap();
        assert_eq!(value.get("b").and_then(Value::integer), Some(-3));
        assert_eq!(value.get("name").and_then(Value::bytes), Some(&b"spam"[..]));
        assert_eq!(value.get("m").and_then(|m| m.get("ut_metadata")), Some(Value::Integer(7)));
        assert_eq!(value.get("none"), None);
        let items: Vec<_> = value.get("l").unwrap().items().collect();
        assert_eq!(items, [Value::Integer(1), Value::Bytes(b"")]);
        assert_eq!(value.items().count(), 0);
        assert_eq!(value, Value::Dictionary(&said[..said.len() - 1]));
        // Found before the place where it is cut, as the parts of metadata are behind a dictionary.
        assert_eq!(Value::find(b"d1:ai1e1:bi2", "a"), Some(Value::Integer(1)));
        assert_eq!(Value::find(b"d1:ai1e1:bi2", "b"), None);
        assert_eq!(Value::find(b"d1:ai1e1:ai2ee", "a"), Some(Value::Integer(1)));
    }

    #[test]
    fn a_number_that_is_said_may_be_padded_a_string_and_too_large() {
        let number = |said: &'static str| Value::read(said.as_bytes()).unwrap().number();
        assert_eq!(number("4:1800"), Some(1800));
        assert_eq!(number("i007e"), Some(7));
        assert_eq!(number("i-0e"), Some(0));
        assert_eq!(number("i99999999999999999999999e"), Some(i64::MAX));
        assert_eq!(number("i-99999999999999999999999e"), Some(i64::MIN));
        assert_eq!(Value::read(b"4:1800").unwrap().integer(), None);
        assert_eq!(Value::read(b"004:spam").unwrap().bytes(), Some(&b"spam"[..]));
    }

    #[test]
    fn what_is_said_and_cut_or_malformed_is_nothing() {
        let whole = b"d8:intervali1800e5:peers6:abcdef5:extrad1:ali1eeee";
        assert!(Value::read(whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Value::read(&whole[..end]), None, "{end}");
        }
        for bad in [
            "",
            "i--1e",
            "i1",
            "i12",
            "ie",
            "i1 e",
            "i+1e",
            "x",
            "-1:a",
            "+1:a",
            "99999999999:a",
            "4:abc",
            "di1ei2ee",
            "de1",
            "d1:ai1e",
            "d",
            "d1:a",
            "1",
            "e",
        ] {
            assert_eq!(Value::find(bad.as_bytes(), "zz"), None, "{bad}");
            if bad != "de1" {
                assert_eq!(Value::read(bad.as_bytes()), None, "{bad}");
            }
        }
        let deep = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
        assert!(Value::read(&deep(AS_SAID.depth_max as usize)).is_some());
        assert_eq!(Value::read(&deep(AS_SAID.depth_max as usize + 1)), None);
        assert_eq!(Value::read(&[b'l'; 100_000]), None);
    }
}
