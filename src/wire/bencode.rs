//! Canonical bencoding (BEP 3), written only: integers, byte strings, and dictionaries whose keys
//! come in bytewise order.

/// Appends `i…e`.
#[inline]
pub fn integer(out: &mut Vec<u8>, value: u64) {
    let mut text = [0; 22];
    text[21] = b'e';
    let at = digits_before(&mut text, 21, value) - 1;
    text[at] = b'i';
    out.extend_from_slice(&text[at..]);
}

/// Appends `<length>:<bytes>`.
#[inline]
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut length = [0; 21];
    length[20] = b':';
    let at = digits_before(&mut length, 20, bytes.len() as u64);
    out.extend_from_slice(&length[at..]);
    out.extend_from_slice(bytes);
}

/// Appends a dictionary; `entries` puts its pairs in, in the bytewise order of their keys.
#[inline]
pub fn dictionary(out: &mut Vec<u8>, entries: impl FnOnce(&mut Dictionary<'_>)) {
    out.push(b'd');
    let mut dictionary = Dictionary {
        out,
        #[cfg(debug_assertions)]
        last: None,
    };
    entries(&mut dictionary);
    out.push(b'e');
}

/// Appends a list; `items` appends its items one after the other.
#[inline]
pub fn list(out: &mut Vec<u8>, items: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'l');
    items(out);
    out.push(b'e');
}

/// The inside of a dictionary being written. In debug builds a key out of order or given twice
/// panics.
#[derive(Debug)]
pub struct Dictionary<'o> {
    out: &'o mut Vec<u8>,
    /// Where the last key lies in `out`.
    #[cfg(debug_assertions)]
    last: Option<std::ops::Range<usize>>,
}

impl Dictionary<'_> {
    /// Appends a key; the value has to be appended to what this returns.
    #[inline]
    pub fn key(&mut self, key: &[u8]) -> &mut Vec<u8> {
        string(self.out, key);
        #[cfg(debug_assertions)]
        {
            if let Some(last) = self.last.take() {
                debug_assert!(self.out[last] < *key, "dictionary keys out of order");
            }
            self.last = Some(self.out.len() - key.len()..self.out.len());
        }
        self.out
    }

    /// Appends a key with an integer.
    #[inline]
    pub fn integer(&mut self, key: &[u8], value: u64) {
        integer(self.key(key), value);
    }

    /// Appends a key with a byte string.
    #[inline]
    pub fn string(&mut self, key: &[u8], bytes: &[u8]) {
        string(self.key(key), bytes);
    }

    /// Appends a key with a dictionary.
    #[inline]
    pub fn dictionary(&mut self, key: &[u8], entries: impl FnOnce(&mut Dictionary<'_>)) {
        dictionary(self.key(key), entries);
    }
}

/// Appends `value` in decimal digits.
#[inline]
pub fn decimal(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0; 20];
    let at = digits_before(&mut digits, 20, value);
    out.extend_from_slice(&digits[at..]);
}

/// Puts the decimal digits of `value` where `end` ends them, and returns where they start. At most
/// 20 bytes.
#[inline]
fn digits_before<const N: usize>(text: &mut [u8; N], end: usize, mut value: u64) -> usize {
    let mut at = end;
    loop {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return at;
        }
    }
}

