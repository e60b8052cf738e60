//! Who may connect: bounds for connections that have not said what they want, and for all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

/// What is counted of the connections. Who comes beyond a bound is closed without a word.
pub(crate) struct Admission {
    counts: Mutex<Counts>,
    bounds: Bounds,
}

/// The bounds.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) connections_max: usize,
    pub(crate) per_address_max: usize,
    pub(crate) half_open_max: usize,
    pub(crate) half_open_per_address_max: usize,
}

#[derive(Default)]
struct Counts {
    all: Count,
    by_address: HashMap<IpAddr, Count>,
}

/// Connections, and those of them whose handshake is not complete.
#[derive(Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) connections: usize,
    pub(crate) half_open: usize,
}

impl Admission {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self { counts: Mutex::default(), bounds }
    }

    /// A connection with `address` begins, unless there are too many.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Pass> {
        let address = network(address);
        let (counts, bounds) = (&mut *self.lock(), &self.bounds);
        let here = counts.by_address.get(&address).copied().unwrap_or_default();
        if counts.all.connections >= bounds.connections_max
            || counts.all.half_open >= bounds.half_open_max
            || here.connections >= bounds.per_address_max
            || here.half_open >= bounds.half_open_per_address_max
        {
            return None;
        }
        for count in [&mut counts.all, counts.by_address.entry(address).or_default()] {
            count.connections += 1;
            count.half_open += 1;
        }
        Some(Pass { admission: self.clone(), address, is_half_open: true })
    }

    pub(crate) fn count(&self) -> Count {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().expect("nothing panics while it is held")
    }
}

/// One connection that is counted as long as this is there.
pub(crate) struct Pass {
    admission: Arc<Admission>,
    address: IpAddr,
    is_half_open: bool,
}

impl Pass {
    /// Its handshake is complete.
    pub(crate) fn opened(&mut self) {
        if std::mem::take(&mut self.is_half_open) {
            self.count(|count| count.half_open -= 1);
        }
    }

    fn count(&self, change: impl Fn(&mut Count)) {
        let counts = &mut *self.admission.lock();
        change(&mut counts.all);
        if let Some(here) = counts.by_address.get_mut(&self.address) {
            change(here);
            if here.connections == 0 {
                counts.by_address.remove(&self.address);
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.opened();
        self.count(|count| count.connections -= 1);
    }
}

/// What is counted as one address: an IPv4 address, or the 64 bits of an IPv6 network that one host can have to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            if address.is_loopback() {
                IpAddr::V6(address)
            } else {
                IpAddr::V6(Ipv6Addr::from(bits))
            }
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bound_holds_and_what_is_gone_makes_room() {
        let bounds = Bounds {
            connections_max: 4,
            per_address_max: 3,
            half_open_max: 3,
            half_open_per_address_max: 2,
        };
        let admission = Arc::new(Admission::new(bounds));
        let one = "2001:db8::1".parse().unwrap();
        let same = "2001:db8::2".parse().unwrap();
        let other = "198.51.100.1".parse().unwrap();
        let mut first = admission.enter(one).unwrap();
        let _second = admission.enter(same).unwrap();
        assert!(admission.enter(one).is_none(), "two of one network have not said what they want");
        let _third = admission.enter(other).unwrap();
        assert!(admission.enter(other).is_none(), "three in all have not");
        first.opened();
        let fourth = admission.enter(one).unwrap();
        assert!(admission.enter(other).is_none(), "four are connected");
        drop(fourth);
        drop(first);
        assert_eq!(admission.count().connections, 2);
        assert!(admission.enter(one).is_some());
    }
}
