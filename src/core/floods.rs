//! What keeps floods away from a core: limits of networks, and bounds and switches of services.
//!
//! Whoever is counted has shown that it receives at its address: over UDP by its connection id, over HTTP by its connection.
//! So nobody can shut another one out by asking in its name.

mod breaker;

use std::net::IpAddr;
use std::sync::Arc;

use ops::counters::{Protocol, Reason};
use ops::rates::{Counted, Rates};
use ops::service::{Bound, Service, Serving};
use shard::Seconds;

use crate::core::{Engine, Refused, family};

use breaker::Breaker;
pub use breaker::Shedding;

/// The limits of a core.
#[derive(Debug, Default)]
pub struct Floods {
    /// There is anything to look at.
    is_on: bool,
    rates: Rates,
    breakers: [Breaker; Service::COUNT],
    /// When a network that comes too often was said last, and how many have come since.
    said: Seconds,
    left_out: u64,
}

impl Floods {
    /// What one of `cores` cores keeps to: the limits of networks, and its part of each service's bound. Which services
    /// shed is known to all of them by `shedding`.
    pub fn new(rates: Rates, bounds: &[Bound], cores: usize, shedding: &Arc<Shedding>) -> Self {
        let bound = |service: Service| {
            let bounds = bounds.iter().filter(|bound| bound.service == service);
            bounds.map(|bound| bound.per_second.div_ceil(cores) as u64).min()
        };
        let breakers =
            Service::ALL.map(|service| Breaker::new(service, bound(service), shedding.clone()));
        let mut floods = Self { rates, breakers, ..Self::default() };
        floods.look();
        floods
    }

    /// Switches a service on or off.
    pub fn switch(&mut self, service: Service, is_on: bool) {
        self.breakers[service as usize].is_off = !is_on;
        self.look();
    }

    /// Whether a service has been switched off.
    #[inline]
    pub fn is_off(&self, service: Service) -> bool {
        self.breakers[service as usize].is_off
    }

    /// How each service is.
    pub fn figures(&self) -> [Serving; Service::COUNT] {
        Service::ALL.map(|service| {
            let breaker = &self.breakers[service as usize];
            let (is_shedding, shed) = breaker.figures();
            Serving { is_off: breaker.is_off, is_shedding, shed }
        })
    }

    /// Ends what is over, once a second.
    pub fn tick(&mut self, steady: Seconds) {
        self.breakers.iter_mut().for_each(|breaker| breaker.tick(steady));
    }

    fn look(&mut self) {
        self.is_on = self.rates.is_on() || self.breakers.iter().any(Breaker::is_needed);
    }
}

/// What is lost with a request that is turned away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Worth {
    /// Nothing: it comes again, and says all that this one would have said.
    Repeated,
    /// What a client has moved since it was heard last, which it says no second time. There is as much room for such
    /// requests as for others, beside them.
    SaidOnce,
    /// What the site says, whose password nobody else has.
    OfTheSite,
}

impl Engine {
    /// Whether no connections of a service are accepted now: it is switched off, or has had too many within this second.
    #[inline]
    pub fn rests(&self, service: Service) -> bool {
        let Floods { is_on, breakers, .. } = &self.floods;
        *is_on && breakers[service as usize].rests(self.clock.steady())
    }

    /// Counts a request whose sender is sure; an error where it is one too many. Nothing is looked at where there are no
    /// limits. `worth` says of one that is too many what would be lost with it.
    #[inline]
    pub fn admit(
        &mut self,
        service: Service,
        address: IpAddr,
        now: Seconds,
        worth: impl FnOnce(&Self) -> Worth,
    ) -> Result<(), Refused> {
        match self.floods.is_on {
            false => Ok(()),
            true => self.admit_within_limits(service, address, now, worth),
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_within_limits(
        &mut self,
        service: Service,
        address: IpAddr,
        now: Seconds,
        worth: impl FnOnce(&Self) -> Worth,
    ) -> Result<(), Refused> {
        let steady = self.clock.steady_at(now);
        let Floods { rates, breakers, .. } = &mut self.floods;
        let (protocol, breaker) = (protocol(service), &mut breakers[service as usize]);
        let refused = if breaker.is_off {
            Refused::Off
        } else if !rates.let_in(Counted::Request, address, steady) {
            Refused::Rate
        } else if !breaker.take(steady) {
            Refused::Shed
        } else {
            return Ok(());
        };
        if refused != Refused::Off && self.makes_room(service, address, steady, worth(self)) {
            return Ok(());
        }
        match refused {
            Refused::Rate => self.say_flooding(address, "requests", protocol, now),
            Refused::Shed => self.floods.breakers[service as usize].note_shed(steady),
            _ => {}
        }
        self.counters.front(protocol, family(address)).refuse(refused.reason());
        Err(refused)
    }

    /// Whether there is room for a request of such worth where there is none for others.
    fn makes_room(
        &mut self,
        service: Service,
        address: IpAddr,
        steady: Seconds,
        worth: Worth,
    ) -> bool {
        let Floods { rates, breakers, .. } = &mut self.floods;
        match worth {
            Worth::Repeated => false,
            Worth::SaidOnce => {
                rates.let_in(Counted::Last, address, steady)
                    && breakers[service as usize].take_last(steady)
            }
            Worth::OfTheSite => true,
        }
    }

    /// Counts a new connection; false where it is one too many, and is to be closed.
    #[inline]
    pub fn admit_connection(&mut self, service: Service, address: IpAddr) -> bool {
        match self.floods.is_on {
            false => true,
            true => self.admit_connection_within_limits(service, address),
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_connection_within_limits(&mut self, service: Service, address: IpAddr) -> bool {
        let now = self.clock.now();
        let steady = self.clock.steady_at(now);
        let breaker = &mut self.floods.breakers[service as usize];
        if breaker.is_off {
            return false;
        }
        breaker.accepted(steady);
        if self.floods.rates.let_in(Counted::Connection, address, steady) {
            return true;
        }
        self.say_flooding(address, "connections", Protocol::Http, now);
        let front = self.counters.front(Protocol::Http, family(address));
        front.refuse(Reason::ConnectionRate);
        false
    }

    fn say_flooding(&mut self, address: IpAddr, what: &str, protocol: Protocol, now: Seconds) {
        let Floods { rates, said, left_out, .. } = &mut self.floods;
        if now.since(*said) < SAID_EACH && now >= *said {
            *left_out += 1;
            return;
        }
        *said = now;
        let (left_out, network) = (std::mem::take(left_out), rates.network(address));
        let protocol = protocol.label();
        tracing::info!(%network, protocol, what, left_out, "too much comes from a network");
    }
}

/// A core names a network that comes too often at most once in this time: who floods most is named most.
const SAID_EACH: Seconds = Seconds(5);

fn protocol(service: Service) -> Protocol {
    match service {
        Service::Udp4 | Service::Udp6 => Protocol::Udp,
        _ => Protocol::Http,
    }
}
