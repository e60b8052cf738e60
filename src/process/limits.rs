//! Limits that the system sets the process: raised where that is possible, and held against what the configuration
//! needs, with the remedy.

use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::config::Config;
use crate::net::ring;
use crate::process::thread;

/// The facts about what the system allows. `u64::MAX` is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Files and sockets open at a time (`RLIMIT_NOFILE`).
    pub files: u64,
    /// Memory that may be locked, in bytes (`RLIMIT_MEMLOCK`).
    pub locked_bytes: u64,
    /// Most bytes a socket's receive buffer gets (`net.core.rmem_max`); `None` where it is not shown,
    /// as in a network namespace.
    pub receive_buffer_max: Option<u64>,
    /// `kernel.io_uring_disabled`: 0 for everybody, 1 for the privileged, 2 for nobody; `None` before
    /// Linux 6.6, which has no such switch.
    pub io_uring_disabled: Option<u64>,
    /// The error of io_uring_setup(2), where it does not make a ring.
    pub io_uring_refused: Option<i32>,
    /// The process has `CAP_SYS_ADMIN`.
    pub privileged: bool,
    /// CPUs the process may run on.
    pub cpus: usize,
}

/// A limit that is too small, and what helps.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The text: what is too small for what.
    pub text: String,
    /// The remedy.
    pub remedy: String,
    /// The tracker cannot run at all.
    pub fatal: bool,
}

/// A limit that the tracker cannot run under.
#[derive(Debug, thiserror::Error)]
#[error("{}; {}", .0.text, .0.remedy)]
pub struct LimitError(Warning);

/// Raises the limits of files and locked memory as far as the process may, logs what is too small for
/// `config`, and refuses what cannot work.
pub fn prepare(config: &Config) -> Result<(), LimitError> {
    raise(Resource::Nofile);
    raise(Resource::Memlock);
    for warning in assess(&Facts::read(), config) {
        if warning.fatal {
            return Err(LimitError(warning));
        }
        tracing::warn!(remedy = warning.remedy, "{}", warning.text);
    }
    if let Ok(folder) = fs::metadata(&config.data)
        && folder.uid() != geteuid().as_raw()
    {
        // Root can write anywhere, and what it leaves is its own.
        tracing::warn!(
            path = %config.data.display(),
            owner = folder.uid(),
            user = geteuid().as_raw(),
            remedy = "run it as that user, or `chown -R` the folder afterwards",
            "this data folder is another user's, who may not be able to read what is written now"
        );
    }
    Ok(())
}

/// The CPUs the process may run on, by number; at least one.
pub fn cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        // A machine with more CPUs than the set holds (sched_setaffinity(2)).
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Finds what in `facts` is too small for `config`.
pub fn assess(facts: &Facts, config: &Config) -> Vec<Warning> {
    let cores = config.cores.unwrap_or(facts.cpus);
    [io_uring(facts), locked_memory(facts), files(facts, config, cores)]
        .into_iter()
        .chain([receive_buffer(facts, config), shared_cpus(facts, cores)])
        .flatten()
        .collect()
}

impl Facts {
    /// Asks the system. What it does not tell counts as no limit.
    fn read() -> Self {
        let limit = |resource| getrlimit(resource).current.unwrap_or(u64::MAX);
        let sysctl = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
        Self {
            files: limit(Resource::Nofile),
            locked_bytes: limit(Resource::Memlock),
            receive_buffer_max: sysctl("/proc/sys/net/core/rmem_max"),
            io_uring_disabled: sysctl("/proc/sys/kernel/io_uring_disabled"),
            io_uring_refused: ring::probe().err().and_then(|error| error.raw_os_error()),
            privileged: fs::read_to_string("/proc/self/status")
                .is_ok_and(|status| sys_admin(&status)),
            cpus: cpus().len().min(thread::cpu_quota()),
        }
    }
}

/// Raises the soft limit to the hard one. Where that fails the old limit is warned about like any.
fn raise(resource: Resource) {
    let Rlimit { maximum, .. } = getrlimit(resource);
    let _ = setrlimit(resource, Rlimit { current: maximum, maximum });
}

