//! A strict reader of bencoding: what it takes is canonical, to the last byte.

use std::collections::BTreeMap;

/// A bencoded value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
    Dictionary(BTreeMap<Vec<u8>, Value>),
}

impl Value {
    /// Reads one value that fills `bytes`; panics with the reason where that is not so.
    #[track_caller]
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut reader = Reader { bytes, at: 0 };
        let value = reader.value();
        assert_eq!(reader.at, bytes.len(), "trailing bytes in {}", bytes.escape_ascii());
        value
    }

    /// The value of a key of a dictionary.
    pub(crate) fn find(&self, key: impl AsRef<[u8]>) -> Option<&Value> {
        match self {
            Value::Dictionary(entries) => entries.get(key.as_ref()),
            other => panic!("{other:?} is no dictionary"),
        }
    }

    /// The same where it must be there.
    #[track_caller]
    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> &Value {
        let found = self.find(&key);
        found.unwrap_or_else(|| panic!("no {} in {self:?}", key.as_ref().escape_ascii()))
    }

    /// The integer under a key.
    #[track_caller]
    pub(crate) fn integer(&self, key: &str) -> i64 {
        match self.get(key) {
            Value::Integer(value) => *value,
            other => panic!("{key} is {other:?}"),
        }
    }

    /// The byte string under a key.
    #[track_caller]
    pub(crate) fn text(&self, key: &str) -> &[u8] {
        match self.get(key) {
            Value::Text(value) => value,
            other => panic!("{key} is {other:?}"),
        }
    }

    /// The entries of a dictionary.
    #[track_caller]
    pub(crate) fn entries(&self) -> &BTreeMap<Vec<u8>, Value> {
        match self {
            Value::Dictionary(entries) => entries,
            other => panic!("{other:?} is no dictionary"),
        }
    }
}

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn value(&mut self) -> Value {
        match self.peek() {
            b'i' => {
                self.at += 1;
                Value::Integer(self.number(b'e'))
            }
            b'l' => {
                self.at += 1;
                let mut items = Vec::new();
                while !self.end() {
                    items.push(self.value());
                }
                Value::List(items)
            }
            b'd' => {
                self.at += 1;
                let mut entries = BTreeMap::<Vec<u8>, Value>::new();
                while !self.end() {
                    let key = self.text().to_vec();
                    if let Some((last, _)) = entries.last_key_value() {
                        assert!(*last < key, "{} is out of order", key.escape_ascii());
                    }
                    let value = self.value();
                    entries.insert(key, value);
                }
                Value::Dictionary(entries)
            }
            _ => Value::Text(self.text().to_vec()),
        }
    }

    fn peek(&self) -> u8 {
        let whole = self.bytes.escape_ascii();
        *self.bytes.get(self.at).unwrap_or_else(|| panic!("ends too early: {whole}"))
    }

    /// Whether an `e` is next, which is passed over.
    fn end(&mut self) -> bool {
        let end = self.peek() == b'e';
        self.at += usize::from(end);
        end
    }

    fn text(&mut self) -> &'b [u8] {
        let length = usize::try_from(self.number(b':')).expect("no length is negative");
        let start = self.at;
        self.at += length;
        self.bytes.get(start..self.at).expect("a string is as long as it says")
    }

    /// A number as it is written in one way only: no leading zeros, no `-0`, no `+`.
    fn number(&mut self, end: u8) -> i64 {
        let start = self.at;
        while self.peek() != end {
            self.at += 1;
        }
        let digits = str::from_utf8(&self.bytes[start..self.at]).unwrap();
        self.at += 1;
        let value: i64 = digits.parse().unwrap_or_else(|_| panic!("{digits:?} is no number"));
        assert_eq!(value.to_string(), digits, "a number is not canonical");
        value
    }
}

#[test]
fn the_reader_takes_canonical_values_only() {
    let value = Value::read(b"d1:ai-7e2:bbl0:i0eee");
    assert_eq!((value.integer("a"), value.entries().len()), (-7, 2));
    assert_eq!(*value.get("bb"), Value::List(vec![Value::Text(vec![]), Value::Integer(0)]));
    for wrong in [
        "i1e\n",
        "i01e",
        "i-0e",
        "i+1e",
        "ie",
        "i1",
        "2:a",
        "01:a",
        "-1:a",
        "d",
        "l",
        "di1ei2ee",
        "d1:bi1e1:ai1ee",
        "d1:ai1e1:ai1ee",
        "d1:ae",
        "",
        "x",
    ] {
        let read = std::panic::catch_unwind(|| Value::read(wrong.as_bytes()));
        assert!(read.is_err(), "{wrong} was taken as {read:?}");
    }
}
