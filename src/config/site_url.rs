//! Where the site is, for calls to it.

use std::fmt;

/// An address of plain HTTP.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SiteUrl {
    /// The name or address of the host; an IPv6 address without its brackets.
    pub host: String,
    /// 80 when it is not said.
    pub port: u16,
    /// The path before the page, without slashes at its ends; may be empty.
    pub path: String,
}

impl SiteUrl {
    /// Reads `http://HOST[:PORT][/PATH]`; without a user, a query or a fragment, as nobody would see
    /// them.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
            None if port.is_empty() => 80,
            None => return None,
        };
        let in_host = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        // Nothing that would end the line of the request, or its address.
        let in_path = |c: char| c.is_ascii_graphic() && !"?#".contains(c);
        let good = !host.is_empty() && host.chars().all(in_host) && path.chars().all(in_path);
        let (host, path) = (host.to_owned(), path.trim_matches('/').to_owned());
        good.then_some(Self { host, port, path })
    }

    /// The value of the `Host` header.
    pub fn host_header(&self) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        if self.port == 80 { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for SiteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/{}", self.host_header(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_written() {
        for (text, host, port, path, written) in [
            ("http://site.example", "site.example", 80, "", "http://site.example/"),
            ("http://site.example:80/", "site.example", 80, "", "http://site.example/"),
            ("http://10.0.0.5:8080/a/b/", "10.0.0.5", 8080, "a/b", "http://10.0.0.5:8080/a/b"),
            ("http://[::1]:81", "::1", 81, "", "http://[::1]:81/"),
            ("http://[fd00::1]/x", "fd00::1", 80, "x", "http://[fd00::1]/x"),
        ] {
            let url = SiteUrl::parse(text).unwrap();
            assert_eq!((url.host.as_str(), url.port, url.path.as_str()), (host, port, path));
            assert_eq!(url.to_string(), written);
        }
        for wrong in [
            "",
            "site.example",
            "https://site.example",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:b",
            "http://[::1",
            "http://[::1]x",
            "http://[a]/",
            "http://user@a",
            "http://a/?x",
            "http://a/b c",
            "http://a/\r\nX: y",
        ] {
            assert_eq!(SiteUrl::parse(wrong), None, "{wrong:?}");
        }
    }
}
