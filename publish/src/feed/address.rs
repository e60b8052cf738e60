//! The address of a feed: where it is, and whose it is.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::key::PublicKey;

/// A feed's address, `https://host/feed.xml#ed25519=KEY`.
///
/// Readers leave out what is behind `#` when they fetch it (RFC 3986, section 3.5), so one address is for both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedAddress {
    /// Where the feed is: `http` or `https`, without a fragment, with a file name at the end of its path.
    pub url: Url,
    /// Whose it is, where the address says it.
    pub key: Option<PublicKey>,
}

impl FeedAddress {
    /// The address of the list beside the feed: the extension of the last part of the path is `.list` instead.
    pub fn list_url(&self) -> Url {
        let mut url = self.url.clone();
        let path = self.url.path();
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = match name.rsplit_once('.') {
            Some((stem, _)) if !stem.is_empty() => stem,
            _ => name,
        };
        url.set_path(&format!("{folder}/{stem}.list"));
        url
    }
}

impl FromStr for FeedAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let mut url = Url::parse(text.trim())
            .map_err(|error| AddressError::Url { text: text.to_owned(), why: error.to_string() })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(AddressError::Scheme { text: text.to_owned() });
        }
        if url.path().ends_with('/') {
            return Err(AddressError::Folder { text: text.to_owned() });
        }
        let key = match url.fragment() {
            None | Some("") => None,
            Some(fragment) => Some(
                fragment
                    .strip_prefix("ed25519=")
                    .and_then(PublicKey::parse)
                    .ok_or_else(|| AddressError::Key { fragment: fragment.to_owned() })?,
            ),
        };
        url.set_fragment(None);
        Ok(Self { url, key })
    }
}

impl fmt::Display for FeedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.url, f)?;
        self.key.map_or(Ok(()), |key| write!(f, "#ed25519={key}"))
    }
}

/// Why a text is no feed's address.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AddressError {
    /// It is no URL.
    #[error("{text:?} is no URL ({why}); a feed's address is https://HOST/feed.xml#ed25519=KEY")]
    Url {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is neither HTTP nor HTTPS.
    #[error(
        "{text:?} is neither http:// nor https://; a feed's address is https://HOST/feed.xml#ed25519=KEY"
    )]
    Scheme {
        /// What was given.
        text: String,
    },
    /// It names no file.
    #[error(
        "{text:?} names a folder; give the feed's file as well: https://HOST/feed.xml#ed25519=KEY"
    )]
    Folder {
        /// What was given.
        text: String,
    },
    /// What is behind `#` is no key.
    #[error(
        "#{fragment} is no key; copy the address as the Master shows it, with #ed25519= and 43 characters at its end"
    )]
    Key {
        /// What was given.
        fragment: String,
    },
}

#[cfg(test)]
mod tests {
    use super::super::KeyPair;
    use super::*;

    #[test]
    fn an_address_is_read_and_written() {
        let key = KeyPair::from_seed(&[1; 32]).public();
        let text = format!("https://example.org/pub/feed.xml#ed25519={key}");
        let address: FeedAddress = text.parse().unwrap();
        assert_eq!(address.key, Some(key));
        assert_eq!(address.url.as_str(), "https://example.org/pub/feed.xml");
        assert_eq!(address.to_string(), text);
        assert_eq!(format!("{text}=").parse(), Ok(address));
        let without: FeedAddress = "http://[::1]:8080/feed.xml".parse().unwrap();
        assert_eq!(
            (without.key, without.to_string().as_str()),
            (None, "http://[::1]:8080/feed.xml")
        );
    }

    #[test]
    fn the_list_is_beside_the_feed() {
        for (feed, list) in [
            ("https://h/feed.xml", "https://h/feed.list"),
            ("https://h/a.b/feed", "https://h/a.b/feed.list"),
            ("https://h/a/all.new.rss?token=x#", "https://h/a/all.new.list?token=x"),
            ("https://h/.xml", "https://h/.xml.list"),
        ] {
            assert_eq!(feed.parse::<FeedAddress>().unwrap().list_url().as_str(), list);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_to_do() {
        for (wrong, says) in [
            ("", "is no URL"),
            ("feed.xml", "is no URL"),
            ("ftp://h/feed.xml", "neither http://"),
            ("https://h/", "names a folder"),
            ("https://h", "names a folder"),
            ("https://h/f.xml#ed25519=", "43 characters"),
            ("https://h/f.xml#top", "43 characters"),
        ] {
            let error = wrong.parse::<FeedAddress>().unwrap_err().to_string();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
