//! Who says nonsense, too much or nothing.

use std::time::Duration;

use publish::engine::upload::{DialError, Limits};
use publish::engine::wire::{Block, Message, PROTOCOL};
use shard::InfoHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::content::Made;
use super::reader::Reader;
use super::{add, listen, must, until};

/// What is read until the connection is closed.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = must(stream.read_to_end(&mut read)).await;
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_bounded_and_end() {
    let limits = Limits {
        half_open_per_address_max: 4,
        handshake_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let uploads = listen(limits);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(uploads.addresses()[0]).await.unwrap());
    }
    until(|| uploads.stats().refused == 16).await;
    assert!(uploads.stats().half_open <= 4);
    for stream in &mut silent {
        assert!(rest(stream).await.is_empty());
    }
    until(|| uploads.stats().connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_closed_without_a_word() {
    let uploads = listen(Limits::default());
    let mut unknown = [0; 68];
    unknown[..20].copy_from_slice(PROTOCOL);
    for said in [&b"GET / HTTP/1.1\r\n\r\n"[..], &unknown, &[0; 96]] {
        let mut stream = TcpStream::connect(uploads.addresses()[0]).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert!(rest(&mut stream).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_messages_close_and_others_go_on() {
    let uploads = listen(Limits::default());
    let made = Made::single(300_000);
    add(&uploads, &made);
    let (address, info_hash) = (uploads.addresses()[0], made.metainfo.info_hash);
    let block = |piece, begin, length| Message::Request(Block { piece, begin, length });
    for wrong in [
        block(0, 0, 0),
        block(0, 0, (128 << 10) + 1),
        block(0, (256 << 10) - 1, 2),
        block(1, 300_000 - (256 << 10), 1),
        block(2, 0, 1),
        block(0, u32::MAX, u32::MAX),
        Message::Have(2),
        Message::Bitfield(&[0, 0]),
        Message::Bitfield(&[0x20]),
        Message::Piece { piece: 0, begin: 0, block: b"x" },
    ] {
        let mut reader = must(Reader::connect(address, info_hash, true)).await.unwrap();
        must(reader.until_unchoked()).await.unwrap();
        reader.say(&[wrong]).await.unwrap();
        while must(reader.next(|_| ())).await.is_ok() {}
    }
    let mut long = must(Reader::connect(address, info_hash, true)).await.unwrap();
    long.stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    while must(long.next(|_| ())).await.is_ok() {}
    let mut good = must(Reader::connect(address, info_hash, false)).await.unwrap();
    must(good.until_unchoked()).await.unwrap();
    let mut read = 0;
    must(good.fetch(300_000, made.metainfo.piece_length, 4, |_, block| read += block.len()))
        .await
        .unwrap();
    assert_eq!(read, 300_000);
    until(|| uploads.stats().connections == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_may_wait_are_rejected_and_who_never_reads_is_closed() {
    let limits = Limits {
        requests_queued_max: 8,
        idle_timeout: Duration::from_secs(1),
        upload_rate: Some(1),
        ..Limits::default()
    };
    let uploads = listen(limits);
    let made = Made::single(300_000);
    add(&uploads, &made);
    let mut reader =
        must(Reader::connect(uploads.addresses()[0], made.metainfo.info_hash, true)).await.unwrap();
    must(reader.until_unchoked()).await.unwrap();
    let requests = [Message::Request(Block { piece: 0, begin: 0, length: 1 << 14 }); 32];
    reader.say(&requests).await.unwrap();
    let mut rejected = 0;
    while rejected < 20 {
        rejected += must(reader.next(|message| usize::from(matches!(message, Message::Reject(_)))))
            .await
            .unwrap();
    }
    // It goes on without end; the write fails when it is closed.
    let said = must(async {
        loop {
            reader.say(&requests).await?;
        }
        #[allow(unreachable_code)]
        Ok::<(), std::io::Error>(())
    });
    assert!(said.await.is_err());
    until(|| uploads.stats().connections == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_a_turn_when_there_are_few_slots() {
    let limits =
        Limits { slots_max: 1, turn_interval: Duration::from_millis(100), ..Limits::default() };
    let uploads = listen(limits);
    let made = Made::single(300_000);
    add(&uploads, &made);
    let readers = (0..5).map(|_| {
        let (address, info_hash) = (uploads.addresses()[0], made.metainfo.info_hash);
        tokio::spawn(async move {
            let mut reader = Reader::connect(address, info_hash, true).await.unwrap();
            reader.until_unchoked().await.unwrap();
            reader
        })
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        must(reader).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_held_and_shared() {
    let uploads = listen(Limits { upload_rate: Some(4 << 20), ..Limits::default() });
    let made = Made::single(4 << 20);
    add(&uploads, &made);
    let begun = std::time::Instant::now();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (address, metainfo) = (uploads.addresses()[0], made.metainfo.clone());
            tokio::spawn(async move {
                let mut reader = Reader::connect(address, metainfo.info_hash, true).await.unwrap();
                reader.until_unchoked().await.unwrap();
                reader.fetch(1 << 20, metainfo.piece_length, 16, |_, _| ()).await.unwrap();
                (reader, begun.elapsed())
            })
        })
        .collect();
    let mut took = Vec::new();
    for reader in readers {
        took.push(must(reader).await.unwrap().1.as_secs_f64());
    }
    // Four at a quarter of the rate take the same time; one after the other the first would take a quarter of it.
    println!("a MiB each at 4 MiB/s in all, seconds: {took:?}");
    let last = took.iter().copied().fold(0.0, f64::max);
    // Less time than the rate allows cannot be, however slow the machine.
    assert!(last > 0.85, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_cannot_connect_is_dialled() {
    let uploads = listen(Limits::default());
    let made = Made::single(300_000);
    add(&uploads, &made);
    let info_hash = made.metainfo.info_hash;
    let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = peer.local_addr().unwrap();
    let dialling = tokio::spawn({
        let uploads = uploads.clone();
        async move { uploads.dial(info_hash, address).await }
    });
    let (stream, _) = must(peer.accept()).await.unwrap();
    let mut reader = must(Reader::accepted(stream, info_hash)).await.unwrap();
    must(dialling).await.unwrap().unwrap();
    must(reader.until_unchoked()).await.unwrap();
    let mut read = 0;
    must(reader.fetch(300_000, made.metainfo.piece_length, 4, |_, block| read += block.len()))
        .await
        .unwrap();
    assert_eq!(read, 300_000);
    assert!(uploads.torrent(&info_hash).unwrap().peers[0].is_dialled);
    assert!(matches!(uploads.dial(info_hash, address).await, Err(DialError::Enough)));
    assert!(matches!(uploads.dial(InfoHash([0; 20]), address).await, Err(DialError::Unknown(_))));
    assert!(matches!(
        uploads.dial(info_hash, uploads.addresses()[0]).await,
        Err(DialError::Stranger | DialError::Unreachable(_))
    ));
}
