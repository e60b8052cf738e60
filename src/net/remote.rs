//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Who is at the other end of a connection, and who asks through it. They differ behind proxies that say in a header who
/// asks: those may bring requests of many over one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remote {
    connection: IpAddr,
    client: IpAddr,
    is_unix: bool,
    is_tls: bool,
    is_relayed: bool,
}

impl Remote {
    /// Whose connection it is; of one that begins with the PROXY protocol, whose that says it is.
    pub fn new(connection: IpAddr, is_tls: bool) -> Self {
        let connection = connection.to_canonical();
        Self { connection, client: connection, is_unix: false, is_tls, is_relayed: false }
    }

    /// A proxy of this machine, over a Unix socket: it has no address, and who may connect is said by the socket's file.
    pub fn unix() -> Self {
        Self { is_unix: true, ..Self::new(Ipv4Addr::LOCALHOST.into(), false) }
    }

    /// Whether it is a proxy of this machine, over a Unix socket.
    pub fn is_unix(self) -> bool {
        self.is_unix
    }

    /// Whose connection it is, an IPv4 address where it is one in the form of IPv6.
    pub fn connection(self) -> IpAddr {
        self.connection
    }

    /// Who asked last; before the first request, whose connection it is.
    pub fn client(self) -> IpAddr {
        self.client
    }

    /// Whether the connection has TLS.
    pub fn is_tls(self) -> bool {
        self.is_tls
    }

    /// The same over a connection that the process before has, and passes on until the next answer.
    pub fn relayed(self) -> Self {
        Self { is_relayed: true, ..self }
    }

    /// Whether the process before passes it on.
    pub fn is_relayed(self) -> bool {
        self.is_relayed
    }

    /// Takes note of who asks now.
    pub fn set_client(&mut self, client: IpAddr) {
        self.client = client;
    }
}
