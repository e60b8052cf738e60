//! Asking a tracker for all its counts, and waiting for it to answer at all.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::packet::{self, Announce, Counters, Event, Reply, SCRAPE_MAX, u32_at};
use crate::swarms::info_hash;
use crate::users::Passkey;

/// Sums of all swarms, and a fingerprint of each swarm's counts in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) torrents: u64,
    pub(crate) seeders: u64,
    pub(crate) leechers: u64,
    pub(crate) snatches: u64,
    /// Torrents with at least one peer.
    pub(crate) alive: u64,
    pub(crate) fingerprint: u64,
}

/// A client that asks one thing at a time, and again when no answer comes.
pub(crate) struct Asker {
    socket: UdpSocket,
    connection: Option<(u64, Instant)>,
    transaction: u32,
    /// Whose, at a private tracker.
    passkey: Option<Passkey>,
}

impl Asker {
    pub(crate) fn new(to: SocketAddr, passkey: Option<Passkey>) -> io::Result<Self> {
        let local = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(local)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { socket, connection: None, transaction: fastrand::u32(..), passkey })
    }

    /// Seeders, snatches and leechers of at most 74 torrents.
    pub(crate) fn counts(
        &mut self,
        hashes: &[[u8; 20]],
        until: Instant,
    ) -> io::Result<Vec<[u32; 3]>> {
        match self.passkey {
            Some(passkey) => self.announce(hashes, passkey, until),
            None => self.scrape(hashes, until),
        }
    }

    /// A scrape over UDP has no place for a passkey. A client that nobody knows says `stopped` instead,
    /// which changes no swarm, credits nothing, and is answered with the counts, but for snatches. A tracker
    /// that keeps a row for each peer notes it.
    fn announce(
        &mut self,
        hashes: &[[u8; 20]],
        passkey: Passkey,
        until: Instant,
    ) -> io::Result<Vec<[u32; 3]>> {
        let mut found = vec![None; hashes.len()];
        while found.contains(&None) {
            let connection = self.connect(until)?;
            let first = self.transaction.wrapping_add(1);
            self.transaction = first.wrapping_add(hashes.len() as u32);
            let mut buffer = [0; 160];
            let mut sent = 0;
            for (at, &info_hash) in
                (0..).zip(hashes).filter(|&(at, _)| found[at as usize].is_none())
            {
                let announce = Announce {
                    info_hash,
                    peer_id: *b"-LD0100-census------",
                    left: 0,
                    event: Event::Stopped,
                    numwant: 0,
                    port: 1024,
                    counters: Counters::default(),
                    passkey: Some(passkey),
                };
                let transaction = first.wrapping_add(at);
                let len = packet::write_announce(&mut buffer, connection, transaction, &announce);
                sent += usize::from(self.socket.send(&buffer[..len]).is_ok());
            }
            let asked = Instant::now();
            let mut buffer = [0; 2048];
            while sent > 0 && asked.elapsed() < ANSWER_TIMEOUT {
                let Ok(len) = self.socket.recv(&mut buffer) else { break };
                let reply = packet::read_reply(&buffer[..len]);
                let at = |transaction: u32| transaction.wrapping_sub(first) as usize;
                match reply {
                    Some(Reply::Announce { transaction, leechers, seeders, .. })
                        if at(transaction) < found.len() =>
                    {
                        found[at(transaction)] = Some([seeders, 0, leechers]);
                        sent -= 1;
                    }
                    // Refused: the user or the torrent may not be known yet.
                    Some(Reply::Error { transaction }) if at(transaction) < found.len() => {
                        sent -= 1
                    }
                    _ => {}
                }
            }
            if found.contains(&None) {
                // The id may have been refused, as after a restart with another key.
                self.connection = None;
                give_up_after(until)?;
                std::thread::sleep(RETRY);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Scrapes at most 74 torrents: seeders, snatches and leechers of each.
    fn scrape(&mut self, hashes: &[[u8; 20]], until: Instant) -> io::Result<Vec<[u32; 3]>> {
        let mut buffer = [0; 2048];
        loop {
            let connection = self.connect(until)?;
            self.transaction = self.transaction.wrapping_add(1);
            let len = packet::write_scrape(
                &mut buffer,
                connection,
                self.transaction,
                hashes.iter().copied(),
            );
            let mut counts = None;
            self.ask(&buffer[..len], |reply| match reply {
                Reply::Scrape { counts: bytes, .. } if bytes.len() == hashes.len() * 12 => {
                    let count = |torrent: &[u8], at| u32_at(torrent, at).expect("12 bytes");
                    counts = Some(
                        bytes.chunks_exact(12).map(|t| [0, 4, 8].map(|at| count(t, at))).collect(),
                    );
                    true
                }
                _ => false,
            });
            if let Some(counts) = counts {
                return Ok(counts);
            }
            // The id may have been refused, as after a restart with another key.
            self.connection = None;
            give_up_after(until)?;
        }
    }

    fn connect(&mut self, until: Instant) -> io::Result<u64> {
        loop {
            if let Some((id, at)) = self.connection
                && at.elapsed() < Duration::from_secs(55)
            {
                return Ok(id);
            }
            self.transaction = self.transaction.wrapping_add(1);
            let mut buffer = [0; 16];
            let len = packet::write_connect(&mut buffer, self.transaction);
            let mut connection = None;
            self.ask(&buffer[..len], |reply| match reply {
                Reply::Connect { id, .. } => {
                    connection = Some((id, Instant::now()));
                    true
                }
                _ => false,
            });
            self.connection = connection;
            if connection.is_none() {
                give_up_after(until)?;
            }
        }
    }

    /// Sends a request and shows what comes back with its transaction, until `take` is content or
    /// the time for an answer is over. A tracker that does not exist yet answers with an error of
    /// the socket, at once.
    fn ask(&self, request: &[u8], mut take: impl FnMut(Reply<'_>) -> bool) {
        let asked = Instant::now();
        if self.socket.send(request).is_err() {
            std::thread::sleep(RETRY);
            return;
        }
        let mut buffer = [0; 2048];
        while asked.elapsed() < ANSWER_TIMEOUT {
            let Ok(len) = self.socket.recv(&mut buffer) else {
                std::thread::sleep(RETRY);
                return;
            };
            match packet::read_reply(&buffer[..len]) {
                Some(reply) if transaction(reply) == self.transaction && take(reply) => return,
                // An error reply is an answer; anything else is to an earlier question.
                Some(Reply::Error { transaction }) if transaction == self.transaction => return,
                _ => {}
            }
        }
    }
}

/// Asks for all torrents, `hashes` at a time.
pub(crate) fn take(
    asker: &mut Asker,
    seed: u64,
    torrents: u32,
    hashes: usize,
    until: Instant,
) -> io::Result<Census> {
    let mut census = Census::default();
    let torrents: Vec<u32> = (0..torrents).collect();
    for chunk in torrents.chunks(hashes.clamp(1, SCRAPE_MAX)) {
        let hashes: Vec<_> = chunk.iter().map(|&torrent| info_hash(seed, torrent)).collect();
        for [seeders, snatches, leechers] in asker.counts(&hashes, until)? {
            census.add(seeders, snatches, leechers);
        }
    }
    Ok(census)
}

impl Census {
    fn add(&mut self, seeders: u32, snatches: u32, leechers: u32) {
        self.torrents += 1;
        self.seeders += u64::from(seeders);
        self.leechers += u64::from(leechers);
        self.snatches += u64::from(snatches);
        self.alive += u64::from(seeders + leechers > 0);
        // FNV-1a over 32-bit words, in 64 bits.
        for word in [seeders, snatches, leechers] {
            self.fingerprint ^= u64::from(word);
            self.fingerprint = self.fingerprint.wrapping_mul(0x0100_0000_01b3);
            self.fingerprint = self.fingerprint.rotate_left(5);
        }
        self.fingerprint ^= self.torrents;
    }
}

fn transaction(reply: Reply<'_>) -> u32 {
    match reply {
        Reply::Connect { transaction, .. }
        | Reply::Announce { transaction, .. }
        | Reply::Scrape { transaction, .. }
        | Reply::Error { transaction } => transaction,
    }
}

fn give_up_after(until: Instant) -> io::Result<()> {
    if Instant::now() < until {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the tracker does not answer"))
}

const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// Pause before a socket that reported an error is tried again.
const RETRY: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_sees_each_swarm_and_its_place() {
        let census = |swarms: &[[u32; 3]]| {
            let mut census = Census::default();
            swarms
                .iter()
                .for_each(|&[seeders, snatches, leechers]| census.add(seeders, snatches, leechers));
            census
        };
        let one = census(&[[1, 2, 3], [4, 5, 6]]);
        assert_eq!(
            (one.torrents, one.alive, one.seeders, one.snatches, one.leechers),
            (2, 2, 5, 7, 9)
        );
        let swapped = census(&[[4, 5, 6], [1, 2, 3]]);
        assert_eq!(one.seeders, swapped.seeders);
        assert_ne!(one.fingerprint, swapped.fingerprint);
        assert_ne!(census(&[[0, 0, 0]]).fingerprint, census(&[]).fingerprint);
    }
}