/// A strict reader, so that tests can say what was written and that it is canonical.
#[cfg(test)]
pub(crate) mod strict {
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) enum Value {
        Integer(i64),
        String(Vec<u8>),
        List(Vec<Value>),
        Dictionary(BTreeMap<Vec<u8>, Value>),
    }

    impl Value {
        #[track_caller]
        pub(crate) fn get(&self, key: &str) -> &Value {
            match self {
                Value::Dictionary(entries) => &entries[key.as_bytes()],
                other => panic!("{other:?} has no key {key}"),
            }
        }

        #[track_caller]
        pub(crate) fn keys(&self) -> Vec<String> {
            match self {
                Value::Dictionary(entries) => {
                    entries.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
                }
                other => panic!("{other:?} is no dictionary"),
            }
        }
    }

    /// Reads one canonical value that fills `bytes` to the last; panics with the reason otherwise.
    #[track_caller]
    pub(crate) fn read(bytes: &[u8]) -> Value {
        let mut rest = bytes;
        let value = value(&mut rest);
        assert!(rest.is_empty(), "{} bytes after the value", rest.len());
        value
    }

    fn value(rest: &mut &[u8]) -> Value {
        match rest.first().expect("a value") {
            b'i' => {
                let text = until(&mut &rest[1..], b'e');
                *rest = &rest[text.len() + 2..];
                Value::Integer(number(&text))
            }
            b'l' => {
                *rest = &rest[1..];
                let mut items = Vec::new();
                while rest.first() != Some(&b'e') {
                    items.push(value(rest));
                }
                *rest = &rest[1..];
                Value::List(items)
            }
            b'd' => {
                *rest = &rest[1..];
                let mut entries = BTreeMap::new();
                while rest.first() != Some(&b'e') {
                    let key = string(rest);
                    let last = entries.last_key_value().map(|(key, _): (&Vec<u8>, _)| key.clone());
                    assert!(last.is_none_or(|last| last < key), "keys out of order at {key:?}");
                    entries.insert(key, value(rest));
                }
                *rest = &rest[1..];
                Value::Dictionary(entries)
            }
            _ => Value::String(string(rest)),
        }
    }

    fn string(rest: &mut &[u8]) -> Vec<u8> {
        let text = until(&mut &rest[..], b':');
        let length = usize::try_from(number(&text)).expect("a length");
        let start = text.len() + 1;
        let bytes = rest[start..start + length].to_vec();
        *rest = &rest[start + length..];
        bytes
    }

    fn until(rest: &mut &[u8], end: u8) -> String {
        let at = rest.iter().position(|&byte| byte == end).expect("an end");
        String::from_utf8(rest[..at].to_vec()).expect("digits")
    }

    fn number(text: &str) -> i64 {
        let value: i64 = text.parse().expect("a number");
        assert_eq!(value.to_string(), text, "not canonical");
        value
    }
}

#[cfg(test)]
mod tests {
    use super::strict::{Value, read};
    use super::*;

    #[test]
    fn integers_and_strings() {
        for value in [0, 1, 9, 10, 99, 100, 12345, u64::from(u32::MAX), i64::MAX as u64] {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(out, format!("i{value}e").as_bytes());
            assert_eq!(read(&out), Value::Integer(value as i64));
        }
        let mut out = Vec::new();
        integer(&mut out, u64::MAX);
        assert_eq!(out, b"i18446744073709551615e");
        out.clear();
        string(&mut out, b"\0\xff:e");
        assert_eq!(out, b"4:\0\xff:e");
    }

    #[test]
    fn a2_nested_dictionaries_are_canonical() {
        let mut out = Vec::new();
        dictionary(&mut out, |outer| {
            outer.dictionary(b"files", |files| {
                files.integer(b"\x00b", 1);
                files.integer(b"\x00c", 2);
                files.string(b"\xff", b"");
            });
            list(outer.key(b"peers"), |items| {
                string(items, b"a");
                integer(items, 7);
            });
        });
        assert_eq!(out, b"d5:filesd2:\0bi1e2:\0ci2e1:\xff0:e5:peersl1:ai7eee");
        read(&out);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "out of order")]
    fn a2_keys_out_of_order_are_noticed() {
        dictionary(&mut Vec::new(), |entries| {
            entries.integer(b"interval", 1);
            entries.integer(b"incomplete", 1);
        });
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "out of order")]
    fn a2_a_key_given_twice_is_noticed() {
        dictionary(&mut Vec::new(), |entries| {
            entries.integer(b"interval", 1);
            entries.integer(b"interval", 1);
        });
    }
}
