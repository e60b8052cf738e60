//! Refusals one by one, for operators who look for the reason: lines of the log at `--log debug`, or
//! `--log info,margay::front=debug`. Nothing is made where they are not wanted.

use std::fmt::Display;
use std::net::IpAddr;

use ops::counters::Protocol;
use shard::private::Passkey;

/// A request from this address is refused.
pub(super) fn say(protocol: Protocol, address: IpAddr, why: &dyn Display) {
    tracing::debug!(protocol = protocol.label(), %address, %why, "refused");
}

/// No user who may announce has this passkey: its beginning tells a typing mistake or an old one from a guess.
pub(super) fn say_passkey(protocol: Protocol, address: IpAddr, passkey: &Passkey) {
    let begins = &passkey.reveal()[..SHOWN];
    tracing::debug!(protocol = protocol.label(), %address, begins, "nobody has this passkey");
}

/// Characters of a passkey that are shown, of 32.
const SHOWN: usize = 6;
