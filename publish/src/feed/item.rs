//! What is published: one torrent in the feed.

use serde::{Deserialize, Serialize};
use shard::InfoHash;
use url::Url;

use super::list::{NAME_BYTES_MAX, SIZE_MAX, TITLE_BYTES_MAX, TORRENT_BYTES_MAX, URL_BYTES_MAX};

/// One torrent that a Master publishes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Item {
    /// Which torrent it is; in the list as 40 hex digits.
    #[serde(with = "hex")]
    pub info_hash: InfoHash,
    /// The name of the file or folder as it was uploaded, and of the torrent; unique in a list. One part of a path, at
    /// most [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// What readers see, see [`title`]. At most [`TITLE_BYTES_MAX`] bytes.
    pub title: String,
    /// The size of the content in bytes, 1 to [`SIZE_MAX`].
    pub size: u64,
    /// The number of files in it; at least 1.
    pub files: u64,
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// Where its `.torrent` file is: an absolute `http` or `https` URL that holds the infohash in its path.
    pub torrent_url: String,
    /// The size of that file in bytes, 1 to [`TORRENT_BYTES_MAX`].
    pub torrent_length: u64,
    /// SHA-256 of that file; in the list as 64 hex digits.
    #[serde(with = "hex")]
    pub torrent_sha256: [u8; 32],
}

/// What readers see of `name` that is published for the `count`th time: from the second on with the count behind it.
///
/// FlexGet does not fetch a title again that it has seen (measured, 3.22.8).
pub fn title(name: &str, count: u32) -> String {
    if count < 2 { name.to_owned() } else { format!("{name} ({count})") }
}

/// Whether `name` may be the name of a file in a folder, and of nothing else.
pub fn check_name(name: &str) -> Result<(), NameFault> {
    match name {
        "" => Err(NameFault::Empty),
        "." | ".." => Err(NameFault::Dots),
        _ if name.contains(['/', '\0']) => Err(NameFault::Path),
        _ if name.len() > NAME_BYTES_MAX => Err(NameFault::Long),
        _ => Ok(()),
    }
}

/// Why a text is not the name of a file in a folder.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameFault {
    /// It is empty.
    #[error("a name is empty")]
    Empty,
    /// It is `.` or `..`.
    #[error("a name is . or .., which would lead out of the data folder")]
    Dots,
    /// It has `/` or a zero byte in it.
    #[error("a name has a path in it (/ or a zero byte), which would lead out of the data folder")]
    Path,
    /// No file system has so long a name.
    #[error("a name is longer than {NAME_BYTES_MAX} bytes, more than a file system takes")]
    Long,
}

impl Item {
    /// What of it cannot be, in words.
    pub(super) fn fault(&self) -> Option<String> {
        if let Err(fault) = check_name(&self.name) {
            return Some(format!("{fault}: {}", excerpt(&self.name)));
        }
        let name = excerpt(&self.name);
        if self.title.is_empty() || self.title.len() > TITLE_BYTES_MAX {
            return Some(format!(
                "the title of {name} has {} bytes, not 1 to {TITLE_BYTES_MAX}",
                self.title.len()
            ));
        }
        if !(1..=SIZE_MAX).contains(&self.size) || self.files == 0 {
            return Some(format!(
                "{name} has {} bytes in {} files, which cannot be",
                self.size, self.files
            ));
        }
        if !(1..=TORRENT_BYTES_MAX).contains(&self.torrent_length) {
            return Some(format!(
                "the .torrent file of {name} has {} bytes, not 1 to {TORRENT_BYTES_MAX}",
                self.torrent_length
            ));
        }
        self.torrent_url_fault().map(|why| format!("the URL of the .torrent file of {name} {why}"))
    }

    fn torrent_url_fault(&self) -> Option<&'static str> {
        if self.torrent_url.len() > URL_BYTES_MAX {
            return Some("is too long");
        }
        match Url::parse(&self.torrent_url) {
            Err(_) => Some("is not absolute"),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                Some("is neither http nor https")
            }
            // Readers that go by URL would not fetch a file that is published anew.
            Ok(url) if !url.path().contains(&self.info_hash.to_string()) => {
                Some("does not hold the infohash")
            }
            Ok(_) => None,
        }
    }
}

/// The beginning of a text from outside, for a message.
pub(super) fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    format!("{short:?}")
}

/// Bytes as hex digits, of one length and lower case.
mod hex {
    use std::borrow::Cow;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use shard::InfoHash;

    pub(super) trait Bytes: Sized {
        fn bytes(&self) -> &[u8];
        fn from(bytes: &[u8]) -> Option<Self>;
    }

    impl<const N: usize> Bytes for [u8; N] {
        fn bytes(&self) -> &[u8] {
            self
        }
        fn from(bytes: &[u8]) -> Option<Self> {
            bytes.try_into().ok()
        }
    }

    impl Bytes for InfoHash {
        fn bytes(&self) -> &[u8] {
            &self.0
        }
        fn from(bytes: &[u8]) -> Option<Self> {
            bytes.try_into().ok().map(InfoHash)
        }
    }

    pub(super) fn serialize<T: Bytes, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let digits: String =
            value.bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect();
        serializer.serialize_str(&digits)
    }

    pub(super) fn deserialize<'de, T: Bytes, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes: Option<Vec<u8>> =
            pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect();
        bytes
            .filter(|_| rest.is_empty())
            .and_then(|bytes| T::from(&bytes))
            .ok_or_else(|| Error::custom("a hash is not so many hex digits, lower case"))
    }

    fn digit(value: u8) -> char {
        char::from(b"0123456789abcdef"[usize::from(value)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        for fine in [
            "a",
            "...",
            "a..b",
            " ",
            "-rf",
            "a\\b",
            "C:",
            "новый файл.iso",
            "a\nb",
            &"x".repeat(255),
        ] {
            assert_eq!(check_name(fine), Ok(()), "{fine}");
        }
        for (wrong, fault) in [
            ("", NameFault::Empty),
            (".", NameFault::Dots),
            ("..", NameFault::Dots),
            ("/etc/passwd", NameFault::Path),
            ("../a", NameFault::Path),
            ("a/", NameFault::Path),
            ("a\0b", NameFault::Path),
            (&"x".repeat(256), NameFault::Long),
        ] {
            assert_eq!(check_name(wrong), Err(fault), "{wrong}");
        }
    }

    #[test]
    fn what_is_published_anew_has_a_title_of_its_own() {
        assert_eq!(title("a.iso", 0), "a.iso");
        assert_eq!(title("a.iso", 1), "a.iso");
        assert_eq!(title("a.iso", 2), "a.iso (2)");
    }
}
