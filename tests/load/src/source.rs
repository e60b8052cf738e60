//! The loopback addresses that clients seem to come from.

use std::net::Ipv4Addr;

/// Most source addresses of a run.
pub(crate) const SOURCES_MAX: u32 = 60_000;

/// Source address number `index`, from 127.77.0.1 on; below [`SOURCES_MAX`] they are distinct.
pub(crate) fn address(index: u32) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, (index / 250) as u8, (index % 250 + 1) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_distinct_and_ordinary() {
        let all: std::collections::HashSet<_> = (0..SOURCES_MAX).map(address).collect();
        assert_eq!(all.len(), SOURCES_MAX as usize);
        assert!(all.iter().all(|address| address.is_loopback() && address.octets()[3] != 0));
    }
}
