//! Which request is which: method and path.

use super::answer::Failure;
use crate::wire::percent;

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// The description of the API.
    Describe,
    /// Users, by number.
    Users,
    /// A user.
    ShowUser,
    /// A user is like this.
    PutUser,
    /// A user is like this, and otherwise as before.
    PatchUser,
    /// A user may not announce.
    DisableUser,
    /// Where a user's clients are.
    ActiveOfUser,
    /// A user's announces and scrapes as they come.
    TraceUser,
    /// Groups of users.
    Groups,
    /// A group of users is like this.
    PutGroup,
    /// There is no such group.
    RemoveGroup,
    /// Registered torrents, or the one with a number.
    Torrents,
    /// A torrent.
    ShowTorrent,
    /// A torrent is registered.
    PutTorrent,
    /// A torrent is not registered.
    RemoveTorrent,
    /// Who is on a torrent.
    PeersOfTorrent,
    /// Tokens, of all users or of one.
    Tokens,
    /// A user has a token.
    PutToken,
    /// A user has no token.
    RemoveToken,
    /// All client rules.
    ClientRules,
    /// These clients are allowed, or refused.
    PutClientRule,
    /// There is no rule for these clients.
    RemoveClientRule,
    /// Many changes.
    Bulk,
    /// Banned networks.
    Bans,
    /// Networks are banned.
    PutBans,
    /// A network is not banned any more.
    RemoveBan,
    /// What is listened for.
    Services,
    /// A service is on, or off.
    PutService,
}

/// A page and a method that it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// `GET`, `PUT`, `PATCH`, `DELETE` or `POST`.
    pub method: &'static str,
    /// The path below `/api/v1/`; a part in braces stands for anything.
    pub path: &'static str,
    /// What it asks for.
    pub call: Call,
}

const fn route(method: &'static str, path: &'static str, call: Call) -> Route {
    Route { method, path, call }
}

/// All of them.
pub const ROUTES: [Route; 28] = [
    route("GET", "openapi.json", Call::Describe),
    route("GET", "users", Call::Users),
    route("GET", "users/{id}", Call::ShowUser),
    route("PUT", "users/{id}", Call::PutUser),
    route("PATCH", "users/{id}", Call::PatchUser),
    route("DELETE", "users/{id}", Call::DisableUser),
    route("GET", "users/{id}/active", Call::ActiveOfUser),
    route("GET", "users/{id}/trace", Call::TraceUser),
    route("GET", "groups", Call::Groups),
    route("PUT", "groups/{group}", Call::PutGroup),
    route("DELETE", "groups/{group}", Call::RemoveGroup),
    route("GET", "torrents", Call::Torrents),
    route("GET", "torrents/{info_hash}", Call::ShowTorrent),
    route("PUT", "torrents/{info_hash}", Call::PutTorrent),
    route("DELETE", "torrents/{info_hash}", Call::RemoveTorrent),
    route("GET", "torrents/{info_hash}/peers", Call::PeersOfTorrent),
    route("GET", "tokens", Call::Tokens),
    route("PUT", "tokens/{user}/{info_hash}", Call::PutToken),
    route("DELETE", "tokens/{user}/{info_hash}", Call::RemoveToken),
    route("GET", "client-rules", Call::ClientRules),
    route("PUT", "client-rules/{prefix}", Call::PutClientRule),
    route("DELETE", "client-rules/{prefix}", Call::RemoveClientRule),
    route("POST", "bulk", Call::Bulk),
    route("GET", "bans", Call::Bans),
    route("POST", "bans", Call::PutBans),
    route("DELETE", "bans/{network}", Call::RemoveBan),
    route("GET", "services", Call::Services),
    route("PUT", "services/{service}", Call::PutService),
];

/// The path that all others are below.
pub const BASE: &str = "/api/v1/";

/// Finds what is asked for, and what stands where its path has braces, percent-decoded.
///
/// # Errors
/// [`Failure::NoPage`], or [`Failure::Method`] where the page knows other methods.
pub fn find(method: &str, path: &str) -> Result<(Call, Vec<String>), Failure> {
    let below = path.strip_prefix(BASE).unwrap_or_default();
    let mut known = false;
    for route in &ROUTES {
        let Some(parts) = matched(route.path, below) else { continue };
        if route.method == method {
            return Ok((route.call, parts));
        }
        known = true;
    }
    let page = path.chars().take(PAGE_SHOWN).collect();
    Err(if known { Failure::Method(page) } else { Failure::NoPage(page) })
}

/// How much of a path is repeated in an answer.
const PAGE_SHOWN: usize = 100;

/// The methods that a path knows, as a header has them.
pub fn methods(path: &str) -> String {
    let below = path.strip_prefix(BASE).unwrap_or_default();
    let routes = ROUTES.iter().filter(|route| matched(route.path, below).is_some());
    routes.map(|route| route.method).collect::<Vec<_>>().join(", ")
}

fn matched(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut patterns, mut parts) = (pattern.split('/'), path.split('/'));
    let mut found = Vec::new();
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return Some(found),
            (Some(pattern), Some(part)) if pattern.starts_with('{') => {
                if part.is_empty() {
                    return None;
                }
                let decoded: Vec<u8> = percent::decoded(part.as_bytes()).collect();
                found.push(String::from_utf8(decoded).ok()?);
            }
            (Some(pattern), Some(part)) if pattern == part => {}
            _ => return None,
        }
    }
}

/// The last value of a parameter in a query, percent-decoded.
pub fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.rev().find(|(found, _)| *found == name)?;
    String::from_utf8(percent::decoded(value.as_bytes()).collect()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &str, path: &str, found: Result<(Call, &[&str]), u16>) {
        let found = found.map(|(call, parts)| {
            (call, parts.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>())
        });
        let what = find(method, path).map_err(|failure| failure.status().0);
        assert_eq!(what, found, "{method} {path}");
    }

    #[test]
    fn a_request_is_found_by_method_and_path() {
        check("GET", "/api/v1/users/5", Ok((Call::ShowUser, &["5"])));
        check("PUT", "/api/v1/tokens/5/ab", Ok((Call::PutToken, &["5", "ab"])));
        check("PUT", "/api/v1/client-rules/-qB4%2f", Ok((Call::PutClientRule, &["-qB4/"])));
        check("GET", "/api/v1/client-rules", Ok((Call::ClientRules, &[])));
        check("GET", "/api/v1/users/5/active", Ok((Call::ActiveOfUser, &["5"])));
        check("POST", "/api/v1/users/5", Err(405));
        for path in ["/api/v1/", "/api/v1", "/users/5", "/api/v1/users/", "/api/v1/users/5/", "/"] {
            check("GET", path, Err(404));
        }
        assert_eq!(methods("/api/v1/users/1"), "GET, PUT, PATCH, DELETE");
    }

    #[test]
    fn of_a_parameter_the_last_value_counts() {
        assert_eq!(parameter("a=1&b=x%20y&a=2", "a").as_deref(), Some("2"));
        assert_eq!(parameter("a=1&b=x%20y", "b").as_deref(), Some("x y"));
        assert_eq!((parameter("a", "a"), parameter("", "a")), (None, None));
    }
}
