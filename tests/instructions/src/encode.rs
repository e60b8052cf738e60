//! Replies to announces, with 50 peers.

use std::net::IpAddr;

use margay::wire::http::{self, Framing, Persistence};
use margay::wire::{private, udp};
use shard::{Counts, Seconds};

use crate::{Walk, counted};

/// Replies of a walk, and how many of them stand in the buffer together.
const REPLIES: usize = 10_000;
const TOGETHER: usize = 50;

const KEEP: Framing = Framing { persistence: Persistence::Keep, head_only: false };

/// Writes a reply; the number makes it differ from others.
struct Encode(fn(&mut Vec<u8>, &shard::Reply, u32), shard::Reply, Vec<u8>);

pub(crate) fn udp() -> Box<dyn Walk> {
    encode(|out, reply, number| {
        let transaction = udp::Transaction(number.to_be_bytes());
        udp::write_announce(out, transaction, interval(number), reply.counts, &reply.peers_v4);
    })
}

pub(crate) fn http() -> Box<dyn Walk> {
    encode(|out, reply, number| {
        let announced = http::Announced {
            reply,
            interval: interval(number),
            interval_min: Seconds(900),
            external_ip: Some(IpAddr::from(number.to_be_bytes())),
            compact: true,
            warning: None,
        };
        http::write_announce(out, KEEP, &announced);
    })
}

pub(crate) fn private() -> Box<dyn Walk> {
    encode(|out, reply, number| {
        let announced = private::Announced {
            counts: reply.counts,
            peers_v4: &reply.peers_v4,
            peers_v6: &reply.peers_v6,
            interval: interval(number),
            interval_min: Seconds(900),
            compact: true,
            warning: None,
        };
        private::write_announce(out, KEEP, &announced);
    })
}

fn interval(number: u32) -> Seconds {
    Seconds(1800 + number % 64)
}

fn encode(write: fn(&mut Vec<u8>, &shard::Reply, u32)) -> Box<dyn Walk> {
    let counts = Counts { seeders: 123, leechers: 45, partial_seeds: 0, snatches: 6789 };
    let reply = shard::Reply { counts, peers_v4: vec![7; 50 * 6], peers_v6: Vec::new() };
    Box::new(Encode(write, reply, Vec::new()))
}

impl Walk for Encode {
    fn walk(&mut self) -> usize {
        let Self(write, reply, out) = self;
        counted(&mut || {
            for number in 0..REPLIES {
                if number % TOGETHER == 0 {
                    out.clear();
                }
                write(out, reply, number as u32);
            }
        });
        assert!(out.len() > TOGETHER * 300);
        REPLIES
    }
}
