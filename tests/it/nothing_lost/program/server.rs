//! A PostgreSQL of the test's own, which it may kill, stop, and put back to an older state.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) url: String,
    pub(crate) up: bool,
    /// Its processes are stopped, and take nothing and say nothing.
    pub(crate) hangs: bool,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()));
        let url = script("start", &dir);
        Self { dir, url, up: true, hangs: false }
    }

    /// As an administrator ends it who has no time.
    pub(crate) fn stop(&mut self) {
        self.go_on();
        script("stop", &self.dir);
        self.up = false;
    }

    /// Kills the postmaster, whatever its processes are doing; they notice and end.
    pub(crate) fn kill(&mut self) {
        self.go_on();
        let pid = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().unwrap();
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
        self.up = false;
    }

    /// Signals all of its processes: the postmaster's, and those it has begun.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.dir.join("data/postmaster.pid")).unwrap();
        let pid: u32 = pid.lines().next().unwrap().parse().unwrap();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let pids = children.split_whitespace().map(|child| child.parse().unwrap());
        for pid in [pid as i32].into_iter().chain(pids) {
            // One may have ended by itself.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
        }
    }

    /// Stops its processes where they are.
    pub(crate) fn hang(&mut self) {
        self.signal(Signal::STOP);
        self.hangs = true;
    }

    fn go_on(&mut self) {
        if std::mem::take(&mut self.hangs) {
            self.signal(Signal::CONT);
        }
    }

    /// Keeps a copy of all that it has. It is not running.
    pub(crate) fn copy(&self) {
        assert!(!self.up);
        self.replace("data", "copy");
    }

    /// Has from now on what it had when it was copied, and runs.
    pub(crate) fn put_back(&mut self) {
        if self.up {
            self.stop();
        }
        self.replace("copy", "data");
        self.come_back();
    }

    fn replace(&self, from: &str, to: &str) {
        let _ = std::fs::remove_dir_all(self.dir.join(to));
        let mut copy = Command::new("cp");
        copy.args(["-a", "--reflink=auto"]).args([self.dir.join(from), self.dir.join(to)]);
        assert!(copy.status().unwrap().success(), "{from} to {to}");
    }

    /// Starts it again, where it was, or has its processes go on.
    pub(crate) fn come_back(&mut self) {
        self.go_on();
        if !self.up {
            assert_eq!(script("start", &self.dir), self.url);
            self.up = true;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was stopped would not end.
        if self.up {
            self.signal(Signal::CONT);
        }
        script("stop", &self.dir);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn script(verb: &str, dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/test.d/postgres");
    let output = Command::new(script).arg(verb).arg(dir).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{verb}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
