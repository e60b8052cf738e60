//! An HTTP client that writes the bytes it is told and reads the replies one by one.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};
use socket2::{Domain, Socket, Type};

use super::bencode::Value;
use super::{PATIENCE, endpoints, peer_id};

/// A connection.
pub(crate) struct Http {
    stream: Stream,
    read: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Tls(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes),
        }
    }
}

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    /// Status line and headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// The same from an address of this machine.
    pub(crate) fn connect_from(source: IpAddr, address: SocketAddr) -> Self {
        Self::on(stream_from(source, address))
    }

    /// The same with room for 64 KiB of what it has not read.
    pub(crate) fn connect_small(address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        Self::on(socket.into())
    }

    /// One over a connection that is there.
    pub(crate) fn on(stream: TcpStream) -> Self {
        Self::prepare(&stream);
        Self { stream: Stream::Plain(stream), read: Vec::new() }
    }

    pub(crate) fn prepare(stream: &TcpStream) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
    }

    /// One whose handshake is done.
    pub(crate) fn over_tls(stream: StreamOwned<ClientConnection, TcpStream>) -> Self {
        Self { stream: Stream::Tls(Box::new(stream)), read: Vec::new() }
    }

    /// Whether it was made with a ticket.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(&self.stream, Stream::Tls(stream) if super::tls::is_resumed(stream))
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The same where the other end may have closed already; how it went.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&self) {
        self.stream.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Waits until something has come, and leaves it there.
    pub(crate) fn await_bytes(&self) {
        assert_eq!(self.stream.socket().peek(&mut [0]).unwrap(), 1);
    }

    /// Asks for `target` as an HTTP/1.1 client does, and reads the reply.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Page {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: tracker\r\n\r\n"));
        self.page()
    }

    /// The next reply.
    #[track_caller]
    pub(crate) fn page(&mut self) -> Page {
        self.try_page(true).expect("the connection ended without a reply")
    }

    /// The next reply; `None` when the connection ends instead. A reply to HEAD has no body.
    #[track_caller]
    pub(crate) fn try_page(&mut self, body: bool) -> Option<Page> {
        let end = loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if !self.read_more() {
                let rest = self.read.escape_ascii();
                assert!(self.read.is_empty(), "the connection ended after {rest}");
                return None;
            }
        };
        let head: Vec<u8> = self.read.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let (line, _) = head.split_once("\r\n").unwrap();
        let status = line.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
        let mut page = Page { status, head, body: Vec::new() };
        let length: usize = page.header("content-length").unwrap().parse().unwrap();
        while body && self.read.len() < length {
            assert!(self.read_more(), "the connection ended within a body");
        }
        page.body.extend(self.read.drain(..if body { length } else { 0 }));
        Some(page)
    }

    /// The connection ends here in order: no more bytes, and no reset.
    #[track_caller]
    pub(crate) fn check_end(&mut self) {
        let more = self.try_page(true);
        assert_eq!(more, None, "the connection goes on");
    }

    /// Waits until the other end has closed, in whatever way.
    pub(crate) fn await_end(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the connection stays open: {error}"),
            }
        }
    }

    #[track_caller]
    fn read_more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let received = self.stream.read(&mut buffer).expect("the reply arrives");
        self.read.extend_from_slice(&buffer[..received]);
        received > 0
    }
}

impl Page {
    /// The value of a header, whose name is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "))
            .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
    }

    /// The dictionary that a BitTorrent client reads. Clients read it with status 200 only.
    #[track_caller]
    pub(crate) fn dictionary(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let value = Value::read(&self.body);
        value.entries();
        value
    }

    /// Why the tracker refuses.
    #[track_caller]
    pub(crate) fn failure(&self) -> String {
        let dictionary = self.dictionary();
        assert_eq!(dictionary.find("peers"), None, "peers with a failure");
        String::from_utf8(dictionary.text("failure reason").to_vec()).unwrap()
    }
}

/// A connection from an address of this machine.
pub(crate) fn stream_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// The reply to one request on a connection that ends with it.
#[track_caller]
pub(crate) fn fetch(tracker: SocketAddr, target: impl AsRef<[u8]>) -> Page {
    let mut client = Http::connect(tracker);
    let target = target.as_ref();
    client.send([b"GET ", target, b" HTTP/1.1\r\nConnection: close\r\n\r\n"].concat());
    let page = client.page();
    client.check_end();
    page
}

/// The answer to one announce or scrape, which must succeed.
#[track_caller]
pub(crate) fn answer(tracker: SocketAddr, target: impl AsRef<[u8]>) -> Value {
    let dictionary = fetch(tracker, target).dictionary();
    assert_eq!(dictionary.find("failure reason"), None, "{dictionary:?}");
    dictionary
}

/// A request for `target` without any headers.
pub(crate) fn bare(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n\r\n")
}

/// What an announce of the client that listens on `port` asks for; `more` is further parameters.
pub(crate) fn announce(info_hash: [u8; 20], port: u16, more: &str) -> String {
    let (info_hash, peer_id) = (escape(&info_hash), escape(&peer_id(port)));
    format!("/announce?info_hash={info_hash}&peer_id={peer_id}&port={port}{more}")
}

/// What a scrape asks for.
pub(crate) fn scrape(hashes: &[[u8; 20]]) -> String {
    let pairs: Vec<String> =
        hashes.iter().map(|hash| format!("info_hash={}", escape(hash))).collect();
    format!("/scrape?{}", pairs.join("&"))
}

/// Every byte as `%xx`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}

/// The peers of an announce's answer, both lists together.
#[track_caller]
pub(crate) fn peers(answer: &Value) -> BTreeSet<SocketAddr> {
    let mut peers = endpoints(answer.text("peers"), true);
    if answer.find("peers6").is_some() {
        peers.extend(endpoints(answer.text("peers6"), false));
    }
    peers
}

/// Seeders, leechers and downloads that an announce's answer or a torrent of a scrape names.
#[track_caller]
pub(crate) fn counts(answer: &Value) -> [i64; 3] {
    ["complete", "incomplete", "downloaded"].map(|key| answer.integer(key))
}

/// The same for one torrent, by a scrape.
#[track_caller]
pub(crate) fn scraped(tracker: SocketAddr, info_hash: [u8; 20]) -> [i64; 3] {
    counts(answer(tracker, scrape(&[info_hash])).get("files").get(info_hash))
}
