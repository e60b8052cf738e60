//! What a tracker answers to an announce, as values, and its form over HTTP (BEP 3, 7, 23, 24, 31).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::bencode::Value;

/// A tracker's answer that it has booked the announce.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Answer {
    /// The time to the next announce; none when it said none, or 0.
    pub interval: Option<Duration>,
    /// The least time to the next announce.
    pub min_interval: Option<Duration>,
    /// Seeders in the swarm.
    pub seeders: Option<u32>,
    /// Leechers in the swarm.
    pub leechers: Option<u32>,
    /// What it wants to be read by somebody.
    pub warning: Option<String>,
    /// To be said in the next announces (`trackerid`).
    pub tracker_id: Option<Box<[u8]>>,
    /// The address that it sees here (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// Peers that can be reached: each has a port and an address of one host.
    pub peers: Vec<SocketAddr>,
}

/// A tracker's answer that it has not.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Refusal {
    /// Its text.
    pub reason: String,
    /// When it wants to be asked again: the longest of `interval`, `min interval` and `retry in` (BEP 31).
    pub wait: Option<Duration>,
}

/// Reads an answer over HTTP. None when it is none.
pub fn read_http(body: &[u8]) -> Option<Result<Answer, Refusal>> {
    let said = Value::read(body)?;
    if !matches!(said, Value::Dictionary(_)) {
        return None;
    }
    let interval = seconds(said, "interval");
    let min_interval = seconds(said, "min interval");
    if let Some(reason) = said.get("failure reason") {
        let reason = text(reason.bytes().unwrap_or_default());
        let wait = interval.max(min_interval).max(retry_in(said));
        return Some(Err(Refusal { reason, wait }));
    }
    let mut peers = Vec::new();
    match said.get("peers") {
        Some(Value::Bytes(compact)) => compact_v4(compact, &mut peers),
        Some(list @ Value::List(_)) => listed(list, &mut peers),
        _ => {}
    }
    match said.get("peers6") {
        Some(Value::Bytes(compact)) => compact_v6(compact, &mut peers),
        Some(list @ Value::List(_)) => listed(list, &mut peers),
        _ => {}
    }
    // A page in bencoding that says nothing of all this is no answer.
    if said.get("peers").is_none()
        && said.get("peers6").is_none()
        && interval.is_none()
        && min_interval.is_none()
    {
        return None;
    }
    let count = |key| {
        said.get(key).and_then(Value::number).map(|count| count.clamp(0, u32::MAX.into()) as u32)
    };
    Some(Ok(Answer {
        interval,
        min_interval,
        seeders: count("complete"),
        leechers: count("incomplete"),
        warning: said
            .get("warning message")
            .and_then(Value::bytes)
            .map(text)
            .filter(|text| !text.is_empty()),
        tracker_id: (said.get("tracker id").and_then(Value::bytes))
            .filter(|id| id.len() <= TRACKER_ID_BYTES_MAX)
            .map(Box::from),
        external_ip: said.get("external ip").and_then(Value::bytes).and_then(address),
        peers,
    }))
}

/// Peers of six bytes each; what is left over at the end is passed over.
pub(super) fn compact_v4(compact: &[u8], peers: &mut Vec<SocketAddr>) {
    for peer in compact.as_chunks::<6>().0.iter().take(PEERS_MAX) {
        let [a, b, c, d, port @ ..] = *peer;
        add(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes(port), peers);
    }
}

/// Peers of eighteen bytes each (BEP 7).
pub(super) fn compact_v6(compact: &[u8], peers: &mut Vec<SocketAddr>) {
    for peer in compact.as_chunks::<18>().0.iter().take(PEERS_MAX) {
        let (address, port) = peer.split_first_chunk::<16>().expect("18 bytes");
        add(Ipv6Addr::from(*address).into(), u16::from_be_bytes([port[0], port[1]]), peers);
    }
}

fn listed(list: Value<'_>, peers: &mut Vec<SocketAddr>) {
    for peer in list.items().take(PEERS_MAX) {
        let ip = peer
            .get("ip")
            .and_then(Value::bytes)
            .and_then(|ip| std::str::from_utf8(ip).ok()?.parse().ok());
        let port =
            peer.get("port").and_then(Value::number).and_then(|port| u16::try_from(port).ok());
        if let (Some(ip), Some(port)) = (ip, port) {
            add(ip, port, peers);
        }
    }
}

