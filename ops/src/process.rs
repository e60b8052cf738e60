//! The kernel's figures of this process: memory, files, CPU time, datagrams it had to drop.
//!
//! Everything comes from `proc(5)`; [`read`] opens the files, the rest is plain parsing.

use std::io::{Error, ErrorKind, Result};
use std::{fs, os::unix::fs::MetadataExt};

/// The state of this process at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Process {
    /// Physical memory in use (`VmRSS`).
    pub resident_bytes: u64,
    /// The most it has been (`VmHWM`).
    pub resident_max_bytes: u64,
    /// Open file descriptors, sockets included.
    pub open_files: u64,
    /// How many may be open (the soft `RLIMIT_NOFILE`).
    pub open_files_max: u64,
    /// CPU time of all threads, user and system, in seconds; exact to 10 ms.
    pub cpu_seconds: f64,
    /// Threads.
    pub threads: u64,
    /// Datagrams the kernel dropped at this process's UDP ports, nearly always because the receive
    /// buffer was full.
    pub udp_receive_drops: u64,
}

/// Reads the state of this process. `udp_ports` are the local ports whose drops are summed up.
///
/// About 50 µs on an idle machine. With many open files older kernels (before 6.2) take longer: there
/// the descriptors have to be counted one by one.
pub fn read(udp_ports: &[u16]) -> Result<Process> {
    let mut process = Process::default();
    parse_status(&fs::read_to_string("/proc/self/status")?, &mut process)
        .ok_or_else(|| unexpected("/proc/self/status"))?;
    process.cpu_seconds = parse_cpu_seconds(&fs::read_to_string("/proc/self/stat")?)
        .ok_or_else(|| unexpected("/proc/self/stat"))?;
    process.open_files_max = parse_open_files_max(&fs::read_to_string("/proc/self/limits")?)
        .ok_or_else(|| unexpected("/proc/self/limits"))?;
    process.open_files = open_files()?;
    for table in ["/proc/self/net/udp", "/proc/self/net/udp6"] {
        match fs::read_to_string(table) {
            Ok(text) => process.udp_receive_drops += parse_udp_drops(&text, udp_ports),
            Err(error) if error.kind() == ErrorKind::NotFound => {} // No IPv6 on this machine.
            Err(error) => return Err(error),
        }
    }
    Ok(process)
}

/// Since Linux 6.2 the directory's size is the number of open descriptors; before, it was 0.
fn open_files() -> Result<u64> {
    match fs::metadata("/proc/self/fd")?.size() {
        0 => Ok(fs::read_dir("/proc/self/fd")?.count() as u64),
        count => Ok(count),
    }
}

/// `Name:  value [kB]` lines.
fn parse_status(text: &str, process: &mut Process) -> Option<()> {
    let value = |name: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse().ok()
    };
    process.resident_bytes = value("VmRSS")? * 1024;
    process.resident_max_bytes = value("VmHWM")? * 1024;
    process.threads = value("Threads")?;
    Some(())
}

/// Fields 14 and 15 (`utime`, `stime`), counted from after the command name, which may itself hold
/// blanks and parentheses.
fn parse_cpu_seconds(text: &str) -> Option<f64> {
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// `Max open files  <soft>  <hard>  files`; `unlimited` is the largest number.
fn parse_open_files_max(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

/// Sums the last column, `drops`, of the sockets bound to one of `ports`.
fn parse_udp_drops(table: &str, ports: &[u16]) -> u64 {
    let drops = |line: &str| -> Option<u64> {
        let mut columns = line.split_whitespace();
        let (_, port) = columns.nth(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        if !ports.contains(&port) {
            return None;
        }
        columns.next_back()?.parse().ok()
    };
    table.lines().skip(1).filter_map(drops).sum()
}

fn unexpected(path: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("{path} does not look as proc(5) says"))
}

/// The unit of `/proc/PID/stat`. The kernel's `USER_HZ` is 100 on every architecture this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn this_process_has_memory_files_and_threads() {
        let process = read(&[]).unwrap();
        assert!(process.resident_bytes > 100 * 1024);
        assert!(process.resident_max_bytes >= process.resident_bytes);
        assert!(process.open_files >= 3);
        assert!(process.open_files_max >= process.open_files);
        assert!(process.threads >= 1);
    }

    #[test]
    fn open_files_follow_what_is_opened() {
        // Other tests open files too: with 200 more, a few going does not matter.
        let before = read(&[]).unwrap().open_files;
        let held: Vec<_> = (0..200).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        assert!(read(&[]).unwrap().open_files >= before + 150);
        drop(held);
    }

    #[test]
    fn datagrams_that_overflow_the_receive_buffer_are_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(read(&[to.port()]).unwrap().udp_receive_drops, 0);
        for _ in 0..4000 {
            sender.send_to(&[0; 1024], to).unwrap();
        }
        assert!(read(&[to.port()]).unwrap().udp_receive_drops > 0);
        assert_eq!(read(&[sender.local_addr().unwrap().port()]).unwrap().udp_receive_drops, 0);
    }

    #[test]
    fn a_command_name_with_parentheses_is_stepped_over() {
        let stat = "7 (a) b (c)) R 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1";
        assert_eq!(parse_cpu_seconds(stat), Some(1.75));
        assert_eq!(parse_cpu_seconds("7 (margay) R 1 2"), None);
    }

    #[test]
    fn limits_may_be_unlimited() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(parse_open_files_max(limits), Some(1024));
        assert_eq!(
            parse_open_files_max("Max open files  unlimited unlimited files"),
            Some(u64::MAX)
        );
        assert_eq!(parse_open_files_max(""), None);
    }

    #[test]
    fn drops_are_summed_over_the_sockets_of_a_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1: 0100007F:1B39 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 5\n\
            2: 00000000000000000000000001000000:1B39 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 7\n\
            3: 0100007F:1B3A 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1 2 0 9\n\
            torn";
        assert_eq!(parse_udp_drops(table, &[6969]), 12);
        assert_eq!(parse_udp_drops(table, &[6970, 6969]), 21);
        assert_eq!(parse_udp_drops(table, &[]), 0);
    }
}
