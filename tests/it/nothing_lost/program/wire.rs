//! How clients and the site speak to a tracker that may be killed at any moment: what is not answered, or
//! not in time, was perhaps heard and perhaps not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::nothing_lost::client::{Client, Event, Report};
use crate::nothing_lost::site::Site;
use crate::tracker::http::escape;

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Taken,
    /// It is credited and gets no peers: its user has as many downloads as his group allows.
    Full,
    /// The tracker knows no such torrent.
    Refused,
    /// It knows no such user.
    Unknown,
    /// The site is to say it again.
    Again,
    /// Nobody knows.
    None,
}

/// How long a client waits. Too short does no harm: it says it again.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same over UDP where the tracker dies meanwhile: what it had in its queue nobody answers, and nobody
/// says so.
const PATIENCE_WITH_THE_DYING: Duration = Duration::from_millis(300);

/// A request that is on its way.
pub(super) enum Asked {
    Http(TcpStream),
    Udp(UdpSocket, Instant),
    Lost,
}

impl Asked {
    pub(super) fn http(tracker: SocketAddr, target: &str) -> Self {
        let ask = || {
            let mut stream = TcpStream::connect(tracker)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes())?;
            std::io::Result::Ok(stream)
        };
        ask().map_or(Self::Lost, Self::Http)
    }

    /// An announce over UDP (BEP 15, 41), whose connection id was asked for before.
    pub(super) fn udp(
        tracker: SocketAddr,
        dies: bool,
        site: &Site,
        client: &Client,
        report: &Report,
    ) -> Self {
        let until = Instant::now() + if dies { PATIENCE_WITH_THE_DYING } else { PATIENCE };
        let ask = || {
            let socket = UdpSocket::bind((super::home(tracker), 0))?;
            socket.connect(tracker)?;
            socket.set_read_timeout(left(until))?;
            let mut connect = 0x0417_2710_1980_u64.to_be_bytes().to_vec();
            connect.extend([0, 0, 0, 0, 7, 7, 7, 7]);
            socket.send(&connect)?;
            let mut reply = [0; 16];
            socket.recv(&mut reply)?;
            socket.send(&datagram(&reply[8..], site, client, report))?;
            std::io::Result::Ok((socket, until))
        };
        ask().map_or(Self::Lost, |(socket, until)| Self::Udp(socket, until))
    }

    /// Waits for the answer.
    pub(super) fn answer(self) -> Answer {
        let mut body = Vec::new();
        match self {
            Self::Lost => return Answer::None,
            Self::Http(mut stream) => {
                // What came before a reset counts only if it is whole: a body has its length.
                if stream.read_to_end(&mut body).is_err() || body.is_empty() {
                    return Answer::None;
                }
            }
            Self::Udp(socket, until) => {
                socket.set_read_timeout(left(until)).unwrap();
                let mut reply = [0; 2048];
                let Ok(bytes) = socket.recv(&mut reply) else { return Answer::None };
                match reply[..4] {
                    [0, 0, 0, 1] => return Answer::Taken,
                    _ => body.extend_from_slice(&reply[8..bytes]),
                }
            }
        }
        let text = String::from_utf8_lossy(&body);
        if text.contains("Unregistered torrent") {
            return Answer::Refused;
        }
        if text.contains("Passkey not found") {
            return Answer::Unknown;
        }
        if text.contains("leeching forbidden") {
            return Answer::Taken; // And credited.
        }
        if text.contains("Too many downloads at once") {
            return Answer::Full;
        }
        if text.contains("say it again") {
            return Answer::Again;
        }
        if text.contains("try again") || text.contains("temporarily unavailable") {
            return Answer::None;
        }
        assert!(text.contains("interval") || text.ends_with("success"), "{text}");
        assert!(!text.contains("failure reason"), "{text}");
        Answer::Taken
    }
}

/// What is left of its time; what is there already is read in any case.
fn left(until: Instant) -> Option<Duration> {
    Some(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)))
}

/// What a client asks for over HTTP.
pub(super) fn target(site: &Site, client: &Client, report: &Report) -> String {
    let event = match report.event {
        Event::None => "",
        Event::Started => "&event=started",
        Event::Completed => "&event=completed",
        Event::Stopped => "&event=stopped",
    };
    format!(
        "/{}/announce?info_hash={}&peer_id={}&key={:08x}&port={}&uploaded={}&downloaded={}&left={}\
         &compact=1{event}",
        site.passkey(client.user),
        escape(&site.torrents[client.torrent].info_hash),
        escape(&client.name.peer_id),
        client.name.key,
        client.port,
        report.up,
        report.down,
        report.left,
    )
}

fn datagram(connection_id: &[u8], site: &Site, client: &Client, report: &Report) -> Vec<u8> {
    let event: u32 = match report.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
    };
    let mut datagram = connection_id.to_vec();
    datagram.extend([0, 0, 0, 1, 9, 9, 9, 9]);
    datagram.extend(site.torrents[client.torrent].info_hash);
    datagram.extend(client.name.peer_id);
    for bytes in [report.down, report.left, report.up] {
        datagram.extend(bytes.to_be_bytes());
    }
    datagram.extend(event.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend(client.name.key.to_be_bytes());
    datagram.extend((-1_i32).to_be_bytes());
    datagram.extend(client.port.to_be_bytes());
    let url = format!("/{}/announce", site.passkey(client.user));
    datagram.extend([2, url.len() as u8]);
    datagram.extend(url.as_bytes());
    datagram
}
