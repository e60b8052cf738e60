//! Which page a path names.

use memchr::memchr;

use crate::wire::Key;

/// The target of a request. Leading, doubled and trailing slashes are overlooked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// `/announce`, `/announce.php`, `/<key>/announce` or `/announce/<key>`.
    Announce(Option<Key<'a>>),
    /// The same with `scrape` for `announce` (BEP 48).
    Scrape(Option<Key<'a>>),
    /// `/`.
    Root,
    /// Nothing that is here.
    Unknown,
}

#[derive(Clone, Copy)]
enum Verb {
    Announce,
    Scrape,
}

impl<'a> Target<'a> {
    /// The target of `path`, which has no query any more and may come without its first slash.
    #[inline]
    pub fn of(path: &'a [u8]) -> Self {
        if path == b"/announce" {
            return Target::Announce(None);
        }
        let (first, rest) = segment(path);
        let (second, rest) = segment(rest);
        let (last, _) = segment(rest);
        match (verb(first), verb(second)) {
            _ if first.is_empty() => Target::Root,
            _ if !last.is_empty() => Target::Unknown,
            (Some(verb), _) if second.is_empty() => verb.target(None),
            (_, Some(verb)) => verb.with_key(first),
            (Some(verb), None) => verb.with_key(second),
            (None, None) => Target::Unknown,
        }
    }

    /// The target of what a UDP announce carries as URL data (BEP 41): path, then maybe a query.
    pub fn of_url_data(url_data: &'a [u8]) -> Self {
        let end = memchr(b'?', url_data).unwrap_or(url_data.len());
        Target::of(&url_data[..end])
    }
}

impl Verb {
    fn target(self, key: Option<Key<'_>>) -> Target<'_> {
        match self {
            Verb::Announce => Target::Announce(key),
            Verb::Scrape => Target::Scrape(key),
        }
    }

    fn with_key(self, raw: &[u8]) -> Target<'_> {
        Key::new(raw).map_or(Target::Unknown, |key| self.target(Some(key)))
    }
}

fn verb(segment: &[u8]) -> Option<Verb> {
    match segment {
        b"announce" | b"announce.php" => Some(Verb::Announce),
        b"scrape" | b"scrape.php" => Some(Verb::Scrape),
        _ => None,
    }
}

/// The first segment of `path` that is not empty, and what comes after it.
fn segment(path: &[u8]) -> (&[u8], &[u8]) {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let path = &path[start..];
    path.split_at(memchr(b'/', path).unwrap_or(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let key = |key: Option<Key<'_>>| match key {
            Some(key) => format!(" {}", str::from_utf8(key.bytes()).unwrap()),
            None => String::new(),
        };
        let found = match Target::of(path.as_bytes()) {
            Target::Announce(k) => format!("announce{}", key(k)),
            Target::Scrape(k) => format!("scrape{}", key(k)),
            Target::Root => "root".to_owned(),
            Target::Unknown => "unknown".to_owned(),
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn a31_paths_of_an_announce() {
        check("/announce", "announce");
        check("/announce/", "announce");
        check("//announce", "announce");
        check("announce", "announce");
        check("/announce.php", "announce");
        check("/0123abcd/announce", "announce 0123abcd");
        check("/announce/0123abcd", "announce 0123abcd");
        check("/0123abcd/announce.php", "announce 0123abcd");
        check("/announce.php/0123abcd/", "announce 0123abcd");
        check("/announce/announce", "announce announce");
    }

    #[test]
    fn b3_scrape_takes_the_place_of_announce_and_the_key_stays() {
        check("/scrape", "scrape");
        check("/scrape.php", "scrape");
        check("/0123abcd/scrape", "scrape 0123abcd");
        check("/scrape/0123abcd", "scrape 0123abcd");
    }

    #[test]
    fn a31_a_key_has_1_to_64_bytes() {
        let longest = "k".repeat(64);
        check(&format!("/{longest}/announce"), &format!("announce {longest}"));
        check(&format!("/announce/{longest}"), &format!("announce {longest}"));
        check(&format!("/{longest}k/announce"), "unknown");
        check(&format!("/announce/{longest}k"), "unknown");
    }

    #[test]
    fn other_pages() {
        check("/", "root");
        check("", "root");
        check("///", "root");
        for path in
            ["/announcer", "/Announce", "/favicon.ico", "/a/b", "/a/b/announce", "/announce/a/b"]
        {
            check(path, "unknown");
        }
        check("/\0/announce", "announce \0");
    }

    #[test]
    fn c12_url_data_may_carry_a_query() {
        let key = Target::Announce(Key::new(b"0123abcd"));
        assert_eq!(Target::of_url_data(b"/0123abcd/announce"), key);
        assert_eq!(Target::of_url_data(b"/announce/0123abcd?x=/y"), key);
        assert_eq!(Target::of_url_data(b"/announce?a=b"), Target::Announce(None));
        assert_eq!(Target::of_url_data(b""), Target::Root);
    }

    #[test]
    fn a32_a_target_never_prints_its_key() {
        assert!(!format!("{:?}", Target::of(b"/secret/announce")).contains("secret"));
    }
}
