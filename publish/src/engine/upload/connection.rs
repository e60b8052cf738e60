//! A connection with a peer of a torrent that is complete here.
//!
//! One task, in two halves: one reads messages and puts what they ask for into a bounded queue, the other writes. Blocks
//! go out in batches, read at once and written at once; a batch grows while the peer takes it quickly, so that a slow
//! peer holds one block in memory and a fast one costs few system calls.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};

use super::admission::Pass;
use super::peer::Peer;
use super::{Shared, Torrent, acceptor};
use crate::engine::content::{BLOCK_BYTES_MAX, Batch, ReadError};
use crate::engine::wire::{self, Block, Extensions, Handshake, Malformed, Message};

/// Says who this side is and what it has; `theirs` is the peer's handshake where it has said it already, else it is
/// read. `None` is another protocol.
pub(super) async fn greet(
    shared: &Shared,
    torrent: &Torrent,
    stream: &mut TcpStream,
    theirs: Option<Handshake>,
) -> io::Result<Option<Handshake>> {
    let info_hash = torrent.content.metainfo().info_hash;
    let ours = Handshake { info_hash, peer_id: shared.peer_id, fast: true, extended: true };
    stream.set_nodelay(true)?;
    stream.write_all(&ours.write()).await?;
    match theirs {
        Some(theirs) => Ok(Some(theirs)),
        None => acceptor::read_handshake(stream).await,
    }
}

/// Serves a peer until it is gone, says something wrong, is idle for too long, has everything, or its torrent is
/// removed.
pub(super) async fn run(
    shared: Arc<Shared>,
    torrent: Arc<Torrent>,
    mut stream: TcpStream,
    address: SocketAddr,
    theirs: Handshake,
    mut pass: Pass,
    is_dialled: bool,
) {
    let peer = Arc::new(Peer::new(address, wire::client_of(&theirs.peer_id), is_dialled));
    let Some(_registered) = Registered::new(&shared, &torrent, &peer) else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        return;
    };
    pass.opened();
    let ended = tokio::select! {
        () = torrent.stop.cancelled() => return,
        ended = serve(&shared, &torrent, &peer, &mut stream, theirs, is_dialled) => ended,
    };
    let Err(end) = ended;
    match end {
        End::Read(ReadError::Changed { path, how }) => shared.changed(&torrent, path, how),
        End::Read(error) => {
            tracing::warn!(
                "a peer of torrent {} is closed: {error}",
                torrent.content.metainfo().info_hash
            );
        }
        end => tracing::debug!("{address} is closed: {end}"),
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("it asks for what is not in the torrent, or says what no peer says")]
    Wrong,
    #[error("it has everything")]
    Complete,
    #[error("it is idle")]
    Idle,
    #[error("it asks for more than it reads")]
    Flood,
    #[error(transparent)]
    Read(ReadError),
}

impl From<tokio::time::error::Elapsed> for End {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::Idle
    }
}

/// What cannot be: both halves end with a reason.
enum Never {}

async fn serve(
    shared: &Arc<Shared>,
    torrent: &Arc<Torrent>,
    peer: &Arc<Peer>,
    stream: &mut TcpStream,
    theirs: Handshake,
    is_greeted: bool,
) -> Result<Never, End> {
    if !is_greeted {
        timeout(shared.limits.handshake_timeout, greet(shared, torrent, stream, Some(theirs)))
            .await??;
    }
    let queue = Mutex::new(Queue::default());
    let (reads, writes) = stream.split();
    let reader = Reader {
        shared,
        torrent,
        peer,
        queue: &queue,
        fast: theirs.fast,
        have: Vec::new(),
        interested: None,
    };
    let writer =
        Writer { shared, torrent, peer, queue: &queue, fast: theirs.fast, told_unchoked: false };
    tokio::select! {
        ended = reader.run(reads) => ended,
        ended = writer.run(writes, theirs.extended) => ended,
    }
}

