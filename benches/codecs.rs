//! What one request costs in the codecs: nanoseconds per parse and per encode, beside a naive
//! version that does the same work with owned strings and maps.
//!
//! Workload: an announce of libtorrent's shape with five headers, its query with twelve pairs and an
//! infohash of which a third is bare; replies with 50 peers; a scrape of ten. Infohashes are seeded and
//! differ from call to call, so that no branch learns one by heart. A number here changes a decision
//! when a whole HTTP announce, parsed and answered, takes more than 1 µs: a tenth of what its system
//! calls take.
//!
//! `cargo bench --bench codecs`

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Instant;

use margay::core::connection_id::ConnectionIds;
use margay::wire::http::{self, Announced, Framing, Parsed, Persistence, Target};
use margay::wire::private::{self, Asked, ClientRules, Dialect};
use margay::wire::{percent, query, udp};
use shard::private::{ClientPrefix, PeerId};
use shard::{Counts, InfoHash, Reply, Seconds};

fn main() {
    let hashes: Vec<[u8; 20]> = {
        let mut random = fastrand::Rng::with_seed(1);
        (0..REQUESTS).map(|_| std::array::from_fn(|_| random.u8(..))).collect()
    };
    let escaped: Vec<Vec<u8>> = hashes.iter().map(|hash| encoded(hash)).collect();
    let requests: Vec<Vec<u8>> = escaped.iter().map(|hash| request(hash)).collect();
    let queries: Vec<Vec<u8>> =
        requests.iter().map(|request| complete(request).query.to_vec()).collect();
    let datagrams: Vec<Vec<u8>> = hashes.iter().map(|hash| datagram(hash)).collect();
    let scrapes: Vec<Vec<u8>> = escaped.chunks(10).map(scrape).collect();

    for (at, hash) in hashes.iter().enumerate() {
        let announce = query::parse_announce(&queries[at]).expect("a well-formed query");
        assert_eq!(announce.info_hash.0, *hash);
        assert_eq!(naive::parse(&requests[at]).0, *hash);
    }

    println!("{:<44} {:>8} {:>8}", "ns per call, fastest round", "margay", "naive");
    let none: Option<fn(usize) -> usize> = None;

    row(
        "percent: infohash",
        |at| decoded(&escaped[at])[0].into(),
        Some(|at: usize| naive::decode(&escaped[at])[0].into()),
    );
    row("http: head of an announce", |at| complete(&requests[at]).query.len(), none);
    row(
        "http: query of an announce",
        |at| parsed(&queries[at]).numwant.asked().is_some().into(),
        none,
    );
    row(
        "http: head, target and query",
        |at| {
            let head = complete(&requests[at]);
            assert!(matches!(head.target(), Target::Announce(None)));
            usize::from(parsed(head.query).info_hash.0[0])
        },
        Some(|at: usize| naive::parse(&requests[at]).0[0].into()),
    );
    row(
        "http: query of an announce, and client tag",
        |at| parsed(&queries[at]).client().bits() as usize,
        none,
    );
    let mut found = Vec::new();
    row(
        "http: query of a scrape of ten",
        |at| {
            query::parse_scrape(&scrapes[at % scrapes.len()], &mut found).expect("ten hashes");
            found.len()
        },
        none,
    );

    let reply = reply(50);
    let mut out = Vec::new();
    row(
        "http: announce reply, 50 peers",
        |at| {
            out.clear();
            http::write_announce(&mut out, KEEP, &announced(&reply, at));
            out.len()
        },
        Some(|at: usize| naive::announce_reply(&reply, at).len()),
    );
    let mut files: Vec<_> =
        hashes.iter().take(10).map(|hash| (InfoHash(*hash), Some(reply.counts))).collect();
    row(
        "http: scrape reply of ten",
        |_| {
            out.clear();
            http::write_scrape(&mut out, KEEP, &mut files, Seconds(900));
            out.len()
        },
        None::<fn(usize) -> usize>,
    );

    let requests: Vec<Vec<u8>> = escaped.iter().map(|hash| private_request(hash)).collect();
    let prefixes: Vec<Vec<u8>> = prefixes(300);
    let rules = ClientRules::new(
        prefixes.iter().map(|prefix| (ClientPrefix::new(prefix).expect("a prefix"), true)),
    );
    let peer_ids: Vec<PeerId> = (0..REQUESTS).map(|at| peer_id(&prefixes, at)).collect();
    row(
        "private: head, target, passkey, query, client",
        |at| {
            let head = complete(&requests[at]);
            let private::Target::Announce(key) = private::Target::of(&head, requests[at].len())
            else {
                panic!("no announce");
            };
            let asked = Asked::parse(head.query, Dialect::Ocelot).expect("a well-formed query");
            let passkey = asked.passkey(key).expect("a passkey");
            let peer_id = asked.client(&rules).expect("a client that is allowed");
            passkey.reveal().len() + usize::from(peer_id.0[0]) + asked.left as usize
        },
        none,
    );
    row(
        "private: one of 300 client rules",
        |at| rules.allowed(&peer_ids[at]).into(),
        Some(|at: usize| prefixes.iter().any(|start| peer_ids[at].0.starts_with(start)).into()),
    );

    row("udp: announce", |at| udp_parsed(&datagrams[at]), none);
    row(
        "udp: announce reply, 50 peers",
        |at| {
            out.clear();
            let transaction = udp::Transaction((at as u32).to_be_bytes());
            udp::write_announce(
                &mut out,
                transaction,
                Seconds(1800),
                reply.counts,
                &reply.peers_v4,
            );
            out.len()
        },
        none,
    );

    let ids = ConnectionIds::new(&[7; 32], Seconds(0));
    let now = Seconds(1_700_000_000);
    let v4 = |at: usize| IpAddr::from(hashes[at].first_chunk::<4>().copied().expect("20 bytes"));
    let v6 = |at: usize| IpAddr::from(hashes[at].first_chunk::<16>().copied().expect("20 bytes"));
    row("connection id: issue, IPv4", |at| ids.issue(v4(at), now) as usize, none);
    let issued: Vec<u64> = (0..REQUESTS).map(|at| ids.issue(v4(at), now)).collect();
    row("connection id: check, IPv4", |at| ids.check(issued[at], v4(at), now).into(), none);
    let issued: Vec<u64> = (0..REQUESTS).map(|at| ids.issue(v6(at), now)).collect();
    row("connection id: check, IPv6", |at| ids.check(issued[at], v6(at), now).into(), none);
}

