//! Makes the kernel drop datagrams that no answer can follow, before they take a place in a socket's queue.
//!
//! A classic BPF program on the socket (bpf(4), `SO_ATTACH_FILTER` in socket(7)) sees each datagram with its UDP header,
//! and by `SKF_NET_OFF` its IP header. It needs no privilege. What it drops costs the kernel's way up to the socket and
//! nothing behind it: no queue, no copy, no system call. It knows nothing but what is in [`Sieve`], so a socket that is
//! handed to another process keeps the one that it has until that process attaches its own or none.

mod program;

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

pub use program::program;

/// What a filter lets through, on top of what every request has to be (see [`program`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sieve {
    /// Whether the socket's addresses are IPv6; otherwise IPv4.
    pub is_v6: bool,
    /// The keys of the tags that connection ids carry, each for ids of its own slot of time (their uppermost four bits);
    /// ids of a slot without any are refused. `None` lets all ids of a slot through.
    pub slots: Vec<(u8, Option<TagKey>)>,
    /// So many of 2^16 connects are let through, by chance; from 2^16 on it is all of them.
    pub connects: u32,
}

/// The secret of a tag: five words. Those that are multiplied by are odd.
pub type TagKey = [u32; 5];

/// A tag has so many bits.
pub const TAG_BITS: u32 = 12;

/// All connects.
pub const ALL_CONNECTS: u32 = 1 << 16;

/// The tag of a connection id that was given to `address`, as the sockets of its family show it, at a time of which these
/// are the lower 16 bits.
///
/// It has to be so little that a filter can compute it for each datagram of a flood. It is a keyed hash in which each
/// input bit reaches each output bit, no more: who has many addresses, and so many tags, might come to compute those of
/// others, and would then reach the hash behind it in the connection id, which is the one that counts.
#[inline]
pub fn tag(key: &TagKey, address: IpAddr, time: u16) -> u32 {
    let [first, each, second, third, last] = *key;
    let mix = |mixed: u32, word: u32| {
        let mixed = (mixed ^ word).wrapping_mul(each);
        mixed ^ mixed >> 16
    };
    let mut mixed = match address {
        IpAddr::V4(address) => mix(first, address.to_bits()),
        IpAddr::V6(address) => {
            let octets = address.octets();
            let words = octets.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word));
            words.fold(first, mix)
        }
    };
    mixed = mixed.wrapping_add(time.into()).wrapping_mul(second);
    mixed ^= mixed >> 15;
    (mixed ^ third).wrapping_mul(last) >> (32 - TAG_BITS)
}

/// Puts a filter on `socket`, in the place of the one that it has; no datagram comes between the two.
pub fn attach(socket: impl AsFd, sieve: &Sieve) -> io::Result<()> {
    let mut program = program(sieve);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points at `program`, which outlives the call; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the filter off `socket`, if there is one.
pub fn detach(socket: impl AsFd) -> io::Result<()> {
    let unused = 0_i32;
    // SAFETY: the option takes an `int` that it does not read, and the length given is that of the `i32` pointed at.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_FILTER,
            (&raw const unused).cast(),
            size_of::<i32>() as u32,
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            error => Err(error),
        },
    }
}

/// The queue of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Queue {
    /// Bytes of memory that is taken by what waits in it.
    pub taken: u32,
    /// How many there may be.
    pub room: u32,
    /// Datagrams that were dropped since the socket was made: by its filter, or as the queue was full. The kernel counts
    /// both as one, and modulo 2^32.
    pub drops: u32,
}

/// The queue of `socket`.
pub fn queue(socket: impl AsFd) -> io::Result<Queue> {
    let mut figures = [0_u32; FIGURES];
    let mut length = size_of_val(&figures) as u32;
    // SAFETY: the kernel writes at most `length` bytes, which is what `figures` has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            (&raw mut figures).cast(),
            &raw mut length,
        )
    };
    match result {
        0 => Ok(Queue { taken: figures[TAKEN], room: figures[ROOM], drops: figures[DROPS] }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The figures of `SO_MEMINFO` (`linux/sock_diag.h`), and which of them are `SK_MEMINFO_RMEM_ALLOC`, `_RCVBUF` and `_DROPS`.
const FIGURES: usize = 9;
const TAKEN: usize = 0;
const ROOM: usize = 1;
const DROPS: usize = 8;

#[cfg(test)]
mod tests;