/// Nobody is reached at port 0 or at an address of no single host.
fn add(ip: IpAddr, port: u16, peers: &mut Vec<SocketAddr>) {
    let ip = ip.to_canonical();
    let of_a_host =
        !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    if of_a_host && port != 0 {
        peers.push(SocketAddr::new(ip, port));
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => std::str::from_utf8(bytes).ok()?.parse().ok(),
    }
    .map(|address| address.to_canonical())
}

fn seconds(said: Value<'_>, key: &str) -> Option<Duration> {
    let seconds = said.get(key)?.number()?;
    (seconds > 0).then(|| Duration::from_secs(seconds as u64).min(WAIT_MAX))
}

/// BEP 31: minutes, or `never`.
fn retry_in(said: Value<'_>) -> Option<Duration> {
    let said = said.get("retry in")?;
    if said.bytes() == Some(b"never") {
        return Some(WAIT_MAX);
    }
    let minutes = said.number().filter(|minutes| *minutes > 0)?;
    Some(Duration::from_secs((minutes as u64).saturating_mul(60)).min(WAIT_MAX))
}

/// A text of the other side, for people: of one line, and cut.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Nobody is waited for longer.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Of one list; the rest is passed over.
const PEERS_MAX: usize = 2_000;
const TEXT_BYTES_MAX: usize = 300;
const TRACKER_ID_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn compact_peers_of_both_families() {
        let mut body =
            b"d8:completei3e10:incompletei4e8:intervali1800e12:min intervali900e5:peers7:".to_vec();
        body.extend([127, 0, 0, 1, 0x1a, 0xe1, 99]);
        body.extend(b"6:peers618:");
        body.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1a, 0xe2]);
        body.extend(b"11:external ip4:");
        body.extend([192, 0, 2, 9]);
        body.extend(b"15:warning message4:slow10:tracker id2:ide");
        let answer = read_http(&body).unwrap().unwrap();
        assert_eq!(
            answer,
            Answer {
                interval: Some(Duration::from_secs(1800)),
                min_interval: Some(Duration::from_secs(900)),
                seeders: Some(3),
                leechers: Some(4),
                warning: Some("slow".into()),
                tracker_id: Some(Box::from(&b"id"[..])),
                external_ip: Some("192.0.2.9".parse().unwrap()),
                peers: peers(&["127.0.0.1:6881", "[2001:db8::1]:6882"]),
            }
        );
    }

    #[test]
    fn listed_peers() {
        let body = b"d5:peersld2:ip9:127.0.0.17:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881eed2:ip3:::14:port4:6882e\
            d2:ip4:name4:porti1eed2:ip7:1.2.3.44:porti65536eed2:ip7:1.2.3.4eee";
        assert_eq!(
            read_http(body).unwrap().unwrap().peers,
            peers(&["127.0.0.1:6881", "[::1]:6882"])
        );
    }

    #[test]
    fn who_cannot_be_reached_is_left_out() {
        let mut all = Vec::new();
        compact_v4(
            &[0, 0, 0, 0, 1, 1, 224, 0, 0, 1, 1, 1, 255, 255, 255, 255, 1, 1, 1, 2, 3, 4, 0, 0],
            &mut all,
        );
        assert!(all.is_empty());
        let mut mapped = [0; 18];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 1, 2, 3, 4, 0, 80]);
        compact_v6(&mapped, &mut all);
        assert_eq!(all, peers(&["1.2.3.4:80"]));
    }

    #[test]
    fn a_failure_says_when_to_come_back() {
        let wait = |body: &str| read_http(body.as_bytes()).unwrap().unwrap_err();
        assert_eq!(
            wait("d14:failure reason4:a\nbce"),
            Refusal { reason: "a bc".into(), wait: None }
        );
        let both = "d14:failure reason1:x8:intervali45e12:min intervali50ee";
        assert_eq!(wait(both).wait, Some(Duration::from_secs(50)));
        assert_eq!(
            wait("d14:failure reason1:x8:retry in1:5e").wait,
            Some(Duration::from_secs(300))
        );
        assert_eq!(wait("d14:failure reason1:x8:retry in5:nevere").wait, Some(WAIT_MAX));
    }

    #[test]
    fn extremes_are_bounded_and_pages_are_no_answer() {
        let answer = read_http(b"d8:intervali9223372036854775807e12:min intervali0e5:peers0:e")
            .unwrap()
            .unwrap();
        assert_eq!((answer.interval, answer.min_interval), (Some(WAIT_MAX), None));
        let answer = read_http(b"d8:intervali-1e5:peers0:e").unwrap().unwrap();
        assert_eq!(answer.interval, None);
        for page in ["", "<html>", "le", "i1e", "de", "d5:filesdee"] {
            assert_eq!(read_http(page.as_bytes()), None, "{page}");
        }
    }
}
