//! A flood beside honest clients: junk as fast as asked for, and how many of the honest are answered meanwhile.
//!
//! One thread does both by turns, so that the honest do not wait for a CPU that the flood keeps busy. Junk leaves
//! from addresses that nobody has, so this is for network namespaces only.

mod honest;
mod junk;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use fastrand::Rng;

use crate::batch::BATCH;
use crate::cli::FloodOptions;
use crate::pace::{Arrivals, Pace};
use crate::process::Process;
use honest::Honest;
use junk::Junk;

pub(crate) use junk::Kind;

/// How the flood of a run went.
struct Outcome {
    sent: u64,
    seconds: f64,
    /// Memory of the processes watched: before, at most while it lasted, and after.
    rss_bytes: [u64; 3],
    cpu_seconds: f64,
}

/// Floods a tracker, and prints what its honest clients saw of it.
pub(crate) fn run(options: &FloodOptions) -> Result<(), Box<dyn Error>> {
    let SocketAddr::V4(to) = options.to else { return Err("only over IPv4".into()) };
    let processes: Vec<Process> =
        options.pid.iter().map(|&pid| Process::new(pid)).collect::<Result<_, _>>()?;
    let mut honest = Honest::begin(options, to)?;
    let outcome = flood(options, to, &mut honest, &processes)?;
    print(options, &honest, &outcome);
    Ok(())
}

fn flood(
    options: &FloodOptions,
    to: SocketAddrV4,
    honest: &mut Honest,
    processes: &[Process],
) -> Result<Outcome, Box<dyn Error>> {
    let rss = || processes.iter().map(Process::rss_bytes).sum::<std::io::Result<u64>>();
    let cpu = || processes.iter().map(Process::cpu).sum::<std::io::Result<std::time::Duration>>();
    let (before, cpu_before) = (rss()?, cpu()?);
    let mut most = before;
    let mut junk = match options.kind {
        Some(kind) => Some(Junk::open(kind, to, &options.device, options.sources, honest.id())?),
        None => None,
    };
    let mut rng = Rng::with_seed(options.seed);
    let clock = Instant::now();
    let now = || clock.elapsed().as_nanos() as u64;
    let mut pace = options.rate.map(|rate| Pace::new(rate, Arrivals::Even, 0));
    let (end, settled) = (nanos(options.seconds), nanos(options.seconds + SETTLE));
    honest.start(options, nanos(options.lead), end);
    let (mut sent, mut looked) = (0, 0);
    loop {
        let began = now();
        if began >= settled {
            break;
        }
        let count = match (&junk, &mut pace) {
            (None, _) => 0,
            (Some(_), None) => BATCH,
            (Some(_), Some(pace)) => {
                // A burst of what could not be sent in time is another flood than the one asked for.
                pace.skip_to(began.saturating_sub(BEHIND_MAX));
                (0..BATCH).take_while(|_| pace.due(began, &mut rng).is_some()).count()
            }
        };
        if let (Some(junk), 1..) = (&mut junk, count) {
            sent += junk.send(count)?;
        }
        honest.exchange(now())?;
        honest.announces.stalls.mark(now(), 0);
        if count < BATCH / 4 {
            std::thread::sleep(NAP);
            honest.announces.stalls.mark(now(), NAP.as_nanos() as u64);
        }
        if began - looked > nanos(0.1) {
            looked = began;
            most = most.max(rss()?);
        }
    }
    honest.end();
    let seconds = clock.elapsed().as_secs_f64();
    let cpu_seconds = (cpu()? - cpu_before).as_secs_f64();
    Ok(Outcome { sent, seconds, rss_bytes: [before, most, rss()?], cpu_seconds })
}

fn print(options: &FloodOptions, honest: &Honest, outcome: &Outcome) {
    let kind = options.kind.map_or("none".to_owned(), |kind| format!("{kind:?}").to_lowercase());
    let rate = outcome.sent as f64 / outcome.seconds;
    let announces = &honest.announces;
    let [(_, p50), _, (_, p99), _, (_, max), ..] = announces.latencies_us();
    let (asked, answered) = (honest.asked, announces.answers + honest.touched);
    let [before, most, after] = outcome.rss_bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
    let (newcomers, welcomed) = (honest.newcomers, honest.welcomed);
    let (low, high) = (honest.interval_min, honest.interval_max);
    let cpu = outcome.cpu_seconds / outcome.seconds * 100.0;
    if options.json {
        println!(
            r#"{{"kind":"{kind}","sources":{},"rate":{rate:.0},"asked":{asked},"answered":{answered},"p50_us":{p50:.0},"p99_us":{p99:.0},"max_us":{max:.0},"newcomers":{newcomers},"welcomed":{welcomed},"interval_min":{low},"interval_max":{high},"rss_before_mib":{before:.1},"rss_max_mib":{most:.1},"rss_after_mib":{after:.1},"cpu_percent":{cpu:.1}}}"#,
            options.sources
        );
        return;
    }
    println!(
        "flood of {kind} from {} sources: {rate:.0}/s for {:.1} s\n  \
         honest announces: {answered} of {asked} answered, p50 {p50:.0} us, p99 {p99:.0} us, max {max:.0} us\n  \
         newcomers: {welcomed} of {newcomers} connects answered\n  \
         interval: {low} to {high} s\n  \
         processes: {before:.1} MiB before, {most:.1} at most, {after:.1} after; {cpu:.1}% of a CPU",
        options.sources, outcome.seconds
    );
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// The addresses that honest clients have, and those that junk is said to come from: both are nobody's elsewhere.
const HONEST_NET: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 0);
const JUNK_NET: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 0);

/// Address number `index` of a net.
fn address(net: Ipv4Addr, index: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(net) + (index / 250) * 256 + index % 250 + 1)
}

/// How long the flood goes on when no honest client asks any more, in seconds: their last answers are awaited.
const SETTLE: f64 = 0.5;

/// How far the flood may be behind, in nanoseconds.
const BEHIND_MAX: u64 = 500_000;

const NAP: std::time::Duration = std::time::Duration::from_micros(20);
