//! The way out for an engine that cannot keep peers out itself: a SOCKS proxy (RFC 1928) on loopback, which connects to
//! whom the rules about addresses let it, and ends connections with those whom new rules refuse.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ops::screening::Verdict;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::screening::Screening;

/// The proxy. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: SocketAddr,
    _server: AbortOnDropHandle<()>,
}

impl Gateway {
    /// Listens at a port of 127.0.0.1 that the system chooses.
    pub(crate) async fn start(screening: Screening) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let screening = screening.clone();
                        tokio::spawn(async move {
                            if let Err(error) = carry(stream, &screening).await {
                                tracing::debug!(%error, "a connection of the engine ended");
                            }
                        });
                    }
                    Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
                }
            }
        });
        Ok(Self { address, _server: AbortOnDropHandle::new(server) })
    }

    /// What an engine is told.
    pub(crate) fn url(&self) -> String {
        format!("socks5://{}", self.address)
    }
}

async fn carry(mut inside: TcpStream, screening: &Screening) -> io::Result<()> {
    let to = timeout(REQUEST_TIME, read_request(&mut inside)).await??;
    // The tracker of the engine is on this machine, and trackers are none of the rules' business.
    let is_own = to.ip().is_loopback() && to.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
    if !is_own && screening.judge_patiently(to.ip(), "peer").await != Verdict::Allow {
        return answer(&mut inside, NOT_ALLOWED).await;
    }
    let mut outside = match timeout(CONNECT_TIME, TcpStream::connect(to)).await {
        Ok(Ok(outside)) => outside,
        Ok(Err(_)) | Err(_) => return answer(&mut inside, UNREACHABLE).await,
    };
    inside.set_nodelay(true)?;
    outside.set_nodelay(true)?;
    answer(&mut inside, CONNECTED).await?;
    tokio::select! {
        carried = copy_bidirectional(&mut inside, &mut outside) => carried.map(drop),
        () = screening.until_refused(to.ip()), if !is_own => Ok(()),
    }
}

/// Reads whom to connect to, by its address: engines have no names for peers.
async fn read_request(stream: &mut TcpStream) -> io::Result<SocketAddr> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let [version, methods] = read(stream).await?;
    let mut offered = vec![0; methods.into()];
    stream.read_exact(&mut offered).await?;
    if version != VERSION || !offered.contains(&NO_LOGIN) {
        return Err(wrong("no SOCKS without a login"));
    }
    stream.write_all(&[VERSION, NO_LOGIN]).await?;
    let [version, command, _, kind] = read(stream).await?;
    if (version, command) != (VERSION, CONNECT) {
        return Err(wrong("no request to connect"));
    }
    let address: IpAddr = match kind {
        1 => Ipv4Addr::from(read::<4>(stream).await?).into(),
        4 => Ipv6Addr::from(read::<16>(stream).await?).into(),
        _ => return Err(wrong("no address")),
    };
    Ok(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(read(stream).await?)))
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn answer(stream: &mut TcpStream, code: u8) -> io::Result<()> {
    stream.write_all(&[VERSION, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

const VERSION: u8 = 5;
const NO_LOGIN: u8 = 0;
const CONNECT: u8 = 1;

/// What is answered (RFC 1928, 6).
const CONNECTED: u8 = 0;
const NOT_ALLOWED: u8 = 2;
const UNREACHABLE: u8 = 4;

/// How long the engine may take to say whom it wants, and the peer to answer.
const REQUEST_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(15);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
