//! A bare leecher: it says what it is told to and reads what comes.

use std::io;
use std::net::SocketAddr;

use publish::engine::wire::{Block, HANDSHAKE_BYTES, Handshake, Message, message};
use shard::InfoHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Reader {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    at: usize,
}

impl Reader {
    /// Connects and says who it is; waits for the answer.
    pub(crate) async fn connect(
        address: SocketAddr,
        info_hash: InfoHash,
        fast: bool,
    ) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        let handshake =
            Handshake { info_hash, peer_id: *b"-XX0000-readerreader", fast, extended: false };
        stream.write_all(&handshake.write()).await?;
        let mut answer = [0; HANDSHAKE_BYTES];
        stream.read_exact(&mut answer).await?;
        assert_eq!(Handshake::read(&answer).map(|answer| answer.info_hash), Some(info_hash));
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), at: 0 })
    }

    /// Answers the one who has connected.
    pub(crate) async fn accepted(mut stream: TcpStream, info_hash: InfoHash) -> io::Result<Self> {
        let mut said = [0; HANDSHAKE_BYTES];
        stream.read_exact(&mut said).await?;
        assert_eq!(Handshake::read(&said).map(|said| said.info_hash), Some(info_hash));
        let handshake =
            Handshake { info_hash, peer_id: *b"-XX0000-acceptaccept", fast: true, extended: false };
        stream.write_all(&handshake.write()).await?;
        Ok(Self { stream, buffer: Vec::new(), at: 0 })
    }

    pub(crate) async fn say(&mut self, messages: &[Message<'_>]) -> io::Result<()> {
        let mut out = Vec::new();
        messages.iter().for_each(|message| message.write(&mut out));
        self.stream.write_all(&out).await
    }

    /// The next message, as `see` sees it; an error at the end.
    pub(crate) async fn next<T>(&mut self, see: impl FnOnce(Message<'_>) -> T) -> io::Result<T> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some((message, length)) = message(rest, 1 << 20).map_err(io::Error::other)? {
                let seen = see(message);
                self.at += length;
                return Ok(seen);
            }
            self.buffer.drain(..self.at);
            self.at = 0;
            self.buffer.reserve(256 << 10);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Says that it is interested, and waits until its requests are answered.
    pub(crate) async fn until_unchoked(&mut self) -> io::Result<()> {
        self.say(&[Message::Interested]).await?;
        while !self.next(|message| matches!(message, Message::Unchoke)).await? {}
        Ok(())
    }

    /// Asks for the blocks of a content of `total` bytes, `depth` at a time, and hands each to `see`.
    pub(crate) async fn fetch(
        &mut self,
        total: u64,
        piece_length: u32,
        depth: usize,
        mut see: impl FnMut(u64, &[u8]),
    ) -> io::Result<()> {
        let mut blocks = blocks(total, piece_length);
        let mut waiting = 0;
        loop {
            if waiting <= depth / 2 {
                let asked: Vec<_> =
                    blocks.by_ref().take(depth - waiting).map(Message::Request).collect();
                waiting += asked.len();
                self.say(&asked).await?;
            }
            if waiting == 0 {
                return Ok(());
            }
            waiting -= self
                .next(|message| match message {
                    Message::Piece { piece, begin, block } => {
                        see(u64::from(piece) * u64::from(piece_length) + u64::from(begin), block);
                        1
                    }
                    _ => 0,
                })
                .await?;
        }
    }
}

/// The blocks of a content, of 16 KiB.
pub(crate) fn blocks(total: u64, piece_length: u32) -> impl Iterator<Item = Block> {
    const BLOCK: u64 = 16 << 10;
    (0..total.div_ceil(BLOCK)).map(move |number| {
        let at = number * BLOCK;
        Block {
            piece: (at / u64::from(piece_length)) as u32,
            begin: (at % u64::from(piece_length)) as u32,
            length: BLOCK.min(total - at) as u32,
        }
    })
}
