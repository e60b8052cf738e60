//! The tracker's calls to its site: which tokens are used up.

use std::fmt;

use memchr::memchr;
use shard::private::{TorrentId, UserId};

use crate::wire::percent;

/// The longest list of tokens in one request.
pub const TOKENS_CHARACTERS_MAX: usize = 350;

/// Where the site is.
#[derive(Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name, as it stands in the `Host` header, with the port where that is not 80.
    pub host: String,
    /// The path before `/tools.php`; may be empty.
    pub path: String,
    /// The password that the site has too. Not printed.
    pub password: String,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("host", &self.host)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The request that tells `site` of the first of `tokens`, and of how many: as many as fit
/// [`TOKENS_CHARACTERS_MAX`]. `None` when there are none. The request contains the password.
pub fn expire_tokens(site: &Site, tokens: &[(UserId, TorrentId)]) -> Option<(Vec<u8>, usize)> {
    let (list, told) = token_list(tokens);
    if told == 0 {
        return None;
    }
    let path = site.path.trim_matches('/');
    let mut request = b"GET ".to_vec();
    if !path.is_empty() {
        request.push(b'/');
        request.extend_from_slice(path.as_bytes());
    }
    request.extend_from_slice(b"/tools.php?key=");
    percent::encode(site.password.as_bytes(), &mut request);
    request.extend_from_slice(b"&type=expiretoken&action=ocelot&tokens=");
    request.extend_from_slice(list.as_bytes());
    request.extend_from_slice(b" HTTP/1.0\r\nHost: ");
    request.extend_from_slice(site.host.as_bytes());
    request.extend_from_slice(b"\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    Some((request, told))
}

/// Pairs `user:torrent` with commas between them, and how many there are.
fn token_list(tokens: &[(UserId, TorrentId)]) -> (String, usize) {
    let mut list = String::new();
    for (told, (user, torrent)) in tokens.iter().enumerate() {
        let before = list.len();
        if told > 0 {
            list.push(',');
        }
        list.push_str(&format!("{}:{}", user.0, torrent.0));
        if list.len() > TOKENS_CHARACTERS_MAX {
            list.truncate(before);
            return (list, told);
        }
    }
    (list, tokens.len())
}

/// The answer of a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SiteAnswer {
    /// Too little has come to tell.
    Partial,
    /// It is done: status 200.
    Done,
    /// Another status: it is to be told again, later.
    Refused(u16),
    /// No HTTP: the same.
    Malformed,
}

/// Reads the bytes of an answer so far; `ended` when no more will come. Only the first line counts.
pub fn site_answer(bytes: &[u8], ended: bool) -> SiteAnswer {
    let line = match memchr(b'\n', bytes) {
        Some(end) => &bytes[..end],
        None if ended || bytes.len() >= STATUS_LINE_BYTES_MAX => bytes,
        None => return SiteAnswer::Partial,
    };
    match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', a, b, c, rest @ ..]
            if [a, b, c].into_iter().all(u8::is_ascii_digit)
                && !rest.first().is_some_and(u8::is_ascii_digit) =>
        {
            match [a, b, c]
                .into_iter()
                .fold(0, |status, digit| 10 * status + u16::from(digit - b'0'))
            {
                200 => SiteAnswer::Done,
                status => SiteAnswer::Refused(status),
            }
        }
        _ => SiteAnswer::Malformed,
    }
}

/// A first line longer than this is none.
const STATUS_LINE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        Site { host: "site.example".into(), path: String::new(), password: "s3cret".into() }
    }

    #[track_caller]
    fn told(site: &Site, tokens: &[(u32, u32)]) -> (String, usize) {
        let tokens: Vec<_> = tokens.iter().map(|(u, t)| (UserId(*u), TorrentId(*t))).collect();
        let (request, told) = expire_tokens(site, &tokens).unwrap();
        (String::from_utf8(request).unwrap(), told)
    }

    #[test]
    fn ocelot_6_the_site_is_told_of_expired_tokens() {
        let (request, number) = told(&site(), &[(1, 2), (30, 4_294_967_295)]);
        assert_eq!(
            request,
            "GET /tools.php?key=s3cret&type=expiretoken&action=ocelot&tokens=1:2,30:4294967295 \
             HTTP/1.0\r\nHost: site.example\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(number, 2);
        assert_eq!(expire_tokens(&site(), &[]), None);
    }

    #[test]
    fn ocelot_6_a_path_and_an_odd_password_stay_what_they_are() {
        for path in ["gazelle/site", "/gazelle/site", "/gazelle/site/"] {
            let site = Site { path: path.into(), password: "a&b=c d+%".into(), ..site() };
            let (request, _) = told(&site, &[(1, 2)]);
            let start = "GET /gazelle/site/tools.php?key=a%26b%3Dc%20d%2B%25&type=expiretoken&";
            assert!(request.starts_with(start), "{request}");
        }
    }

    #[test]
    fn ocelot_6_a_list_is_cut_at_350_characters_and_nothing_is_left_out() {
        let tokens: Vec<_> = (0..1000).map(|n| (UserId(n * 7919), TorrentId(n * n))).collect();
        let (mut rest, mut all) = (&tokens[..], Vec::new());
        while let Some((request, told)) = expire_tokens(&site(), rest) {
            let request = String::from_utf8(request).unwrap();
            let list = request.split("tokens=").nth(1).unwrap().split(' ').next().unwrap();
            assert!(list.len() <= 350 && (list.len() > 350 - 22 || told == rest.len()), "{list}");
            all.extend(list.split(',').map(str::to_owned));
            rest = &rest[told..];
        }
        let expected: Vec<_> =
            tokens.iter().map(|(user, torrent)| format!("{}:{}", user.0, torrent.0)).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_site_never_prints_its_password() {
        assert!(!format!("{:?}", site()).contains("s3cret"));
    }

    #[test]
    fn ocelot_6_only_200_is_done() {
        for (answer, ended, says) in [
            ("HTTP/1.1 200 OK\r\n", false, SiteAnswer::Done),
            ("HTTP/1.0 200\r\n\r\nwhatever", false, SiteAnswer::Done),
            ("HTTP/1.1 200 OK", true, SiteAnswer::Done),
            ("HTTP/1.1 200", true, SiteAnswer::Done),
            ("HTTP/1.1 200 OK", false, SiteAnswer::Partial),
            ("", false, SiteAnswer::Partial),
            ("", true, SiteAnswer::Malformed),
            ("HTTP/1.1 403 Forbidden\r\n", false, SiteAnswer::Refused(403)),
            ("HTTP/1.1 302 Found\n", false, SiteAnswer::Refused(302)),
            ("HTTP/1.1 2000 OK\r\n", false, SiteAnswer::Malformed),
            ("HTTP/1.1 20 OK\r\n", false, SiteAnswer::Malformed),
            ("HTTP/2 200\r\n", false, SiteAnswer::Malformed),
            ("200 OK\r\n", false, SiteAnswer::Malformed),
            ("\r\nHTTP/1.1 200 OK\r\n", false, SiteAnswer::Malformed),
        ] {
            assert_eq!(site_answer(answer.as_bytes(), ended), says, "{answer:?}");
        }
        assert_eq!(site_answer(&[b'x'; 2000], false), SiteAnswer::Malformed);
    }
}
