//! The bare keep-alive loop on glommio: a task a connection, read and write.

use std::io;
use std::net::SocketAddr;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use super::http::{BUFFER_BYTES, requests};

/// Answers on `listen` until the process is ended.
pub(crate) fn serve(listen: SocketAddr, reply: Vec<u8>) -> io::Result<()> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make()?;
    executor.run(async move {
        let listener = TcpListener::bind(listen)?;
        println!("ready http {}", listener.local_addr()?);
        let reply = std::rc::Rc::new(reply);
        loop {
            let stream = listener.accept().await?;
            glommio::spawn_local(answer(stream, reply.clone())).detach();
        }
    })
}

async fn answer(mut stream: TcpStream, reply: std::rc::Rc<Vec<u8>>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; BUFFER_BYTES];
    // A client that goes away is its own affair.
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        for _ in 0..requests(&buffer[..len]) {
            if stream.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
}
