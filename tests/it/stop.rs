//! How it ends when something in it has failed.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::tracker::udp::{Announce, Udp};
use crate::tracker::{HOMES, PATIENCE, Tracker};

#[test]
fn a_kernel_that_forbids_io_uring_ends_it_with_a_line_that_says_so() {
    for (error, words) in [
        (libc::EPERM, "seccomp profile that allows io_uring_setup"),
        (libc::ENOSYS, "seccomp profile that allows io_uring_setup"),
        (libc::ENOMEM, "LimitMEMLOCK"),
        (libc::EINVAL, "io_uring_setup(2)"),
    ] {
        let text = ended_by(error, 425);
        assert!(text.contains("margay: error: the kernel's io_uring"), "{text}");
        assert!(text.contains(words), "{text}");
    }
}

/// What comes after the ring is made: the executor panics, and nothing of it may stay behind.
#[test]
fn an_executor_that_cannot_be_made_ends_it_too() {
    // io_uring_register(2), and io_uring_enter(2).
    for call in [427, 426] {
        let text = ended_by(libc::EPERM, call);
        assert!(text.contains("margay: error: core "), "{text}");
    }
}

/// The standard error of a tracker that ends with 1, as this system call is answered with `error`, as by the
/// filters of container runtimes.
fn ended_by(error: i32, call: u32) -> String {
    let data = TempDir::new().unwrap();
    let addresses = ["--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--control", "127.0.0.1:0"];
    let mut command = crate::program::margay();
    command.args(["--cores", "2"]).args(addresses).arg("--data").arg(data.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut lines = refusing(&[call], error);
    // SAFETY: between fork and exec it only calls prctl(2).
    unsafe { command.pre_exec(move || filter(&mut lines)) };
    let mut process = command.spawn().unwrap();
    let began = Instant::now();
    while process.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = process.kill();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{call} {error}: {text}");
    text
}

/// A program that has system calls answered with an error.
fn refusing(calls: &[u32], error: i32) -> Vec<libc::sock_filter> {
    let line = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    // The number of the call is the first word.
    let mut lines = vec![line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        lines.push(line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call));
        lines.push(line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | error as u32));
    }
    lines.push(line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    lines
}

/// Filters the system calls of this process from here on (seccomp(2), "SECCOMP_SET_MODE_FILTER").
fn filter(lines: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: lines.len() as u16, filter: lines.as_mut_ptr() };
    // SAFETY: numbers, and a program that the kernel copies.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) == 0
    };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Under what the profile for containers refuses, as far as this machine has it, everything is answered.
#[test]
fn under_the_profile_for_containers_it_serves() {
    let profile = include_str!("../../ops/seccomp/margay.json");
    let profile: serde_json::Value = serde_json::from_str(profile).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ALLOW");
    let header = format!("/usr/include/{}-linux-gnu/asm/unistd_64.h", std::env::consts::ARCH);
    let header = std::fs::read_to_string(&header)
        .unwrap_or_else(|_| std::fs::read_to_string("/usr/include/asm-generic/unistd.h").unwrap());
    let number = |name: &str| -> Option<u32> {
        let words = header.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let found = words.filter(|words| words.len() == 3 && words[1] == format!("__NR_{name}"));
        found.filter_map(|words| words[2].parse().ok()).next()
    };
    let names = profile["syscalls"][0]["names"].as_array().unwrap();
    let refused: Vec<u32> =
        names.iter().filter_map(|name| number(name.as_str().unwrap())).collect();
    assert!(refused.len() > 40, "{refused:?}");
    for name in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(!refused.contains(&number(name).unwrap()), "{name}");
    }
    let data = TempDir::new().unwrap();
    let mut lines = refusing(&refused, libc::EPERM);
    let tracker = Tracker::start_under(data.path(), "--cores 2", move || filter(&mut lines));
    let asker = Udp::connect(tracker.udp(HOMES[0]));
    assert_eq!(asker.announce(&Announce::seeder([7; 20], 6881)).seeders, 1);
    tracker.signal(Signal::TERM);
    assert_eq!(tracker.await_end(), Some(0));
}

#[test]
fn a_second_signal_ends_it_whatever_it_waits_for() {
    let tracker = Tracker::start("");
    assert!(tracker.udp(HOMES[0]).port() > 0);
    tracker.signal(Signal::TERM);
    tracker.signal(Signal::INT);
    // It may have come to its end before the second one.
    let code = tracker.await_end();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
}

#[test]
fn a_signal_that_comes_twice_at_once_is_one() {
    let data = TempDir::new().unwrap();
    let tracker = Tracker::start_on(data.path(), "");
    tracker.signal(Signal::INT);
    tracker.signal(Signal::INT);
    // It writes its snapshot, and ends as it should.
    tracker.await_exit();
    let tracker = Tracker::start_on(data.path(), "");
    tracker.logged("loading a snapshot");
    tracker.stop();
}

#[test]
fn a_signal_that_means_nothing_here_does_nothing() {
    let mut tracker = Tracker::start("");
    for signal in [Signal::USR1, Signal::USR2] {
        tracker.signal(signal);
    }
    tracker.await_logged("nothing is done at this signal", 2);
    tracker.check_alive();
    tracker.stop();
}

#[test]
fn a_last_snapshot_that_cannot_be_written_is_no_success() {
    let tracker = Tracker::start("");
    tracker.fill_disk(true);
    tracker.signal(Signal::TERM);
    let said = tracker.logged("snapshot not written");
    assert_eq!(said["next"], "none, it is stopping");
    assert_eq!(tracker.await_end(), Some(1));
}