/// Why there is no io_uring. The switch of the kernel is named where that is it; what is refused although it is
/// on, is refused by a filter, or for want of memory.
fn io_uring(facts: &Facts) -> Option<Warning> {
    let error = facts.io_uring_refused?;
    const IN_A_CONTAINER: &str = "in a container, run it with a seccomp profile that allows io_uring_setup, \
         io_uring_enter and io_uring_register, such as ops/seccomp/margay.json (`docker run --security-opt \
         seccomp=margay.json`); in a systemd unit, leave them out of SystemCallFilter";
    let (why, remedy) = match (error, facts.io_uring_disabled) {
        (libc::EPERM, Some(1)) if !facts.privileged => (
            "is switched off for users without privileges (kernel.io_uring_disabled is 1)"
                .to_owned(),
            "set `sysctl -w kernel.io_uring_disabled=0`, or run margay in the group that \
             kernel.io_uring_group names",
        ),
        (libc::EPERM, Some(2)) => (
            "is switched off for everybody (kernel.io_uring_disabled is 2)".to_owned(),
            "set `sysctl -w kernel.io_uring_disabled=0`",
        ),
        (libc::EPERM, _) => (
            "is forbidden to this process (EPERM), as by a seccomp filter".to_owned(),
            IN_A_CONTAINER,
        ),
        (libc::ENOSYS, _) => (
            "is not there (ENOSYS): the kernel is built without it, or a seccomp filter hides it"
                .to_owned(),
            IN_A_CONTAINER,
        ),
        (libc::ENOMEM, _) => (
            "gets no memory (ENOMEM)".to_owned(),
            "raise the locked memory (`LimitMEMLOCK=8M` in the systemd unit, `docker run --ulimit \
             memlock=8388608`), or the memory of the container",
        ),
        (libc::EMFILE | libc::ENFILE, _) => (
            "gets no file descriptor".to_owned(),
            "raise the number of open files (`LimitNOFILE` in the systemd unit)",
        ),
        (error, _) => (
            format!("is refused: {}", std::io::Error::from_raw_os_error(error)),
            "see io_uring_setup(2) for this error",
        ),
    };
    Some(Warning {
        text: format!("the kernel's io_uring, which every core waits on, {why}"),
        remedy: remedy.to_owned(),
        fatal: true,
    })
}

fn locked_memory(facts: &Facts) -> Option<Warning> {
    (facts.locked_bytes < LOCKED_BYTES_MIN).then(|| Warning {
        text: format!(
            "{} KiB of memory may be locked (RLIMIT_MEMLOCK), and io_uring needs {} KiB",
            facts.locked_bytes >> 10,
            LOCKED_BYTES_MIN >> 10
        ),
        remedy: "set `LimitMEMLOCK=8M` in the systemd unit, or `ulimit -Hl 8192` as root"
            .to_owned(),
        fatal: true,
    })
}

fn files(facts: &Facts, config: &Config, cores: usize) -> Option<Warning> {
    let listeners = config.http.len() + config.https.len();
    let sockets = cores * (config.udp.len() + listeners + FILES_PER_CORE);
    let connections = if listeners == 0 { 0 } else { config.http_connections_max };
    let needed = (connections + sockets + FILES_BESIDE) as u64;
    (facts.files < needed).then(|| Warning {
        text: format!(
            "{} files may be open (RLIMIT_NOFILE), and http-connections-max = {connections} needs \
             {needed}",
            facts.files
        ),
        remedy: format!(
            "set `LimitNOFILE={needed}` in the systemd unit or `ulimit -Hn {needed}` as root, or \
             lower http-connections-max"
        ),
        fatal: facts.files <= (sockets + FILES_BESIDE) as u64,
    })
}

fn receive_buffer(facts: &Facts, config: &Config) -> Option<Warning> {
    let granted = facts.receive_buffer_max?;
    let wanted = config.udp_receive_buffer.0 as u64;
    (granted < wanted && !config.udp.is_empty()).then(|| Warning {
        text: format!(
            "UDP sockets get receive buffers of {granted} bytes instead of {wanted} \
             (net.core.rmem_max), and bursts of datagrams may be lost"
        ),
        remedy: format!("set `sysctl -w net.core.rmem_max={wanted}`, or lower udp-receive-buffer"),
        fatal: false,
    })
}

fn shared_cpus(facts: &Facts, cores: usize) -> Option<Warning> {
    (cores > facts.cpus).then(|| Warning {
        text: format!("{cores} cores share {} CPUs, which costs more than it brings", facts.cpus),
        remedy: "leave `cores` out, or let the process run on more CPUs".to_owned(),
        fatal: false,
    })
}

