//! Connections that begin with the PROXY protocol. Its header comes with the first bytes nearly always, so that nobody
//! waits for it; where it does not, its proxy has the time of a request's head.

use std::net::IpAddr;

use futures_lite::AsyncReadExt;
use glommio::net::TcpStream;
use glommio::spawn_local;
use ops::counters::{Protocol, Reason};

use crate::core::family;
use crate::front::http::connection::Held;
use crate::front::http::seats::Seat;
use crate::front::http::{self, whole_seconds};
use crate::front::{SharedCore, refused};
use crate::net::remote::Remote;
use crate::net::stream::{self, Lent};
use crate::wire::proxy::{self, Parsed, Said};

/// Bytes that are read at a time while a header is not complete; most have about 50.
const READ_BYTES: usize = 512;

/// A new connection from `proxy`: reads what is there, and lets in whom it is for.
pub fn greet(core: &SharedCore, connection: Held, remote: Remote, is_tls: bool) {
    let proxy = remote.connection();
    if !remote.is_unix() && !core.borrow().is_proxy(proxy) {
        return refuse(core, proxy, &"not a trusted-proxy");
    }
    let mut input = std::mem::take(&mut core.borrow_mut().desk.http_in);
    let received = stream::receive(connection.descriptor(), &mut input);
    match received {
        Ok(Some(0)) | Err(_) => {}
        Ok(received) => {
            hear(core, connection, proxy, &input[..received.unwrap_or(0)], is_tls);
        }
    }
    core.borrow_mut().desk.http_in = input;
}

/// Looks at the first bytes of a connection.
fn hear(core: &SharedCore, connection: Held, proxy: IpAddr, bytes: &[u8], is_tls: bool) {
    match proxy::parse(bytes) {
        Ok(Parsed::Complete { said, consumed }) => {
            let remote = match said {
                Said::Client(client) => Remote::new(client.ip(), is_tls),
                Said::Nobody => Remote::new(proxy, is_tls),
            };
            http::enter(core, connection, remote, &bytes[consumed..], is_tls);
        }
        Ok(Parsed::Partial) => wait(core, connection, proxy, bytes.to_vec(), is_tls),
        Err(no_header) => refuse(core, proxy, &no_header),
    }
}

/// A connection whose header is not complete.
struct Waiting {
    // Dropped before the connection it speaks of is closed.
    _seat: Seat,
    connection: TcpStream,
}

/// Waits for the rest of a header, of which `bytes` have come.
fn wait(core: &SharedCore, connection: Held, proxy: IpAddr, bytes: Vec<u8>, is_tls: bool) {
    let seat = {
        let core = core.borrow();
        let time = whole_seconds(core.engine.settings.http_header_timeout);
        // SAFETY: `Waiting` drops its seat before its connection, in the order of its fields; until there is one, the
        // connection is an argument and dropped after what is made here.
        let lent = unsafe { Lent::new(connection.descriptor()) };
        Seat::take(&core.desk.seats, lent, core.engine.clock.steady() + time)
    };
    let Some(seat) = seat else {
        let mut core = core.borrow_mut();
        let front = core.engine.counters.front(Protocol::Http, family(proxy));
        return front.refuse(Reason::Connections);
    };
    let waiting = Waiting { _seat: seat, connection: connection.into_stream().0 };
    spawn_local(read_on(core.clone(), waiting, proxy, bytes, is_tls)).detach();
}

async fn read_on(
    core: SharedCore,
    mut waiting: Waiting,
    proxy: IpAddr,
    mut bytes: Vec<u8>,
    is_tls: bool,
) {
    let mut buffer = [0; READ_BYTES];
    // A header has a bound, beyond which it is none.
    while let Ok(Parsed::Partial) = proxy::parse(&bytes) {
        match waiting.connection.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(received) => bytes.extend_from_slice(&buffer[..received]),
        }
    }
    let Waiting { _seat, connection } = waiting;
    drop(_seat);
    hear(&core, Held::adopted(connection, None), proxy, &bytes, is_tls);
}

fn refuse(core: &SharedCore, proxy: IpAddr, why: &dyn std::fmt::Display) {
    refused::say(Protocol::Http, proxy, why);
    core.borrow_mut().engine.counters.front(Protocol::Http, family(proxy)).refuse(Reason::Proxy);
}
