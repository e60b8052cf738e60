//! The services of a tracker: a protocol over a family of addresses, which an operator switches and bounds by itself.

use std::fmt;

use crate::counters::Family;

/// A protocol over a family.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Service {
    /// UDP over IPv4.
    Udp4,
    /// UDP over IPv6.
    Udp6,
    /// HTTP over IPv4.
    Http4,
    /// HTTP over IPv6.
    Http6,
    /// HTTPS over IPv4.
    Https4,
    /// HTTPS over IPv6.
    Https6,
}

impl Service {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// All of them, in the order of their numbers.
    pub const ALL: [Service; Service::COUNT] = [
        Service::Udp4,
        Service::Udp6,
        Service::Http4,
        Service::Http6,
        Service::Https4,
        Service::Https6,
    ];

    /// UDP over a family.
    #[inline]
    pub fn udp(family: Family) -> Self {
        match family {
            Family::V4 => Service::Udp4,
            Family::V6 => Service::Udp6,
        }
    }

    /// HTTP over a family, with TLS or without.
    #[inline]
    pub fn http(family: Family, is_tls: bool) -> Self {
        match (family, is_tls) {
            (Family::V4, false) => Service::Http4,
            (Family::V6, false) => Service::Http6,
            (Family::V4, true) => Service::Https4,
            (Family::V6, true) => Service::Https6,
        }
    }

    /// Its name: `udp4`, `https6`. Also the value of the `service` label.
    pub fn label(self) -> &'static str {
        match self {
            Service::Udp4 => "udp4",
            Service::Udp6 => "udp6",
            Service::Http4 => "http4",
            Service::Http6 => "http6",
            Service::Https4 => "https4",
            Service::Https6 => "https6",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.label() == text)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// How many requests a second a service answers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bound {
    /// The service.
    pub service: Service,
    /// On all cores together.
    pub per_second: usize,
}

/// How a service is on a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Serving {
    /// It has been switched off.
    pub is_off: bool,
    /// It turns requests away, or has done so within the last seconds.
    pub is_shedding: bool,
    /// Requests that were turned away since the start.
    pub shed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_name() {
        for (number, service) in Service::ALL.into_iter().enumerate() {
            assert_eq!(service as usize, number);
            assert_eq!(Service::parse(service.label()), Some(service));
        }
        assert_eq!(Service::parse("udp"), None);
    }
}
