//! Filters held beside what they stand for, in the kernel.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::wire::udp;

/// A socket with a filter, and one that sends to it.
struct Pair {
    receiver: UdpSocket,
    sender: UdpSocket,
    address: IpAddr,
}

impl Pair {
    fn new(host: &str, sieve: &Sieve) -> Self {
        let receiver = UdpSocket::bind((host, 0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let sender = UdpSocket::bind((host, 0)).unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        attach(&receiver, sieve).unwrap();
        let address = sender.local_addr().unwrap().ip();
        Self { receiver, sender, address }
    }

    /// Whether the kernel lets it through. It is followed by one that it lets through for certain.
    fn passes(&self, datagram: &[u8]) -> bool {
        let last = request(0, CONNECT_MAGIC, 16, 0xffff_ffff);
        self.sender.send(datagram).unwrap();
        self.sender.send(&last).unwrap();
        let mut buffer = [0; 2048];
        let received = self.receiver.recv(&mut buffer).unwrap();
        if buffer[..received] == last {
            return false;
        }
        assert_eq!(&buffer[..received], datagram, "it comes whole");
        let received = self.receiver.recv(&mut buffer).unwrap();
        assert_eq!(buffer[..received], last);
        true
    }
}

const CONNECT_MAGIC: u64 = 0x0417_2710_1980;

fn request(action: u32, id: u64, length: usize, transaction: u32) -> Vec<u8> {
    let mut datagram = id.to_be_bytes().to_vec();
    datagram.extend(action.to_be_bytes());
    datagram.extend(transaction.to_be_bytes());
    datagram.resize(length, 0x55);
    datagram
}

const OPEN: [(&str, bool); 2] = [("127.0.0.1", false), ("::1", true)];

/// Datagrams as they may come: such as are requests, nearly, and anything.
fn any(random: &mut fastrand::Rng) -> Vec<u8> {
    let length = match random.u8(..4) {
        0 => random.usize(..20),
        1 => [15, 16, 17, 35, 36, 37, 97, 98, 99][random.usize(..9)],
        _ => random.usize(..300),
    };
    let mut datagram: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
    let mut put = |at: usize, bytes: &[u8]| {
        for (to, from) in datagram.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    };
    if random.u8(..8) != 0 {
        put(8, &random.u32(..4).to_be_bytes());
    }
    if random.bool() {
        put(0, &CONNECT_MAGIC.to_be_bytes());
        if random.u8(..4) == 0 {
            put(random.usize(..8), &[random.u8(..)]);
        }
    }
    datagram
}

#[test]
fn c18_a_filter_lets_through_what_is_a_request_and_nothing_else() {
    for (host, is_v6) in OPEN {
        let slots = (0..16).map(|slot| (slot, None)).collect();
        let pair = Pair::new(host, &Sieve { is_v6, slots, connects: ALL_CONNECTS });
        let mut random = fastrand::Rng::with_seed(6);
        let mut passed = 0;
        for _ in 0..4000 {
            let datagram = any(&mut random);
            let is_request = udp::parse(&datagram).is_ok();
            assert_eq!(pair.passes(&datagram), is_request, "{datagram:x?}");
            passed += u32::from(is_request);
        }
        assert!((500..3500).contains(&passed), "{passed} of 4000 were requests");
    }
}

#[test]
fn c18_ids_pass_by_the_tag_of_their_address_and_slot() {
    let keys: Vec<TagKey> =
        vec![[1, 3, 5, 7, 9], [0xdead_beef, 0x9e37_79b9, 0x85eb_ca6b, 77, 0xc2b2_ae35]];
    for (host, is_v6) in OPEN {
        let slots = vec![(3, Some(keys[0])), (4, Some(keys[1])), (9, None)];
        let pair = Pair::new(host, &Sieve { is_v6, slots, connects: ALL_CONNECTS });
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..500 {
            let slot = random.u16(..16);
            let time = slot << 12 | random.u16(..1 << 12);
            let right = keys.get(usize::from(slot).wrapping_sub(3));
            let right = right.map(|key| tag(key, pair.address, time));
            let tag = match right {
                Some(right) if random.bool() => right,
                _ => random.u32(..1 << TAG_BITS),
            };
            let id = u64::from(time) << 48 | u64::from(tag) << 36 | random.u64(..) >> 28;
            let (action, length) = if random.bool() { (1, 98) } else { (2, 36) };
            let passes = slot == 9 || right == Some(tag);
            assert_eq!(pair.passes(&request(action, id, length, 1)), passes, "{id:x}");
        }
    }
}

#[test]
fn c18_connects_pass_by_chance() {
    let share = ALL_CONNECTS / 4;
    let pair =
        Pair::new("127.0.0.1", &Sieve { is_v6: false, slots: vec![(0, None)], connects: share });
    for transaction in 0..800 {
        pair.sender.send(&request(0, CONNECT_MAGIC, 16, transaction)).unwrap();
    }
    // An announce marks the end.
    pair.sender.send(&request(1, 0, 98, 0)).unwrap();
    let mut buffer = [0; 128];
    let mut passed = 0;
    while pair.receiver.recv(&mut buffer).unwrap() != 98 {
        passed += 1;
    }
    assert!((100..300).contains(&passed), "{passed} of 800 connects, 200 is the mean");
    assert_eq!(queue(&pair.receiver).unwrap().drops, 800 - passed);
    assert_eq!(queue(&pair.receiver).unwrap().taken, 0);
    pair.sender.send(&request(1, 0, 98, 0)).unwrap();
    let Queue { taken, room, .. } = queue(&pair.receiver).unwrap();
    assert!(taken > 98 && taken < room, "{taken} of {room}");
}

#[test]
fn a_filter_is_replaced_and_taken_off() {
    let none = Sieve { is_v6: false, slots: Vec::new(), connects: ALL_CONNECTS };
    let pair = Pair::new("127.0.0.1", &none);
    let announce = request(1, 0, 98, 1);
    assert!(!pair.passes(&announce));
    attach(&pair.receiver, &Sieve { slots: vec![(0, None)], ..none.clone() }).unwrap();
    assert!(pair.passes(&announce));
    attach(&pair.receiver, &none).unwrap();
    assert!(!pair.passes(&announce) && !pair.passes(b"anything"));
    detach(&pair.receiver).unwrap();
    assert!(pair.passes(&announce) && pair.passes(b"anything"));
    detach(&pair.receiver).unwrap();
}

#[test]
fn a_program_is_within_the_kernels_bound() {
    let slots = (0..16).map(|slot| (slot, Some([3; 5]))).collect();
    let sieve = Sieve { is_v6: true, slots, connects: 1 };
    assert!(program(&sieve).len() < 4096, "BPF_MAXINSNS");
}
