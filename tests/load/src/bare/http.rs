//! The bare HTTP responders: the same reply to whatever ends with an empty line.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Answers one connection after the other until the process is ended: accept, read, write, close.
pub(crate) fn serve(listener: &TcpListener, reply: &[u8]) -> io::Result<()> {
    let mut buffer = [0; BUFFER_BYTES];
    loop {
        let (mut stream, _) = listener.accept()?;
        // A client that goes away is its own affair.
        let _ = answer(&mut stream, &mut buffer, reply);
    }
}

fn answer(stream: &mut TcpStream, buffer: &mut [u8], reply: &[u8]) -> io::Result<()> {
    let mut len = 0;
    while requests(&buffer[..len]) == 0 && len < buffer.len() {
        match stream.read(&mut buffer[len..])? {
            0 => return Ok(()),
            more => len += more,
        }
    }
    stream.write_all(reply)
}

/// Answers all connections at once and leaves them open: epoll, and a read and a write each time a
/// connection has something.
pub(crate) fn serve_kept(listener: &TcpListener, reply: &[u8]) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let (mut buffer, mut replies) = ([0; BUFFER_BYTES], Vec::new());
    loop {
        let mut events = [EpollEvent::empty(); 64];
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                accept_all(listener, &epoll, &mut streams)?;
                continue;
            }
            let slot = &mut streams[event.data() as usize];
            let Some(stream) = slot else { continue };
            if !answer_kept(stream, &mut buffer, reply, &mut replies) {
                *slot = None;
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    epoll: &Epoll,
    streams: &mut Vec<Option<TcpStream>>,
) -> io::Result<()> {
    while let Ok((stream, _)) = listener.accept() {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, streams.len() as u64))?;
        streams.push(Some(stream));
    }
    Ok(())
}

/// One read and one write; false at the end of the connection. A request that came in pieces counts
/// at its last one, as only that holds the empty line.
fn answer_kept(
    stream: &mut TcpStream,
    buffer: &mut [u8],
    reply: &[u8],
    replies: &mut Vec<u8>,
) -> bool {
    match stream.read(buffer) {
        Ok(0) => false,
        Ok(len) => {
            let sent = match requests(&buffer[..len]) {
                1 => stream.write_all(reply),
                several => {
                    replies.clear();
                    (0..several).for_each(|_| replies.extend_from_slice(reply));
                    stream.write_all(replies)
                }
            };
            sent.is_ok()
        }
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Requests that end in `bytes`.
pub(crate) fn requests(bytes: &[u8]) -> usize {
    bytes.windows(4).filter(|window| window == b"\r\n\r\n").count()
}

/// A good reply to an announce of about `len` bytes in all, or of the shortest possible.
pub(crate) fn reply(len: usize, connection: &str) -> Vec<u8> {
    let with_peers = |peers: usize| {
        let mut body = b"d8:completei10e10:incompletei10e8:intervali1800e5:peers".to_vec();
        let _ = write!(body, "{}:", peers * 6);
        body.extend(std::iter::repeat_n(b'p', peers * 6));
        body.push(b'e');
        let mut reply = Vec::new();
        let _ = write!(
            reply,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
             Connection: {connection}\r\n\r\n",
            body.len()
        );
        reply.extend(body);
        reply
    };
    let peers = len.saturating_sub(with_peers(0).len()) / 6;
    with_peers(peers)
}

const LISTENER: u64 = u64::MAX;

/// Room for what a client sends at a time.
pub(crate) const BUFFER_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::message::{Reply, read_reply};

    #[test]
    fn a_reply_is_good_and_of_about_the_length_asked_for() {
        for len in [200, 350, 1_000] {
            let bytes = reply(len, "close");
            assert!(bytes.len().abs_diff(len) < 8, "{} for {len}", bytes.len());
            assert!(
                matches!(read_reply(&bytes, false), Reply::Announce { len, .. } if len == bytes.len())
            );
        }
    }

    #[test]
    fn a_request_counts_at_its_empty_line() {
        assert_eq!(requests(b"GET / HTTP/1.1\r\n\r"), 0);
        assert_eq!(requests(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\nGET"), 2);
    }

    #[test]
    fn kept_connections_are_answered_as_often_as_they_ask() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"GET /\r\n\r\nGET /\r\n\r\n").unwrap();
        assert!(answer_kept(&mut server, &mut [0; 64], b"yes", &mut Vec::new()));
        let mut answers = [0; 6];
        client.read_exact(&mut answers).unwrap();
        assert_eq!(&answers, b"yesyes");
        drop(client);
        assert!(!answer_kept(&mut server, &mut [0; 64], b"yes", &mut Vec::new()));
    }
}
