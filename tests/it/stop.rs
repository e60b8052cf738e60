//! How it ends when something in it has failed.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::tracker::{HOMES, PATIENCE, Tracker};

#[test]
fn a_kernel_that_forbids_io_uring_ends_it_with_a_line_that_says_so() {
    // io_uring_setup(2) is answered with EPERM, as by the filters of container runtimes.
    let script = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def filter(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
program = filter(0x20, 0, 0, 0) + filter(0x15, 0, 1, 425) + filter(0x06, 0, 0, 0x00050001) + filter(0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
class Program(ctypes.Structure): _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
program = Program(4, ctypes.addressof(buffer))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"#;
    let data = TempDir::new().unwrap();
    let process = Command::new("python3")
        .args(["-c", script, env!("CARGO_BIN_EXE_margay"), "--cores", "2"])
        .args([
            "--udp",
            "127.0.0.1:0",
            "--http",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut process) = process else {
        return eprintln!("SKIPPED: forbidding io_uring needs python3");
    };
    let began = std::time::Instant::now();
    while process.try_wait().unwrap().is_none() && began.elapsed() < PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let _ = process.kill();
    let output = process.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("margay: error: core "), "{text}");
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
