//! `margay-load`: puts a measured load on a tracker, and answers like one without being one.
//!
//! A run plays a population of peers ([`swarms`]) that is the same for the same seed, over UDP
//! ([`udp`]) or HTTP ([`http`]), and prints what came back and what it cost ([`summary`], [`process`]). The bare
//! responders ([`bare`]) show what the system calls alone cost under the same load.

mod bare;
mod batch;
mod cli;
mod flood;
mod http;
mod https;
mod pace;
mod process;
mod sessions;
mod site;
mod source;
mod stall;
mod summary;
mod swarms;
mod udp;
mod users;

use std::error::Error;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::net::{TcpListener, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;

use cli::{
    Bare, BareUdpOptions, CensusOptions, Cli, Command, HttpOptions, IdleOptions, Population,
    ProbeOptions, Report, SiteOptions, UdpOptions,
};
use http::HttpLoad;
use process::Process;
use summary::{Filled, Summary, Tally, Window, json};
use swarms::Swarms;
use udp::UdpLoad;
use udp::census::{self, Asker};
use users::Credit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match prepare(cli.pin).and_then(|()| run(&cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("margay-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Pins the process and lets its sleeps end on time.
fn prepare(pin: Option<usize>) -> Result<(), Box<dyn Error>> {
    if let Some(cpu) = pin {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus)
            .map_err(|error| format!("cannot run on CPU {cpu}: {error}"))?;
    }
    // Nanoseconds by which the kernel may delay a wake-up; the default is 50 µs.
    prctl::set_timerslack(1)?;
    Ok(())
}

fn run(command: &Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Udp(options) => udp_load(options),
        Command::Http(options) => http_load(options),
        Command::Https(options) => https::load(options),
        Command::Sessions(options) => sessions::load(options),
        Command::Bare(bare) => serve(bare),
        Command::Flood(options) => flood::run(options),
        Command::Idle(options) => idle(options),
        Command::Census(options) => take_census(options),
        Command::Probe(options) => probe(options),
        Command::Site(options) => print_site(options),
    }
}

fn serve(bare: &Bare) -> Result<(), Box<dyn Error>> {
    match bare {
        Bare::Udp(BareUdpOptions { listen, peers, batch }) => {
            let socket = UdpSocket::bind(listen)?;
            println!("ready udp {}", socket.local_addr()?);
            let peer_bytes = if listen.is_ipv4() { 6 } else { 18 };
            let answers = bare::udp::Answers { peers_bytes: peers.round() as usize * peer_bytes };
            bare::udp::serve(&socket, (*batch).into(), answers)?;
        }
        Bare::Http(options) => {
            let listener = TcpListener::bind(options.listen)?;
            println!("ready http {}", listener.local_addr()?);
            bare::http::serve(&listener, &bare::http::reply(options.reply_bytes.into(), "close"))?;
        }
        Bare::HttpKeepAlive(options) => {
            let listener = TcpListener::bind(options.listen)?;
            println!("ready http {}", listener.local_addr()?);
            let reply = bare::http::reply(options.reply_bytes.into(), "keep-alive");
            bare::http::serve_kept(&listener, &reply)?;
        }
        Bare::Https(options) => {
            let listener = TcpListener::bind(options.listen)?;
            println!("ready https {}", listener.local_addr()?);
            let reply = bare::http::reply(options.reply_bytes.into(), "close");
            https::serve(&listener, &options.certificate, &options.key, &reply)?;
        }
        #[cfg(feature = "glommio")]
        Bare::HttpGlommio(options) => {
            let reply = bare::http::reply(options.reply_bytes.into(), "keep-alive");
            bare::glommio::serve(options.listen, reply)?;
        }
    }
    Ok(())
}

fn udp_load(options: &UdpOptions) -> Result<(), Box<dyn Error>> {
    let processes = watch(&options.report.pid)?;
    let swarms = deal(&options.population)?;
    let mut load = UdpLoad::connect(options, &swarms)?;
    if options.fill {
        let before = cpu_of(&processes)?;
        let filled = load.fill()?;
        print_fill(&filled, &swarms, cpu_of(&processes)? - before, &processes, &options.report)?;
    }
    let phases: Vec<f64> = options.seconds.iter().copied().filter(|&phase| phase > 0.0).collect();
    if !phases.is_empty() {
        load.warm_up()?;
    }
    for (number, &seconds) in (1..).zip(&phases) {
        let title = phase_title("udp", number, phases.len());
        print_summary(&load.steady(seconds, &processes)?, &title, &options.report);
    }
    if let (Some(credit), true) = (load.settle()?, options.fill) {
        print_credit(&credit, &options.report);
    }
    Ok(())
}

fn http_load(options: &HttpOptions) -> Result<(), Box<dyn Error>> {
    let processes = watch(&options.report.pid)?;
    let swarms = deal(&options.population)?;
    let mut load = HttpLoad::new(options, &swarms)?;
    if options.fill {
        let before = cpu_of(&processes)?;
        let filled = load.fill()?;
        print_fill(&filled, &swarms, cpu_of(&processes)? - before, &processes, &options.report)?;
    }
    let phases: Vec<f64> = options.seconds.iter().copied().filter(|&phase| phase > 0.0).collect();
    if !phases.is_empty() {
        load.warm_up()?;
    }
    for (number, &seconds) in (1..).zip(&phases) {
        let title = phase_title("http", number, phases.len());
        print_summary(&load.steady(seconds, &processes)?, &title, &options.report);
    }
    if let (Some(credit), true) = (load.settle()?, options.fill) {
        print_credit(&credit, &options.report);
    }
    Ok(())
}

/// `udp`, or the third of several `udp-3`.
fn phase_title(protocol: &str, number: usize, phases: usize) -> String {
    if phases == 1 { protocol.to_owned() } else { format!("{protocol}-{number}") }
}

fn print_credit(credit: &Credit, report: &Report) {
    let Credit { uploaded, downloaded, open } = credit;
    if report.json {
        println!(
            r#"{{"run":"credit","uploaded":{uploaded},"downloaded":{downloaded},"open":{open}}}"#
        );
    } else {
        println!(
            "credit: {uploaded} bytes uploaded, {downloaded} downloaded, {open} announces unanswered"
        );
    }
}

fn print_site(options: &SiteOptions) -> Result<(), Box<dyn Error>> {
    let SiteOptions { users, torrents, seed, schema } = options;
    let mut out = BufWriter::new(io::stdout().lock());
    site::write_sql(&mut out, schema, *seed, *users, *torrents)?;
    Ok(out.flush()?)
}

fn print_fill(
    filled: &Filled,
    swarms: &Swarms,
    cpu: Duration,
    processes: &[Process],
    report: &Report,
) -> io::Result<()> {
    let peers = f64::from(swarms.peers());
    let seconds = filled.took.as_secs_f64();
    let cpu_us = cpu.as_secs_f64() * 1e6 / peers;
    let rss = processes.iter().map(Process::rss_bytes).sum::<io::Result<u64>>()?;
    let rss_mib = rss as f64 / f64::from(1 << 20);
    if report.json {
        let mut fields = vec![
            ("peers", peers),
            ("seconds", seconds),
            ("resent", filled.resent as f64),
            ("late", filled.tally.late as f64),
            ("cpu_us_per_answer", cpu_us),
            ("rss_mib", rss_mib),
        ];
        fields.extend(filled.tally.latencies_us());
        println!("{}", json("fill", &fields));
        return Ok(());
    }
    println!(
        "fill: {peers} peers in {} torrents, {seconds:.2} s, {:.0}/s, {} resent, {} late",
        swarms.torrents(),
        peers / seconds,
        filled.resent,
        filled.tally.late
    );
    println!("  {}", filled.tally.latency_text());
    if !processes.is_empty() {
        println!("  processes: {cpu_us:.3} µs CPU an answer, RSS {rss_mib:.1} MiB");
    }
    Ok(())
}

fn print_summary(summary: &Summary, title: &str, report: &Report) {
    match report.json {
        true => println!("{}", summary.json(title)),
        false => print!("{}", summary.text(title)),
    }
}

fn idle(options: &IdleOptions) -> Result<(), Box<dyn Error>> {
    let window = Window::open(&watch(&options.report.pid)?)?;
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    print_summary(&window.close(Tally::new())?, "idle", &options.report);
    Ok(())
}

fn take_census(options: &CensusOptions) -> Result<(), Box<dyn Error>> {
    let until = Instant::now() + Duration::from_secs_f64(options.timeout);
    let mut asker = Asker::new(options.to, passkey_of(options.seed, options.user))?;
    let hashes = options.scrape_hashes.into();
    let census = census::take(&mut asker, options.seed, options.torrents, hashes, until)?;
    println!(
        "torrents {} alive {} seeders {} leechers {} snatches {} fingerprint {:016x}",
        census.torrents,
        census.alive,
        census.seeders,
        census.leechers,
        census.snatches,
        census.fingerprint
    );
    Ok(())
}

fn probe(options: &ProbeOptions) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let until = started + Duration::from_secs_f64(options.timeout);
    let hash = swarms::info_hash(options.seed, options.torrent.unwrap_or(0));
    let mut asker = Asker::new(options.to, passkey_of(options.seed, options.user))?;
    loop {
        let [seeders, _, leechers] = asker.counts(&[hash], until)?[0];
        if options.torrent.is_none() || seeders + leechers > 0 {
            break;
        }
        if Instant::now() > until {
            return Err("the tracker answers, but the torrent has no peers".into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = match options.since_start_of {
        Some(pid) => age_of(pid)?,
        None => started.elapsed().as_secs_f64(),
    };
    println!("answered after {seconds:.3} s");
    Ok(())
}

fn passkey_of(seed: u64, user: Option<u32>) -> Option<users::Passkey> {
    user.map(|user| users::passkey(seed, user))
}

/// Seconds since a process began, to the tick of 10 ms that the kernel notes (`proc_pid_stat(5)`,
/// field 22).
fn age_of(pid: i32) -> Result<f64, Box<dyn Error>> {
    let uptime = fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime.split_whitespace().next().ok_or("empty /proc/uptime")?.parse()?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field, the name in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("odd /proc/PID/stat")?;
    let start: f64 = fields.split_whitespace().nth(19).ok_or("short /proc/PID/stat")?.parse()?;
    Ok(uptime - start / TICKS_PER_SECOND)
}

/// `USER_HZ`, the same on every Linux machine that margay runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn deal(population: &Population) -> Result<Swarms, String> {
    let Population { peers, torrents, seeders, seed, .. } = *population;
    Swarms::new(peers, torrents, seeders, seed)
}

fn watch(pids: &[i32]) -> Result<Vec<Process>, String> {
    pids.iter()
        .map(|&pid| Process::new(pid).map_err(|error| format!("cannot watch {pid}: {error}")))
        .collect()
}

fn cpu_of(processes: &[Process]) -> io::Result<Duration> {
    processes.iter().map(Process::cpu).sum()
}
