//! Who is at the other end of a connection.

use std::net::IpAddr;

/// Who is at the other end of a connection, and who asks through it. They differ behind proxies that say in a header who
/// asks: those may bring requests of many over one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    connection: IpAddr,
    client: IpAddr,
    is_tls: bool,
}

impl Remote {
    /// Whose connection it is; of one that begins with the PROXY protocol, whose that says it is.
    pub fn new(connection: IpAddr, is_tls: bool) -> Self {
        let connection = connection.to_canonical();
        Self { connection, client: connection, is_tls }
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

    /// Takes note of who asks now.
    pub fn set_client(&mut self, client: IpAddr) {
        self.client = client;
    }
}
