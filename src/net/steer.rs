//! Makes the kernel hand each datagram to the core that owns its infohash.
//!
//! The sockets of a `SO_REUSEPORT` group are numbered in the order they were bound. A classic BPF
//! program (bpf(4), `SO_ATTACH_REUSEPORT_CBPF` in socket(7)) sees the datagram without its UDP header
//! and returns the number of the socket that gets it.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

/// Where announce and scrape requests (BEP 15) carry their first infohash.
const INFO_HASH_OFFSET: u32 = 16;

/// Where a connect request carries its transaction id, which spreads as well as any other number.
const TRANSACTION_OFFSET: u32 = 12;

/// Steers the group of `socket`, which has `cores` sockets bound in core order.
///
/// Fails where the kernel is too old or forbids it; every datagram then reaches a core of the
/// kernel's choice and takes a hop from there.
pub fn attach(socket: &UdpSocket, cores: u32) -> io::Result<()> {
    let mut program = program(cores);
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `filter` points at `program`, which outlives the call; the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Steers the group of `socket` no longer: the kernel chooses.
pub fn detach(socket: &UdpSocket) -> io::Result<()> {
    let nothing: libc::c_int = 0;
    // SAFETY: the option takes an `int` that it does not look at, and the length given is that of it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_REUSEPORT_BPF,
            (&raw const nothing).cast(),
            size_of::<libc::c_int>() as u32,
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // It was not, or it is no group.
            error if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
            error => Err(error),
        },
    }
}

/// `len >= 36 ? u32[16] : u32[12]`, modulo the number of cores. A datagram shorter than 16 bytes
/// stops the program at its load, which returns 0: the first core, which drops it.
fn program(cores: u32) -> [libc::sock_filter; 7] {
    const SHORTEST_WITH_HASH: u32 = INFO_HASH_OFFSET + 20;
    let load_word = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 2, SHORTEST_WITH_HASH),
        instruction(load_word, 0, 0, INFO_HASH_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, 1),
        instruction(load_word, 0, 0, TRANSACTION_OFFSET),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, 0, 0, cores),
        instruction(libc::BPF_RET | BPF_A, 0, 0, 0),
    ]
}

/// "Return the accumulator" (`linux/filter.h`).
const BPF_A: u32 = 0x10;

fn instruction(code: u32, if_true: u8, if_false: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: if_true, jf: if_false, k: operand }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use crate::net::bind;

    /// Sends datagrams of every relevant length and checks which socket of the group got each.
    fn check_steering(address: &str, cores: u32) {
        let first = bind::udp(address.parse().unwrap(), None).unwrap();
        let bound: SocketAddr = first.local_addr().unwrap();
        let mut sockets = vec![first];
        for _ in 1..cores {
            sockets.push(bind::udp(bound, None).unwrap());
        }
        super::attach(&sockets[0], cores).unwrap();
        let client = bind::udp(SocketAddr::new(bound.ip(), 0), None).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let length = random.usize(16..200);
            let datagram: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            let offset = if length >= 36 { 16 } else { 12 };
            let word = u32::from_be_bytes(datagram[offset..offset + 4].try_into().unwrap());
            let owner = &sockets[(word % cores) as usize];
            client.send_to(&datagram, bound).unwrap();
            owner.set_nonblocking(false).unwrap();
            owner.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut buffer = [0; 256];
            let received = owner.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..received], datagram);
        }
    }

    #[test]
    fn every_datagram_reaches_the_owner_of_its_infohash() {
        check_steering("127.0.0.1:0", 2);
        check_steering("127.0.0.1:0", 3);
        check_steering("[::1]:0", 5);
    }
}
