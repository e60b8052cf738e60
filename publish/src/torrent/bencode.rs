//! Bencoding (BEP 3), read strictly and written.

use super::TorrentError;

/// Lists and dictionaries in each other at most. A file tree (BEP 52) is as deep as its paths.
const DEPTH_MAX: u32 = 128;

/// Keys of a dictionary that is not in order. In order there can be any number, as each is compared with one.
const UNSORTED_MAX: usize = 1024;

/// Digits of a number at most: those of 2^64.
const DIGITS_MAX: usize = 20;

/// Reads bencoding from a place on, without a copy. What it does is bounded by the length of its bytes.
///
/// Numbers and lengths are taken in their one canonical form, and no key twice. That keys are in order is not asked
/// for. `key` in a call is what the value is of, for its error.
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    depth: u32,
}

impl<'b> Reader<'b> {
    /// Reads `bytes` from their beginning.
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// Where the next byte is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Refuses what comes behind the last value.
    pub(super) fn end(&self) -> Result<(), TorrentError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(TorrentError::Behind { at: self.at }) }
    }

    /// A string of bytes.
    pub(super) fn string(&mut self, key: &'static str) -> Result<&'b [u8], TorrentError> {
        if !self.peek()?.is_ascii_digit() {
            return Err(TorrentError::Type { key, wanted: "a string", at: self.at });
        }
        self.raw_string()
    }

    /// A string of UTF-8.
    pub(super) fn text(&mut self, key: &'static str) -> Result<&'b str, TorrentError> {
        let at = self.at;
        let bytes = self.string(key)?;
        str::from_utf8(bytes).map_err(|_| TorrentError::Type { key, wanted: "UTF-8", at })
    }

    /// A number from 0 on.
    pub(super) fn number(&mut self, key: &'static str) -> Result<u64, TorrentError> {
        let at = self.at;
        let wrong = TorrentError::Type { key, wanted: "a number from 0 to 2^63 - 1", at };
        if self.peek()? != b'i' {
            return Err(wrong);
        }
        let digits = self.raw_integer()?;
        let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        number.filter(|number| i64::try_from(*number).is_ok()).ok_or(wrong)
    }

    /// A list; `item` reads each of its values.
    pub(super) fn list(
        &mut self,
        key: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<(), TorrentError>,
    ) -> Result<(), TorrentError> {
        if self.peek()? != b'l' {
            return Err(TorrentError::Type { key, wanted: "a list", at: self.at });
        }
        self.enter()?;
        while self.peek()? != b'e' {
            item(self)?;
        }
        self.leave();
        Ok(())
    }

    /// A dictionary; `entry` is given each key and reads its value.
    pub(super) fn dictionary(
        &mut self,
        key: &'static str,
        mut entry: impl FnMut(&'b [u8], &mut Self) -> Result<(), TorrentError>,
    ) -> Result<(), TorrentError> {
        if self.peek()? != b'd' {
            return Err(TorrentError::Type { key, wanted: "a dictionary", at: self.at });
        }
        self.enter()?;
        let mut keys = Keys::default();
        while self.peek()? != b'e' {
            let at = self.at;
            let key = self.string("a key")?;
            keys.add(key, at)?;
            entry(key, self)?;
        }
        keys.end(self.at)?;
        self.leave();
        Ok(())
    }

    /// A value of any kind that nobody asks for.
    pub(super) fn skip(&mut self) -> Result<(), TorrentError> {
        match self.peek()? {
            b'i' => self.raw_integer().map(drop),
            b'l' => self.list("", Self::skip),
            b'd' => self.dictionary("", |_, reader| reader.skip()),
            b'0'..=b'9' => self.raw_string().map(drop),
            _ => Err(TorrentError::Malformed { at: self.at }),
        }
    }

    fn raw_string(&mut self) -> Result<&'b [u8], TorrentError> {
        let at = self.at;
        let length: usize = self
            .digits(b':')
            .and_then(|digits| str::from_utf8(digits).ok()?.parse().ok())
            .ok_or_else(|| self.broken(at))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(TorrentError::Short { at: self.bytes.len() })?;
        let string = &self.bytes[self.at..end];
        self.at = end;
        Ok(string)
    }

    /// The digits of an integer, with its sign.
    fn raw_integer(&mut self) -> Result<&'b [u8], TorrentError> {
        let from = self.at + 1;
        self.at = from;
        if self.bytes.get(from) == Some(&b'-') {
            self.at += 1;
        }
        let is_negative = self.at > from;
        match self.digits(b'e') {
            Some(b"0") if is_negative => Err(TorrentError::Malformed { at: from }),
            Some(_) => Ok(&self.bytes[from..self.at - 1]),
            None => Err(self.broken(from)),
        }
    }

    /// Digits without a needless zero, and over what ends them.
    fn digits(&mut self, end: u8) -> Option<&'b [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let count =
            rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &rest[..count];
        let is_canonical = !digits.is_empty() && (digits[0] != b'0' || count == 1);
        if count > DIGITS_MAX || !is_canonical || rest.get(count) != Some(&end) {
            return None;
        }
        self.at += count + 1;
        Some(digits)
    }

    /// What is wrong with digits that begin at `from`.
    fn broken(&self, from: usize) -> TorrentError {
        let is_all = self.bytes[from.min(self.bytes.len())..]
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'-');
        if is_all && self.bytes.len() - from.min(self.bytes.len()) <= DIGITS_MAX {
            TorrentError::Short { at: self.bytes.len() }
        } else {
            TorrentError::Malformed { at: from }
        }
    }

    fn peek(&self) -> Result<u8, TorrentError> {
        self.bytes.get(self.at).copied().ok_or(TorrentError::Short { at: self.bytes.len() })
    }

    fn enter(&mut self) -> Result<(), TorrentError> {
        if self.depth == DEPTH_MAX {
            return Err(TorrentError::Deep { max: DEPTH_MAX, at: self.at });
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }
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
    fn add(&mut self, key: &'b [u8], at: usize) -> Result<(), TorrentError> {
        if self.last == Some(key) {
            return Err(twice(key, at));
        }
        self.is_unsorted |= self.last.is_some_and(|last| last > key);
        self.last = Some(key);
        self.count += 1;
        if self.count <= UNSORTED_MAX {
            self.first.push(key);
        } else if self.is_unsorted {
            return Err(TorrentError::Unsorted { max: UNSORTED_MAX, at });
        }
        Ok(())
    }

    fn end(mut self, at: usize) -> Result<(), TorrentError> {
        if self.is_unsorted {
            self.first.sort_unstable();
            if let Some(pair) = self.first.windows(2).find(|pair| pair[0] == pair[1]) {
                return Err(twice(pair[0], at));
            }
        }
        Ok(())
    }
}

fn twice(key: &[u8], at: usize) -> TorrentError {
    TorrentError::KeyTwice {
        key: String::from_utf8_lossy(&key[..key.len().min(64)]).into_owned(),
        at,
    }
}

/// Appends a string.
pub(super) fn string(out: &mut Vec<u8>, string: &[u8]) {
    out.extend_from_slice(string.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(string);
}

/// Appends a number.
pub(super) fn number(out: &mut Vec<u8>, number: u64) {
    out.push(b'i');
    out.extend_from_slice(number.to_string().as_bytes());
    out.push(b'e');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        let mut reader = Reader::new(bytes);
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
        check(&deep(DEPTH_MAX as usize), "ok");
        check(&deep(DEPTH_MAX as usize + 1), "Deep");
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
}
