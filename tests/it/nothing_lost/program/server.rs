//! A PostgreSQL of the test's own, which it may kill.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) struct Server {
    dir: PathBuf,
    pub(crate) url: String,
    pub(crate) up: bool,
}

impl Server {
    pub(crate) fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("margay-{name}-{}", std::process::id()));
        let url = script("start", &dir);
        Self { dir, url, up: true }
    }

    /// As an administrator ends it who has no time.
    pub(crate) fn stop(&mut self) {
        script("stop", &self.dir);
        self.up = false;
    }

    /// Kills the postmaster, whatever its processes are doing; they notice and end.
    pub(crate) fn kill(&mut self) {
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

    /// Starts it again, where it was.
    pub(crate) fn come_back(&mut self) {
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
