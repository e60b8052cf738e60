//! Peers on their way to the engine: a tracker on loopback, for the engine alone.
//!
//! An engine that has a torrent takes no peers but from trackers. So its torrents have one, this one, which answers with
//! the peers that the announcer has found and those that were offered. It comes back after two seconds while something is
//! missing and nobody is connected, and else after fifteen.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use shard::InfoHash;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::Announcer;
use crate::screening::Screening;

/// The tracker of the engine. It ends when it is dropped.
#[derive(Debug)]
pub struct Bridge {
    url: String,
    offered: Offered,
    _server: AbortOnDropHandle<()>,
}

/// Peers by torrent, at most 200 of each; the latest last.
type Offered = Arc<Mutex<HashMap<InfoHash, Vec<SocketAddr>>>>;

#[derive(Clone)]
struct Known {
    announcer: Announcer,
    offered: Offered,
    screening: Screening,
}

impl Bridge {
    /// Listens at a port of 127.0.0.1 that the system chooses. Nobody is told whom the rules about addresses refuse.
    pub async fn start(announcer: Announcer, screening: Screening) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/announce", listener.local_addr()?);
        let offered = Offered::default();
        let known = Known { announcer, offered: Arc::clone(&offered), screening };
        let routes = Router::new().route("/announce", get(announce)).with_state(known);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes).await {
                tracing::error!("the engine gets no more peers: {error}; restart this program");
            }
        });
        Ok(Self { url, offered, _server: AbortOnDropHandle::new(server) })
    }

    /// The announce URL for the engine's torrents. A torrent has to be known, by the announcer or by an offer, before the
    /// engine has it: else the engine is refused, and comes back late.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Peers that somebody else told of, as a feed. An empty offer makes the torrent known.
    pub fn offer(&self, info_hash: InfoHash, peers: &[SocketAddr]) {
        let mut offered = self.offered.lock().unwrap_or_else(PoisonError::into_inner);
        let known = offered.entry(info_hash).or_default();
        known.retain(|peer| !peers.contains(peer));
        known.extend(peers);
        known.drain(..known.len().saturating_sub(PEERS_MAX));
    }

    /// Forgets what was offered of a torrent.
    pub fn withdraw(&self, info_hash: &InfoHash) {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).remove(info_hash);
    }
}

async fn announce(State(known): State<Known>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let body = match info_hash(query.as_deref().unwrap_or_default()) {
        Some(info_hash) => known.answer(&info_hash),
        None => failure("no infohash"),
    };
    ([(CONTENT_TYPE, "text/plain")], body)
}

impl Known {
    fn answer(&self, info_hash: &InfoHash) -> Vec<u8> {
        let offered =
            self.offered.lock().unwrap_or_else(PoisonError::into_inner).get(info_hash).cloned();
        let transfer = self.announcer.transfer(info_hash);
        if offered.is_none() && transfer.is_none() {
            return failure("not a torrent of this node");
        }
        let alone = transfer.is_none_or(|transfer| {
            transfer.left.load(Ordering::Relaxed) > 0
                && transfer.connected.load(Ordering::Relaxed) == 0
        });
        let mut peers = self.announcer.peers(info_hash);
        for peer in offered.unwrap_or_default() {
            if !peers.contains(&peer) {
                peers.push(peer);
            }
        }
        peers.retain(|peer| !self.screening.refuses_and_asks(peer.ip()));
        answer(if alone { SOON } else { LATER }, &peers)
    }
}

/// An answer in bencoding, with the keys in order (BEP 3, 7, 23).
fn answer(interval: Duration, peers: &[SocketAddr]) -> Vec<u8> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        match peer {
            SocketAddr::V4(peer) => {
                v4.extend(peer.ip().octets().into_iter().chain(peer.port().to_be_bytes()))
            }
            SocketAddr::V6(peer) => {
                v6.extend(peer.ip().octets().into_iter().chain(peer.port().to_be_bytes()))
            }
        }
    }
    let seconds = interval.as_secs();
    let mut body = format!("d8:intervali{seconds}e12:min intervali{seconds}e5:peers{}:", v4.len())
        .into_bytes();
    body.extend(v4);
    if !v6.is_empty() {
        body.extend(format!("6:peers6{}:", v6.len()).bytes());
        body.extend(v6);
    }
    body.push(b'e');
    body
}

fn failure(reason: &str) -> Vec<u8> {
    format!("d14:failure reason{}:{reason}e", reason.len()).into_bytes()
}

/// The infohash of a query, escaped as it may be.
fn info_hash(query: &str) -> Option<InfoHash> {
    let escaped = query.split('&').find_map(|pair| pair.strip_prefix("info_hash="))?.as_bytes();
    let mut bytes = Vec::with_capacity(20);
    let mut rest = escaped;
    while let [first, more @ ..] = rest {
        rest = more;
        let byte = match (first, more) {
            (b'%', [high, low, more @ ..]) => {
                rest = more;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                (digit(*high)? * 16 + digit(*low)?) as u8
            }
            (b'%', _) => return None,
            (byte, _) => *byte,
        };
        if bytes.len() == 20 {
            return None;
        }
        bytes.push(byte);
    }
    bytes.try_into().ok().map(InfoHash)
}

const SOON: Duration = Duration::from_secs(2);
const LATER: Duration = Duration::from_secs(15);
const PEERS_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::super::answer::read_http;
    use super::*;

    #[test]
    fn what_is_answered_can_be_read() {
        let peers: Vec<SocketAddr> =
            ["127.0.0.1:1", "[::1]:2"].map(|peer| peer.parse().unwrap()).into();
        let read = read_http(&answer(SOON, &peers)).unwrap().unwrap();
        assert_eq!((read.peers, read.interval, read.min_interval), (peers, Some(SOON), Some(SOON)));
        assert!(read_http(&answer(LATER, &[])).unwrap().unwrap().peers.is_empty());
        assert_eq!(read_http(&failure("no")).unwrap().unwrap_err().reason, "no");
    }

    #[test]
    fn an_infohash_is_twenty_bytes() {
        assert_eq!(
            info_hash("a=1&info_hash=aaaaaaaaaaaaaaaaaa%00%fF&b"),
            Some(InfoHash(*b"aaaaaaaaaaaaaaaaaa\x00\xff"))
        );
        for query in [
            "",
            "info_hash=",
            "info_hash=aaaaaaaaaaaaaaaaaaa",
            "info_hash=aaaaaaaaaaaaaaaaaaaaa",
            "info_hash=%0",
        ] {
            assert_eq!(info_hash(query), None, "{query}");
        }
        assert_eq!(info_hash("info_hash=aaaaaaaaaaaaaaaaaaa%zz"), None);
    }
}
