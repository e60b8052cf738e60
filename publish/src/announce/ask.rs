//! One announce, over every family that the tracker's name has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout};

use super::address::{Address, Protocol};
use super::answer::{Answer, Refusal};
use super::http::Http;
use super::names::{Family, Names};
use super::schedule::Outcome;
use super::udp::Udp;
use super::{Announce, StartError};

/// Asks trackers.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    http: Http,
    udp: Udp,
    names: Arc<Names>,
    /// Families of hosts that led nowhere while the other did not.
    lost: Arc<Mutex<Lost>>,
}

/// Until when a family of a host is left out.
type Lost = HashMap<(Box<str>, Family), Instant>;

impl Asker {
    /// Sockets and clients, for so many announces at a time.
    pub(crate) async fn new(in_flight_max: usize) -> Result<Self, StartError> {
        let names = Arc::new(Names::default());
        let http = Http::new(&names, in_flight_max)?;
        Ok(Self { http, udp: Udp::new().await, names, lost: Arc::default() })
    }

    /// Announces over both families at once, as a tracker learns an address only from where it is asked. `found` gets the
    /// peers of the family that answers first, while the other one is waited for.
    pub(crate) async fn ask(
        &self,
        address: &Address,
        announce: &Announce,
        found: impl Fn(Vec<SocketAddr>),
    ) -> Outcome {
        let addresses = match self.names.addresses(&address.host).await {
            Ok(addresses) => addresses,
            Err(error) => {
                let reason = format!("the name {} is not found: {error}", address.host);
                return Outcome::Unreachable(Refusal { reason, wait: None });
            }
        };
        let mut families: Vec<Family> = Family::ALL
            .into_iter()
            .filter(|family| addresses.iter().any(|address| family.has(address)))
            .collect();
        if families.len() > 1 {
            let now = Instant::now();
            let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            let reached = |family: &Family| {
                lost.get(&(address.host.clone(), *family)).is_none_or(|until| *until <= now)
            };
            if families.iter().any(reached) {
                families.retain(reached);
            }
        }
        let asked = families.len();
        let of = families.clone();
        let mut answers: FuturesUnordered<_> = families
            .into_iter()
            .map(|family| {
                let of_family = addresses.iter().filter(|address| family.has(address)).copied();
                let to: Vec<SocketAddr> =
                    of_family.map(|ip| SocketAddr::new(ip, address.port)).collect();
                async move {
                    let outcome = match address.protocol {
                        Protocol::Http | Protocol::Https => {
                            self.http.ask(address, announce, family).await
                        }
                        Protocol::Udp => self.udp.ask(&to, address, announce, family).await,
                    };
                    (family, outcome)
                }
            })
            .collect();
        let mut best: Option<Outcome> = None;
        let (mut lost, mut heard) = (Vec::new(), Vec::new());
        loop {
            // Who answers over one family does not wait long for the other.
            let next = match &best {
                Some(Outcome::Answered(_)) => timeout(OTHER_MAX, answers.next()).await,
                _ => Ok(answers.next().await),
            };
            let Ok(next) = next else {
                lost.extend(of.iter().copied().filter(|family| !heard.contains(family)));
                break;
            };
            let Some((family, mut outcome)) = next else { break };
            heard.push(family);
            if let Outcome::Answered(answer) = &mut outcome {
                answer.peers.retain(|peer| peer.port() != announce.port || !is_own(peer.ip()));
            }
            match &mut outcome {
                Outcome::Answered(answer) if asked > 1 && best.is_none() => {
                    found(std::mem::take(&mut answer.peers))
                }
                Outcome::Unreachable(_) => lost.push(family),
                _ => {}
            }
            best = Some(match best {
                None => outcome,
                Some(before) => join(before, outcome),
            });
        }
        let best = best.unwrap_or(Outcome::GivenUp);
        match &best {
            Outcome::Unreachable(_) => {
                self.names.forget(&address.host);
                let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.retain(|(host, _), _| *host != address.host);
            }
            _ if !lost.is_empty() => self.lost(&address.host, &lost),
            _ => {}
        }
        best
    }

    /// A family that leads nowhere is left out for a while: else it would be waited for at each announce.
    fn lost(&self, host: &str, families: &[Family]) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.len() >= LOST_MAX {
            lost.clear();
        }
        for family in families {
            tracing::debug!(
                host,
                ?family,
                "a tracker is not reached over this family, but over the other"
            );
            lost.insert((host.into(), *family), Instant::now() + LOST);
        }
    }
}

/// Of two families the better: who answered before who refused before who was not reached. Of two answers, what both
/// allow and the peers of both.
fn join(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Answered(one), Outcome::Answered(other)) => {
            let mut peers = one.peers;
            peers.extend(other.peers);
            Outcome::Answered(Answer {
                interval: one.interval.max(other.interval),
                min_interval: one.min_interval.max(other.min_interval),
                // A tracker that counts a client once says the same over both; else it has two swarms.
                seeders: one.seeders.max(other.seeders),
                leechers: one.leechers.max(other.leechers),
                warning: one.warning.or(other.warning),
                tracker_id: one.tracker_id.or(other.tracker_id),
                external_ip: one.external_ip.or(other.external_ip),
                peers,
            })
        }
        (answered @ Outcome::Answered(_), _) | (_, answered @ Outcome::Answered(_)) => answered,
        (refused @ Outcome::Refused(_), _) | (_, refused @ Outcome::Refused(_)) => refused,
        (one, _) => one,
    }
}

