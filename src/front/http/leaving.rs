//! Connections that are left when another process serves: what they ask is for that one.
//!
//! One without TLS goes there as it is, with what it has said. The keys of TLS stay here: so its request is told in the
//! clear over a connection of the two processes, and the answer is passed on, which is the last.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_lite::{AsyncRead, AsyncWriteExt};
use glommio::net::TcpStream;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::connection::Held;
use super::conversation::Conversation;
use crate::core::mesh::succession::Leaving;
use crate::net::stream;

/// Bytes that are passed on at a time.
const BYTES: usize = 4096;

/// What comes next from one of two ends.
enum Came {
    /// From the client, sealed.
    Asked(usize),
    /// From the process that serves.
    Answered(usize),
    /// One of them has ended it.
    End,
}

impl Conversation {
    /// Brings the connection to the process that serves.
    pub(super) async fn move_on(self) {
        let Some(leaving) = self.core.borrow().desk.leaving.clone() else { return };
        if self.link.session.is_some() {
            let Ok((near, far)) = pair() else { return };
            let Self { remote, ref input, .. } = self;
            let moved = Leaving { connection: far, remote: remote.relayed(), input: input.clone() };
            if leaving.send(moved).is_ok() {
                self.relay(stream::adopt(near)).await;
            }
            return;
        }
        let Self { core, seat, link, remote, input, .. } = self;
        let (connection, session) = link.give_up(&core.borrow().desk.watch);
        // It speaks of the connection, which is open until the other process has it.
        drop(seat);
        if let Ok((connection, _)) = Held::adopted(connection, session).into_descriptor() {
            // Where the other process is gone, nobody serves.
            let _ = leaving.send(Leaving { connection, remote, input });
        }
    }

    /// Passes on what comes from either side until one of them ends it.
    async fn relay(mut self, mut near: TcpStream) {
        let (mut asked, mut answered) = (vec![0; BYTES], vec![0; BYTES]);
        let time = self.core.borrow().engine.settings.http_idle_timeout;
        loop {
            self.give(time);
            let client = &mut self.link.connection;
            let came =
                poll_fn(|context| poll(context, client, &mut near, &mut asked, &mut answered));
            let passed = match came.await {
                Came::End => break,
                Came::Answered(bytes) => {
                    self.output.extend_from_slice(&answered[..bytes]);
                    self.send().await
                }
                Came::Asked(bytes) => match self.unseal(&asked[..bytes]) {
                    Some(plain) => near.write_all(&plain).await,
                    None => break,
                },
            };
            if passed.is_err() {
                return;
            }
        }
        self.take_leave();
    }

    /// What the client has said by this; nothing when that is no TLS, or its end.
    fn unseal(&mut self, received: &[u8]) -> Option<Vec<u8>> {
        let session = self.link.session.as_mut()?;
        let mut plain = Vec::new();
        session.open(received, &mut plain).ok()?;
        (!session.is_closed() || !plain.is_empty()).then_some(plain)
    }
}

fn poll(
    context: &mut Context<'_>,
    client: &mut TcpStream,
    near: &mut TcpStream,
    asked: &mut [u8],
    answered: &mut [u8],
) -> Poll<Came> {
    if let Poll::Ready(read) = Pin::new(near).poll_read(context, answered) {
        return Poll::Ready(match read {
            Ok(bytes @ 1..) => Came::Answered(bytes),
            _ => Came::End,
        });
    }
    match Pin::new(client).poll_read(context, asked) {
        Poll::Ready(Ok(bytes @ 1..)) => Poll::Ready(Came::Asked(bytes)),
        Poll::Ready(_) => Poll::Ready(Came::End),
        Poll::Pending => Poll::Pending,
    }
}

/// A connection of this process and the one that serves.
fn pair() -> std::io::Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}