/// What waits to be written.
#[derive(Default)]
struct Queue {
    /// Messages that are whole.
    messages: Vec<u8>,
    requests: VecDeque<Block>,
    /// The parts of the info dictionary that are asked for.
    metadata: VecDeque<u32>,
    /// The number of the peer's metadata messages.
    metadata_id: Option<u8>,
}

fn lock<'a>(queue: &'a Mutex<Queue>) -> MutexGuard<'a, Queue> {
    queue.lock().expect("nothing panics while it is held")
}

struct Reader<'a> {
    shared: &'a Shared,
    torrent: &'a Torrent,
    peer: &'a Arc<Peer>,
    queue: &'a Mutex<Queue>,
    fast: bool,
    /// A bit for each piece that the peer has, empty until it has one.
    have: Vec<u8>,
    /// Since when the peer is interested.
    interested: Option<Instant>,
}

impl Reader<'_> {
    async fn run(mut self, mut stream: ReadHalf<'_>) -> Result<Never, End> {
        let pieces_bytes = self.torrent.content.metainfo().pieces_count().div_ceil(8);
        let bytes_max = MESSAGE_BYTES_MAX.max(1 + pieces_bytes);
        let mut buffer = vec![0; READ_BYTES];
        let mut filled = 0;
        let mut wanted = Instant::now();
        loop {
            let mut at = 0;
            while let Some((message, length)) = wire::message(&buffer[at..filled], bytes_max)? {
                self.hear(message)?;
                at += length;
            }
            buffer.copy_within(at..filled, 0);
            filled -= at;
            match self.interested {
                Some(_) => wanted = Instant::now(),
                None if wanted.elapsed() > UNINTERESTED_MAX => return Err(End::Idle),
                None => {}
            }
            if filled == buffer.len() {
                // Bounded by `bytes_max`, which is looked at before the message is whole.
                buffer.resize(buffer.len() * 2, 0);
            } else if filled == 0 && buffer.len() > READ_BYTES {
                buffer = vec![0; READ_BYTES];
            }
            let read = timeout(self.shared.limits.idle_timeout, stream.read(&mut buffer[filled..]))
                .await??;
            if read == 0 {
                return Err(End::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            filled += read;
        }
    }

    fn hear(&mut self, message: Message<'_>) -> Result<(), End> {
        match message {
            Message::Interested => {
                if self.interested.is_none() {
                    self.interested = Some(Instant::now());
                    self.shared.slots.want(self.peer);
                }
            }
            Message::NotInterested => {
                if self.interested.take().is_some() {
                    self.shared.slots.leave(self.peer);
                }
            }
            Message::Have(piece) => self.has(piece)?,
            // They come first by the protocol; a client with a magnet link says them when it knows the pieces.
            Message::Bitfield(bits) => self.has_these(bits)?,
            Message::HaveAll => {
                self.peer.pieces.store(self.pieces(), Ordering::Relaxed);
                return Err(End::Complete);
            }
            Message::HaveNone => {
                self.have.clear();
                self.peer.pieces.store(0, Ordering::Relaxed);
            }
            Message::Piece { .. } => return Err(End::Wrong),
            Message::Request(block) => self.request(block)?,
            Message::Cancel(block) => self.cancel(block)?,
            Message::Extended { id: 0, payload } => {
                let extensions = Extensions::read(payload);
                lock(self.queue).metadata_id = extensions.metadata_id;
                if let Some(client) = extensions.client {
                    *self.peer.client.lock().expect("nothing panics while it is held") = client;
                }
            }
            Message::Extended { id: METADATA_ID, payload } => self.metadata(payload)?,
            Message::Extended { .. } => {}
            // This side asks for nothing: what it is told of its own requests says nothing.
            Message::KeepAlive
            | Message::Choke
            | Message::Unchoke
            | Message::Reject(_)
            | Message::Other(_) => {}
        }
        Ok(())
    }

    fn pieces(&self) -> u32 {
        self.torrent.content.metainfo().pieces_count()
    }

    fn has(&mut self, piece: u32) -> Result<(), End> {
        if piece >= self.pieces() {
            return Err(End::Wrong);
        }
        if self.have.is_empty() {
            self.have = vec![0; self.pieces().div_ceil(8) as usize];
        }
        let (byte, bit) = (&mut self.have[piece as usize / 8], 0x80 >> (piece % 8));
        if *byte & bit == 0 {
            *byte |= bit;
            self.count(1)?;
        }
        Ok(())
    }

    fn has_these(&mut self, bits: &[u8]) -> Result<(), End> {
        let pieces = self.pieces();
        let spare = (8 - pieces % 8) % 8;
        let is_spare_set = bits.last().is_some_and(|last| last.trailing_zeros() < spare);
        if bits.len() != pieces.div_ceil(8) as usize || is_spare_set {
            return Err(End::Wrong);
        }
        self.have = bits.to_vec();
        self.peer.pieces.store(0, Ordering::Relaxed);
        self.count(bits.iter().map(|byte| byte.count_ones()).sum())
    }

    /// The peer has more pieces; with all of them there is nothing left to do.
    fn count(&self, pieces: u32) -> Result<(), End> {
        let had = self.peer.pieces.fetch_add(pieces, Ordering::Relaxed);
        if had + pieces < self.pieces() { Ok(()) } else { Err(End::Complete) }
    }

    fn request(&self, block: Block) -> Result<(), End> {
        if !self.torrent.content.has(block) {
            return Err(End::Wrong);
        }
        let mut queue = lock(self.queue);
        if self.peer.is_unchoked() && queue.requests.len() < self.shared.limits.requests_queued_max
        {
            queue.requests.push_back(block);
            self.peer.work.notify_one();
            return Ok(());
        }
        // Without the Fast extension a request that is not answered is one that was choked: the peer asks again.
        if self.fast { self.say(&mut queue, Message::Reject(block)) } else { Ok(()) }
    }

    fn cancel(&self, block: Block) -> Result<(), End> {
        let mut queue = lock(self.queue);
        match queue.requests.iter().position(|&waiting| waiting == block) {
            Some(at) => {
                queue.requests.remove(at);
                if self.fast { self.say(&mut queue, Message::Reject(block)) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn metadata(&self, payload: &[u8]) -> Result<(), End> {
        let Some(part) = wire::metadata_request(payload) else { return Ok(()) };
        let mut queue = lock(self.queue);
        if queue.metadata.len() >= METADATA_QUEUED_MAX {
            return Err(End::Flood);
        }
        queue.metadata.push_back(part);
        self.peer.work.notify_one();
        Ok(())
    }

    fn say(&self, queue: &mut Queue, message: Message<'_>) -> Result<(), End> {
        if queue.messages.len() > MESSAGES_BYTES_MAX {
            return Err(End::Flood);
        }
        message.write(&mut queue.messages);
        self.peer.work.notify_one();
        Ok(())
    }
}

struct Writer<'a> {
    shared: &'a Arc<Shared>,
    torrent: &'a Arc<Torrent>,
    peer: &'a Arc<Peer>,
    queue: &'a Mutex<Queue>,
    fast: bool,
    /// The peer was told that its requests are answered.
    told_unchoked: bool,
}

impl Writer<'_> {
    async fn run(mut self, mut stream: WriteHalf<'_>, extended: bool) -> Result<Never, End> {
        let mut out = self.opening(extended);
        let mut batch = Batch::default();
        let mut blocks = Vec::new();
        let mut budget = BATCH_BYTES_FIRST;
        loop {
            self.turn(&mut out);
            if !out.is_empty() {
                self.write(&mut stream, &out).await?;
                out.clear();
                continue;
            }
            if let Some(part) = self.next_metadata(&mut out) {
                self.shared.bucket.take(part).await;
                continue;
            }
            let asked = self.peek(budget);
            if asked > 0 {
                let buffers = self.take_buffers(asked);
                // Without room for more than one block one goes out alone: nobody waits for slow peers.
                let asked = if buffers.is_some() { asked } else { self.peek(1) };
                self.shared.bucket.take(asked).await;
                let bytes = self.pop(asked, &mut blocks);
                self.shared.bucket.give_back(asked - bytes);
                if blocks.is_empty() {
                    continue;
                }
                batch = self.read(batch, &mut blocks).await?;
                let begun = Instant::now();
                self.write(&mut stream, batch.bytes()).await?;
                budget = next_budget(budget, begun.elapsed());
                self.count(bytes);
                continue;
            }
            batch.release();
            tokio::select! {
                () = self.peer.work.notified() => {}
                () = sleep(KEEP_ALIVE) => Message::KeepAlive.write(&mut out),
            }
        }
    }

    /// What is said first: everything is here.
    fn opening(&self, extended: bool) -> Vec<u8> {
        let metainfo = self.torrent.content.metainfo();
        let mut out = Vec::new();
        if self.fast {
            Message::HaveAll.write(&mut out);
        } else {
            let pieces = metainfo.pieces_count();
            let mut bits = vec![0xff; pieces.div_ceil(8) as usize];
            if let Some(last) = bits.last_mut() {
                *last <<= (8 - pieces % 8) % 8;
            }
            Message::Bitfield(&bits).write(&mut out);
        }
        if extended {
            let extensions = Extensions {
                metadata_id: Some(METADATA_ID),
                metadata_size: u32::try_from(metainfo.info.len()).ok(),
                client: Some(concat!("margay-publish ", env!("CARGO_PKG_VERSION")).into()),
                requests_max: u32::try_from(self.shared.limits.requests_queued_max).ok(),
            };
            Message::Extended { id: 0, payload: &extensions.write(self.shared.port) }
                .write(&mut out);
        }
        out
    }

    /// Takes the messages that wait, and says when the peer's turn begins or ends.
    fn turn(&mut self, out: &mut Vec<u8>) {
        let mut queue = lock(self.queue);
        out.append(&mut queue.messages);
        let is_unchoked = self.peer.is_unchoked();
        if is_unchoked != self.told_unchoked {
            self.told_unchoked = is_unchoked;
            if is_unchoked {
                Message::Unchoke.write(out);
            } else {
                Message::Choke.write(out);
                let dropped = std::mem::take(&mut queue.requests);
                if self.fast {
                    // BEP 6: a choke rejects nothing by itself.
                    dropped.into_iter().for_each(|block| Message::Reject(block).write(out));
                }
            }
        }
    }

    /// Writes the next part of the info dictionary that is asked for to `out`; gives its bytes.
    fn next_metadata(&self, out: &mut Vec<u8>) -> Option<u64> {
        let mut queue = lock(self.queue);
        let part = queue.metadata.pop_front()?;
        if let Some(id) = queue.metadata_id {
            let reply = wire::metadata_reply(&self.torrent.content.metainfo().info, part);
            Message::Extended { id, payload: &reply }.write(out);
        }
        Some(out.len() as u64)
    }

    /// The bytes of the next batch: at least one block, and no more than `budget` or a turn at the rate limit.
    fn peek(&self, budget: u64) -> u64 {
        let budget = budget.min(self.shared.bucket.quantum());
        let mut bytes = 0;
        for block in &lock(self.queue).requests {
            if bytes > 0 && bytes + u64::from(block.length) > budget {
                break;
            }
            bytes += u64::from(block.length);
        }
        bytes
    }

    fn pop(&self, bytes_max: u64, blocks: &mut Vec<Block>) -> u64 {
        blocks.clear();
        let mut bytes = 0;
        let mut queue = lock(self.queue);
        while let Some(block) = queue.requests.front()
            && bytes + u64::from(block.length) <= bytes_max
        {
            bytes += u64::from(block.length);
            blocks.extend(queue.requests.pop_front());
        }
        bytes
    }

    fn take_buffers(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        self.shared.buffers.clone().try_acquire_many_owned(bytes as u32).ok()
    }

    /// Reads what is in memory here, and what is not where waiting for the disk stops nobody.
    async fn read(&self, mut batch: Batch, blocks: &mut Vec<Block>) -> Result<Batch, End> {
        match self.torrent.content.read(&self.shared.descriptors, blocks, &mut batch, false) {
            Ok(()) => return Ok(batch),
            Err(ReadError::Waits) => {}
            Err(error) => return Err(End::Read(error)),
        }
        let _turn = self.shared.reads.acquire().await.expect("it is never closed");
        let (shared, torrent, taken) =
            (self.shared.clone(), self.torrent.clone(), std::mem::take(blocks));
        let read = tokio::task::spawn_blocking(move || {
            let read = torrent.content.read(&shared.descriptors, &taken, &mut batch, true);
            (read, batch)
        });
        let (read, batch) = read.await.map_err(|error| End::Io(io::Error::other(error)))?;
        read.map_err(End::Read)?;
        Ok(batch)
    }

    /// Writes all of it, as long as the peer takes some of it now and then.
    async fn write(&self, stream: &mut WriteHalf<'_>, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let written = timeout(self.shared.limits.idle_timeout, stream.write(bytes)).await??;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn count(&self, bytes: u64) {
        for count in [&self.peer.uploaded, &*self.torrent.uploaded, &self.shared.uploaded] {
            count.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Twice as much when the peer took the last batch at once, half when it took its time.
fn next_budget(budget: u64, took: Duration) -> u64 {
    if took < BATCH_QUICK {
        (budget * 2).min(BATCH_BYTES_MAX)
    } else if took > BATCH_SLOW {
        (budget / 2).max(1)
    } else {
        budget
    }
}

/// A peer that is among those of its torrent as long as this is there, and leaves its slot with it.
struct Registered<'a> {
    shared: &'a Shared,
    torrent: &'a Torrent,
    peer: &'a Arc<Peer>,
}

impl<'a> Registered<'a> {
    /// `None` when the torrent has as many as it may have.
    fn new(shared: &'a Shared, torrent: &'a Torrent, peer: &'a Arc<Peer>) -> Option<Self> {
        let mut peers = torrent.peers();
        if peers.len() >= shared.limits.per_torrent_max {
            return None;
        }
        peers.push(peer.clone());
        Some(Self { shared, torrent, peer })
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.torrent.peers().retain(|peer| !Arc::ptr_eq(peer, self.peer));
        self.shared.slots.leave(self.peer);
    }
}

/// The number by which this side is asked for metadata.
const METADATA_ID: u8 = 1;
/// What a peer's messages are read into; a leecher's are a few bytes each.
const READ_BYTES: usize = 4 << 10;
/// The longest message but for a longer bitfield: peers that this one knows, in a message of an extension.
const MESSAGE_BYTES_MAX: u32 = 64 << 10;
/// Messages that wait for a peer that does not read.
const MESSAGES_BYTES_MAX: usize = 64 << 10;
/// Parts of the info dictionary that a peer may wait for.
const METADATA_QUEUED_MAX: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(100);
/// A peer that wants nothing for so long makes room for others.
const UNINTERESTED_MAX: Duration = Duration::from_secs(300);
const BATCH_BYTES_FIRST: u64 = 64 << 10;
/// More does not make it faster (`benches/upload.rs`).
const BATCH_BYTES_MAX: u64 = 512 << 10;
const BATCH_QUICK: Duration = Duration::from_millis(50);
const BATCH_SLOW: Duration = Duration::from_millis(500);
const _: () = assert!(BATCH_BYTES_MAX >= BLOCK_BYTES_MAX as u64);
