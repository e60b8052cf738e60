//! The addresses of peers with IPv6, beside their faces.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Endpoint;
use super::slots::Slots;

/// The addresses of all peers with IPv6, by number. Most have one port for both families, which stands in
/// the face.
#[derive(Debug)]
pub(crate) struct Wides {
    /// Of those with one port.
    same: Slots<Wide>,
    /// Of those with a port of its own for IPv4; that of the face is the other.
    own: Slots<OwnPort>,
}

/// The addresses of a peer with IPv6.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wide {
    pub(crate) v6: [u8; 16],
    pub(crate) v4: [u8; 4],
}

#[derive(Clone, Copy, Debug, Default)]
struct OwnPort {
    wide: Wide,
    port_v4: [u8; 2],
}

const _: () = assert!(size_of::<Wide>() == 20, "memory per peer with IPv6");
const _: () = assert!(size_of::<OwnPort>() == 22, "memory per peer with a port for each family");

/// In a number: it is one of [`Wides::own`].
const OWN: u32 = 1 << 31;

impl Wides {
    pub(crate) fn new() -> Self {
        Self { same: Slots::new(), own: Slots::new() }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.same.len() + self.own.len()
    }

    /// The addresses behind a number, and the port over IPv4 where that over IPv6 is `port`.
    #[inline]
    pub(crate) fn get(&self, number: u32, port: [u8; 2]) -> (&Wide, [u8; 2]) {
        match number & OWN == 0 {
            true => (self.same.get(number), port),
            false => {
                let own = self.own.get(number & !OWN);
                (&own.wide, own.port_v4)
            }
        }
    }

    /// A number for the addresses of a peer with IPv6.
    pub(crate) fn insert(&mut self, v4: Option<Endpoint<Ipv4Addr>>, v6: Endpoint<Ipv6Addr>) -> u32 {
        let wide = wide(v4, v6);
        let (number, mark) = match has_own_port(v4, v6) {
            Some(port) => (self.own.insert(OwnPort { wide, port_v4: port.to_be_bytes() }), OWN),
            None => (self.same.insert(wide), 0),
        };
        assert!(number < OWN, "more records than a number can name");
        number | mark
    }

    /// Other addresses for a number; the number they have from here on.
    pub(crate) fn set(
        &mut self,
        number: u32,
        v4: Option<Endpoint<Ipv4Addr>>,
        v6: Endpoint<Ipv6Addr>,
    ) -> u32 {
        if number & OWN == 0 && has_own_port(v4, v6).is_none() {
            *self.same.get_mut(number) = wide(v4, v6);
            return number;
        }
        self.remove(number);
        self.insert(v4, v6)
    }

    /// Gives a number back.
    pub(crate) fn remove(&mut self, number: u32) {
        match number & OWN == 0 {
            true => self.same.remove(number),
            false => self.own.remove(number & !OWN),
        }
    }

    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        match number & OWN == 0 {
            true => self.same.prefetch(number),
            false => self.own.prefetch(number & !OWN),
        }
    }
}

fn wide(v4: Option<Endpoint<Ipv4Addr>>, v6: Endpoint<Ipv6Addr>) -> Wide {
    let v4 = v4.map_or([0; 4], |v4| v4.address.octets());
    Wide { v6: v6.address.octets(), v4 }
}

/// The port over IPv4, where it is another than that over IPv6.
fn has_own_port(v4: Option<Endpoint<Ipv4Addr>>, v6: Endpoint<Ipv6Addr>) -> Option<u16> {
    Some(v4?.port).filter(|port| *port != v6.port)
}
