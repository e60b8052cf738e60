//! What another process used: CPU time and memory.

use std::fs;
use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process that is watched from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pid: i32,
    clock: ClockId,
}

impl Process {
    pub(crate) fn new(pid: i32) -> io::Result<Self> {
        // The clock of a process that is gone may be that of nobody; its folder is not there.
        fs::metadata(format!("/proc/{pid}"))?;
        Ok(Self { pid, clock: clock_getcpuclockid(Pid::from_raw(pid))? })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// CPU time used since the process began, user and system, of all its threads, also of those
    /// that ended (`clock_getcpuclockid(3)`). Counted in nanoseconds by the scheduler, where
    /// `/proc/PID/stat` gives the same sum rounded to ticks of 10 ms.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        Ok(duration(clock_gettime(self.clock)?))
    }

    /// Time that its threads could have run and had no CPU: what other processes cost it
    /// (`/proc/PID/task/TID/schedstat`, second number, nanoseconds). Threads that ended count no more.
    pub(crate) fn waited(&self) -> io::Result<Duration> {
        waited(&format!("/proc/{}/task", self.pid))
    }

    /// Resident memory now, in bytes (`VmRSS` of `/proc/PID/status`).
    pub(crate) fn rss_bytes(&self) -> io::Result<u64> {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that was ever resident, in bytes (`VmHWM`).
    pub(crate) fn rss_peak_bytes(&self) -> io::Result<u64> {
        self.status_bytes("VmHWM:")
    }

    /// Memory that is its own and not a file's, in bytes (`Pss_Anon` of `/proc/PID/smaps_rollup`).
    pub(crate) fn anonymous_bytes(&self) -> io::Result<u64> {
        self.bytes("smaps_rollup", "Pss_Anon:")
    }

    fn status_bytes(&self, key: &str) -> io::Result<u64> {
        self.bytes("status", key)
    }

    fn bytes(&self, file: &str, key: &str) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/{file}", self.pid))?;
        let kib = status.lines().find_map(|line| {
            line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other(format!("no {key} of {}", self.pid)))
    }
}

/// CPU time this process has used.
pub(crate) fn own_cpu() -> io::Result<Duration> {
    Ok(duration(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?))
}

/// Time this process could have run and had no CPU.
pub(crate) fn own_waited() -> io::Result<Duration> {
    waited("/proc/self/task")
}

fn waited(tasks: &str) -> io::Result<Duration> {
    let mut sum = Duration::ZERO;
    for task in fs::read_dir(tasks)? {
        // A thread may end between the two calls.
        let Ok(schedstat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let waited = schedstat.split_whitespace().nth(1).and_then(|word| word.parse().ok());
        sum += Duration::from_nanos(waited.unwrap_or(0));
    }
    Ok(sum)
}

fn duration(time: TimeSpec) -> Duration {
    Duration::new(time.tv_sec() as u64, time.tv_nsec() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_cpu_time_and_memory() {
        let me = Process::new(std::process::id() as i32).unwrap();
        let before = me.cpu().unwrap();
        let mut sum = 0_u64;
        for number in 0..3_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number * number));
        }
        assert!(me.anonymous_bytes().unwrap() > 0);
        assert!(sum > 0 && me.cpu().unwrap() > before);
        assert!(waited("/proc/self/no-such-folder").is_err());
        me.waited().unwrap();
        assert!(me.rss_bytes().unwrap() > 100 * 1024);
        assert!(me.rss_peak_bytes().unwrap() > 100 * 1024);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(Process::new(i32::MAX).is_err());
    }
}
