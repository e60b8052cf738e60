//! Floods of what can only be dropped: the honest are answered meanwhile, memory stays what it was, and afterwards all is
//! as before. `ops/bench.d/flood` measures the same from another network namespace, at the speed of a whole core.

use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::tracker::udp::{Announce, MAGIC, Udp};
use crate::tracker::{HOMES, Tracker, hash};

/// A datagram of a flood; a connection id that is good goes in.
type Junk = fn(&mut fastrand::Rng, u64) -> Vec<u8>;

fn garbage(random: &mut fastrand::Rng, _: u64) -> Vec<u8> {
    let length = random.usize(..200);
    (0..length).map(|_| random.u8(..)).collect()
}

fn connects(random: &mut fastrand::Rng, _: u64) -> Vec<u8> {
    let mut datagram = MAGIC.to_be_bytes().to_vec();
    datagram.extend([0; 4]);
    datagram.extend(random.u32(..).to_be_bytes());
    datagram
}

/// Announces whose ids are right in nothing but their time.
fn wrong_ids(random: &mut fastrand::Rng, good: u64) -> Vec<u8> {
    let mut datagram = (good >> 48 << 48 | random.u64(..) >> 16).to_be_bytes().to_vec();
    datagram.extend([0, 0, 0, 1]);
    datagram.resize_with(98, || random.u8(..));
    datagram
}

/// Floods `tracker` from several addresses, where there are several, while `meanwhile` runs.
fn flood(tracker: &Tracker, home: IpAddr, junk: Junk, good: u64, meanwhile: impl FnOnce()) {
    let sockets: Vec<UdpSocket> = (1..=16)
        .map(|last| {
            let from = if home.is_ipv4() { [127, 66, 0, last].into() } else { home };
            let socket = UdpSocket::bind((from, 0)).unwrap();
            socket.connect(tracker.udp(home)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        })
        .collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(8);
            let datagrams: Vec<Vec<u8>> = (0..512).map(|_| junk(&mut random, good)).collect();
            for (datagram, socket) in datagrams.iter().cycle().zip(sockets.iter().cycle()) {
                // What the kernel does not take is lost, as anything may be.
                let _ = socket.send(datagram);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        meanwhile();
        over.store(true, Ordering::Relaxed);
    });
}

/// Nearly all announces with a good id are answered while junk floods in. Of connects none is dropped where all are
/// answered.
fn check_survival(home: IpAddr, junk: Junk, is_dropped: bool) {
    let tracker = Tracker::start("");
    let client = Udp::connect(tracker.udp(home));
    let announce = Announce::new(hash("a torrent in a flood"), 6881);
    client.announce(&announce);
    let memory = || tracker.metric("margay_process_resident_memory_bytes", &[]);
    let before = memory();
    flood(&tracker, home, junk, client.id, || {
        if is_dropped {
            tracker.await_metric("margay_udp_filters", &[], 1.0);
        }
        let asked = 100;
        let answered = (0..asked)
            .filter(|_| {
                let request = client.announce_request(&announce);
                client.ask_within(request, Duration::from_secs(5)).is_some()
            })
            .count();
        assert!(answered * 10 >= asked * 9, "{answered} of {asked} announces were answered");
    });
    client.announce(&announce);
    let grown = memory() - before;
    assert!(grown < f64::from(16 << 20), "{grown} bytes more");
}

#[test]
fn c18_the_honest_are_answered_under_garbage() {
    HOMES.into_iter().for_each(|home| check_survival(home, garbage, true));
}

#[test]
fn c18_the_honest_are_answered_under_connects() {
    HOMES.into_iter().for_each(|home| check_survival(home, connects, false));
}

#[test]
fn c18_the_honest_are_answered_under_wrong_ids() {
    HOMES.into_iter().for_each(|home| check_survival(home, wrong_ids, true));
}

#[test]
fn c18_after_a_flood_all_is_as_before() {
    let tracker = Tracker::start("--cores 2");
    let home = HOMES[0];
    let client = Udp::connect(tracker.udp(home));
    flood(&tracker, home, garbage, client.id, || {
        // Both cores get a part of it.
        tracker.await_metric("margay_udp_filters", &[], 2.0);
    });
    assert_eq!(tracker.times_logged("a flood over UDP"), 1);
    tracker.await_logged("the flood over UDP is over", 1);
    tracker.await_metric("margay_udp_filters", &[], 0.0);
    assert!(tracker.metric("margay_udp_filter_drops_total", &[]) > 0.0);
    let malformed = || tracker.metric("margay_refusals_total", &[r#"reason="malformed""#]);
    let before = malformed();
    client.send(&client.request(MAGIC, 7));
    tracker.await_metric("margay_refusals_total", &[r#"reason="malformed""#], before + 1.0);
}
