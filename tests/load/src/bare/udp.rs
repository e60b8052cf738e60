//! The bare UDP responder: a batch in, a batch out, no swarms.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use crate::batch::{BATCH, Batch};
use crate::udp::enlarge_buffers;
use crate::udp::packet::{SCRAPE_MAX, u32_at};

/// What a bare responder answers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    /// Bytes of peers in the reply to an announce.
    pub(crate) peers_bytes: usize,
}

/// Answers on `socket` until the process is ended: waits for at least one datagram, takes what else
/// is there up to `batch`, and sends all replies in one call.
pub(crate) fn serve(socket: &UdpSocket, batch: usize, answers: Answers) -> io::Result<()> {
    enlarge_buffers(socket);
    let (mut inbox, mut outbox) = (Batch::new(), Batch::new());
    loop {
        inbox.receive(socket.as_fd(), batch.min(BATCH), true)?;
        for (request, sender) in inbox.datagrams() {
            if let (Some(action), Some(transaction)) = (u32_at(request, 8), u32_at(request, 12)) {
                outbox
                    .push(sender, None, |reply| answers.write(action, transaction, request, reply));
            }
        }
        outbox.send(socket.as_fd())?;
    }
}

impl Answers {
    /// Writes a reply of the right form: a fixed connection id, peers of zeros, counts of zero.
    fn write(self, action: u32, transaction: u32, request: &[u8], reply: &mut [u8]) -> usize {
        reply[..4].copy_from_slice(&action.to_be_bytes());
        reply[4..8].copy_from_slice(&transaction.to_be_bytes());
        match action {
            0 => {
                reply[8..16].copy_from_slice(&CONNECTION.to_be_bytes());
                16
            }
            1 => {
                reply[8..12].copy_from_slice(&INTERVAL.to_be_bytes());
                reply[12..20].fill(0);
                let len = (20 + self.peers_bytes).min(reply.len());
                reply[20..len].fill(0);
                len
            }
            _ => {
                let hashes = (request.len().saturating_sub(16) / 20).min(SCRAPE_MAX);
                reply[8..8 + 12 * hashes].fill(0);
                8 + 12 * hashes
            }
        }
    }
}

const CONNECTION: u64 = 0x0123_4567_89ab_cdef;

/// Seconds.
const INTERVAL: u32 = 1800;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::packet::{Reply, read_reply, write_connect, write_scrape};

    #[test]
    fn replies_are_of_the_right_form_and_size() {
        let answers = Answers { peers_bytes: 60 };
        let (mut request, mut reply) = ([0; 2048], [0xff; 2048]);
        let len = write_connect(&mut request, 9);
        let len = answers.write(0, 9, &request[..len], &mut reply);
        assert_eq!(
            read_reply(&reply[..len]),
            Some(Reply::Connect { transaction: 9, id: CONNECTION })
        );
        let len = answers.write(1, 9, &[], &mut reply);
        assert_eq!(
            read_reply(&reply[..len]),
            Some(Reply::Announce { transaction: 9, leechers: 0, seeders: 0, peers: &[0; 60] })
        );
        let len = write_scrape(&mut request, 1, 9, std::iter::repeat_n([1; 20], 3));
        let len = answers.write(2, 9, &request[..len], &mut reply);
        assert_eq!(
            read_reply(&reply[..len]),
            Some(Reply::Scrape { transaction: 9, counts: &[0; 36] })
        );
    }
}