const REQUESTS: usize = 4096;
const ROUNDS: usize = 101;
const KEEP: Framing = Framing { persistence: Persistence::Keep, head_only: false };

/// Prints one line: the time per call in the fastest round, each round over all requests. Whatever
/// else the machine does only ever adds to it.
fn row(name: &str, ours: impl FnMut(usize) -> usize, naive: Option<impl FnMut(usize) -> usize>) {
    let naive = naive.map_or("-".to_owned(), |naive| format!("{:.0}", nanoseconds(naive)));
    println!("{name:<44} {:>8.1} {naive:>8}", nanoseconds(ours));
}

fn nanoseconds(mut call: impl FnMut(usize) -> usize) -> f64 {
    (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for at in 0..REQUESTS {
                black_box(call(black_box(at)));
            }
            start.elapsed().as_nanos() as f64 / REQUESTS as f64
        })
        .fold(f64::INFINITY, f64::min)
}

fn encoded(hash: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    percent::encode(hash, &mut out);
    out
}

fn decoded(raw: &[u8]) -> [u8; 20] {
    percent::decode_exact(raw).expect("an infohash")
}

fn request(hash: &[u8]) -> Vec<u8> {
    let mut request = b"GET /announce?info_hash=".to_vec();
    request.extend_from_slice(hash);
    request.extend_from_slice(
        b"&peer_id=-qB5020-k(3~oN!x_P.a&port=6881&uploaded=1234567&downloaded=123456789\
          &left=123456789&corrupt=0&key=0B1C2D3E&event=started&numwant=200&compact=1&no_peer_id=1\
          &supportcrypto=1&redundant=0 HTTP/1.1\r\nHost: tracker.example:6969\r\n\
          User-Agent: qBittorrent/5.0.2\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\
          Accept: */*\r\n\r\n",
    );
    request
}

/// The same with a passkey in its path.
fn private_request(hash: &[u8]) -> Vec<u8> {
    let open = request(hash);
    [b"GET /0123456789abcdefghijklmnopqrstuv", &open[b"GET ".len()..]].concat()
}