/// Whether an address is one of this machine: some trackers tell a client itself. Only such addresses can be bound; of
/// those of loopback, which all can, the first one is meant.
fn is_own(address: IpAddr) -> bool {
    let is_other_loopback = address.is_loopback()
        && ![IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()].contains(&address);
    !is_other_loopback && std::net::UdpSocket::bind((address, 0)).is_ok()
}

const LOST: Duration = Duration::from_secs(1_800);
const LOST_MAX: usize = 1_024;
/// What an announce over IPv4 and IPv6 takes at most between their answers.
const OTHER_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, UdpSocket};

    use shard::InfoHash;

    use super::super::Event;
    use super::*;

    const HOST: &str = "both.example";

    async fn asker(addresses: &[&str]) -> Asker {
        let asker = Asker::new(1).await.unwrap();
        asker.names.know(HOST, addresses.iter().map(|address| address.parse().unwrap()).collect());
        asker
    }

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash([1; 20]),
            peer_id: *b"-MG0200-abcdefghijkl",
            port: 6881,
            key: 1,
            event: Event::Started,
            left: 1,
            uploaded: 0,
            downloaded: 0,
            numwant: 50,
            tracker_id: None,
        }
    }

    /// A port that is free in both families.
    fn both() -> (TcpListener, TcpListener, UdpSocket, UdpSocket, u16) {
        loop {
            let four = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = four.local_addr().unwrap().port();
            let six = TcpListener::bind(("::1", port));
            let udp = (UdpSocket::bind(("127.0.0.1", port)), UdpSocket::bind(("::1", port)));
            if let (Ok(six), (Ok(udp4), Ok(udp6))) = (six, udp) {
                return (four, six, udp4, udp6, port);
            }
        }
    }

    /// Answers one announce over HTTP.
    fn answer_http(listener: TcpListener, body: &'static [u8]) {
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.extend(byte);
            }
            write!(connection, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
                .unwrap();
            connection.write_all(body).unwrap();
        });
    }

    /// Answers a connect and an announce over UDP, with one peer.
    fn answer_udp(socket: UdpSocket, peer: Vec<u8>) {
        std::thread::spawn(move || {
            for action in [0, 1] {
                let mut sent = [0; 200];
                let (length, from) = socket.recv_from(&mut sent).unwrap();
                assert_eq!(length, [16, 98 + 11][usize::from(action)]);
                let begin = [&[0, 0, 0, action], &sent[12..16]].concat();
                let rest = if action == 0 {
                    vec![7; 8]
                } else {
                    [&[0, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 1], &peer[..]].concat()
                };
                socket.send_to(&[begin, rest].concat(), from).unwrap();
            }
        });
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn both_families_of_a_name_are_asked() {
        let asker = asker(&["127.0.0.1", "::1"]).await;
        let (four, six, udp4, udp6, port) = both();
        answer_http(four, b"d8:intervali1800e5:peers6:\x01\x02\x03\x04\x00\x01e");
        answer_http(six, b"d8:intervali2000e5:peers6:\x01\x02\x03\x04\x00\x02e");
        answer_udp(udp4, vec![1, 2, 3, 4, 0, 3]);
        answer_udp(udp6, [&[0x20, 1][..], &[0; 13], &[1, 0, 4]].concat());
        for (scheme, interval, ports) in [("http", 2_000, [1, 2]), ("udp", 1_800, [3, 4])] {
            let address = Address::parse(&format!("{scheme}://{HOST}:{port}/announce")).unwrap();
            let found = Mutex::new(Vec::new());
            let outcome =
                asker.ask(&address, &announce(), |peers| found.lock().unwrap().extend(peers)).await;
            let Outcome::Answered(answer) = outcome else { panic!("{outcome:?}") };
            assert_eq!(answer.interval, Some(Duration::from_secs(interval)));
            let mut found = found.into_inner().unwrap();
            assert_eq!((found.len(), answer.peers.len()), (1, 1));
            found.extend(answer.peers);
            let mut all: Vec<u16> = found.iter().map(SocketAddr::port).collect();
            all.sort_unstable();
            assert_eq!(all, ports);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_family_that_leads_nowhere_is_left_out_from_then_on() {
        let asker = asker(&["127.0.0.1", "::1"]).await;
        let (four, six, _, _, port) = both();
        drop(six);
        answer_http(four, b"d8:intervali1800e5:peers0:e");
        let address = Address::parse(&format!("http://{HOST}:{port}/announce")).unwrap();
        assert!(matches!(asker.ask(&address, &announce(), |_| ()).await, Outcome::Answered(_)));
        assert!(asker.lost.lock().unwrap().contains_key(&(HOST.into(), Family::V6)));
        // When the other one is gone as well, it was not only this family.
        assert!(matches!(asker.ask(&address, &announce(), |_| ()).await, Outcome::Unreachable(_)));
    }

    #[test]
    fn who_is_told_is_not_this_machine() {
        assert!(is_own([127, 0, 0, 1].into()) && is_own(Ipv6Addr::LOCALHOST.into()));
        assert!(!is_own([127, 0, 0, 2].into()) && !is_own([192, 0, 2, 1].into()));
    }
}
