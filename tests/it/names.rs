//! A name server of a test's own, that says the countries of addresses.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

/// How a name server answers.
#[allow(dead_code, reason = "the tracker's tests use all")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    /// With the country of who is in one.
    Well,
    /// Not at all.
    Silent,
    /// That it cannot (SERVFAIL).
    Failing,
    /// With bytes that are no answer.
    Garbage,
    /// With a text that names another network.
    Lying,
}

/// A name server on loopback, for as long as the test runs. 5.0.0.0/8 and 2a00::/16 are in CU, 1.0.0.0/8 in US.
pub(crate) struct Names {
    at: SocketAddr,
    how: Arc<Mutex<How>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = socket.local_addr().unwrap();
        let (how, asked) = (Arc::new(Mutex::new(How::Well)), Arc::new(Mutex::new(Vec::new())));
        let names = Self { at, how: how.clone(), asked: asked.clone() };
        thread::spawn(move || {
            let mut bytes = [0; 1500];
            loop {
                let Ok((len, from)) = socket.recv_from(&mut bytes) else { return };
                let how = *how.lock().unwrap();
                if let Some(answer) = answer(&bytes[..len], how, &asked) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        names
    }

    pub(crate) fn be(&self, how: How) {
        *self.how.lock().unwrap() = how;
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Where it is asked.
    #[allow(dead_code, reason = "the publisher's tests use it")]
    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// Has the countries of addresses asked here, and refuses CU.
    pub(crate) fn options(&self) -> String {
        format!(
            "--screen-dns-server {} --screen-dns-zone v4.test --screen-dns-zone-v6 v6.test --screen-dns-field 3 \
             --screen-deny-country CU",
            self.at
        )
    }
}

/// Answers a question (RFC 1035, 4).
fn answer(question: &[u8], how: How, asked: &Mutex<Vec<String>>) -> Option<Vec<u8>> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let end = at + 5;
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let zone = labels.split_off(labels.len() - 2).join(".");
    labels.reverse();
    asked.lock().unwrap().push(format!("{} {zone}", labels.join(".")));
    let country =
        match (zone.as_str(), labels[0].as_str(), labels.get(1).map_or("", String::as_str)) {
            ("v4.test" | "num.test", "5", _) | ("v6.test", "2", "a") => Some("CU"),
            ("v4.test" | "num.test", "1", _) => Some("US"),
            _ => None,
        };
    let network = match zone.as_str() {
        "v4.test" => format!("{}.{}.0.0/16", labels[0], labels[1]),
        _ => "2a00:1::/32".to_owned(),
    };
    let (code, data) = match (how, country) {
        (How::Silent, _) => return None,
        (How::Garbage, _) => return Some(question[..2].repeat(20)),
        (How::Failing, _) => (2, None),
        (How::Lying, _) => (0, Some(text("7 | 203.0.113.0/24 | US | x"))),
        (How::Well, None) => (3, None),
        (How::Well, Some(country)) if kind == 1 => {
            (0, Some(vec![127, 0, 0, if country == "CU" { 192 } else { 56 }]))
        }
        (How::Well, Some(country)) => (0, Some(text(&format!("7 8 | {network} | {country} | x")))),
    };
    let mut answer =
        [&question[..2], &[0x81, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]]
            .concat();
    answer.extend(&question[12..end]);
    if let Some(data) = data {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 14, 16]);
        answer.extend((data.len() as u16).to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}
