//! Screening: making a table of 600,000 prefixes of each family, and asking it.
//!
//! Workload: a database with 600,000 IPv4 networks of /12 to /28 and 600,000 IPv6 networks of /28 to /64, whose countries
//! differ from those of their neighbours; 4,000,000 look-ups of random addresses in them, in random order; once with
//! three countries refused, as an embargo has it, and once with every second one, so that next to nothing can be put
//! together. Before that, what 100,000 answers of look-ups by DNS cost a core. Units: seconds to read and make the table, bytes of memory, nanoseconds of CPU a look-up. Beside it the
//! database's own look-up (without reading the record) and a binary search in the same ranges. A look-up over 60 ns
//! would be worth another structure.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ops::screening::lookups::{self, Known, Said};
use ops::screening::{Country, Sources, Verdict};
use shard::Seconds;

#[path = "../src/screening/written.rs"]
#[allow(dead_code)] // Tests use the rest of it.
mod written;

fn main() {
    known();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
    while v4.len() < PREFIXES {
        let len = random.u8(12..=28);
        // Nothing that is private.
        let address = Ipv4Addr::from(random.u32(0x1100_0000..0x6000_0000));
        let network = Ipv4Net::new(address, len).expect("a good length").trunc();
        v4.insert(u32::from(network.addr()), network);
    }
    while v6.len() < PREFIXES {
        let len = random.u8(28..=64);
        let address = Ipv6Addr::from(0x2400 << 112 | random.u128(..) >> 6);
        let network = Ipv6Net::new(address, len).expect("a good length").trunc();
        v6.insert(u128::from(network.addr()), network);
    }
    let countries: Vec<String> = (0..250).map(|at| Country::at(at).to_string()).collect();
    let networks = v4.values().copied().map(IpNet::V4).chain(v6.values().copied().map(IpNet::V6));
    let networks: Vec<(IpNet, &str)> = networks
        .enumerate()
        .map(|(at, network)| (network, countries[at % countries.len()].as_str()))
        .collect();
    let bytes = written::database(written::Form::default(), &networks);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &bytes).expect("room for the database");

    let sources = |deny_countries: Vec<Country>| Sources {
        deny_countries,
        allow_countries: Vec::new(),
        deny_lists: Vec::new(),
        allow_lists: Vec::new(),
        databases: vec![file.path().to_owned()],
        unknown: Verdict::Allow,
        has_lookups: false,
    };
    let read = |name: &'static str, deny_countries| {
        let start = Instant::now();
        let read = sources(deny_countries).read(false).expect("a good database");
        let seconds = start.elapsed().as_secs_f64();
        println!("{name}: read and made in {seconds:.2} s, {} bytes", read.table.bytes());
        (name, read.table)
    };
    let tables = [
        read("three countries of 250 refused", (0..3).map(Country::at).collect()),
        // What is served is never one range with its neighbour.
        read("every second one refused", (0..250).step_by(2).map(Country::at).collect()),
    ];
    let reader = maxminddb::Reader::from_source(bytes).expect("a good database");
    let v4: Vec<Ipv4Net> = v4.into_values().collect();
    let v6: Vec<Ipv6Net> = v6.into_values().collect();
    let in_v4 = |random: &mut fastrand::Rng| {
        let network = v4[random.usize(..v4.len())];
        let host = random.u32(..) & u32::from(network.hostmask());
        Ipv4Addr::from(u32::from(network.addr()) | host)
    };
    let in_v6 = |random: &mut fastrand::Rng| {
        let network = v6[random.usize(..v6.len())];
        let host = random.u128(..) & u128::from(network.hostmask());
        Ipv6Addr::from(u128::from(network.addr()) | host)
    };
    let asked_v4: Vec<IpAddr> = (0..ASKED).map(|_| in_v4(&mut random).into()).collect();
    let asked_v6: Vec<IpAddr> = (0..ASKED).map(|_| in_v6(&mut random).into()).collect();
    for (family, asked) in [("IPv4", &asked_v4), ("IPv6", &asked_v6)] {
        for (name, table) in &tables {
            ask(&format!("{family}: {name}"), asked, |address| table.refuses(address));
        }
        ask(&format!("{family}: the database itself"), asked, |address| {
            reader.lookup(address).is_ok_and(|found| found.has_data())
        });
    }
    let starts: Vec<u32> = v4.iter().map(|network| network.addr().into()).collect();
    ask("IPv4: binary search", &asked_v4, |address| match address {
        IpAddr::V4(address) => starts.partition_point(|start| *start <= address.into()) % 2 == 0,
        IpAddr::V6(_) => false,
    });
    let starts: Vec<u128> = v6.iter().map(|network| network.addr().into()).collect();
    ask("IPv6: binary search", &asked_v6, |address| match address {
        IpAddr::V6(address) => starts.partition_point(|start| *start <= address.into()) % 2 == 0,
        IpAddr::V4(_) => false,
    });
}

/// What a core does with answers of look-ups: it takes each in, and finds it.
fn known() {
    let mut random = fastrand::Rng::with_seed(2);
    let said: Vec<Said> = (0..KNOWN)
        .map(|_| {
            let address = Ipv4Addr::from(random.u32(0x1100_0000..0x6000_0000));
            let network = lookups::network_of(address.into());
            Said { network, country: Some(Country::at(random.usize(..250))), until: Seconds(100) }
        })
        .collect();
    let mut known = Known::new(2 * KNOWN);
    let start = on_cpu();
    said.iter().for_each(|said| _ = black_box(known.take_in(said)));
    let taken = (on_cpu() - start) as f64 / KNOWN as f64;
    ask(
        "look-ups: found",
        &said.iter().map(|said| said.network.addr()).collect::<Vec<_>>(),
        |address| known.find(address, Seconds(1)).0.is_some(),
    );
    println!("look-ups: {taken:.0} ns to take in an answer, {KNOWN} networks");
}

fn ask(name: &str, asked: &[IpAddr], judge: impl Fn(IpAddr) -> bool) {
    let mut nanos: Vec<f64> = Vec::new();
    let mut found = 0;
    for _ in 0..ROUNDS {
        let start = on_cpu();
        found = asked.iter().filter(|address| judge(**black_box(address))).count();
        nanos.push((on_cpu() - start) as f64 / asked.len() as f64);
    }
    nanos.sort_by(f64::total_cmp);
    println!("{name}: {:.0} ns a look-up, at best {:.0} ({found})", nanos[ROUNDS / 2], nanos[0]);
}

/// Nanoseconds that this thread has had a CPU; others may be busy on it meanwhile (schedstat, proc(5)).
fn on_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("a number")
}

const KNOWN: usize = 100_000;
const PREFIXES: usize = 600_000;
const ASKED: usize = 4_000_000;
const ROUNDS: usize = 5;
