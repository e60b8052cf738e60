//! Screening: making a table of 600,000 prefixes of each family, and asking it.
//!
//! Workloads: a database with 600,000 IPv4 networks of /12 to /28 and 600,000 IPv6 networks, whose countries differ from
//! those of their neighbours. The IPv6 networks lie once anywhere, /28 to /64, and once as they are announced: /32 to /48,
//! close together in 60,000 blocks of the /16s that registries give out. 4,000,000 look-ups in random order, of random
//! addresses in the networks; of those that are announced, half are in none. Each once with three countries refused, as an
//! embargo has it, and once with every second one, so that next to nothing can be put together. Before that, what 100,000
//! answers of look-ups by DNS cost a core.
//!
//! Units: seconds to read and make the table, bytes of memory, nanoseconds of CPU a look-up. Beside it the database's own
//! look-up (without reading the record), a binary search in the same ranges, and what one random line of as much memory
//! costs, where each tells the next (its latency) and where none does. A look-up is to take 60 ns at most.

use std::collections::BTreeSet;
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
    let v4 = networks(|| {
        let len = random.u8(12..=28);
        // Nothing that is private.
        let address = Ipv4Addr::from(random.u32(0x1100_0000..0x6000_0000));
        Ipv4Net::new(address, len).expect("a good length").trunc().into()
    });
    let anywhere = networks(|| {
        let len = random.u8(28..=64);
        let address = Ipv6Addr::from(0x2400 << 112 | random.u128(..) >> 6);
        Ipv6Net::new(address, len).expect("a good length").trunc().into()
    });
    let blocks: Vec<u128> = (0..BLOCKS).map(|_| registered(&mut random) >> 96 << 96).collect();
    let announced = networks(|| {
        // Some have many more than others.
        let most = random.usize(1..=blocks.len());
        let address = Ipv6Addr::from(blocks[random.usize(..most)] | random.u128(..) >> 32);
        let len = *random.choice(&ANNOUNCED).expect("some");
        Ipv6Net::new(address, len).expect("a good length").trunc().into()
    });
    let in_one = |random: &mut fastrand::Rng, networks: &[IpNet]| -> IpAddr {
        match networks[random.usize(..networks.len())] {
            IpNet::V4(network) => {
                let host = random.u32(..) & u32::from(network.hostmask());
                Ipv4Addr::from(u32::from(network.addr()) | host).into()
            }
            IpNet::V6(network) => {
                let host = random.u128(..) & u128::from(network.hostmask());
                Ipv6Addr::from(u128::from(network.addr()) | host).into()
            }
        }
    };
    let asked = |random: &mut fastrand::Rng, networks: &[IpNet]| -> Vec<IpAddr> {
        (0..ASKED).map(|_| in_one(random, networks)).collect()
    };
    let asked_v4 = asked(&mut random, &v4);
    let asked_anywhere = asked(&mut random, &anywhere);
    let asked_announced: Vec<IpAddr> = (0..ASKED)
        .map(|_| match random.bool() {
            true => in_one(&mut random, &announced),
            false => Ipv6Addr::from(registered(&mut random)).into(),
        })
        .collect();
    let workloads = [
        (
            "anywhere",
            anywhere,
            vec![("IPv4", v4.clone(), asked_v4), ("IPv6", Vec::new(), asked_anywhere)],
        ),
        ("announced", announced, vec![("IPv6", Vec::new(), asked_announced)]),
    ];
    let countries: Vec<String> = (0..250).map(|at| Country::at(at).to_string()).collect();
    for (name, v6, families) in workloads {
        println!("IPv6 networks {name}:");
        let networks = v4.iter().chain(&v6).copied().enumerate();
        let networks: Vec<(IpNet, &str)> = networks
            .map(|(at, network)| (network, countries[at % countries.len()].as_str()))
            .collect();
        let bytes = written::database(written::Form::default(), &networks);
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &bytes).expect("room for the database");
        let read = |name: &'static str, deny_countries| {
            let sources = Sources {
                deny_countries,
                allow_countries: Vec::new(),
                deny_lists: Vec::new(),
                allow_lists: Vec::new(),
                databases: vec![file.path().to_owned()],
                unknown: Verdict::Allow,
                has_lookups: false,
            };
            let start = Instant::now();
            let read = sources.read(false).expect("a good database");
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
        for (family, networks, asked) in &families {
            for (name, table) in &tables {
                ask(&format!("{family}: {name}"), asked, |address| table.refuses(address));
            }
            ask(&format!("{family}: the database itself"), asked, |address| {
                reader.lookup(address).is_ok_and(|found| found.has_data())
            });
            let networks = if networks.is_empty() { &v6 } else { networks };
            let starts: Vec<u128> = networks.iter().map(|network| bits(network.addr())).collect();
            ask(&format!("{family}: binary search"), asked, |address| {
                starts.partition_point(|start| *start <= bits(address)) % 2 == 0
            });
        }
        memory(tables[1].1.bytes());
    }
}

/// Different networks, in the order of their addresses.
fn networks(mut one: impl FnMut() -> IpNet) -> Vec<IpNet> {
    let mut networks = BTreeSet::new();
    while networks.len() < PREFIXES {
        networks.insert(one());
    }
    networks.into_iter().collect()
}

/// An address in a /16 that registries give networks out of.
fn registered(random: &mut fastrand::Rng) -> u128 {
    let upper = match random.usize(..5) {
        0 => 0x2001,
        1 => random.u128(0x2400..=0x240f),
        2 => random.u128(0x2600..=0x2610),
        3 => random.u128(0x2800..=0x2806),
        _ => random.u128(0x2a00..=0x2a14),
    };
    upper << 112 | random.u128(..) >> 16
}

/// An address as a number; of IPv4, of 32 bits.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// What a random line of so much memory costs.
fn memory(bytes: usize) {
    let mut random = fastrand::Rng::with_seed(3);
    #[repr(align(64))]
    struct Line(u32);
    // One ring through all of them.
    let mut order: Vec<u32> = (0..bytes as u32 / 64).collect();
    random.shuffle(&mut order);
    let mut lines: Vec<Line> = order.iter().map(|_| Line(0)).collect();
    for (at, next) in order.iter().zip(order.iter().cycle().skip(1)) {
        lines[*at as usize].0 = *next;
    }
    let timed = |name: &str, read: &mut dyn FnMut() -> u32| {
        let mut nanos: Vec<f64> = Vec::new();
        for _ in 0..ROUNDS {
            let start = on_cpu();
            black_box(read());
            nanos.push((on_cpu() - start) as f64 / ASKED as f64);
        }
        nanos.sort_by(f64::total_cmp);
        println!("{name}: {:.0} ns, at best {:.0}", nanos[ROUNDS / 2], nanos[0]);
    };
    timed("a random line of as much memory, told by the one before", &mut || {
        (0..ASKED).fold(0, |at, _| lines[at as usize].0)
    });
    let asked: Vec<u32> = (0..ASKED).map(|_| random.u32(..lines.len() as u32)).collect();
    timed("a random line of as much memory, known ahead", &mut || {
        asked.iter().fold(0, |sum, at| sum ^ lines[*at as usize].0)
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
const BLOCKS: usize = 60_000;
/// How long networks that are announced are; every second one is a /48.
const ANNOUNCED: [u8; 12] = [32, 34, 36, 38, 40, 44, 48, 48, 48, 48, 48, 48];
const ASKED: usize = 4_000_000;
const ROUNDS: usize = 5;
