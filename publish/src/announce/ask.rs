//! One announce, over every family that the tracker's name has.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

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
    lost: Arc<Mutex<HashMap<(Box<str>, Family), Instant>>>,
}

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
        let mut lost = Vec::new();
        while let Some((family, mut outcome)) = answers.next().await {
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
            Outcome::Unreachable(_) => self.names.forget(&address.host),
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

const LOST: Duration = Duration::from_secs(1_800);
const LOST_MAX: usize = 1_024;