/// Looks for `CAP_SYS_ADMIN`, bit 21 (capabilities(7)), in the effective set of a status file
/// (proc_pid_status(5)).
fn sys_admin(status: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set >> 21 & 1 == 1)
}

/// glommio 0.9 does not start an executor under less. The kernel's own default is 8 MiB since Linux
/// 5.16, and since 5.12 the rings themselves do not count.
const LOCKED_BYTES_MIN: u64 = 512 << 10;

/// Rings, event and timer files of one core, with room.
const FILES_PER_CORE: usize = 16;

/// Standard streams, libraries, control connections, snapshot and list files, with room.
const FILES_BESIDE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Facts = Facts {
        files: 1 << 20,
        locked_bytes: 8 << 20,
        receive_buffer_max: Some(4 << 20),
        io_uring_disabled: Some(0),
        io_uring_refused: None,
        privileged: false,
        cpus: 2,
    };

    /// The warnings under `facts`, `!` in front of the fatal ones, each by a word of its text.
    fn check(facts: Facts, cores: Option<usize>, expected: &str) {
        let config = Config { cores, ..Config::default() };
        let word = |warning: &Warning| {
            let words = ["io_uring, which", "locked", "files", "receive buffers", "share"];
            let word = words.iter().find(|word| warning.text.contains(**word)).unwrap();
            assert!(!warning.remedy.is_empty());
            format!("{}{word}", if warning.fatal { "!" } else { "" })
        };
        let found: Vec<String> = assess(&facts, &config).iter().map(word).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn a_roomy_machine_gets_no_word() {
        check(ROOMY, None, "");
        check(Facts { receive_buffer_max: None, io_uring_disabled: None, ..ROOMY }, None, "");
        check(Facts { files: u64::MAX, locked_bytes: u64::MAX, ..ROOMY }, Some(2), "");
    }

    #[test]
    fn each_small_limit_has_its_word() {
        check(Facts { files: 1024, ..ROOMY }, None, "files");
        check(Facts { files: 256, ..ROOMY }, None, "!files");
        check(Facts { locked_bytes: 64 << 10, ..ROOMY }, None, "!locked");
        check(Facts { receive_buffer_max: Some(212_992), ..ROOMY }, None, "receive buffers");
        check(ROOMY, Some(3), "share");
    }

    #[test]
    fn each_way_of_having_no_io_uring_has_its_words() {
        for (error, disabled, privileged, words) in [
            (libc::EPERM, Some(1), false, "kernel.io_uring_group"),
            (libc::EPERM, Some(2), true, "kernel.io_uring_disabled=0"),
            (libc::EPERM, Some(1), true, "seccomp"),
            (libc::EPERM, Some(0), false, "seccomp"),
            (libc::EPERM, None, false, "seccomp"),
            (libc::ENOSYS, None, false, "seccomp"),
            (libc::ENOMEM, Some(0), false, "LimitMEMLOCK"),
            (libc::EMFILE, Some(0), false, "LimitNOFILE"),
            (libc::EINVAL, Some(0), false, "io_uring_setup(2)"),
        ] {
            let facts = Facts {
                io_uring_disabled: disabled,
                io_uring_refused: Some(error),
                privileged,
                ..ROOMY
            };
            let warning = io_uring(&facts).unwrap();
            assert!(warning.remedy.contains(words), "{error} {disabled:?}: {warning:?}");
            check(facts, None, "!io_uring, which");
        }
        // The switch is off, and the process is let through.
        check(Facts { io_uring_disabled: Some(1), ..ROOMY }, None, "");
    }

    #[test]
    fn a_protocol_that_is_off_needs_nothing() {
        let config = Config { udp: Vec::new(), http: Vec::new(), ..Config::default() };
        let facts = Facts { files: 1024, receive_buffer_max: Some(4096), ..ROOMY };
        assert_eq!(assess(&facts, &config), []);
    }

    #[test]
    fn capabilities_are_read_from_the_status_file() {
        assert!(sys_admin("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!sys_admin("Name:\tx\nCapEff:\t0000000000000400\n"));
        assert!(!sys_admin(""));
    }

    #[test]
    fn this_machine_has_a_cpu_and_a_limit() {
        let facts = Facts::read();
        assert!(facts.cpus >= 1 && facts.cpus == cpus().len());
        assert!(facts.files > 0);
    }
}
