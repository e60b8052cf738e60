//! The little bencoding that peers say (BEP 3): read in place, nothing copied.

/// A value, as a part of the bytes it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// `i…e`
    Integer(i64),
    /// `4:spam`
    Text(&'a [u8]),
    /// A list or a dictionary, with its first and last byte.
    Nested(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The number that it is.
    pub fn integer(self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(integer) } else { None }
    }

    /// The bytes that it is.
    pub fn text(self) -> Option<&'a [u8]> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What `key` has in the dictionary that it is.
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        if let Self::Nested(bytes) = self { find(bytes, key) } else { None }
    }
}

/// The value at the beginning of `bytes`, and what comes behind it. Nothing is nested deeper than [`DEPTH_MAX`].
pub fn value(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match bytes.first()? {
        b'i' => {
            let end = bytes.iter().take(INTEGER_BYTES_MAX).position(|&byte| byte == b'e')?;
            let integer = str::from_utf8(&bytes[1..end]).ok()?.parse().ok()?;
            Some((Value::Integer(integer), &bytes[end + 1..]))
        }
        b'0'..=b'9' => text(bytes).map(|(text, rest)| (Value::Text(text), rest)),
        b'l' | b'd' => {
            let length = nested_length(bytes)?;
            Some((Value::Nested(&bytes[..length]), &bytes[length..]))
        }
        _ => None,
    }
}

/// What `key` has in the dictionary at the beginning of `bytes`.
pub fn find<'a>(bytes: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
    let mut rest = bytes.strip_prefix(b"d")?;
    while rest.first()? != &b'e' {
        let (found, behind) = text(rest)?;
        let (value, behind) = value(behind)?;
        if found == key {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// Writes `4:spam`.
pub fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(text);
}

/// Writes `i…e`.
pub fn write_integer(out: &mut Vec<u8>, integer: u64) {
    out.extend_from_slice(format!("i{integer}e").as_bytes());
}

fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().take(LENGTH_DIGITS_MAX + 1).position(|&byte| byte == b':')?;
    let digits = &bytes[..colon];
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = str::from_utf8(digits).ok()?.parse().ok()?;
    bytes[colon + 1..].split_at_checked(length)
}

/// The bytes of the list or dictionary that `bytes` begin with, without recursion.
fn nested_length(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let mut depth = 0_u32;
    loop {
        match rest.first()? {
            b'l' | b'd' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                rest = &rest[1..];
            }
            b'e' => {
                depth -= 1;
                rest = &rest[1..];
                if depth == 0 {
                    return Some(bytes.len() - rest.len());
                }
            }
            b'i' => {
                let end = rest.iter().take(INTEGER_BYTES_MAX).position(|&byte| byte == b'e')?;
                rest = &rest[end + 1..];
            }
            _ => rest = text(rest)?.1,
        }
    }
}

/// How deep lists and dictionaries may be nested.
const DEPTH_MAX: u32 = 16;
/// `i`, a sign, 19 digits and `e`.
const INTEGER_BYTES_MAX: usize = 22;
/// Digits of a length.
const LENGTH_DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_read_in_place() {
        let said = b"d1:ade1:bi-3e1:md11:ut_metadatai7ee4:name4:spame!";
        assert_eq!(find(said, b"b"), Some(Value::Integer(-3)));
        assert_eq!(find(said, b"name").and_then(Value::text), Some(&b"spam"[..]));
        assert_eq!(
            find(said, b"m").and_then(|m| m.get(b"ut_metadata")).and_then(Value::integer),
            Some(7)
        );
        assert_eq!(find(said, b"none"), None);
        assert_eq!(value(said).map(|(_, rest)| rest), Some(&b"!"[..]));
    }

    #[test]
    fn what_is_broken_or_too_deep_is_nothing() {
        for said in [
            &b""[..],
            b"d",
            b"d1:a",
            b"i12",
            b"ie",
            b"99999999999:a",
            b"4:abc",
            b"de1",
            b"x",
            b"d1:ai1e",
        ] {
            assert_eq!(find(said, b"zz"), None, "{said:?}");
        }
        let deep = [[b'l'; 17], [b'e'; 17]].concat();
        assert_eq!(value(&deep), None);
        assert!(value(&deep[1..33]).is_some());
    }
}
