//! TLS on a connection, run to completion: bytes in, bytes out, no waiting.

use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig, ServerConnection};

use crate::net::stream;

/// TLS of one connection. It goes with it to another core.
#[derive(Debug)]
pub struct Session {
    tls: ServerConnection,
    /// Sealed, and not taken by the kernel yet.
    unsent: Vec<u8>,
    /// How the handshake ended has been told.
    is_told: bool,
    /// The client has been told that nothing more comes.
    is_over: bool,
    /// The client has said that nothing more comes.
    is_closed: bool,
}

/// How a handshake ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handshake {
    /// With the certificate's key.
    Full,
    /// With a ticket.
    Resumed,
}

impl Session {
    /// Before the handshake.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        let mut tls = ServerConnection::new(config)?;
        // What is answered is as large as it is; a client that does not read holds it until its deadline.
        tls.set_buffer_limit(None);
        let (unsent, is_told, is_over, is_closed) = (Vec::new(), false, false, false);
        Ok(Self { tls, unsent, is_told, is_over, is_closed })
    }

    /// Takes what has come, and appends to `plain` what it says. What is to be sent back waits for [`send`].
    ///
    /// # Errors
    /// When it is no TLS, or a kind that is not served; the reason is what is to be sent then, before the end.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        while !sealed.is_empty() {
            // Of a slice it takes what there is room for, and what it has is taken out below.
            let taken = self.tls.read_tls(&mut sealed).unwrap_or(0);
            let opened = self.tls.process_new_packets();
            let state = match opened {
                Ok(state) => state,
                Err(error) => {
                    self.collect();
                    return Err(error);
                }
            };
            let length = state.plaintext_bytes_to_read();
            if length > 0 {
                let at = plain.len();
                plain.resize(at + length, 0);
                self.tls
                    .reader()
                    .read_exact(&mut plain[at..])
                    .map_err(|error| rustls::Error::General(error.to_string()))?;
            }
            self.is_closed |= state.peer_has_closed();
            if taken == 0 || self.is_closed {
                break;
            }
        }
        self.collect();
        Ok(())
    }

    /// How the handshake ended; once, when it has.
    pub fn tell_handshake(&mut self) -> Option<Handshake> {
        if self.is_told || self.tls.is_handshaking() {
            return None;
        }
        self.is_told = true;
        match self.tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => Some(Handshake::Resumed),
            _ => Some(Handshake::Full),
        }
    }

    /// Whether the client has said that nothing more comes.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether something waits to be sent.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Seals an answer, and with `last` that nothing more comes (RFC 8446, section 6.1).
    pub fn seal(&mut self, plain: &[u8], last: bool) {
        if !plain.is_empty() {
            self.tls.writer().write_all(plain).expect("its buffer has no limit");
        }
        if last && !self.is_over {
            self.is_over = true;
            self.tls.send_close_notify();
        }
        self.collect();
    }

    /// What waits to be sent, to be sent by somebody who may wait for that.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unsent)
    }

    fn collect(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.unsent).expect("memory takes what is written");
        }
    }
}

/// What became of bytes that were to be sent.
pub struct Sent<'o> {
    /// Bytes that the kernel has taken, sealed ones where they are sealed.
    pub bytes: usize,
    /// What is to be sent next, of what was to be sent; what is sealed waits in the session.
    pub unsent: &'o [u8],
}

/// Sends what the kernel takes now. With `last` nothing follows: a session says so. `more` holds the bytes back for what
/// the kernel sends next, the end of the stream.
pub fn send<'o>(
    descriptor: BorrowedFd<'_>,
    session: Option<&mut Session>,
    out: &'o [u8],
    last: bool,
    more: bool,
) -> io::Result<Sent<'o>> {
    let send = match more {
        true => stream::send_last,
        false => stream::send,
    };
    let Some(session) = session else {
        let bytes = match out {
            [] => 0,
            _ => send(descriptor, out)?.unwrap_or(0),
        };
        return Ok(Sent { bytes, unsent: &out[bytes..] });
    };
    session.seal(out, last);
    let bytes = match &session.unsent[..] {
        [] => 0,
        sealed => send(descriptor, sealed)?.unwrap_or(0),
    };
    if bytes == session.unsent.len() {
        session.unsent.clear();
    } else {
        session.unsent.drain(..bytes);
    }
    Ok(Sent { bytes, unsent: &[] })
}
