//! Announces over HTTP.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use super::address::{Address, escape};
use super::answer::{Refusal, WAIT_MAX, read_http};
use super::names::{Family, Names, Only};
use super::schedule::Outcome;
use super::{Announce, Event, StartError};

/// Asks over HTTP; a connection is kept for those that come soon.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    clients: [Client; 2],
}

impl Http {
    /// A client for each family, as a tracker learns an address only from where it is asked.
    pub(crate) fn new(names: &Arc<Names>, per_host_max: usize) -> Result<Self, StartError> {
        let client = |family| {
            Client::builder()
                .user_agent(concat!("margay-publish/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(Only(family, Arc::clone(names))))
                .redirect(redirects())
                .referer(false)
                // A proxy would be the peer that the tracker sees.
                .no_proxy()
                .http1_only()
                .pool_max_idle_per_host(per_host_max)
                .connect_timeout(CONNECT_MAX)
                .timeout(ANSWER_MAX)
                .build()
                .map_err(StartError::Http)
        };
        Ok(Self { clients: [client(Family::V4)?, client(Family::V6)?] })
    }

    /// Announces once.
    pub(crate) async fn ask(
        &self,
        address: &Address,
        announce: &Announce,
        family: Family,
    ) -> Outcome {
        let url = address.with(&query(announce));
        let client = &self.clients[family as usize];
        match client.get(url).header(ACCEPT, "*/*").send().await {
            Ok(response) => read(response).await,
            Err(error) => unreachable(why(error)),
        }
    }
}

async fn read(mut response: Response) -> Outcome {
    let status = response.status();
    let told = (response.headers().get(RETRY_AFTER))
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX));
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_BYTES_MAX => {
                return refused("the answer is larger than 1 MiB".into(), None);
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(error) => return unreachable(why(error)),
        }
    }
    match read_http(&body) {
        Some(Ok(answer)) if status.is_success() => Outcome::Answered(answer),
        Some(Err(refusal)) if status.is_success() || status.is_client_error() => {
            Outcome::Refused(Refusal { wait: refusal.wait.max(told), ..refusal })
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Unreachable(Refusal { reason: format!("HTTP status {status}"), wait: told })
        }
        _ if status.is_success() => refused("the answer is not that of a tracker".into(), told),
        _ => refused(format!("HTTP status {status}"), told),
    }
}

/// The query of an announce (BEP 3, 7, 23).
fn query(announce: &Announce) -> String {
    let mut query = String::with_capacity(320);
    query.push_str("info_hash=");
    escape(&announce.info_hash.0, &mut query);
    query.push_str("&peer_id=");
    escape(&announce.peer_id, &mut query);
    let Announce { port, uploaded, downloaded, left, key, numwant, .. } = announce;
    query
        .push_str(&format!("&port={port}&uploaded={uploaded}&downloaded={downloaded}&left={left}"));
    query.push_str(&format!("&key={key:08X}&numwant={numwant}&compact=1&no_peer_id=1"));
    query.push_str(match announce.event {
        Event::None => "",
        Event::Started => "&event=started",
        Event::Completed => "&event=completed",
        Event::Stopped => "&event=stopped",
    });
    if let Some(tracker_id) = &announce.tracker_id {
        query.push_str("&trackerid=");
        escape(tracker_id, &mut query);
    }
    query
}

/// A redirect is followed within its scheme: a passkey shall not leave TLS, and a list of trackers that names the old
/// scheme says so at each announce.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let first = attempt.previous().first().map(|url| url.scheme().to_owned());
        if first.as_deref() != Some(attempt.url().scheme()) {
            return attempt
                .error("it sends on to another scheme: give its new address in the tracker's URL");
        }
        if attempt.previous().len() > REDIRECTS_MAX {
            attempt.error("it sends on and on")
        } else {
            attempt.follow()
        }
    })
}

fn unreachable(reason: String) -> Outcome {
    Outcome::Unreachable(Refusal { reason, wait: None })
}

fn refused(reason: String, wait: Option<Duration>) -> Outcome {
    Outcome::Refused(Refusal { reason, wait })
}

/// The innermost cause, without the URL.
fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return if error.is_connect() {
            "no connection in 10 s".into()
        } else {
            "no answer in 30 s".into()
        };
    }
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

const CONNECT_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(30);
const BODY_BYTES_MAX: usize = 1 << 20;
const REDIRECTS_MAX: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use shard::InfoHash;

    #[test]
    fn the_query_says_everything() {
        let announce = Announce {
            info_hash: InfoHash(*b"aaaaaaaaaaaaaaaaaa\x00\xff"),
            peer_id: *b"-MG0200-abcdefghijkl",
            port: 6881,
            key: 0xa1,
            event: Event::Completed,
            left: 1,
            uploaded: 3,
            downloaded: 2,
            numwant: 50,
            tracker_id: Some(Box::from(&b"x y"[..])),
        };
        assert_eq!(
            query(&announce),
            "info_hash=aaaaaaaaaaaaaaaaaa%00%FF&peer_id=-MG0200-abcdefghijkl&port=6881&uploaded=3&downloaded=2&left=1\
             &key=000000A1&numwant=50&compact=1&no_peer_id=1&event=completed&trackerid=x%20y"
        );
    }
}