/// Prefixes of 3 to 8 bytes as client programs have them, that of the requests first.
fn prefixes(count: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(2);
    let mut prefixes = vec![b"-qB5".to_vec()];
    while prefixes.len() < count {
        let mut prefix = vec![b'-'];
        prefix.extend((0..random.usize(2..8)).map(|_| random.alphanumeric() as u8));
        prefixes.push(prefix);
    }
    prefixes
}

/// A client that some rule fits, or none.
fn peer_id(prefixes: &[Vec<u8>], at: usize) -> PeerId {
    let mut id = [b'-'; 20];
    let prefix = &prefixes[at % prefixes.len()];
    id[..prefix.len()].copy_from_slice(prefix);
    id[8..].fill(b'x');
    PeerId(id)
}

fn scrape(hashes: &[Vec<u8>]) -> Vec<u8> {
    let pairs: Vec<_> = hashes.iter().map(|hash| [b"info_hash=", &hash[..]].concat()).collect();
    pairs.join(&b'&')
}

fn datagram(hash: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; 98];
    datagram[11] = 1;
    datagram[16..36].copy_from_slice(hash);
    datagram[36..56].copy_from_slice(b"-qB5020-k(3~oN!x_P.a");
    datagram[83] = 2;
    datagram.extend_from_slice(b"\x02\x09/announce");
    datagram
}

#[track_caller]
fn complete(request: &[u8]) -> http::Head<'_> {
    match http::parse_head(request, 0) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("{other:?}"),
    }
}

fn parsed(query: &[u8]) -> query::Announce<'_> {
    query::parse_announce(query).expect("a well-formed query")
}

fn udp_parsed(datagram: &[u8]) -> usize {
    match udp::parse(datagram) {
        Ok(udp::Request::Announce(announce)) => {
            usize::from(announce.info_hash.0[0]) + announce.left as usize
        }
        other => panic!("{other:?}"),
    }
}

fn reply(peers: usize) -> Reply {
    let counts = Counts { seeders: 123, leechers: 45, partial_seeds: 0, snatches: 6789 };
    Reply { counts, peers_v4: vec![7; peers * 6], peers_v6: Vec::new() }
}

fn announced(reply: &Reply, at: usize) -> Announced<'_> {
    let external_ip = Some(IpAddr::from((at as u32).to_be_bytes()));
    let (interval, interval_min) = (Seconds(1800 + at as u32 % 64), Seconds(900));
    Announced { reply, interval, interval_min, external_ip, compact: true, warning: None }
}

/// The same work written without a thought for its cost.
mod naive {
    use super::*;

    pub(super) fn parse(request: &[u8]) -> ([u8; 20], BTreeMap<String, Vec<u8>>) {
        let text: String = request.iter().map(|&byte| char::from(byte)).collect();
        let head = text.split("\r\n\r\n").next().expect("a head");
        let mut lines = head.split("\r\n");
        let line: Vec<String> =
            lines.next().expect("a line").split(' ').map(str::to_owned).collect();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        assert!(headers.contains_key("connection"));
        let (_, query) = line[1].split_once('?').expect("a query");
        let query: BTreeMap<String, Vec<u8>> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), decode(value.as_bytes())))
            .collect();
        (query["info_hash"][..].try_into().expect("20 bytes"), query)
    }

    pub(super) fn decode(raw: &[u8]) -> Vec<u8> {
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < raw.len() {
            if raw[at] == b'%' {
                let digits = str::from_utf8(&raw[at + 1..at + 3]).expect("digits");
                decoded.push(u8::from_str_radix(digits, 16).expect("digits"));
                at += 3;
            } else {
                decoded.push(raw[at]);
                at += 1;
            }
        }
        decoded
    }

    pub(super) fn announce_reply(reply: &Reply, at: usize) -> Vec<u8> {
        let Counts { seeders, leechers, snatches, .. } = reply.counts;
        let mut body =
            format!("d8:completei{seeders}e10:downloadedi{snatches}e11:external ip4:").into_bytes();
        body.extend_from_slice(&(at as u32).to_be_bytes());
        body.extend_from_slice(
            format!(
                "10:incompletei{leechers}e8:intervali{}e12:min intervali900e5:peers{}:",
                1800 + at % 64,
                reply.peers_v4.len()
            )
            .as_bytes(),
        );
        body.extend_from_slice(&reply.peers_v4);
        body.push(b'e');
        let mut out = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        out.append(&mut body);
        out
    }
}
